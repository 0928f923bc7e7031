//! incr_report(): writes a report about this database's archive into the archive.

use archive::time;
use archive_query::report::{self, Health};
use pgrx::prelude::*;

use super::{ensure_same_version, or_raise, report_sections};
use crate::figures::pretty_bytes;
use crate::pg::failure::Failure;
use crate::pg::server::{self, transaction};
use crate::pg::text::ServerText;
use crate::{health, place, preflight};

/// Writes report.html beside restore.sh and returns its path: a timeline of what can be restored, sizes, the
/// busiest tables, schema changes and health. It can be viewed with any browser.
#[pg_extern(volatile, parallel_unsafe)]
#[search_path(pg_catalog, pg_temp)]
fn incr_report() -> ServerText {
    ensure_same_version();
    or_raise(write()).into()
}

fn write() -> Result<String, Failure> {
    preflight::ensure_preloaded()?;
    preflight::ensure_not_in_recovery()?;
    let health: Vec<Health> = health::report()?.into_iter().map(of_row).collect();
    let Some(database) = place::own(server::my_database())? else {
        return Err(Failure::new(
            PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            "this database has no archive",
        )
        .hint("Run SELECT * FROM incr_setup()."));
    };
    let now = time::calendar();
    let sections = report_sections::sections()?;
    let path = report::write(&database, &health, &sections, now, true, &mut || {
        transaction::catch(|| {
            pgrx::check_for_interrupts!();
        })
    })?;
    Ok(path.to_string_lossy().into_owned())
}

fn of_row(row: health::Row) -> Health {
    let mut facts = Vec::new();
    let mut fact = |name: &str, value: Option<String>| {
        facts.extend(value.map(|value| (name.to_owned(), value)));
    };
    let seconds = |micros: i64| format!("{:.1} s", micros as f64 / 1_000_000.0);
    fact("Last commit on disk", moment(row.last_commit_at));
    fact("Oldest commit not yet on disk", row.age_micros.map(seconds));
    fact("WAL held", row.restart_lag.map(pretty_bytes));
    fact("WAL status", row.wal_status);
    fact("Plugin", row.plugin);
    fact(
        "Disk used",
        row.disk_used_percent.map(|used| format!("{used} %")),
    );
    Health {
        slot: row.slot_name,
        level: row.level.name().to_owned(),
        reasons: row.reasons,
        facts,
    }
}

fn moment(micros: i64) -> Option<String> {
    let time = time::Time::from_timestamp_micros(micros).filter(|_| micros != 0)?;
    Some(report::text::moment(time))
}
