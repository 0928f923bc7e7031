//! Whether there is room: replication slots, WAL senders, background workers, databases.
//!
//! Counted for the databases that are backed up and this one. What each uses: one slot and one capture worker always;
//! one worker for a base or a drill, which `base_schedule` and `drill_schedule` start in all databases at once; one
//! archiver where files are compressed or copied. The launcher is one more, and one at a time writes globals, removes
//! expired files, or makes indexes.

use crate::server::or_restart;
use crate::{Class, Facts, Remedy, Row};

/// The least with which a database can be backed up: the launcher, a capture worker and a base.
const FEWEST_WORKERS: i64 = 3;
const DEFAULT_WORKERS: i64 = 8;

pub fn rows(facts: &Facts) -> Vec<Row> {
    let mut rows = vec![slot(facts), senders(facts), workers(facts)];
    rows.extend(databases(facts));
    rows
}

/// Databases that are backed up, this one included.
fn wanted(facts: &Facts) -> i64 {
    facts.databases_backed_up + i64::from(!facts.is_backed_up())
}

fn several(count: i64, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        _ => format!("{count} {what}s"),
    }
}

/// Whether the database has its slot, and whether there is room for it.
fn slot(facts: &Facts) -> Row {
    const NAME: &str = "replication slot";
    const SETTING: &str = "max_replication_slots";
    if let (Some(slot), Some(why)) = (&facts.slot, facts.slot_is_anothers()) {
        let slot = &slot.name;
        let found = format!("{slot} does not belong to pg_incrbackup: {why}");
        let message = format!("slot \"{slot}\" does not belong to pg_incrbackup: {why}");
        let todo = format!("SELECT pg_drop_replication_slot('{slot}');");
        return Row::missing(NAME, found, Remedy::Sql(todo)).as_error(Class::Duplicate, message);
    }
    let (used, most) = (facts.slots_in_use, facts.number(SETTING));
    let in_use = format!("{used} of {} in use", several(most, "replication slot"));
    let others = facts.databases - wanted(facts);
    let for_others = match others {
        ..=0 => String::new(),
        _ => format!(
            "; {} not backed up: each needs one more",
            match others {
                1 => "1 other database is".to_owned(),
                _ => format!("{others} other databases are"),
            }
        ),
    };
    let name = &facts.slot_name;
    if facts.is_backed_up() {
        let found = format!("{name}: this database is backed up; {in_use}{for_others}");
        return Row::ok(NAME, found);
    }
    if used < most {
        return Row::ok(NAME, format!("{name} can be created: {in_use}{for_others}"));
    }
    let found = format!("all {most} replication slots are in use{for_others}");
    let message = format!("all {most} replication slots are in use");
    let remedy = Remedy::number(SETTING, used + others.max(0) + 4, true).or("drop an unused slot");
    let row = Row::missing(NAME, found, remedy).as_error(Class::Limit, message);
    or_restart(
        facts,
        SETTING,
        |value| value.parse::<i64>().is_ok_and(|value| value > used),
        row,
    )
}

fn senders(facts: &Facts) -> Row {
    const NAME: &str = "max_wal_senders";
    let most = facts.number(NAME);
    Row::ok(
        NAME,
        format!("{most}; pg_incrbackup uses none, its workers read the WAL themselves"),
    )
}

fn is_set(facts: &Facts, name: &str) -> bool {
    facts
        .get(name)
        .is_some_and(|value| !value.trim().is_empty())
}

fn workers(facts: &Facts) -> Row {
    const NAME: &str = "max_worker_processes";
    let (most, databases) = (facts.number(NAME), wanted(facts));
    let is_scheduled = is_set(facts, "pg_incrbackup.base_schedule")
        || is_set(facts, "pg_incrbackup.drill_schedule");
    // Unless all start at once by the schedule, they are started by hand.
    let bases = if is_scheduled { databases } else { 1 };
    let is_copied = is_set(facts, "pg_incrbackup.archive_command")
        || facts
            .get("pg_incrbackup.compression")
            .is_some_and(|value| value != "none");
    let archivers = if is_copied { databases } else { 0 };
    let needed = 1 + databases + bases + archivers + 1;
    let mut parts = vec![
        "the launcher".to_owned(),
        several(databases, "capture worker"),
        format!("{bases} for bases or drills"),
    ];
    if archivers > 0 {
        parts.push(several(archivers, "archiver"));
    }
    parts.push("1 for globals, retention and indexes".to_owned());
    let others = facts.workers_of_others;
    let found = format!(
        "{most}; {} {} up to {needed} ({}), others use {others} now",
        several(databases, "database"),
        if databases == 1 { "needs" } else { "need" },
        parts.join(", ")
    );
    let enough = needed + others;
    let remedy = Remedy::number(
        NAME,
        DEFAULT_WORKERS.max(enough + facts.number("max_parallel_workers")),
        true,
    );
    let fewest = FEWEST_WORKERS.max(others + 1 + databases + 1);
    let row = if most < fewest && !facts.is_backed_up() {
        let message = format!("{NAME} is {most}, at least {fewest} are needed");
        Row::missing(NAME, found, remedy).as_error(Class::Limit, message)
    } else if most < enough {
        Row::warning(
            NAME,
            format!("{found}; what finds none waits for one"),
            remedy,
        )
    } else {
        return Row::ok(NAME, found);
    };
    or_restart(
        facts,
        NAME,
        |value| value.parse::<i64>().is_ok_and(|value| value >= enough),
        row,
    )
}

/// Of pg_incrbackup's own limit; nothing where the server does not show it.
fn databases(facts: &Facts) -> Option<Row> {
    const NAME: &str = "pg_incrbackup.max_databases";
    const MOST: i64 = 10_000;
    facts.get(NAME)?;
    let (most, wanted) = (facts.number(NAME), wanted(facts));
    let found = format!(
        "{} of at most {most} are backed up",
        several(facts.databases_backed_up, "database")
    );
    if wanted <= most {
        return Some(Row::ok(NAME, found));
    }
    let message = format!("too many databases are backed up: {NAME} is {most}");
    let remedy = Remedy::number(NAME, (2 * wanted.max(most)).min(MOST), true);
    let row = Row::missing(NAME, found, remedy).as_error(Class::Limit, message);
    Some(or_restart(
        facts,
        NAME,
        |value| value.parse::<i64>().is_ok_and(|value| value >= wanted),
        row,
    ))
}
