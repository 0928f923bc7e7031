//! incr_slot_health(): risks, as a level and reasons.
//!
//! One row per logical slot of this database. For our own slot everything is checked: its worker, chain, WAL,
//! directory, bases, and DDL recording. It also works without preloading and on a standby, and reports that.
//! The level is that of the worst reason.

mod cluster;
mod files;
mod metrics;
mod offsite;
mod standbys;
mod uncovered;

use std::time::Duration;

use archive::time;
use pgrx::prelude::*;

pub use self::cluster::{report as cluster_report, without_backup};
pub use self::metrics::report as metrics;
use crate::figures::pretty_bytes;
use crate::pg::decoding::slot;
use crate::pg::failure::Failure;
use crate::pg::server;
use crate::pg::text::ServerText;
use crate::pg::types::lsn;
use crate::settings::{self, KeylessTables};
use crate::status::{self, BasePhase, DatabaseStatus, Phase};
use crate::{lost_extension, place, preflight, replica_identity, workers};

/// Maximum number of table names in one reason.
const LISTED: usize = 5;
/// A base backup that waits for its turn longer is reported.
const LONG_WAIT: Duration = Duration::from_secs(3600);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Ok,
    Warning,
    Critical,
    Emergency,
}

impl Level {
    pub fn name(self) -> &'static str {
        match self {
            Level::Ok => "ok",
            Level::Warning => "warning",
            Level::Critical => "critical",
            Level::Emergency => "emergency",
        }
    }
}

/// One row of incr_slot_health(). LSNs are 0 and times 0 where unknown.
pub struct Row {
    pub slot_name: String,
    pub database: String,
    pub database_oid: pg_sys::Oid,
    pub plugin: Option<String>,
    pub level: Level,
    pub reasons: Vec<String>,
    pub active: bool,
    pub wal_status: Option<String>,
    pub restart_lag: Option<u64>,
    pub confirmed_lag: Option<u64>,
    pub safe_wal_size: Option<i64>,
    pub age_micros: Option<i64>,
    pub durable_lsn: u64,
    pub last_commit_at: i64,
    pub disk_used_percent: Option<i32>,
    /// Files that archive_command has not archived; `None` if it is not set.
    pub archive_lag: Option<offsite::Lag>,
    /// Time since the last passed drill.
    pub drill_age_micros: Option<i64>,
    /// The chain has ended: a new one is needed.
    pub is_chain_broken: bool,
}

/// What every reason says by which a chain has ended.
const BROKEN: &str = "the chain is broken";

impl Row {
    fn because(&mut self, level: Level, reason: impl Into<String>) {
        self.level = self.level.max(level);
        self.reasons.push(reason.into());
    }

    /// Said once, by whoever knows most: the last one who says it.
    fn chain_is_broken(&mut self, reason: impl Into<String>) {
        if self.is_chain_broken {
            self.reasons.retain(|said| !said.contains(BROKEN));
        }
        self.is_chain_broken = true;
        self.because(Level::Emergency, reason);
    }
}

/// Health of this database. Needs a transaction.
pub fn report() -> Result<Vec<Row>, Failure> {
    let database = server::my_database();
    let ours = workers::slot_name(database);
    let (mut rows, mut has_ours) = (Vec::new(), false);
    for facts in slot::all()
        .into_iter()
        .filter(|facts| facts.database == database)
    {
        let mut row = row_of(&facts, database);
        if is_ours(&facts, database) {
            has_ours = true;
            if judge_ours(&mut row, &facts) {
                if let Some(problem) = ddl_log_problem()? {
                    row.because(Level::Critical, problem);
                }
                judge_tables(&mut row)?;
                standbys::tell_if_not_awaited(&mut row)?;
            }
        } else {
            judge_wal(&mut row);
            row.reasons
                .push("this slot does not belong to pg_incrbackup".to_string());
        }
        rows.push(row);
    }
    if !has_ours {
        rows.push(without_slot(database));
    }
    if server::is_in_recovery() {
        return Ok(rows);
    }
    let all = place::all().unwrap_or_default();
    let of_this = all.iter().find(|of| of.database_oid == database.to_u32());
    let row = rows.iter_mut().find(|row| row.slot_name == ours);
    if let (Some(row), Some(of_this)) = (row, of_this) {
        files::judge_copies(row, of_this);
    }
    Ok(rows)
}

