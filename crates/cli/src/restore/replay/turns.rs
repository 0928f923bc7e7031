//! Transactions of the source in transactions of the target: small ones share one, and one with a schema change ends it.
//! Sets of globals have their place between them.

use archive::time::Time;
use archive::Lsn;

use super::{lenient, Replay};
use crate::error::{Error, Result};

/// A transaction of the target is committed after this many statements or bytes.
const MOST_STATEMENTS: u64 = 2000;
const MOST_BYTES: usize = 512 << 10;

impl Replay<'_> {
    pub(super) async fn open(&mut self) -> Result<()> {
        if !self.is_open {
            self.gather_for_own().await?;
            if self.help.is_wanted() {
                self.help.give(self.session).await?;
            }
            self.session.client.batch_execute("BEGIN").await?;
            self.defer_constraints().await?;
            self.is_open = true;
        }
        Ok(())
    }

    /// A transaction of the source begins.
    pub(super) async fn begin(&mut self, lsn: Lsn, time: Option<Time>) -> Result<()> {
        self.globals_before(Some(lsn)).await?;
        if self.lenient.is_none() && self.plan.lost_from().is_some_and(|from| lsn >= from) {
            self.commit().await?;
            self.lenient = Some(lenient::Lenient::default());
            self.counts.give_up("changes before the moment are lost");
        }
        if self.is_own() {
            self.open().await?;
        }
        self.current = Some((lsn, time));
        self.units += 1;
        (self.items, self.is_within) = (0, true);
        Ok(())
    }

    /// Sets of globals have their place between transactions. Of several in a row the last one includes the others.
    pub(super) async fn globals_before(&mut self, lsn: Option<Lsn>) -> Result<()> {
        let sets = self.plan.later_globals.iter().skip(self.next_set);
        let due = sets.take_while(|set| lsn.is_none_or(|lsn| lsn > set.name.lsn));
        let due = due.count();
        if due == 0 || self.is_uneven() {
            return Ok(());
        }
        self.commit().await?;
        self.next_set += due;
        self.globals.apply(self.session, self.next_set).await?;
        self.rows.forget();
        Ok(())
    }

    /// The transaction of the source ends; that of the target if it is large enough.
    pub(super) async fn source_commit(&mut self) -> Result<()> {
        if let Some(current) = self.current.take() {
            self.done.applied += 1;
            self.done.last = Some(current);
        }
        self.is_within = false;
        if !self.is_open {
            return self.round().await;
        }
        let is_full = match &self.squash {
            // A transaction in which an index is wanted ends: it is made between two.
            Some(squash) => squash.is_full() || self.help.is_wanted(),
            None => self.statements >= MOST_STATEMENTS || self.bytes >= MOST_BYTES,
        };
        if is_full || self.is_alone || self.lenient.is_some() || self.ends_own() {
            self.commit().await?;
        }
        Ok(())
    }

    pub(super) async fn commit(&mut self) -> Result<()> {
        if !self.is_open {
            if !self.gather().await? {
                return Ok(());
            }
            // What they have done, none of them has to be asked for again.
            self.session.client.batch_execute("BEGIN").await?;
            self.is_open = true;
        }
        if self.copy.is_some() {
            let why = "a COPY block without an end";
            return Err(Error::damaged(format!(
                "{}: {why}",
                self.storage.place(&self.file)
            )));
        }
        self.unsquash().await?;
        self.settle().await?;
        self.commit_place().await?;
        self.squash_is_committed();
        self.is_open = false;
        self.is_alone = false;
        self.statements = 0;
        self.bytes = 0;
        self.note_own_commit();
        Ok(())
    }
}
