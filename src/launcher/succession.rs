//! After a promotion: goes on in the archive of the former primary, where the administrator has said so
//! (`pg_incrbackup.take_over = on_promotion`).
//!
//! Nothing distinguishes a promoted standby from a promoted copy but somebody's word; what can be seen is required all the
//! same: the slot, a history that contains the owner's timeline, and that no process of the owner has held its lock for the
//! whole delay. The lock is asked at each look, at least each second, and a single look at which it is held begins the
//! delay anew. Where other hosts do not see the lock, it says nothing about the owner, and nothing is taken over.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use archive::{claim, DatabaseDir};
use pgrx::prelude::*;

use crate::backup::{self, Job};
use crate::pg::failure::Failure;
use crate::pg::server::{title, transaction};
use crate::place;
use crate::settings::{self, OnChainBreak, TakeOver};
use crate::status::{self, Phase};
use crate::workers::doubled;

/// The interval of looks while a lock is watched.
const LOOK: Duration = Duration::from_secs(1);
/// While there is nothing to watch.
const IDLE: Duration = Duration::from_secs(10);
/// What failed is tried again after the delay, and later each time.
const LONGEST_RETRY: Duration = Duration::from_secs(600);

/// A look by somebody else, as health's, holds the lock for a moment: one at which it is held is repeated so often, after
/// this pause.
const REPEATS: u32 = 2;
const PAUSE: Duration = Duration::from_millis(20);

/// A database whose archive another server owns.
#[derive(Default)]
struct Watched {
    /// Since when no process has held the lock.
    free_since: Option<Instant>,
    attempts: u32,
    not_before: Option<Instant>,
}

#[derive(Default)]
pub struct Succession {
    watched: HashMap<u32, Watched>,
    /// Databases of which the log says that their lock is of no use.
    is_told: HashSet<u32>,
    /// The error of the last look, which the log has once.
    failed: HashMap<u32, String>,
}

impl Succession {
    /// Takes over what is due; returns the time until the next look.
    pub fn look(&mut self, served: &[pg_sys::Oid]) -> Duration {
        if settings::take_over() != TakeOver::OnPromotion {
            *self = Succession::default();
            return IDLE;
        }
        let is_served = |number: &u32| served.contains(&pg_sys::Oid::from(*number));
        self.watched.retain(|number, _| is_served(number));
        self.is_told.retain(is_served);
        self.failed.retain(|number, _| is_served(number));
        let mut sleep = IDLE;
        for database in served {
            match self.look_at(*database) {
                Ok(is_waiting) => {
                    self.failed.remove(&database.to_u32());
                    if is_waiting {
                        sleep = LOOK;
                    } else {
                        self.watched.remove(&database.to_u32());
                    }
                }
                Err(failure) => self.note(*database, failure),
            }
        }
        sleep
    }

    /// A look has failed: nobody knows what became of the lock meanwhile. Health finds the same out by itself.
    fn note(&mut self, database: pg_sys::Oid, failure: Failure) {
        if let Some(watched) = self.watched.get_mut(&database.to_u32()) {
            watched.free_since = None;
        }
        let text = failure.in_full();
        if self.failed.get(&database.to_u32()) == Some(&text) {
            return;
        }
        self.failed.insert(database.to_u32(), text.clone());
        let message =
            "could not find out whether the archive is to be taken over, or could not begin to";
        Failure {
            message: message.to_owned(),
            detail: Some(text),
            ..failure
        }
        .log_of(database, PgLogLevel::WARNING);
    }

    /// True while the lock of its owner is watched.
    fn look_at(&mut self, database: pg_sys::Oid) -> Result<bool, Failure> {
        let entry = status::read(database).unwrap_or_default();
        // Whoever captures is the owner.
        if matches!(entry.phase, Phase::Streaming | Phase::CaughtUp) || entry.held {
            return Ok(false);
        }
        let found = transaction::run(|| place::predecessor(database))?;
        let Some(predecessor) = found else {
            return Ok(false);
        };
        // A copy that somebody has put there: no lock says whether its writer still runs.
        let Some(owner) = &predecessor.owner else {
            return Ok(false);
        };
        let job = if predecessor.obstacle.is_none() {
            Job::GoOn
        } else if predecessor.is_ours && settings::on_chain_break() == OnChainBreak::Rebase {
            // Its slot is invalid, or the chain has ended.
            Job::Setup {
                new_chain: true,
                take_over: true,
            }
        } else {
            return Ok(false);
        };
        if let Some(why) = predecessor.has_local_lock() {
            if self.is_told.insert(database.to_u32()) {
                title::log_of(
                    database,
                    &format!(
                        "the archive belongs to {}; this server, which was promoted, does not take it over by itself: other \
                         hosts do not see the locks in the archive ({why})",
                        owner.identity
                    ),
                );
            }
            return Ok(false);
        }
        let delay = settings::take_over_delay();
        let watched = self.watched.entry(database.to_u32()).or_insert_with(|| {
            title::log_of(
                database,
                &format!(
                    "the archive belongs to {}; this server, which was promoted, takes it over when no process of \
                     that one has held its lock for {} s (pg_incrbackup.take_over_delay)",
                    owner.identity,
                    delay.as_secs()
                ),
            );
            Watched::default()
        });
        if !is_free(&predecessor.directory)? {
            watched.free_since = None;
            return Ok(true);
        }
        let now = Instant::now();
        let since = *watched.free_since.get_or_insert(now);
        let is_early = watched.not_before.is_some_and(|at| at > now);
        if now - since < delay || is_early || entry.base.is_running() {
            return Ok(true);
        }
        let pause = doubled(delay.max(LOOK), watched.attempts, LONGEST_RETRY);
        watched.not_before = Some(now + pause);
        watched.attempts += 1;
        watched.free_since = None;
        backup::start(database, job)?;
        Ok(true)
    }
}

/// True if no process holds the lock, but for those that only look at it.
fn is_free(directory: &DatabaseDir) -> archive::Result<bool> {
    for _ in 0..REPEATS {
        if claim::is_free(directory)? {
            return Ok(true);
        }
        std::thread::sleep(PAUSE);
    }
    claim::is_free(directory)
}