/// True for the slot that marks this database as backed up.
fn is_ours(facts: &slot::Facts, database: pg_sys::Oid) -> bool {
    facts.database == database
        && facts.name == workers::slot_name(database)
        && facts.plugin.as_deref().is_some_and(workers::is_our_plugin)
}

fn row_of(facts: &slot::Facts, database: pg_sys::Oid) -> Row {
    let current = lsn::current();
    let behind = |lsn: u64| (lsn != 0).then(|| current.saturating_sub(lsn));
    Row {
        slot_name: facts.name.clone(),
        database: ServerText(server::database_name(database).unwrap_or_default()).to_utf8(),
        database_oid: database,
        plugin: facts.plugin.clone(),
        level: Level::Ok,
        reasons: Vec::new(),
        active: facts.active_pid.is_some(),
        wal_status: facts.wal_status.clone(),
        restart_lag: behind(facts.restart_lsn),
        confirmed_lag: behind(facts.confirmed_lsn),
        safe_wal_size: facts.safe_wal_size,
        age_micros: None,
        durable_lsn: 0,
        last_commit_at: 0,
        disk_used_percent: None,
        archive_lag: None,
        drill_age_micros: None,
        is_chain_broken: false,
    }
}

/// The row of a database without a slot, of which nothing is judged yet.
fn slot_row(database: pg_sys::Oid) -> Row {
    let facts = slot::Facts {
        name: workers::slot_name(database),
        ..slot::Facts::default()
    };
    row_of(&facts, database)
}

fn without_slot(database: pg_sys::Oid) -> Row {
    let mut row = slot_row(database);
    if server::is_in_recovery() {
        standbys::tell_role(&mut row, None);
    } else {
        let name = server::database_name(database).unwrap_or_default();
        uncovered::judge(&mut row, database, &name);
    }
    judge_preloading(&mut row);
    row
}

/// Risks that any slot is for the server's disk, and the server for the slot.
fn judge_wal(row: &mut Row) {
    match row.wal_status.as_deref() {
        Some("lost") => row.chain_is_broken(
            "the WAL that the slot needs has been removed (max_slot_wal_keep_size): the chain is broken",
        ),
        Some("unreserved") => row.because(
            Level::Critical,
            "the slot is past max_slot_wal_keep_size: the next checkpoint may remove its WAL",
        ),
        _ => {}
    }
    let held = row.restart_lag.unwrap_or(0);
    let text = format!("the slot holds {} of WAL", pretty_bytes(held));
    if held >= settings::lag_emergency() {
        row.because(
            Level::Emergency,
            format!("{text}, past pg_incrbackup.lag_emergency"),
        );
    } else if held >= settings::lag_critical() {
        row.because(
            Level::Critical,
            format!("{text}, past pg_incrbackup.lag_critical"),
        );
    }
}

/// Checks that work from any database of the cluster; false if there is nothing more to check.
fn judge_ours(row: &mut Row, slot: &slot::Facts) -> bool {
    let database = slot.database;
    if server::is_in_recovery() {
        standbys::tell_role(row, Some(slot));
        judge_preloading(row);
        return false;
    }
    judge_wal(row);
    judge_preloading(row);
    let entry = status::read(database).unwrap_or_default();
    if entry.base.is_creating_slot() {
        row.because(Level::Warning, uncovered::in_words(&entry));
        return false;
    }
    if status::is_there() {
        if let Err(failure) = preflight::ensure_room(database) {
            row.because(
                Level::Emergency,
                format!("nothing is captured: {}", failure.in_full()),
            );
        }
        if let Some(problem) = lost_extension::problem(&entry.extension) {
            row.because(Level::Critical, problem);
        }
        judge_worker(row, &entry);
        standbys::judge_wait(row, &entry);
        judge_age(row, &entry);
        judge_dumps(row, &entry);
        offsite::judge(row, &entry.offsite);
    }
    files::judge_directory(row, database);
    true
}

