//! Settings of base backups and of retention.

use std::path::PathBuf;

use archive::retention::Rules;
use archive::selection::Selection;
use chrono::TimeDelta;
use pgrx::guc::{GucContext, GucFlags, GucRegistry, GucSetting};

use super::{archive_command, int, path, text, BaseFormat, Text, DAY};
use crate::pg;
use crate::pg::server::guc::{self, Zero};

static DATABASES: Text = Text::new(Some(c""));
static BASE_SCHEDULE: Text = Text::new(Some(c"0 2 * * 0"));
static BASE_SPREAD: GucSetting<i32> = GucSetting::<i32>::new(4 * 60);
static BASE_WORKERS: GucSetting<i32> = GucSetting::<i32>::new(1);
static BASE_FORMAT: GucSetting<BaseFormat> = GucSetting::<BaseFormat>::new(BaseFormat::Compressed);
static BASE_JOBS: GucSetting<i32> = GucSetting::<i32>::new(1);
static KEEP_INCREMENTAL: GucSetting<i32> = GucSetting::<i32>::new(7 * DAY);
static KEEP_BASE: GucSetting<i32> = GucSetting::<i32>::new(30 * DAY);
static KEEP_MONTHLY: GucSetting<i32> = GucSetting::<i32>::new(12);
static DUMP_CONNINFO: Text = Text::new(Some(c""));
static BIN_DIRECTORY: Text = Text::new(Some(c""));

pub(super) fn define() {
    define_base();
    define_retention();
}

fn define_base() {
    guc::define_databases(
        c"pg_incrbackup.databases",
        c"Sets the databases whose backup is set up automatically.",
        c"Names separated by commas. * stands for any characters, ! before a name excludes it: '*, !scratch'. Empty: \
        only incr_setup() sets up.",
        &DATABASES,
    );
    pg::server::guc::define_schedule(
        c"pg_incrbackup.base_schedule",
        c"Sets the schedule of base backups, in cron format, UTC.",
        c"Five fields: minute, hour, day of month, month, day of week. Empty: only incr_dump() makes them.",
        &BASE_SCHEDULE,
    );
    int(
        c"pg_incrbackup.base_spread",
        c"Sets the time over which the scheduled base backups of the databases are spread.",
        c"Each database has its own, constant delay below this, and below the distance to the next scheduled time. \
        0: all are due at the scheduled time.",
        &BASE_SPREAD,
        (0, DAY),
        GucFlags::UNIT_MIN,
    );
    int(
        c"pg_incrbackup.base_workers",
        c"Sets the maximum number of base backups of the cluster that run at the same time.",
        c"Others wait for their turn. Capture does not wait.",
        &BASE_WORKERS,
        (1, 1000),
        GucFlags::default(),
    );
    GucRegistry::define_enum_guc(
        c"pg_incrbackup.base_format",
        c"Sets the format of base backups.",
        c"plain: dump.sql; compressed: dump.sql.gz; directory: pg_dump's directory format, made with base_jobs jobs.",
        &BASE_FORMAT,
        GucContext::Sighup,
        GucFlags::default(),
    );
    int(
        c"pg_incrbackup.base_jobs",
        c"Sets the number of parallel pg_dump jobs in directory format.",
        c"Each job is one more connection to the database.",
        &BASE_JOBS,
        (1, 64),
        GucFlags::default(),
    );
    pg::server::guc::define_conninfo(
        c"pg_incrbackup.dump_conninfo",
        c"Sets additional connection parameters for pg_dump.",
        c"Empty: the server's local socket as its bootstrap superuser. A password is not allowed: put it into \
        ~/.pgpass or a service file.",
        &DUMP_CONNINFO,
    );
    pg::server::guc::define_path(
        c"pg_incrbackup.bin_directory",
        c"Sets the directory of pg_dump and pg_dumpall.",
        c"Empty: the directory of the server's own postgres binary.",
        &BIN_DIRECTORY,
    );
}

fn define_retention() {
    guc::define_span(
        c"pg_incrbackup.keep_incremental",
        c"Sets how far back every point in time can be restored.",
        c"Segments are kept starting from the newest base backup that is older than this. At least an hour; -1: \
        forever.",
        &KEEP_INCREMENTAL,
        -1,
        Zero::Refused,
    );
    guc::define_span(
        c"pg_incrbackup.keep_base",
        c"Sets how long base backups are kept.",
        c"One whose segments were removed by keep_incremental can only be restored by itself, as a single \
        point. At least an hour; 0: no longer than keep_incremental needs them; -1: forever.",
        &KEEP_BASE,
        -1,
        Zero::Allowed,
    );
    int(
        c"pg_incrbackup.keep_monthly",
        c"Sets for how many months the first base backup of each month is kept.",
        c"Counts the newest months (UTC) that have one. 0 disables monthly base backups.",
        &KEEP_MONTHLY,
        (0, 12_000),
        GucFlags::default(),
    );
}

/// The databases whose backup is set up automatically, and those that are meant to have none.
pub fn databases() -> Selection {
    // The check hook rejects everything else.
    text(&DATABASES).parse().unwrap_or_default()
}

/// Over how many seconds the scheduled bases of all databases are spread.
pub fn base_spread() -> u32 {
    60 * BASE_SPREAD.get() as u32
}

/// How many bases may run at the same time in the cluster.
pub fn base_workers() -> usize {
    BASE_WORKERS.get() as usize
}

/// Cron format in UTC; `None`: no schedule.
pub fn base_schedule() -> Option<String> {
    Some(text(&BASE_SCHEDULE)).filter(|schedule| !schedule.trim().is_empty())
}

pub fn base_format() -> BaseFormat {
    BASE_FORMAT.get()
}

pub fn base_jobs() -> i32 {
    BASE_JOBS.get()
}

/// Retention times.
pub fn retention() -> Rules {
    let span = |minutes: i32| (minutes >= 0).then(|| TimeDelta::minutes(minutes.into()));
    Rules {
        keep_incremental: span(KEEP_INCREMENTAL.get()),
        keep_base: span(KEEP_BASE.get()),
        keep_monthly: KEEP_MONTHLY.get() as u32,
        archived_only: archive_command().is_some(),
    }
}

/// Connection parameters added for pg_dump; `None`: local socket, bootstrap superuser.
pub fn dump_conninfo() -> Option<String> {
    Some(text(&DUMP_CONNINFO)).filter(|conninfo| !conninfo.is_empty())
}

/// Directory of pg_dump; `None`: that of the server's postgres binary.
pub fn bin_directory() -> Option<PathBuf> {
    path(&BIN_DIRECTORY)
}
