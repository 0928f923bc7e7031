//! From `CREATE EXTENSION` to a usable backup: replica identities, slot, chain, first base.
//!
//! Each step is only executed if needed, so that an interrupted setup is simply run again. The chain is
//! durable before its slot is: a crash between the two leaves a chain without a slot, which the next setup
//! ends. The slot is what marks the database as backed up.

use archive::layout::NewChain;
use archive::{ChainDir, Lsn};
use pgrx::prelude::*;

use super::dump::Source;
use super::{base, board, globals, identities, turn};
use crate::pg::decoding::slot::{self, NewSlot};
use crate::pg::failure::Failure;
use crate::pg::server::{self, title, transaction};
use crate::place::{Owned, OwnedChain, To};
use crate::status::{self, BasePhase, Phase};
use crate::{place, settings, workers};

/// How a setup is done.
#[derive(Clone, Copy, Default)]
pub struct How {
    /// A new chain in any case.
    pub new_chain: bool,
    /// Also if another server owned the archive.
    pub take_over: bool,
    /// Only to go on in the chain that is there.
    pub goes_on: bool,
    /// Nobody waits for it: without a free turn, the first base is left to a later call.
    pub is_automatic: bool,
}

/// Does whatever is missing. The archive's ownership is checked first, so that a refused setup has changed
/// nothing.
pub fn run(database: pg_sys::Oid, source: &Source, how: How) -> Result<(), Failure> {
    let How {
        new_chain,
        take_over,
        goes_on,
        is_automatic,
    } = how;
    let name = workers::slot_name(database);
    if workers::has_slot(database) && !new_chain && place::find(database)?.is_none() {
        // Nothing is created if the archive may not be mounted.
        return Err(slot_without_chain(&name));
    }
    let to = if take_over {
        to_take_over(database, new_chain, goes_on)?
    } else {
        To::Begin
    };
    let owned = place::claim(database, &source.database, to)?;
    let goes_on = matches!(to, To::GoOnFrom(_));
    if let Some(former) = owned.taken_from() {
        let how = if goes_on {
            "; it goes on in its chain"
        } else {
            ""
        };
        title::log(&format!(
            "this server has taken over the archive from {former}{how}"
        ));
    }
    let mut identities = identities::ensure()?;
    if new_chain || owned.taken_from().is_some() && !goes_on {
        end_chain(database, &name, &owned)?;
    } else if owned.taken_from().is_some() {
        forget_failures(database);
    }
    if workers::has_slot(database) {
        resume(database);
        let chain = owned
            .served_chain()?
            .ok_or_else(|| slot_without_chain(&name))?;
        if let Some(end) = &chain.info.ended {
            return Err(chain_has_ended(&end.reason));
        }
        if chain.bases()?.is_empty() {
            make_in_turn(database, &owned.chain(chain), source)?;
        }
    } else {
        let (slot, chain) = create(database, &name, source, &owned)?;
        let chain = owned.chain(chain);
        resume(database);
        if turn::try_take(database) {
            base::make(&chain, source, Some(slot))?;
        } else {
            // A snapshot that waits with us would hold back vacuum everywhere.
            slot.end_export();
            if !is_automatic {
                make_in_turn(database, &chain, source)?;
            }
        }
        // Others need not wait for tables that are in use here.
        turn::give_back(database);
        // Tables created between the first pass and the slot.
        identities += identities::ensure()?;
    }
    board::identities_set(identities);
    Ok(())
}

/// The first base of a chain under a new snapshot, when it is its turn. Changes are captured meanwhile.
fn make_in_turn(
    database: pg_sys::Oid,
    chain: &OwnedChain<'_>,
    source: &Source,
) -> Result<(), Failure> {
    if turn::take(database)? {
        let source = transaction::run(Source::collect)?;
        return base::make(chain, &source, None).map(|_| ());
    }
    base::make(chain, source, None).map(|_| ())
}

