//! The catalog tuples that a transaction inserted, updated or deleted, with the commands that did it, as
//! reorderbuffer.c has collected them for its own look-ups (BuildTupleCidHash).
//!
//! Not `txn->tuplecids`, which holds the same: ReorderBufferChange differs between minor releases (15.20
//! and 17.10 have `tuplecid.subxid`, 15.18 and 18.6 have not).

use pgrx::prelude::*;

use super::super::compat::Locator;

/// Where a tuple of a catalog stands, and the commands that made and removed it.
#[derive(Clone, Copy)]
pub struct TupleCids {
    pub file: Locator,
    pub block: u32,
    /// From 1.
    pub offset: u16,
    pub cmin: Option<u32>,
    pub cmax: Option<u32>,
}

/// ReorderBufferTupleCidEnt, which is private to reorderbuffer.c and the same in 15 to 18.
#[repr(C)]
struct Entry {
    file: Locator,
    tid: pg_sys::ItemPointerData,
    cmin: pg_sys::CommandId,
    cmax: pg_sys::CommandId,
    combocid: pg_sys::CommandId,
}

/// Those of the transaction that is being decoded, in the order of files and blocks; `None` without any.
///
/// A tuple of an aborted subtransaction may be among them.
pub fn of_this_transaction() -> Option<Vec<TupleCids>> {
    // SAFETY: a historic snapshot is in force in every callback. The table is not changed while it is
    // walked, and the walk goes to its end, which hash_seq_search asks for.
    unsafe {
        let table = pg_sys::HistoricSnapshotGetTupleCids();
        if table.is_null() {
            return None;
        }
        let mut all = Vec::with_capacity(pg_sys::hash_get_num_entries(table) as usize);
        let mut walk = pg_sys::HASH_SEQ_STATUS::default();
        pg_sys::hash_seq_init(&mut walk, table);
        loop {
            let entry = pg_sys::hash_seq_search(&mut walk).cast::<Entry>();
            if entry.is_null() {
                break;
            }
            all.push(read(&*entry));
        }
        all.sort_unstable_by_key(|tuple| {
            let file = tuple.file;
            (
                file.tablespace.to_u32(),
                file.file_number.to_u32(),
                tuple.block,
                tuple.offset,
            )
        });
        Some(all)
    }
}

fn read(entry: &Entry) -> TupleCids {
    let known = |command: u32| (command != pg_sys::InvalidCommandId).then_some(command);
    let block = entry.tid.ip_blkid;
    TupleCids {
        file: entry.file,
        block: u32::from(block.bi_hi) << 16 | u32::from(block.bi_lo),
        offset: entry.tid.ip_posid,
        cmin: known(entry.cmin),
        cmax: known(entry.cmax),
    }
}
