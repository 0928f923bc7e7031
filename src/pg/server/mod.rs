//! Properties of the running server and this process.

pub mod child_server;
pub mod commit_wait;
pub mod dialog;
pub mod fence;
pub mod guc;
pub mod process;
pub mod query;
pub mod session;
pub mod shared;
pub mod signals;
pub mod table_rows;
pub mod title;
pub mod transaction;
pub(in crate::pg) mod untrusted;
pub mod wake;

use std::ffi::{CStr, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use archive::escape::percent_encode;
use pgrx::prelude::*;

/// True while the postmaster processes shared_preload_libraries.
pub fn is_preloading() -> bool {
    // SAFETY: a plain global of this process.
    unsafe { pg_sys::process_shared_preload_libraries_in_progress }
}

/// OID of the database this process is connected to.
pub fn my_database() -> pg_sys::Oid {
    // SAFETY: a plain global of this process.
    unsafe { pg_sys::MyDatabaseId }
}

/// Identifier that initdb gave to this cluster.
pub fn system_identifier() -> u64 {
    // SAFETY: reads shared memory that the postmaster filled at start.
    unsafe { pg_sys::GetSystemIdentifier() }
}

/// The data directory, absolute.
pub fn data_directory() -> PathBuf {
    // SAFETY: DataDir is set before any library is loaded and never changes.
    path_of(unsafe { CStr::from_ptr(pg_sys::DataDir) })
}

/// The data directory without symbolic links, as text that tells it from every other one: percent-encoded where it is
/// not UTF-8, and then without the slash at the beginning that all others have.
pub fn real_data_directory() -> String {
    let path = data_directory();
    let real = path.canonicalize().unwrap_or(path);
    match real.to_str() {
        Some(text) => text.to_owned(),
        None => percent_encode(real.as_os_str().as_bytes()).replace('/', "%2F"),
    }
}

fn path_of(path: &CStr) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(path.to_bytes()))
}

/// The name of the machine that the server runs on.
pub fn host() -> String {
    let mut name = [0u8; 256];
    // SAFETY: it writes at most so many bytes. The last one stays 0: a name that was cut has none of its own.
    unsafe { libc::gethostname(name.as_mut_ptr().cast(), name.len() - 1) };
    let text = name.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}

/// Distinguishes this start of the server from every other start of it and of its copies; crash recovery
/// without a postmaster restart is not a new start.
pub fn start_id() -> String {
    // SAFETY: a plain global, set once by the postmaster.
    let postmaster = unsafe { pg_sys::PostmasterPid };
    format!("{}-{postmaster}", started_at_micros())
}

/// Server version as in `server_version_num`.
pub const VERSION_NUM: u32 = pg_sys::PG_VERSION_NUM;

/// The version of the running server, which may be another minor release.
pub fn running_version() -> u32 {
    static VERSION: OnceLock<u32> = OnceLock::new();
    *VERSION.get_or_init(|| {
        let value = crate::pg::server::guc::value(c"server_version_num");
        value
            .and_then(|value| value.parse().ok())
            .unwrap_or_default()
    })
}

/// True on a standby, or while crash recovery runs.
pub fn is_in_recovery() -> bool {
    // SAFETY: reads shared memory.
    unsafe { pg_sys::RecoveryInProgress() }
}

/// True on a standby that is connected to the server which it follows, at this moment.
pub fn is_following() -> bool {
    // SAFETY: reads aligned words of shared memory, which exists from the server's start on.
    unsafe {
        let receiver = pg_sys::WalRcv;
        is_in_recovery()
            && (*receiver).pid != 0
            && (*receiver).walRcvState == pg_sys::WalRcvState::WALRCV_STREAMING
            && (*receiver).ready_to_display
    }
}

/// Sets a latch in shared memory by its address, as kept in the status board; 0 does nothing.
pub fn set_latch(address: usize) {
    if address != 0 {
        // SAFETY: the address is that of a latch in a PGPROC, published by the process owning it;
        // PGPROCs live as long as the server, so a stale one only wakes a stranger needlessly.
        unsafe { pg_sys::SetLatch(address as *mut pg_sys::Latch) }
    }
}

/// Address of this process's own latch, valid in every process.
pub fn my_latch() -> usize {
    // SAFETY: MyLatch points into shared memory once InitProcess has run.
    unsafe { pg_sys::MyLatch as usize }
}

