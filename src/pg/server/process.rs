//! Programs that a worker executes: pg_dump, pg_dumpall, gzip.
//!
//! A program never outlives the worker: it has its own process group, which is terminated if the worker exits
//! in a way that runs exit callbacks, and otherwise by the kernel. Its output is read through pipes, without
//! blocking longer than requested.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::time::{Duration, Instant};

use pgrx::prelude::*;

/// Process group of the running program; 0 if there is none.
static RUNNING: AtomicI32 = AtomicI32::new(0);
/// How long a program may take to exit after SIGTERM.
const GRACE: Duration = Duration::from_secs(2);
const CHUNK: usize = 256 * 1024;

/// A running program. Dropping this terminates it.
pub struct Program {
    child: std::process::Child,
    stdout: Option<ChildStdout>,
    stderr: Option<ChildStderr>,
    buffer: Vec<u8>,
}

/// A program in its own process group, with messages in English, and without environment variables for
/// connections to other servers.
pub(in crate::pg) fn on_its_own(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.env("LC_ALL", "C").process_group(0);
    for (name, _) in std::env::vars_os() {
        if name.as_bytes().starts_with(b"PG") || name == "LANGUAGE" {
            command.env_remove(&name);
        }
    }
    command
}

impl Program {
    /// One is running already: there is one at a time.
    pub fn is_running() -> bool {
        RUNNING.load(Ordering::SeqCst) != 0
    }

    /// Starts `program` with these arguments, without the server's `PG…` environment variables, with messages
    /// in English, and with a umask that makes files readable only by their owner.
    pub fn start<S: AsRef<OsStr>>(program: &Path, arguments: &[S]) -> io::Result<Program> {
        Program::start_with(program, arguments, &[], None)
    }

    /// The same with variables of the environment, and a file as its input. ResourceBusy while another one runs.
    pub fn start_with<S: AsRef<OsStr>>(
        program: &Path,
        arguments: &[S],
        environment: &[(&str, OsString)],
        input: Option<File>,
    ) -> io::Result<Program> {
        if Program::is_running() {
            let message = "another program of this process is running";
            return Err(io::Error::new(io::ErrorKind::ResourceBusy, message));
        }
        end_with_this_process();
        let mut command = on_its_own(program);
        command.args(arguments);
        command
            .stdin(input.map_or_else(Stdio::null, Stdio::from))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        for (name, value) in environment {
            command.env(name, value);
        }
        // SAFETY: `prepare_child` only makes system calls that are safe between fork and exec.
        unsafe { command.pre_exec(prepare_child) };
        let mut child = command.spawn()?;
        RUNNING.store(child.id() as i32, Ordering::SeqCst);
        Ok(Program {
            stdout: child.stdout.take(),
            stderr: child.stderr.take(),
            child,
            buffer: vec![0; CHUNK],
        })
    }

    /// Waits at most `timeout` for output and passes it to `out` and `err`. False if the program has closed
    /// both.
    pub fn pump(
        &mut self,
        timeout: Duration,
        out: impl FnOnce(&[u8]) -> io::Result<()>,
        err: impl FnOnce(&[u8]),
    ) -> io::Result<bool> {
        let ready = poll(
            [descriptor(&self.stdout), descriptor(&self.stderr)],
            timeout,
        );
        super::exit_without_postmaster();
        pgrx::check_for_interrupts!();
        if ready[1] {
            let count = read_some(&mut self.stderr, &mut self.buffer)?;
            err(&self.buffer[..count]);
        }
        if ready[0] {
            let count = read_some(&mut self.stdout, &mut self.buffer)?;
            out(&self.buffer[..count])?;
        }
        Ok(self.stdout.is_some() || self.stderr.is_some())
    }

    /// Waits until a program that has closed its output exits.
    pub fn finish(mut self) -> io::Result<ExitStatus> {
        loop {
            if let Some(status) = self.child.try_wait()? {
                self.is_no_more();
                return Ok(status);
            }
            super::wait_a_moment(Duration::from_millis(10));
        }
    }

    /// Nobody ends it any more. True if it had to be ended.
    fn is_no_more(&self) -> bool {
        let group = self.child.id() as i32;
        let order = Ordering::SeqCst;
        RUNNING.compare_exchange(group, 0, order, order).is_ok()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if self.is_no_more() {
            end_group(self.child.id() as i32);
        }
    }
}

pub(super) fn descriptor(pipe: &Option<impl AsRawFd>) -> i32 {
    pipe.as_ref().map_or(-1, AsRawFd::as_raw_fd)
}

/// Reads once; closes the pipe at its end.
pub(super) fn read_some(pipe: &mut Option<impl Read>, buffer: &mut [u8]) -> io::Result<usize> {
    let Some(open) = pipe else { return Ok(0) };
    match open.read(buffer) {
        Ok(0) => {
            *pipe = None;
            Ok(0)
        }
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
        other => other,
    }
}

/// Which of the descriptors (-1: none) have data to read, or are at their end.
pub(super) fn poll(descriptors: [i32; 2], timeout: Duration) -> [bool; 2] {
    let mut waits = descriptors.map(|fd| libc::pollfd {
        fd,
        events: libc::POLLIN,
        revents: 0,
    });
    // SAFETY: the array is valid for the call. A signal interrupts it, which reads as "nothing".
    let count = unsafe { libc::poll(waits.as_mut_ptr(), 2, timeout.as_millis() as i32) };
    if count <= 0 {
        return [false, false];
    }
    waits.map(|wait| wait.fd >= 0 && wait.revents != 0)
}

/// Runs in the child between fork and exec.
pub(super) fn prepare_child() -> io::Result<()> {
    // SAFETY: system calls without memory of this process. The server's open files are closed at
    // exec; where the kernel can't do that at once, they stay open, as they do for COPY PROGRAM.
    unsafe {
        libc::umask(0o077);
        #[cfg(target_os = "linux")]
        {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM);
            const CLOSE_RANGE_CLOEXEC: libc::c_uint = 4;
            libc::syscall(libc::SYS_close_range, 3u32, u32::MAX, CLOSE_RANGE_CLOEXEC);
        }
    }
    Ok(())
}

/// Registers, once, that the running program is terminated when this process exits.
pub fn end_with_this_process() {
    static REGISTERED: AtomicBool = AtomicBool::new(false);
    if !REGISTERED.swap(true, Ordering::SeqCst) {
        // SAFETY: the callback follows ipc.h and stays loaded as long as the library.
        unsafe { pg_sys::before_shmem_exit(Some(on_exit), pg_sys::Datum::null()) }
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn on_exit(_code: std::ffi::c_int, _argument: pg_sys::Datum) {
    end_group(RUNNING.swap(0, Ordering::SeqCst));
}

/// Terminates a process group: by SIGTERM, so that pg_dump cancels its query, then by SIGKILL. A shell exits
/// immediately, and its child processes may take longer.
fn end_group(leader: i32) {
    if leader <= 0 {
        return;
    }
    let deadline = Instant::now() + GRACE;
    let mut has_leader = true;
    // SAFETY: signals and waits for a child of this process, which no one has waited for yet.
    unsafe {
        libc::kill(-leader, libc::SIGTERM);
        loop {
            has_leader =
                has_leader && libc::waitpid(leader, std::ptr::null_mut(), libc::WNOHANG) == 0;
            if !has_leader && libc::kill(-leader, 0) != 0 {
                return;
            }
            if Instant::now() > deadline {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        libc::kill(-leader, libc::SIGKILL);
        if has_leader {
            libc::waitpid(leader, std::ptr::null_mut(), 0);
        }
    }
}
