//! The server: its version, and the settings with which it was started.

use super::settings::Settings;
use super::{names, Row};

/// The versions that the extension is built for.
pub fn version(number: u32) -> Row {
    let found = format!("PostgreSQL {}.{}", number / 10_000, number % 10_000);
    match number / 10_000 {
        15..=18 => Row::ok("version", found),
        _ => Row::missing(
            "version",
            found,
            "pg_incrbackup runs on PostgreSQL 15 to 18.",
        ),
    }
}

pub fn of_settings(settings: &Settings) -> Vec<Row> {
    vec![
        privileges(settings),
        recovery(settings),
        wal_level(settings),
        preloading(settings),
        directory(settings),
        workers(settings),
        plugins(settings),
    ]
}

fn privileges(settings: &Settings) -> Row {
    let user = &settings.user;
    if settings.is_superuser {
        Row::ok("privileges", format!("{user} is a superuser"))
    } else if settings.sees_all {
        Row::ok(
            "privileges",
            format!("{user} has those of pg_monitor; incr_setup() needs a superuser"),
        )
    } else {
        let todo = format!("GRANT pg_monitor TO {};", names(std::slice::from_ref(user)));
        Row::warning(
            "privileges",
            format!("{user} does not see all settings and sessions"),
            todo,
        )
    }
}

fn recovery(settings: &Settings) -> Row {
    if settings.is_in_recovery {
        let todo = "Connect to the primary, or promote this server first.";
        Row::missing(
            "primary",
            "this server is in recovery; pg_incrbackup works on the primary",
            todo,
        )
    } else {
        Row::ok("primary", "this server is not in recovery")
    }
}

/// A value that only the next start brings is already in a file.
fn or_restart(settings: &Settings, name: &str, row: Row) -> Row {
    if settings.is_pending(name) {
        let found = format!("{}; the files have another value already", row.found);
        Row {
            found,
            todo: Some("Restart the server.".to_owned()),
            needs_restart: false,
            ..row
        }
    } else {
        row.after_restart()
    }
}

fn wal_level(settings: &Settings) -> Row {
    match settings.get("wal_level") {
        Some("logical") => Row::ok("wal_level", "logical"),
        level => {
            let found = format!("{}, logical is needed", level.unwrap_or("unknown"));
            let row = Row::missing(
                "wal_level",
                found,
                "ALTER SYSTEM SET wal_level = 'logical';",
            );
            or_restart(settings, "wal_level", row)
        }
    }
}

fn preloading(settings: &Settings) -> Row {
    const NAME: &str = "shared_preload_libraries";
    match (settings.is_preloaded(), settings.get(NAME)) {
        (Some(true), Some(libraries)) => Row::ok(NAME, libraries),
        (Some(false), Some(libraries)) => {
            let mut all: Vec<String> = libraries
                .split(',')
                .map(|name| name.trim().trim_matches('"').to_owned())
                .collect();
            all.retain(|name| !name.is_empty());
            let found = if all.is_empty() {
                "empty".to_owned()
            } else {
                libraries.to_owned()
            };
            all.push("pg_incrbackup".to_owned());
            let todo = format!("ALTER SYSTEM SET {NAME} = {};", names(&all));
            or_restart(
                settings,
                NAME,
                Row::missing(
                    NAME,
                    format!("{found}; pg_incrbackup is not preloaded"),
                    todo,
                ),
            )
        }
        _ => Row::warning(
            NAME,
            "this role does not see it",
            "Ask as a member of pg_monitor.",
        ),
    }
}

fn directory(settings: &Settings) -> Row {
    const NAME: &str = "pg_incrbackup.directory";
    const EXAMPLE: &str = "/var/backups/postgresql";
    let directory = settings.get(NAME).unwrap_or_default();
    let set = |found: String| {
        // Before 16 ALTER SYSTEM knows no setting of a library that is not loaded.
        if settings.is_preloaded() == Some(true) {
            let todo = format!("ALTER SYSTEM SET {NAME} = '{EXAMPLE}'; SELECT pg_reload_conf();");
            Row::missing(NAME, found, todo)
        } else {
            let todo = format!("Add the line {NAME} = '{EXAMPLE}' to postgresql.conf.");
            Row::missing(NAME, found, todo).after_restart()
        }
    };
    if !settings.sees_all {
        return Row::warning(
            NAME,
            "this role does not see it",
            "Ask as a member of pg_monitor.",
        );
    }
    let data = settings.get("data_directory").map(std::path::Path::new);
    if directory.is_empty() {
        set("not set".to_owned())
    } else if !directory.starts_with('/') {
        set(format!("{directory} is not an absolute path"))
    } else if data.is_some_and(|data| std::path::Path::new(directory).starts_with(data)) {
        set(format!("{directory} is inside the data directory"))
    } else {
        Row::ok(NAME, directory)
    }
}

fn workers(settings: &Settings) -> Row {
    const NAME: &str = "max_worker_processes";
    let most = settings.number(NAME);
    if most >= 3 {
        return Row::ok(NAME, most.to_string());
    }
    let row = Row::missing(
        NAME,
        format!("{most}, at least 3 are needed"),
        format!("ALTER SYSTEM SET {NAME} = 8;"),
    );
    or_restart(settings, NAME, row)
}

fn plugins(settings: &Settings) -> Row {
    const NAME: &str = "output_plugin_libraries";
    match settings.get(NAME) {
        None if !settings.sees_all => Row::ok(NAME, "this role does not see it"),
        None => Row::ok(NAME, "this server has no such setting"),
        Some(allowed) => Row::ok(
            NAME,
            format!("{allowed}; pg_incrbackup's workers allow its plugin for themselves"),
        ),
    }
}
