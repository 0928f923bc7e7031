//! The target of a part, a database that may have objects.

use archive::metadata::DatabaseFacts;

use tokio_postgres::types::{ToSql, Type};

use super::database;
use super::server::{connect, drop_statement, is_there, name_in, name_until_complete, Found};
use crate::connection::Session;
use crate::error::{Error, Result};
use crate::output::Output;
use crate::quote::identifier;
use crate::restore::rights::Role;

/// Where a part goes.
pub struct Place {
    pub session: Session,
    /// The database's name until all is done.
    pub name: String,
    /// It was created.
    is_new: bool,
}

impl Found {
    /// As [`Found::look`], of a database that may have objects. `scratch`: the database of `--scratch`.
    pub async fn look_for_part(
        conninfo: &str,
        scratch: Option<&str>,
        output: &Output,
    ) -> Result<Found> {
        let final_name = name_in(conninfo)?;
        let (session, exists, beside) = connect(conninfo, &final_name).await?;
        let role = Role::of(&session).await?;
        if !exists {
            role.ensure_may_make(&session, &final_name, exists).await?;
        }
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
        let found = Found {
            conninfo: conninfo.to_owned(),
            final_name,
            name,
            exists,
            session,
            beside,
            left: None,
            is_scratch: false,
            role,
            output: *output,
        };
        found.ensure_may_have_scratch(scratch)?;
        Ok(found)
    }

    /// Whether the target is there.
    pub fn exists(&self) -> bool {
        self.exists
    }

    pub fn conninfo(&self) -> &str {
        &self.conninfo
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

    /// Drops roles and tablespaces (of [`super::roles::Made::ids`]) that this restore has made and that nothing uses: what
    /// remains, each as `role x NOLOGIN`.
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
                if kind == "role" && self.role.is_superuser {
                    // One of the source's superusers is none here: what it owns by now needs none.
                    server
                        .statement(format!("ALTER ROLE {name} NOSUPERUSER").as_bytes())
                        .await?;
                }
                kept.push(format!("{kind} {name}{how}"));
            }
        }
        Ok(kept)
    }
}
