//! The fence: everything that touches PostgreSQL's C interface, and the only hand-written `unsafe`
//! besides the declarations of shared memory. What is outside sees safe functions and owned values.

pub mod guc;
pub mod server;
pub mod fence;
pub mod process;
pub mod slot;
pub mod snapshot;
pub mod transaction;
pub mod wait;
pub mod wal;
