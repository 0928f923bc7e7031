//! The catalogs as found by a replay: everything that committed before this transaction, and its own changes
//! so far.
//!
//! Logical decoding shows a change under the catalogs as of the time of the change. What another session has
//! renamed and committed since (a schema, an enum's label, an attribute of a composite type) precedes this
//! transaction in the files, so the old name would not be found there. Objects that this transaction's rows
//! depend on by lock cannot have changed in the meantime.
//!
//! The snapshot combines two: the transactions that are committed at this commit according to snapbuild.c,
//! and this transaction's own changes with the current command counter.

use pgrx::prelude::*;

use crate::pg::declared;
use crate::pg::server;

/// The view for one transaction; `None` if nothing else committed catalog changes.
pub struct CommitView {
    snapshot: pg_sys::SnapshotData,
    committed: Vec<pg_sys::TransactionId>,
    own: Vec<pg_sys::TransactionId>,
    /// Invalidations by transactions that committed since this transaction began; `None` if they are not
    /// known.
    changed: Option<Vec<pg_sys::SharedInvalidationMessage>>,
}

/// The state before [`CommitView::enter`].
pub struct Before(pg_sys::Snapshot);

impl CommitView {
    /// # Safety
    /// `ctx` and `txn` are those of a begin callback.
    pub unsafe fn of(
        ctx: *mut pg_sys::LogicalDecodingContext,
        txn: *mut pg_sys::ReorderBufferTXN,
    ) -> Option<Box<Self>> {
        // SAFETY: the builder does not move on while its transaction is handed out, so what its
        // snapshot points to stays; snapshots hold `xcnt` sorted transaction ids.
        unsafe {
            let latest = declared::builder_snapshot((*ctx).snapshot_builder, (*txn).xid);
            let base = (*txn).base_snapshot;
            if latest == base {
                return None;
            }
            let own = transaction_ids(txn);
            let (known, latest_known) = (committed(base), committed(latest));
            let is_latest = |xid: &&pg_sys::TransactionId| latest_known.binary_search(xid).is_ok();
            let own_count = own.iter().filter(is_latest).count();
            // A transaction that changed catalogs finds its own commit in a new snapshot. If xmin has
            // advanced, transactions committed below it are no longer listed; if not, the list has only
            // grown.
            let has_more = latest_known.len() - own_count > known.len();
            if (*latest).xmin == (*base).xmin && !has_more {
                return None;
            }
            let others = latest_known.iter().copied();
            let committed = others
                .filter(|xid| own.binary_search(xid).is_err())
                .collect();
            Some(Box::new(Self {
                snapshot: *latest,
                committed,
                own,
                changed: changed_by_others(txn),
            }))
        }
    }

    /// Uses this view of the catalogs until [`Before::leave`].
    ///
    /// After an error nothing needs to be restored: reorderbuffer.c then removes any historic snapshot.
    pub fn enter(&mut self) -> Before {
        // SAFETY: called in a callback, where a historic snapshot is in force, which
        // GetCatalogSnapshot answers; ours outlives its use, up to `leave`.
        unsafe {
            let before = pg_sys::GetCatalogSnapshot(pg_sys::InvalidOid);
            self.snapshot.xip = self.committed.as_mut_ptr();
            self.snapshot.xcnt = self.committed.len() as u32;
            self.snapshot.subxip = self.own.as_mut_ptr();
            self.snapshot.subxcnt = self.own.len() as i32;
            self.snapshot.curcid = (*before).curcid;
            let changes = pg_sys::HistoricSnapshotGetTupleCids();
            pg_sys::SetupHistoricSnapshot(&mut self.snapshot, changes);
            Before(before)
        }
    }
}

impl CommitView {
    /// Invalidates cache entries that differ between this view and the previous one.
    pub fn forget_what_others_changed(&mut self) {
        // SAFETY: inside a transaction; the messages are PostgreSQL's own.
        unsafe {
            match &mut self.changed {
                Some(messages) => messages
                    .iter_mut()
                    .for_each(|message| pg_sys::LocalExecuteInvalidationMessage(message)),
                None => pg_sys::InvalidateSystemCaches(),
            }
        }
    }
}

/// The invalidations that snapbuild.c has distributed to a transaction because of other commits; `None` in a
/// minor release that does not store them separately, or if there were too many.
///
/// # Safety
/// `txn` is a live toplevel transaction.
unsafe fn changed_by_others(
    txn: *mut pg_sys::ReorderBufferTXN,
) -> Option<Vec<pg_sys::SharedInvalidationMessage>> {
    let since = match server::VERSION_NUM / 10_000 {
        15 => 150_014,
        16 => 160_010,
        17 => 170_006,
        _ => 180_000,
    };
    if server::running_version() < since {
        return None;
    }
    // SAFETY: promised by the caller; the fields are there in this release (replication/reorderbuffer.h).
    unsafe {
        if (*txn).txn_flags & pg_sys::RBTXN_DISTR_INVAL_OVERFLOWED != 0 {
            return None;
        }
        let count = (*txn).ninvalidations_distributed as usize;
        Some(match count {
            0 => Vec::new(),
            _ => std::slice::from_raw_parts((*txn).invalidations_distributed, count).to_vec(),
        })
    }
}

impl Before {
    pub fn leave(self) {
        // SAFETY: the snapshot that was in force, in the same callback.
        unsafe { pg_sys::SetupHistoricSnapshot(self.0, pg_sys::HistoricSnapshotGetTupleCids()) }
    }
}

/// Which transactions from `xmin` on are visible to a historic snapshot.
///
/// # Safety
/// A live historic snapshot.
unsafe fn committed<'a>(snapshot: pg_sys::Snapshot) -> &'a [pg_sys::TransactionId] {
    // SAFETY: promised by the caller; snapshots hold `xcnt` sorted transaction ids.
    unsafe {
        match (*snapshot).xcnt {
            0 => &[],
            count => std::slice::from_raw_parts((*snapshot).xip, count as usize),
        }
    }
}

/// The ids of a transaction and its subtransactions, sorted as in snapshots.
///
/// # Safety
/// `txn` is a live toplevel transaction.
pub(in crate::pg) unsafe fn transaction_ids(
    txn: *mut pg_sys::ReorderBufferTXN,
) -> Vec<pg_sys::TransactionId> {
    // SAFETY: subtransactions hang in the list by their `node` (replication/reorderbuffer.h); an
    // empty list is zeroed or points to its own head.
    unsafe {
        let mut ids = vec![(*txn).xid];
        let head = &raw mut (*txn).subtxns.head;
        let mut node = (*head).next;
        while !node.is_null() && node != head {
            let offset = std::mem::offset_of!(pg_sys::ReorderBufferTXN, node);
            ids.push((*node.byte_sub(offset).cast::<pg_sys::ReorderBufferTXN>()).xid);
            node = (*node).next;
        }
        ids.sort_by_key(|xid| xid.into_inner());
        ids
    }
}
