//! What pg_dump wrote: its table of contents, what of it a base leaves out, and where each entry begins in
//! the text that pg_restore makes of it.
//!
//! None of it reads SQL. Entries are told apart by the ids of the archive and of the catalogs, and places are
//! found by the exact bytes that the archive holds, so that no name, body or value can pose as something else.

mod choice;
mod toc;
mod walk;

pub use choice::{choose, Choice, Gone, Member, Part};
pub use toc::{Entry, Toc};
pub use walk::{Place, Walk};

/// Where each entry begins in a plain dump.
pub const DUMP_TOC: &str = "dump.toc";
/// The entries of a dump that are to be restored, for `pg_restore --use-list`.
pub const DUMP_LIST: &str = "dump.list";
/// Definitions of what a base leaves out although it is not ours.
pub const LEFT_OUT_SQL: &str = "left-out.sql";

/// Runs before the entry that its first line names: something in place of the functions that are missing.
pub const STAND_INS_SQL: &str = "stand-ins.sql";

/// Runs before the first rows: takes it back, with the defaults and checks that call it.
pub const STAND_INS_END_SQL: &str = "stand-ins-end.sql";
