//! The fence: everything that touches PostgreSQL's C interface, and the only hand-written `unsafe`.
//! What is outside sees safe functions and owned values.

pub mod commit_time;
pub mod compat;
pub mod databases;
pub mod ddl_catalog;
pub mod ddl_database;
pub mod ddl_filled;
pub mod ddl_history;
pub mod ddl_hook;
pub mod ddl_identity;
pub mod ddl_node;
pub mod ddl_roles;
pub mod ddl_scan;
pub mod ddl_statement;
pub mod ddl_subject;
pub mod ddl_subscription;
pub mod ddl_subtransaction;
pub mod ddl_touched;
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
pub mod shared;
pub mod slot;
pub mod value;
pub mod wake;
pub mod xid;
