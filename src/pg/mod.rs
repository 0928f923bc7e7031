//! The fence: everything that touches PostgreSQL's C interface, and the only hand-written `unsafe`.
//! What is outside sees safe functions and owned values.

pub mod commit_time;
pub mod compat;
pub mod databases;
pub mod declared;
pub mod decoding;
pub mod extension;
pub mod failure;
pub mod fence;
pub mod guc;
pub mod invalidation;
pub mod lsn;
pub mod moved_sequences;
pub mod plugin;
pub mod process;
pub mod quote;
pub mod relation;
pub mod sequence;
pub mod server;
pub mod session;
pub mod shared;
pub mod signals;
pub mod slot;
pub mod snapshot;
pub mod text;
pub mod transaction;
pub mod value;
pub mod wake;
pub mod xid;
