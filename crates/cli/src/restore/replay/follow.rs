//! A source that goes on: what was added to its chain is replayed in rounds, and between two of them no transaction is
//! open. The target is read meanwhile, so a materialized view is filled when it is made.

use std::sync::Arc;

use archive::time::Time;
use archive::Lsn;

use super::effects::Boxed;
use super::item::{Batch, Item, What};
use super::{Done, Quiet, Reader, Replay};
use crate::error::Result;
use crate::restore::plan::Plan;
use crate::restore::progress::Progress;

/// So many warnings are kept.
const MOST_WARNINGS: usize = 100;

/// When what is to be applied.
pub trait Pace {
    /// Whether the next transaction of the source, which committed then, may be applied now; or positions of sequences.
    fn is_due(&mut self, time: Option<Time>) -> bool;

    /// Waits until it may. False: nothing more is to be applied. No transaction is open meanwhile.
    fn wait<'f>(&'f mut self, done: &'f Done) -> Boxed<'f, bool>;

    /// So much is done; false: nothing more is to be applied.
    fn goes_on(&mut self, done: &Done) -> bool;
}

/// How a round has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// All of it is applied.
    All,
    /// The pace has ended it, between two transactions.
    Stopped,
}

impl Replay<'_> {
    /// Takes up what an earlier run has done.
    pub async fn begin_following(&mut self, begun: &Progress) -> Result<()> {
        self.is_followed = true;
        self.resume(begun, &begun.place).await?;
        self.begin_limited(begun).await
    }

    /// Fills all materialized views, between two rounds: the files do not say when the source did so.
    pub async fn refresh_views(&mut self) -> Result<()> {
        if self.views.pending().is_empty() {
            return Ok(());
        }
        self.open().await?;
        self.views.refresh(self.session, false).await?;
        self.commit().await
    }

    /// Keeps something in the progress, between two rounds.
    pub async fn keep(&self, statement: &str) -> Result<()> {
        Ok(self.session.client.batch_execute(statement).await?)
    }

    /// What was done so far.
    pub fn done(&self) -> &Done {
        &self.done
    }

    /// Objects that could not be made when their turn came.
    pub fn waiting_objects(&self) -> usize {
        self.deferred.count()
    }

    /// Behind a loss: what was left out.
    pub fn left_out_changes(&self) -> u64 {
        self.lenient
            .as_ref()
            .map_or(0, super::lenient::Lenient::count)
    }

    /// The server has ended the session.
    pub fn is_closed(&self) -> bool {
        self.session.client.is_closed()
    }

    /// Replays the segments of the plan, behind the last commit that was applied.
    pub async fn follow(&mut self, plan: Arc<Plan>, pace: &mut dyn Pace) -> Result<Applied> {
        let last = self.done.last.map_or(Lsn(0), |(lsn, _)| lsn);
        self.plan = Arc::clone(&plan);
        let mut reader = Reader::behind(Arc::clone(&self.storage), plan, last)?;
        while let Some(batch) = reader.batches.recv().await {
            let Batch {
                items,
                share: _share,
            } = batch?;
            for item in items {
                let time = match item.what {
                    What::Begin { time, .. } => Some(time),
                    What::Sequences { at } => Some(at),
                    _ => None,
                };
                if time.is_some_and(|time| !pace.is_due(time)) {
                    self.commit().await?;
                    if !pace.wait(&self.done).await? {
                        return Ok(Applied::Stopped);
                    }
                }
                let is_end = matches!(item.what, What::Commit);
                self.item(Item { ..item }).await?;
                if is_end && !pace.goes_on(&self.done) {
                    self.commit().await?;
                    return Ok(Applied::Stopped);
                }
            }
        }
        self.commit().await?;
        self.trim_warnings();
        Ok(Applied::All)
    }

    /// What servers say of statements is told at the end of a restore; here that may be months away.
    fn trim_warnings(&mut self) {
        let warnings = &mut self.done.warnings;
        warnings.extend(self.session.warnings());
        warnings.retain(|warning| !warning.starts_with("NOTICE"));
        warnings.dedup();
        let excess = warnings.len().saturating_sub(MOST_WARNINGS);
        warnings.drain(..excess);
    }

    /// Sets of globals up to this LSN, behind which the archive has more, or may have.
    pub async fn globals_up_to(&mut self, lsn: Lsn) -> Result<()> {
        self.globals_before(Some(Lsn(lsn.0.saturating_add(1))))
            .await
    }

    /// Nothing more follows: the end of a restore.
    pub async fn end_following(self) -> Result<(Done, Quiet)> {
        self.finish().await
    }

    /// A materialized view got its first rows, or has none any more.
    pub(super) async fn refresh_now(&mut self, statement: &[u8]) -> Result<()> {
        if !self.is_followed {
            return Ok(());
        }
        self.is_alone = true;
        if statement.trim_ascii().ends_with(b" WITH NO DATA") {
            return self.session.statement(statement).await.map(drop);
        }
        self.views.refresh(self.session, true).await
    }

    /// Whether it is the segment whose settings are in force, under whatever name.
    pub(super) fn goes_on_in(&self, file: &str) -> bool {
        let name = |file: &str| file.split(".sql").next().map(str::to_owned);
        !self.file.is_empty() && name(&self.file) == name(file)
    }
}
