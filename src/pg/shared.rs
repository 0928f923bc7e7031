//! The shared memory of `status`: where its two structures live.

use std::sync::atomic::{AtomicBool, Ordering};

use pgrx::prelude::*;
use pgrx::{pg_shmem_init, PGRXSharedMemory, PgAtomic, PgLwLock};

use crate::status::{Board, WakeTable};

// SAFETY: plain values; nothing in it points into one process's own memory.
unsafe impl PGRXSharedMemory for Board {}
// SAFETY: atomics; a latch address lies in shared memory, at the same place in every process.
unsafe impl PGRXSharedMemory for WakeTable {}

// SAFETY: initialized by `init` before anybody can use it.
pub static BOARD: PgLwLock<Board> = unsafe { PgLwLock::new(c"pg_incrbackup") };
// SAFETY: as above.
pub static WAKE: PgAtomic<WakeTable> = unsafe { PgAtomic::new(c"pg_incrbackup wake table") };

/// Set in the postmaster, inherited by every process it forks.
static IS_THERE: AtomicBool = AtomicBool::new(false);

/// True where the library was preloaded, so that the shared memory exists.
pub fn is_there() -> bool {
    IS_THERE.load(Ordering::Relaxed)
}

/// Asks for the shared memory. Only from `_PG_init`, while the library is preloaded.
pub fn init() {
    IS_THERE.store(true, Ordering::Relaxed);
    pg_shmem_init!(BOARD);
    pg_shmem_init!(WAKE);
}
