//! The fence: everything that touches PostgreSQL's C interface, and the only hand-written `unsafe`
//! besides the declarations of shared memory. What is outside sees safe functions and owned values.

pub mod compat;
pub mod declared;
pub mod decoding;
pub mod extension;
pub mod guc;
pub mod invalidation;
pub mod moved_sequences;
pub mod plugin;
pub mod quote;
pub mod relation;
pub mod server;
pub mod session;
pub mod value;
pub mod xid;
