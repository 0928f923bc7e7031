//! What to do about a row: a setting (as a line of postgresql.conf, or as ALTER SYSTEM), a statement, or a sentence.

/// What helps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remedy {
    /// A setting of the server.
    Setting {
        name: &'static str,
        /// As postgresql.conf has it, quoted where it needs to be.
        in_file: String,
        /// As ALTER SYSTEM has it.
        in_sql: String,
        /// Whether it takes effect at the next start of the server; otherwise when the configuration is reloaded.
        needs_restart: bool,
        /// ALTER SYSTEM accepts no setting of a library that the session has not loaded.
        only_in_file: bool,
        /// What else helps: a clause, without full stop.
        or: Option<&'static str>,
    },
    /// The files have a value that is enough, and the server was not restarted since.
    Restart,
    /// The files have a value that is enough, and the server has not read it.
    Reload,
    /// Where a setting is given to the server when it is started, what to change there.
    StartOption { name: &'static str, value: String },
    /// A statement, with its semicolon.
    Sql(String),
    /// A sentence.
    Do(String),
}

impl Remedy {
    /// A setting with a value that is a number or a word.
    pub fn word(name: &'static str, value: impl ToString, needs_restart: bool) -> Remedy {
        let value = value.to_string();
        Remedy::Setting {
            name,
            in_sql: format!("'{value}'"),
            in_file: value,
            needs_restart,
            only_in_file: false,
            or: None,
        }
    }

    /// A setting with a number.
    pub fn number(name: &'static str, value: i64, needs_restart: bool) -> Remedy {
        Remedy::Setting {
            name,
            in_sql: value.to_string(),
            in_file: value.to_string(),
            needs_restart,
            only_in_file: false,
            or: None,
        }
    }

    /// A setting with a text of ours, in which nothing needs to be escaped.
    pub fn text(name: &'static str, value: &str) -> Remedy {
        Remedy::Setting {
            name,
            in_file: format!("'{value}'"),
            in_sql: format!("'{value}'"),
            needs_restart: false,
            only_in_file: false,
            or: None,
        }
    }

    /// Where the library is not loaded ALTER SYSTEM may not know it.
    pub fn only_in_file(self) -> Remedy {
        match self {
            Remedy::Setting {
                name,
                in_file,
                in_sql,
                or,
                ..
            } => Remedy::Setting {
                name,
                in_file,
                in_sql,
                needs_restart: true,
                only_in_file: true,
                or,
            },
            other => other,
        }
    }

    /// With something else that helps as well.
    pub fn or(self, what: &'static str) -> Remedy {
        match self {
            Remedy::Setting {
                name,
                in_file,
                in_sql,
                needs_restart,
                only_in_file,
                ..
            } => Remedy::Setting {
                name,
                in_file,
                in_sql,
                needs_restart,
                only_in_file,
                or: Some(what),
            },
            other => other,
        }
    }

    /// False for [`Remedy::Restart`]: there is nothing left to write before it.
    pub fn needs_restart(&self) -> bool {
        matches!(
            self,
            Remedy::Setting {
                needs_restart: true,
                ..
            }
        )
    }

    /// Ready to paste into a session: a statement wherever there is one.
    pub fn as_text(&self) -> String {
        match self {
            Remedy::Setting {
                name,
                in_file,
                only_in_file: true,
                ..
            } => format!("Add the line {name} = {in_file} to postgresql.conf."),
            Remedy::Setting {
                name,
                in_sql,
                needs_restart,
                or,
                ..
            } => {
                let reload = if *needs_restart {
                    ""
                } else {
                    " SELECT pg_reload_conf();"
                };
                let or = or.map(|what| format!(" -- or {what}")).unwrap_or_default();
                format!("ALTER SYSTEM SET {name} = {in_sql};{reload}{or}")
            }
            Remedy::Restart => "Restart the server.".to_owned(),
            Remedy::Reload => "SELECT pg_reload_conf();".to_owned(),
            Remedy::StartOption { name, value } => start_option(name, value),
            Remedy::Sql(statement) => statement.clone(),
            Remedy::Do(sentence) => sentence.clone(),
        }
    }
}

