//! All access to PostgreSQL's C interface, and the only hand-written `unsafe`. Other modules see safe
//! functions and owned values.

pub mod catalogs;
pub mod compat;
pub mod ddl;
pub mod declared;
pub mod decoding;
pub mod effects;
pub mod failure;
pub mod server;
pub mod text;
pub mod types;
