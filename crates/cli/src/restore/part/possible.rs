//! What can be refused before anything is made: by the names at the moment, and by what the target has.

use super::options::{Options, Section};
use super::permitted::{self, Named};
use super::wanted::Name;
use super::{existing, moved};
use crate::error::{Error, Result};
use crate::quote::{ident, identifier};
use crate::restore::plan::Plan;
use crate::restore::target::Found;

/// Refuses what the target has already, and what the role may not do there.
pub async fn ensure_possible(found: &Found, plan: &Plan, options: &Options) -> Result<()> {
    if !found.exists() {
        let needs_tables = !options.has(Section::PreData);
        if needs_tables {
            let message = format!(
                "the target database \"{}\" does not exist",
                found.final_name()
            );
            return Err(Error::wrong_use(
                message,
                "Rows, indexes and constraints alone need a database with the tables.",
            ));
        }
        return Ok(());
    }
    let session = found.session();
    let schema = options.into_schema.as_deref();
    let names = plan.part.iter().flat_map(|part| &part.chosen);
    let tables = plan.part.iter().flat_map(|part| &part.tables);
    if schema.is_some() {
        moved::ensure_names_differ(names.clone())?;
    }
    if !found.role.is_superuser {
        let named = Named {
            schemas: &schemas(names.clone(), schema),
            tables: &written(tables.clone(), schema),
        };
        permitted::ensure_at_first(session, &found.role, &named, options).await?;
    }
    if let (Some(schema), true) = (schema, options.has(Section::PreData)) {
        return existing::ensure_empty_schema(session, schema).await;
    }
    // Names of other encodings are looked for when the scratch database has converted them.
    let names = written(names, schema);
    if options.has(Section::PreData) {
        return existing::ensure_free(session, &names).await;
    }
    existing::ensure_tables(session, &written(tables, schema)).await
}

/// Names as SQL has them, in the schema of `--into-schema` if that is given.
fn written<'n>(names: impl Iterator<Item = &'n Name>, schema: Option<&str>) -> Vec<String> {
    names
        .filter_map(|name| {
            let quoted = match schema {
                Some(schema) => [identifier(schema).as_bytes(), b".", &ident(&name.name)].concat(),
                None => [&ident(&name.schema)[..], b".", &ident(&name.name)].concat(),
            };
            String::from_utf8(quoted).ok()
        })
        .collect()
}

/// The schemas of the relations, not quoted.
fn schemas<'n>(names: impl Iterator<Item = &'n Name>, schema: Option<&str>) -> Vec<String> {
    if let Some(schema) = schema {
        return vec![schema.to_owned()];
    }
    let mut found: Vec<String> = names
        .filter_map(|name| String::from_utf8(name.schema.clone()).ok())
        .collect();
    found.sort();
    found.dedup();
    found
}
