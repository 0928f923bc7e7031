//! Notices committed changes of roles, tablespaces and databases, in whatever database they happen.
//!
//! The hook sees them in every database of the cluster, also where the extension is not. Each raises
//! a count in shared memory and wakes the launcher, which has the globals of every backed-up
//! database written anew. Nothing is written here: what a crash makes us forget is looked for at
//! the next start of the server.

use std::cell::Cell;

use crate::pg::ddl::cluster::changes_cluster;
use crate::pg::ddl::statement::Statement;
use crate::pg::server::{self, wake};
use crate::{status, workers};

thread_local! {
    /// Where the last commit record ended when this transaction first changed the cluster.
    static CHANGED: Cell<Option<u64>> = const { Cell::new(None) };
}

/// Notes a statement that is about to run. One that fails ends its transaction or a subtransaction:
/// at worst, a change is announced that did not happen.
pub fn before(statement: &Statement) {
    if changes_cluster(statement) && CHANGED.get().is_none() {
        CHANGED.set(Some(wake::last_commit_end()));
    }
}

/// A transaction has ended; it was committed or prepared, or not. (A statement that commits half way
/// has announced its change by then.)
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

/// COMMIT PREPARED has succeeded, of whatever transaction.
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
