//! Whether there is room: replication slots, WAL senders, background workers, databases.
//!
//! Counted for the databases that are backed up, this one, and those that `pg_incrbackup.databases` selects. What each uses
//! at the same time: one slot and one capture worker; a worker each that writes globals (a change of the cluster's roles
//! makes all of them due at once), removes expired files, and makes indexes; one for a drill where `drill_schedule` starts
//! them, in all databases at once; one archiver where files are compressed or copied. Bases run `base_workers` at a time in
//! the cluster, and the launcher is one more.

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
fn certain(facts: &Facts) -> i64 {
    facts.databases_backed_up + i64::from(!facts.is_backed_up())
}

/// The same, and those whose backup will be set up automatically.
fn wanted(facts: &Facts) -> i64 {
    certain(facts) + facts.selected
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
    let others = facts.databases - certain(facts);
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
    if let Some(slot) = facts.slot.as_ref().filter(|slot| slot.is_lost) {
        let found = format!(
            "{}: the server has removed WAL that it needs, so its chain ends; {in_use}{for_others}",
            slot.name
        );
        let todo = "SELECT * FROM incr_setup(new_chain => true);".to_owned();
        return Row::warning(NAME, found, Remedy::Sql(todo));
    }
    let what = match &facts.slot {
        Some(_) if facts.is_backed_up() => Some("this database is backed up; "),
        Some(_) => Some("a setup that is in progress is creating it; "),
        None if used < most => None,
        None => return no_room(facts, &for_others),
    };
    let found = match what {
        Some(what) => format!("{name}: {what}{in_use}{for_others}"),
        None => format!("{name} can be created: {in_use}{for_others}"),
    };
    let needed = used + i64::from(facts.slot.is_none()) + facts.selected;
    if needed <= most {
        return Row::ok(NAME, found);
    }
    let found = format!(
        "{found}, and pg_incrbackup.databases selects {} of them",
        facts.selected
    );
    let row = Row::warning(NAME, found, Remedy::number(SETTING, needed + 4, true));
    or_restart(
        facts,
        SETTING,
        |value| value.parse::<i64>().is_ok_and(|value| value >= needed),
        row,
    )
}

