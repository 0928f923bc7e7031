//! The server of a target, and what is there before anything is made.

use archive::counted;
use archive::metadata::{ExtensionFact, Metadata};
use sha2::{Digest, Sha256};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;

use crate::connection::Session;
use crate::error::{Error, Result};
use crate::output::Output;
use crate::quote::ident;
use crate::restore::progress::{self, Left, Progress};
use crate::restore::rights::{Rights, Role};

/// NAMEDATALEN, without the byte at the end.
const LONGEST_NAME: usize = 63;
/// Ends the name of a database that is not complete.
const RESTORING: &str = ".restoring";

/// The target, looked at; nothing was changed.
pub struct Found {
    pub(super) conninfo: String,
    /// As `--target` names it.
    pub(super) final_name: String,
    /// Until all is done.
    pub(super) name: String,
    /// It exists, and is empty.
    pub(super) exists: bool,
    /// A session in it, or in another database of the server.
    pub(super) session: Session,
    /// In which that is.
    pub(super) beside: String,
    /// What an earlier run has left.
    pub(super) left: Option<Left>,
    /// It is a scratch database, which a [`Held`](super::scratch::Held) keeps for this restore.
    pub(super) is_scratch: bool,
    /// Who restores.
    pub role: Role,
    /// Where it is said what is made.
    pub(super) output: Output,
}

impl Found {
    /// Connects. Refuses, each with its reason: a name that cannot be one, a role that may make nothing there, a database
    /// that is not empty, and one that an earlier restore has left.
    pub async fn look(conninfo: &str, output: &Output) -> Result<Found> {
        let final_name = name_in(conninfo)?;
        let (session, exists, beside) = connect(conninfo, &final_name).await?;
        let role = Role::of(&session).await?;
        role.ensure_may_make(&session, &final_name, exists).await?;
        let mut left = None;
        let name = if exists {
            left = begun_in(&session).await?;
            if left.is_none() {
                ensure_empty(&session, &final_name, &role).await?;
            }
            final_name.clone()
        } else {
            name_until_complete(&final_name)
        };
        let mut found = Found {
            conninfo: conninfo.to_owned(),
            final_name,
            name,
            exists,
            session,
            beside,
            left,
            is_scratch: false,
            role,
            output: *output,
        };
        if !exists {
            // A run that was killed may still be creating it.
            progress::lock(&found.session, &found.name).await?;
            found.left = found.look_for_left_over().await?;
        }
        Ok(found)
    }

    /// The name of the database until all is there.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// As `--target` names it.
    pub fn final_name(&self) -> &str {
        &self.final_name
    }

    /// What an earlier run has left.
    pub fn left(&self) -> Option<&Left> {
        self.left.as_ref()
    }

    /// A session on its server, for questions (what time is meant) and for the dry run; client_encoding is UTF8.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// A session in the database, if it exists, with the encoding of the archive.
    pub async fn session_in_it(&self, rights: &Rights) -> Result<Option<Session>> {
        if !self.exists || !rights.is_guarded() {
            return Ok(None);
        }
        Session::open(&self.conninfo, Some(&self.name))
            .await
            .map(Some)
    }

    /// The extensions that the server does not offer, before anything is made.
    pub async fn missing_extensions(&self, metadata: &Metadata) -> Result<Vec<ExtensionFact>> {
        const OFFERED: &str = "SELECT name::text FROM pg_catalog.pg_available_extensions";
        let rows = self.session.client.query_typed(OFFERED, &[]).await?;
        let offered: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        Ok(missing(&metadata.source.extensions, &offered))
    }

    /// Refuses a database of that name which no earlier run has begun.
    async fn look_for_left_over(&self) -> Result<Option<Left>> {
        if !is_there(&self.session, &self.name).await? {
            return Ok(None);
        }
        let mark = progress::mark_of(&self.session, &self.name).await?;
        if matches!(mark, Some(Left::Complete { .. })) {
            return Ok(mark);
        }
        let within = Session::open(&self.conninfo, Some(&self.name)).await?;
        if mark.is_some() {
            ensure_empty(&within, &self.name, &self.role).await?;
            return Ok(mark);
        }
        if let Some(left) = begun_in(&within).await? {
            return Ok(Some(left));
        }
        let message = format!(
            "an earlier restore has left the database \"{}\", or another one is running",
            self.name
        );
        Err(Error::failed(
            message,
            format!("If none is running: {}", drop_statement(&self.name)),
        ))
    }
}

async fn begun_in(session: &Session) -> Result<Option<Left>> {
    let progress = Progress::read(session).await?;
    Ok(progress.map(|progress| Left::Begun(Box::new(progress))))
}