/// The directory of the server's own programs.
pub fn binary_directory() -> PathBuf {
    // SAFETY: my_exec_path is set at server start and never changes.
    let path = path_of(unsafe { CStr::from_ptr((&raw const pg_sys::my_exec_path).cast()) });
    path.parent().map(PathBuf::from).unwrap_or_default()
}

/// Directory of the server's first Unix-domain socket ('' if it has none, for which libpq uses its default)
/// and its port.
pub fn own_socket() -> (Vec<u8>, Vec<u8>) {
    let directories = guc::bytes(c"unix_socket_directories").unwrap_or_default();
    let first = directories.split(|byte| *byte == b',').next();
    let first = first.unwrap_or_default().trim_ascii();
    let first = first.strip_prefix(b"\"").unwrap_or(first);
    let first = first.strip_suffix(b"\"").unwrap_or(first);
    let host = if first.is_empty() {
        b"localhost"
    } else {
        first
    };
    (host.to_vec(), guc::bytes(c"port").unwrap_or_default())
}

/// Name of the bootstrap superuser, byte for byte. Needs a transaction.
pub fn bootstrap_superuser() -> Vec<u8> {
    // SAFETY: the role of OID 10 always exists; the copy is palloc'd.
    unsafe {
        let role = pg_sys::Oid::from(pg_sys::BOOTSTRAP_SUPERUSERID);
        let name = pg_sys::GetUserNameFromId(role, true);
        if name.is_null() {
            return Vec::new();
        }
        CStr::from_ptr(name).to_bytes().to_vec()
    }
}

/// When the postmaster started, in microseconds since the Unix epoch.
pub fn started_at_micros() -> i64 {
    // SAFETY: a plain global, set once by the postmaster.
    crate::pg::types::timestamp::to_unix_micros(unsafe { pg_sys::PgStartTime })
}

/// True when the caller's current role is a superuser, or has the rights of pg_read_all_data.
pub fn may_read_all_data() -> bool {
    let role = pg_sys::Oid::from(pg_sys::ROLE_PG_READ_ALL_DATA);
    // SAFETY: catalog look-ups by OID.
    unsafe { pg_sys::has_privs_of_role(pg_sys::GetUserId(), role) }
}

/// True when the caller's current role is a superuser.
pub fn is_superuser() -> bool {
    // SAFETY: a look-up within a transaction.
    unsafe { pg_sys::superuser() }
}

/// True in a server that pg_upgrade has started.
pub fn is_binary_upgrade() -> bool {
    // SAFETY: a plain global, set from the command line.
    unsafe { pg_sys::IsBinaryUpgrade }
}

/// End of the WAL that has been written so far, flushed or not.
pub fn wal_insert_lsn() -> u64 {
    // SAFETY: reads shared memory.
    unsafe { pg_sys::GetXLogInsertRecPtr() }
}

/// End of the WAL that is flushed.
pub fn wal_flush_lsn() -> u64 {
    // SAFETY: reads shared memory; the timeline is not asked for.
    unsafe { pg_sys::GetFlushRecPtr(std::ptr::null_mut()) }
}

/// Writes and flushes a WAL record without effect; returns its end, which is certainly the end of a record (a
/// flush position may be inside one).
pub fn emit_position_mark() -> u64 {
    let lsn = crate::pg::declared::log_message(c"pg_incrbackup", b"position", false);
    // SAFETY: the record has been inserted.
    unsafe { pg_sys::XLogFlush(lsn) }
    lsn
}

/// Reloads the configuration files, as requested by SIGHUP.
pub fn reload_settings() {
    // SAFETY: called between two pieces of work of a background worker.
    unsafe { pg_sys::ProcessConfigFile(pg_sys::GucContext::PGC_SIGHUP) }
}

/// The timeline that the server writes.
pub fn timeline() -> u32 {
    // SAFETY: reads shared memory; not in recovery, where capture does not run.
    unsafe { pg_sys::GetWALInsertionTimeLine() }
}

/// The current database's encoding, as `client_encoding` takes it.
pub fn database_encoding() -> String {
    // SAFETY: a static NUL-terminated name.
    let name = unsafe { CStr::from_ptr(pg_sys::GetDatabaseEncodingName()) };
    name.to_string_lossy().into_owned()
}

