//! What of a part is in the target already.

use archive::counted;
use std::collections::{BTreeMap, BTreeSet};

use effects::key::{catalog, Key};
use tokio_postgres::types::{ToSql, Type};

use super::addresses::{self, Address};
use super::chosen::Relation;
use super::graph::{Graph, Members, PUBLIC};
use crate::connection::Session;
use crate::error::{Error, Result};

/// Of what is needed: what the target has under the same name, and is used as it is.
#[derive(Debug, Default)]
pub struct Existing {
    pub keys: BTreeSet<Key>,
    /// Those that are objects of their own, with their OIDs in the target.
    pub there: BTreeMap<Key, u32>,
    /// In words; only what is worth one.
    pub words: Vec<String>,
    /// Extensions to make: name, schema.
    pub extensions: Vec<(String, String)>,
}

/// Kinds that are parts of others: they are there if those are.
const OF_OTHERS: [u32; 6] = [
    catalog::ATTRDEF,
    catalog::REWRITE,
    catalog::CONSTRAINT,
    2602,
    2603,
    catalog::TRIGGER,
];

impl Existing {
    /// Looks in the target for what is needed in the scratch database. Both sessions' client_encoding is UTF8. `None`: a new
    /// database, in which there is what template0 has.
    pub async fn find(
        scratch: &Session,
        target: Option<&Session>,
        graph: &Graph,
        members: &Members,
    ) -> Result<Existing> {
        let mut existing = Existing::default();
        let Some(target) = target else {
            existing.keys.insert(PUBLIC);
            existing.find_extensions(scratch, None, members).await?;
            return Ok(existing);
        };
        let is_whole = |key: &&Key| !OF_OTHERS.contains(&key.class);
        let wholes: Vec<Key> = members.others.iter().filter(is_whole).copied().collect();
        let wanted = addresses::of(scratch, &wholes).await?;
        for (place, oid) in addresses::there(target, &wanted).await? {
            let Address { key, what, .. } = &wanted[place];
            existing.there.insert(*key, oid);
            existing.keys.insert(*key);
            let is_row_type = key.class == catalog::TYPE && graph.whole_of(*key).is_some();
            if !is_row_type && !WITHOUT_A_WORD.contains(&what.as_str()) && !what.ends_with("[]") {
                existing.words.push(what.clone());
            }
        }
        existing.words.sort();
        // Whatever is not there of an object that is used as it is: nothing is added to it.
        let is_part = |key: &&Key| {
            let whole = graph.whole_of(**key);
            whole.is_some_and(|whole| existing.keys.contains(&whole))
        };
        let parts: Vec<Key> = members.others.iter().filter(is_part).copied().collect();
        existing.keys.extend(parts);
        existing
            .find_extensions(scratch, Some(target), members)
            .await?;
        Ok(existing)
    }

    async fn find_extensions(
        &mut self,
        scratch: &Session,
        target: Option<&Session>,
        members: &Members,
    ) -> Result<()> {
        const THERE: &str = "SELECT FROM pg_catalog.pg_extension WHERE extname = $1";
        const NAMES: &str = "SELECT extname::text, nspname::text FROM pg_catalog.pg_extension AS e \
            JOIN pg_catalog.pg_namespace AS n ON n.oid = extnamespace WHERE e.oid = ANY ($1) ORDER BY e.oid";
        let oids: Vec<u32> = members.extensions.iter().copied().collect();
        let parameters: [(&(dyn ToSql + Sync), Type); 1] = [(&oids, Type::OID_ARRAY)];
        for row in scratch.client.query_typed(NAMES, &parameters).await? {
            let (name, schema): (String, String) = (row.try_get(0)?, row.try_get(1)?);
            let parameters: [(&(dyn ToSql + Sync), Type); 1] = [(&name, Type::NAME)];
            let is_there = match target {
                Some(target) => {
                    let there = target.client.query_typed(THERE, &parameters).await?;
                    !there.is_empty()
                }
                None => name == "plpgsql",
            };
            if !is_there {
                self.extensions.push((name, schema));
            } else {
                self.words.push(format!("extension {name}"));
            }
        }
        Ok(())
    }

    pub fn has(&self, key: Key) -> bool {
        self.keys.contains(&key)
    }
}

/// Every database has it.
const WITHOUT_A_WORD: [&str; 1] = ["schema public"];

