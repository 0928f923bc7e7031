//! The error type of this crate: every variant contains the path.

mod directory;

use std::io;
use std::path::{Path, PathBuf};

use crate::counted;
use crate::lsn::Lsn;

pub use directory::DirectoryError;

/// The result of everything in this crate that touches the disk.
pub type Result<T> = std::result::Result<T, Error>;

/// Why the archive could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused.
    #[error("could not {action} \"{}\": {source}", path.display())]
    Io {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },

    /// The root directory cannot be used.
    #[error(transparent)]
    Directory(#[from] DirectoryError),

    /// A file does not contain what it must.
    #[error("\"{}\" is damaged at byte {offset}: {why}", path.display())]
    Damaged {
        path: PathBuf,
        offset: u64,
        why: String,
    },

    /// The open segment lost data that was fsynced and confirmed to the slot.
    #[error(
        "\"{}\" was damaged at byte {offset} ({why}), within its durable part; it is kept as \"{}\"",
        path.display(),
        kept.display()
    )]
    KeptAside {
        path: PathBuf,
        offset: u64,
        why: String,
        kept: PathBuf,
    },

    /// The open segment was removed or moved, or its directory is no longer visible.
    #[error("\"{}\" was removed or replaced while it was being written", path.display())]
    OutOfPlace { path: PathBuf },

    /// Another process writes to this chain.
    #[error("\"{}\" is being written by another process", path.display())]
    Locked { path: PathBuf },

    /// A restore or a check reads the files, or another process removes expired ones.
    #[error("the files in \"{}\" are in use by a restore, by a check, or by a process that removes expired \
    files", path.display())]
    InUse { path: PathBuf },

    /// Another server owns the directory, and is the only one to write to it.
    #[error("\"{}\" belongs to {owner}; this server has {differences}", path.display())]
    NotOwner {
        path: PathBuf,
        owner: String,
        differences: String,
    },

    /// The server that owns the directory is writing to it.
    #[error("\"{}\" is being written by {owner}", path.display())]
    OwnerIsAlive { path: PathBuf, owner: String },

    /// The directory is from a version without owners, and nothing shows that this server writes to it.
    #[error("\"{}\" names no owner{}", path.display(), open_elsewhere(*chain))]
    NoOwner { path: PathBuf, chain: Option<u32> },

    /// Another server has become the owner since this one got the right to write.
    #[error("\"{}\" is no longer this server's to write to: {owner} has taken it over", path.display())]
    LostHold { path: PathBuf, owner: String },

    /// Transactions in the files are not in the history of the server that goes on after them.
    #[error(
        "{} not in the history of this server, which left timeline {timeline} at {at}: set apart in \"{}\"",
        lost(*transactions),
        path.display()
    )]
    SetApart {
        path: PathBuf,
        timeline: u32,
        at: Lsn,
        transactions: u64,
    },
    /// What the files contain behind the point at which the server left their timeline stays, and the chain can't go on.
    #[error("the files extend to {end} on timeline {timeline}, which the server left at {at}")]
    BehindSwitch { timeline: u32, at: Lsn, end: Lsn },

    /// A write failed earlier; the segment must be reopened, which truncates its torn tail.
    #[error("\"{}\" must be reopened after a failed write", path.display())]
    Poisoned { path: PathBuf },

    /// The caller's request would have made the segment invalid. Nothing was written.
    #[error("cannot write to \"{}\": {why}", path.display())]
    Refused { path: PathBuf, why: String },

    /// A history has more rows than are kept in memory.
    #[error("more than {most} changes were found")]
    TooManyChanges { most: usize },

    /// A transaction or position is at or below the last one in the files.
    #[error("cannot write LSN {lsn} to \"{}\": its last LSN is {last}", path.display())]
    OutOfOrder { path: PathBuf, lsn: Lsn, last: Lsn },
}

impl Error {
    /// True if the disk or the quota is full: retrying later may succeed.
    pub fn is_no_space(&self) -> bool {
        matches!(
            self.io_error().map(io::Error::kind),
            Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
        )
    }

    /// True where the operating system denied access.
    pub fn is_permission_denied(&self) -> bool {
        self.io_error().map(io::Error::kind) == Some(io::ErrorKind::PermissionDenied)
    }

    /// The operating system's error, if there was one.
    pub fn io_error(&self) -> Option<&io::Error> {
        match self {
            Error::Io { source, .. } => Some(source),
            Error::Directory(error) => error.io_error(),
            _ => None,
        }
    }

    /// Adds the path and the action: `.map_err(Error::io("open", path))`.
    pub fn io<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> Error + 'a {
        move |source| Error::Io {
            action,
            path: path.to_owned(),
            source,
        }
    }

    pub fn damaged(path: &Path, offset: u64, why: impl Into<String>) -> Error {
        Error::Damaged {
            path: path.to_owned(),
            offset,
            why: why.into(),
        }
    }

    pub(crate) fn refused(path: &Path, why: impl Into<String>) -> Error {
        Error::Refused {
            path: path.to_owned(),
            why: why.into(),
        }
    }
}

/// `2 transactions of the former primary are`
fn lost(transactions: u64) -> String {
    let verb = if transactions == 1 { "is" } else { "are" };
    let transactions = counted(transactions, "transaction");
    format!("{transactions} of the former primary {verb}")
}

fn open_elsewhere(chain: Option<u32>) -> String {
    chain.map_or_else(String::new, |number| {
        format!(", and this server has no slot for its open chain {number}")
    })
}
