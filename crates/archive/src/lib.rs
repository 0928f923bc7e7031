//! The files of pg_incrbackup, without PostgreSQL.
//!
//! Everything in the archive is named, written, parsed and checked here: callers that capture changes or take
//! bases pass bytes and LSNs, and get durable files.
//!
//! | room | what it holds |
//! | --- | --- |
//! | [`lsn`], [`time`], [`snapshot`], [`escape`], [`literal`], [`checksum`], [`sqlstate`] | values and their text forms, each built and parsed in one place |
//! | [`durable`] | files that survive a crash; the durable order |
//! | [`failpoint`] | faults between its steps, for tests |
//! | [`layout`] | [`ArchiveRoot`], [`DatabaseDir`], [`ChainDir`], the names of files |
//! | [`owner`], [`claim`], [`mounts`] | the one server that writes to a directory; whether its lock reaches other hosts |
//! | [`segment`] | the grammar, the [`Appender`], resume after a crash, the parser |
//! | [`manifest`], [`base`], [`metadata`] | finished files of a chain, base backups |
//! | [`flags`] | stretches in which something is lost, until the next base |
//! | [`globals`] | roles, tablespaces and the database's properties, as they changed |
//! | [`retention`], [`pins`], [`expiry`] | what is kept and what goes; how it goes |
//! | [`lock`] | who reads, and who removes |
//! | [`archiving`] | what is to be copied off the machine, and what has been |
//! | [`compression`] | closed segments, made smaller |
//! | [`reading`] | parts of its files, for whoever has no shell |
//! | [`storage`] | where a reader gets the files: a directory, a running server |
//! | [`drills`], [`moment`] | what drills found; the place in the stream of what a snapshot sees |
//! | [`listing`], [`verify`] | what is there, and whether it is sound |
//! | [`selection`] | which databases of a cluster are meant to be backed up |
//! | [`restore`] | `restore.sh` and `README.txt` |
//!
//! Capture, in short:
//!
//! ```no_run
//! # use archive::{layout::*, segment::*, Lsn};
//! # fn example(new: NewChain, identity: SegmentIdentity) -> archive::Result<()> {
//! let root = ArchiveRoot::open("/backup".as_ref(), "/var/lib/postgresql/15/main".as_ref())?;
//! let database = root.open_database(7_300_000_000, 16384, "shop")?;
//! database.ensure_restore_files()?;
//! let chain = match database.latest_chain()? {
//!     Some(chain) if chain.info.ended.is_none() => chain,
//!     _ => database.create_chain(new)?,
//! };
//! let mut appender = chain.open_for_append(identity, Lsn(0))?;
//! let already_written = appender.last_lsn();
//! appender.begin(748, Lsn(0x15E0F88), archive::time::now())?;
//! appender.statement(b"INSERT INTO public.a (id) VALUES (1);")?;
//! appender.commit()?;
//! let confirm_to_slot = appender.sync()?;
//! appender.rotate(749)?;
//! # Ok(()) }
//! ```

pub mod archiving;
pub mod base;
pub mod checksum;
pub mod claim;
pub mod compression;
mod counted;
pub mod drills;
pub mod dump;
pub mod durable;
pub mod error;
pub mod escape;
pub mod expiry;
pub mod failpoint;
pub mod flags;
pub mod globals;
pub mod layout;
pub mod listing;
pub mod literal;
pub mod lock;
pub mod lsn;
pub mod manifest;
pub mod metadata;
pub mod moment;
pub mod mounts;
pub mod owner;
pub mod pause;
pub mod pins;
pub mod reading;
pub mod restore;
pub mod retention;
pub mod schema_note;
mod sealed;
pub mod segment;
pub mod selection;
pub mod snapshot;
pub mod sqlstate;
pub mod storage;
pub mod time;
pub mod time_text;
pub mod verify;

pub use counted::counted;
pub use error::{DirectoryError, Error, Result};
pub use layout::{ArchiveRoot, ChainDir, DatabaseDir};
pub use listing::{files, FileRow};
pub use lsn::Lsn;
pub use segment::Appender;
pub use verify::{verify, Problem};
