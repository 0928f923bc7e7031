//! The shared memory of `status`: the location of its two structures, and the lock of the board.
//!
//! Their size depends on a setting, so pgrx's shared variables, whose size must be known at compile time,
//! cannot be used.

use std::alloc::Layout;
use std::ffi::CStr;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};

use pgrx::prelude::*;

use crate::status::{Board, DatabaseStatus, WakeHead, WakeSlot, WakeTable};

const BOARD_NAME: &CStr = c"pg_incrbackup";
const WAKE_NAME: &CStr = c"pg_incrbackup wake table";

/// Set in the postmaster, inherited by every process it forks.
static IS_THERE: AtomicBool = AtomicBool::new(false);
static DATABASES: AtomicUsize = AtomicUsize::new(0);
static BOARD: AtomicPtr<u8> = AtomicPtr::new(std::ptr::null_mut());
static WAKE: AtomicPtr<u8> = AtomicPtr::new(std::ptr::null_mut());
static LOCK: AtomicPtr<pg_sys::LWLock> = AtomicPtr::new(std::ptr::null_mut());

static mut PREVIOUS_REQUEST: pg_sys::shmem_request_hook_type = None;
static mut PREVIOUS_STARTUP: pg_sys::shmem_startup_hook_type = None;

/// True if the library was preloaded, so that the shared memory exists.
pub fn is_there() -> bool {
    IS_THERE.load(Ordering::Relaxed)
}

/// Requests shared memory for this many databases. Only from `_PG_init`, while the library is preloaded.
pub fn init(databases: usize) {
    IS_THERE.store(true, Ordering::Relaxed);
    DATABASES.store(databases, Ordering::Relaxed);
    // SAFETY: single-threaded postmaster; the functions below follow the hooks' signatures.
    unsafe {
        PREVIOUS_REQUEST = pg_sys::shmem_request_hook;
        pg_sys::shmem_request_hook = Some(on_request);
        PREVIOUS_STARTUP = pg_sys::shmem_startup_hook;
        pg_sys::shmem_startup_hook = Some(on_startup);
    }
}

/// The number of databases for which there is space.
pub fn databases() -> usize {
    DATABASES.load(Ordering::Relaxed)
}

#[pg_guard]
unsafe extern "C-unwind" fn on_request() {
    // SAFETY: whoever was there before us comes first; this is the hook in which room is asked for.
    unsafe {
        if let Some(previous) = PREVIOUS_REQUEST {
            previous();
        }
        pg_sys::RequestAddinShmemSpace(size::<i32, DatabaseStatus>());
        pg_sys::RequestAddinShmemSpace(size::<WakeHead, WakeSlot>());
        pg_sys::RequestNamedLWLockTranche(BOARD_NAME.as_ptr(), 1);
    }
}

/// Called again after a crash, with new memory.
#[pg_guard]
unsafe extern "C-unwind" fn on_startup() {
    // SAFETY: as above. The postmaster is alone, so AddinShmemInitLock need not be taken. All
    // of the memory is written before anybody refers to it.
    unsafe {
        if let Some(previous) = PREVIOUS_STARTUP {
            previous();
        }
        BOARD.store(
            memory(BOARD_NAME, size::<i32, DatabaseStatus>()),
            Ordering::Relaxed,
        );
        WAKE.store(
            memory(WAKE_NAME, size::<WakeHead, WakeSlot>()),
            Ordering::Relaxed,
        );
        let (board, wake) = (board(), wake_table());
        (&raw mut (*board).launcher_pid).write(0);
        (&raw mut (*wake).head).write(WakeHead::default());
        for place in 0..databases() {
            (&raw mut (*board).databases[place]).write(DatabaseStatus::default());
            (&raw mut (*wake).slots[place]).write(WakeSlot::default());
        }
        let tranche = pg_sys::GetNamedLWLockTranche(BOARD_NAME.as_ptr());
        LOCK.store(&raw mut (*tranche).lock, Ordering::Relaxed);
    }
}

/// # Safety
/// In the startup hook.
unsafe fn memory(name: &CStr, size: usize) -> *mut u8 {
    let mut found = false;
    // SAFETY: by the caller's promise; raises where there is no room.
    unsafe { pg_sys::ShmemInitStruct(name.as_ptr(), size, &raw mut found) }.cast()
}

/// A structure in C's layout whose last field is a slice, one element for each database.
fn size<Head, Element>() -> usize {
    let elements = Layout::array::<Element>(databases());
    let whole = elements.and_then(|elements| Layout::new::<Head>().extend(elements));
    whole.map_or(usize::MAX, |(whole, _)| whole.pad_to_align().size())
}

/// The fat pointer's second half is the number of elements, whatever the first one points to.
fn board() -> *mut Board {
    std::ptr::slice_from_raw_parts_mut(BOARD.load(Ordering::Relaxed), databases()) as *mut Board
}

fn wake_table() -> *mut WakeTable {
    std::ptr::slice_from_raw_parts_mut(WAKE.load(Ordering::Relaxed), databases()) as *mut WakeTable
}

/// What a committing backend reads and writes without a lock. Only if the library is preloaded.
pub fn wake() -> &'static WakeTable {
    // SAFETY: written in the startup hook, there as long as this process is attached; all of it is atomics.
    unsafe { &*wake_table() }
}

/// The board for reading, locked until this is dropped. Only if the library is preloaded.
pub fn share() -> Share {
    Share(locked(pg_sys::LWLockMode::LW_SHARED))
}

/// The board for changes.
pub fn exclusive() -> Exclusive {
    Exclusive(locked(pg_sys::LWLockMode::LW_EXCLUSIVE))
}

fn locked(mode: pg_sys::LWLockMode::Type) -> Held {
    let lock = LOCK.load(Ordering::Relaxed);
    // SAFETY: set in the startup hook.
    unsafe { pg_sys::LWLockAcquire(lock, mode) };
    Held(lock)
}

/// The lock of the board.
struct Held(*mut pg_sys::LWLock);

impl Drop for Held {
    fn drop(&mut self) {
        // SAFETY: as `locked` took it. An error that PostgreSQL has raised meanwhile has reset the holding of
        // interrupts, and its handler releases all locks.
        unsafe {
            if pg_sys::InterruptHoldoffCount > 0 {
                pg_sys::LWLockRelease(self.0);
            }
        }
    }
}

pub struct Share(#[allow(dead_code)] Held);

impl Deref for Share {
    type Target = Board;

    fn deref(&self) -> &Board {
        // SAFETY: written in the startup hook; nobody changes it while the lock is held.
        unsafe { &*board() }
    }
}

pub struct Exclusive(#[allow(dead_code)] Held);

impl Deref for Exclusive {
    type Target = Board;

    fn deref(&self) -> &Board {
        // SAFETY: as above.
        unsafe { &*board() }
    }
}

impl DerefMut for Exclusive {
    fn deref_mut(&mut self) -> &mut Board {
        // SAFETY: as above, and nobody reads it.
        unsafe { &mut *board() }
    }
}
