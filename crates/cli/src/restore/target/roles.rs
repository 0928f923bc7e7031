//! Makes the roles and tablespaces that are missing.
//!
//! Without `--globals` a role cannot log in: it is there to own and to be granted something. Nothing that exists is
//! changed.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use tokio_postgres::types::Type;

use super::needs::{Known, Role, Tablespace};
use crate::connection::{Raw, Session};
use crate::error::{Error, Result};
use crate::quote::{array, ident, shown};
use crate::restore::rights::Rights;

/// What was made, and what was there.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Made {
    /// `r` and the OID of each role, `t` and that of each tablespace.
    pub ids: Vec<String>,
    /// With `--globals`: roles of the source that this restore makes, now or later.
    pub roles: Vec<Vec<u8>>,
    /// With `--globals`: roles of the source that exist, and are left as they are.
    pub kept: Vec<Vec<u8>>,
    /// Sentences for the user.
    pub notes: Vec<String>,
    /// Tablespaces that were missing, which an earlier run may have made.
    pub missing_spaces: Vec<Vec<u8>>,
}

/// Makes roles, within a transaction. The session's client_encoding is that of the names.
pub async fn make(session: &Session, known: &Known<'_>, rights: &Rights) -> Result<Made> {
    let mut made = Made::default();
    let there: BTreeSet<Vec<u8>> = names(
        session,
        "SELECT pg_catalog.textsend(rolname::text) FROM pg_catalog.pg_roles",
    )
    .await?;
    if known.with_globals {
        let of_cluster = known.of_cluster();
        made.kept = of_cluster.intersection(&there).cloned().collect();
        made.roles = of_cluster.difference(&there).cloned().collect();
    }
    let mut new = BTreeSet::new();
    let missing = known.roles().into_iter();
    let mut missing: Vec<Role> = missing
        .filter(|role| !there.contains(&role.name) && rights.is_made(&role.name))
        .collect();
    if rights.is_limited() && !rights.role.may_create_roles {
        missing
            .iter()
            .for_each(|role| made.notes.push(not_made(&role.name)));
        missing.clear();
    }
    for role in missing {
        // Only a superuser makes others.
        let is_superuser = role.is_superuser && !rights.is_limited();
        let superuser = if is_superuser { " SUPERUSER" } else { "" };
        let create = [
            b"CREATE ROLE ",
            &ident(&role.name)[..],
            b" NOLOGIN",
            superuser.as_bytes(),
        ];
        let created = session.statement(&create.concat()).await;
        created.map_err(|error| cannot("role", &role.name, error))?;
        made.notes.push(format!(
            "created role \"{}\" NOLOGIN{superuser}",
            shown(&role.name)
        ));
        if rights.is_limited() {
            rights.join(session, &role.name).await?;
        }
        new.insert(role.name);
    }
    for (role, member) in known.members(&new) {
        let grant = [b"GRANT ", &ident(&role)[..], b" TO ", &ident(&member)].concat();
        session.statement(&grant).await?;
    }
    let ids = "SELECT concat('r', oid) FROM pg_catalog.pg_roles WHERE rolname = ANY ($1)";
    made.ids = ids_of(session, ids, new.into_iter().collect()).await?;
    let there = names(session, SPACES).await?;
    let spaces = known.spaces().into_iter().map(|space| space.name);
    made.missing_spaces = spaces.filter(|name| !there.contains(name)).collect();
    Ok(made)
}

const SPACES: &str = "SELECT pg_catalog.textsend(spcname::text) FROM pg_catalog.pg_tablespace";

/// Makes tablespaces, not within a transaction. May be done again.
pub async fn make_spaces(
    session: &Session,
    known: &Known<'_>,
    mut made: Made,
    rights: &Rights,
) -> Result<Made> {
    if rights.is_limited() || rights.wanted.no_tablespaces {
        return Ok(made);
    }
    let new = make_tablespaces(session, known, &made.missing_spaces, &mut made.notes).await?;
    let ids = "SELECT concat('t', oid) FROM pg_catalog.pg_tablespace WHERE spcname = ANY ($1)";
    made.ids.extend(ids_of(session, ids, new).await?);
    Ok(made)
}

fn not_made(role: &[u8]) -> String {
    format!(
        "the role \"{}\" is not there, and the role of --target may not create roles: what the source gives to it is left out",
        shown(role)
    )
}

/// Missing tablespaces are made inside the data directory: their locations belong to the machine of the source. (With
/// `--globals` they are made at the location of the source, if possible.)
async fn make_tablespaces(
    session: &Session,
    known: &Known<'_>,
    missing: &[Vec<u8>],
    notes: &mut Vec<String>,
) -> Result<Vec<Vec<u8>>> {
    let there = names(session, SPACES).await?;
    let mut new = Vec::new();
    for space in known.spaces() {
        // One that is the result of a rename is made by that, unless the other one existed before.
        let is_made_later = space
            .renamed_from
            .as_ref()
            .is_some_and(|from| !there.contains(from) || missing.contains(from));
        if there.contains(&space.name) || is_made_later {
            if there.contains(&space.name) && missing.contains(&space.name) {
                new.push(space.name);
            }
            continue;
        }
        let place = make_tablespace(session, &space).await?;
        notes.push(format!(
            "created tablespace \"{}\" {place}",
            shown(&space.name)
        ));
        new.push(space.name);
    }
    Ok(new)
}

async fn make_tablespace(session: &Session, space: &Tablespace) -> Result<String> {
    let create = |location: &[u8]| {
        [
            b"CREATE TABLESPACE ",
            &ident(&space.name)[..],
            b" LOCATION ",
            location,
        ]
        .concat()
    };
    let absolute = space
        .location
        .as_deref()
        .filter(|location| location.starts_with(b"'/"));
    if let Some(location) = absolute {
        if session.statement(&create(location)).await.is_ok() {
            return Ok(format!("at {}", shown(location)));
        }
    }
    let set = "SET allow_in_place_tablespaces = on";
    session.client.batch_execute(set).await?;
    let created = session.statement(&create(b"''")).await;
    created.map_err(|error| cannot("tablespace", &space.name, error))?;
    Ok("inside the data directory".to_owned())
}

fn cannot(what: &str, name: &[u8], error: Error) -> Error {
    let message = format!("could not create the {what} \"{}\": {error}", shown(name));
    error.with_message(message)
}

/// textsend sends the bytes in client_encoding.
async fn names(session: &Session, query: &str) -> Result<BTreeSet<Vec<u8>>> {
    let rows = session.client.query_typed(query, &[]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

async fn ids_of(session: &Session, query: &str, names: Vec<Vec<u8>>) -> Result<Vec<String>> {
    let names = array(&names);
    let names = (
        &Raw(&names) as &(dyn tokio_postgres::types::ToSql + Sync),
        Type::NAME_ARRAY,
    );
    let rows = session.client.query_typed(query, &[names]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}
