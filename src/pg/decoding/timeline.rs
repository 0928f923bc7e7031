//! Timelines: the ancestors of the server's current timeline (access/timeline.h).

use pgrx::pg_sys::ffi::pg_guard_ffi_boundary;
use pgrx::prelude::*;

use crate::pg::server;

extern "C-unwind" {
    fn readTimeLineHistory(target: pg_sys::TimeLineID) -> *mut pg_sys::List;
    fn tliInHistory(tli: pg_sys::TimeLineID, history: *mut pg_sys::List) -> bool;
    fn tliSwitchPoint(
        tli: pg_sys::TimeLineID,
        history: *mut pg_sys::List,
        next: *mut pg_sys::TimeLineID,
    ) -> pg_sys::XLogRecPtr;
}

/// Up to where the server's WAL and that of `timeline` are identical.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shared {
    /// The server is still on that timeline; this is its current position.
    Current(u64),
    /// The server left that timeline here, by a promotion or a point-in-time recovery.
    LeftAt(u64),
    /// It was never on it.
    Never,
}

/// Looks `timeline` up in the history of the current one. Allocates in the current memory context.
pub fn shared_with(timeline: u32) -> Shared {
    let current = server::timeline();
    if timeline == current {
        return Shared::Current(server::wal_flush_lsn());
    }
    // SAFETY: reads a file of pg_wal; the list is palloc'd; the closures own nothing.
    unsafe {
        let history = pg_guard_ffi_boundary(|| readTimeLineHistory(current));
        if !pg_guard_ffi_boundary(|| tliInHistory(timeline, history)) {
            return Shared::Never;
        }
        let left =
            pg_guard_ffi_boundary(|| tliSwitchPoint(timeline, history, std::ptr::null_mut()));
        Shared::LeftAt(left)
    }
}

/// Where the server's timeline began, by a promotion or a point-in-time recovery; 0 if it is the first. Allocates in the
/// current memory context.
pub fn began_at() -> u64 {
    let current = server::timeline();
    // SAFETY: as in `shared_with`.
    unsafe {
        let history = pg_guard_ffi_boundary(|| readTimeLineHistory(current));
        let is_before = |tli: &u32| pg_guard_ffi_boundary(|| tliInHistory(*tli, history));
        let left =
            |tli| pg_guard_ffi_boundary(|| tliSwitchPoint(tli, history, std::ptr::null_mut()));
        let ancestors = (1..current).filter(is_before);
        ancestors.map(left).max().unwrap_or(0)
    }
}

/// True if the server's history left some timeline before `timeline` at `lsn`; also if it knows of none before. Allocates in
/// the current memory context.
pub fn has_switched_at(timeline: u32, lsn: u64) -> bool {
    let current = server::timeline();
    let (mut is_known, mut is_there) = (false, false);
    // SAFETY: as in `shared_with`.
    unsafe {
        let history = pg_guard_ffi_boundary(|| readTimeLineHistory(current));
        for before in 1..timeline.min(current) {
            if pg_guard_ffi_boundary(|| tliInHistory(before, history)) {
                let left =
                    pg_guard_ffi_boundary(|| tliSwitchPoint(before, history, std::ptr::null_mut()));
                is_known = true;
                is_there |= left == lsn;
            }
        }
    }
    is_there || !is_known
}