/// Those that are not offered.
fn missing(needed: &[ExtensionFact], offered: &[String]) -> Vec<ExtensionFact> {
    let is_missing = |extension: &&ExtensionFact| {
        extension.name != "pg_incrbackup" && !offered.contains(&extension.name)
    };
    needed.iter().filter(is_missing).cloned().collect()
}

/// Removes a target that is not complete.
pub fn drop_statement(database: &str) -> String {
    let name = ident(database.as_bytes());
    format!("DROP DATABASE {};", String::from_utf8_lossy(&name))
}

/// The database of a connection string.
pub(super) fn name_in(conninfo: &str) -> Result<String> {
    const EXAMPLE: &str = "For example --target \"host=/tmp dbname=shop_restored\".";
    let name = Session::named_database(conninfo)?.unwrap_or_default();
    if name.is_empty() {
        return Err(Error::wrong_use(
            "--target does not name a database (dbname=...)",
            EXAMPLE,
        ));
    }
    if name.len() > LONGEST_NAME {
        let message =
            format!("the name of the target database is longer than {LONGEST_NAME} bytes");
        return Err(Error::wrong_use(message, "PostgreSQL would truncate it."));
    }
    Ok(name)
}

/// A session in the database, or beside it; whether the database exists; where the session is. Whether it exists is asked in
/// the database postgres first: connecting to one that does not exist leaves a FATAL in the server's log, and so does
/// connecting to one where the role may not, which is why template1 is only asked for a database that has to be created.
pub(super) async fn connect(conninfo: &str, name: &str) -> Result<(Session, bool, String)> {
    let (first, second) = ("postgres", "template1");
    let is_refused = match Session::open(conninfo, Some(first)).await {
        Ok(session) if is_there(&session, name).await? => false,
        Ok(session) => return Ok((session, false, first.to_owned())),
        Err(error) if is_same_everywhere(&error) => return Err(error),
        // The role may not connect to it, or pg_hba.conf has another rule for it.
        Err(_) => true,
    };
    let error = match Session::open(conninfo, None).await {
        Ok(session) => return Ok((session, true, name.to_owned())),
        Err(error) => error,
    };
    let is_missing = matches!(&error, Error::Server(error) if error.code() == Some(&SqlState::UNDEFINED_DATABASE));
    if !is_missing || !is_refused {
        return Err(error);
    }
    match Session::open(conninfo, Some(second)).await {
        Ok(session) => Ok((session, false, second.to_owned())),
        Err(refusal) if is_same_everywhere(&refusal) => Err(refusal),
        Err(_) => {
            let hint = "To create it, the program connects to the database postgres or template1; or create an empty one yourself.";
            let message = format!("could not connect: {error}");
            Err(error.with_message(message).with_hint(hint.to_owned()))
        }
    }
}

/// Not about one database: the server cannot be reached, or the password is wrong, which is not sent again and again.
fn is_same_everywhere(error: &Error) -> bool {
    match error {
        Error::Unavailable { .. } => true,
        Error::Server(error) => error.code() == Some(&SqlState::INVALID_PASSWORD),
        _ => false,
    }
}

pub(super) async fn is_there(session: &Session, database: &str) -> Result<bool> {
    let query = "SELECT FROM pg_catalog.pg_database WHERE datname = $1";
    let rows = session
        .client
        .query_typed(query, &[(&database, Type::NAME)])
        .await?;
    Ok(!rows.is_empty())
}

/// What template0 has, and extension plpgsql, is no object of a user.
const OBJECTS: &str = "SELECT count(*) FROM (
    SELECT 'pg_class'::regclass, oid FROM pg_class WHERE relnamespace::regnamespace::text !~ '^pg_'
    UNION ALL SELECT 'pg_namespace'::regclass, oid FROM pg_namespace WHERE nspname !~ '^pg_'
    UNION ALL SELECT 'pg_proc'::regclass, oid FROM pg_proc WHERE pronamespace::regnamespace::text !~ '^pg_temp_'
    UNION ALL SELECT 'pg_type'::regclass, oid FROM pg_type WHERE typnamespace::regnamespace::text !~ '^pg_'
    UNION ALL SELECT 'pg_operator'::regclass, oid FROM pg_operator
    UNION ALL SELECT 'pg_extension'::regclass, oid FROM pg_extension WHERE extname <> 'plpgsql'
    UNION ALL SELECT 'pg_event_trigger'::regclass, oid FROM pg_event_trigger
    UNION ALL SELECT 'pg_publication'::regclass, oid FROM pg_publication
    UNION ALL SELECT 'pg_foreign_data_wrapper'::regclass, oid FROM pg_foreign_data_wrapper
    UNION ALL SELECT 'pg_largeobject_metadata'::regclass, oid FROM pg_largeobject_metadata
) AS present (class, id)
WHERE id >= 16384 AND NOT EXISTS (SELECT FROM pg_depend, pg_extension AS e
    WHERE classid = class AND objid = id AND deptype = 'e' AND refobjid = e.oid AND extname = 'plpgsql')";