fn judge_preloading(row: &mut Row) {
    if !status::is_there() {
        row.because(
            Level::Critical,
            "pg_incrbackup is not in shared_preload_libraries: nothing is captured",
        );
    }
}

fn judge_worker(row: &mut Row, entry: &DatabaseStatus) {
    let error = entry.last_error.get();
    match entry.phase {
        // Whether it is waiting or has just been restarted: it does not get past the point of failure.
        Phase::WaitingToRetry | Phase::Starting | Phase::Streaming | Phase::CaughtUp
            if entry.failures > 1 =>
        {
            let times = entry.failures;
            row.because(Level::Emergency, format!("capture has failed {times} times in a row: {error}"));
        }
        Phase::Starting | Phase::Streaming | Phase::CaughtUp => {}
        Phase::Stopped | Phase::SteppedAside if entry.held => row.because(
            Level::Critical,
            "capture was stopped by incr_teardown(drop_slot => false): run SELECT * FROM incr_setup()",
        ),
        Phase::Stopped if settings::directory().is_none() => {}
        Phase::Stopped => row.because(Level::Critical, "the capture worker is not running"),
        Phase::SteppedAside => {
            row.because(Level::Warning, "capture stepped aside for a command on the database");
        }
        Phase::WaitingToRetry => {
            row.because(Level::Critical, format!("capture is waiting to retry: {error}"));
        }
        Phase::Broken => row.chain_is_broken(
            format!(
                "the chain is broken: {}; run SELECT * FROM incr_setup(new_chain => true)",
                entry.broken.get()
            ),
        ),
    }
    if entry.phase != Phase::Broken && !entry.broken.is_empty() {
        row.chain_is_broken(format!("the chain is broken: {}", entry.broken.get()));
    }
    if entry.flags > 0 {
        row.because(
            Level::Warning,
            format!(
                "{} changes could not be captured exactly; the segments flag them",
                entry.flags
            ),
        );
    }
    row.durable_lsn = entry.durable_lsn;
    row.last_commit_at = entry.last_commit_at;
}

/// Age of the oldest commit that is not on disk. If no worker is reading, it is at most the time since the
/// last one that is; if that is not known since the server's start, it is told since when none has been reading.
fn judge_age(row: &mut Row, entry: &DatabaseStatus) {
    let is_reading = entry.is_reading();
    let since = match (entry.oldest_pending_at, is_reading, entry.last_commit_at) {
        // Nothing that waits for a standby has been read.
        (0, true, _) => entry.standby.since,
        (0, false, 0) => entry.unread_since,
        (0, false, last) => last,
        (pending, ..) => pending,
    };
    let age = if since == 0 {
        0
    } else {
        (time::now().timestamp_micros() - since).max(0)
    };
    row.age_micros = (is_reading || since != 0).then_some(age);
    if age >= settings::age_emergency().as_micros() as i64 {
        row.because(
            Level::Emergency,
            "the oldest commit not yet on disk is older than pg_incrbackup.age_emergency",
        );
    }
}

