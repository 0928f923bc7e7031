//! Several sessions ("lanes") that apply changes of rows at the same time.
//!
//! ```text
//!                        ┌─▶ lane 0: the restore's own session ─┐
//! reader ─▶ replay ─▶ route ─▶ lane 1 ──────────────────────────┼─▶ gather ─▶ schema changes, TRUNCATE, …
//!                        └─▶ lane 2 ────────────────────────────┘
//! ```
//!
//! Changes that must stay in order have the same lane ([`route`]). What is no change of a row, or may concern several
//! lanes, is a barrier: all lanes commit what is before it, and the restore's own session does it, alone. Then the target is
//! as the source was at that place. Between barriers lanes commit independently, each with its progress ([`progress`]).
//!
//! | room | what it does |
//! | --- | --- |
//! | [`route`], [`statement`] | which lane a change has |
//! | [`lane`] | a session, and what it is given |
//! | [`dispatch`] | gives out what is read, and gathers |
//! | [`progress`] | how far each lane is |

pub mod dispatch;
mod lane;
pub mod progress;
mod route;
mod statement;

use std::collections::VecDeque;
use std::sync::Arc;

use tokio_postgres::Client;

use super::rows::Failed;
use crate::connection::Session;
use crate::error::{Error, Result};
use crate::restore::counts::Counts;
use crate::restore::progress::{sql, Place};
use lane::{Ended, Lane};
use progress::{Position, Reached};
use route::Routes;

/// After a barrier this many statements are the restore's own, since another one may be near.
const REST: u64 = 100;
/// A lane commits after this many statements or bytes, each.
const MOST_STATEMENTS: u64 = 2000;
const MOST_BYTES: usize = 512 << 10;

/// What a restore that stops leaves behind when its lanes are not at the same place between two transactions.
const NO_STATE: &str = "Its rows are of no state that the source had: its sessions have committed different transactions, \
    or a part of one.";

/// The lanes of a replay.
pub struct Lanes {
    lanes: Vec<Lane>,
    routes: Routes,
    /// Of the restore's own session, which is also lane 0.
    client: Arc<Client>,
    /// Those of the other lanes.
    beside: Vec<Session>,
    /// What is counted so far is none of theirs.
    counts: Counts,
    is_utf8: bool,
    /// How many there are to be, from the next barrier on.
    wanted: usize,
    /// How far an earlier run's were; empty when all are as far.
    reached: Vec<Position>,
    /// Since all have committed.
    statements: u64,
    bytes: usize,
    /// Something was given to a lane since the last barrier.
    is_given: bool,
    /// Commits by their numbers, and what the target is when all lanes have committed so far and no more.
    round: u64,
    rounds: VecDeque<(u64, String)>,
    /// Statements that are the restore's own still.
    rest: u64,
    /// What the lanes know of tables is not so any more.
    is_stale: bool,
}

impl Lanes {
    /// So many lanes; as many as an earlier run had if those are at different places, up to the next barrier.
    pub async fn start(
        own: &Session,
        beside: Vec<Session>,
        wanted: usize,
        Reached {
            place,
            lanes: reached,
        }: Reached,
        counts: Counts,
    ) -> Result<Option<Lanes>> {
        let is_even = reached.is_empty();
        let count = if is_even { wanted } else { reached.len() };
        if count < 2 {
            return Ok(None);
        }
        if is_even {
            progress::keep(own, count, &place).await?;
        }
        let mut lanes = Lanes {
            lanes: Vec::new(),
            routes: Routes::new(Arc::clone(&own.client), count),
            client: Arc::clone(&own.client),
            beside,
            counts,
            is_utf8: own.is_utf8(),
            wanted,
            reached,
            statements: 0,
            bytes: 0,
            is_given: false,
            round: 0,
            rounds: VecDeque::new(),
            rest: 0,
            is_stale: false,
        };
        lanes.run(count);
        Ok(Some(lanes))
    }

    fn run(&mut self, count: usize) {
        let clients = self.beside.iter().map(|session| &session.client);
        let clients = std::iter::once(&self.client).chain(clients).take(count);
        let lanes = clients.zip(0..).map(|(client, number)| {
            let counts = self.counts.beside(number);
            Lane::start(Arc::clone(client), self.is_utf8, counts)
        });
        self.lanes = lanes.collect();
    }

