//! pg_dump's output: its table of contents, what a base leaves out of it, and the positions of entries in the
//! text that pg_restore produces from it.
//!
//! Nothing here parses SQL. Entries are identified by the ids of the archive and of the catalogs, and
//! positions by the exact bytes in the archive, so that no name, body or value can imitate another entry.

mod choice;
mod listed;
mod toc;
mod walk;

pub use choice::{choose, Choice, Gone, Member, Part};
pub use listed::Listed;
pub use toc::{Entry, Toc};
pub use walk::{Place, Walk};

/// The position of each entry in a plain dump.
pub const DUMP_TOC: &str = "dump.toc";
/// The entries of a dump that are to be restored, for `pg_restore --use-list`.
pub const DUMP_LIST: &str = "dump.list";
/// Definitions of objects that a base leaves out although they are not ours.
pub const LEFT_OUT_SQL: &str = "left-out.sql";

/// Executed before the entry that its first line names: stand-ins for the missing functions.
pub const STAND_INS_SQL: &str = "stand-ins.sql";

/// Executed before the first rows: drops them, with the defaults and checks that call them.
pub const STAND_INS_END_SQL: &str = "stand-ins-end.sql";
