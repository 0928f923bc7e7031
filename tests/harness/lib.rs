//! Throwaway PostgreSQL clusters for tests of pg_incrbackup.
//!
//! A test contains only the scenario; the harness does the rest:
//!
//! ```no_run
//! use harness::Cluster;
//!
//! let c = Cluster::backed_up();
//! c.sql("CREATE TABLE t (a int PRIMARY KEY); INSERT INTO t VALUES (1); UPDATE t SET a = 2");
//! c.assert_restores();
//! ```
//!
//! Every cluster belongs to one test: a data directory, an archive and a socket in one temporary directory,
//! no TCP port, stopped and removed when the value is dropped, also after a panic. Nothing here sleeps for a
//! fixed time; see [`wait_until`]. `PGVER` (15 or 18) selects the PostgreSQL, which is this checkout's
//! private copy (`tools/tree-bin.sh`).

mod archive_files;
mod bytes;
mod calendar;
mod capture;
mod client;
mod cluster;
mod compare;
mod contents;
mod dump;
mod installation;
mod minor;
mod panics;
pub mod patroni;
pub mod processes;
mod program;
mod psql;
mod restore;
mod server;
mod session;
mod skip;
mod standby;
mod statements;
mod template;
mod wait;

pub use archive_files::{Segment, Transaction};
pub use bytes::assert_same_bytes;
pub use cluster::{Builder, Cluster};
pub use compare::{
    assert_all_identical, assert_identical, checksums, differences, dumped, Contents, Difference,
    Side,
};
pub use installation::{give_to_server_user, run, Installation};
pub use program::{program, program_command, program_directory};
pub use psql::SqlError;
pub use restore::Restored;
pub use session::Session;
pub use skip::{skipped, skipped_in_part};
pub use statements::is_left_to_psql;
pub use wait::{wait_until, wait_until_within};
