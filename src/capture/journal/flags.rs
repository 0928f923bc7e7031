//! What a transaction has that the files cannot have as it was: flagged there, logged, and counted.

use archive::segment::{Lost, What};
use pgrx::prelude::*;

use super::{Journal, Result};
use crate::pg::server::{signals, title};
use crate::status;

/// This many flags of rows in one transaction are logged one by one, so that no user can fill the log.
const LOGGED_FLAGS: u64 = 10;

impl Journal {
    pub(super) fn flag(&mut self, reason: &[u8], is_ddl: bool) -> Result<()> {
        self.appender.flag(reason, None)?;
        self.log_flag(reason, is_ddl);
        status::update_existing(self.database, |entry| {
            entry.flags += 1;
            entry.ddl_flags += u64::from(is_ddl);
        });
        Ok(())
    }

    pub(super) fn lose(&mut self, lost: Lost, reason: &[u8]) -> Result<()> {
        self.appender.flag(reason, Some(&lost))?;
        let is_ddl = lost.what == What::Schema;
        self.log_flag(reason, is_ddl);
        self.losses.add(lost, reason);
        status::update_existing(self.database, |entry| {
            entry.losses += 1;
            entry.ddl_flags += u64::from(is_ddl);
        });
        Ok(())
    }

    fn log_flag(&mut self, reason: &[u8], is_ddl: bool) {
        self.flags = self.flags.saturating_add(1);
        if is_ddl || self.flags <= LOGGED_FLAGS {
            let text = String::from_utf8_lossy(reason);
            let (own, file) = (title::own(), self.file());
            signals::telling(|| warning!("{own}: {text}; the change is flagged in {file}"));
        }
    }

    /// At the end of a transaction.
    pub(super) fn count_flags(&mut self) {
        let flags = std::mem::take(&mut self.flags);
        if flags > LOGGED_FLAGS {
            let (own, file) = (title::own(), self.file());
            signals::telling(|| {
                warning!("{own}: {flags} changes of one transaction are flagged in {file}");
            });
        }
    }
}
