//! Types of PostgreSQL that Rust has not: LSNs, transaction ids, times.

pub mod lsn;
pub mod sql_types;
pub mod timestamp;
pub mod xid;
