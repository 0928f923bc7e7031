//! The location of this database's files, according to the settings, and whether this server may write there.
//!
//! Reading is always permitted; writing requires an [`Owned`] for its duration.

use std::ops::Deref;

pub use archive::claim::To;
use archive::claim::{self, Claim, Hold, Server};
use archive::layout::chain::ChainEnd;
use archive::layout::{Directories, Standing};
use archive::mounts;
use archive::owner::{self, Identity, Owner};
use archive::{ArchiveRoot, ChainDir, DatabaseDir, Lsn};
use pgrx::bgworkers::BackgroundWorker;
use pgrx::prelude::*;

use crate::pg::catalogs::databases;
use crate::pg::decoding::slot;
use crate::pg::decoding::timeline::{self, Shared};
use crate::pg::failure::Failure;
use crate::pg::server::{self, signals};
use crate::settings;
use crate::workers::{self, has_slot};

/// The directory of a database that this server owns: as long as this exists, no other server writes there.
pub struct Owned {
    directory: DatabaseDir,
    hold: Hold,
}

impl Deref for Owned {
    type Target = DatabaseDir;

    fn deref(&self) -> &DatabaseDir {
        &self.directory
    }
}

impl Owned {
    /// Fails if another server has become the owner: to be called before anything counts that was written here.
    pub fn ensure_held(&self) -> archive::Result<()> {
        self.hold.ensure_held()
    }

    /// One of its chains, to write to it.
    pub fn chain(&self, chain: ChainDir) -> OwnedChain<'_> {
        OwnedChain { owned: self, chain }
    }

    /// Called between two steps of a long work here: raises an error if the session is to end, or if another server has
    /// become the owner.
    pub fn look_for_interrupts(&self) {
        signals::look_for_interrupts();
        if let Err(error) = self.ensure_held() {
            Failure::from(error).raise();
        }
    }

    /// True if this server was told to go on in the chain of another, which was on `timeline` or on a later one.
    pub fn may_set_apart(&self, timeline: u32) -> archive::Result<bool> {
        let owner = owner::read(self.path())?;
        Ok(owner.is_some_and(|owner| owner.may_set_apart(timeline)))
    }

    /// The former owner, if this took it over, as text.
    pub fn taken_from(&self) -> Option<&str> {
        self.hold.taken_from.as_deref()
    }
}

/// A chain in a directory that this server owns.
pub struct OwnedChain<'a> {
    owned: &'a Owned,
    chain: ChainDir,
}

impl Deref for OwnedChain<'_> {
    type Target = ChainDir;

    fn deref(&self) -> &ChainDir {
        &self.chain
    }
}

impl OwnedChain<'_> {
    /// As [`Owned::ensure_held`].
    pub fn ensure_held(&self) -> archive::Result<()> {
        self.owned.ensure_held()
    }
}

/// The root of the archive to read it, checked; `None` if it does not exist. Its file system may not be mounted, so only a
/// setup creates it.
pub fn existing_root() -> Result<Option<ArchiveRoot>, Failure> {
    let directory = settings::directory().ok_or_else(no_directory)?;
    match ArchiveRoot::examine(&directory, &server::data_directory())? {
        Standing::ToBeMade => Ok(None),
        Standing::Ready | Standing::ToBeClosed => root().map(Some),
    }
}

/// The root of the archive, checked, and created if missing.
pub fn root() -> Result<ArchiveRoot, Failure> {
    let directory = settings::directory().ok_or_else(no_directory)?;
    Ok(ArchiveRoot::open(&directory, &server::data_directory())?)
}

/// The directory of the database `name`, created if missing: `to` start a chain in it, also where another server was the
/// owner, or to go on in that one's chain.
pub fn claim(database: pg_sys::Oid, name: &str, to: To) -> Result<Owned, Failure> {
    open(database, name, to)
}

/// What this server finds if another one owns the archive of a database that it has the slot of, or if the directory is a copy
/// of what another one wrote.
#[derive(Clone, Debug)]
pub struct Predecessor {
    pub directory: DatabaseDir,
    /// `None` for a copy that archive_command made: it has no owner.
    pub owner: Option<Owner>,
    /// The timeline of the owner, or of the files.
    pub timeline: u32,
    /// What this server lacks to go on in the owner's chain; `None` if nothing.
    pub obstacle: Option<String>,
    /// This server was promoted from the owner's timeline: if it can't go on in the chain, it can begin another.
    pub is_ours: bool,
}

impl Predecessor {
    /// Why nobody can see whether the owner still runs; `None` if its lock is visible to all hosts, as far as is known.
    pub fn has_local_lock(&self) -> Option<String> {
        mounts::lock_is_local(self.directory.path())
    }
}

