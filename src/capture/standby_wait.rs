//! A reader that waits for the standbys of `synchronized_standby_slots`: when it looks again, and who is told.
//!
//! With a standby that is there, waits last for milliseconds and nobody hears of them. One that is away stops the files:
//! the board says so, and after a while the log, once.

use std::time::{Duration, Instant};

use pgrx::prelude::*;

use crate::pg::decoding::standbys;
use crate::pg::server::title;
use crate::status::{self, StandbyStatus};

/// A standby's confirmation wakes walsenders only. The interval grows from the first to the last: a commit whose WAL is
/// about to be confirmed is not held up, and a standby that is away costs little.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);
/// The board is told from here on, at this interval.
const TOLD_AFTER: Duration = Duration::from_millis(500);

pub struct StandbyWait {
    database: pg_sys::Oid,
    current: Option<Wait>,
}

struct Wait {
    lsn: u64,
    pause: Duration,
    began: Instant,
    began_at: i64,
    /// So long after its beginning the board is told next.
    next_note: Duration,
    is_logged: bool,
}

impl StandbyWait {
    pub fn new(database: pg_sys::Oid) -> StandbyWait {
        StandbyWait {
            database,
            current: None,
        }
    }

    /// WAL up to `lsn` waits for a standby; returns how long until the next look.
    pub fn goes_on(&mut self, lsn: u64) -> Duration {
        let former = self.current.take_if(|wait| wait.lsn != lsn);
        let is_logged = former.is_some_and(|wait| self.forget(&wait));
        let wait = self.current.get_or_insert_with(|| Wait {
            lsn,
            pause: FIRST_PAUSE,
            began: Instant::now(),
            began_at: archive::time::now().timestamp_micros(),
            next_note: TOLD_AFTER,
            is_logged,
        });
        let pause = wait.pause;
        wait.pause = (pause * 2).min(LONGEST_PAUSE);
        let waited = wait.began.elapsed();
        if waited >= wait.next_note {
            wait.next_note = waited + TOLD_AFTER;
            // It may just have confirmed.
            let awaited = standbys::awaited(lsn).unwrap_or_else(|| "a standby".to_owned());
            let since = wait.began_at;
            status::update_existing(self.database, |entry| {
                entry.standby.since = since;
                entry.standby.awaited.set(&awaited);
            });
            if waited >= status::LONG_STANDBY_WAIT && !wait.is_logged {
                wait.is_logged = true;
                title::log(&format!(
                    "waiting for {awaited}; nothing is written that the standbys of synchronized_standby_slots lack"
                ));
            }
        }
        pause
    }

    /// Nothing waits any more.
    pub fn is_over(&mut self) {
        if let Some(wait) = self.current.take() {
            if self.forget(&wait) {
                title::log("the standbys of synchronized_standby_slots have caught up");
            }
        }
    }

    /// Takes a wait that has ended from the board; true if the log has it.
    fn forget(&self, wait: &Wait) -> bool {
        if wait.next_note > TOLD_AFTER {
            status::update_existing(self.database, |entry| {
                entry.standby = StandbyStatus::default();
            });
        }
        wait.is_logged
    }
}
