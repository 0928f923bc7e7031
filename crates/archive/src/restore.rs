//! The files that make an archive usable without this program: written to every database's directory by
//! [`crate::layout::DatabaseDir::ensure_restore_files`].

/// The restore program: POSIX sh and awk around psql.
pub const RESTORE_SH: &str = include_str!("../templates/restore.sh");

/// A description of the directory, for a reader in ten years.
pub const README_TXT: &str = include_str!("../templates/README.txt");
