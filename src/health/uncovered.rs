//! Databases without a slot: not backed up by choice, not yet, or no longer.

use pgrx::prelude::*;

use super::{files, slot_row, Level, Row};
use crate::automatic_setup;
use crate::backup;
use crate::pg::catalogs::databases::{self, Database};
use crate::pg::server::{self, title};
use crate::status::{self, BasePhase, DatabaseStatus};
use crate::{place, preflight, settings};

/// The database that initdb creates for connections: nobody misses its backup unless the setting names it.
const MAINTENANCE: &[u8] = b"postgres";

/// The row of an existing database that has neither a slot nor files; `None` if nobody misses its backup.
pub fn row(database: &Database) -> Option<Row> {
    let name = database.name.as_slice();
    let selection = settings::databases();
    let is_missed = selection.selects(name) || name != MAINTENANCE && !selection.excludes(name);
    (is_missed && automatic_setup::is_permanent(database)).then(|| slot_row(database.oid))
}

/// Reports why this database has no slot, on a server that is not a standby.
pub fn judge(row: &mut Row, database: pg_sys::Oid, name: &[u8]) {
    let entry = status::read(database).unwrap_or_default();
    if entry.base.is_setting_up() {
        return row.because(Level::Warning, in_words(&entry));
    }
    let is_excluded = settings::databases().excludes(name);
    if is_excluded {
        let note = "this database is not backed up: pg_incrbackup.databases excludes it";
        row.reasons.push(note.to_owned());
    } else if files::is_anothers(row, database) {
        return;
    }
    let chain = place::latest_chain(database).ok().flatten();
    let broken = Some(entry.broken.get()).filter(|broken| !broken.is_empty());
    let (why, is_torn_down) = match chain.map(|chain| (chain.number, chain.info.ended)) {
        Some((number, None)) => {
            let lacks_slot = || format!("chain {number} no longer has a slot");
            (broken.or_else(|| Some(lacks_slot())), false)
        }
        Some((number, Some(end))) if !place::is_torn_down(&end) => {
            let has_ended = format!("chain {number} has ended: {}", end.reason);
            (Some(has_ended), false)
        }
        chain => (broken, chain.is_some()),
    };
    if is_excluded {
        // Nobody waits for a new one any more.
        let note = why.map(|why| format!("the former chain is broken: {why}"));
        return row.reasons.extend(note);
    }
    if let Some(why) = why.filter(|_| automatic_setup::problem(&entry).is_none()) {
        return row.chain_is_broken(format!(
            "the chain is broken: {why}; run SELECT * FROM incr_setup(new_chain => true)"
        ));
    }
    judge_choice(row, &entry, name, is_torn_down);
}

/// There is no chain, or it was ended by incr_teardown().
fn judge_choice(row: &mut Row, entry: &DatabaseStatus, name: &[u8], is_torn_down: bool) {
    let selection = settings::databases();
    if !selection.selects(name) {
        let how = "run SELECT * FROM incr_setup(), or exclude it in pg_incrbackup.databases";
        let reason = format!("this database is not backed up: {how}");
        row.because(Level::Warning, reason);
    } else if is_torn_down {
        row.because(
            Level::Warning,
            "this database is not backed up since incr_teardown(), and is not set up again automatically: run SELECT * \
             FROM incr_setup(), or exclude it in pg_incrbackup.databases",
        );
    } else if let Some(problem) = automatic_setup::problem(entry) {
        row.because(Level::Critical, problem);
    } else if settings::directory().is_none() {
        let reason = "this database is not backed up: pg_incrbackup.directory is not set";
        row.because(Level::Critical, reason);
    } else if let Some(failure) = automatic_setup::obstacle::find(&databases::rows()) {
        let reason = format!("its backup cannot be set up: {}", failure.in_full());
        row.because(Level::Critical, reason);
    } else {
        let room = status::is_there().then(|| preflight::ensure_room(row.database_oid));
        match room {
            Some(Err(failure)) => row.because(Level::Critical, failure.in_full()),
            _ => row.because(Level::Warning, about_to_be_set_up()),
        }
    }
}

fn about_to_be_set_up() -> String {
    let about = "its backup is about to be set up";
    let in_front = automatic_setup::in_front().into_iter();
    let names: Vec<String> = in_front.map(title::shown).collect();
    if names.is_empty() {
        return about.to_owned();
    }
    format!("{about}, after one of these: {}", names.join(", "))
}

pub fn no_base(chain: u32) -> String {
    format!("chain {chain} has no base backup yet, so it cannot be restored")
}

/// Reports that a chain that is not ended has no base, for a database whose setup is not at work.
pub fn judge_first_base(row: &mut Row, database: pg_sys::Oid, chain: u32) {
    let entry = status::read(database).unwrap_or_default();
    let name = server::database_name(database).unwrap_or_default();
    let problem = automatic_setup::problem(&entry);
    if let Some(problem) = &problem {
        row.because(Level::Critical, problem.clone());
    }
    if problem.is_some() || !settings::databases().selects(&name) {
        return row.because(Level::Critical, no_base(chain));
    }
    let reason = match backup::what_is_ahead() {
        Ok(Some(ahead)) => {
            format!("its backup is being set up: changes are captured, and the first base backup waits for {ahead}")
        }
        Ok(None) => {
            "its backup is being set up: the first base backup is about to begin".to_owned()
        }
        Err(failure) => failure.in_full(),
    };
    row.because(Level::Warning, reason);
}

/// What a setup is doing.
pub fn in_words(entry: &DatabaseStatus) -> String {
    let what = "its backup is being set up";
    match (entry.base.phase, entry.base.waiting_for.get()) {
        (_, waiting) if !waiting.is_empty() => {
            format!("{what}, which waits for {}", waiting.replace('\n', ";"))
        }
        (BasePhase::CreatingSlot, _) => {
            format!("{what}, which waits for transactions that are open in the cluster")
        }
        _ => what.to_owned(),
    }
}
