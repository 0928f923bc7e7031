//! The rows of incr_status(): the status board as text.

use archive::counted;
use archive::drills::Drill;
use archive::flags;
use pgrx::prelude::*;

use super::progress::Progress;
use crate::pg::server;
use crate::status::{self, BasePhase, DatabaseStatus, DrillPhase, OffsitePhase, Phase};
use crate::{drill, place, settings};

/// One row of incr_status().
#[derive(Default)]
pub struct StatusRow {
    pub worker: &'static str,
    pub pid: i32,
    pub state: &'static str,
    pub since: i64,
    pub file: String,
    pub durable_lsn: u64,
    pub transactions: Option<u64>,
    pub statements: Option<u64>,
    pub bytes: Option<u64>,
    pub errors: Option<u64>,
    pub last_error: String,
    pub last_error_at: i64,
    pub detail: String,
    pub progress: Progress,
}

/// What the launcher and this database's workers are doing.
pub fn rows(database: pg_sys::Oid) -> Vec<StatusRow> {
    let launcher = status::launcher_pid();
    let is_alive = launcher != 0 && server::is_process_alive(launcher);
    // It starts with the promotion.
    let is_standby = server::is_in_recovery();
    let mut rows = vec![StatusRow {
        worker: "launcher",
        pid: if is_alive { launcher } else { 0 },
        state: match (is_alive, is_standby) {
            (true, _) => "running",
            (false, true) => "waiting for a promotion",
            (false, false) => "not running",
        },
        detail: if is_standby {
            "this server is a standby: capture runs on the primary".to_owned()
        } else {
            String::new()
        },
        ..StatusRow::default()
    }];
    if let Some(entry) = status::read(database) {
        rows.push(capture_row(database, &entry));
        if entry.base.phase != BasePhase::Idle {
            rows.push(base_row(&entry));
        }
        if entry.expiry.pid != 0 || entry.expiry.done_at != 0 || !entry.expiry.error.is_empty() {
            rows.push(expiry_row(&entry));
        }
        if entry.offsite.looked_at != 0 && settings::offsite().is_on() {
            rows.push(archiver_row(&entry));
        }
        rows.extend(drill_row(database, &entry));
        if entry.globals.pid != 0 || !entry.globals.error.is_empty() {
            rows.push(globals_row(&entry));
        }
    }
    rows
}

/// What is lost until the next base, as text.
fn lost(database: pg_sys::Oid) -> Option<String> {
    let chain = place::latest_chain(database).ok().flatten()?;
    flags::in_words(&flags::open(&chain).ok()?)
}

fn capture_row(database: pg_sys::Oid, entry: &DatabaseStatus) -> StatusRow {
    let lost = lost(database);
    let awaited = entry.waits_for_standby().map(|(_, awaited)| awaited);
    let detail = match entry.phase {
        Phase::Broken => entry.broken.get(),
        _ if entry.held => "stopped by incr_teardown(drop_slot => false)".to_string(),
        _ if awaited.is_some() => format!("waits for {}", awaited.as_deref().unwrap_or_default()),
        _ if lost.is_some() => lost.unwrap_or_default(),
        _ if entry.flags > 0 => format!(
            "{} could not be captured exactly",
            counted(entry.flags, "change")
        ),
        _ => String::new(),
    };
    let commits = [detail, synchronous(database)];
    let detail: Vec<String> = commits
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect();
    let detail = detail.join("; ");
    StatusRow {
        worker: "capture",
        pid: entry.pid,
        state: if awaited.is_some() {
            "waiting for a standby"
        } else {
            phase_name(entry.phase)
        },
        since: entry.started_at,
        file: entry.file.get(),
        durable_lsn: entry.durable_lsn,
        transactions: Some(entry.transactions),
        statements: Some(entry.statements),
        bytes: Some(entry.bytes),
        errors: Some(entry.errors),
        last_error: entry.last_error.get(),
        last_error_at: entry.last_error_at,
        detail,
        ..StatusRow::default()
    }
}

/// Commits that wait for the files, and those that did not wait to the end.
fn synchronous(database: pg_sys::Oid) -> String {
    let commits = status::synchronous(database);
    let mut said = Vec::new();
    if commits.waiting > 0 {
        said.push(format!("{} for the files", commits.waiting_in_words()));
    }
    if commits.degraded > 0 {
        said.push(commits.degraded_in_words());
    }
    said.join("; ")
}

fn base_row(entry: &DatabaseStatus) -> StatusRow {
    let base = &entry.base;
    let is_failed = base.phase == BasePhase::Failed;
    StatusRow {
        worker: "base",
        pid: base.pid,
        state: base_phase_name(base.phase),
        since: base.started_at,
        file: base.path.get(),
        bytes: Some(base.bytes),
        last_error: base.error.get(),
        last_error_at: if is_failed { base.finished_at } else { 0 },
        detail: match base.waiting_for.get() {
            what if !what.is_empty() => format!("waits for {what}"),
            _ if base.tables_done > 0 => {
                format!(
                    "{} of {} begun",
                    base.tables_done,
                    counted(base.tables, "table")
                )
            }
            _ => String::new(),
        },
        progress: Progress::of_base(base),
        ..StatusRow::default()
    }
}

fn globals_row(entry: &DatabaseStatus) -> StatusRow {
    let globals = &entry.globals;
    StatusRow {
        worker: "globals",
        pid: globals.pid,
        state: if globals.pid == 0 {
            "waiting to retry"
        } else {
            "dumping"
        },
        last_error: globals.error.get(),
        ..StatusRow::default()
    }
}

