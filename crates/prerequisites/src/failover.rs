//! What lets a chain go on after a failover: on a standby what keeps the slot in step there, on a primary with standbys that
//! capture does not overtake them.
//!
//! Failover slots exist from 17 on. A server without standbys has nothing to do.

use crate::{Facts, Remedy, Row, State};

/// The row that is there only where Patroni seems to run the server.
pub const PATRONI: &str = "Patroni";
/// The slot in what is written where none has a name yet.
const EXAMPLE: &str = "standby1";

pub fn rows(facts: &Facts) -> Vec<Row> {
    let rows = if facts.who.is_in_recovery {
        vec![
            feedback(facts),
            sync(facts),
            own_slot(facts),
            conninfo(facts),
        ]
    } else {
        vec![standbys(facts), patroni(facts)]
    };
    rows.into_iter().flatten().collect()
}

/// Whether slots of this server are failover slots; where its own setting is not known, they are.
fn has_failover_slots(facts: &Facts) -> bool {
    facts.get("sync_replication_slots").is_some()
        && facts.get("pg_incrbackup.failover") != Some("off")
}

/// A slot is kept in step on a standby only while that sends its feedback.
fn feedback(facts: &Facts) -> Option<Row> {
    const NAME: &str = "hot_standby_feedback";
    Some(match facts.get(NAME)? {
        "off" => Row::warning(
            NAME,
            "off: a slot of the primary cannot be kept in step here (sync_replication_slots of 17, pg_failover_slots), so a chain ends when this standby is promoted",
            Remedy::text(NAME, "on"),
        ),
        value => Row::ok(NAME, value),
    })
}

fn sync(facts: &Facts) -> Option<Row> {
    const NAME: &str = "sync_replication_slots";
    let value = facts.get(NAME).filter(|_| has_failover_slots(facts))?;
    Some(match value {
        "off" => Row::warning(
            NAME,
            "off: the slots of the primary are not kept in step here, so chains end when this standby is promoted",
            Remedy::word(NAME, "on", false),
        ),
        value => Row::ok(NAME, value),
    })
}

fn own_slot(facts: &Facts) -> Option<Row> {
    const NAME: &str = "primary_slot_name";
    let value = facts.get(NAME).filter(|_| has_failover_slots(facts))?;
    if !value.is_empty() {
        return Some(Row::ok(NAME, value));
    }
    let found =
        "empty: without a slot of its own on the primary this standby does not keep slots in step";
    let todo = format!(
        "On the primary run SELECT pg_create_physical_replication_slot('{EXAMPLE}', true); and add the line {NAME} = \
         '{EXAMPLE}' to postgresql.conf here."
    );
    Some(Row::warning(NAME, found, Remedy::Do(todo)))
}

fn conninfo(facts: &Facts) -> Option<Row> {
    const NAME: &str = "primary_conninfo";
    let value = facts.get(NAME).filter(|_| has_failover_slots(facts))?;
    // It may have a password: it is not shown.
    if names_database(value) {
        return Some(Row::ok(NAME, "it names a database"));
    }
    let found = match value.trim() {
        "" => "empty: this server follows no primary by streaming, so no slots are kept in step",
        _ => "without dbname: slots are read from the primary by queries, for which a database is needed",
    };
    let todo = "Add dbname=postgres to primary_conninfo: primary_conninfo = 'host=… user=… dbname=postgres'.";
    Some(Row::warning(NAME, found, Remedy::Do(todo.to_owned())))
}

/// Whether a connection string in either of libpq's forms has a dbname.
fn names_database(conninfo: &str) -> bool {
    let text = conninfo.trim();
    let uri = ["postgresql://", "postgres://"];
    if let Some(rest) = uri.iter().find_map(|start| text.strip_prefix(start)) {
        let (address, parameters) = rest.split_once('?').unwrap_or((rest, ""));
        let path = address.split_once('/').map_or("", |(_, path)| path);
        let mut parameters = parameters.split('&');
        return !path.is_empty() || parameters.any(|one| one.starts_with("dbname="));
    }
    let mut rest = text;
    while let Some((keyword, after)) = rest.split_once('=') {
        if keyword.trim() == "dbname" {
            return true;
        }
        rest = after_value(after.trim_start());
    }
    false
}

