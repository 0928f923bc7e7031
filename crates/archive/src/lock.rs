//! The lock between readers of the archive and removal of files.

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{flock, FlockOperation};
use rustix::io::Errno;

use crate::durable;
use crate::error::{Error, Result};
use crate::layout::DatabaseDir;
use crate::pause::{going_on, lock_exclusive, lock_shared, Pause};

/// Excludes readers and removal from each other; released with the value. `restore.sh` takes the same lock
/// (`flock` of the database's directory), where it can.
pub struct Lock(#[allow(dead_code)] Option<File>);

impl Lock {
    /// For readers: waits while files are being removed. If the file system has no locks, none is taken.
    pub fn shared(database: &DatabaseDir, pause: Pause) -> Result<Lock> {
        Self::shared_or(database, &mut going_on(pause))
    }

    /// [`Self::shared`] for a wait that `between` can end with an error.
    pub fn shared_or<E: From<Error>>(
        database: &DatabaseDir,
        between: &mut dyn FnMut() -> std::result::Result<(), E>,
    ) -> std::result::Result<Lock, E> {
        let directory = open(database)?;
        let taken = lock_shared(&directory, between)?;
        Ok(Lock(taken.is_ok().then_some(directory)))
    }

    /// For removal and pins; fails immediately with [`Error::InUse`] while another process holds it.
    pub fn exclusive(database: &DatabaseDir) -> Result<Lock> {
        let directory = open(database)?;
        match flock(&directory, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Lock(Some(directory))),
            Err(Errno::WOULDBLOCK) => Err(Error::InUse {
                path: database.path().to_owned(),
            }),
            Err(errno) => Err(Error::io("lock", database.path())(errno.into())),
        }
    }
}

/// For what may not be kept waiting for ever: waits for the readers of a database's directory, at most so long, and keeps new
/// ones waiting until it is dropped. `None` if there are readers still, or the file system has no locks: then they go on,
/// and fail at the first file that is not as it was listed.
pub(crate) fn exclusive_within(directory: &Path, longest: Duration) -> Result<Option<Lock>> {
    let directory = File::open(directory).map_err(Error::io("open", directory))?;
    let start = Instant::now();
    let mut between = || match start.elapsed() {
        waited if waited < longest => Ok(()),
        _ => Err(()),
    };
    let taken = lock_exclusive(&directory, &mut between);
    Ok(matches!(taken, Ok(Ok(()))).then_some(Lock(Some(directory))))
}

fn open(database: &DatabaseDir) -> Result<File> {
    File::open(database.path()).map_err(Error::io("open", database.path()))
}

/// An open file, locked against those that append to it until it is dropped; `None` if there is none.
pub(crate) fn at_rest<E: From<Error>>(
    path: &Path,
    between: &mut dyn FnMut() -> std::result::Result<(), E>,
) -> std::result::Result<Option<File>, E> {
    loop {
        match durable::open_to_read(path) {
            Ok(file) => {
                lock_shared(&file, between)?
                    .map_err(|errno| Error::io("lock", path)(errno.into()))?;
                // It may have been replaced during the wait.
                if durable::is_at(&file, path)? {
                    return Ok(Some(file));
                }
            }
            Err(error)
                if error.io_error().map(io::Error::kind) == Some(io::ErrorKind::NotFound) =>
            {
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        }
    }
}
