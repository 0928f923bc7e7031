//! Runs the queries of the crate `effects` under the current catalog snapshot.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::time::Duration;

use effects::common::read::{columns_under, needs as needs_of, needs_of_columns, relation, schema};
use effects::key::{catalog, FIRST_NORMAL_OID};
use effects::states::PORTION;
use effects::{Key, Source, Tuples};
use rustc_hash::FxHashMap;

use crate::passing::raise_if_passing;
use crate::pg::effects::changed_rows::ChangedRows;
use crate::pg::effects::lives::Lives;
use crate::pg::effects::look::{is_about_locks, PATIENCE};
use crate::pg::effects::{query, tuples};
use crate::pg::failure::Failure;

/// Reads the objects. A failure that is not caused by the objects (a lock that could not be acquired) ends
/// the decoding, which is retried.
pub struct Catalogs<'a> {
    pub known: Option<Known<'a>>,
}

/// What is known without a query, at the current command counter.
#[derive(Clone, Copy)]
pub struct Known<'a> {
    pub lives: &'a Lives,
    pub rows: &'a ChangedRows,
    pub command: u32,
}

impl Source for Catalogs<'_> {
    type Error = String;

    fn read(&mut self, query: &'static str, oids: &[u32]) -> Result<Vec<(u32, String)>, String> {
        let mut rows = Vec::new();
        for portion in oids.chunks(PORTION) {
            let patience = patience(oids.len());
            let read = query::read(query, portion, patience);
            rows.extend(read.map_err(|failure| told(&failure, oids.len()))?);
        }
        Ok(rows)
    }

    fn with_tuples<R>(
        &mut self,
        objects: usize,
        look: impl FnMut(&mut dyn Tuples) -> Result<R, String>,
    ) -> Result<R, String> {
        let known = self.known.map(|known| (known.rows, known.command));
        let found = tuples::with_tuples(known, patience(objects), look);
        found.map_err(|failure| told(&failure, objects))
    }

    fn kind(&self, key: Key) -> Option<char> {
        let known = self.known?;
        known.lives.kind(key, known.command)
    }
}

/// How long to wait for locks when reading this many objects at once. If not all can be acquired, all are
/// released, and then each object is read separately.
fn patience(objects: usize) -> Duration {
    match objects {
        0 | 1 => PATIENCE,
        _ => Duration::from_secs(1),
    }
}

/// Describes a failure; ends the decoding if it is not caused by the objects, so that reading them one by one
/// would not help.
fn told(failure: &Failure, objects: usize) -> String {
    if objects < 2 || !is_about_locks(failure) {
        raise_if_passing(failure);
    }
    failure.in_full()
}

/// A view's rule represents the view. Objects with parts are kept without these: a table without a default or
/// a column, a domain without its default, a publication without a table.
const OURS: &str = "WITH RECURSIVE o (class, oid) AS ( \
     SELECT m.classid, m.objid FROM pg_catalog.pg_extension e JOIN pg_catalog.pg_depend m \
       ON m.refclassid = 3079 AND m.refobjid = e.oid AND m.deptype = 'e' \
     WHERE e.extname = 'pg_incrbackup' AND $1 IS NOT NULL \
     UNION SELECT d.* FROM o, LATERAL ( \
       SELECT x.classid, x.objid FROM pg_catalog.pg_depend x \
         LEFT JOIN pg_catalog.pg_class c ON x.classid = 1259 AND c.oid = x.objid AND c.relkind IN ('r', 'p', 'f') \
         LEFT JOIN pg_catalog.pg_type t ON x.classid = 1247 AND t.oid = x.objid AND t.typtype = 'd' \
       WHERE x.refclassid = o.class AND x.refobjid = o.oid AND x.deptype IN ('n', 'a', 'i') \
         AND x.classid NOT IN (2604, 6104, 6106) AND (t.oid IS NULL OR o.class = 1247) \
         AND (c.oid IS NULL OR o.class = 1259 AND x.objsubid = 0) \
       UNION ALL SELECT x.refclassid, x.refobjid FROM pg_catalog.pg_depend x \
       WHERE x.classid = o.class AND x.objid = o.oid AND x.deptype = 'i' AND o.class = 2618) d) \
     SELECT o.oid, o.class::pg_catalog.text FROM o";

/// Those of `keys` that are temporary, or are dropped with temporary objects.
pub fn temporary(
    keys: impl Iterator<Item = Key>,
    known: Known<'_>,
) -> Result<HashSet<Key>, String> {
    let keys: Vec<Key> = keys.filter(is_users).collect();
    if keys.is_empty() {
        return Ok(HashSet::new());
    }
    Catalogs { known: Some(known) }.with_tuples(1, |tuples| {
        let mut needs = FxHashMap::default();
        let mut found = HashSet::new();
        for key in &keys {
            if is_temporary(tuples, *key, &mut needs)? {
                found.insert(*key);
            }
        }
        Ok(found)
    })
}

/// The numbers of these tables' columns that depend on temporary objects: a restore omits them.
pub fn columns_left_out(
    tables: &HashSet<u32>,
    known: Known<'_>,
) -> Result<HashMap<u32, Vec<i32>>, String> {
    if tables.is_empty() {
        return Ok(HashMap::new());
    }
    Catalogs { known: Some(known) }.with_tuples(1, |tuples| {
        let mut needs = FxHashMap::default();
        let mut found = HashMap::new();
        for table in tables {
            let columns: &mut Vec<i32> = found.entry(*table).or_default();
            for (column, need) in needs_of_columns(tuples, *table)? {
                if is_users(&need) && is_temporary(tuples, need, &mut needs)? {
                    columns.push(column);
                }
            }
        }
        Ok(found)
    })
}