/// What follows a value, which may be quoted, and in which a backslash escapes.
fn after_value(text: &str) -> &str {
    let (is_quoted, text) = match text.strip_prefix('\'') {
        Some(text) => (true, text),
        None => (false, text),
    };
    let mut is_escaped = false;
    let end = text.find(|c: char| {
        let is_end = if is_quoted {
            c == '\''
        } else {
            c.is_whitespace()
        };
        let is_last = is_end && !is_escaped;
        is_escaped = c == '\\' && !is_escaped;
        is_last
    });
    end.map_or("", |end| &text[end + 1..])
}

/// A standby that capture does not wait for may lack, when it takes over, what is in the files.
fn standbys(facts: &Facts) -> Option<Row> {
    const NAME: &str = "synchronized_standby_slots";
    let value = facts.get(NAME).filter(|_| has_failover_slots(facts))?;
    if !value.trim().is_empty() {
        return Some(Row::ok(NAME, value));
    }
    let slots = facts.standby_slots.as_deref();
    if slots.is_none() && facts.standbys == 0 {
        return None;
    }
    let found = "empty: the files may run ahead of the standby that takes over, which then lacks commits that they have";
    let remedy = match slots {
        Some(slots) => Remedy::text(NAME, slots),
        None => Remedy::Do(format!(
            "Create a slot for each standby that may take over, SELECT pg_create_physical_replication_slot('{EXAMPLE}', \
             true);, set primary_slot_name there, and here {NAME} = '{EXAMPLE}'."
        )),
    };
    Some(Row {
        state: State::Note,
        ..Row::warning(NAME, found, remedy)
    })
}

/// What Patroni has to know of the slot, where it seems to run this server: it starts servers with `cluster_name` on their
/// command line. It drops slots that it does not know (slots.py, `_drop_incorrect_slots`), and before 17 nobody but Patroni
/// brings one to the standbys. Whether its configuration has this already cannot be seen from here.
fn patroni(facts: &Facts) -> Option<Row> {
    if !facts.on_command_line.contains("cluster_name") {
        return None;
    }
    let plugin = facts.plugin();
    let (found, line) = if has_failover_slots(facts) {
        if facts.get("sync_replication_slots") == Some("on") {
            return Some(Row::ok(PATRONI, "sync_replication_slots is on"));
        }
        (
            "it seems to run this server, and slots are not kept in step on the standbys; with patronictl edit-config add",
            "postgresql: {parameters: {sync_replication_slots: 'on', hot_standby_feedback: 'on'}}".to_owned(),
        )
    } else if facts.is_backed_up() {
        (
            "it seems to run this server; the slot is there after a failover if it is among Patroni's permanent slots: with \
             patronictl edit-config add",
            format!(
                "slots: {{{}: {{type: logical, database: {}, plugin: {plugin}}}}}",
                facts.slot_name,
                in_yaml(&facts.who.database)
            ),
        )
    } else {
        (
            "it seems to run this server, and drops slots that it does not know; with patronictl edit-config add, before \
             incr_setup()",
            format!("ignore_slots: [{{type: logical, plugin: {plugin}}}]"),
        )
    };
    Some(Row {
        state: State::Note,
        ..Row::warning(PATRONI, found, Remedy::Do(line))
    })
}

