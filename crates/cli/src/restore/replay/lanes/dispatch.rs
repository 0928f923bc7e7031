//! Gives out what is read to the lanes, and gathers them before what is the restore's own.
//!
//! While the restore's own transaction is open it does all itself, as one without lanes does; the lanes have something to do
//! between such transactions only.

use std::sync::Arc;

use super::super::copy::Copy;
use super::super::rows::Failed;
use super::super::{shape, Replay};
use super::lane::Ended;
use super::progress::{Position, Reached};
use super::route::{OfCopy, Route};
use super::{contradiction, Lanes, MOST_BYTES, MOST_STATEMENTS, NO_STATE, REST};
use crate::error::{Error, Result};

/// A COPY block that is divided.
pub struct Split {
    line: u64,
    /// By these fields; none: one lane has it all.
    fields: Vec<usize>,
    /// Whether each lane takes part.
    takes: Vec<bool>,
    only: Option<usize>,
}

impl Replay<'_> {
    /// Starts the lanes, where an earlier run's have ended. What must be done before rows is.
    pub(in super::super) async fn start_lanes(&mut self, reached: Reached) -> Result<()> {
        let beside = std::mem::take(&mut self.beside);
        let counts = self.counts.beside(0);
        let jobs = self.jobs;
        self.lanes = Lanes::start(self.session, beside, jobs, reached, counts).await?;
        if self.lanes.is_none() {
            return Ok(());
        }
        self.note_own_commit();
        // The lanes go on with rows, and cannot wait for the first of them.
        self.session.client.batch_execute("BEGIN").await?;
        self.is_open = true;
        self.checks_off().await?;
        self.commit().await
    }

    /// All is replayed; the sessions are free for what is left.
    pub(in super::super) async fn end_lanes(&mut self) {
        if let Some(mut lanes) = self.lanes.take() {
            lanes.stop().await;
            self.beside = lanes.into_beside();
            for session in &self.beside {
                self.session.add_warnings(session.warnings());
            }
        }
    }

    /// The error of a restore with lanes says whether the target is a state of the source.
    pub(in super::super) async fn say_state(&mut self, error: Error) -> Error {
        let Some(lanes) = &mut self.lanes else {
            return error;
        };
        let state = lanes.stop().await;
        let hint = match error.hint() {
            "" => state,
            hint => format!("{hint}\n    {state}"),
        };
        error.with_hint(hint)
    }

    /// Whether the transaction that begins, or goes on, is the restore's own.
    pub(in super::super) fn is_own(&self) -> bool {
        let rests = |lanes: &Lanes| lanes.rest > 0;
        self.is_open || self.lenient.is_some() || self.lanes.as_ref().is_none_or(rests)
    }

    /// Whether rows may be given to lanes now.
    fn divides(&self) -> bool {
        !self.is_own() && !self.may_check && !self.rights.left_out().lacks_tables()
    }

    /// What is done when all that was given out is. Only of interest while lanes are at different places.
    fn position(&self) -> Option<Position> {
        let is_uneven = |lanes: &Lanes| !lanes.reached.is_empty();
        let is_wanted = self.lanes.as_ref().is_some_and(is_uneven);
        is_wanted.then(|| Position::of(&self.place()))
    }

    /// The same with the next item.
    fn position_of_next(&self) -> Option<Position> {
        self.position().map(Position::next)
    }

    /// Gives a statement to its lane. What is the restore's own is returned, and is not among the items yet: when lanes
    /// commit before it, they commit what is before it.
    pub(in super::super) async fn by_lane(
        &mut self,
        line: u64,
        text: Vec<u8>,
    ) -> Result<Option<Vec<u8>>> {
        if !self.divides() {
            self.rest();
            return Ok(Some(text));
        }
        let position = self.position_of_next();
        let Some(lanes) = &mut self.lanes else {
            return Ok(Some(text));
        };
        let shape = shape::of(&text);
        let number = match lanes.routes.of(&text, shape.as_ref()).await {
            Ok(Route::Lane(number)) => number,
            Ok(Route::Own) => return Ok(Some(text)),
            Err(error) => return Err(self.lane_or(error.into()).await),
        };
        self.help.note(&text, !self.deferred.is_empty());
        self.items += 1;
        let row = (line, text, shape);
        match lanes.give(number, position.as_ref(), row).await {
            Ok(()) => Ok(None),
            Err(Ended) => Err(self.failed_lane().await),
        }
    }

    /// Begins a COPY block by lanes. False: it is the restore's own.
    pub(in super::super) async fn copy_by_lanes(&mut self, line: u64, head: &[u8]) -> Result<bool> {
        let is_sendable = self.session.is_utf8() || head.is_ascii();
        if !self.divides() || !is_sendable || std::str::from_utf8(head).is_err() {
            self.rest();
            return Ok(false);
        }
        let position = self.position_of_next();
        let Some(lanes) = &mut self.lanes else {
            return Ok(false);
        };
        let (only, fields) = match lanes.routes.of_copy(head).await {
            Ok(OfCopy::Own) => return Ok(false),
            Ok(OfCopy::Lane(lane)) => (Some(lane), Vec::new()),
            Ok(OfCopy::Key(fields)) => (None, fields),
            Err(error) => return Err(self.lane_or(error.into()).await),
        };
        self.items += 1;
        match lanes.begin_copy(line, head, only, position.as_ref()) {
            Ok(takes) => {
                self.copy = Some(Copy::Lanes(Split {
                    line,
                    fields,
                    takes,
                    only,
                }));
                Ok(true)
            }
            Err(Ended) => Err(self.failed_lane().await),
        }
    }

    /// Another statement is the restore's own.
    fn rest(&mut self) {
        if let Some(lanes) = &mut self.lanes {
            lanes.rest = lanes.rest.saturating_sub(1);
        }
    }

    /// Rows of such a block.
    pub(in super::super) async fn rows_by_lanes(
        &mut self,
        split: &Split,
        rows: Vec<u8>,
    ) -> Result<()> {
        let Some(lanes) = &mut self.lanes else {
            return Ok(());
        };
        match lanes.give_rows(split, rows).await {
            Some(Ok(())) => Ok(()),
            Some(Err(Ended)) => Err(self.failed_lane().await),
            None => {
                let why = "a row of a COPY block has no key";
                Err(self.at(split.line, Error::damaged(why.to_owned())))
            }
        }
    }

    /// Its end.
    pub(in super::super) async fn end_copy_by_lanes(&mut self, split: &Split) -> Result<()> {
        let Some(lanes) = &mut self.lanes else {
            return Ok(());
        };
        let takes = lanes.lanes.iter().zip(&split.takes);
        let mut ends = takes
            .filter(|(_, takes)| **takes)
            .map(|(lane, _)| lane.end_copy());
        match ends.try_for_each(|ended| ended) {
            Ok(()) => Ok(()),
            Err(Ended) => Err(self.failed_lane().await),
        }
    }

    /// Whether lanes of an earlier run have come to the same place.
    fn note_position(&mut self) {
        if let Some((lanes, position)) = self
            .position()
            .and_then(|at| Some((self.lanes.as_mut()?, at)))
        {
            if !lanes.is_ahead(&position) {
                lanes.reached.clear();
            }
        }
    }

    /// Whether lanes of an earlier run have come to different places, the last of which is not reached. A set of globals that
    /// this run did not know has its place between them: it waits.
    pub(in super::super) fn is_uneven(&mut self) -> bool {
        self.note_position();
        self.lanes
            .as_ref()
            .is_some_and(|lanes| !lanes.reached.is_empty())
    }

    /// All lanes commit what they were given; whether there was something. What follows is the restore's own.
    pub(in super::super) async fn gather(&mut self) -> Result<bool> {
        self.note_position();
        if !self.lanes.as_ref().is_some_and(|lanes| lanes.is_given) {
            return Ok(false);
        }
        let (place, state) = (self.place(), self.state());
        let Some(lanes) = &mut self.lanes else {
            return Ok(false);
        };
        if !lanes.reached.is_empty() {
            return Err(contradiction());
        }
        if let Err(Ended) = lanes.gather(&place, state).await {
            return Err(self.failed_lane().await);
        }
        for session in lanes.beside() {
            self.session.add_warnings(session.warnings());
        }
        if !lanes.renumber(self.session, &place).await? {
            self.lanes = None;
        }
        Ok(true)
    }

    /// Before the restore's own transaction begins.
    pub(in super::super) async fn gather_for_own(&mut self) -> Result<()> {
        self.gather().await?;
        if let Some(lanes) = &mut self.lanes {
            if !lanes.reached.is_empty() {
                return Err(contradiction());
            }
            lanes.rest = lanes.rest.max(REST);
        }
        Ok(())
    }

    /// A transaction of the source has ended, and none of the restore's own is open: the lanes commit if they have much.
    pub(in super::super) async fn round(&mut self) -> Result<()> {
        self.note_position();
        let Some(lanes) = &mut self.lanes else {
            return Ok(());
        };
        if lanes.reached.is_empty() && self.help.is_wanted() {
            // An index that helps is made when all are at the same place.
            return self.open().await;
        }
        if lanes.reached.is_empty() && lanes.lanes.len() != lanes.wanted {
            return self.commit().await;
        }
        let many = lanes.lanes.len();
        if lanes.statements < MOST_STATEMENTS * many as u64 && lanes.bytes < MOST_BYTES * many {
            return Ok(());
        }
        let (place, state) = (self.place(), self.state());
        let Some(lanes) = &mut self.lanes else {
            return Ok(());
        };
        match lanes.commit(&place, state) {
            Ok(()) => Ok(()),
            Err(Ended) => Err(self.failed_lane().await),
        }
    }

    /// Whether the restore's own transaction ends with that of the source, so that the lanes go on.
    pub(in super::super) fn ends_own(&self) -> bool {
        self.lanes.as_ref().is_some_and(|lanes| lanes.rest == 0)
    }

    /// The restore's own session has committed.
    pub(in super::super) fn note_own_commit(&mut self) {
        let state = self.state();
        if let Some(lanes) = &mut self.lanes {
            lanes.note_own_commit(state);
        }
    }

    /// What the target is when all that was given out is committed, and no more.
    fn state(&self) -> String {
        match &self.done.last {
            _ if self.place().items > 0 => NO_STATE.to_owned(),
            Some((lsn, _)) => format!("It is as the source was after the commit at {lsn}."),
            None => "It is as the source was when the base was taken.".to_owned(),
        }
    }

    async fn failed_lane(&mut self) -> Error {
        match &mut self.lanes {
            Some(lanes) => {
                let failed: Failed = lanes.failure().await;
                self.failed(failed)
            }
            None => contradiction(),
        }
    }

    /// An error of a question, unless a lane has one: the session of the question is also that of a lane.
    async fn lane_or(&mut self, error: Error) -> Error {
        match &mut self.lanes {
            Some(lanes) => match lanes.first_failure().await {
                Some(failed) => self.failed(failed),
                None => error,
            },
            None => error,
        }
    }
}

