//! Reads what is known of roles and tablespaces from the archive.

use std::path::Path;

use archive::storage::{self, Storage};
use archive_query::catalog::Globals;

use super::encoding::encoded;
use super::globals_sql::GlobalsSql;
use super::needs::{renames, Known};
use crate::connection::Session;
use crate::error::{Error, Result};
use crate::restore::plan::Plan;

pub const GLOBALS_SQL: &str = "globals.sql";
pub const DATABASE_SQL: &str = "database.sql";

/// All that is known. `session` is on the server of the target, and its client_encoding is UTF8.
pub async fn known<'a>(
    storage: &dyn Storage,
    plan: &'a Plan,
    with_globals: bool,
    session: &Session,
) -> Result<Known<'a>> {
    let facts = &plan.base.metadata.source;
    let in_encoding = |names| encoded(session, names, &facts.encoding);
    let mut lists = Vec::new();
    let first = match &plan.first_globals {
        Some(set) => &set.facts.roles_by_oid,
        None => &facts.roles_by_oid,
    };
    for list in [first]
        .into_iter()
        .chain(plan.later_globals.iter().map(|set| &set.facts.roles_by_oid))
    {
        lists.push(in_encoding(list).await?);
    }
    let mut of_sets = Vec::new();
    for set in &plan.later_globals {
        of_sets.extend(in_encoding(&set.facts.roles).await?);
    }
    Ok(Known {
        globals: globals(storage, plan, with_globals)?,
        of_base: in_encoding(&facts.roles).await?,
        of_sets,
        of_segments: &plan.needs,
        tablespaces: in_encoding(&facts.tablespaces).await?,
        renames: renames(&lists),
        with_globals,
    })
}

/// globals.sql as of the base, and of the later sets if they are wanted.
fn globals(storage: &dyn Storage, plan: &Plan, with_later: bool) -> Result<Vec<GlobalsSql>> {
    let first = match &plan.first_globals {
        Some(set) => file_of(plan, set, GLOBALS_SQL),
        None => plan
            .chain
            .file(&format!("{}/{GLOBALS_SQL}", plan.base.directory())),
    };
    let mut files = vec![first];
    if with_later {
        files.extend(
            plan.later_globals
                .iter()
                .map(|set| file_of(plan, set, GLOBALS_SQL)),
        );
    }
    let mut all = Vec::new();
    for file in files {
        // A base of a standby, or an incomplete copy, may have none.
        let text = storage::read(storage, &file)?.unwrap_or_default();
        let place = storage.place(&file);
        let torn = |line| {
            Error::from(archive::Error::damaged(
                Path::new(&place),
                0,
                format!("line {line}: it ends within a statement"),
            ))
        };
        all.push(GlobalsSql::parse(&text).map_err(torn)?);
    }
    Ok(all)
}

/// A file of a set of globals.
pub fn file_of(plan: &Plan, set: &Globals, name: &str) -> String {
    plan.chain.file(&format!("{}/{name}", set.directory()))
}
