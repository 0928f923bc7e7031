//! The catalog tuples that a transaction inserted, updated or deleted, with the commands that did it, as
//! collected by reorderbuffer.c for its own look-ups (BuildTupleCidHash).
//!
//! Not `txn->tuplecids`, which has the same contents: ReorderBufferChange differs between minor releases
//! (15.20 and 17.10 have `tuplecid.subxid`, 15.18 and 18.6 do not). Releases without it keep the entries of
//! an aborted subtransaction: if its tuple was pruned and the transaction inserted another one in its place,
//! the table has the wrong command for that, the catalogs show two versions of a row, and every look-up of a
//! relation by its file fails ("unexpected duplicate"), at each attempt. [`correct`] is for them.

use std::mem::offset_of;

use pgrx::prelude::*;

use crate::pg::compat::Locator;

/// The TID of a catalog tuple, and the commands that inserted and deleted it.
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

/// ReorderBufferTupleCidKey: the hash key of an entry, including padding.
#[repr(C)]
struct EntryKey {
    file: Locator,
    tid: pg_sys::ItemPointerData,
    padding: u16,
}

/// ReorderBufferChange of REORDER_BUFFER_CHANGE_INTERNAL_TUPLECID where it has no `subxid`.
#[repr(C)]
struct Change {
    lsn: pg_sys::XLogRecPtr,
    action: u32,
    txn: *mut pg_sys::ReorderBufferTXN,
    origin_id: pg_sys::RepOriginId,
    data: ChangeData,
    node: pg_sys::dlist_node,
}

/// The largest member of a union that contains pointers.
#[repr(C, align(8))]
struct ChangeData {
    file: Locator,
    tid: pg_sys::ItemPointerData,
    cmin: pg_sys::CommandId,
    cmax: pg_sys::CommandId,
    combocid: pg_sys::CommandId,
}

/// Sets the command that inserted a tuple to the last one for its TID: the transaction of an earlier one was
/// rolled back, or the TID would not be free. (The table has the last deleting command anyway.) Does nothing
/// in releases that discard entries of aborted subtransactions. Called before any catalog is read; costs a
/// look-up for each tuple, only if a TID occurs twice.
///
/// # Safety
/// `txn` is that of a begin callback.
pub unsafe fn correct(txn: *mut pg_sys::ReorderBufferTXN) {
    let its = txn.cast_const();
    let is_without_subxid = |change: &Change| {
        // With it, the list's node is 8 bytes further: what is read here is then the address of `txn` and the
        // origin.
        change.action == pg_sys::ReorderBufferChangeType::REORDER_BUFFER_CHANGE_INTERNAL_TUPLECID
            && change.txn.cast_const() == its
    };
    // SAFETY: a historic snapshot is in force in every callback. The changes hang in the toplevel
    // transaction's list by their `node`; reading one as `Change` stays inside it in either layout. An empty list
    // is zeroed or points to its own head. The table is keyed by the bytes of EntryKey.
    unsafe {
        let table = pg_sys::HistoricSnapshotGetTupleCids();
        if table.is_null() || (*txn).ntuplecids == pg_sys::hash_get_num_entries(table) as u64 {
            return;
        }
        let head = &raw mut (*txn).tuplecids.head;
        let mut node = (*head).next;
        while !node.is_null() && node != head {
            let change = &*node.byte_sub(offset_of!(Change, node)).cast::<Change>();
            if !is_without_subxid(change) {
                return;
            }
            let data = &change.data;
            let key = EntryKey {
                file: data.file,
                tid: data.tid,
                padding: 0,
            };
            let (key, find) = ((&raw const key).cast(), pg_sys::HASHACTION::HASH_FIND);
            let entry = pg_sys::hash_search(table, key, find, std::ptr::null_mut());
            if let Some(entry) = entry.cast::<Entry>().as_mut() {
                entry.cmin = data.cmin;
            }
            node = (*node).next;
        }
    }
}

/// Those of the transaction being decoded, in the order of files and blocks; `None` if there are none.
///
/// A tuple of an aborted subtransaction may be included, or its TID may have been reused.
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
