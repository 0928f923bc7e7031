//! Logical decoding in this process: the main loop of a walsender, for a background worker.
//!
//! A [`Decoder`] owns the slot as long as it exists. It reads everything that is flushed, passes every record
//! to logical decoding (whose output plugin sends rows to [`direct`] target), and confirms
//! positions to the slot. It never waits: the caller does, and calls again.

use std::cell::Cell;
use std::ffi::{c_char, CString};

use pgrx::prelude::*;

use super::standbys::Standbys;
use super::{direct, invalidation, moved_sequences};
use crate::pg::compat;
use crate::pg::declared;

// access/xact.h
const XLOG_XACT_OPMASK: u32 = 0x70;
const XLOG_XACT_COMMIT: u32 = 0x00;
const XLOG_XACT_COMMIT_PREPARED: u32 = 0x30;

thread_local! {
    /// The current transactions are decoding's, or look up nothing.
    static LEAVES_CACHES: Cell<bool> = const { Cell::new(false) };
    /// A transaction outside of decoding has ended: what it looked up in the current catalogs may be in
    /// caches, where decoding, which is behind, would take it for older catalogs.
    static HAS_LOOKED: Cell<bool> = const { Cell::new(false) };
}

/// A decoding session on one slot. Raises PostgreSQL errors; the process must exit after one.
pub struct Decoder {
    ctx: *mut pg_sys::LogicalDecodingContext,
    /// Where read_local_xlog_page_no_wait reports that it reached the end of the flushed WAL. It writes
    /// through the reader's private_data, which StartupDecodingContext sets to the context.
    end_of_wal: *mut pg_sys::ReadLocalXLogPageNoWaitPrivate,
    standbys: Standbys,
    /// The reader holds a record that is not decoded yet.
    is_held: bool,
    /// End of the last record decoded.
    read: u64,
    /// End of the last commit that was passed over because there was no snapshot to decode it by; 0 if there was none.
    passed_over: u64,
}

/// The result of [`Decoder::step`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A record was read.
    Record,
    /// Everything flushed has been read.
    EndOfWal,
    /// The next record waits until the standbys of `synchronized_standby_slots` have it; where it ends.
    Held(u64),
}

impl Decoder {
    /// Acquires the slot and starts decoding at its confirmed position.
    pub fn start(slot: &str, options: &[(&str, String)]) -> Self {
        let name = CString::new(slot).expect("slot names hold no NUL");
        compat::acquire_slot(&name);
        let mut routine = declared::local_wal_routine();
        // SAFETY: the slot is ours; the context and what it points to live in TopMemoryContext until
        // the process ends.
        unsafe {
            pg_sys::RegisterXactCallback(Some(transaction_ended), std::ptr::null_mut());
            pg_sys::MemoryContextSwitchTo(pg_sys::TopMemoryContext);
            let ctx = pg_sys::CreateDecodingContext(
                0,
                option_list(options),
                false,
                &mut routine,
                Some(prepare_write),
                Some(do_write),
                None,
            );
            let size = size_of::<pg_sys::ReadLocalXLogPageNoWaitPrivate>();
            let end_of_wal = pg_sys::palloc0(size).cast::<pg_sys::ReadLocalXLogPageNoWaitPrivate>();
            (*(*ctx).reader).private_data = end_of_wal.cast();
            let read = (*pg_sys::MyReplicationSlot).data.restart_lsn;
            pg_sys::XLogBeginRead((*ctx).reader, read);
            Self {
                ctx,
                end_of_wal,
                standbys: Standbys::of(slot),
                is_held: false,
                read,
                passed_over: 0,
            }
        }
    }

    /// The slot's position: everything before is confirmed.
    pub fn confirmed(&self) -> u64 {
        // SAFETY: the slot is ours.
        unsafe { (*pg_sys::MyReplicationSlot).data.confirmed_flush }
    }

    /// End of the last record read. One that is held does not count.
    pub fn read_lsn(&self) -> u64 {
        self.read
    }

    /// End of the last commit that decoding has passed over, silently, because it had no snapshot yet; 0 if there was none.
    ///
    /// It begins at the slot's restart_lsn with the snapshot that was saved there, by the server that moved the slot there
    /// (SnapBuildRestore of snapbuild.c). A slot whose file was copied from another server, as Patroni does, has none here:
    /// then decoding waits for the end of all transactions that run at that moment, twice, and what commits
    /// meanwhile is ignored.
    pub fn passed_over(&self) -> u64 {
        self.passed_over
    }

    /// Reads and decodes one record, if one is flushed and the standbys have it.
    pub fn step(&mut self) -> Step {
        if !self.is_held && !self.read_record() {
            return Step::EndOfWal;
        }
        // SAFETY: the context is alive.
        let end = unsafe { (*(*self.ctx).reader).EndRecPtr };
        // What was read must not be read again: it is decoded by the first step that finds it on the standbys.
        self.is_held = !self.standbys.have(end);
        if self.is_held {
            return Step::Held(end);
        }
        self.note_passed_over(end);
        self.decode();
        self.read = end;
        Step::Record
    }

