//! What the tester leaves alone because it is known to differ, and not by our doing. Each switch set to
//! false is looked for again.

/// pg_dump's own, and so every base's: a child's inherited columns come first, also those that its
/// parent got later; and from PostgreSQL 18 on a NOT NULL constraint's name is left out when it is the
/// usual one, which another table may have by then (LIKE copies names, a detached partition keeps its
/// parent's: seed 310000042). A round has base backups in its middle, or children and such tables.
pub const BASES_WITH_CHILDREN_OR_LIKE: bool = true;

/// PostgreSQL's own (seen on 18.6): ATTACH PARTITION of a table that is partitioned itself gives the
/// column of that table an identity, but not those of its partitions; and pg_dump attaches from the
/// leaves up.
pub const BASES_WITH_PARTITIONED_IDENTITY: bool = true;