/// Those of these objects that depend on one of these columns, each with its table.
pub fn over_columns(
    over: &[(Key, u32, Vec<i32>)],
    known: Known<'_>,
) -> Result<HashSet<Key>, String> {
    if over.is_empty() {
        return Ok(HashSet::new());
    }
    Catalogs { known: Some(known) }.with_tuples(1, |tuples| {
        let mut found = HashSet::new();
        for (key, table, columns) in over {
            let under = columns_under(tuples, *key, *table)?;
            if under.iter().any(|column| columns.contains(column)) {
                found.insert(*key);
            }
        }
        Ok(found)
    })
}

pub fn is_users(key: &Key) -> bool {
    key.oid >= FIRST_NORMAL_OID
}

/// True if one of its dependencies, direct or indirect, is temporary. `needs` are those that are already
/// known.
fn is_temporary(
    tuples: &mut dyn Tuples,
    key: Key,
    needs: &mut FxHashMap<Key, Vec<Key>>,
) -> Result<bool, String> {
    let (mut waiting, mut seen) = (vec![key], HashSet::from([key]));
    while let Some(key) = waiting.pop() {
        let is_it = match key.class {
            catalog::CLASS => {
                relation(tuples, key.oid)?.is_some_and(|found| found.relpersistence == "t")
            }
            catalog::NAMESPACE => {
                schema(tuples, key.oid)?.is_some_and(|name| name.starts_with("pg_temp_"))
            }
            _ => false,
        };
        if is_it {
            return Ok(true);
        }
        let its = match needs.entry(key) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(needs_of(tuples, key)?),
        };
        let users = its.iter().filter(|need| is_users(need));
        waiting.extend(users.filter(|need| seen.insert(**need)));
    }
    Ok(false)
}

/// The objects of this extension, and those that depend on them.
pub fn ours() -> Result<HashSet<Key>, String> {
    // Any OID will do: the query needs one.
    keys_of(OURS, &[0])
}

/// Objects that are kept without their default, or their column, because a function or a type that it uses
/// depends on this extension's own: tables and domains.
const WITH_PARTS: &str = "WITH RECURSIVE o (class, oid) AS ( \
     SELECT x.refclassid, x.refobjid FROM pg_catalog.pg_depend x WHERE x.refobjid = ANY ($1) \
     UNION SELECT x.classid, x.objid FROM o JOIN pg_catalog.pg_depend x ON x.refclassid = o.class AND x.refobjid = o.oid \
       LEFT JOIN pg_catalog.pg_class c ON x.classid = 1259 AND c.oid = x.objid AND c.relkind IN ('r', 'p', 'f') \
     WHERE x.deptype IN ('n', 'a', 'i') AND c.oid IS NULL) \
     SELECT d.adrelid, '1259 ' || d.adrelid::pg_catalog.regclass FROM o JOIN pg_catalog.pg_attrdef d ON o.class = 2604 AND d.oid = o.oid \
     UNION SELECT t.oid, '1247 ' || pg_catalog.format_type(t.oid, NULL) FROM o JOIN pg_catalog.pg_type t ON o.class = 1247 AND t.oid = o.oid AND t.typtype = 'd'";

/// Tables and domains that have parts which depend on these objects, directly or indirectly, with their
/// names.
pub fn with_parts_over<'a>(
    keys: impl Iterator<Item = &'a Key>,
) -> Result<Vec<(Key, String)>, String> {
    let oids: Vec<u32> = keys.map(|key| key.oid).collect();
    named(WITH_PARTS, &oids)
}

const NAMES: &str = "SELECT x.objid, x.classid || ' ' || coalesce(o.identity, '') \
     FROM (SELECT DISTINCT classid, objid FROM pg_catalog.pg_depend WHERE objid = ANY ($1)) x, \
     pg_catalog.pg_identify_object(x.classid, x.objid, 0) o";

/// These objects, with their names.
pub fn names_of(keys: &[Key]) -> Result<Vec<(Key, String)>, String> {
    let oids: Vec<u32> = keys.iter().map(|key| key.oid).collect();
    let mut names = if oids.is_empty() {
        Vec::new()
    } else {
        named(NAMES, &oids)?
    };
    names.retain(|(key, _)| keys.contains(key));
    for key in keys {
        if names.iter().all(|(named, _)| named != key) {
            names.push((*key, String::new()));
        }
    }
    Ok(names)
}

fn named(query: &'static str, oids: &[u32]) -> Result<Vec<(Key, String)>, String> {
    let rows = Catalogs { known: None }.read(query, oids)?;
    let whole = |(oid, text): (u32, String)| {
        let (class, name) = text.split_once(' ')?;
        Some((Key::new(class.parse().ok()?, oid), name.to_owned()))
    };
    Ok(rows.into_iter().filter_map(whole).collect())
}

fn keys_of(query: &'static str, oids: &[u32]) -> Result<HashSet<Key>, String> {
    let rows = Catalogs { known: None }.read(query, oids)?;
    let key = |(oid, class): (u32, String)| Some(Key::new(class.parse().ok()?, oid));
    Ok(rows.into_iter().filter_map(key).collect())
}
