//! What incr_report() shows beside the files: drills, retention rules, copies off-site, databases without a backup.

use archive::counted;
use archive::drills::{Drill, Outcome};
use archive::time::{self, Time};
use archive_query::report::beside::Section;
use archive_query::report::text::moment;
use chrono::TimeDelta;
use pgrx::prelude::*;

use crate::figures::pretty_bytes;
use crate::pg::failure::Failure;
use crate::pg::server;
use crate::{drill, health, settings, status};

/// The newest ones.
const DRILLS: usize = 10;

/// All of them. In a transaction.
pub fn sections() -> Result<Vec<Section>, Failure> {
    let database = server::my_database();
    Ok(vec![
        drills(&drill::records(database)?),
        retention(),
        offsite(database),
        databases_without_backup()?,
    ])
}

fn drills(records: &[Drill]) -> Section {
    let row = |drill: &Drill| {
        let place = match drill.conninfo.as_str() {
            "" => "a throwaway server",
            conninfo => conninfo,
        };
        let found = if drill.problems.is_empty() {
            let (tables, rows) = (counted(drill.tables, "table"), counted(drill.rows, "row"));
            format!("{tables}, {rows} match")
        } else {
            drill.problems.join("; ")
        };
        let took = format!("{:.1} s", drill.duration_ms as f64 / 1000.0);
        let result = drill.outcome.name().to_owned();
        vec![
            moment(drill.started_at),
            result,
            took,
            place.to_owned(),
            found,
        ]
    };
    let passed = records
        .iter()
        .rfind(|drill| drill.outcome == Outcome::Passed);
    let last = passed.map_or("never".to_owned(), |drill| moment(drill.started_at));
    let schedule = settings::drill_schedule().unwrap_or_else(|| "none".to_owned());
    Section {
        id: "drills",
        title: "Drills",
        facts: vec![fact("Last passed", last), fact("Schedule", schedule)],
        columns: vec!["Started", "Result", "Took", "Restored to", "Found"],
        rows: records.iter().rev().take(DRILLS).map(row).collect(),
        remark: if records.is_empty() {
            "Nobody has tried to restore this archive with incr_drill().".to_owned()
        } else {
            String::new()
        },
    }
}

fn retention() -> Section {
    let rules = settings::retention();
    let span = |kept: Option<TimeDelta>| kept.map_or("forever".to_owned(), in_words);
    let bases = settings::base_schedule().unwrap_or_else(|| "none".to_owned());
    let archived = if rules.archived_only {
        "only what archive_command has archived"
    } else {
        "whether it was archived or not"
    };
    Section {
        id: "retention",
        title: "Retention",
        facts: vec![
            fact("Segments are kept", span(rules.keep_incremental)),
            fact("Bases are kept", span(rules.keep_base)),
            fact(
                "First base of a month",
                format!("of {} months", rules.keep_monthly),
            ),
            fact("Expires", archived.to_owned()),
            fact("Base schedule", bases),
        ],
        remark:
            "Bases that are pinned are kept beyond these times. incr_expire() lists what goes next."
                .to_owned(),
        ..Section::default()
    }
}

fn in_words(span: TimeDelta) -> String {
    match (span.num_days(), span.num_hours()) {
        (days, hours) if days > 0 && hours % 24 == 0 => format!("{days} days"),
        (_, hours) if hours > 0 => format!("{hours} hours"),
        _ => format!("{} minutes", span.num_minutes()),
    }
}

fn offsite(database: pg_sys::Oid) -> Section {
    let at = |micros: i64| Time::from_timestamp_micros(micros).filter(|_| micros != 0);
    let mut section = Section {
        id: "offsite",
        title: "Copies off-site",
        ..Section::default()
    };
    if settings::archive_command().is_none() {
        section.remark =
            "pg_incrbackup.archive_command is not set: this program copies nothing elsewhere."
                .to_owned();
        return section;
    }
    let offsite = status::read(database).unwrap_or_default().offsite;
    let age = at(offsite.oldest_at).map_or(0, |at| (time::now() - at).num_seconds().max(0));
    let waiting = format!(
        "{}, {}",
        counted(offsite.files, "file"),
        pretty_bytes(offsite.bytes)
    );
    section.facts = vec![
        fact("Waiting", waiting),
        fact("The oldest waits for", format!("{age} s")),
        fact(
            "Archived since the server's start",
            offsite.archived.to_string(),
        ),
    ];
    if let Some(at) = at(offsite.archived_at) {
        section.facts.push(fact("Last", moment(at)));
    }
    let error = offsite.error.get();
    if !error.is_empty() {
        section.remark = format!("The last error: {error}");
    }
    section
}

/// As health judges them.
fn databases_without_backup() -> Result<Section, Failure> {
    let row = |row: health::Row| {
        let level = row.level.name().to_owned();
        vec![row.database, level, row.reasons.join("; ")]
    };
    let rows: Vec<_> = health::without_backup()?.into_iter().map(row).collect();
    Ok(Section {
        id: "others",
        title: "Databases of this server without a backup",
        columns: vec!["Database", "Level", "Why"],
        remark: if rows.is_empty() {
            "There are none, but for those that pg_incrbackup.databases excludes.".to_owned()
        } else {
            "incr_setup() in one of them begins its backup.".to_owned()
        },
        rows,
        ..Section::default()
    })
}

fn fact(name: &str, value: String) -> (String, String) {
    (name.to_owned(), value)
}
