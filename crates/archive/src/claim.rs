//! Which server may write below a database's directory: its one owner ([`crate::owner`]).
//!
//! `owner.json` identifies it, and is compared, not only shown: a copy of the server that was promoted with
//! the same settings is a different one. `owner.lock` shows which server is writing. Each process that writes
//! holds it shared, and starts only if `owner.json` names its own server and the lock names the current start
//! of that server. Both are changed only under an exclusive lock, so no process is writing then, and no
//! server that is writing is replaced. The kernel releases the lock when a process exits in any way.
//!
//! A file system over a network can lose the lock of a host that does not answer, or of a machine that was paused. Whoever
//! holds it looks before anything counts ([`Hold::ensure_held`]) whether it still does: before a position is confirmed to
//! the slot, before a file gets its final name. And whoever goes on in a chain gives the files that the owner before
//! appended to a new inode first: what that one still writes is in none of them.
//!
//! A refused server leaves nothing behind, not even the lock file.

use std::cell::Cell;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::fs::{flock, statat, AtFlags, FlockOperation, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::archiving;
use crate::durable;
use crate::error::{Error, Result};
use crate::failpoint::pass;
use crate::layout::{ChainDir, DatabaseDir};
use crate::owner::{self, Identity, Owner, OWNER_JSON};
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
    /// An administrator has made it the owner: the chain ends.
    TakeOver,
    /// It was promoted, has the slot, and its history contains the timeline of the owner that this is: it becomes the
    /// owner and goes on in the chain.
    GoOnFrom(u32),
}

/// The right to write below a database's directory, as long as this exists.
#[derive(Debug)]
pub struct Hold {
    lock: File,
    /// It may be renamed meanwhile, with its database.
    directory: File,
    path: PathBuf,
    server: Server,
    /// owner.json as it was when it named this server.
    seen: Cell<Option<Seen>>,
    /// The former owner, if this changed the owner, as text.
    pub taken_from: Option<String>,
}

/// What tells one `owner.json` from the next: inode, and time of its last change.
type Seen = (u64, i64, i64);

impl Hold {
    /// Fails with [`Error::LostHold`] if another server has become the owner, or its lock file is another one. Costs two
    /// system calls for the metadata of a file, and the reading of a line.
    pub fn ensure_held(&self) -> Result<()> {
        let is_held = self.has_lock()? && lock_says(&self.lock, &self.server);
        if is_held && self.is_owner()? {
            return Ok(());
        }
        let owner = owner::read(&self.path)?.map_or_else(
            || "another server".to_owned(),
            |owner| owner.identity.to_string(),
        );
        Err(Error::LostHold {
            path: self.path.clone(),
            owner,
        })
    }

    // Their types differ between systems.
    #[allow(clippy::unnecessary_cast)]
    fn has_lock(&self) -> Result<bool> {
        let ours = self.lock.metadata().map_err(self.failed())?;
        let there = self.stat(OWNER_LOCK)?;
        Ok(there.is_some_and(|there| {
            (there.st_dev, there.st_ino) == (ours.dev() as _, ours.ino() as _)
        }))
    }

    #[allow(clippy::unnecessary_cast)]
    fn is_owner(&self) -> Result<bool> {
        let Some(there) = self.stat(OWNER_JSON)? else {
            // Written by nobody else: it was removed.
            return Ok(true);
        };
        let there = (
            there.st_ino as u64,
            there.st_mtime as i64,
            there.st_mtime_nsec as i64,
        );
        if self.seen.get() == Some(there) {
            return Ok(true);
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.directory, OWNER_JSON, flags, Mode::empty());
        let mut file = File::from(file.map_err(|errno| self.failed()(errno.into()))?);
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(self.failed())?;
        let owner = owner::parse(&bytes, &self.path.join(OWNER_JSON))?;
        let is_ours = owner.identity == self.server.identity;
        self.seen.set(is_ours.then_some(there));
        Ok(is_ours)
    }

    fn stat(&self, name: &str) -> Result<Option<Stat>> {
        match statat(&self.directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(self.failed()(errno.into())),
        }
    }

