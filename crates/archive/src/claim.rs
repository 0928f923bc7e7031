//! Which server may write below a database's directory: its one owner ([`crate::owner`]).
//!
//! `owner.json` identifies it, and is compared, not only shown: a copy of the server that was promoted with
//! the same settings is a different one. `owner.lock` shows which server is writing. Each process that writes
//! holds it shared, and starts only if `owner.json` names its own server and the lock names the current start
//! of that server. Both are changed only under an exclusive lock, so no process is writing then, and no
//! server that is writing is replaced. The kernel releases the lock when a process exits in any way.
//!
//! A refused server leaves nothing behind, not even the lock file.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::fs::{flock, FlockOperation};
use rustix::io::Errno;

use crate::durable;
use crate::error::{Error, Result};
use crate::layout::{ChainDir, DatabaseDir};
use crate::owner::{self, Identity, Owner};
use crate::time;

pub const OWNER_LOCK: &str = "owner.lock";

/// How long another process may hold the exclusive lock to change the owner.
const PATIENCE: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(10);
/// The lock's text has a fixed length, so that rewriting it needs no space on a full disk.
const LOCK_TEXT: usize = 64;

/// A running server that wants to write.
#[derive(Debug, Clone)]
pub struct Server {
    pub identity: Identity,
    /// Distinguishes this start of the server from every other start of it and of its copies, in at most 64
    /// bytes.
    pub start: String,
}

/// The basis of a server's claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    pub to: To,
    /// It has the database's slot: it continues after a change of its timeline, and owns directories of
    /// versions without owners.
    pub has_slot: bool,
}

/// What it is about to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum To {
    /// Write, as the current owner.
    Write,
    /// Start a chain: also if there is no owner and no chain is open.
    Begin,
    /// An administrator has made it the owner.
    TakeOver,
}

/// The right to write below a database's directory, as long as this exists.
#[derive(Debug)]
pub struct Hold {
    _lock: File,
    /// The former owner, if this changed the owner, as text.
    pub taken_from: Option<String>,
}

/// Fails if `server` may not write below `database`. Changes nothing.
pub fn ensure_may_write(database: &DatabaseDir, server: &Server, claim: Claim) -> Result<()> {
    decide(database, server, claim).map(|_| ())
}

