//! The relations of a part in the scratch database, where the catalogs are those of the moment.

use std::collections::{BTreeMap, BTreeSet};

use super::graph;
use super::selection::Selection;
use super::wanted::{Name, Wanted};
use crate::connection::Session;
use crate::error::{Error, Result};

/// A relation of the part.
#[derive(Debug, Clone)]
pub struct Relation {
    pub oid: u32,
    /// pg_class.relkind.
    pub kind: String,
    /// `schema.name` in SQL.
    pub written: String,
    /// Unqualified.
    pub name: String,
    /// The uppermost partitioned table of the part that it is a partition of; else itself.
    pub root: u32,
    /// Its rows go by `root`: they may belong to another partition in the target ([`super::hashed`]).
    pub is_by_root: bool,
}

/// What was chosen.
#[derive(Debug, Default)]
pub struct Chosen {
    pub relations: Vec<Relation>,
    /// OIDs of schemas that are chosen as a whole.
    pub schemas: BTreeSet<u32>,
    /// Relations that a name on the command line means, and that the scratch database does not have.
    pub missing: Vec<Name>,
}

const RELATIONS: &str = "SELECT c.oid, c.relkind::text, pg_catalog.textsend(n.nspname::text), \
        pg_catalog.textsend(c.relname::text) \
    FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace \
    WHERE c.oid >= 16384 AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND c.relpersistence <> 't' \
        AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' \
        AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend WHERE classid = 1259 AND objid = c.oid AND deptype = 'e')";

const SCHEMAS: &str = "SELECT oid, pg_catalog.textsend(nspname::text) FROM pg_catalog.pg_namespace AS n \
    WHERE nspname !~ '^pg_' AND nspname <> 'information_schema' \
        AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend WHERE classid = 2615 AND objid = n.oid AND deptype = 'e')";

const WRITTEN: &str = "SELECT c.oid, pg_catalog.format('%I.%I', n.nspname, c.relname), c.relname::text \
    FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = ANY ($1)";

/// Matches the patterns. The session's client_encoding is the database's; afterwards it is UTF8.
pub async fn find(session: &mut Session, selection: &Selection, wanted: &Wanted) -> Result<Chosen> {
    let rows = session.client.query_typed(RELATIONS, &[]).await?;
    let all: Vec<(u32, String, Name)> = rows
        .iter()
        .map(|row| {
            let name = Name {
                schema: row.try_get(2)?,
                name: row.try_get(3)?,
            };
            Ok((row.try_get(0)?, row.try_get(1)?, name))
        })
        .collect::<Result<_>>()?;
    let mut schemas = BTreeSet::new();
    for row in session.client.query_typed(SCHEMAS, &[]).await? {
        let name: Vec<u8> = row.try_get(1)?;
        if selection.has_schema(&name) {
            schemas.insert(row.try_get(0)?);
        }
    }
    let above = graph::partitions(session).await?;
    let is_chosen = |(oid, _, name): &&(u32, String, Name)| {
        selection.has(name) || is_below(*oid, &above, &all, selection)
    };
    let mut chosen: BTreeMap<u32, &(u32, String, Name)> =
        all.iter().filter(is_chosen).map(|it| (it.0, it)).collect();
    // One whose parent is excluded is a table of its own only if it is named itself.
    chosen.retain(|_, (_, _, name)| !selection.excludes(name));
    for (_, kind, name) in chosen.values() {
        let has_rows = kind == "r";
        if has_rows && !wanted.at_end.contains(name) {
            let name = name.shown();
            let message = format!(
                "table {name} is in the part, but its rows were not followed through the archive"
            );
            let hint = "Report it: this is a bug of pg_incrbackup. Restoring everything does not depend on it.";
            return Err(Error::failed(message, hint));
        }
    }
    let there: BTreeSet<&Name> = all.iter().map(|(_, _, name)| name).collect();
    let missing = wanted.chosen.iter();
    let missing = missing.filter(|name| selection.names(name) && !there.contains(name));
    let missing: Vec<Name> = missing.cloned().collect();
    if chosen.is_empty() && schemas.is_empty() && missing.is_empty() {
        let message = "nothing of the part is there at the requested moment";
        let hint = "Report it: this is a bug of pg_incrbackup. Restoring everything does not depend on it.";
        return Err(Error::failed(message, hint));
    }
    let oids: Vec<u32> = chosen.keys().copied().collect();
    let kinds: BTreeMap<u32, String> = chosen
        .values()
        .map(|(oid, kind, _)| (*oid, kind.clone()))
        .collect();
    session.set_encoding("UTF8").await?;
    let relations = written(session, &oids)
        .await?
        .into_iter()
        .map(|(oid, written, name)| Relation {
            oid,
            kind: kinds[&oid].clone(),
            written,
            name,
            root: root(oid, &above, &kinds),
            is_by_root: false,
        });
    Ok(Chosen {
        relations: relations.collect(),
        schemas,
        missing,
    })
}

/// OID, qualified name in SQL, and unqualified name, by the former.
pub async fn written(session: &Session, oids: &[u32]) -> Result<Vec<(u32, String, String)>> {
    let oids = oids.to_vec();
    let parameters: [(&(dyn tokio_postgres::types::ToSql + Sync), _); 1] =
        [(&oids, tokio_postgres::types::Type::OID_ARRAY)];
    let query = format!("{WRITTEN} ORDER BY 2");
    let rows = session.client.query_typed(&query, &parameters).await?;
    let row = |row: &tokio_postgres::Row| Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?));
    rows.iter().map(row).collect()
}

/// Whether it is a partition, at any depth, of a chosen table.
fn is_below(
    oid: u32,
    above: &BTreeMap<u32, u32>,
    all: &[(u32, String, Name)],
    selection: &Selection,
) -> bool {
    let mut parent = above.get(&oid);
    while let Some(oid) = parent {
        let found = all.iter().find(|it| it.0 == *oid);
        let Some((_, _, name)) = found.filter(|(_, _, name)| !selection.excludes(name)) else {
            return false;
        };
        if selection.has(name) {
            return true;
        }
        parent = above.get(oid);
    }
    false
}

fn root(oid: u32, above: &BTreeMap<u32, u32>, chosen: &BTreeMap<u32, String>) -> u32 {
    let mut root = oid;
    while let Some(parent) = above.get(&root).filter(|oid| chosen.contains_key(oid)) {
        root = *parent;
    }
    root
}