/// Relations of these names in the target, as they are written.
pub async fn relations(target: &Session, names: &[String]) -> Result<Vec<String>> {
    let names = names.to_vec();
    let parameters: [(&(dyn ToSql + Sync), Type); 1] = [(&names, Type::TEXT_ARRAY)];
    let query =
        "SELECT n FROM pg_catalog.unnest($1) AS n WHERE pg_catalog.to_regclass(n) IS NOT NULL";
    let rows = target.client.query_typed(query, &parameters).await?;
    rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

/// Refuses relations that are there.
pub async fn ensure_free(target: &Session, names: &[String]) -> Result<()> {
    let names = names.to_vec();
    let parameters: [(&(dyn ToSql + Sync), Type); 1] = [(&names, Type::TEXT_ARRAY)];
    let query = "SELECT pg_catalog.format('%I.%I', n.nspname, c.relname) FROM pg_catalog.unnest($1) AS name \
        JOIN pg_catalog.pg_class AS c ON c.oid = pg_catalog.to_regclass(name) \
        JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace ORDER BY 1";
    let rows = target.client.query_typed(query, &parameters).await?;
    let there = rows.iter().map(|row| Ok(row.try_get(0)?));
    let there: Vec<String> = there.collect::<Result<_>>()?;
    if there.is_empty() {
        return Ok(());
    }
    let message = format!("the target has {} already", there.join(", "));
    let hint = "Nothing was changed. --into-schema NAME puts the part into a schema of its own, beside it; --data-only \
                adds its rows to what is there.";
    Err(Error::failed(message, hint))
}

/// Refuses relations that are not there, for the sections that need them.
pub async fn ensure_there(
    target: &Session,
    relations_of_part: &[Relation],
    with_post_data: bool,
) -> Result<()> {
    let is_needed = |relation: &&Relation| match relation.kind.as_str() {
        "r" | "p" => true,
        "S" => false,
        _ => with_post_data,
    };
    let tables = relations_of_part.iter().filter(is_needed);
    let names: Vec<String> = tables.map(|it| it.written.clone()).collect();
    ensure_tables(target, &names).await
}

/// Refuses a target without these tables, before anything is restored.
pub async fn ensure_tables(target: &Session, names: &[String]) -> Result<()> {
    let there = relations(target, names).await?;
    let missing = names.iter().filter(|name| !there.contains(name));
    let missing: Vec<&str> = missing.map(String::as_str).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let message = format!("the target does not have {}", missing.join(", "));
    let hint = "Nothing was changed. Rows, indexes and constraints alone need the tables: --section pre-data makes them.";
    Err(Error::failed(message, hint))
}

/// Refuses a partition or a child that is only needed, if the target has its table and not itself: made there, it would be
/// one of a live table.
pub async fn ensure_not_below_live(
    scratch: &Session,
    target: &Session,
    needed: &[u32],
) -> Result<()> {
    const BELOW: &str = "SELECT pg_catalog.format('%I.%I', cn.nspname, c.relname), \
            pg_catalog.format('%I.%I', pn.nspname, p.relname) \
        FROM pg_catalog.pg_inherits AS i JOIN pg_catalog.pg_class AS c ON c.oid = i.inhrelid \
        JOIN pg_catalog.pg_namespace AS cn ON cn.oid = c.relnamespace \
        JOIN pg_catalog.pg_class AS p ON p.oid = i.inhparent \
        JOIN pg_catalog.pg_namespace AS pn ON pn.oid = p.relnamespace \
        WHERE c.oid = ANY ($1) AND c.relkind IN ('r', 'p', 'f') ORDER BY 1";
    let needed = needed.to_vec();
    let parameters: [(&(dyn ToSql + Sync), Type); 1] = [(&needed, Type::OID_ARRAY)];
    for row in scratch.client.query_typed(BELOW, &parameters).await? {
        let (child, parent): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        let names = [child.clone(), parent.clone()];
        let there = relations(target, &names).await?;
        if there.contains(&parent) && !there.contains(&child) {
            let message = format!(
                "the part needs {child}, which the target does not have, and has {parent}, of which it is a part"
            );
            let hint = format!(
                "With --table '{child}' it comes as a table of its own. Nothing was changed."
            );
            return Err(Error::failed(message, hint));
        }
    }
    Ok(())
}

/// Refuses a schema that has something in it.
pub async fn ensure_empty_schema(target: &Session, schema: &str) -> Result<()> {
    let query = "SELECT count(*) FROM pg_catalog.pg_depend AS d JOIN pg_catalog.pg_namespace AS n ON n.oid = d.refobjid \
        WHERE d.refclassid = 2615 AND d.deptype = 'n' AND n.nspname = $1";
    let parameters: [(&(dyn ToSql + Sync), Type); 1] = [(&schema, Type::NAME)];
    let rows = target.client.query_typed(query, &parameters).await?;
    let count: i64 = rows[0].try_get(0)?;
    if count == 0 {
        return Ok(());
    }
    let message = format!(
        "the schema \"{schema}\" of --into-schema has {} in the target",
        counted(count, "object")
    );
    Err(Error::wrong_use(
        message,
        "Name one that does not exist, or is empty.",
    ))
}
