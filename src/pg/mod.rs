//! The fence: everything that touches PostgreSQL's C interface, and the only hand-written `unsafe`
//! besides the declarations of shared memory. What is outside sees safe functions and owned values.

pub mod guc;
pub mod server;
pub mod ddl_hook;
pub mod ddl_node;
pub mod ddl_scan;
pub mod ddl_statement;
pub mod ddl_subtransaction;
