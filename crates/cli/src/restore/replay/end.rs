//! What is only done when all else is there: at the end of a replay, and around rows.

use super::quiet::Kinds;
use super::Replay;
use crate::error::{Error, Result};

impl Replay<'_> {
    pub(super) async fn end(&mut self) -> Result<()> {
        self.help.end(self.session).await?;
        self.open().await?;
        self.checks_on().await?;
        self.commit().await?;
        // Event triggers would fire at what is still to be done.
        self.quiet.restore(self.session, Kinds::OfTables).await?;
        self.deferred.make(self.session).await?;
        // Foreign keys that were set aside may need a constraint that waited.
        self.open().await?;
        self.end_limited().await?;
        self.commit().await?;
        self.done.unfilled = self.views.fill(self.session, true).await?;
        if let Some(first) = self.done.unfilled.first().filter(|_| self.deferred.stops()) {
            let hint = "Without --on-error stop it stays without rows.";
            return Err(Error::failed(first.clone(), hint));
        }
        if !self.deferred.is_empty() {
            // Some may read a materialized view.
            self.deferred.make(self.session).await?;
        }
        self.checks.validate(self.session).await?;
        let part = self.plan.part.as_ref();
        let compared = self.counts.compare(self.session, &self.beside, part);
        self.done.compared = compared.await?;
        // It would keep rows from being counted.
        self.end_still().await
    }

    /// Before rows: what may refuse them although the source took them is off.
    pub(super) async fn checks_off(&mut self) -> Result<()> {
        if self.may_check {
            self.may_check = false;
            self.settle().await?;
            self.is_unchecked = self.checks.quiet(self.session).await?;
            self.is_dirty = true;
        }
        Ok(())
    }

    /// Before a schema change, and at the end.
    pub(super) async fn checks_on(&mut self) -> Result<()> {
        if std::mem::take(&mut self.is_unchecked) {
            self.checks.loud(self.session).await?;
            self.may_check = true;
            self.is_dirty = true;
        }
        Ok(())
    }
}