/// The other server that owns the archive of a database; `None` if this one does, or nobody. Needs a transaction, for
/// memory.
pub fn predecessor(database: pg_sys::Oid) -> Result<Option<Predecessor>, Failure> {
    let Some(directory) = find(database)? else {
        return Ok(None);
    };
    let claim = claim_of(database, To::Write);
    if claim::ensure_may_write(&directory, &this_server(), claim).is_ok() {
        return Ok(None);
    }
    let owner = owner::read(directory.path())?;
    let (timeline, system_identifier) = match (&owner, directory.latest_chain()?) {
        (Some(owner), _) => (owner.identity.timeline, owner.identity.system_identifier),
        (None, Some(chain)) => (chain.last_timeline()?, chain.info.system_identifier),
        (None, None) => return Ok(None),
    };
    let obstacle = obstacle(database, &directory, timeline, system_identifier)?;
    let is_ours = system_identifier == server::system_identifier() && left(timeline).is_some();
    Ok(Some(Predecessor {
        directory,
        owner,
        timeline,
        obstacle,
        is_ours,
    }))
}

/// Where this server's history has left a timeline.
fn left(timeline: u32) -> Option<Lsn> {
    match timeline::shared_with(timeline) {
        Shared::LeftAt(at) => Some(Lsn(at)),
        _ => None,
    }
}

/// Why this server can't go on where the owner, which was on timeline `theirs`, has ended.
fn obstacle(
    database: pg_sys::Oid,
    directory: &DatabaseDir,
    theirs: u32,
    system_identifier: u64,
) -> Result<Option<String>, Failure> {
    if system_identifier != server::system_identifier() {
        return Ok(Some("its owner is of another cluster".to_owned()));
    }
    if left(theirs).is_none() {
        return Ok(Some(format!(
            "timeline {theirs} of its owner is no former one of this server, which is on timeline {}",
            server::timeline()
        )));
    }
    let name = workers::slot_name(database);
    let Some(position) = slot::position(&name).filter(|_| has_slot(database)) else {
        return Ok(Some(format!("this server has no slot \"{name}\"")));
    };
    if position.is_invalidated {
        return Ok(Some(format!("slot \"{name}\" of this server is invalid")));
    }
    let chain = match directory.served_chain()? {
        Some(chain) if chain.info.ended.is_none() => chain,
        _ => return Ok(Some("its chain has ended".to_owned())),
    };
    let last = chain.last_timeline()?;
    let switched_at = chain.last_switched_at()?;
    if let Some(at) = switched_at.filter(|at| !timeline::has_switched_at(last, at.0)) {
        return Ok(Some(format!(
            "its files end on a timeline {last} that began at {at}, which is not the one in this server's history"
        )));
    }
    let begins_at = chain.info.slot_start_lsn;
    Ok(match left(last) {
        None => Some(format!(
            "its files end on timeline {last}, which is no former one of this server"
        )),
        Some(at) if begins_at > at => Some(format!(
            "its chain begins at {begins_at}, behind {at}, where this server left timeline {last}"
        )),
        Some(_) => None,
    })
}

/// The directory of the database `name`, which this server already owns; it gets that name.
pub fn own_as(database: pg_sys::Oid, name: &str) -> Result<Option<Owned>, Failure> {
    match find(database)? {
        Some(_) => open(database, name, To::Write).map(Some),
        None => Ok(None),
    }
}

/// The existing directory of a database, if any, to write to it.
pub fn own(database: pg_sys::Oid) -> Result<Option<Owned>, Failure> {
    let found = find(database)?;
    found
        .map(|directory| own_directory(database, directory))
        .transpose()
}

/// [`own`] for a directory that was found already.
pub fn own_directory(database: pg_sys::Oid, directory: DatabaseDir) -> Result<Owned, Failure> {
    let hold = hold(&directory, database, To::Write)?;
    Ok(Owned { directory, hold })
}

fn open(database: pg_sys::Oid, name: &str, to: To) -> Result<Owned, Failure> {
    let (system_identifier, oid) = (server::system_identifier(), database.to_u32());
    let hold = |directory: &DatabaseDir| hold(directory, database, to);
    let opened = root()?.open_database_if(system_identifier, oid, name, hold)?;
    let (directory, hold) = opened;
    directory.ensure_restore_files()?;
    Ok(Owned { directory, hold })
}

fn hold(directory: &DatabaseDir, database: pg_sys::Oid, to: To) -> archive::Result<Hold> {
    let claim = claim_of(database, to);
    claim::hold(directory, database.to_u32(), &this_server(), claim)
}

fn claim_of(database: pg_sys::Oid, to: To) -> Claim {
    let has_slot = has_slot(database);
    Claim { to, has_slot }
}

