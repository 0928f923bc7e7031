//! Failpoints for tests: between any two steps of the durable order.
//!
//! A step calls [`pass`] with its name. In a build with debug assertions, the file named by
//! `PG_INCRBACKUP_FAILPOINTS` determines what happens there; in a release build nothing can, and none of this
//! is in the library. (The crate `fail` is controlled from within its process or by the environment at its
//! start. Workers are separate processes, whose environment is the server's: only a file can control a
//! running one, and only some of them. And it cannot kill.)
//!
//! The file's lines are `ACTION NTH POINT`, for example `kill 2 segment: fsync`. `NTH` counts how often the
//! process passes the point. `kill` terminates the process like SIGKILL, once: the file is renamed to
//! `….fired` first. `EIO`, `ENOSPC`, `EROFS` and `EACCES` make the step fail from the `NTH` time on, until
//! the file is removed. `hold` stops the process there until the file is removed, and creates a file `….held`
//! for the test. A line `clock SECONDS` moves the calendar ([`crate::time::calendar`]).

use std::io;

use chrono::TimeDelta;

/// Nothing in a release build.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub fn pass(_point: &'static str) -> io::Result<()> {
    Ok(())
}

/// None in a release build.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub fn clock_shift() -> TimeDelta {
    TimeDelta::zero()
}

#[cfg(debug_assertions)]
pub use armed::{clock_shift, pass};

#[cfg(debug_assertions)]
mod armed {
    use super::{io, TimeDelta};
    use std::cell::RefCell;
    use std::collections::HashMap;
    use std::fs;
    use std::path::Path;

    use rustix::io::Errno;
    use rustix::process::{getpid, kill_process, Signal};

    const VARIABLE: &str = "PG_INCRBACKUP_FAILPOINTS";

    thread_local! {
        /// How often this thread has passed each point while the file named it.
        static PASSED: RefCell<HashMap<&'static str, u32>> = RefCell::default();
    }

    /// Does what the file specifies for this point.
    pub fn pass(point: &'static str) -> io::Result<()> {
        let Some(file) = std::env::var_os(VARIABLE) else {
            return Ok(());
        };
        let file = Path::new(&file);
        let Ok(text) = fs::read_to_string(file) else {
            PASSED.with_borrow_mut(HashMap::clear);
            return Ok(());
        };
        for line in text.lines() {
            let mut words = line.splitn(3, ' ');
            let (action, nth, name) = (words.next(), words.next(), words.next());
            let nth = nth.and_then(|nth| nth.parse::<u32>().ok()).unwrap_or(1);
            if name == Some(point) && count(point) >= nth {
                act(action.unwrap_or_default(), file)?;
            }
        }
        Ok(())
    }

    /// By how much the calendar is moved.
    pub fn clock_shift() -> TimeDelta {
        let file = std::env::var_os(VARIABLE).map(fs::read_to_string);
        let text = file.and_then(Result::ok).unwrap_or_default();
        let mut shifts = text.lines().filter_map(|line| line.strip_prefix("clock "));
        let seconds = shifts.find_map(|seconds| seconds.trim().parse().ok());
        TimeDelta::seconds(seconds.unwrap_or(0))
    }

    fn count(point: &'static str) -> u32 {
        PASSED.with_borrow_mut(|passed| {
            let times = passed.entry(point).or_default();
            *times += 1;
            *times
        })
    }

    fn act(action: &str, file: &Path) -> io::Result<()> {
        let errno = match action {
            "kill" => return die(file),
            "hold" => return hold(file),
            "EIO" => Errno::IO,
            "ENOSPC" => Errno::NOSPC,
            "EROFS" => Errno::ROFS,
            "EACCES" => Errno::ACCESS,
            other => {
                return Err(io::Error::other(format!(
                    "unknown failpoint action {other}"
                )))
            }
        };
        Err(errno.into())
    }

    fn hold(file: &Path) -> io::Result<()> {
        fs::write(file.with_extension("held"), "")?;
        while file.exists() {
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        Ok(())
    }

    /// A process that cannot rename the file was not the first one here, and survives.
    fn die(file: &Path) -> io::Result<()> {
        let fired = file.with_extension("fired");
        if fs::rename(file, &fired).is_ok() {
            // The clock is the same when the server is back.
            let text = fs::read_to_string(&fired)?;
            let clock = text.lines().find(|line| line.starts_with("clock "));
            if let Some(clock) = clock {
                fs::write(file, clock)?;
            }
            kill_process(getpid(), Signal::KILL)?;
        }
        Ok(())
    }
}
