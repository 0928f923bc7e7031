//! A PostgreSQL server as a child of this process: the throwaway server of a drill.
//!
//! It never outlives its worker. Exit callbacks stop it, and if none run (SIGKILL), the kernel sends the
//! postmaster SIGQUIT, an immediate shutdown that terminates all of its processes.

use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::time::{Duration, Instant};

use pgrx::prelude::*;

use super::process::on_its_own;

/// The postmaster; 0 if there is none.
static RUNNING: AtomicI32 = AtomicI32::new(0);
/// Maximum duration of an immediate shutdown. A postmaster itself waits 5 s for its processes.
const GRACE: Duration = Duration::from_secs(10);

/// A running server. Dropping this stops it.
pub struct ChildServer(Child);

impl ChildServer {
    /// Starts `postgres` on a data directory; its output is written to `log`.
    pub fn start(postgres: &Path, data: &Path, log: File) -> io::Result<ChildServer> {
        end_with_this_process();
        let mut command = on_its_own(postgres);
        command.arg("-D").arg(data).stdin(Stdio::null());
        command.stdout(log.try_clone()?).stderr(log);
        // SAFETY: `prepare_child` only makes system calls that are safe between fork and exec.
        unsafe { command.pre_exec(prepare_child) };
        let child = command.spawn()?;
        RUNNING.store(child.id() as i32, Ordering::SeqCst);
        Ok(ChildServer(child))
    }

    /// How it exited, if it has.
    pub fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        let ended = self.0.try_wait()?;
        if ended.is_some() {
            RUNNING.store(0, Ordering::SeqCst);
        }
        Ok(ended)
    }
}

impl Drop for ChildServer {
    fn drop(&mut self) {
        end(RUNNING.swap(0, Ordering::SeqCst));
    }
}

/// Runs in the child between fork and exec.
fn prepare_child() -> io::Result<()> {
    // SAFETY: system calls without memory of this process. The server's open files are closed at exec.
    unsafe {
        libc::umask(0o077);
        #[cfg(target_os = "linux")]
        {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGQUIT);
            const CLOSE_RANGE_CLOEXEC: libc::c_uint = 4;
            libc::syscall(libc::SYS_close_range, 3u32, u32::MAX, CLOSE_RANGE_CLOEXEC);
        }
    }
    Ok(())
}

fn end_with_this_process() {
    static REGISTERED: AtomicBool = AtomicBool::new(false);
    if !REGISTERED.swap(true, Ordering::SeqCst) {
        // SAFETY: the callback follows ipc.h and stays loaded as long as the library.
        unsafe { pg_sys::before_shmem_exit(Some(on_exit), pg_sys::Datum::null()) }
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn on_exit(_code: std::ffi::c_int, _argument: pg_sys::Datum) {
    end(RUNNING.swap(0, Ordering::SeqCst));
}

/// Stops a postmaster of ours and waits for it.
fn end(postmaster: i32) {
    if postmaster <= 0 {
        return;
    }
    shut_down(postmaster, |pid| {
        // SAFETY: a child of this process, which no one has waited for yet.
        unsafe { libc::waitpid(pid, std::ptr::null_mut(), libc::WNOHANG) != 0 }
    });
}

/// Stops the postmaster of this data directory, if there is one: that of a killed worker on systems whose
/// kernel does not signal children. False if it does not stop.
pub fn end_in(data: &Path) -> bool {
    // The kernel resolves symbolic links in the working directory of a process.
    let data = data.canonicalize().unwrap_or_else(|_| data.to_path_buf());
    let Ok(text) = std::fs::read_to_string(data.join("postmaster.pid")) else {
        return true;
    };
    let pid: Option<i32> = text.lines().next().and_then(|line| line.parse().ok());
    let Some(pid) = pid.filter(|pid| *pid > 1) else {
        return true;
    };
    // Another process may have that pid now: the working directory of a postmaster is its data directory.
    let is_ours = || {
        let stands_in = std::fs::read_link(format!("/proc/{pid}/cwd"));
        stands_in.is_ok_and(|stands_in| stands_in == data)
    };
    if is_ours() {
        shut_down(pid, |_| !is_ours());
    }
    !is_ours()
}

fn shut_down(postmaster: i32, has_ended: impl Fn(i32) -> bool) {
    let deadline = Instant::now() + GRACE;
    // SAFETY: signals to a postmaster that the callers know to be ours.
    unsafe { libc::kill(postmaster, libc::SIGQUIT) };
    while !has_ended(postmaster) {
        if Instant::now() > deadline {
            // SAFETY: as above. Its processes end when they notice.
            unsafe { libc::kill(postmaster, libc::SIGKILL) };
        }
        std::thread::sleep(Duration::from_millis(10));
        if Instant::now() > deadline + GRACE {
            return;
        }
    }
}
