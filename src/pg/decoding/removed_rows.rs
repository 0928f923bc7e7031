//! Rows of catalogs that a slot still needs, removed while its server was a standby.
//!
//! A standby has what its primary has removed, whoever needed it: `hot_standby_feedback` keeps that one from it while both are
//! connected, and not while the standby is down, or before a new primary knows it. From 16 on the server invalidates such a
//! slot when it replays the removal (ResolveRecoveryConflictWithSnapshot of standby.c). 15 does not, and decoding then
//! fails (`could not map filenode`), again and again, or finds other catalogs than there were. So this asks the same question of the
//! records from which decoding will begin.

/// Where the first record is that removed rows of this database's or the shared catalogs that the slot needs, from its restart_lsn
/// up to `end`. Always `None` from 16 on. Outside a transaction.
#[cfg(not(feature = "pg15"))]
pub fn first(_slot: &str, _end: u64) -> Option<u64> {
    None
}

#[cfg(feature = "pg15")]
pub use records::first;

#[cfg(feature = "pg15")]
mod records {
    use std::collections::HashSet;
    use std::ffi::c_char;

    use pgrx::bgworkers::BackgroundWorker;
    use pgrx::pg_sys::panic::ErrorReportable;
    use pgrx::prelude::*;

    use crate::pg::compat::Locator;
    use crate::pg::declared;
    use crate::pg::decoding::slot;
    use crate::pg::server;

    // access/heapam_xlog.h, access/nbtxlog.h
    const XLOG_HEAP_OPMASK: u8 = 0x70;
    const XLOG_HEAP2_PRUNE: u8 = 0x10;
    const XLOG_HEAP2_FREEZE_PAGE: u8 = 0x30;
    const XLR_RMGR_INFO_MASK: u8 = 0xF0;
    const XLOG_BTREE_DELETE: u8 = 0x70;
    // access/transam.h
    const FIRST_NORMAL_OBJECT_ID: u32 = 16384;

    pub fn first(slot: &str, end: u64) -> Option<u64> {
        let (begin, catalog_xmin) = slot::needs(slot)?;
        if begin >= end {
            return None;
        }
        let moved = BackgroundWorker::transaction(moved_catalogs);
        let mut reader = Reader::at(begin);
        while reader.next() {
            if reader.position() >= end {
                return None;
            }
            let removes = reader.removal().is_some_and(|(xid, storage)| {
                let number = storage.file_number.to_u32();
                let is_here = storage.database == server::my_database()
                    || storage.database == pg_sys::InvalidOid;
                let is_catalog = number < FIRST_NORMAL_OBJECT_ID || moved.contains(&number);
                is_here && is_catalog && is_needed(catalog_xmin, xid)
            });
            if removes {
                return Some(reader.position());
            }
        }
        None
    }

    /// Rows deleted by `xid` or before it are gone.
    fn is_needed(catalog_xmin: pg_sys::TransactionId, xid: pg_sys::TransactionId) -> bool {
        // SAFETY: compares numbers.
        unsafe {
            xid != pg_sys::InvalidTransactionId
                && pg_sys::TransactionIdPrecedesOrEquals(catalog_xmin, xid)
        }
    }

    /// Files of catalogs that VACUUM FULL has given other numbers than initdb.
    fn moved_catalogs() -> HashSet<u32> {
        const QUERY: &str = "SELECT f FROM (SELECT pg_catalog.pg_relation_filenode(oid) AS f FROM pg_catalog.pg_class \
             WHERE oid < 16384) AS files WHERE f >= 16384";
        Spi::connect(|client| {
            let rows = client.select(QUERY, None, &[])?;
            rows.map(|row| row.get::<pg_sys::Oid>(1))
                .filter_map(Result::transpose)
                .map(|number| number.map(pg_sys::Oid::to_u32))
                .collect::<Result<_, pgrx::spi::Error>>()
        })
        .unwrap_or_report()
    }

    /// The server's own WAL, record by record. What it has allocated goes with the process if an error is raised.
    struct Reader(*mut pg_sys::XLogReaderState);

    impl Reader {
        fn at(begin: u64) -> Self {
            let mut routine = declared::local_wal_routine();
            // SAFETY: the routine is copied; the private data is what that routine reports the end of WAL to.
            unsafe {
                pg_sys::MemoryContextSwitchTo(pg_sys::TopMemoryContext);
                let size = size_of::<pg_sys::ReadLocalXLogPageNoWaitPrivate>();
                let reader = pg_sys::XLogReaderAllocate(
                    pg_sys::wal_segment_size,
                    std::ptr::null(),
                    &mut routine,
                    pg_sys::palloc0(size),
                );
                pg_sys::XLogBeginRead(reader, begin);
                Self(reader)
            }
        }

        /// False at the end of what can be read; decoding then says what is wrong with it.
        fn next(&mut self) -> bool {
            let mut message: *mut c_char = std::ptr::null_mut();
            // SAFETY: the reader is alive.
            unsafe { !pg_sys::XLogReadRecord(self.0, &mut message).is_null() }
        }

        fn position(&self) -> u64 {
            // SAFETY: the reader is alive.
            unsafe { (*self.0).ReadRecPtr }
        }

        /// What the record removes: rows that were deleted by this transaction or before it, and of which storage.
        fn removal(&self) -> Option<(pg_sys::TransactionId, Locator)> {
            // SAFETY: the reader holds a record, whose blocks follow it in memory.
            let (rmgr, info, data, storage) = unsafe {
                let record = (*self.0).record;
                if (*record).max_block_id < 0 {
                    return None;
                }
                let block = (&raw const (*record).blocks).cast::<pg_sys::DecodedBkpBlock>();
                let storage = (*block).rnode;
                let length = (*record).main_data_len as usize;
                if length < size_of::<u32>() {
                    return None;
                }
                let data = (*record).main_data.cast::<u32>().read_unaligned();
                let header = (*record).header;
                (u32::from(header.xl_rmid), header.xl_info, data, storage)
            };
            let storage = Locator {
                tablespace: storage.spcNode,
                database: storage.dbNode,
                file_number: storage.relNode,
            };
            // Each of these records begins with the xid.
            let xid = pg_sys::TransactionId::from(data);
            match rmgr {
                pg_sys::RmgrIds::RM_HEAP2_ID => match info & XLOG_HEAP_OPMASK {
                    XLOG_HEAP2_PRUNE => Some((xid, storage)),
                    // What is older is frozen.
                    XLOG_HEAP2_FREEZE_PAGE => Some((previous(xid), storage)),
                    _ => None,
                },
                pg_sys::RmgrIds::RM_BTREE_ID if info & XLR_RMGR_INFO_MASK == XLOG_BTREE_DELETE => {
                    Some((xid, storage))
                }
                _ => None,
            }
        }
    }

    impl Drop for Reader {
        fn drop(&mut self) {
            // SAFETY: the reader is alive; its routine closes the file.
            unsafe { pg_sys::XLogReaderFree(self.0) }
        }
    }

    /// TransactionIdRetreat of access/transam.h.
    fn previous(xid: pg_sys::TransactionId) -> pg_sys::TransactionId {
        let number = xid.into_inner().wrapping_sub(1);
        pg_sys::TransactionId::from(if number < 3 { u32::MAX } else { number })
    }
}
