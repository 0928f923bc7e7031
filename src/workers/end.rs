//! Terminating workers, and the delay before the next attempt of a failed one.

use std::time::{Duration, Instant};

use pgrx::prelude::*;

use crate::pg::server;
use crate::status::{self, DatabaseStatus};

const POLL: Duration = Duration::from_millis(20);
/// For callers that cannot wait forever, such as a command on the database.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// The workers that are connected to a database besides capture, in the order in which they are terminated. An entry
/// that was claimed for one that has not started has the process id of its claimant, which must not be terminated.
const OTHERS: [fn(&DatabaseStatus) -> i32; 5] = [
    |entry| entry.setup.pid,
    |entry| entry.globals.pid,
    |entry| entry.extension.pid,
    |entry| entry.drill.worker(),
    |entry| entry.base.worker(),
];

/// Terminates the worker of this process id, if there is one (0: none), and waits until it has exited, for at
/// most 30 seconds. False if it has not exited then.
pub fn terminate_and_wait(pid: i32) -> bool {
    if pid == 0 {
        return true;
    }
    server::terminate(pid);
    let start = Instant::now();
    // The process itself, not its entry on the board: it holds the slot until it exits. While it connects it is not one
    // of PostgreSQL's backends yet.
    while server::is_process_alive(pid) {
        if start.elapsed() > LONGEST_WAIT {
            return false;
        }
        server::wait_a_moment(POLL);
    }
    true
}

/// Terminates the workers that are connected to a database besides capture: of a setup, globals, a lost extension, a drill, or
/// a base backup, whose files it removes. Returns when they have exited. For commands that need the database for
/// themselves, and for incr_teardown(). The caller may be one of them, and is not terminated.
pub fn end_others(database: pg_sys::Oid) {
    for pid_of in OTHERS {
        let pid = status::read(database).map_or(0, |entry| pid_of(&entry));
        if pid != std::process::id() as i32 {
            while !terminate_and_wait(pid) {}
        }
    }
}

/// The delay of the next attempt after this many consecutive failures: 1, 2, 4, … 60 seconds.
pub fn backoff(failures: u32) -> Duration {
    doubled(Duration::from_secs(1), failures, Duration::from_secs(60))
}

/// `first`, doubled this many times, at most `longest`.
pub fn doubled(first: Duration, times: u32, longest: Duration) -> Duration {
    first.saturating_mul(1 << times.min(31)).min(longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_makes_the_wait_longer_up_to_a_minute() {
        let seconds = |failures| backoff(failures).as_secs();
        assert_eq!([0, 1, 2, 5, 6, 1000].map(seconds), [1, 2, 4, 32, 60, 60]);
        let hour = Duration::from_secs(3600);
        assert_eq!(doubled(Duration::from_secs(10), 2, hour).as_secs(), 40);
        assert_eq!(doubled(Duration::from_secs(10), u32::MAX, hour), hour);
    }
}
