//! The relations that PostgreSQL has invalidated since the last call.
//!
//! relcache callbacks cannot be unregistered, so they are registered once per process and only record
//! invalidations; the output plugin reads these before it uses a cached relation.

use std::cell::{Cell, RefCell};

use pgrx::prelude::*;

/// What is invalid.
pub enum Invalidated {
    Nothing,
    Relations(Vec<pg_sys::Oid>),
    Everything,
}

thread_local! {
    static REGISTERED: Cell<bool> = const { Cell::new(false) };
    static EVERYTHING: Cell<bool> = const { Cell::new(false) };
    static RELATIONS: RefCell<Vec<pg_sys::Oid>> = const { RefCell::new(Vec::new()) };
    static RECEIVED: Cell<u64> = const { Cell::new(0) };
}

/// Beyond this number everything counts as invalid, which bounds the list's memory.
const MOST_NOTES: usize = 10_000;

/// Starts recording in this process.
pub fn watch() {
    if REGISTERED.replace(true) {
        return;
    }
    // SAFETY: the callbacks are guarded, and live as long as the library, which is never unloaded.
    unsafe {
        pg_sys::CacheRegisterRelcacheCallback(Some(on_relation), pg_sys::Datum::null());
        for cache in [
            pg_sys::SysCacheIdentifier::NAMESPACEOID,
            pg_sys::SysCacheIdentifier::TYPEOID,
            pg_sys::SysCacheIdentifier::OPEROID,
            pg_sys::SysCacheIdentifier::CLAOID,
            pg_sys::SysCacheIdentifier::COLLOID,
            pg_sys::SysCacheIdentifier::EVENTTRIGGEROID,
        ] {
            let cache = cache as i32;
            pg_sys::CacheRegisterSyscacheCallback(cache, Some(on_catalog), pg_sys::Datum::null());
        }
    }
}

/// Records that everything is invalid, for changes without an invalidation in PostgreSQL.
pub fn note_everything() {
    EVERYTHING.set(true);
}

/// Empties PostgreSQL's caches, which tells nobody of a change.
pub fn empty_caches() {
    let received = RECEIVED.get();
    // SAFETY: outside the use of any cached entry.
    unsafe { pg_sys::InvalidateSystemCaches() };
    RECEIVED.set(received);
}

/// What became invalid since the last call.
pub fn take() -> Invalidated {
    if EVERYTHING.replace(false) {
        RELATIONS.with_borrow_mut(Vec::clear);
        return Invalidated::Everything;
    }
    let relations = RELATIONS.with_borrow_mut(std::mem::take);
    if relations.is_empty() {
        Invalidated::Nothing
    } else {
        Invalidated::Relations(relations)
    }
}

/// The number of messages since this process began to record. In a transaction that has just begun, the same
/// number as before means that no relation, type, operator, schema or event trigger has changed.
pub fn received() -> u64 {
    RECEIVED.get()
}

#[pg_guard]
unsafe extern "C-unwind" fn on_relation(_argument: pg_sys::Datum, relation: pg_sys::Oid) {
    RECEIVED.set(RECEIVED.get() + 1);
    if relation == pg_sys::InvalidOid {
        EVERYTHING.set(true);
    }
    // The list may have no reader.
    if EVERYTHING.get() {
        return;
    }
    let count = RELATIONS.with_borrow_mut(|relations| {
        relations.push(relation);
        relations.len()
    });
    if count > MOST_NOTES {
        EVERYTHING.set(true);
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn on_catalog(
    _argument: pg_sys::Datum,
    _cache: std::ffi::c_int,
    _hash: pg_sys::uint32,
) {
    RECEIVED.set(RECEIVED.get() + 1);
    EVERYTHING.set(true);
}
