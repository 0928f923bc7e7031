//! `--into-schema`: the relations of a part get another schema in the scratch database, before they are read from there.
//!
//! PostgreSQL itself moves them: whatever refers to them in the catalogs (views, keys, defaults, policies, rules, the
//! condition of a trigger) follows. What refers to them by text does not: the body of a function.

use std::collections::BTreeMap;

use effects::key::{catalog, Key};
use tokio_postgres::types::{ToSql, Type};

use super::chosen::{written, Chosen};
use super::graph::{Graph, Members};
use super::wanted::Name;
use crate::connection::Session;
use crate::error::{Error, Result};
use crate::quote::identifier;

/// What the source's own schema of that name is called meanwhile.
const SET_ASIDE: &str = "incr_set_aside";

/// Moves them, and gives them their new names; the OID of the source's own schema of that name.
pub async fn move_all(session: &Session, chosen: &mut Chosen, name: &str) -> Result<Option<u32>> {
    ensure_different(chosen)?;
    let graph = Graph::read(session).await?;
    let schema = identifier(name);
    let client = &session.client;
    const SOURCES: &str = "SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = $1";
    let parameters: [(&(dyn ToSql + Sync), Type); 1] = [(&name, Type::NAME)];
    let rows = client.query_typed(SOURCES, &parameters).await?;
    let sources: Option<u32> = rows.first().map(|row| row.get(0));
    if sources.is_some() {
        // The source has one of this name, which is another.
        client
            .batch_execute(&format!("ALTER SCHEMA {schema} RENAME TO \"{SET_ASIDE}\""))
            .await?;
        let oids: Vec<u32> = chosen.relations.iter().map(|it| it.oid).collect();
        for (oid, present, _) in written(session, &oids).await? {
            let moved = chosen.relations.iter_mut().filter(|it| it.oid == oid);
            moved.for_each(|it| it.written.clone_from(&present));
        }
    }
    client
        .batch_execute(&format!("CREATE SCHEMA {schema}"))
        .await?;
    let of_table = |oid: u32| {
        let key = Key::new(catalog::CLASS, oid);
        graph.is_sequence(key) && graph.is_owned(key)
    };
    for relation in &chosen.relations {
        if !of_table(relation.oid) {
            let name = &relation.written;
            let moved = client
                .batch_execute(&format!("ALTER TABLE {name} SET SCHEMA {schema}"))
                .await;
            moved.map_err(|error| {
                let error = Error::from(error);
                let message = format!("{name} could not be put into schema {schema}: {error}");
                Error::failed(message, "Nothing was changed in the target.")
            })?;
        }
    }
    // Extended statistics stay where they were.
    let oids: Vec<u32> = chosen.relations.iter().map(|it| it.oid).collect();
    let parameters: [(&(dyn ToSql + Sync), Type); 1] = [(&oids, Type::OID_ARRAY)];
    let statistics =
        "SELECT pg_catalog.format('ALTER STATISTICS %I.%I SET SCHEMA ', n.nspname, s.stxname) \
        FROM pg_catalog.pg_statistic_ext AS s JOIN pg_catalog.pg_namespace AS n ON n.oid = s.stxnamespace \
        WHERE s.stxrelid = ANY ($1)";
    for row in client.query_typed(statistics, &parameters).await? {
        let alter: String = row.try_get(0)?;
        client.batch_execute(&format!("{alter}{schema}")).await?;
    }
    let names: BTreeMap<u32, (String, String)> = written(session, &oids)
        .await?
        .into_iter()
        .map(|(oid, written, name)| (oid, (written, name)))
        .collect();
    for relation in &mut chosen.relations {
        if let Some((written, _)) = names.get(&relation.oid) {
            relation.written.clone_from(written);
        }
    }
    Ok(sources)
}

/// Two of one name from two schemas cannot be in one: asked before anything is restored, by the names at the moment.
pub fn ensure_names_differ<'n>(names: impl Iterator<Item = &'n Name>) -> Result<()> {
    let mut seen: BTreeMap<&[u8], &Name> = BTreeMap::new();
    for name in names {
        if let Some(other) = seen.insert(&name.name, name) {
            return Err(both(&other.shown(), &name.shown()));
        }
    }
    Ok(())
}

fn both(one: &str, other: &str) -> Error {
    let message = format!("{one} and {other} cannot both be in the schema of --into-schema");
    let hint = "Restore them one after the other, each into a schema of its own.";
    Error::wrong_use(message, hint)
}

fn ensure_different(chosen: &Chosen) -> Result<()> {
    let mut seen: BTreeMap<&str, &str> = BTreeMap::new();
    for relation in &chosen.relations {
        if let Some(other) = seen.insert(&relation.name, &relation.written) {
            return Err(both(other, &relation.written));
        }
    }
    Ok(())
}

/// Refuses functions whose text names a relation that was moved: the copy would use the live one.
pub async fn ensure_not_mentioned(
    session: &Session,
    members: &Members,
    chosen: &Chosen,
) -> Result<()> {
    let of_functions = |key: &&Key| key.class == catalog::PROC;
    let oids: Vec<u32> = members
        .others
        .iter()
        .filter(of_functions)
        .map(|key| key.oid)
        .collect();
    let query =
        "SELECT p.oid::pg_catalog.regprocedure::text, p.prosrc FROM pg_catalog.pg_proc AS p \
        JOIN pg_catalog.pg_language AS l ON l.oid = p.prolang \
        WHERE p.oid = ANY ($1) AND l.lanname NOT IN ('c', 'internal') AND p.prosqlbody IS NULL";
    let parameters: [(&(dyn ToSql + Sync), Type); 1] = [(&oids, Type::OID_ARRAY)];
    let mut found = Vec::new();
    for row in session.client.query_typed(query, &parameters).await? {
        let (function, text): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        let named = chosen
            .relations
            .iter()
            .filter(|it| mentions(&text, &it.name));
        let named: Vec<&str> = named.map(|it| &it.name[..]).collect();
        if !named.is_empty() {
            found.push(format!("{function} mentions {}", named.join(", ")));
        }
    }
    if found.is_empty() {
        return Ok(());
    }
    let message = format!(
        "--into-schema cannot move what functions name in their text: {}",
        found.join("; ")
    );
    let hint = "Nothing was changed in the target. --section pre-data --section data restores without triggers; into \
                another database, without --into-schema, the part keeps its names.";
    Err(Error::failed(message, hint))
}

/// Whether a text has a name as a word.
fn mentions(text: &str, name: &str) -> bool {
    let (text, name) = (text.to_lowercase(), name.to_lowercase());
    let is_of_word = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
    text.match_indices(&name).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + name.len()..].chars().next();
        !before.is_some_and(is_of_word) && !after.is_some_and(is_of_word)
    })
}

#[cfg(test)]
mod tests {
    use super::mentions;

    #[test]
    fn a_name_is_mentioned_as_a_word() {
        assert!(mentions("UPDATE public.Orders SET a = 1", "orders"));
        assert!(mentions("EXECUTE 'SELECT FROM \"Odd Name\"'", "Odd Name"));
        for text in ["reorders", "orders_old", "my_orders", "orders2"] {
            assert!(!mentions(text, "orders"), "{text}");
        }
    }
}
