//! The files of pg_incrbackup.