fn judge_dumps(row: &mut Row, entry: &DatabaseStatus) {
    let base = &entry.base;
    if base.phase == BasePhase::Failed && !base.is_refused_setup() {
        let reason = format!("the last base backup failed: {}", base.error.get());
        row.because(Level::Warning, reason);
    } else if base.is_refused_setup() && base.failures > 0 {
        let reason = "the last base backup failed, before an incr_setup() that was refused: see the server log";
        row.because(Level::Warning, reason);
    }
    let waiting_for = entry.base.waiting_for.get();
    let is_waiting = matches!(entry.base.phase, BasePhase::Fencing | BasePhase::Finishing);
    if is_waiting && !waiting_for.is_empty() {
        row.because(
            Level::Warning,
            format!("a base backup waits for {waiting_for}"),
        );
    }
    let asked_at = entry.base.turn_asked_at;
    let waited = time::now().timestamp_micros() - asked_at;
    if asked_at != 0 && entry.base.is_running() && waited >= LONG_WAIT.as_micros() as i64 {
        let minutes = waited / 60_000_000;
        let reason = format!("a base backup has waited for {minutes} min for {waiting_for}");
        row.because(Level::Warning, reason);
    }
    if !entry.expiry.error.is_empty() {
        let reason = "expired files could not be removed";
        let reason = format!("{reason}: {}", entry.expiry.error.get());
        row.because(Level::Warning, reason);
    }
    if !entry.drill.left_error.is_empty() {
        let reason = "leftovers of a drill could not be removed";
        let reason = format!("{reason}: {}", entry.drill.left_error.get());
        row.because(Level::Warning, reason);
    }
    if !entry.globals.error.is_empty() {
        let reason = "changed roles or settings could not be recorded";
        let reason = format!("{reason}: {}", entry.globals.error.get());
        row.because(Level::Warning, reason);
    }
}

/// Without our event triggers (and the extension that owns them), DDL is not in the files. Describes what is
/// wrong with them in this database.
pub fn ddl_log_problem() -> spi::Result<Option<String>> {
    const QUERY: &str = "SELECT e.oid IS NOT NULL, pg_catalog.count(t.oid), \
          pg_catalog.string_agg(t.evtname::text, ', ') FILTER (WHERE t.evtenabled IN ('D', 'R')) \
        FROM (SELECT) AS one LEFT JOIN pg_catalog.pg_extension e ON e.extname = 'pg_incrbackup' \
          LEFT JOIN pg_catalog.pg_depend d ON d.refobjid = e.oid AND d.deptype = 'e' \
            AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass \
            AND d.classid = 'pg_catalog.pg_event_trigger'::pg_catalog.regclass \
          LEFT JOIN pg_catalog.pg_event_trigger t ON t.oid = d.objid GROUP BY 1";
    let (is_installed, triggers, disabled) = Spi::connect(|client| {
        client
            .select(QUERY, Some(1), &[])?
            .first()
            .get_three::<bool, i64, String>()
    })?;
    Ok(if is_installed != Some(true) {
        Some("the extension is not installed in this database: DDL is not captured".to_string())
    } else if triggers.unwrap_or(0) == 0 {
        Some("the event triggers are missing: DDL is not captured completely".to_string())
    } else {
        disabled.map(|disabled| format!("event triggers are disabled: {disabled}"))
    })
}

/// Tables of this database whose UPDATE and DELETE are not captured.
pub fn uncaptured_tables() -> spi::Result<Vec<pg_sys::Oid>> {
    match settings::keyless_tables() {
        KeylessTables::Error => Ok(Vec::new()),
        _ => replica_identity::keyless_tables(),
    }
}

fn judge_tables(row: &mut Row) -> Result<(), Failure> {
    let tables = uncaptured_tables()?;
    if tables.is_empty() {
        return Ok(());
    }
    let more = match tables.len().saturating_sub(LISTED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let listed = tables.iter().take(LISTED).copied();
    let listed: Vec<String> = listed.filter_map(replica_identity::shown).collect();
    let listed = listed.join(", ");
    row.because(
        Level::Warning,
        format!(
            "UPDATE and DELETE are not captured for tables without a replica identity: {listed}{more}"
        ),
    );
    Ok(())
}
