//! The database: its encoding, the extension, its tables, and who holds up the creation of a slot.

use crate::facts::Oldest;
use crate::{Facts, Remedy, Row};

pub fn rows(facts: &Facts) -> Vec<Row> {
    let mut rows = vec![
        encoding(facts),
        extension(facts),
        plugin(facts),
        tables(facts),
        prepared(facts),
        transactions(facts),
    ];
    rows.extend(commit_times(facts));
    rows
}

fn encoding(facts: &Facts) -> Row {
    const NAME: &str = "encoding";
    match facts.who.encoding.as_str() {
        "SQL_ASCII" => Row::note(
            NAME,
            "SQL_ASCII: bytes are stored as they are, and restored only into a database of this encoding",
        ),
        encoding => Row::ok(NAME, encoding),
    }
}

fn extension(facts: &Facts) -> Row {
    const NAME: &str = "extension";
    match &facts.extension {
        None => Row::missing(
            NAME,
            "pg_incrbackup is not installed on the server",
            Remedy::Do("Install it on the server's machine: make install.".to_owned()),
        ),
        Some((available, None)) => Row::warning(
            NAME,
            format!("version {available} is available, and not in this database"),
            Remedy::Sql("CREATE EXTENSION pg_incrbackup;".to_owned()),
        ),
        Some((available, Some(installed))) if installed != available => Row::warning(
            NAME,
            format!("version {installed} in this database, {available} on the server"),
            Remedy::Sql("ALTER EXTENSION pg_incrbackup UPDATE;".to_owned()),
        ),
        Some((_, Some(installed))) => Row::ok(NAME, format!("version {installed}")),
    }
}

/// Newer minor releases limit which plugins a session may use.
fn plugin(facts: &Facts) -> Row {
    const NAME: &str = "output_plugin_libraries";
    match facts.get(NAME) {
        None if !facts.who.sees_all => Row::ok(NAME, "this role does not see it"),
        None => Row::ok(NAME, "this server has no such setting"),
        Some(allowed) => Row::ok(
            NAME,
            format!("{allowed}; pg_incrbackup's workers allow its plugin for themselves"),
        ),
    }
}

fn tables(facts: &Facts) -> Row {
    const NAME: &str = "tables without a key";
    if facts.keyless.is_empty() {
        return Row::ok(NAME, "none");
    }
    let mut found = facts.keyless.join(", ");
    let more = facts.keyless_count.saturating_sub(facts.keyless.len());
    if more > 0 {
        found.push_str(&format!(" and {more} more"));
    }
    let todo =
        || Remedy::Do("Add a primary key, or ALTER TABLE … REPLICA IDENTITY FULL;".to_owned());
    match facts
        .get("pg_incrbackup.replica_identity")
        .unwrap_or("full")
    {
        "full" if facts.is_backed_up() => Row::warning(
            NAME,
            format!("{found}: UPDATE and DELETE are not captured"),
            Remedy::Sql("SELECT * FROM incr_setup();".to_owned()),
        ),
        "full" => Row::ok(
            NAME,
            format!("{found}: incr_setup() sets a replica identity"),
        ),
        "error" => Row::warning(
            NAME,
            format!("{found}: UPDATE and DELETE will be refused"),
            todo(),
        ),
        _ => Row::warning(
            NAME,
            format!("{found}: UPDATE and DELETE are not captured"),
            todo(),
        ),
    }
}

fn prepared(facts: &Facts) -> Row {
    const NAME: &str = "prepared transactions";
    let Some(Oldest {
        which,
        since,
        count,
        ..
    }) = &facts.prepared
    else {
        return Row::ok(NAME, "none");
    };
    let found = format!("{count}, the oldest since {since}");
    if facts.is_backed_up() {
        return Row::ok(NAME, found);
    }
    let todo = format!("End it in its database, or incr_setup() waits for it: COMMIT PREPARED {which}; or ROLLBACK PREPARED {which};");
    Row::warning(NAME, found, Remedy::Do(todo))
}

fn transactions(facts: &Facts) -> Row {
    const NAME: &str = "long transactions";
    let Some(Oldest {
        which,
        database,
        since,
        count,
    }) = &facts.transaction
    else {
        return Row::ok(NAME, "none");
    };
    let found = format!("{count}, the oldest since {since} (process {which} in {database})");
    if facts.is_backed_up() {
        return Row::ok(NAME, found);
    }
    let todo =
        format!("End it, or incr_setup() waits for it: SELECT pg_terminate_backend({which});");
    Row::warning(NAME, found, Remedy::Do(todo))
}

/// Only a plugin that does not tell the time of a commit needs them.
fn commit_times(facts: &Facts) -> Option<Row> {
    const NAME: &str = "track_commit_timestamp";
    if facts.plugin() == "pg_incrbackup" {
        return None;
    }
    let plugin = facts.plugin();
    if facts.get(NAME) == Some("on") {
        return Some(Row::ok(NAME, format!("on, as {plugin} needs it")));
    }
    let found = format!("off: {plugin} does not tell when a transaction was committed, so nothing can be restored by time");
    let row = Row::warning(NAME, found, Remedy::word(NAME, "on", true));
    Some(crate::server::or_restart(
        facts,
        NAME,
        |value| value == "on",
        row,
    ))
}
