//! Settings of drills.

use std::path::PathBuf;
use std::time::Duration;

use chrono::TimeDelta;
use pgrx::guc::{GucFlags, GucSetting};

use super::{int, path, text, Text, DAY};
use crate::pg;
use crate::pg::server::guc::Zero;

static DRILL_SCHEDULE: Text = Text::new(Some(c""));
static DRILL_CONNINFO: Text = Text::new(Some(c""));
static DRILL_DIRECTORY: Text = Text::new(Some(c""));
static DRILL_TIMEOUT: GucSetting<i32> = GucSetting::<i32>::new(0);
static DRILL_MAX_AGE: GucSetting<i32> = GucSetting::<i32>::new(8 * DAY);

pub(super) fn define() {
    pg::server::guc::define_schedule(
        c"pg_incrbackup.drill_schedule",
        c"Sets the schedule of drills, in cron format, UTC.",
        c"A drill restores the newest chain into a scratch database and compares. Five fields: minute, hour, \
        day of month, month, day of week. Empty: only incr_drill() runs them.",
        &DRILL_SCHEDULE,
    );
    pg::server::guc::define_text(
        c"pg_incrbackup.drill_conninfo",
        c"Sets the connection parameters of the server that drills restore to.",
        c"Empty: each drill creates a throwaway server. The role must be a superuser; its password belongs \
        into ~/.pgpass of the server's operating system user.",
        &DRILL_CONNINFO,
    );
    pg::server::guc::define_path(
        c"pg_incrbackup.drill_directory",
        c"Sets the directory in which drills create their throwaway servers.",
        c"An absolute path outside the data directory. Empty: .drills in pg_incrbackup.directory. It needs room for a copy of the database and its WAL.",
        &DRILL_DIRECTORY,
    );
    int(
        c"pg_incrbackup.drill_timeout",
        c"Sets the maximum duration of a drill.",
        c"A drill that takes longer is terminated and cleaned up. 0: no limit.",
        &DRILL_TIMEOUT,
        (0, i32::MAX),
        GucFlags::UNIT_MS,
    );
    pg::server::guc::define_span(
        c"pg_incrbackup.drill_max_age",
        c"Sets the age of the last passed drill at which incr_slot_health() warns.",
        c"Critical at twice this. Checked if drill_schedule is set or a drill has ever run. At least an hour; 0: \
        never.",
        &DRILL_MAX_AGE,
        0,
        Zero::Allowed,
    );
}

/// Cron format in UTC; `None`: no schedule.
pub fn drill_schedule() -> Option<String> {
    Some(text(&DRILL_SCHEDULE)).filter(|schedule| !schedule.trim().is_empty())
}

/// The target server of drills; empty: a throwaway server.
pub fn drill_conninfo() -> String {
    text(&DRILL_CONNINFO)
}

/// Directory of throwaway servers; `None`: in the archive's root.
pub fn drill_directory() -> Option<PathBuf> {
    path(&DRILL_DIRECTORY)
}

/// Maximum duration of a drill; `None`: no limit.
pub fn drill_timeout() -> Option<Duration> {
    Some(DRILL_TIMEOUT.get())
        .filter(|millis| *millis > 0)
        .map(|millis| Duration::from_millis(millis as u64))
}

/// Age of the last passed drill at which health warns; `None`: never.
pub fn drill_max_age() -> Option<TimeDelta> {
    Some(DRILL_MAX_AGE.get())
        .filter(|minutes| *minutes > 0)
        .map(|minutes| TimeDelta::minutes(minutes.into()))
}
