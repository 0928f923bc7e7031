//! The scratch database, in which a part is restored before it is carried over: one that is created on the target's server
//! and dropped again, or that of `--scratch` ([`named`](super::named)).

use archive::metadata::DatabaseFacts;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{ToSql, Type};

use super::database;
use super::named::Before;
use super::server::{drop_statement, ensure_empty, is_there, name_until_complete, Found};
use crate::connection::Session;
use crate::error::{Error, Result};
use crate::quote::{identifier, literal};

/// The comment on a scratch database; that of `--scratch` has more behind it.
pub(super) const SCRATCH: &str = "scratch database of pg_incrbackup restore: it can be dropped";

/// What initdb makes.
const OF_SERVERS: [&str; 3] = ["postgres", "template0", "template1"];

const COMMENT: &str = "SELECT pg_catalog.shobj_description(oid, 'pg_database') \
    FROM pg_catalog.pg_database WHERE datname = $1";

/// A scratch database while it is used. As long as the session in it is there, no other restore drops or empties it: only
/// who has one ends a scratch database.
pub struct Held {
    pub(super) session: Session,
    /// What is said of that of `--scratch` otherwise; `None`: it is dropped.
    pub(super) before: Option<Before>,
}

impl Held {
    /// In the scratch database; client_encoding is UTF8.
    pub fn session(&self) -> &Session {
        &self.session
    }
}

impl Found {
    /// What the scratch database is called; `named` is `--scratch`.
    pub fn scratch_name(&self, named: Option<&str>) -> String {
        match named {
            Some(name) => name.to_owned(),
            None => name_until_complete(&format!("{}.part", self.final_name)),
        }
    }

    /// Refuses a role that may not create one, before anything is done.
    pub(super) fn ensure_may_have_scratch(&self, named: Option<&str>) -> Result<()> {
        if named == Some(&self.final_name) {
            let message = "--scratch names the target database";
            let hint = "It is another one, empty, in which the part is restored before it is carried over.";
            return Err(Error::wrong_use(message, hint));
        }
        // Others connect to it, and to that of a template nobody can.
        if let Some(name) = named.filter(|name| OF_SERVERS.contains(name)) {
            let message =
                format!("--scratch names the database \"{name}\", which every server has");
            let hint = "Name an empty one of your own: CREATE DATABASE scratch TEMPLATE template0.";
            return Err(Error::wrong_use(message, hint));
        }
        if self.role.is_superuser || self.role.may_create_databases || named.is_some() {
            return Ok(());
        }
        let role = identifier(&self.role.name);
        let message = format!(
            "a part is restored into a scratch database first, and the role {role} may not create one"
        );
        let hint = format!(
            "ALTER ROLE {role} CREATEDB; or let somebody create an empty one, which is used again and again: \
             CREATE DATABASE scratch OWNER {role} TEMPLATE template0; and name it with --scratch."
        );
        Err(Error::failed(message, hint))
    }