fn no_room(facts: &Facts, for_others: &str) -> Row {
    const NAME: &str = "replication slot";
    const SETTING: &str = "max_replication_slots";
    let (used, most) = (facts.slots_in_use, facts.number(SETTING));
    let others = facts.databases - certain(facts);
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
    let bases = match facts.number("pg_incrbackup.base_workers") {
        0 => 1,
        most => most.min(databases),
    };
    let drills = if is_set(facts, "pg_incrbackup.drill_schedule") {
        databases
    } else {
        0
    };
    let is_copied = is_set(facts, "pg_incrbackup.archive_command")
        || facts
            .get("pg_incrbackup.compression")
            .is_some_and(|value| value != "none");
    let archivers = if is_copied { databases } else { 0 };
    let needed = 1 + databases + bases + drills + archivers + 3 * databases;
    let mut parts = vec![
        "the launcher".to_owned(),
        several(databases, "capture worker"),
        several(bases, "base"),
    ];
    if drills > 0 {
        parts.push(several(drills, "drill"));
    }
    if archivers > 0 {
        parts.push(several(archivers, "archiver"));
    }
    parts.push(format!(
        "{} for globals, retention and indexes",
        3 * databases
    ));
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
    let fewest = FEWEST_WORKERS.max(others + 1 + certain(facts) + 1);
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
    let (most, wanted, certain) = (facts.number(NAME), wanted(facts), certain(facts));
    let found = format!(
        "{} of at most {most} are backed up",
        several(facts.databases_backed_up, "database")
    );
    if wanted <= most {
        return Some(Row::ok(NAME, found));
    }
    let message = format!("too many databases are backed up: {NAME} is {most}");
    let remedy = Remedy::number(NAME, (2 * wanted.max(most)).min(MOST), true);
    let row = if certain <= most {
        let selected = facts.selected;
        let found = format!("{found}, and pg_incrbackup.databases selects {selected} more");
        Row::warning(NAME, found, remedy)
    } else {
        Row::missing(NAME, found, remedy).as_error(Class::Limit, message)
    };
    Some(or_restart(
        facts,
        NAME,
        |value| value.parse::<i64>().is_ok_and(|value| value >= wanted),
        row,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::Slot;
    use crate::State;

    fn facts(settings: &[(&str, &str)]) -> Facts {
        let mut facts = Facts {
            databases: 3,
            slot_name: "pg_incrbackup_5".to_owned(),
            workers_of_others: 1,
            ..Facts::default()
        };
        let usual = [
            ("max_replication_slots", "10"),
            ("max_worker_processes", "8"),
            ("max_parallel_workers", "8"),
            ("pg_incrbackup.base_schedule", "0 2 * * *"),
            ("pg_incrbackup.compression", "none"),
        ];
        for (name, value) in usual.iter().chain(settings) {
            facts.set(name, (*value).to_owned());
        }
        facts
    }

    fn backed_up(mut facts: Facts, databases: i64) -> Facts {
        facts.databases_backed_up = databases;
        facts.slots_in_use = databases;
        facts.slot = Some(Slot {
            name: facts.slot_name.clone(),
            is_of_this_database: true,
            plugin: "pg_incrbackup".to_owned(),
            ..Slot::default()
        });
        facts
    }

    fn needs(facts: &Facts, count: i64) -> Row {
        let row = workers(facts);
        let expected = format!(" up to {count} (");
        assert!(row.found.contains(&expected), "{}", row.found);
        row
    }

    #[test]
    fn workers_are_counted_by_database() {
        // The launcher, a capture worker, a base, globals, retention, indexes.
        assert_eq!(needs(&facts(&[]), 6).state, State::Ok);
        let three = needs(&backed_up(facts(&[]), 3), 14);
        assert_eq!(three.state, State::Warning);
        assert_eq!(
            three.todo().as_deref(),
            Some("ALTER SYSTEM SET max_worker_processes = 23;")
        );
        // Bases are limited in the cluster; drills start in all databases.
        let several = [("pg_incrbackup.base_workers", "2")];
        needs(&backed_up(facts(&several), 3), 15);
        needs(&facts(&several), 6);
        let drilled = [("pg_incrbackup.drill_schedule", "0 5 * * 0")];
        needs(&backed_up(facts(&drilled), 3), 17);
        let copied = [("pg_incrbackup.compression", "gzip")];
        needs(&backed_up(facts(&copied), 3), 17);
    }

    #[test]
    fn databases_that_are_selected_are_counted_and_refuse_nothing() {
        let mut many = facts(&[
            ("pg_incrbackup.max_databases", "8"),
            ("max_replication_slots", "10"),
        ]);
        many.selected = 9;
        many.databases = 10;
        assert_eq!(needs(&many, 42).state, State::Warning);
        assert_eq!(slot(&many).state, State::Ok, "one each");
        let room = databases(&many).map(|row| (row.state, row.todo().unwrap_or_default()));
        let todo = "ALTER SYSTEM SET pg_incrbackup.max_databases = 20;".to_owned();
        assert_eq!(room, Some((State::Warning, todo)));
        many.slots_in_use = 1;
        let row = slot(&many);
        assert_eq!(row.state, State::Warning);
        assert!(row.found.ends_with("selects 9 of them"), "{}", row.found);
    }

    #[test]
    fn a_slot_that_is_being_created_or_lost_is_no_backup() {
        let mut new = backed_up(facts(&[]), 0);
        new.slot_is_persistent(false);
        assert!(!new.is_backed_up());
        let row = slot(&new);
        assert_eq!(row.state, State::Ok);
        assert!(
            row.found.contains("setup that is in progress"),
            "{}",
            row.found
        );
        let mut lost = backed_up(facts(&[]), 1);
        if let Some(slot) = &mut lost.slot {
            slot.is_lost = true;
        }
        assert_eq!(slot(&lost).state, State::Warning);
    }

    #[test]
    fn a_database_that_is_backed_up_is_not_refused_for_lack_of_workers() {
        let few = [("max_worker_processes", "3")];
        assert_eq!(workers(&facts(&few)).state, State::Missing);
        assert_eq!(workers(&backed_up(facts(&few), 1)).state, State::Warning);
    }

    #[test]
    fn a_slot_needs_room_unless_it_is_there() {
        let full = [("max_replication_slots", "2")];
        let mut no_room = facts(&full);
        no_room.slots_in_use = 2;
        let row = slot(&no_room);
        assert_eq!((row.state, row.class), (State::Missing, Class::Limit));
        assert_eq!(
            row.todo().as_deref(),
            Some("ALTER SYSTEM SET max_replication_slots = 8; -- or drop an unused slot")
        );
        assert_eq!(slot(&backed_up(facts(&full), 2)).state, State::Ok);
        let mut strange = backed_up(facts(&full), 0);
        if let Some(slot) = &mut strange.slot {
            slot.plugin = "test_decoding".to_owned();
        }
        let row = slot(&strange);
        assert_eq!((row.state, row.class), (State::Missing, Class::Duplicate));
        assert!(
            row.message.ends_with("its output plugin is test_decoding"),
            "{}",
            row.message
        );
    }
}