fn expiry_row(entry: &DatabaseStatus) -> StatusRow {
    let expiry = &entry.expiry;
    StatusRow {
        worker: "expiry",
        pid: expiry.pid,
        state: match (expiry.pid, expiry.error.is_empty()) {
            (0, true) => "done",
            (0, false) => "waiting to retry",
            _ => "removing expired files",
        },
        since: expiry.done_at,
        last_error: expiry.error.get(),
        ..StatusRow::default()
    }
}

fn archiver_row(entry: &DatabaseStatus) -> StatusRow {
    let offsite = &entry.offsite;
    let detail = match (settings::archive_command(), offsite.files) {
        (None, _) => "archive_command is not set".to_string(),
        (Some(_), 0) => format!("{} archived", counted(offsite.archived, "file")),
        (Some(_), files) => {
            let age = (archive::time::now().timestamp_micros() - offsite.oldest_at).max(0);
            let age = if offsite.oldest_at == 0 {
                0
            } else {
                age / 1_000_000
            };
            let archived = offsite.archived;
            let files = counted(files, "file");
            format!("{files} waiting, the oldest for {age} s; {archived} archived")
        }
    };
    let detail = match offsite.reach {
        0 => detail,
        reach => format!("{detail}; the copies end at {}", archive::Lsn(reach)),
    };
    let error = if offsite.error.is_empty() {
        offsite.compression_error.get()
    } else {
        offsite.error.get()
    };
    StatusRow {
        worker: "archiver",
        pid: offsite.pid,
        state: match (offsite.pid, offsite.phase) {
            (0, _) if !error.is_empty() => "waiting to retry",
            (0, _) | (_, OffsitePhase::Idle) => "done",
            (_, OffsitePhase::Compressing) => "compressing",
            (_, OffsitePhase::Archiving) => "archiving",
        },
        since: offsite.looked_at,
        file: offsite.file.get(),
        bytes: Some(offsite.bytes),
        errors: Some(offsite.failures.into()),
        last_error: error,
        last_error_at: offsite.error_at,
        detail,
        ..StatusRow::default()
    }
}

/// What a drill is doing, and the result of the last one, from the archive.
fn drill_row(database: pg_sys::Oid, entry: &DatabaseStatus) -> Option<StatusRow> {
    let drill = &entry.drill;
    let is_running = drill.pid != 0;
    let last = drill::records(database).ok().and_then(|mut all| all.pop());
    if !is_running && last.is_none() && drill.error.is_empty() {
        return None;
    }
    let outcome = last.as_ref().map_or("failed", |last| last.outcome.name());
    let started_at = last.as_ref().map(|last| last.started_at.timestamp_micros());
    let lsn = last
        .as_ref()
        .and_then(|last| last.lsn)
        .map_or(0, |lsn| lsn.0);
    Some(StatusRow {
        worker: "drill",
        pid: drill.pid,
        state: if is_running {
            drill_phase_name(drill.phase)
        } else {
            outcome
        },
        since: if is_running {
            drill.started_at
        } else {
            started_at.unwrap_or(drill.started_at)
        },
        durable_lsn: if is_running { drill.lsn } else { lsn },
        last_error: match &last {
            Some(last) => last.problems.join("; "),
            None => drill.error.get(),
        },
        progress: Progress::of_drill(drill),
        detail: [drill.step.get(), last.map_or_else(String::new, in_words)]
            .into_iter()
            .filter(|part| !part.is_empty())
            .collect::<Vec<_>>()
            .join("; "),
        ..StatusRow::default()
    })
}

/// The result of a drill.
fn in_words(last: Drill) -> String {
    format!(
        "the last one {}: {}, {}, {} s{}",
        last.outcome.name(),
        counted(last.tables, "table"),
        counted(last.rows, "row"),
        last.duration_ms.div_ceil(1000),
        match last.left_out.len() {
            0 => String::new(),
            count => format!(", {} left out", counted(count, "object")),
        }
    )
}

fn drill_phase_name(phase: DrillPhase) -> &'static str {
    match phase {
        DrillPhase::Idle => "idle",
        DrillPhase::Starting => "starting",
        DrillPhase::WaitingForOthers => "waiting for other drills to the server",
        DrillPhase::Moment => "waiting for a snapshot",
        DrillPhase::ReadingSource => "reading the source",
        DrillPhase::Restoring => "restoring",
        DrillPhase::Comparing => "comparing",
        DrillPhase::Verifying => "checking the files",
        DrillPhase::Dropping => "dropping the scratch database",
    }
}

fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::Stopped => "stopped",
        Phase::Starting => "starting",
        Phase::Streaming => "streaming",
        Phase::CaughtUp => "caught up",
        Phase::WaitingToRetry => "waiting to retry",
        Phase::SteppedAside => "stepped aside",
        Phase::Broken => "chain broken",
    }
}

fn base_phase_name(phase: BasePhase) -> &'static str {
    match phase {
        BasePhase::Idle => "idle",
        BasePhase::Starting => "starting",
        BasePhase::ReplicaIdentities => "setting replica identities",
        BasePhase::CreatingSlot => "creating the slot",
        BasePhase::WaitingForTurn => "waiting for its turn",
        BasePhase::Fencing => "waiting for the DDL fence",
        BasePhase::Dumping => "dumping",
        BasePhase::Converting => "converting",
        BasePhase::Finishing => "finishing",
        BasePhase::Expiring => "removing expired files",
        BasePhase::Done => "done",
        BasePhase::Failed => "failed",
    }
}
