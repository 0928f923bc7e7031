//! C functions of PostgreSQL that pgrx's bindings lack, or wrap although they raise no errors and are called
//! for each row, declared manually.
//!
//! Calls to functions that can raise errors use `guarded`, which converts a C error to the Rust panic that
//! pgrx converts back to an error at the next boundary.

use pgrx::pg_sys::ffi::pg_guard_ffi_boundary;
use pgrx::prelude::*;

use crate::pg::compat::Locator;

extern "C-unwind" {
    // utils/datum.h; raises nothing.
    fn datumIsEqual(
        value1: pg_sys::Datum,
        value2: pg_sys::Datum,
        by_value: bool,
        length: std::ffi::c_int,
    ) -> bool;
    // access/htup_details.h; raises nothing.
    fn heap_deform_tuple(
        tuple: pg_sys::HeapTuple,
        descriptor: pg_sys::TupleDesc,
        values: *mut pg_sys::Datum,
        nulls: *mut bool,
    );
    // utils/palloc.h; raises nothing.
    fn MemoryContextReset(context: pg_sys::MemoryContext);
    // replication/decode.h
    fn LogicalDecodingProcessRecord(
        ctx: *mut pg_sys::LogicalDecodingContext,
        record: *mut pg_sys::XLogReaderState,
    );
    // replication/snapbuild.h; 16 took the transaction away.
    fn SnapBuildGetOrBuildSnapshot(
        builder: *mut pg_sys::SnapBuild,
        #[cfg(feature = "pg15")] xid: pg_sys::TransactionId,
    ) -> pg_sys::Snapshot;
    // replication/message.h; 17 added `flush`.
    fn LogLogicalMessage(
        prefix: *const std::ffi::c_char,
        message: *const std::ffi::c_char,
        size: usize,
        transactional: bool,
        #[cfg(not(any(feature = "pg15", feature = "pg16")))] flush: bool,
    ) -> pg_sys::XLogRecPtr;
    // access/xlogutils.h; only their addresses are used, by a reader that calls them itself.
    fn read_local_xlog_page_no_wait(
        reader: *mut pg_sys::XLogReaderState,
        page: pg_sys::XLogRecPtr,
        needed: std::ffi::c_int,
        target: pg_sys::XLogRecPtr,
        buffer: *mut std::ffi::c_char,
    ) -> std::ffi::c_int;
    fn read_local_xlog_page(
        reader: *mut pg_sys::XLogReaderState,
        page: pg_sys::XLogRecPtr,
        needed: std::ffi::c_int,
        target: pg_sys::XLogRecPtr,
        buffer: *mut std::ffi::c_char,
    ) -> std::ffi::c_int;
    fn wal_segment_open(
        reader: *mut pg_sys::XLogReaderState,
        segment: pg_sys::XLogSegNo,
        timeline: *mut pg_sys::TimeLineID,
    );
    fn wal_segment_close(reader: *mut pg_sys::XLogReaderState);
    // utils/relfilenodemap.h (15), utils/relfilenumbermap.h (16+)
    #[cfg(feature = "pg15")]
    #[link_name = "RelidByRelfilenode"]
    fn relid_by_file(tablespace: pg_sys::Oid, file_number: pg_sys::Oid) -> pg_sys::Oid;
    #[cfg(not(feature = "pg15"))]
    #[link_name = "RelidByRelfilenumber"]
    fn relid_by_file(tablespace: pg_sys::Oid, file_number: pg_sys::Oid) -> pg_sys::Oid;
}

/// Reads this server's own WAL, up to what is flushed, without waiting.
pub fn local_wal_routine() -> pg_sys::XLogReaderRoutine {
    pg_sys::XLogReaderRoutine {
        page_read: Some(read_local_xlog_page_no_wait),
        segment_open: Some(wal_segment_open),
        segment_close: Some(wal_segment_close),
    }
}

/// The same, waiting for WAL that does not exist yet.
pub fn waiting_wal_routine() -> pg_sys::XLogReaderRoutine {
    pg_sys::XLogReaderRoutine {
        page_read: Some(read_local_xlog_page),
        ..local_wal_routine()
    }
}

/// True when two values of one type have the same bytes.
///
/// # Safety
/// Both must be non-null values of a type with this length and passing.
pub unsafe fn datum_is_equal(
    a: pg_sys::Datum,
    b: pg_sys::Datum,
    by_value: bool,
    length: i16,
) -> bool {
    // SAFETY: promised by the caller.
    unsafe { datumIsEqual(a, b, by_value, length.into()) }
}

/// Unpacks a row.
///
/// # Safety
/// The tuple is of that row type; both buffers have a place for each attribute.
pub unsafe fn deform_tuple(
    tuple: pg_sys::HeapTuple,
    descriptor: pg_sys::TupleDesc,
    values: *mut pg_sys::Datum,
    nulls: *mut bool,
) {
    // SAFETY: promised by the caller.
    unsafe { heap_deform_tuple(tuple, descriptor, values, nulls) }
}

/// Frees everything in a memory context.
///
/// # Safety
/// It must be alive.
pub unsafe fn reset_memory(context: pg_sys::MemoryContext) {
    // SAFETY: promised by the caller.
    unsafe { MemoryContextReset(context) }
}

/// Decodes the record that `ctx`'s reader has just read.
///
/// # Safety
/// `ctx` must be a live decoding context whose reader holds a record.
pub unsafe fn process_record(ctx: *mut pg_sys::LogicalDecodingContext) {
    // SAFETY: promised by the caller; the closure owns nothing.
    unsafe { pg_guard_ffi_boundary(|| LogicalDecodingProcessRecord(ctx, (*ctx).reader)) }
}

/// The snapshot of everything that committed up to the record being decoded.
///
/// # Safety
/// `builder` is that of a live decoding context; `xid` the transaction that it is decoding.
pub unsafe fn builder_snapshot(
    builder: *mut pg_sys::SnapBuild,
    #[cfg_attr(not(feature = "pg15"), expect(unused_variables))] xid: pg_sys::TransactionId,
) -> pg_sys::Snapshot {
    // SAFETY: promised by the caller; the closure owns nothing.
    unsafe {
        pg_guard_ffi_boundary(|| {
            SnapBuildGetOrBuildSnapshot(
                builder,
                #[cfg(feature = "pg15")]
                xid,
            )
        })
    }
}

/// The relation whose storage a WAL record names, by the catalogs of the current snapshot.
/// Needs a transaction (or a historic snapshot).
pub fn relation_of_file(locator: Locator) -> Option<pg_sys::Oid> {
    // The map contains the database's own tablespace as 0 (RelidByRelfilenumber converts it).
    // SAFETY: a catalog look-up; the closure owns nothing.
    let oid =
        unsafe { pg_guard_ffi_boundary(|| relid_by_file(locator.tablespace, locator.file_number)) };
    Some(oid).filter(|oid| *oid != pg_sys::InvalidOid)
}

/// Writes a logical message; returns the end of its record, not yet flushed.
pub fn log_message(prefix: &std::ffi::CStr, message: &[u8], is_transactional: bool) -> u64 {
    // SAFETY: both are valid for the call, which copies them; the closure owns nothing.
    unsafe {
        pg_guard_ffi_boundary(|| {
            LogLogicalMessage(
                prefix.as_ptr(),
                message.as_ptr().cast(),
                message.len(),
                is_transactional,
                #[cfg(not(any(feature = "pg15", feature = "pg16")))]
                false,
            )
        })
    }
}
