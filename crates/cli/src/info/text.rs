//! The screen of `info`: a line for each thing, the moments first.

use archive::time::iso;

use super::summary::{Base, Chain, Database, Stretch};
use crate::shown::{count, line, moment, size};

/// Of more bases the oldest and the newest are shown.
const MOST_BASES: usize = 6;

/// The screen of a database.
pub fn of(database: &Database) -> String {
    let mut text = format!(
        "{}  ({})\n",
        line(&database.database),
        line(&database.place)
    );
    let mut put = |name: &str, value: String| text.push_str(&format!("  {name:<9} {value}\n"));
    if let Some(source) = &database.source {
        let version = source.server_version.as_ref();
        let mut parts = vec![format!(
            "PostgreSQL {}",
            version.map_or("(version unknown)", String::as_str)
        )];
        parts.extend(
            source
                .host
                .as_ref()
                .map(|host| format!("host {}", line(host))),
        );
        parts.extend(source.data_directory.as_ref().map(|path| line(path)));
        parts.push(format!(
            "system {}, timeline {}",
            source.system_identifier, source.timeline
        ));
        parts.push(format!("database OID {}", source.database_oid));
        put("source", parts.join(", "));
    }
    match &database.newest {
        Some(newest) => put("newest", moment(newest.at, newest.lsn)),
        None => put("newest", "nothing can be restored".to_owned()),
    }
    for damage in &database.damage {
        put("damaged", line(damage));
    }
    for chain in &database.chains {
        text.push_str(&of_chain(chain));
    }
    text
}

fn of_chain(chain: &Chain) -> String {
    let begun = moment(Some(chain.begun_at), chain.slot_start_lsn);
    let mut text = format!("  chain {}, begun {begun}\n", chain.number);
    let mut put = |name: &str, value: String| text.push_str(&format!("    {name:<9} {value}\n"));
    if chain.stretches.is_empty() {
        put("moments", "none: it has no segments".to_owned());
    }
    for (place, stretch) in chain.stretches.iter().enumerate() {
        for (name, value) in of_stretch(stretch) {
            put(name, value);
        }
        if let Some(gap) = chain.gaps.get(place) {
            put(
                "gap",
                format!("nothing between {} and {}", gap.after, gap.before),
            );
        }
    }
    for loss in &chain.losses {
        let until = loss.until.map_or("now".to_owned(), iso);
        put(
            "lost",
            format!("from {}", moment(loss.since.at, loss.since.lsn)),
        );
        put("", format!("to   {until}"));
        put(
            "",
            format!("{}: {}", line(&loss.what()), line(&loss.reason)),
        );
    }
    let hidden = match chain.bases.len() {
        most @ 0..=MOST_BASES => most..most,
        many => 1..many - (MOST_BASES - 2),
    };
    for (place, base) in chain.bases.iter().enumerate() {
        if !hidden.contains(&place) {
            put("base", of_base(base));
        } else if place == hidden.start {
            put("", format!("… {} more (--json lists all)", hidden.len()));
        }
    }
    let segments = &chain.segments;
    let open = if segments.open > 0 {
        ", one of them open"
    } else {
        ""
    };
    let (stored, plain) = (size(segments.bytes_stored), size(segments.bytes));
    put(
        "segments",
        format!(
            "{}{open}; {stored} stored, {plain} of SQL",
            count(segments.count as u64)
        ),
    );
    if let Some(lsn) = chain.expired_up_to {
        put(
            "expired",
            format!("retention has removed the segments before {lsn}"),
        );
    }
    for damaged in &chain.damaged_manifest_lines {
        put(
            "damaged",
            format!(
                "line {} of its manifest: {}",
                damaged.line,
                line(&damaged.why)
            ),
        );
    }
    if let Some(ended) = &chain.ended {
        put(
            "ended",
            format!(
                "{}: {}",
                moment(Some(ended.at), ended.last_lsn),
                line(&ended.reason)
            ),
        );
    }
    text
}

fn of_stretch(stretch: &Stretch) -> Vec<(&'static str, String)> {
    let to = moment(stretch.to.at, stretch.to.lsn);
    match &stretch.from {
        Some(from) => vec![
            ("moments", format!("from {}", moment(from.at, from.lsn))),
            ("", format!("to   {to}")),
        ],
        None => vec![(
            "moments",
            format!(
                "none: no base joins the segments from {} on",
                stretch.start_lsn
            ),
        )],
    }
}

fn of_base(base: &Base) -> String {
    let bytes = base.bytes.map_or("size unknown".to_owned(), size);
    let mut text = format!("{}  {bytes}", moment(Some(base.taken_at), base.lsn));
    if !base.is_listed {
        text.push_str("; the manifest does not list it");
    }
    if base.stands_alone {
        text.push_str(&format!(
            "; a single point, restored by --base {}",
            base.name
        ));
    }
    text
}
