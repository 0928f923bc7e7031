//! The server: its version, who asks, and the settings with which it was started.

use std::path::Path;

use crate::facts::{has_library, libraries};
use crate::{Class, Facts, Remedy, Row};

/// The directory in what is written for one that is not set.
const EXAMPLE: &str = "/var/backups/postgresql";
const NOT_SEEN: &str = "this role does not see it";

pub fn rows(facts: &Facts) -> Vec<Row> {
    vec![
        version(facts.who.version),
        privileges(facts),
        recovery(facts),
        wal_level(facts),
        preloading(facts),
        directory(facts),
    ]
}

/// The versions that the extension is built for.
fn version(number: u32) -> Row {
    let found = format!("PostgreSQL {}.{}", number / 10_000, number % 10_000);
    match number / 10_000 {
        15..=18 => Row::ok("version", found),
        _ => Row::missing(
            "version",
            found,
            Remedy::Do("pg_incrbackup runs on PostgreSQL 15 to 18.".to_owned()),
        ),
    }
}

fn privileges(facts: &Facts) -> Row {
    const NAME: &str = "privileges";
    let user = &facts.who.user;
    if facts.who.is_superuser {
        Row::ok(NAME, format!("{user} is a superuser"))
    } else if facts.who.sees_all {
        let found =
            format!("{user} is no superuser; incr_setup() is for superusers, until it is granted");
        Row::note(NAME, found)
    } else {
        Row::warning(
            NAME,
            format!("{user} does not see all settings and sessions"),
            Remedy::Sql(format!("GRANT pg_monitor TO {};", identifier(user))),
        )
    }
}

fn recovery(facts: &Facts) -> Row {
    const NAME: &str = "primary";
    if !facts.who.is_in_recovery {
        return Row::ok(NAME, "this server is not in recovery");
    }
    let found = "this server is a standby, in recovery: pg_incrbackup writes on the primary only";
    let todo = "Connect to the primary, or promote this server first.";
    Row::missing(NAME, found, Remedy::Do(todo.to_owned())).as_error(Class::ReadOnly, found)
}

/// A row about a setting that is read at the server's start. If the files have a value that is enough, a restart is all that
/// is left to do.
pub(crate) fn or_restart(
    facts: &Facts,
    name: &str,
    is_enough: impl Fn(&str) -> bool,
    row: Row,
) -> Row {
    if facts.on_command_line.contains(name) {
        return row;
    }
    let is_written = match facts.in_files(name) {
        Some(written) => is_enough(written),
        None => facts.is_pending(name) && !facts.who.sees_files,
    };
    if !is_written {
        return row;
    }
    Row {
        found: format!("{}; the files have another value already", row.found),
        remedy: Some(Remedy::Restart),
        needs_restart: true,
        ..row
    }
}

/// A setting that is given to the server when it is started has to be changed there: whatever the files have, it does not
/// count.
pub(crate) fn where_it_counts(facts: &Facts, row: Row) -> Row {
    match &row.remedy {
        Some(Remedy::Setting { name, in_file, .. }) if facts.on_command_line.contains(*name) => {
            Row {
                found: format!("{}; it is set on the server's command line", row.found),
                remedy: Some(Remedy::StartOption {
                    name,
                    value: in_file.clone(),
                }),
                needs_restart: true,
                ..row
            }
        }
        _ => row,
    }
}

fn wal_level(facts: &Facts) -> Row {
    const NAME: &str = "wal_level";
    let level = match facts.get(NAME) {
        Some("logical") => return Row::ok(NAME, "logical"),
        level => level.unwrap_or("unknown"),
    };
    let found = format!("{level}, logical is needed");
    let message = format!("{NAME} is {found}");
    let row = Row::missing(NAME, found, Remedy::word(NAME, "logical", true))
        .as_error(Class::Prerequisite, message);
    or_restart(facts, NAME, |value| value == "logical", row)
}

fn preloading(facts: &Facts) -> Row {
    const NAME: &str = "shared_preload_libraries";
    let Some(list) = facts.get(NAME) else {
        let todo = Remedy::Do("Ask as a member of pg_monitor.".to_owned());
        return Row::warning(NAME, NOT_SEEN, todo);
    };
    if has_library(list) {
        return Row::ok(NAME, list);
    }
    let mut all = libraries(list);
    let found = if all.is_empty() { "empty" } else { list };
    all.push("pg_incrbackup".to_owned());
    let in_sql: Vec<String> = all.iter().map(|name| identifier(name)).collect();
    let remedy = Remedy::Setting {
        name: NAME,
        in_file: format!("'{}'", all.join(", ").replace('\'', "''")),
        in_sql: in_sql.join(", "),
        needs_restart: true,
        only_in_file: false,
        or: None,
    };
    let found = format!("{found}; pg_incrbackup is not preloaded");
    let row = Row::missing(NAME, found, remedy)
        .as_error(Class::Prerequisite, "pg_incrbackup is not preloaded");
    or_restart(facts, NAME, has_library, row)
}

