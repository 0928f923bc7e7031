//! The base worker: a background worker that performs one job in one database.
//!
//! `setup` does whatever is missing of replica identities, slot, chain and first base; `base` takes one more
//! base, and `heal` checks replica identities first. The worker reports on the status board, and in the log
//! if no backend waits for it.

use pgrx::bgworkers::{BackgroundWorker, DynamicBackgroundWorker};
use pgrx::prelude::*;

use super::dump::Source;
use super::setup::How;
use super::{automatic, base, board, expiry, globals, heal, setup, turn};
use crate::pg::failure::Failure;
use crate::pg::server::{process, signals, transaction};
use crate::status::BasePhase;
use crate::{place, preflight, workers};

/// What a base worker is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Job {
    /// Whatever is missing; with `new_chain` always a new slot, chain and base, with `take_over` also if
    /// another server owned the archive.
    Setup {
        new_chain: bool,
        take_over: bool,
    },
    /// Whatever is missing, without anybody who waits for it; the first base only if there is a free turn.
    AutomaticSetup,
    /// Takes the archive over, to go on in the chain of the former primary.
    GoOn,
    Base,
    /// A base that ends an incomplete range.
    Heal,
}

impl Job {
    fn to_extra(self) -> &'static str {
        match self {
            Job::Setup {
                new_chain,
                take_over,
            } => match (new_chain, take_over) {
                (false, false) => "setup",
                (true, false) => "setup new chain",
                (false, true) => "setup take over",
                (true, true) => "setup new chain take over",
            },
            Job::AutomaticSetup => "automatic",
            Job::GoOn => "go on",
            Job::Base => "base",
            Job::Heal => "heal",
        }
    }

    fn is_setup(self) -> bool {
        matches!(self, Job::Setup { .. } | Job::AutomaticSetup | Job::GoOn)
    }

    fn from_extra(text: &str) -> Job {
        match text.strip_prefix("setup") {
            Some(how) => Job::Setup {
                new_chain: how.contains("new chain"),
                take_over: how.contains("take over"),
            },
            None if text == Job::Heal.to_extra() => Job::Heal,
            None if text == Job::AutomaticSetup.to_extra() => Job::AutomaticSetup,
            None if text == Job::GoOn.to_extra() => Job::GoOn,
            None => Job::Base,
        }
    }
}

/// A job that was started, for the process that waits for it.
pub struct Started {
    pub number: u64,
    pub worker: DynamicBackgroundWorker,
}

/// Starts a worker for `job` in `database`. Fails if one is already running there.
pub fn start(database: pg_sys::Oid, job: Job) -> Result<Started, Failure> {
    preflight::ensure_room(database)?;
    let me = std::process::id() as i32;
    let number = board::claim(database, me, job.is_setup()).ok_or_else(is_busy)?;
    let worker = workers::of_kind("base", database)
        .set_extra(job.to_extra())
        .load_dynamic();
    worker
        .map(|worker| Started { number, worker })
        .map_err(|_| {
            board::release(database, number);
            workers::none_is_free()
        })
}

#[pg_guard]
#[no_mangle]
pub extern "C-unwind" fn pg_incrbackup_base_main(argument: pg_sys::Datum) {
    let database = pg_sys::Oid::from(argument.value() as u32);
    if !board::begin(database) {
        return;
    }
    signals::at_exit(|| {
        base::discard_in_making();
        board::leave();
    });
    signals::end_on_sigterm();
    workers::connect(Some(database));
    process::end_with_this_process();
    let job = Job::from_extra(BackgroundWorker::get_extra());
    let outcome = transaction::catch(|| run(database, job)).and_then(|result| result);
    transaction::rollback();
    base::discard_in_making();
    if outcome.is_ok() {
        turn::give_back(database);
        board::enter(BasePhase::Expiring);
        expiry::run(database);
        let pruned = transaction::run(|| {
            expiry::prune_ddl_history();
            Ok::<(), Failure>(())
        });
        if let Err(failure) = pruned {
            failure.log(PgLogLevel::WARNING);
        }
    }
    board::end(&outcome);
    // Also for changes that were not made by a statement: the catalogs may have been updated directly.
    globals::want(database);
    match outcome {
        Ok(()) => automatic::note_success(database),
        Err(failure) if job == Job::AutomaticSetup => automatic::note_failure(database, &failure),
        Err(failure) => failure.log(PgLogLevel::WARNING),
    }
}

fn run(database: pg_sys::Oid, job: Job) -> Result<(), Failure> {
    let mut source = transaction::run(Source::collect)?;
    match job {
        Job::Setup {
            new_chain,
            take_over,
        } => {
            let how = How {
                new_chain,
                take_over,
                ..How::default()
            };
            setup::run(database, &source, how)
        }
        Job::AutomaticSetup => {
            let how = How {
                is_automatic: true,
                ..How::default()
            };
            setup::run(database, &source, how)
        }
        Job::GoOn => {
            let how = How {
                take_over: true,
                goes_on: true,
                is_automatic: true,
                ..How::default()
            };
            setup::run(database, &source, how)
        }
        Job::Base | Job::Heal => {
            if turn::take(database)? {
                source = transaction::run(Source::collect)?;
            }
            if job == Job::Heal {
                heal::set_identities();
            }
            let owned = place::own(database)?.ok_or_else(no_chain)?;
            let chain = owned
                .served_chain()?
                .filter(|chain| chain.info.ended.is_none());
            let chain = chain.ok_or_else(no_chain)?;
            base::make(&owned.chain(chain), &source, None).map(|_| ())
        }
    }
}

fn is_busy() -> Failure {
    Failure::new(
        PgSqlErrorCode::ERRCODE_OBJECT_IN_USE,
        "a base backup of this database is already in progress",
    )
    .hint("SELECT * FROM incr_status() shows its progress.")
}

fn no_chain() -> Failure {
    Failure::new(
        PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        "this database has no open chain to which a base backup can be added",
    )
    .hint(
        "Run SELECT * FROM incr_setup(), or incr_setup(new_chain => true) if the chain is broken.",
    )
}
