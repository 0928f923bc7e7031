//! Who reads the archive, and who removes files from it.

use std::fs::File;

use rustix::fs::{flock, FlockOperation};
use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::layout::DatabaseDir;

/// Keeps readers and those who remove apart; it goes with the value. `restore.sh` takes the same one
/// (`flock` of the database's directory), where it can.
pub struct Lock(#[allow(dead_code)] Option<File>);

impl Lock {
    /// For whoever reads: waits while files are being removed. Where the file system has no locks,
    /// there is none to take.
    pub fn shared(database: &DatabaseDir) -> Result<Lock> {
        let directory = open(database)?;
        loop {
            match flock(&directory, FlockOperation::LockShared) {
                Err(Errno::INTR) => {}
                Err(_) => return Ok(Lock(None)),
                Ok(()) => return Ok(Lock(Some(directory))),
            }
        }
    }

    /// For whoever removes or pins; fails at once with [`Error::InUse`] while somebody else has it.
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

fn open(database: &DatabaseDir) -> Result<File> {
    File::open(database.path()).map_err(Error::io("open", database.path()))
}