/// In double quotes, with the escapes of JSON, which YAML has, too.
fn in_yaml(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(settings: &[(&str, &str)]) -> Facts {
        let mut facts = Facts::default();
        for (name, value) in settings {
            facts.set(name, (*value).to_owned());
        }
        facts
    }

    #[test]
    fn a_database_is_found_in_both_forms_of_a_connection_string() {
        for with in [
            "host=a dbname=postgres",
            "dbname = x",
            "password='it\\'s' dbname=x",
            "options='-c a=b' dbname=''",
            "postgresql://u@h:5/shop",
            "postgres://h?dbname=shop",
        ] {
            assert!(names_database(with), "{with}");
        }
        for without in [
            "",
            "host=a user=b",
            "application_name='dbname=x' host=a",
            "password=a\\ dbname=b",
            "postgresql://u@h:5",
            "postgresql://u@h/?host=x",
        ] {
            assert!(!names_database(without), "{without}");
        }
    }

    #[test]
    fn a_server_without_standbys_has_nothing_to_do() {
        let settings = [
            ("sync_replication_slots", "off"),
            ("synchronized_standby_slots", ""),
        ];
        let mut alone = facts(&settings);
        assert!(rows(&alone).is_empty());
        alone.standbys = 1;
        let row = rows(&alone).remove(0);
        assert_eq!(row.state, State::Note);
        alone.standby_slots = Some("s1, s2".to_owned());
        let todo = rows(&alone).remove(0).todo().unwrap_or_default();
        assert_eq!(
            todo,
            "ALTER SYSTEM SET synchronized_standby_slots = 's1, s2'; SELECT pg_reload_conf();"
        );
        alone.set("pg_incrbackup.failover", "off".to_owned());
        assert!(rows(&alone).is_empty());
    }

    #[test]
    fn where_patroni_runs_the_server_the_line_for_it_is_told() {
        let todo = |facts: &Facts| patroni(facts).map(|row| row.todo().unwrap_or_default());
        let mut fifteen = facts(&[]);
        fifteen.slot_name = "pg_incrbackup_5".to_owned();
        fifteen.who.database = "a \"b\"\n".to_owned();
        assert_eq!(todo(&fifteen), None);
        fifteen.on_command_line.insert("cluster_name".to_owned());
        let ignored = "ignore_slots: [{type: logical, plugin: pg_incrbackup}]";
        assert_eq!(todo(&fifteen).as_deref(), Some(ignored));
        fifteen.slot = Some(crate::facts::Slot {
            name: fifteen.slot_name.clone(),
            is_of_this_database: true,
            plugin: "pg_incrbackup".to_owned(),
            ..Default::default()
        });
        let slots = r#"slots: {pg_incrbackup_5: {type: logical, database: "a \"b\"\u000a", plugin: pg_incrbackup}}"#;
        assert_eq!(todo(&fifteen).as_deref(), Some(slots));
        let mut later = fifteen.clone();
        later.set("sync_replication_slots", "off".to_owned());
        assert!(todo(&later).is_some_and(|line| line.contains("sync_replication_slots: 'on'")));
        later.set("sync_replication_slots", "on".to_owned());
        assert_eq!(patroni(&later).map(|row| row.state), Some(State::Ok));
        later.set("pg_incrbackup.failover", "off".to_owned());
        assert_eq!(todo(&later).as_deref(), Some(slots));
    }

    #[test]
    fn a_standby_is_told_each_line_that_it_lacks() {
        let mut standby = facts(&[
            ("sync_replication_slots", "off"),
            ("hot_standby_feedback", "off"),
            ("primary_slot_name", ""),
            ("primary_conninfo", "host=a password=secret"),
        ]);
        standby.who.is_in_recovery = true;
        let all = rows(&standby);
        assert_eq!(all.len(), 4);
        for row in &all {
            assert_eq!(row.state, State::Warning, "{}", row.name);
            let todo = row.todo().unwrap_or_default();
            assert!(todo.contains(row.name), "{todo}");
            assert!(!todo.contains("secret") && !row.found.contains("secret"));
        }
        // Before 17.
        standby.forget("sync_replication_slots");
        let names: Vec<&str> = rows(&standby).iter().map(|row| row.name).collect();
        assert_eq!(names, ["hot_standby_feedback"]);
    }
}