    /// Another number of lanes, since all are at this place, unless it is within a transaction. False: one session is wanted.
    async fn renumber(&mut self, own: &Session, place: &Place) -> Result<bool> {
        if self.lanes.len() == self.wanted || place.items > 0 {
            return Ok(true);
        }
        for lane in &mut self.lanes {
            // All that they were given is committed.
            let _ = lane.end().await;
        }
        progress::keep(own, self.wanted, place).await?;
        self.routes = Routes::new(Arc::clone(&self.client), self.wanted);
        self.round = 0;
        self.run(self.wanted);
        Ok(self.wanted > 1)
    }

    /// Whether a lane has done this already.
    fn has_done(&self, lane: usize, position: Option<&Position>) -> bool {
        let reached = self.reached.get(lane).zip(position);
        reached.is_some_and(|(reached, position)| reached >= position)
    }

    /// Whether a lane has done what is behind this.
    fn is_ahead(&self, position: &Position) -> bool {
        self.reached.iter().any(|it| it > position)
    }

    /// The sessions beside the restore's own.
    pub fn into_beside(self) -> Vec<Session> {
        self.beside
    }

    /// What a session must have, of those beside the restore's own.
    pub fn beside(&mut self) -> &mut [Session] {
        &mut self.beside
    }

    /// Plans and keys may be others; the texts that follow are in UTF-8 or not.
    pub fn forget(&mut self, is_utf8: bool) {
        self.is_utf8 = is_utf8;
        self.is_stale = true;
        self.routes.forget();
    }

    fn freshen(&mut self) -> std::result::Result<(), Ended> {
        if std::mem::take(&mut self.is_stale) {
            for lane in &self.lanes {
                lane.forget(self.is_utf8)?;
            }
        }
        Ok(())
    }

    /// All lanes commit what they were given, with this place.
    fn commit(&mut self, place: &Place, state: String) -> std::result::Result<(), Ended> {
        let place = Arc::new(sql::constant(place));
        self.round += 1;
        self.rounds.push_back((self.round, state));
        let least = self.lanes.iter().map(Lane::committed).min().unwrap_or(0);
        while self.rounds.front().is_some_and(|(round, _)| *round < least) {
            self.rounds.pop_front();
        }
        (self.statements, self.bytes) = (0, 0);
        // One that is further has been given nothing, and stays there.
        let mut lanes = self.lanes.iter();
        lanes.try_for_each(|lane| lane.commit(&place, self.round))
    }

    /// Commits, and waits until all have.
    async fn gather(&mut self, place: &Place, state: String) -> std::result::Result<(), Ended> {
        self.commit(place, state)?;
        for lane in &self.lanes {
            lane.is_done().await?;
        }
        self.is_given = false;
        Ok(())
    }

    /// A lane has ended: the first error in the order of the lines, of those that have one.
    async fn failure(&mut self) -> Failed {
        let first = self.first_failure().await;
        first.expect("a lane ends by itself for an error alone")
    }

    async fn first_failure(&mut self) -> Option<Failed> {
        let mut first: Option<Failed> = None;
        for lane in &mut self.lanes {
            if let Err(failed) = lane.end().await {
                if first.as_ref().is_none_or(|it| failed.line < it.line) {
                    first = Some(failed);
                }
            }
        }
        first
    }

    /// Nothing more is given to them: what they leave behind, in a sentence.
    pub async fn stop(&mut self) -> String {
        for lane in &mut self.lanes {
            // Who stops them has an error already.
            let _ = lane.end().await;
        }
        let mut rounds: Vec<u64> = self.lanes.iter().map(Lane::committed).collect();
        rounds.dedup();
        let state = match rounds[..] {
            [round] => self.rounds.iter().find(|(number, _)| *number == round),
            _ => None,
        };
        match state.filter(|_| self.reached.is_empty()) {
            Some((_, state)) => state.clone(),
            None => NO_STATE.to_owned(),
        }
    }

    /// The restore's own session has committed, while the lanes had nothing to do.
    pub fn note_own_commit(&mut self, state: String) {
        self.rounds.clear();
        self.rounds.push_back((self.round, state));
    }
}

/// Lanes that went on cannot be told what comes now.
fn contradiction() -> Error {
    Error::failed(
        "the lanes of an earlier run have done what must wait for all of them",
        "Please report it. To begin anew, drop the database.",
    )
}
