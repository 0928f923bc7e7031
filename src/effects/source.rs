//! The queries of the crate `effects`, run under the catalogs in force.

use std::collections::HashSet;

use effects::{Key, Source};

use crate::output_plugin::raise_if_passing;
use crate::pg::effects::lives::Lives;
use crate::pg::effects::query;

/// Objects that are read at once. Functions that give a definition lock its table: the lock table has room
/// for max_locks_per_transaction (64) times max_connections (100) of them, for all sessions.
const PORTION: usize = 500;

/// Reads them. A failure that says nothing about the objects (a lock that was not to be had) ends the
/// decoding, which is tried again.
pub struct Catalogs<'a> {
    /// What is known without a query, at the command counter in force.
    pub known: Option<(&'a Lives, u32)>,
}

impl Source for Catalogs<'_> {
    type Error = String;

    fn read(&mut self, query: &'static str, oids: &[u32]) -> Result<Vec<(u32, String)>, String> {
        let mut rows = Vec::new();
        for portion in oids.chunks(PORTION) {
            let read = query::read(query, portion).map_err(|failure| {
                raise_if_passing(&failure);
                failure.in_full()
            });
            rows.extend(read?);
        }
        Ok(rows)
    }

    fn kind(&self, key: Key) -> Option<char> {
        let (lives, command) = self.known?;
        lives.kind(key, command)
    }
}

/// Defaults, view rules and tables of publications stand for what they are a part of.
const OURS: &str = "WITH RECURSIVE o (class, oid) AS ( \
     SELECT m.classid, m.objid FROM pg_catalog.pg_extension e JOIN pg_catalog.pg_depend m \
       ON m.refclassid = 3079 AND m.refobjid = e.oid AND m.deptype = 'e' \
     WHERE e.extname = 'pg_incrbackup' AND $1 IS NOT NULL \
     UNION SELECT d.* FROM o, LATERAL ( \
       SELECT x.classid, x.objid FROM pg_catalog.pg_depend x \
       WHERE x.refclassid = o.class AND x.refobjid = o.oid AND x.deptype IN ('n', 'a', 'i') \
       UNION ALL SELECT x.refclassid, x.refobjid FROM pg_catalog.pg_depend x \
       WHERE x.classid = o.class AND x.objid = o.oid AND x.deptype IN ('a', 'i') \
       AND o.class IN (2604, 2618, 6106)) d) \
     SELECT o.oid, o.class::pg_catalog.text FROM o";

/// `$1` holds pairs, a catalog and an object in it. Those of them that are temporary, or go with what is.
/// A table stays where a column goes, and with it what hangs on the table (objsubid).
/// OFFSET 0 keeps the planner from reading all of pg_depend and looking each row up in what it has so far.
const TEMPORARY: &str = "WITH RECURSIVE n (of_class, of_oid, class, oid) AS ( \
     SELECT ($1)[i], ($1)[i + 1], ($1)[i], ($1)[i + 1] \
     FROM pg_catalog.generate_series(1, pg_catalog.array_length($1, 1), 2) i \
     UNION SELECT n.of_class, n.of_oid, d.refclassid, d.refobjid FROM n, LATERAL ( \
       SELECT x.refclassid, x.refobjid FROM pg_catalog.pg_depend x \
       WHERE x.classid = n.class AND x.objid = n.oid AND (x.classid <> 1259 OR x.objsubid = 0) \
       AND x.deptype IN ('n', 'a', 'i', 'P', 'S') AND x.refobjid >= 16384 OFFSET 0) d) \
     SELECT DISTINCT n.of_oid, n.of_class::pg_catalog.text FROM n WHERE \
     n.class = 1259 AND EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid = n.oid AND c.relpersistence = 't') \
     OR n.class = 2615 AND EXISTS (SELECT FROM pg_catalog.pg_namespace s WHERE s.oid = n.oid \
       AND s.nspname LIKE 'pg\\_temp\\_%')";

/// Objects below it are PostgreSQL's own.
const FIRST_NORMAL_OID: u32 = 16384;

/// Those of `keys` that are temporary, or go with what is.
pub fn temporary(keys: impl Iterator<Item = Key>) -> Result<HashSet<Key>, String> {
    let pairs: Vec<u32> = keys
        .filter(|key| key.oid >= FIRST_NORMAL_OID)
        .flat_map(|key| [key.class, key.oid])
        .collect();
    keys_of(TEMPORARY, &pairs)
}

/// What belongs to this extension, or is over what does.
pub fn ours() -> Result<HashSet<Key>, String> {
    // It is any OID: the query has to have one.
    keys_of(OURS, &[0])
}

fn keys_of(query: &'static str, oids: &[u32]) -> Result<HashSet<Key>, String> {
    let rows = Catalogs { known: None }.read(query, oids)?;
    let key = |(oid, class): (u32, String)| Some(Key::new(class.parse().ok()?, oid));
    Ok(rows.into_iter().filter_map(key).collect())
}
