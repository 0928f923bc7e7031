//! Whether this worker was told to exit. pgrx's own function resets its result once it is called.

use std::cell::Cell;
use std::time::Duration;

use pgrx::bgworkers::BackgroundWorker;

thread_local! {
    static REQUESTED: Cell<bool> = const { Cell::new(false) };
}

/// True from the first SIGTERM on.
pub fn is_requested() -> bool {
    if BackgroundWorker::sigterm_received() {
        REQUESTED.set(true);
    }
    REQUESTED.get()
}

/// Makes this worker exit at its next check, like SIGTERM.
pub fn request() {
    REQUESTED.set(true);
}

/// Sleeps until the latch is set, at most `longest`. Postmaster death counts as a request to exit.
pub fn sleep(longest: Duration) {
    if !BackgroundWorker::wait_latch(Some(longest)) {
        REQUESTED.set(true);
    }
}
