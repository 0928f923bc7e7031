//! What the tester leaves alone because it is known to differ, and not by our doing. Each switch set to
//! false is looked for again.

/// pg_dump's own, and so every base's: a child's inherited columns come first, also those that its
/// parent got later; and from PostgreSQL 18 on a NOT NULL constraint's name is left out when it is the
/// usual one, which another table may have by then (LIKE copies names). A round has base backups in
/// its middle, or children and LIKE.
pub const BASES_WITH_CHILDREN_OR_LIKE: bool = true;

/// PostgreSQL's own (seen on 18.6): ATTACH PARTITION of a table that is partitioned itself gives the
/// column of that table an identity, but not those of its partitions; and pg_dump attaches from the
/// leaves up.
pub const BASES_WITH_PARTITIONED_IDENTITY: bool = true;

/// A gap of ours, named in the README's limits and still to be closed (seed 102588757 on 15): REASSIGN
/// OWNED is replayed as its text, so at restore it also reaches what a transaction had made that was
/// still open while it ran, and committed first.
pub const REASSIGN_OWNED_BESIDE_OTHERS: bool = true;
