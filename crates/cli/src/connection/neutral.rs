//! The settings with which every session starts.
//!
//! They override those of roles and databases: nothing interrupts the session, names refer to PostgreSQL's own objects
//! only, and texts mean the same everywhere. They are sent with the startup packet, behind the `options` of the connection
//! string, so that the last word is ours; [`ensure_in_force`] checks it afterwards.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use tokio_postgres::types::Type;
use tokio_postgres::Client;

use crate::error::{Error, Result};

struct Setting {
    name: &'static str,
    value: &'static str,
    /// Known only from PostgreSQL 17 on.
    is_new: bool,
    /// Only a superuser may set it. The value is what it is anyway unless a superuser has changed it.
    is_superusers: bool,
}

const fn plain(name: &'static str, value: &'static str) -> Setting {
    Setting {
        name,
        value,
        is_new: false,
        is_superusers: false,
    }
}

const NEUTRAL: [Setting; 21] = [
    plain("search_path", "pg_catalog,pg_temp"),
    plain("role", "none"),
    plain("row_security", "off"),
    plain("default_transaction_read_only", "off"),
    plain("default_transaction_deferrable", "off"),
    plain("default_transaction_isolation", "read committed"),
    plain("standard_conforming_strings", "on"),
    plain("array_nulls", "on"),
    plain("transform_null_equals", "off"),
    plain("client_min_messages", "warning"),
    plain("statement_timeout", "0"),
    plain("lock_timeout", "0"),
    plain("idle_session_timeout", "0"),
    plain("idle_in_transaction_session_timeout", "0"),
    plain("DateStyle", "ISO, MDY"),
    plain("TimeZone", "UTC"),
    plain("local_preload_libraries", ""),
    Setting {
        is_superusers: true,
        ..plain("session_preload_libraries", "")
    },
    Setting {
        is_superusers: true,
        ..plain("session_replication_role", "origin")
    },
    Setting {
        is_new: true,
        ..plain("transaction_timeout", "0")
    },
    // Login triggers would run before anything that a session can do about them.
    Setting {
        is_new: true,
        is_superusers: true,
        ..plain("event_triggers", "off")
    },
];

/// Which of them a server takes from this user. Only an attempt shows it: whatever a session asked, a login trigger would
/// have run before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepted {
    new: bool,
    superusers: bool,
    /// The first attempt at a server. A superuser's refusal is not written to the server's log.
    is_question: bool,
}

/// From this version on servers know the new ones.
const FIRST_WITH_NEW: u32 = 17;

/// What servers took of which user in sessions before: the first contact costs a connection more.
static TAKEN: Mutex<BTreeMap<String, Accepted>> = Mutex::new(BTreeMap::new());

impl Accepted {
    /// The first attempt.
    fn question() -> Accepted {
        Accepted {
            new: true,
            superusers: true,
            is_question: true,
        }
    }

    /// The first attempt at a server as this user, which may have been asked before.
    pub fn at(server: &str) -> Accepted {
        let taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
        taken
            .get(server)
            .copied()
            .unwrap_or_else(Accepted::question)
    }

    /// With what the next session at that server begins.
    pub fn keep(self, server: &str) {
        let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
        taken.insert(server.to_owned(), self);
    }

    /// The next attempt after a session was opened at a server of this major version; `None` if it is one to work with.
    pub fn after_session(self, major: u32) -> Option<Accepted> {
        let next = Accepted {
            new: major >= FIRST_WITH_NEW,
            is_question: false,
            ..self
        };
        (next != self).then_some(next)
    }

    /// The next attempt after this refusal; `None` if it had another reason.
    pub fn after(self, error: &tokio_postgres::Error) -> Option<Accepted> {
        use tokio_postgres::error::SqlState;
        let fewer = Accepted {
            new: false,
            is_question: false,
            ..self
        };
        match error.code() {
            // unrecognized configuration parameter
            Some(code) if *code == SqlState::UNDEFINED_OBJECT && self.new => Some(fewer),
            // permission denied to set parameter
            Some(code)
                if *code == SqlState::INSUFFICIENT_PRIVILEGE
                    && self.superusers
                    && !is_about_the_database(error) =>
            {
                Some(Accepted {
                    superusers: false,
                    ..fewer
                })
            }
            _ => None,
        }
    }

    fn settings(self) -> impl Iterator<Item = &'static Setting> {
        NEUTRAL
            .iter()
            .filter(move |s| (!s.is_new || self.new) && (!s.is_superusers || self.superusers))
    }

    /// For the startup packet: `-c name=value …`.
    pub fn options(self) -> String {
        let option = |setting: &Setting| {
            let value = setting.value.replace(' ', "\\ ");
            format!(" -c {}={value}", setting.name)
        };
        // Before them: what is refused behind it is not logged.
        let quiet = self.is_question.then_some(" -c log_min_messages=panic");
        let quiet = quiet.unwrap_or_default().to_owned();
        quiet + &self.settings().map(option).collect::<String>()
    }
}

/// "permission denied for database", which has the SQLSTATE of a setting's refusal. Messages are translated, functions are
/// not; this one checks the right CONNECT (src/backend/utils/init/postinit.c).
fn is_about_the_database(error: &tokio_postgres::Error) -> bool {
    let refusal = error.as_db_error();
    refusal.is_some_and(|refusal| refusal.routine() == Some("CheckMyDatabase"))
}

/// Fails where a session did not start with these settings: other `options` prevented it, or a connection pooler.
pub async fn ensure_in_force(client: &Client, accepted: Accepted) -> Result<()> {
    let names: Vec<&str> = accepted.settings().map(|setting| setting.name).collect();
    let query = "SELECT name, setting FROM pg_catalog.pg_settings WHERE name OPERATOR(pg_catalog.=) ANY ($1)";
    let rows = client
        .query_typed(query, &[(&names, Type::TEXT_ARRAY)])
        .await?;
    for row in rows {
        let (name, value): (&str, &str) = (row.get(0), row.get(1));
        let expected = accepted.settings().find(|setting| setting.name == name);
        if expected.is_some_and(|expected| expected.value != value) {
            let message = format!(
                "the server does not accept this program's settings: {name} is \"{value}\""
            );
            let hint = "If the connection string or PGOPTIONS has options, leave them out; connect to the server itself, not to a pooler.";
            return Err(Error::failed(message, hint));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_options_of_a_server() {
        let options = Accepted::question().options();
        assert!(options.starts_with(
            " -c log_min_messages=panic -c search_path=pg_catalog,pg_temp -c role=none"
        ));
        assert!(options.contains(" -c default_transaction_isolation=read\\ committed"));
        assert!(options.contains(" -c event_triggers=off"));
        let plain = Accepted {
            new: false,
            superusers: false,
            is_question: false,
        };
        assert!(!plain.options().contains("event_triggers"));
        assert!(!plain.options().contains("session_replication_role"));
        assert!(!plain.options().contains("transaction_timeout"));
        assert!(!plain.options().contains("log_min_messages"));
    }

    #[test]
    fn a_server_is_asked_once_what_it_takes() {
        let question = Accepted::question();
        let known = question.after_session(18).expect("it was a question");
        assert!(known.options().contains("transaction_timeout"));
        assert_eq!(known.after_session(18), None);
        // Of a role that is no superuser, only a session shows the version.
        let few = Accepted {
            new: false,
            superusers: false,
            is_question: false,
        };
        assert_eq!(few.after_session(15), None);
        let more = few.after_session(17).expect("the server knows more");
        assert!(more.options().contains("transaction_timeout"));
        assert!(!more.options().contains("event_triggers"));
    }
}