    /// The scratch database: created on the same server, or the one of `--scratch`. What a restore has left there which was
    /// killed is removed. After an error it is another restore's.
    pub async fn scratch(
        &self,
        named: Option<&str>,
        facts: &DatabaseFacts,
    ) -> Result<(Found, Held)> {
        let name = self.scratch_name(named);
        if named.is_some() {
            let held = self.named_scratch(&name).await?;
            let (session, beside) = self.another_session().await?;
            return Ok((self.as_scratch(name, session, beside), held));
        }
        let (session, beside) = self.another_session().await?;
        if is_there(&session, &name).await? {
            self.ensure_scratch(&session, &name).await?;
            let dropped = session.statement(drop_statement(&name).as_bytes()).await;
            dropped.map_err(|error| {
                let is_anothers = matches!(&error, Error::Server(error) if error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE));
                if is_anothers {
                    let message = format!("a restore by another role has left the scratch database \"{name}\", or is running");
                    let hint = format!("If none is running, let its owner drop it: {} Nothing was changed.", drop_statement(&name));
                    return Error::failed(message, hint);
                }
                let message = format!("the scratch database \"{name}\" is in use: another restore of a part is running ({error})");
                Error::failed(message, "Wait until it has ended; nothing was changed.")
            })?;
        }
        let created = database::create(&session, &name, facts).await;
        created.map_err(|error| match &error {
            Error::Unavailable { .. } => error,
            _ => error.with_hint(
                "An empty one that you created, with another locale for example, can be named with --scratch."
                    .to_owned(),
            ),
        })?;
        // Recognizable for the restore that finds it left over.
        let unlimited = format!("ALTER DATABASE {} CONNECTION LIMIT -1", identifier(&name));
        session
            .client
            .batch_execute(&format!("{}; {unlimited}", mark(&name, Some(SCRATCH))))
            .await?;
        let held = Held {
            session: Session::open(&self.conninfo, Some(&name)).await?,
            before: None,
        };
        Ok((self.as_scratch(name, session, beside), held))
    }

    /// Where the first one is, which was found: nothing is asked again. And in which database that is.
    async fn another_session(&self) -> Result<(Session, String)> {
        let session = Session::open(&self.conninfo, Some(&self.beside)).await?;
        Ok((session, self.beside.clone()))
    }

    fn as_scratch(&self, name: String, session: Session, beside: String) -> Found {
        Found {
            conninfo: self.conninfo.clone(),
            final_name: name.clone(),
            name,
            exists: true,
            session,
            beside,
            left: None,
            is_scratch: true,
            role: self.role.clone(),
            output: self.output,
        }
    }

    /// Refuses a database of a scratch database's name that is none: it has objects, and is not marked.
    async fn ensure_scratch(&self, session: &Session, name: &str) -> Result<()> {
        let comment = comment(session, name).await?;
        if comment.is_some_and(|comment| comment.starts_with(SCRATCH)) {
            return Ok(());
        }
        let within = Session::open(&self.conninfo, Some(name)).await?;
        if ensure_empty(&within, name, &self.role).await.is_ok() {
            return Ok(());
        }
        let message =
            format!("there is a database \"{name}\", whose name the scratch database needs");
        let hint = format!("If nobody needs it: {}", drop_statement(name));
        Err(Error::failed(message, hint))
    }

    /// It is not needed any more: it is dropped, or the one of `--scratch` emptied.
    pub async fn end_scratch(&self, name: &str, held: Held) -> Result<()> {
        let Held { session, before } = held;
        if let Some(before) = before {
            return self.empty_scratch(name, &session, &before).await;
        }
        drop(session);
        self.drop_database(name).await
    }

    /// Drops a database that this restore has made. Whoever is still leaving it is waited for by the server (FORCE).
    pub async fn drop_database(&self, name: &str) -> Result<()> {
        let server = Session::open(&self.conninfo, Some(&self.beside)).await?;
        let statement = drop_statement(name);
        let statement = statement.trim_end_matches(';');
        let forced = format!("{statement} WITH (FORCE)");
        let dropped = server.statement(forced.as_bytes()).await;
        let is_refused = matches!(&dropped, Err(Error::Server(error)) if error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE));
        if is_refused {
            // An autovacuum worker is there, which only a superuser may end so; without FORCE the server ends it itself.
            server.statement(statement.as_bytes()).await?;
            return Ok(());
        }
        dropped.map(drop)
    }
}

pub(super) async fn comment(session: &Session, name: &str) -> Result<Option<String>> {
    let name_of: [(&(dyn ToSql + Sync), Type); 1] = [(&name, Type::NAME)];
    let rows = session.client.query_typed(COMMENT, &name_of).await?;
    match rows.first() {
        Some(row) => Ok(row.try_get(0)?),
        None => Ok(None),
    }
}

/// The statement that marks a scratch database, or takes the mark away.
pub(super) fn mark(name: &str, comment: Option<&str>) -> String {
    let said = comment.map_or("NULL".to_owned(), |comment| {
        String::from_utf8_lossy(&literal(comment.as_bytes())).into_owned()
    });
    format!("COMMENT ON DATABASE {} IS {said}", identifier(name))
}