fn start_option(name: &str, value: &str) -> String {
    format!("Change {name} to {value} in the command that starts the server, which overrides the files, and restart it.")
}

/// What to do about several at once, for one change of postgresql.conf and one restart: sentences, lines of the file among
/// them.
pub fn what_to_write<'a>(remedies: impl Iterator<Item = &'a Remedy>) -> String {
    let (mut lines, mut alternatives, mut others) = (Vec::new(), Vec::<&str>::new(), Vec::new());
    let (mut restart, mut reload) = (false, false);
    for remedy in remedies {
        match remedy {
            Remedy::Setting {
                name,
                in_file,
                needs_restart,
                or,
                ..
            } => {
                lines.push(format!("{name} = {in_file}"));
                restart |= needs_restart;
                alternatives.extend(*or);
            }
            Remedy::Restart => restart = true,
            Remedy::Reload => reload = true,
            Remedy::StartOption { name, value } => others.push(start_option(name, value)),
            Remedy::Sql(statement) => others.push(format!("Run {statement}")),
            Remedy::Do(sentence) => others.push(sentence.clone()),
        }
    }
    let and = match (restart, lines.is_empty() && !reload) {
        (true, false) => " and restart the server",
        (false, false) => " and reload the configuration",
        (_, true) => "",
    };
    let or: String = alternatives
        .iter()
        .map(|what| format!(", or {what}"))
        .collect();
    let mut text = match lines.as_slice() {
        [] if restart => "Restart the server.".to_owned(),
        [] if reload => "Reload the configuration: SELECT pg_reload_conf().".to_owned(),
        [] => String::new(),
        [line] => format!("Add the line {line} to postgresql.conf{and}{or}."),
        lines => format!(
            "Add these lines to postgresql.conf{and}{or}:\n{}",
            lines.join("\n")
        ),
    };
    for other in others {
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&other);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hint(remedies: &[Remedy]) -> String {
        what_to_write(remedies.iter())
    }

    #[test]
    fn one_setting_is_a_sentence_and_several_are_lines() {
        let level = Remedy::word("wal_level", "logical", true);
        let slots = Remedy::number("max_replication_slots", 4, true).or("drop an unused slot");
        let directory = Remedy::text("pg_incrbackup.directory", "/b");
        assert_eq!(
            hint(std::slice::from_ref(&level)),
            "Add the line wal_level = logical to postgresql.conf and restart the server."
        );
        assert_eq!(
            hint(std::slice::from_ref(&directory)),
            "Add the line pg_incrbackup.directory = '/b' to postgresql.conf and reload the configuration."
        );
        assert_eq!(
            hint(&[level, slots, directory]),
            "Add these lines to postgresql.conf and restart the server, or drop an unused slot:\n\
             wal_level = logical\nmax_replication_slots = 4\npg_incrbackup.directory = '/b'"
        );
    }

    #[test]
    fn what_is_in_the_files_already_is_not_written_again() {
        assert_eq!(hint(&[Remedy::Restart]), "Restart the server.");
        assert_eq!(
            hint(&[
                Remedy::Restart,
                Remedy::number("max_worker_processes", 8, true),
                Remedy::Sql("SELECT 1;".to_owned()),
                Remedy::Do("Use an absolute path.".to_owned())
            ]),
            "Add the line max_worker_processes = 8 to postgresql.conf and restart the server.\n\
             Run SELECT 1;\nUse an absolute path."
        );
    }

    #[test]
    fn a_statement_is_complete() {
        assert_eq!(
            Remedy::text("pg_incrbackup.drill_schedule", "0 5 * * 0").as_text(),
            "ALTER SYSTEM SET pg_incrbackup.drill_schedule = '0 5 * * 0'; SELECT pg_reload_conf();"
        );
        assert_eq!(
            Remedy::word("wal_level", "logical", true).as_text(),
            "ALTER SYSTEM SET wal_level = 'logical';"
        );
        assert_eq!(
            Remedy::text("pg_incrbackup.directory", "/b")
                .only_in_file()
                .as_text(),
            "Add the line pg_incrbackup.directory = '/b' to postgresql.conf."
        );
    }
}