    fn failed(&self) -> impl FnOnce(std::io::Error) -> Error + '_ {
        Error::io("check the owner of", &self.path)
    }
}

/// True if no process holds the lock of a database's owner at this moment. Asks the kernel, and leaves nothing behind.
pub fn is_free(database: &DatabaseDir) -> Result<bool> {
    let path = lock_path(database);
    let lock = match durable::open_for_update(&path) {
        Err(error) if error.io_error().map(std::io::Error::kind) == Some(ErrorKind::NotFound) => {
            return Ok(true);
        }
        lock => lock?,
    };
    // Released with the file.
    try_lock(database, &lock, FlockOperation::NonBlockingLockExclusive)
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
                let path = database.path().to_owned();
                let directory = File::open(&path).map_err(Error::io("open", &path))?;
                return Ok(Hold {
                    lock,
                    directory,
                    path,
                    server: server.clone(),
                    seen: Cell::new(None),
                    taken_from,
                });
            }
        }
        if try_lock(database, &lock, FlockOperation::NonBlockingLockExclusive)? {
            let before = become_owner(database, database_oid, server, claim)?;
            write_lock(database, &lock, server)?;
            taken_from = taken_from.or(before);
            // Whoever takes over in the next moment is not taken over from in turn.
            if matches!(claim.to, To::TakeOver | To::GoOnFrom(_)) {
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

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Decision {
    /// It is the owner.
    Keep,
    /// It becomes the owner, or remains it on another timeline.
    Write,
    TakeOver,
    GoOn,
}

fn decide(database: &DatabaseDir, server: &Server, claim: Claim) -> Result<Decision> {
    let Some(owner) = owner::read(database.path())? else {
        return adopt(database, server, claim);
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
        To::GoOnFrom(timeline) if owners.is_left_by(timeline, mine) => Ok(Decision::GoOn),
        To::Write | To::Begin | To::GoOnFrom(_) => Err(Error::NotOwner {
            path: database.path().to_owned(),
            owner: owner.to_string(),
            differences: mine.differences(owners),
        }),
    }
}

/// A directory of a version without owners, or a copy that archive_command made, belongs to the server with the slot of its
/// open chain. If that server has left the timeline of the files, it was promoted: somebody has to say that it goes on.
fn adopt(database: &DatabaseDir, server: &Server, claim: Claim) -> Result<Decision> {
    let latest = database.latest_chain()?;
    let open = latest.filter(|chain| chain.info.ended.is_none());
    let timeline = match &open {
        Some(chain) if claim.has_slot => Some(chain.last_timeline()?),
        _ => None,
    };
    let former = timeline.filter(|timeline| *timeline != server.identity.timeline);
    match (open, claim.to) {
        (Some(_), To::GoOnFrom(timeline)) if former == Some(timeline) => Ok(Decision::GoOn),
        _ if claim.has_slot && former.is_none() => Ok(Decision::Write),
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
    if before.is_none() && matches!(claim.to, To::TakeOver | To::GoOnFrom(_)) {
        // Nobody writes there until it has an owner.
        match archiving::settle_copy(database) {
            // The chain ends: what can't be read is of no use to a new one.
            Err(_) if decided == Decision::TakeOver => {}
            settled => settled?,
        }
    }
    let since = time::now();
    let went_on_from = match (decided, claim.to) {
        (Decision::GoOn, To::GoOnFrom(timeline)) => Some(timeline),
        (Decision::Keep | Decision::Write, _) => {
            before.as_ref().and_then(|before| before.went_on_from)
        }
        _ => None,
    };
    let owner = Owner {
        identity,
        database_oid,
        since,
        chain,
        directory: owner::name_of(database.path()),
        went_on_from,
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
        Decision::GoOn => {
            for chain in database.open_chains()? {
                chain.renew_appended()?;
            }
        }
        // First, so that the owner before finds its end, whatever becomes of this.
        Decision::TakeOver => {
            for mut chain in database.open_chains()? {
                chain.renew_appended()?;
                chain.end_here(&format!("taken over by {}", owner.identity))?;
            }
        }
    }
    pass("claim: renewed").map_err(Error::io("write", database.path()))?;
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
