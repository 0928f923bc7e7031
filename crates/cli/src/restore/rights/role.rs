//! What the role of a target may do there: asked before anything is made.

use tokio_postgres::types::Type;

use crate::connection::Session;
use crate::error::{Error, Result};

/// The role that restores. Names are UTF-8.
#[derive(Debug, Clone, Default)]
pub struct Role {
    pub name: String,
    pub is_superuser: bool,
    pub may_create_roles: bool,
    pub may_create_databases: bool,
    /// It may set session_replication_role, under which triggers and rules do not fire and foreign keys do not check.
    pub may_be_replica: bool,
    /// Roles that it can give objects to and still change them: it can SET ROLE to them, and has their privileges.
    pub gives_to: Vec<String>,
    /// Tablespaces in which it may create something.
    pub tablespaces: Vec<String>,
}

/// has_parameter_privilege came with GRANT SET ON PARAMETER (15); SET as an option of a membership with 16.
const ROLE: &str = "SELECT rolname::text, rolsuper, rolcreaterole, rolcreatedb, \
    pg_catalog.has_parameter_privilege('session_replication_role', 'SET') \
    FROM pg_catalog.pg_roles WHERE rolname = current_user";
const GIVES_TO: &str = "SELECT rolname::text FROM pg_catalog.pg_roles \
    WHERE pg_catalog.pg_has_role(oid, 'USAGE') AND pg_catalog.pg_has_role(oid, $1)";
const TABLESPACES: &str = "SELECT spcname::text FROM pg_catalog.pg_tablespace \
    WHERE pg_catalog.has_tablespace_privilege(oid, 'CREATE')";

/// The privilege of pg_has_role to SET ROLE.
pub fn membership(session: &Session) -> &'static str {
    if session.version >= 160_000 {
        "SET"
    } else {
        "MEMBER"
    }
}

impl Role {
    /// In words.
    pub fn rights(&self) -> &'static str {
        match (self.is_superuser, self.may_be_replica) {
            (true, _) => "a superuser",
            (false, true) => "no superuser, with session_replication_role",
            (false, false) => "no superuser",
        }
    }

    /// The role of a session whose client_encoding is UTF8.
    pub async fn of(session: &Session) -> Result<Role> {
        let client = &session.client;
        let rows = client.query_typed(ROLE, &[]).await?;
        let row = rows
            .first()
            .ok_or_else(|| Error::failed("the role of --target does not exist any more", ""))?;
        let gives_to = client
            .query_typed(GIVES_TO, &[(&membership(session), Type::TEXT)])
            .await?;
        let tablespaces = client.query_typed(TABLESPACES, &[]).await?;
        Ok(Role {
            name: row.get(0),
            is_superuser: row.get(1),
            may_create_roles: row.get(2),
            may_create_databases: row.get(3),
            may_be_replica: row.get(4),
            gives_to: gives_to.iter().map(|row| row.get(0)).collect(),
            tablespaces: tablespaces.iter().map(|row| row.get(0)).collect(),
        })
    }

    /// Refuses a role that cannot make the database `name`, or make something in it if it exists.
    pub async fn ensure_may_make(&self, session: &Session, name: &str, exists: bool) -> Result<()> {
        if self.is_superuser {
            return Ok(());
        }
        let role = &self.name;
        if !exists {
            if self.may_create_databases {
                return Ok(());
            }
            let message = format!("the role \"{role}\" may not create the database \"{name}\"");
            let hint = "Let somebody create it, empty, with this role as its owner: CREATE DATABASE … OWNER … TEMPLATE template0.";
            return Err(Error::failed(message, hint));
        }
        const MAY: &str = "SELECT pg_catalog.pg_has_role(datdba, 'USAGE'), \
            pg_catalog.has_schema_privilege('public', 'CREATE') \
            FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()";
        let rows = session.client.query_typed(MAY, &[]).await?;
        let (is_owner, may_create): (bool, Option<bool>) = (rows[0].get(0), rows[0].get(1));
        if is_owner && may_create != Some(false) {
            return Ok(());
        }
        let (message, hint) = if is_owner {
            (
                format!("the role \"{role}\" may create nothing in the schema public"),
                "Let a superuser run, in this database: GRANT ALL ON SCHEMA public TO that role.",
            )
        } else {
            (
                format!("the role \"{role}\" does not own the database \"{name}\""),
                "A role that is not a superuser restores into a database that it owns: ALTER DATABASE … OWNER TO …",
            )
        };
        Err(Error::failed(message, hint))
    }
}
