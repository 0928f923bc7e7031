//! The state of the archive: does it exist, is there space, has a chain ended?

use archive::claim;
use archive::drills::{Drill, Outcome};
use archive::layout::Directories;
use archive::{flags, time, ChainDir};
use pgrx::prelude::*;

use super::{uncovered, Level, Row};
use crate::pg::failure::Failure;
use crate::settings::{self, TakeOver};
use crate::{drill, place, status};

/// Usage of the archive's file system at which health warns, and at which it is critical.
const DISK_WARNING: i32 = 80;
const DISK_CRITICAL: i32 = 97;

/// Reports the owner of the archive if it is not this server.
pub fn is_anothers(row: &mut Row, database: pg_sys::Oid) -> bool {
    let Err(failure) = place::ensure_ours(database) else {
        return false;
    };
    if failure.code != PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE {
        return false;
    }
    let reason = "this database is not backed up by this server";
    let hint = match succession(database) {
        Some(hint) => hint,
        None => failure.hint.unwrap_or_default(),
    };
    row.because(
        Level::Critical,
        format!("{reason}: {}. {hint}", failure.message),
    );
    true
}

/// What a server that could go on in the owner's chain waits for, or why it can't; `None` for any other.
fn succession(database: pg_sys::Oid) -> Option<String> {
    let is_automatic = settings::take_over() == TakeOver::OnPromotion;
    let found = match place::predecessor(database) {
        Ok(found) => found?,
        Err(failure) => return Some(unknown(&failure)),
    };
    if found.owner.is_none() {
        return Some(match found.obstacle {
            None => "It has no owner.json, as a copy, and this server was promoted and can go on in its chain: SELECT * FROM incr_setup(take_over => \
                     true), if the server that wrote it will not come back as primary."
                .to_owned(),
            Some(obstacle) => format!(
                "It has no owner.json, as a copy, and this server cannot go on in its chain: {obstacle}. SELECT * FROM incr_setup(take_over => true) \
                 begins a new chain."
            ),
        });
    }
    if let Some(obstacle) = found.obstacle {
        return is_automatic.then(|| {
            format!(
                "pg_incrbackup.take_over = on_promotion does not apply: {obstacle}. Only if the owner will never write \
                 there again, run SELECT * FROM incr_setup(take_over => true), which begins a new chain."
            )
        });
    }
    if let Some(why) = found.has_local_lock().filter(|_| is_automatic) {
        return Some(format!(
            "This server was promoted, and pg_incrbackup.take_over = on_promotion does not apply: other hosts do not see the \
             locks in the archive ({why}). If the owner is stopped and will not come back as primary, run \
             SELECT * FROM incr_setup(take_over => true)."
        ));
    }
    let is_free = match claim::is_free(&found.directory) {
        Ok(is_free) => is_free,
        Err(error) => return Some(unknown(&error.into())),
    };
    let delay = settings::take_over_delay().as_secs();
    Some(match (is_automatic, is_free) {
        (true, true) => format!(
            "This server was promoted and goes on in its chain once no process of the owner has held its lock for {delay} s."
        ),
        (true, false) => format!(
            "This server was promoted and waits for the owner, which holds its lock at this moment: stop that server; \
             {delay} s later this one goes on in its chain."
        ),
        (false, true) => "This server was promoted and can go on in its chain: if the owner will not come back as primary, \
             run SELECT * FROM incr_setup(take_over => true)."
            .to_owned(),
        (false, false) => "This server was promoted and could go on in its chain, but the owner holds its lock: stop that \
             server, then run SELECT * FROM incr_setup(take_over => true) here."
            .to_owned(),
    })
}

fn unknown(failure: &Failure) -> String {
    format!(
        "It could not be found out whether this server may go on in its chain: {}",
        failure.in_full()
    )
}

pub fn judge_directory(row: &mut Row, database: pg_sys::Oid) {
    let chain = match place::latest_chain(database) {
        Ok(chain) => chain,
        Err(failure) => {
            row.because(Level::Critical, failure.in_full());
            return;
        }
    };
    row.disk_used_percent = settings::directory().and_then(|path| disk_used_percent(&path));
    match row.disk_used_percent {
        Some(used) if used >= DISK_CRITICAL => {
            row.because(
                Level::Critical,
                format!("the archive's file system is {used} % full"),
            );
        }
        Some(used) if used >= DISK_WARNING => {
            row.because(
                Level::Warning,
                format!("the archive's file system is {used} % full"),
            );
        }
        _ => {}
    }
    match chain {
        Some(chain) => {
            if !is_anothers(row, database) {
                judge_chain(row, &chain);
            }
            judge_foreign_chains(row, database, &chain);
            judge_drills(row, database, &chain);
        }
        // Its file system may not be mounted: then the chain continues when it is.
        None => row.because(
            Level::Emergency,
            "the directory does not contain the chain of this slot",
        ),
    }
}

/// A chain that is newer than the slot's own is the one that a restore would use.
fn judge_foreign_chains(row: &mut Row, database: pg_sys::Oid, own: &ChainDir) {
    let found = place::find(database).ok().flatten();
    let foreign = found.and_then(|found| found.foreign_chains().ok());
    for number in foreign.unwrap_or_default() {
        row.because(
            Level::Critical,
            format!(
                "chain {number} does not belong to the slot of this server: another server has written to \
                 this archive, or files were copied into it; until it is moved away, restore with --chain {}",
                own.number
            ),
        );
    }
}