fn this_server() -> Server {
    Server {
        identity: Identity {
            system_identifier: server::system_identifier(),
            timeline: server::timeline(),
            host: server::host(),
            data_directory: server::real_data_directory(),
        },
        start: server::start_id(),
    }
}

/// Fails if another server owns the directory of a database, and names it. Not in recovery.
pub fn ensure_ours(database: pg_sys::Oid) -> Result<(), Failure> {
    match find(database)? {
        Some(found) => {
            let claim = claim_of(database, To::Begin);
            Ok(claim::ensure_may_write(&found, &this_server(), claim)?)
        }
        None => Ok(()),
    }
}

/// The existing directory of a database, if any, to read it.
pub fn find(database: pg_sys::Oid) -> Result<Option<DatabaseDir>, Failure> {
    match existing_root()? {
        Some(root) => Ok(root.find_database(server::system_identifier(), database.to_u32())?),
        None => Ok(None),
    }
}

/// The directories of all databases of this server, as far as they can be read, each with the copies that somebody made
/// of it below the same root.
pub fn all() -> Result<Vec<Directories>, Failure> {
    match existing_root()? {
        Some(root) => Ok(root.directories_of(server::system_identifier())?),
        None => Ok(Vec::new()),
    }
}

/// The newest chain of a database that its owner's slot writes or has written, ended or not. A newer chain
/// that was put there by somebody else does not count.
pub fn latest_chain(database: pg_sys::Oid) -> Result<Option<ChainDir>, Failure> {
    match find(database)? {
        Some(found) => Ok(found.served_chain()?),
        None => Ok(None),
    }
}

/// The end of a chain that was ended on purpose; behind other words if it had ended before.
const TORN_DOWN: &str = "incr_teardown() dropped the slot";

/// True for a chain that nobody misses.
pub fn is_torn_down(end: &ChainEnd) -> bool {
    end.reason.ends_with(TORN_DOWN)
}

/// Records that the newest chain of a database has ended; the first reason is kept. A directory of another
/// server is not changed.
pub fn end_chain(database: pg_sys::Oid, reason: &str) -> Result<(), Failure> {
    match find(database)? {
        Some(found) => end_chain_in(found, database, reason),
        None => Ok(()),
    }
}

/// Records that incr_teardown() has ended the newest chain of a database, also where that had ended before: nobody misses what
/// would follow. False if there is none, or it was recorded.
pub fn tear_down(database: pg_sys::Oid) -> Result<bool, Failure> {
    let Some(found) = find(database)? else {
        return Ok(false);
    };
    let Some(owned) = owned_to_end(found, database)? else {
        return Ok(false);
    };
    match owned.served_chain()? {
        Some(mut chain) => Ok(chain.end_finally(TORN_DOWN)?),
        None => Ok(false),
    }
}

/// [`end_chain`] in each directory of this server whose database does not exist. If it fails in one, the others are done
/// all the same. For the launcher.
pub fn end_chains_of_dropped() -> Result<(), Failure> {
    let mut outcome = Ok(());
    let directories = all()?;
    // Afterwards: a database whose directory was found exists.
    let existing = BackgroundWorker::transaction(databases::all);
    for of in directories {
        let (database, found) = (pg_sys::Oid::from(of.database_oid), of.directory);
        if existing.contains(&database) {
            continue;
        }
        let ended = match found.served_chain() {
            Ok(Some(chain)) if chain.info.ended.is_none() => {
                end_chain_in(found, database, "the database was dropped")
            }
            Ok(_) => Ok(()),
            Err(error) => Err(error.into()),
        };
        outcome = outcome.and(ended);
    }
    outcome
}

fn end_chain_in(found: DatabaseDir, database: pg_sys::Oid, reason: &str) -> Result<(), Failure> {
    let Some(owned) = owned_to_end(found, database)? else {
        return Ok(());
    };
    match owned.served_chain()? {
        Some(mut chain) => Ok(chain.end_here(reason)?),
        None => Ok(()),
    }
}

/// `None` if another server owns it.
fn owned_to_end(found: DatabaseDir, database: pg_sys::Oid) -> Result<Option<Owned>, Failure> {
    match hold(&found, database, To::Write) {
        Err(archive::Error::NotOwner { .. } | archive::Error::NoOwner { .. }) => Ok(None),
        hold => Ok(Some(Owned {
            directory: found,
            hold: hold?,
        })),
    }
}

fn no_directory() -> Failure {
    Failure::new(
        PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        "pg_incrbackup.directory is not set",
    )
    .hint(
        "Add a line like pg_incrbackup.directory = '/var/backups/pg_incrbackup' to \
         postgresql.conf and reload the configuration.",
    )
}