impl Lanes {
    /// A row change, unless the lane has done it already.
    async fn give(
        &mut self,
        number: usize,
        position: Option<&Position>,
        (line, text, shape): (u64, Vec<u8>, Option<shape::Shape>),
    ) -> std::result::Result<(), Ended> {
        if self.has_done(number, position) {
            return Ok(());
        }
        self.freshen()?;
        self.is_given = true;
        self.statements += 1;
        self.bytes += text.len();
        self.lanes[number].row(line, text, shape).await
    }

    /// Which lanes take part in a COPY block.
    fn begin_copy(
        &mut self,
        line: u64,
        head: &[u8],
        only: Option<usize>,
        position: Option<&Position>,
    ) -> std::result::Result<Vec<bool>, Ended> {
        self.freshen()?;
        let head = Arc::new(head.to_vec());
        let mut takes = Vec::new();
        for number in 0..self.lanes.len() {
            let is_meant = only.is_none_or(|only| only == number);
            let is_taking = is_meant && !self.has_done(number, position);
            if is_taking {
                self.is_given = true;
                self.lanes[number].copy(line, &head)?;
            }
            takes.push(is_taking);
        }
        Ok(takes)
    }

    /// Rows of it; `None` if one cannot be divided.
    async fn give_rows(
        &mut self,
        split: &Split,
        rows: Vec<u8>,
    ) -> Option<std::result::Result<(), Ended>> {
        self.bytes += rows.len();
        let mut parts = vec![Vec::new(); self.lanes.len()];
        match split.only {
            Some(lane) => parts[lane] = rows,
            None => {
                for row in rows.split_inclusive(|byte| *byte == b'\n') {
                    let text = row.strip_suffix(b"\n").unwrap_or(row);
                    let lane = self.routes.of_row(text, &split.fields)?;
                    parts[lane].extend_from_slice(row);
                }
            }
        }
        for ((lane, part), takes) in self.lanes.iter().zip(parts).zip(&split.takes) {
            if *takes && !part.is_empty() {
                if let Err(ended) = lane.copy_rows(part).await {
                    return Some(Err(ended));
                }
            }
        }
        Some(Ok(()))
    }
}
