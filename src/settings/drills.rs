//! Settings of drills.

use chrono::TimeDelta;
use pgrx::guc::{GucContext, GucFlags, GucRegistry, GucSetting};

use super::{int, text, Text, DAY};
use crate::pg;

static DRILL_SCHEDULE: Text = Text::new(Some(c""));
static DRILL_CONNINFO: Text = Text::new(Some(c""));
static DRILL_MAX_AGE: GucSetting<i32> = GucSetting::<i32>::new(8 * DAY);

pub(super) fn define() {
    pg::guc::define_schedule(
        c"pg_incrbackup.drill_schedule",
        c"When drills are made, in cron's form, UTC.",
        c"A drill restores the newest chain into a scratch database and compares. Five fields: minute, hour, day of month, month, day of week. Empty: only incr_drill() makes them.",
        &DRILL_SCHEDULE,
    );
    GucRegistry::define_string_guc(
        c"pg_incrbackup.drill_conninfo",
        c"Connection parameters of the server that drills restore to.",
        c"Empty: this server. A superuser there; its password stands in ~/.pgpass of the server's user.",
        &DRILL_CONNINFO,
        GucContext::Sighup,
        GucFlags::SUPERUSER_ONLY,
    );
    int(
        c"pg_incrbackup.drill_max_age",
        c"Age of the last drill that passed at which incr_slot_health() warns.",
        c"Critical at twice this. Looked at where there is a drill_schedule, or a drill has been made. 0: never.",
        &DRILL_MAX_AGE,
        (0, i32::MAX),
        GucFlags::UNIT_MIN,
    );
}

/// Cron form in UTC; `None`: no schedule.
pub fn drill_schedule() -> Option<String> {
    Some(text(&DRILL_SCHEDULE)).filter(|schedule| !schedule.trim().is_empty())
}

/// Where drills restore to; empty: this server.
pub fn drill_conninfo() -> String {
    text(&DRILL_CONNINFO)
}

/// Age of the last drill that passed at which health warns; `None`: never.
pub fn drill_max_age() -> Option<TimeDelta> {
    Some(DRILL_MAX_AGE.get())
        .filter(|minutes| *minutes > 0)
        .map(|minutes| TimeDelta::minutes(minutes.into()))
}