fn directory(facts: &Facts) -> Row {
    const NAME: &str = "pg_incrbackup.directory";
    let data = facts.get("data_directory");
    let problem = |path: &str| {
        if path.is_empty() {
            Some("not set".to_owned())
        } else if !path.starts_with('/') {
            Some(format!("{path} is not an absolute path"))
        } else if data.is_some_and(|data| Path::new(path).starts_with(data)) {
            Some(format!("{path} is inside the data directory"))
        } else {
            None
        }
    };
    let directory = match facts.get(NAME) {
        None if !facts.who.sees_all => {
            let todo = Remedy::Do("Ask as a member of pg_monitor.".to_owned());
            return Row::warning(NAME, NOT_SEEN, todo);
        }
        directory => directory.unwrap_or_default(),
    };
    let Some(found) = problem(directory) else {
        return Row::ok(NAME, directory);
    };
    let message = if directory.is_empty() {
        "pg_incrbackup.directory is not set".to_owned()
    } else {
        format!("{NAME}: {found}")
    };
    let is_written = facts
        .in_files(NAME)
        .is_some_and(|path| problem(path).is_none());
    let remedy = if is_written {
        Remedy::Reload
    } else {
        own_setting(facts, Remedy::text(NAME, EXAMPLE))
    };
    Row::missing(NAME, found, remedy).as_error(Class::Prerequisite, message)
}

/// A setting of ours. Before 16 ALTER SYSTEM knows none of a library that the session has not loaded.
pub(crate) fn own_setting(facts: &Facts, remedy: Remedy) -> Remedy {
    if facts.is_preloaded() == Some(true) || facts.who.version >= 160_000 {
        remedy
    } else {
        remedy.only_in_file()
    }
}

/// A name in double quotes, whether necessary or not.
fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{State, Who, QUESTIONS};

    /// A server with `wal_level = replica`: whether it waits for a restart, what its files have, and who may see them.
    fn level(is_pending: bool, in_files: Option<&str>, sees_files: bool) -> Row {
        let who = Who {
            sees_files,
            sees_all: true,
            ..Who::default()
        };
        let some = |text: &str| Some(text.to_owned());
        let mut answers: [crate::Answer; QUESTIONS.len()] = Default::default();
        answers[0] = vec![vec![
            some("wal_level"),
            some("replica"),
            some("replica"),
            some(if is_pending { "true" } else { "false" }),
        ]];
        answers[1] = in_files
            .iter()
            .map(|level| vec![some("wal_level"), some(level)])
            .collect();
        wal_level(&Facts::new(who, answers))
    }

    #[test]
    fn what_is_written_in_the_files_only_needs_a_restart() {
        let todo = |row: Row| {
            assert_eq!(row.state, State::Missing);
            assert!(row.needs_restart);
            row.todo().unwrap_or_default()
        };
        let statement = "ALTER SYSTEM SET wal_level = 'logical';";
        assert_eq!(todo(level(false, None, true)), statement);
        assert_eq!(
            todo(level(false, Some("logical"), true)),
            "Restart the server."
        );
        assert_eq!(
            todo(level(true, Some("minimal"), true)),
            statement,
            "not enough"
        );
        assert_eq!(
            todo(level(true, None, false)),
            "Restart the server.",
            "not seen"
        );
    }

    #[test]
    fn what_the_command_line_has_is_changed_there() {
        let mut facts = Facts::default();
        facts.set("wal_level", "replica".to_owned());
        facts
            .files
            .insert("wal_level".to_owned(), "logical".to_owned());
        let todo = |facts: &Facts| where_it_counts(facts, wal_level(facts)).todo();
        assert_eq!(todo(&facts).as_deref(), Some("Restart the server."));
        facts.on_command_line.insert("wal_level".to_owned());
        assert_eq!(
            todo(&facts).as_deref(),
            Some("Change wal_level to logical in the command that starts the server, which overrides the files, and restart it.")
        );
    }

    #[test]
    fn before_16_a_setting_of_a_library_that_is_not_preloaded_goes_into_the_file() {
        let mut facts = Facts::default();
        let todo = |facts: &Facts| directory(facts).todo().unwrap_or_default();
        facts.who.sees_all = true;
        facts.who.version = 150_000;
        assert!(todo(&facts).starts_with("Add the line"), "{}", todo(&facts));
        facts.who.version = 160_000;
        assert!(todo(&facts).starts_with("ALTER SYSTEM"), "{}", todo(&facts));
        facts.who.version = 150_000;
        facts.set("shared_preload_libraries", "pg_incrbackup".to_owned());
        assert!(todo(&facts).starts_with("ALTER SYSTEM"), "{}", todo(&facts));
    }

    #[test]
    fn only_versions_that_the_extension_is_built_for_are_accepted() {
        assert_eq!(version(140_009).state, State::Missing);
        assert_eq!(version(180_001).state, State::Ok);
        assert_eq!(version(190_000).state, State::Missing);
    }

    #[test]
    fn libraries_that_are_preloaded_stay() {
        let mut facts = Facts::default();
        facts.set(
            "shared_preload_libraries",
            "auto_explain, \"$libdir/x\"".to_owned(),
        );
        let row = preloading(&facts);
        assert_eq!(
            row.todo().unwrap_or_default(),
            "ALTER SYSTEM SET shared_preload_libraries = \"auto_explain\", \"$libdir/x\", \"pg_incrbackup\";"
        );
        facts.set("shared_preload_libraries", "a,pg_incrbackup".to_owned());
        assert_eq!(preloading(&facts).state, State::Ok);
    }
}
