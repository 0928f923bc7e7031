//! PostgreSQL's types for LSNs, transaction ids and times.

pub mod lsn;
pub mod sql_types;
pub mod timestamp;
pub mod xid;
