//! Detects committed changes of roles, tablespaces and databases, in any database.
//!
//! The hook sees them in every database of the cluster, also without the extension. Each one increments a
//! count in shared memory and wakes the launcher, which has the globals of every backed-up database written
//! again. Nothing is written here: changes that are forgotten in a crash are detected at the next start of
//! the server.

use std::cell::Cell;

use crate::pg::ddl::cluster::changes_cluster;
use crate::pg::ddl::statement::Statement;
use crate::pg::server::{self, wake};
use crate::{status, workers};

thread_local! {
    /// The end of the last commit record when this transaction first changed the cluster.
    static CHANGED: Cell<Option<u64>> = const { Cell::new(None) };
}

/// Records a statement that is about to run. If it fails, its transaction or a subtransaction is rolled back:
/// at worst, a change is reported that did not happen.
pub fn before(statement: &Statement) {
    if changes_cluster(statement) && CHANGED.get().is_none() {
        CHANGED.set(Some(wake::last_commit_end()));
    }
}

/// A transaction has ended: committed, prepared or aborted. (A statement that commits internally has reported
/// its change by then.)
pub fn transaction_ended(committed: bool) {
    let Some(before) = CHANGED.take().filter(|_| committed) else {
        return;
    };
    let end = wake::last_commit_end();
    if end == before {
        // No commit record: it was prepared (or changed nothing).
        return status::cluster_changes().note_prepared(archive::time::now().timestamp_micros());
    }
    announce(end, wake::commit_time());
}

/// COMMIT PREPARED of any transaction has succeeded.
pub fn prepared_was_committed() {
    if status::cluster_changes().is_prepared() {
        let now = archive::time::now().timestamp_micros();
        announce(server::wal_insert_lsn(), now);
    }
}

fn announce(lsn: u64, at: i64) {
    status::cluster_changes().announce(lsn, at);
    workers::wake_launcher();
}
