//! What works as it is, but is a risk: each row says which.

use crate::server::own_setting;
use crate::{Facts, Remedy, Row};

/// Of `pg_incrbackup.lag_emergency` where the server does not show it: 10 GB.
const LAG_EMERGENCY_MB: i64 = 10 * 1024;

pub fn rows(facts: &Facts) -> Vec<Row> {
    let rows = [
        retained_wal(facts),
        bases(facts),
        drills(facts),
        retention(facts),
        copies(facts),
    ];
    rows.into_iter().flatten().collect()
}

/// A slot that is not read retains WAL without limit.
fn retained_wal(facts: &Facts) -> Option<Row> {
    const NAME: &str = "max_slot_wal_keep_size";
    let value = facts.get(NAME)?;
    let emergency = match facts.number("pg_incrbackup.lag_emergency") {
        0 => LAG_EMERGENCY_MB,
        megabytes => megabytes,
    };
    // Health is to be an emergency before the server drops WAL that is needed.
    let enough = format!("{}GB", (2 * emergency).div_euclid(1024).max(1));
    let found = match facts.number(NAME) {
        -1 => "-1: a slot that is not read can fill the disk of the WAL".to_owned(),
        megabytes if megabytes < 2 * emergency => format!(
            "{value}: the chain may end, because the WAL that it needs is removed, soon after pg_incrbackup.lag_emergency ({emergency} MB) or before it"
        ),
        _ => return Some(Row::ok(NAME, value)),
    };
    Some(Row::warning(NAME, found, Remedy::text(NAME, &enough)))
}

fn bases(facts: &Facts) -> Option<Row> {
    const NAME: &str = "pg_incrbackup.base_schedule";
    let value = facts.get(NAME)?;
    if !value.trim().is_empty() {
        return Some(Row::ok(NAME, format!("{value} (UTC)")));
    }
    let found = "empty: without new bases restores take longer and longer, and no segment expires";
    let remedy = own_setting(facts, Remedy::text(NAME, "0 2 * * *"));
    Some(Row::warning(NAME, found, remedy))
}

fn drills(facts: &Facts) -> Option<Row> {
    const NAME: &str = "pg_incrbackup.drill_schedule";
    let value = facts.get(NAME)?;
    if !value.trim().is_empty() {
        return Some(Row::ok(NAME, format!("{value} (UTC)")));
    }
    let found = "empty: nothing tests whether the archive can be restored";
    let remedy = own_setting(facts, Remedy::text(NAME, "0 5 * * 0"));
    Some(Row::warning(NAME, found, remedy))
}

fn retention(facts: &Facts) -> Option<Row> {
    const NAME: &str = "pg_incrbackup.keep_incremental";
    let value = facts.get(NAME)?;
    if value != "-1" {
        return Some(Row::ok(NAME, value));
    }
    let found = "-1: segments are kept forever, and the archive grows without limit";
    let remedy = own_setting(facts, Remedy::text(NAME, "7d"));
    Some(Row::warning(NAME, found, remedy))
}

fn copies(facts: &Facts) -> Option<Row> {
    const NAME: &str = "pg_incrbackup.archive_command";
    let value = facts.get(NAME)?;
    if !value.trim().is_empty() {
        return Some(Row::ok(NAME, "set"));
    }
    let found = "empty: the archive is on this machine alone";
    let todo =
        "Set it to a command that copies files to another machine: docs/offsite.md has recipes.";
    Some(Row::warning(NAME, found, Remedy::Do(todo.to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::State;

    #[test]
    fn a_chain_is_not_to_end_before_health_is_an_emergency() {
        let state = |megabytes: &str| {
            let mut facts = Facts::default();
            facts.set("max_slot_wal_keep_size", megabytes.to_owned());
            let row = retained_wal(&facts).expect("the setting is known");
            (row.state, row.todo().unwrap_or_default())
        };
        let todo = "ALTER SYSTEM SET max_slot_wal_keep_size = '20GB'; SELECT pg_reload_conf();";
        for few in ["-1", "0", "1024", "20479"] {
            assert_eq!(state(few), (State::Warning, todo.to_owned()), "{few}");
        }
        assert_eq!(state("20480").0, State::Ok);
    }
}