/// Gives `server` the right to write below `database`, or fails and names the owner.
pub fn hold(
    database: &DatabaseDir,
    database_oid: u32,
    server: &Server,
    mut claim: Claim,
) -> Result<Hold> {
    let start = Instant::now();
    let mut taken_from = None;
    loop {
        let decided = decide(database, server, claim)?;
        let lock = open_lock(database)?;
        if try_lock(database, &lock, FlockOperation::NonBlockingLockShared)? {
            let is_written = decided == Decision::Keep && lock_says(&lock, server);
            // The owner may have become another between the look and the lock.
            if is_written && decide(database, server, claim)? == Decision::Keep {
                return Ok(Hold {
                    _lock: lock,
                    taken_from,
                });
            }
        }
        if try_lock(database, &lock, FlockOperation::NonBlockingLockExclusive)? {
            let before = become_owner(database, database_oid, server, claim)?;
            write_lock(database, &lock, server)?;
            taken_from = taken_from.or(before);
            // Whoever takes over in the next moment is not taken over from in turn.
            if claim.to == To::TakeOver {
                claim.to = To::Write;
            }
            continue;
        }
        if start.elapsed() > PATIENCE {
            let owner = owner::read(database.path())?.map_or_else(
                || "another process".to_owned(),
                |owner| owner.identity.to_string(),
            );
            return Err(Error::OwnerIsAlive {
                path: database.path().to_owned(),
                owner,
            });
        }
        drop(lock);
        std::thread::sleep(PAUSE);
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Decision {
    /// It is the owner.
    Keep,
    /// It becomes the owner, or remains it on another timeline.
    Write,
    TakeOver,
}

fn decide(database: &DatabaseDir, server: &Server, claim: Claim) -> Result<Decision> {
    let Some(owner) = owner::read(database.path())? else {
        return adopt(database, claim);
    };
    let (mine, owners) = (&server.identity, &owner.identity);
    if mine == owners {
        return Ok(Decision::Keep);
    }
    if claim.has_slot && mine.is_but_for_timeline(owners) {
        return Ok(Decision::Write);
    }
    match claim.to {
        To::TakeOver => Ok(Decision::TakeOver),
        To::Write | To::Begin => Err(Error::NotOwner {
            path: database.path().to_owned(),
            owner: owner.to_string(),
            differences: mine.differences(owners),
        }),
    }
}

/// A directory of a version without owners belongs to the server with the slot of its open chain.
fn adopt(database: &DatabaseDir, claim: Claim) -> Result<Decision> {
    let latest = database.latest_chain()?;
    let open = latest.filter(|chain| chain.info.ended.is_none());
    match (open, claim.to) {
        _ if claim.has_slot => Ok(Decision::Write),
        (Some(_), To::TakeOver) => Ok(Decision::TakeOver),
        (None, To::Begin | To::TakeOver) => Ok(Decision::Write),
        (open, _) => Err(Error::NoOwner {
            path: database.path().to_owned(),
            chain: open.map(|chain| chain.number),
        }),
    }
}

/// Under the exclusive lock. Returns the former owner, if that was another server.
fn become_owner(
    database: &DatabaseDir,
    database_oid: u32,
    server: &Server,
    claim: Claim,
) -> Result<Option<String>> {
    let decided = decide(database, server, claim)?;
    let before = owner::read(database.path())?;
    let identity = server.identity.clone();
    let chain = match &before {
        Some(owner) => owner.chain,
        None => database.latest_chain()?.map(|chain| chain.number),
    };
    let since = time::now();
    let owner = Owner {
        identity,
        database_oid,
        since,
        chain,
        directory: owner::name_of(database.path()),
    };
    match decided {
        Decision::Keep
            if before
                .as_ref()
                .is_some_and(|before| before.is_of(database.path())) =>
        {
            return Ok(None);
        }
        // Its directory has another name, or a version wrote it that did not note that. Where that can't be written, as
        // on a full disk, it is the owner all the same: whoever removes files is to come to it.
        Decision::Keep => {
            owner::note_directory(database.path()).ok();
            return Ok(None);
        }
        Decision::Write => {
            let since = before.map_or(since, |before| before.since);
            owner::write(database.path(), &Owner { since, ..owner })?;
            return Ok(None);
        }
        Decision::TakeOver => {}
    }
    // First, so that the owner before finds its end, whatever becomes of this.
    for mut chain in database.open_chains()? {
        chain.end_here(&format!("taken over by {}", owner.identity))?;
    }
    owner::write(database.path(), &owner)?;
    Ok(Some(before.map_or_else(
        || "an unknown server".to_owned(),
        |owner| owner.to_string(),
    )))
}

fn lock_path(database: &DatabaseDir) -> PathBuf {
    database.path().join(OWNER_LOCK)
}

/// Over NFS an exclusive lock needs a file that is open for writing.
fn open_lock(database: &DatabaseDir) -> Result<File> {
    let path = lock_path(database);
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(durable::no_follow())
        .open(&path)
        .map_err(Error::io("open", &path))
}

/// False if another process's lock conflicts, or the file was replaced.
fn try_lock(database: &DatabaseDir, lock: &File, how: FlockOperation) -> Result<bool> {
    let path = lock_path(database);
    loop {
        match flock(lock, how) {
            Ok(()) => return durable::is_at(lock, &path),
            Err(Errno::INTR) => {}
            Err(Errno::WOULDBLOCK) => return Ok(false),
            Err(errno) => return Err(Error::io("lock", &path)(errno.into())),
        }
    }
}

fn lock_text(server: &Server) -> String {
    format!("{:<width$}\n", server.start, width = LOCK_TEXT - 1)
}

fn lock_says(lock: &File, server: &Server) -> bool {
    let wanted = lock_text(server);
    let mut found = vec![0; wanted.len()];
    lock.read_exact_at(&mut found, 0).is_ok() && found == wanted.as_bytes()
}

/// Its contents only matter while it is locked: it need not be durable.
fn write_lock(database: &DatabaseDir, lock: &File, server: &Server) -> Result<()> {
    let path = lock_path(database);
    lock.write_all_at(lock_text(server).as_bytes(), 0)
        .map_err(Error::io("write", &path))
}

impl DatabaseDir {
    /// The chain that the owner's slot writes, or wrote when it ended: the newest, if it was not recorded.
    pub fn served_chain(&self) -> Result<Option<ChainDir>> {
        let Some(number) = owner::read(self.path())?.and_then(|owner| owner.chain) else {
            return self.latest_chain();
        };
        if self.chain_numbers()?.contains(&number) {
            ChainDir::open(self.path(), number).map(Some)
        } else {
            Ok(None)
        }
    }

    /// Numbers of chains that are newer than the owner's own: written by others.
    pub fn foreign_chains(&self) -> Result<Vec<u32>> {
        let Some(own) = owner::read(self.path())?.and_then(|owner| owner.chain) else {
            return Ok(Vec::new());
        };
        let mut numbers = self.chain_numbers()?;
        numbers.retain(|number| *number > own);
        Ok(numbers)
    }

    /// Every readable chain that has not ended.
    pub fn open_chains(&self) -> Result<Vec<ChainDir>> {
        let numbers = self.chain_numbers()?.into_iter();
        let chains = numbers.filter_map(|number| ChainDir::open(self.path(), number).ok());
        Ok(chains.filter(|chain| chain.info.ended.is_none()).collect())
    }
}
