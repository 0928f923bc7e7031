//! A server whose calendar a test moves, so that no test waits for days.
//!
//! It affects schedules, retention and the times of bases, but not commit times.

use crate::cluster::Builder;
use crate::{give_to_server_user, wait_until, Cluster};
use std::fs;

const DAY: i64 = 24 * 3600;

impl Builder {
    /// The calendar can be moved, and other failpoints set: both are lines of one file.
    pub fn with_failpoints(self) -> Builder {
        self.environment("PG_INCRBACKUP_FAILPOINTS", "../failpoints")
    }
}

impl Cluster {
    /// From now on it is this many days after today; `lines` are additional failpoints.
    pub fn set_day(&self, day: i64, lines: &str) {
        self.set_seconds(day * DAY, lines);
    }

    /// Waits until a failpoint has killed a process, and the server is back.
    pub fn wait_for_kill(&self) {
        let fired = self.root().join("failpoints.fired");
        wait_until("somebody has died there", || fired.exists());
        wait_until("the server has noticed", || {
            self.log().contains("all server processes terminated")
        });
        self.wait_for_connections();
    }

    /// From now on it is this many seconds later.
    pub fn set_seconds(&self, seconds: i64, lines: &str) {
        let whole = self.root().join("failpoints.new");
        fs::write(&whole, format!("clock {seconds}\n{lines}")).expect("failpoints can be written");
        give_to_server_user(&whole);
        fs::rename(whole, self.root().join("failpoints")).expect("failpoints can be written");
    }
}
