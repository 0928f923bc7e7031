//! The scratch database, in which a part is restored before it is carried over: one that is created on the target's server
//! and dropped again, or an empty one of the role's, which is empty again in the end.

use archive::metadata::DatabaseFacts;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{ToSql, Type};

use super::database;
use super::server::{connect, drop_statement, ensure_empty, is_there, name_until_complete, Found};
use crate::connection::Session;
use crate::error::{Error, Result};
use crate::quote::{identifier, literal};
use crate::restore::progress;

/// The comment on a scratch database.
const SCRATCH: &str = "scratch database of pg_incrbackup restore: it can be dropped";

const COMMENT: &str = "SELECT pg_catalog.shobj_description(oid, 'pg_database') \
    FROM pg_catalog.pg_database WHERE datname = $1";

/// What is in a database beside what an extension of somebody else has there, as statements that drop it. What goes with
/// another object of the list may be gone when its turn comes.
const CONTENTS: &str = "WITH others AS (SELECT oid FROM pg_catalog.pg_extension \
        WHERE NOT pg_catalog.pg_has_role(extowner, 'USAGE') OR extname = 'plpgsql') \
    SELECT pg_catalog.format('DROP EXTENSION IF EXISTS %I CASCADE', extname) FROM pg_catalog.pg_extension \
        WHERE oid NOT IN (SELECT oid FROM others) \
    UNION ALL SELECT pg_catalog.format('DROP SCHEMA IF EXISTS %I CASCADE', nspname) FROM pg_catalog.pg_namespace AS n \
        WHERE nspname !~ '^pg_' AND nspname NOT IN ('public', 'information_schema') \
            AND NOT EXISTS (SELECT FROM pg_catalog.pg_extension WHERE extnamespace = n.oid) \
    UNION ALL SELECT pg_catalog.format('DROP %s IF EXISTS %s CASCADE', \
            CASE i.type WHEN 'statistics object' THEN 'STATISTICS' ELSE pg_catalog.upper(i.type) END, i.identity) \
        FROM pg_catalog.pg_depend AS d, LATERAL pg_catalog.pg_identify_object(d.classid, d.objid, 0) AS i \
        WHERE d.refclassid = 'pg_catalog.pg_namespace'::pg_catalog.regclass AND d.deptype = 'n' AND i.identity IS NOT NULL \
            AND d.refobjid IN (SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = 'public' \
                UNION ALL SELECT extnamespace FROM pg_catalog.pg_extension WHERE extname <> 'plpgsql') \
            AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend AS m \
                WHERE m.classid = d.classid AND m.objid = d.objid AND m.deptype = 'e') \
    UNION ALL SELECT pg_catalog.format('DROP SERVER IF EXISTS %I CASCADE', srvname) FROM pg_catalog.pg_foreign_server \
    UNION ALL SELECT pg_catalog.format('DROP FOREIGN DATA WRAPPER IF EXISTS %I CASCADE', fdwname) FROM pg_catalog.pg_foreign_data_wrapper AS w \
        WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_depend \
            WHERE classid = 'pg_catalog.pg_foreign_data_wrapper'::pg_catalog.regclass AND objid = w.oid AND deptype = 'e')";

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
    /// killed is removed.
    pub async fn scratch(&self, named: Option<&str>, facts: &DatabaseFacts) -> Result<Found> {
        let name = self.scratch_name(named);
        if named.is_some() {
            return self.named_scratch(name).await;
        }
        let (session, _, beside) = connect(&self.conninfo, &self.final_name).await?;
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
        Ok(self.as_scratch(name, session, beside))
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
            role: self.role.clone(),
            output: self.output,
        }
    }

    /// An empty database of the role's.
    async fn named_scratch(&self, name: String) -> Result<Found> {
        let within = Session::open(&self.conninfo, Some(&name)).await;
        let within = within.map_err(|error| match &error {
            Error::Server(server) if server.code() == Some(&SqlState::UNDEFINED_DATABASE) => {
                let message = format!("the database \"{name}\" of --scratch does not exist");
                let hint = "Name an empty one that the role owns; without --scratch one is created and dropped again.";
                Error::failed(message, hint)
            }
            _ => error,
        })?;
        self.role.ensure_may_make(&within, &name, true).await?;
        self.ensure_own_scratch(&within, &name).await?;
        progress::lock(&within, &name).await?;
        if comment(&within, &name).await?.as_deref() == Some(SCRATCH) {
            empty(&within).await?;
        }
        ensure_empty(&within, &name, &self.role).await?;
        within
            .client
            .batch_execute(&mark(&name, Some(SCRATCH)))
            .await?;
        // Its lock goes with it: the restore takes its own.
        drop(within);
        let (session, _, beside) = connect(&self.conninfo, &self.final_name).await?;
        Ok(self.as_scratch(name, session, beside))
    }

    /// Who owns a database can replace what a superuser is about to call there.
    async fn ensure_own_scratch(&self, within: &Session, name: &str) -> Result<()> {
        const IS_SUPERUSERS: &str = "SELECT r.rolsuper FROM pg_catalog.pg_database AS d \
            JOIN pg_catalog.pg_roles AS r ON r.oid = d.datdba WHERE d.datname = pg_catalog.current_database()";
        let rows = within.client.query_typed(IS_SUPERUSERS, &[]).await?;
        let is_superusers: bool = rows[0].try_get(0)?;
        if is_superusers || !self.role.is_superuser {
            return Ok(());
        }
        let message = format!("the database \"{name}\" of --scratch belongs to a role that is no superuser, and code that it put there would run as one");
        let hint = "Restore as that role; or leave --scratch out: a superuser creates one. Nothing was changed.";
        Err(Error::failed(message, hint))
    }

    /// Refuses a database of a scratch database's name that is none: it has objects, and is not marked.
    async fn ensure_scratch(&self, session: &Session, name: &str) -> Result<()> {
        if comment(session, name).await?.as_deref() == Some(SCRATCH) {
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
    pub async fn end_scratch(&self, named: Option<&str>) -> Result<()> {
        let name = self.scratch_name(named);
        if named.is_none() {
            return self.drop_database(&name).await;
        }
        let within = Session::open(&self.conninfo, Some(&name)).await?;
        empty(&within).await?;
        let left = ensure_empty(&within, &name, &self.role).await;
        left.map_err(|error| {
            let message = format!("the scratch database \"{name}\" could not be emptied: {error}");
            Error::failed(
                message,
                format!("It can be dropped: {}", drop_statement(&name)),
            )
        })?;
        Ok(within.client.batch_execute(&mark(&name, None)).await?)
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

async fn comment(session: &Session, name: &str) -> Result<Option<String>> {
    let name_of: [(&(dyn ToSql + Sync), Type); 1] = [(&name, Type::NAME)];
    let rows = session.client.query_typed(COMMENT, &name_of).await?;
    match rows.first() {
        Some(row) => Ok(row.try_get(0)?),
        None => Ok(None),
    }
}

/// The statement that marks a scratch database, or takes the mark away.
fn mark(name: &str, comment: Option<&str>) -> String {
    let said = comment.map_or("NULL".to_owned(), |comment| {
        String::from_utf8_lossy(&literal(comment.as_bytes())).into_owned()
    });
    format!("COMMENT ON DATABASE {} IS {said}", identifier(name))
}

/// Drops what is in a scratch database.
async fn empty(session: &Session) -> Result<()> {
    let mut last = usize::MAX;
    loop {
        let rows = session.client.query_typed(CONTENTS, &[]).await?;
        // Something that cannot be dropped stays; who asks whether it is empty says so.
        if rows.is_empty() || rows.len() >= last {
            return Ok(());
        }
        last = rows.len();
        for row in &rows {
            let statement: String = row.try_get(0)?;
            // It may have gone with another.
            let _ = session.client.batch_execute(&statement).await;
        }
    }
}