    fn note_passed_over(&mut self, end: u64) {
        // SAFETY: the context is alive, and its reader holds a record.
        let (is_ready, header) = unsafe {
            (
                pg_sys::DecodingContextReady(self.ctx),
                (*(*(*self.ctx).reader).record).header,
            )
        };
        let operation = u32::from(header.xl_info) & XLOG_XACT_OPMASK;
        let is_commit = u32::from(header.xl_rmid) == pg_sys::RmgrIds::RM_XACT_ID
            && [XLOG_XACT_COMMIT, XLOG_XACT_COMMIT_PREPARED].contains(&operation);
        if !is_ready && is_commit {
            self.passed_over = end;
        }
    }

    /// False if no record is flushed.
    fn read_record(&mut self) -> bool {
        // SAFETY: the context is alive, and so is what its private_data points to.
        unsafe {
            (*self.end_of_wal).end_of_wal = false;
            let reader = (*self.ctx).reader;
            let mut message: *mut c_char = std::ptr::null_mut();
            let record = pg_sys::XLogReadRecord(reader, &mut message);
            if record.is_null() {
                if (*self.end_of_wal).end_of_wal || message.is_null() {
                    return false;
                }
                let message = std::ffi::CStr::from_ptr(message).to_string_lossy();
                error!(
                    "could not read WAL after {:X}: {message}",
                    (*reader).EndRecPtr
                );
            }
            true
        }
    }

    /// Decodes the record that the reader holds.
    fn decode(&mut self) {
        // SAFETY: the context is alive, and its reader holds a record.
        unsafe {
            moved_sequences::note((*self.ctx).reader);
            // As pg_logical_slot_get_changes does before it decodes.
            if HAS_LOOKED.replace(false) {
                invalidation::empty_caches();
            }
            LEAVES_CACHES.set(true);
            declared::process_record(self.ctx);
            LEAVES_CACHES.set(false);
        }
    }

    /// Confirms to the slot that everything up to `lsn` is on disk. Never goes back.
    pub fn confirm(&mut self, lsn: u64) {
        if lsn > self.confirmed() {
            // SAFETY: the slot is ours.
            unsafe { pg_sys::LogicalConfirmReceivedLocation(lsn) }
        }
    }
}

/// Runs a transaction that looks nothing up in the catalogs: what decoding has cached stays. `work` must not raise.
pub fn without_looking<R>(work: impl FnOnce() -> R) -> R {
    LEAVES_CACHES.set(true);
    let result = work();
    LEAVES_CACHES.set(false);
    result
}

#[pg_guard]
unsafe extern "C-unwind" fn transaction_ended(
    _event: pg_sys::XactEvent::Type,
    _arg: *mut std::ffi::c_void,
) {
    if !LEAVES_CACHES.get() {
        HAS_LOOKED.set(true);
    }
}

/// # Safety
/// Allocates in the current memory context.
unsafe fn option_list(options: &[(&str, String)]) -> *mut pg_sys::List {
    let mut list: *mut pg_sys::List = std::ptr::null_mut();
    for (name, value) in options {
        let name = CString::new(*name).expect("option names hold no NUL");
        let value = CString::new(value.as_str()).expect("option values hold no NUL");
        // SAFETY: copies of both strings go into the list.
        unsafe {
            let value = pg_sys::makeString(pg_sys::pstrdup(value.as_ptr()));
            let name = pg_sys::pstrdup(name.as_ptr());
            let element = pg_sys::makeDefElem(name, value.cast(), -1);
            list = pg_sys::lappend(list, element.cast());
        }
    }
    list
}

/// Resets the plugin's output buffer.
#[pg_guard]
unsafe extern "C-unwind" fn prepare_write(
    ctx: *mut pg_sys::LogicalDecodingContext,
    _lsn: pg_sys::XLogRecPtr,
    _xid: pg_sys::TransactionId,
    _last_write: bool,
) {
    // SAFETY: `out` belongs to the context.
    unsafe { pg_sys::resetStringInfo((*ctx).out) }
}

/// Passes a row of another plugin to the worker, preceded by its position.
#[pg_guard]
unsafe extern "C-unwind" fn do_write(
    ctx: *mut pg_sys::LogicalDecodingContext,
    lsn: pg_sys::XLogRecPtr,
    xid: pg_sys::TransactionId,
    _last_write: bool,
) {
    // SAFETY: `out` holds the row that the plugin has just written.
    let row = unsafe {
        let out = (*ctx).out;
        std::slice::from_raw_parts((*out).data.cast::<u8>(), (*out).len as usize)
    };
    direct::send_foreign(lsn, xid.into_inner(), row);
}
