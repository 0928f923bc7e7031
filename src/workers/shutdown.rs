//! Whether this worker was asked to end. pgrx's own question forgets its answer once it is asked.

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

/// Makes this worker end at its next look, as SIGTERM would.
pub fn request() {
    REQUESTED.set(true);
}

/// Sleeps until the latch is set, at most `longest`. Death of the postmaster counts as a request.
pub fn sleep(longest: Duration) {
    if !BackgroundWorker::wait_latch(Some(longest)) {
        REQUESTED.set(true);
    }
}