/// Extensions that somebody has made for a role that may not, their schemas, and their members with what is part of
/// those (the array of a type, the index of a table).
const NOT_OF_EXTENSIONS: &str = " AND class <> 'pg_extension'::regclass \
    AND (class::oid, id) NOT IN (WITH RECURSIVE of_extensions (class, id) AS (\
        SELECT classid, objid FROM pg_depend WHERE deptype = 'e' \
        UNION SELECT classid, objid FROM pg_depend JOIN of_extensions ON refclassid = class AND refobjid = id \
            WHERE deptype IN ('i', 'a')) SELECT class, id FROM of_extensions) \
    AND NOT (class = 'pg_namespace'::regclass AND id IN (SELECT extnamespace FROM pg_extension))";

pub(super) async fn ensure_empty(session: &Session, name: &str, role: &Role) -> Result<()> {
    let but = if role.is_superuser {
        ""
    } else {
        NOT_OF_EXTENSIONS
    };
    let rows = session
        .client
        .query_typed(&format!("{OBJECTS}{but}"), &[])
        .await?;
    let count: i64 = rows[0].get(0);
    if count == 0 {
        return Ok(());
    }
    let message = format!(
        "the target database \"{name}\" is not empty: it has {}",
        counted(count, "object")
    );
    Err(Error::failed(
        message,
        "Name a database that does not exist (it is created), or an empty one.",
    ))
}

/// A truncated name includes a checksum, so that two of them do not meet.
pub(super) fn name_until_complete(name: &str) -> String {
    const ROOM: usize = LONGEST_NAME - RESTORING.len();
    if name.len() <= ROOM {
        return format!("{name}{RESTORING}");
    }
    // That of restore.sh, which computes it of a line.
    let sum = Sha256::digest(format!("{name}\n"));
    let sum: String = sum
        .iter()
        .take(4)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let kept = &name.as_bytes()[..ROOM - 9];
    let end = kept.iter().rposition(u8::is_ascii).map_or(0, |at| at + 1);
    let kept = String::from_utf8_lossy(&kept[..end]);
    format!("{kept}.{sum}{RESTORING}")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_name_until_complete_is_that_of_restore_sh_and_never_too_long() {
        assert_eq!(name_until_complete("shop"), "shop.restoring");
        assert_eq!(
            name_until_complete(&"a".repeat(53)),
            "a".repeat(53) + ".restoring"
        );
        // echo aaa…(54) | sha256sum | cut -c 1-8
        let long = name_until_complete(&"a".repeat(54));
        assert_eq!(long, "a".repeat(44) + ".6c15ca09.restoring");
        let umlauts = name_until_complete(&"ä".repeat(31));
        assert!(
            umlauts.starts_with('.') && umlauts.ends_with(RESTORING),
            "{umlauts}"
        );
        assert_ne!(long, name_until_complete(&"a".repeat(55)));
        assert_eq!(name_until_complete(&"b".repeat(63)).len(), 63);
    }

    #[test]
    fn a_connection_string_must_name_a_database_that_can_exist() {
        assert_eq!(name_in("host=/tmp dbname='it\\'s'").unwrap(), "it's");
        assert_eq!(
            name_in("postgresql://h/a%20b?connect_timeout=3").unwrap(),
            "a b"
        );
        assert_eq!(name_in("shop").unwrap(), "shop");
        for conninfo in ["host=/tmp", "dbname=''", "", "no=keyword"] {
            assert!(name_in(conninfo).is_err(), "{conninfo}");
        }
        assert!(name_in(&format!("dbname={}", "ä".repeat(32))).is_err());
    }

    #[test]
    fn every_missing_extension_is_named_except_ours() {
        let fact = |name: &str| ExtensionFact {
            name: name.into(),
            version: "1.2".into(),
            schema: "public".into(),
        };
        let needed = ["plpgsql", "pg_incrbackup", "postgis", "hstore"].map(fact);
        let missing = missing(&needed, &["plpgsql".into(), "hstore".into()]);
        let names: Vec<&str> = missing.iter().map(|it| it.name.as_str()).collect();
        assert_eq!(names, ["postgis"]);
    }

    #[test]
    fn the_statement_that_removes_it_quotes_the_name() {
        assert_eq!(drop_statement("a\"; b"), "DROP DATABASE \"a\"\"; b\";");
    }
}
