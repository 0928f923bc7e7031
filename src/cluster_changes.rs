//! The count of committed changes of roles, tablespaces and databases, in shared memory.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// Incremented by committing backends, read by the launcher and the globals workers, without a lock.
pub struct ClusterChanges {
    /// Starts at 1: after a start of the server the earlier changes are unknown.
    count: AtomicU64,
    lsn: AtomicU64,
    at: AtomicI64,
    /// When a transaction with such a change was last prepared; 0 if none waits for COMMIT PREPARED. Times
    /// are microseconds since the Unix epoch.
    prepared_at: AtomicI64,
}

/// The state at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    pub count: u64,
    /// End of the last change's commit record; 0 if none was seen since the server's start.
    pub lsn: u64,
    /// When that was committed.
    pub at: i64,
}

impl Default for ClusterChanges {
    fn default() -> Self {
        Self {
            count: AtomicU64::new(1),
            lsn: AtomicU64::new(0),
            at: AtomicI64::new(0),
            prepared_at: AtomicI64::new(0),
        }
    }
}

impl ClusterChanges {
    /// A change is committed and visible. The count is incremented last: a process that reads it first finds
    /// the LSN of that change or of a later one, which is visible too.
    pub fn announce(&self, lsn: u64, at: i64) {
        self.lsn.fetch_max(lsn, Ordering::AcqRel);
        self.at.fetch_max(at, Ordering::AcqRel);
        self.count.fetch_add(1, Ordering::AcqRel);
    }

    pub fn read(&self) -> Change {
        Change {
            count: self.count.load(Ordering::Acquire),
            lsn: self.lsn.load(Ordering::Acquire),
            at: self.at.load(Ordering::Acquire),
        }
    }

    /// A change is in a prepared transaction.
    pub fn note_prepared(&self, at: i64) {
        self.prepared_at.fetch_max(at, Ordering::AcqRel);
    }

    pub fn is_prepared(&self) -> bool {
        self.prepared_at() != 0
    }

    pub fn prepared_at(&self) -> i64 {
        self.prepared_at.load(Ordering::Acquire)
    }

    /// No transaction that was prepared up to `at` is left; later ones are not affected.
    pub fn forget_prepared(&self, at: i64) {
        let (done, failed) = (Ordering::AcqRel, Ordering::Acquire);
        self.prepared_at.compare_exchange(at, 0, done, failed).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_prepared_in_the_meantime_is_not_forgotten() {
        let changes = ClusterChanges::default();
        changes.note_prepared(5);
        changes.note_prepared(7);
        changes.forget_prepared(5);
        assert!(changes.is_prepared());
        changes.forget_prepared(7);
        assert!(!changes.is_prepared());
    }

    #[test]
    fn the_last_change_is_the_one_with_the_highest_lsn() {
        let changes = ClusterChanges::default();
        assert_eq!(changes.read().count, 1);
        changes.announce(20, 2);
        changes.announce(10, 1);
        let last = Change {
            count: 3,
            lsn: 20,
            at: 2,
        };
        assert_eq!(changes.read(), last);
    }
}
