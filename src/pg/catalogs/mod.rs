//! Catalog access as of now.

pub mod databases;
pub mod depend;
pub mod extension;
pub mod identity_notes;
pub mod row_key;
pub mod scan;
pub mod sequence;
pub mod table_type;