/// Copies of the directory, made by hand: nobody writes there, and a reader may take them for the archive.
pub fn judge_copies(row: &mut Row, directories: &Directories) {
    for copy in &directories.copies {
        row.because(
            Level::Warning,
            format!(
                "\"{}\" is a copy of \"{}\", where this database is backed up: move it out of pg_incrbackup.directory",
                copy.path().display(),
                directories.directory.path().display()
            ),
        );
    }
}

fn judge_chain(row: &mut Row, chain: &ChainDir) {
    if let Some(end) = &chain.info.ended {
        row.chain_is_broken(format!(
            "the chain is broken: chain {} has ended: {}; run SELECT * FROM incr_setup(new_chain => true)",
            chain.number, end.reason
        ));
    }
    judge_flags(row, chain);
    match chain.bases() {
        Ok(bases) if bases.is_empty() && is_setting_up(row) => {
            let entry = status::read(row.database_oid).unwrap_or_default();
            row.because(Level::Warning, uncovered::in_words(&entry));
        }
        Ok(bases) if bases.is_empty() && chain.info.ended.is_none() => {
            uncovered::judge_first_base(row, row.database_oid, chain.number)
        }
        Ok(bases) if bases.is_empty() => {
            row.because(Level::Critical, uncovered::no_base(chain.number))
        }
        Ok(_) => {}
        Err(error) => row.because(Level::Critical, error.to_string()),
    }
}

/// True while the first base follows.
fn is_setting_up(row: &Row) -> bool {
    let entry = status::read(row.database_oid).unwrap_or_default();
    entry.base.is_setting_up()
}

/// What is lost until the next base, and since when.
fn judge_flags(row: &mut Row, chain: &ChainDir) {
    let open = match flags::open(chain) {
        Ok(open) => open,
        Err(error) => return row.because(Level::Critical, error.to_string()),
    };
    let Some(text) = flags::in_words(&open) else {
        return;
    };
    let base = status::read(row.database_oid).unwrap_or_default().base;
    let (level, next) = match (chain.info.ended.is_some(), base.failures) {
        (true, _) => (
            Level::Warning,
            "the chain ended before the base backup that would have completed them",
        ),
        (_, 0) => (Level::Warning, "a base backup follows"),
        _ => (
            Level::Critical,
            "the base backup that follows has failed and is retried",
        ),
    };
    let what = "a restore to a later point omits what cannot be applied";
    row.because(level, format!("{text}: {what}; {next}"));
}

/// The last drill, and the age of the last one that passed.
fn judge_drills(row: &mut Row, database: pg_sys::Oid, chain: &ChainDir) {
    let records = match drill::records(database) {
        Ok(records) => records,
        Err(failure) => return row.because(Level::Warning, failure.in_full()),
    };
    let mut made = records.iter().rev();
    if let Some(last) = made.find(|drill| drill.outcome != Outcome::Interrupted) {
        let problem = last.problems.first().map_or("", String::as_str);
        let when = time::iso(last.started_at);
        match last.outcome {
            Outcome::Failed => {
                let reason =
                    format!("the drill of {when} failed, the archive does not restore: {problem}");
                row.because(Level::Critical, reason);
            }
            Outcome::TimedOut => {
                let reason = format!("the drill of {when} timed out: {problem}");
                row.because(Level::Critical, reason);
            }
            Outcome::NotDone => {
                let reason = format!("the drill of {when} could not run: {problem}");
                row.because(Level::Warning, reason);
            }
            Outcome::Passed | Outcome::Interrupted => {}
        }
    }
    let now = time::calendar();
    let passed = |drill: &&Drill| drill.outcome == Outcome::Passed;
    let passed = records
        .iter()
        .rev()
        .find(passed)
        .map(|drill| drill.started_at);
    row.drill_age_micros =
        passed.map(|at| (now - at).num_microseconds().unwrap_or(i64::MAX).max(0));
    let is_wanted = settings::drill_schedule().is_some() || !records.is_empty();
    let Some(limit) = settings::drill_max_age().filter(|_| is_wanted) else {
        return;
    };
    let age = now - passed.unwrap_or(chain.info.started_at);
    if age <= limit {
        return;
    }
    let level = if age > limit * 2 {
        Level::Critical
    } else {
        Level::Warning
    };
    let since = match passed {
        Some(at) => format!("the last passed drill was at {}", time::iso(at)),
        None => "no drill has passed yet".to_string(),
    };
    row.because(
        level,
        format!("{since}, longer ago than pg_incrbackup.drill_max_age"),
    );
}

/// Usage of the file system of `path`, as df shows it.
fn disk_used_percent(path: &std::path::Path) -> Option<i32> {
    let facts = rustix::fs::statvfs(path).ok()?;
    let used = facts.f_blocks.saturating_sub(facts.f_bfree);
    let all = used + facts.f_bavail;
    (all > 0).then(|| (used * 100).div_ceil(all) as i32)
}
