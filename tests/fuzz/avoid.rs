//! What the tester leaves alone because it is known to fail. Each switch is a fault that is reported
//! and not yet mended (its number is that of found.md); set to false it is looked for again.

/// 1: an aborted transaction larger than the decoding memory stops capture on PostgreSQL 18.
pub const SMALL_DECODING_MEMORY_ON_18: bool = false;

/// 2: a rewrite's rows are checked by constraints that are NOT VALID when they come again.
pub const ROWS_THAT_BREAK_NOT_VALID: bool = false;

/// pg_dump's own, and so every base's: a child's inherited columns come first, also those that its
/// parent got later; and from PostgreSQL 18 on a NOT NULL constraint's name is left out when it is the
/// usual one, which another table may have by then (LIKE copies names). A round has base backups in
/// its middle, or children and LIKE.
pub const BASES_WITH_CHILDREN_OR_LIKE: bool = true;

/// 3: rows stay behind when a table becomes unlogged, and later DDL trips over them.
<<<<<<< HEAD
pub const SET_UNLOGGED: bool = false;
=======
pub const SET_UNLOGGED: bool = true;

/// 4: the DELETE in front of a rewrite's rows is refused by a publication on PostgreSQL 18.
pub const PUBLICATIONS_ON_18: bool = true;
>>>>>>> fz
