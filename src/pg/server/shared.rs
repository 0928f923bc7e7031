//! The shared memory of `status`: the location of its two structures, and the lock of the board.
//!
//! Their size depends on a setting, so pgrx's shared variables, whose size must be known at compile time,
//! cannot be used.

use std::alloc::Layout;
use std::ffi::CStr;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};
use std::sync::OnceLock;

use pgrx::prelude::*;

/// Set in the postmaster, inherited by every process it forks.
static IS_THERE: AtomicBool = AtomicBool::new(false);
static ROWS: AtomicUsize = AtomicUsize::new(0);
static AREAS: OnceLock<Vec<&'static dyn Area>> = OnceLock::new();

static mut PREVIOUS_REQUEST: pg_sys::shmem_request_hook_type = None;
static mut PREVIOUS_STARTUP: pg_sys::shmem_startup_hook_type = None;

/// In C's layout, so that its size is known for any number of rows.
#[repr(C)]
pub struct Table<Head, Row> {
    pub head: Head,
    /// As many as [`init`] was told, or one for each process.
    pub rows: [Row],
}

/// Where a table is, in every process alike.
struct Place<Head, Row> {
    name: &'static CStr,
    rows: fn() -> usize,
    address: AtomicPtr<u8>,
    holds: PhantomData<fn() -> (Head, Row)>,
}

impl<Head: Default, Row: Default> Place<Head, Row> {
    const fn new(name: &'static CStr, rows: fn() -> usize) -> Place<Head, Row> {
        Place {
            name,
            rows,
            address: AtomicPtr::new(std::ptr::null_mut()),
            holds: PhantomData,
        }
    }

    fn size(&self) -> usize {
        let rows = Layout::array::<Row>((self.rows)());
        let whole = rows.and_then(|rows| Layout::new::<Head>().extend(rows));
        whole.map_or(usize::MAX, |(whole, _)| whole.pad_to_align().size())
    }

    /// The fat pointer's second half is the number of rows, whatever the first one points to.
    fn table(&self) -> *mut Table<Head, Row> {
        let address = self.address.load(Ordering::Relaxed);
        std::ptr::slice_from_raw_parts_mut(address, (self.rows)()) as *mut Table<Head, Row>
    }

    /// # Safety
    /// In the startup hook.
    unsafe fn start_up(&self) {
        let mut found = false;
        // SAFETY: by the caller's promise; raises where there is no room. The postmaster is alone, so
        // AddinShmemInitLock need not be taken. All of the memory is written before anybody refers to it.
        unsafe {
            let name = self.name.as_ptr();
            let address = pg_sys::ShmemInitStruct(name, self.size(), &raw mut found);
            self.address.store(address.cast(), Ordering::Relaxed);
            let table = self.table();
            (&raw mut (*table).head).write(Head::default());
            for row in 0..(self.rows)() {
                (&raw mut (*table).rows[row]).write(Row::default());
            }
        }
    }
}

/// What [`init`] asks memory for.
pub trait Area: Sync {
    /// In the request hook.
    fn request(&self);

    /// Again after a crash, with memory that is new.
    ///
    /// # Safety
    /// In the startup hook.
    unsafe fn start_up(&self);
}

/// A table that is read and changed under its lock.
pub struct Locked<Head, Row> {
    place: Place<Head, Row>,
    lock: AtomicPtr<pg_sys::LWLock>,
}

impl<Head: Default, Row: Default> Locked<Head, Row> {
    pub const fn new(name: &'static CStr) -> Locked<Head, Row> {
        Locked {
            place: Place::new(name, rows),
            lock: AtomicPtr::new(std::ptr::null_mut()),
        }
    }

    /// To read, locked until this goes. Only where the library is preloaded.
    pub fn share(&self) -> Share<'_, Head, Row> {
        let held = self.locked(pg_sys::LWLockMode::LW_SHARED);
        // SAFETY: written in the startup hook; nobody changes it while the lock is held.
        Share(held, unsafe { &*self.place.table() })
    }

    /// To change.
    pub fn exclusive(&self) -> Exclusive<'_, Head, Row> {
        let held = self.locked(pg_sys::LWLockMode::LW_EXCLUSIVE);
        // SAFETY: as above, and nobody reads it.
        Exclusive(held, unsafe { &mut *self.place.table() })
    }

    fn locked(&self, mode: pg_sys::LWLockMode::Type) -> Held {
        let lock = self.lock.load(Ordering::Relaxed);
        // SAFETY: set in the startup hook.
        unsafe { pg_sys::LWLockAcquire(lock, mode) };
        Held(lock)
    }
}