/// A database's name, byte for byte: its encoding is not recorded anywhere. `None` if there is none with that OID.
/// Needs a transaction.
pub fn database_name(database: pg_sys::Oid) -> Option<Vec<u8>> {
    // SAFETY: a catalog look-up returning a palloc'd copy or null.
    unsafe {
        let name = pg_sys::get_database_name(database);
        (!name.is_null()).then(|| CStr::from_ptr(name).to_bytes().to_vec())
    }
}

/// Sends SIGTERM to a process of this server.
pub fn terminate(pid: i32) {
    // SAFETY: kill() with a process id from the status board; a stale one gives ESRCH.
    unsafe { libc::kill(pid, libc::SIGTERM) };
}

/// Exits this background worker; the postmaster restarts it after its restart time, unless the server is
/// stopping.
pub fn exit_to_be_restarted() {
    // SAFETY: the worker's end, with nothing alive that a destructor would have to free.
    unsafe { pg_sys::proc_exit(1) };
}

/// True while a backend with that process id exists.
pub fn is_backend_alive(pid: i32) -> bool {
    // SAFETY: reads shared memory.
    unsafe { !pg_sys::BackendPidGetProc(pid).is_null() }
}

/// Sleeps on this process's latch, and processes interrupts (a cancel request raises an error).
pub fn wait_a_moment(longest: Duration) {
    // SAFETY: MyLatch is this process's own; postmaster death ends the process.
    unsafe {
        let events = pg_sys::WL_LATCH_SET | pg_sys::WL_TIMEOUT | pg_sys::WL_EXIT_ON_PM_DEATH;
        let milliseconds = longest.as_millis() as std::ffi::c_long;
        pg_sys::WaitLatch(
            pg_sys::MyLatch,
            events as i32,
            milliseconds,
            pg_sys::PG_WAIT_EXTENSION,
        );
        pg_sys::ResetLatch(pg_sys::MyLatch);
    }
    pgrx::check_for_interrupts!();
}

/// Ends this process if the postmaster is gone, which a wait without a latch does not notice.
fn exit_without_postmaster() {
    // SAFETY: a system call and this process's own variables; exit callbacks run as at the end of any wait for a latch.
    unsafe {
        if pg_sys::IsUnderPostmaster && libc::getppid() != pg_sys::PostmasterPid {
            pg_sys::proc_exit(1);
        }
    }
}

/// The directory of this session's temporary files: of the next one of temp_tablespaces, or of the database's tablespace
/// (OpenTemporaryFile in fd.c). It is there afterwards.
pub fn temporary_directory() -> PathBuf {
    let mut path = [0 as std::ffi::c_char; pg_sys::MAXPGPATH as usize];
    // SAFETY: inside a transaction; the path has room for any, and a directory that is there already is no error.
    let path = unsafe {
        pg_sys::PrepareTempTablespaces();
        let mut tablespace = pg_sys::GetNextTempTableSpace();
        if tablespace == pg_sys::InvalidOid {
            tablespace = pg_sys::MyDatabaseTableSpace;
        }
        pg_sys::TempTablespacePath(path.as_mut_ptr(), tablespace);
        pg_sys::MakePGDirectory(path.as_ptr());
        path_of(CStr::from_ptr(path.as_ptr()))
    };
    data_directory().join(path)
}

/// The directory of loadable libraries that belongs to the installation: `$libdir`.
pub fn library_directory() -> PathBuf {
    // SAFETY: pkglib_path is set at server start and never changes.
    path_of(unsafe { CStr::from_ptr((&raw const pg_sys::pkglib_path).cast()) })
}

/// The file of a library with this name, where dynamic_library_path has one (find_in_dynamic_libpath of dfmgr.c): an
/// extension may be outside the installation. If there is none, where the installation would have it.
pub fn library(name: &str) -> PathBuf {
    let own = library_directory();
    let path = guc::value(c"dynamic_library_path").unwrap_or_default();
    let file = format!("{name}.so");
    let directories = path
        .split(':')
        .map(|part| match part.strip_prefix("$libdir") {
            Some(below) => own.join(below.trim_start_matches('/')),
            None => PathBuf::from(part),
        });
    let mut files = directories.map(|directory| directory.join(&file));
    files
        .find(|file| file.is_absolute() && file.exists())
        .unwrap_or_else(|| own.join(&file))
}

/// True while an operating system process with that id exists: the launcher is not connected to a database,
/// but it is a process of the same user.
pub fn is_process_alive(pid: i32) -> bool {
    // SAFETY: signal 0 only asks.
    pid > 0 && unsafe { libc::kill(pid, 0) } == 0
}