/// Creates the slot, still ephemeral, then its chain, then makes the slot persistent.
fn create(
    database: pg_sys::Oid,
    name: &str,
    source: &Source,
    owned: &Owned,
) -> Result<(NewSlot, ChainDir), Failure> {
    for mut forgotten in owned.open_chains()? {
        forgotten.end_here("its slot did not exist when incr_setup() was run")?;
    }
    board::enter(BasePhase::CreatingSlot);
    let plugin = settings::plugin();
    let slot = NewSlot::create(name, &plugin, settings::failover());
    let chain = owned.create_chain(NewChain {
        system_identifier: server::system_identifier(),
        timeline: server::timeline(),
        database_oid: database.to_u32(),
        database: source.database.clone(),
        slot: name.to_string(),
        plugin,
        slot_start_lsn: Lsn(slot.start_lsn),
    })?;
    slot.persist();
    board::slot_is_changed();
    board::enter(BasePhase::WaitingForTurn);
    globals::want(database);
    Ok((slot, chain))
}

/// Lets the capture worker start, immediately and without earlier failures, and the globals worker too.
fn resume(database: pg_sys::Oid) {
    status::update_existing(database, |entry| {
        entry.held = false;
        globals::forget_failures(&mut entry.globals);
        if matches!(entry.phase, Phase::Broken | Phase::WaitingToRetry) {
            entry.phase = Phase::Stopped;
            entry.retry_at = 0;
        }
    });
    workers::resume(database);
}

/// Ends the chain and drops its slot, for incr_setup(new_chain => true). A slot that was copied with the
/// server is dropped when the archive is taken over.
fn end_chain(database: pg_sys::Oid, name: &str, owned: &Owned) -> Result<(), Failure> {
    if workers::has_slot(database) {
        drop_slot(database, name)?;
        board::slot_is_changed();
    }
    if let Some(mut chain) = owned.served_chain()? {
        chain.end_here("replaced by incr_setup(new_chain => true)")?;
    }
    forget_failures(database);
    Ok(())
}

fn forget_failures(database: pg_sys::Oid) {
    status::update_existing(database, |entry| {
        entry.broken.set("");
        entry.last_error.set("");
        entry.failures = 0;
        entry.restarts = 0;
        entry.phase = Phase::Stopped;
    });
}

/// How the archive is taken over: in the chain that is there, if this server is the successor of its owner.
fn to_take_over(database: pg_sys::Oid, new_chain: bool, must_go_on: bool) -> Result<To, Failure> {
    if new_chain {
        return Ok(To::TakeOver);
    }
    let found = transaction::run(|| place::predecessor(database))?;
    let Some(predecessor) = found else {
        // It is the owner already.
        return Ok(if must_go_on { To::Write } else { To::TakeOver });
    };
    match predecessor.obstacle {
        None => Ok(To::GoOnFrom(predecessor.timeline)),
        Some(why) if must_go_on => Err(Failure::new(
            PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            format!("this server does not go on in the chain of the archive: {why}"),
        )),
        Some(why) => {
            title::log(&format!(
                "this server does not go on in the chain of the archive: {why}"
            ));
            Ok(To::TakeOver)
        }
    }
}

/// Stops capture and drops the slot, if there is one.
pub fn drop_slot(database: pg_sys::Oid, name: &str) -> Result<(), Failure> {
    if !workers::has_slot(database) {
        return Ok(());
    }
    let dropped = transaction::catch(|| {
        workers::step_aside(database);
        slot::drop(name);
    });
    dropped.inspect_err(|_| workers::resume(database))
}

fn slot_without_chain(name: &str) -> Failure {
    Failure::new(
        PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        format!("slot \"{name}\" exists, but pg_incrbackup.directory does not contain its chain"),
    )
    .hint(
        "Set pg_incrbackup.directory to the directory that contains the files, or start over with \
         SELECT * FROM incr_setup(new_chain => true).",
    )
}

fn chain_has_ended(reason: &str) -> Failure {
    Failure::new(
        PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        "the chain of this database is broken",
    )
    .detail(reason)
    .hint("The files remain valid. SELECT * FROM incr_setup(new_chain => true) starts a new chain.")
}
