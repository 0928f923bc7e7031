//! The target of a part, a database that may have objects; and the scratch database, in which the part is restored before
//! it is carried over.

use archive::metadata::DatabaseFacts;

use tokio_postgres::types::{ToSql, Type};

use super::database;
use super::server::{
    connect, drop_statement, ensure_empty, ensure_superuser, is_there, name_in,
    name_until_complete, Found,
};
use crate::connection::Session;
use crate::error::{Error, Result};
use crate::output::Output;
use crate::quote::{identifier, literal};
use crate::restore::rights::Role;

/// The comment on a scratch database.
const SCRATCH: &str = "scratch database of pg_incrbackup restore: it can be dropped";

/// Where a part goes.
pub struct Place {
    pub session: Session,
    /// The database's name until all is done.
    pub name: String,
    /// It was created.
    is_new: bool,
}

impl Found {
    /// As [`Found::look`], of a database that may have objects.
    pub async fn look_for_part(conninfo: &str, output: &Output) -> Result<Found> {
        let final_name = name_in(conninfo)?;
        let (session, exists, beside) = connect(conninfo, &final_name).await?;
        let role = Role::of(&session).await?;
        ensure_superuser(&role)?;
        let name = if exists {
            final_name.clone()
        } else {
            name_until_complete(&final_name)
        };
        if !exists && is_there(&session, &name).await? {
            let message = format!(
                "an earlier restore has left the database \"{name}\", or another one is running"
            );
            let hint = format!("If none is running: {}", drop_statement(&name));
            return Err(Error::failed(message, hint));
        }
        Ok(Found {
            conninfo: conninfo.to_owned(),
            final_name,
            name,
            exists,
            session,
            beside,
            left: None,
            role,
            output: *output,
        })
    }

    /// Whether the target is there.
    pub fn exists(&self) -> bool {
        self.exists
    }

    pub fn conninfo(&self) -> &str {
        &self.conninfo
    }

    /// Creates a scratch database on the same server. One that a restore has left which was killed is dropped.
    pub async fn scratch(&self, facts: &DatabaseFacts) -> Result<Found> {
        let name = self.scratch_name();
        let (session, _, beside) = connect(&self.conninfo, &self.final_name).await?;
        let role = self.role.clone();
        if is_there(&session, &name).await? {
            self.ensure_scratch(&session, &name).await?;
            let dropped = session.statement(drop_statement(&name).as_bytes()).await;
            dropped.map_err(|error| {
                let message = format!("the scratch database \"{name}\" is in use: another restore of a part is running ({error})");
                Error::failed(message, "Wait until it has ended; nothing was changed.")
            })?;
        }
        database::create(&session, &name, facts).await?;
        // Recognizable for the restore that finds it left over.
        let mark = String::from_utf8_lossy(&literal(SCRATCH.as_bytes())).into_owned();
        let quoted = identifier(&name);
        let comment = format!(
            "COMMENT ON DATABASE {quoted} IS {mark}; ALTER DATABASE {quoted} CONNECTION LIMIT -1"
        );
        session.client.batch_execute(&comment).await?;
        Ok(Found {
            conninfo: self.conninfo.clone(),
            final_name: name.clone(),
            name,
            exists: true,
            session,
            beside,
            left: None,
            role,
            output: self.output,
        })
    }

    /// Refuses a database of a scratch database's name that is none: it has objects, and is not marked.
    async fn ensure_scratch(&self, session: &Session, name: &str) -> Result<()> {
        const COMMENT: &str = "SELECT pg_catalog.shobj_description(oid, 'pg_database') \
            FROM pg_catalog.pg_database WHERE datname = $1";
        let name_of: [(&(dyn ToSql + Sync), Type); 1] = [(&name, Type::NAME)];
        let rows = session.client.query_typed(COMMENT, &name_of).await?;
        let comment: Option<String> = match rows.first() {
            Some(row) => row.try_get(0)?,
            None => None,
        };
        if comment.as_deref() == Some(SCRATCH) {
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

    /// What the scratch database is called.
    pub fn scratch_name(&self) -> String {
        name_until_complete(&format!("{}.part", self.final_name))
    }

    /// Opens the target, which is created if it does not exist.
    pub async fn open_for_part(&self, facts: &DatabaseFacts) -> Result<Place> {
        if !self.exists {
            database::create(&self.session, &self.name, facts).await?;
            // It is not one in which a restore goes on.
            let unlimited = format!(
                "ALTER DATABASE {} CONNECTION LIMIT -1",
                identifier(&self.name)
            );
            self.session.client.batch_execute(&unlimited).await?;
        }
        Ok(Place {
            session: Session::open(&self.conninfo, Some(&self.name)).await?,
            name: self.name.clone(),
            is_new: !self.exists,
        })
    }

    /// All is done: a new database gets its name.
    pub async fn keep(&self, place: Place) -> Result<()> {
        drop(place.session);
        if place.is_new {
            let server = Session::open(&self.conninfo, Some(&self.beside)).await?;
            database::rename(&server, &self.name, &self.final_name).await?;
        }
        Ok(())
    }

    /// It failed: a new database goes again.
    pub async fn give_up(&self, place: Place) -> Result<()> {
        drop(place.session);
        if place.is_new {
            self.drop_database(&self.name).await?;
        }
        Ok(())
    }

    /// Drops a database that this restore has made. Whoever is still leaving it is waited for by the server (FORCE).
    pub async fn drop_database(&self, name: &str) -> Result<()> {
        let server = Session::open(&self.conninfo, Some(&self.beside)).await?;
        let statement = drop_statement(name);
        let statement = statement.trim_end_matches(';');
        let forced = format!("{statement} WITH (FORCE)");
        server.statement(forced.as_bytes()).await?;
        Ok(())
    }

    /// Drops roles and tablespaces (of [`super::roles::Made::ids`]) that this restore has made and that nothing uses: what
    /// remains, in words.
    pub async fn drop_unused(&self, ids: &[String]) -> Result<Vec<String>> {
        const NAMES: &str = "SELECT 'role', pg_catalog.quote_ident(rolname) FROM pg_catalog.pg_roles \
                WHERE pg_catalog.concat('r', oid) = ANY ($1) \
            UNION ALL SELECT 'tablespace', pg_catalog.quote_ident(spcname) FROM pg_catalog.pg_tablespace \
                WHERE pg_catalog.concat('t', oid) = ANY ($1) ORDER BY 1 DESC, 2";
        let server = Session::open(&self.conninfo, Some(&self.beside)).await?;
        let ids = ids.to_vec();
        let parameters: [(&(dyn ToSql + Sync), Type); 1] = [(&ids, Type::TEXT_ARRAY)];
        let mut kept = Vec::new();
        for row in server.client.query_typed(NAMES, &parameters).await? {
            let (kind, name): (String, String) = (row.try_get(0)?, row.try_get(1)?);
            let dropped = server
                .statement(format!("DROP {kind} {name}").as_bytes())
                .await;
            if dropped.is_err() {
                let how = if kind == "role" { " NOLOGIN" } else { "" };
                if kind == "role" {
                    // One of the source's superusers is none here: what it owns by now needs none.
                    server
                        .statement(format!("ALTER ROLE {name} NOSUPERUSER").as_bytes())
                        .await?;
                }
                kept.push(format!("created {kind} {name}{how}, which the part needs"));
            }
        }
        Ok(kept)
    }
}
