//! Ending workers from outside, and how long a failed one waits for its next attempt.

use std::time::{Duration, Instant};

use pgrx::prelude::*;

use crate::pg::server;
use crate::status::{self, DatabaseStatus};

const POLL: Duration = Duration::from_millis(20);
/// For whoever cannot wait for ever, as a command on the database.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// The workers that are connected to a database besides capture, in the order in which they end. A place that was
/// claimed for one that has not started has the process id of who claimed it, who is not to be ended.
const OTHERS: [fn(&DatabaseStatus) -> i32; 4] = [
    |entry| entry.globals.pid,
    |entry| entry.extension.pid,
    |entry| entry.drill.worker(),
    |entry| entry.base.worker(),
];

/// Ends the worker of this process id, if there is one (0: none), and waits until it is gone, for at most 30 seconds.
/// False when it is not gone then.
pub fn terminate_and_wait(pid: i32) -> bool {
    if pid == 0 {
        return true;
    }
    server::terminate(pid);
    let start = Instant::now();
    // The process, not its word on the board: it holds the slot until its very end. And it is none of PostgreSQL's backends
    // yet while it connects.
    while server::is_process_alive(pid) {
        if start.elapsed() > LONGEST_WAIT {
            return false;
        }
        server::wait_a_moment(POLL);
    }
    true
}

/// Ends the workers that are connected to a database besides capture: of its globals, of a lost extension, a drill, a base
/// backup, whose files it removes. Returns when they are gone. For commands that need the database for themselves, and for
/// incr_teardown(). The caller may be one of them, and goes on.
pub fn end_others(database: pg_sys::Oid) {
    for pid_of in OTHERS {
        let pid = status::read(database).map_or(0, |entry| pid_of(&entry));
        if pid != std::process::id() as i32 {
            while !terminate_and_wait(pid) {}
        }
    }
}

/// How long the next attempt waits after so many failures in a row: 1, 2, 4, … 60 seconds.
pub fn backoff(failures: u32) -> Duration {
    doubled(Duration::from_secs(1), failures, Duration::from_secs(60))
}

/// `first`, doubled so many times, at most `longest`.
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