impl<Head: Default, Row: Default> Area for Locked<Head, Row> {
    fn request(&self) {
        // SAFETY: in the request hook.
        unsafe {
            pg_sys::RequestAddinShmemSpace(self.place.size());
            pg_sys::RequestNamedLWLockTranche(self.place.name.as_ptr(), 1);
        }
    }

    unsafe fn start_up(&self) {
        // SAFETY: by the caller's promise; the tranche was asked for.
        unsafe {
            self.place.start_up();
            let tranche = pg_sys::GetNamedLWLockTranche(self.place.name.as_ptr());
            let lock = &raw mut (*tranche).lock;
            self.lock.store(lock, Ordering::Relaxed);
        }
    }
}

/// A table that is read and written without a lock: all of its fields are atomics.
pub struct Unlocked<Head, Row>(Place<Head, Row>);

impl<Head: Default + Sync, Row: Default + Sync> Unlocked<Head, Row> {
    pub const fn new(name: &'static CStr) -> Unlocked<Head, Row> {
        Unlocked(Place::new(name, rows))
    }

    /// With a row for each process that can be connected to a database.
    pub const fn of_processes(name: &'static CStr) -> Unlocked<Head, Row> {
        Unlocked(Place::new(name, processes))
    }

    /// Only where the library is preloaded.
    pub fn get(&self) -> &'static Table<Head, Row> {
        // SAFETY: written in the startup hook, there as long as this process is attached; shared as Sync allows.
        unsafe { &*self.0.table() }
    }
}

impl<Head: Default + Sync, Row: Default + Sync> Area for Unlocked<Head, Row> {
    fn request(&self) {
        // SAFETY: in the request hook.
        unsafe { pg_sys::RequestAddinShmemSpace(self.0.size()) }
    }

    unsafe fn start_up(&self) {
        // SAFETY: by the caller's promise.
        unsafe { self.0.start_up() }
    }
}

/// True where the library was preloaded, so that the shared memory exists.
pub fn is_there() -> bool {
    IS_THERE.load(Ordering::Relaxed)
}

/// Requests shared memory for this many databases. Only from `_PG_init`, while the library is preloaded.
pub fn init(rows: usize, areas: Vec<&'static dyn Area>) {
    IS_THERE.store(true, Ordering::Relaxed);
    ROWS.store(rows, Ordering::Relaxed);
    AREAS.get_or_init(|| areas);
    // SAFETY: single-threaded postmaster; the functions below follow the hooks' signatures.
    unsafe {
        PREVIOUS_REQUEST = pg_sys::shmem_request_hook;
        pg_sys::shmem_request_hook = Some(on_request);
        PREVIOUS_STARTUP = pg_sys::shmem_startup_hook;
        pg_sys::shmem_startup_hook = Some(on_startup);
    }
}

/// Databases that there is room for.
pub fn rows() -> usize {
    ROWS.load(Ordering::Relaxed)
}

/// Processes that can be connected to a database at the same time. Known from the request hook on.
fn processes() -> usize {
    // SAFETY: a plain global, which the postmaster sets before it calls the request hook.
    usize::try_from(unsafe { pg_sys::MaxBackends }).unwrap_or_default()
}

#[pg_guard]
unsafe extern "C-unwind" fn on_request() {
    // SAFETY: the previous hook is called first.
    unsafe {
        if let Some(previous) = PREVIOUS_REQUEST {
            previous();
        }
    }
    AREAS
        .get()
        .into_iter()
        .flatten()
        .for_each(|area| area.request());
}

/// Called again after a crash, with new memory.
#[pg_guard]
unsafe extern "C-unwind" fn on_startup() {
    // SAFETY: as above; this is the startup hook.
    unsafe {
        if let Some(previous) = PREVIOUS_STARTUP {
            previous();
        }
        AREAS
            .get()
            .into_iter()
            .flatten()
            .for_each(|area| area.start_up());
    }
}

/// The lock of a table.
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

pub struct Share<'a, Head, Row>(#[allow(dead_code)] Held, &'a Table<Head, Row>);

impl<Head, Row> Deref for Share<'_, Head, Row> {
    type Target = Table<Head, Row>;

    fn deref(&self) -> &Table<Head, Row> {
        self.1
    }
}

pub struct Exclusive<'a, Head, Row>(#[allow(dead_code)] Held, &'a mut Table<Head, Row>);

impl<Head, Row> Deref for Exclusive<'_, Head, Row> {
    type Target = Table<Head, Row>;

    fn deref(&self) -> &Table<Head, Row> {
        self.1
    }
}

impl<Head, Row> DerefMut for Exclusive<'_, Head, Row> {
    fn deref_mut(&mut self) -> &mut Table<Head, Row> {
        self.1
    }
}
