//! Interruption points of long reads: a request to stop is honored between two reads, however large the file
//! is.

use std::fs::File;
use std::io::{self, Read};
use std::thread::sleep;
use std::time::Duration;

use rustix::fs::{flock, FlockOperation};
use rustix::io::Errno;

/// Called regularly; it may check for a request to stop, and need not return.
pub type Pause<'a> = &'a mut dyn FnMut();

/// A pause where a function that can fail is expected.
pub(crate) fn going_on<E>(pause: Pause<'_>) -> impl FnMut() -> Result<(), E> + '_ {
    move || {
        pause();
        Ok(())
    }
}

/// Between two attempts at a lock that another process holds.
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(10);

/// A reader that pauses before each read.
pub(crate) struct Pausing<'a, R> {
    inner: R,
    pause: Pause<'a>,
}

impl<'a, R> Pausing<'a, R> {
    pub fn new(inner: R, pause: Pause<'a>) -> Self {
        Self { inner, pause }
    }
}

impl<R: Read> Read for Pausing<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (self.pause)();
        self.inner.read(buffer)
    }
}

/// Waits for a shared lock. `between` is called meanwhile; its error ends the wait.
pub(crate) fn lock_shared<E>(
    file: &File,
    between: &mut dyn FnMut() -> Result<(), E>,
) -> Result<Result<(), Errno>, E> {
    lock(file, FlockOperation::NonBlockingLockShared, between)
}

/// The same for an exclusive lock.
pub(crate) fn lock_exclusive<E>(
    file: &File,
    between: &mut dyn FnMut() -> Result<(), E>,
) -> Result<Result<(), Errno>, E> {
    lock(file, FlockOperation::NonBlockingLockExclusive, between)
}

fn lock<E>(
    file: &File,
    how: FlockOperation,
    between: &mut dyn FnMut() -> Result<(), E>,
) -> Result<Result<(), Errno>, E> {
    loop {
        match flock(file, how) {
            Err(Errno::WOULDBLOCK) => {
                between()?;
                sleep(BETWEEN_ATTEMPTS);
            }
            Err(Errno::INTR) => {}
            taken => return Ok(taken),
        }
    }
}
