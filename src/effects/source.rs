//! The queries of the crate `effects`, run under the catalogs in force.

use std::collections::HashSet;

use effects::{Key, Source};
use rustc_hash::FxHashSet;

use crate::output_plugin::raise_if_passing;
use crate::pg::effects::query;

/// Objects that are read at once. Functions that give a definition lock its table: the lock table has room
/// for max_locks_per_transaction (64) times max_connections (100) of them, for all sessions.
const PORTION: usize = 500;

/// Reads them. A failure that says nothing about the objects (a lock that was not to be had) ends the
/// decoding, which is tried again.
pub struct Catalogs;

impl Source for Catalogs {
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
}

/// `$1` is any OID: the query has to have one.
const DEFAULT_GRANTEES: &str = "SELECT pg_catalog.min(d.oid), CASE a.grantee WHEN 0 THEN 'PUBLIC' \
     ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(a.grantee)) END::pg_catalog.text \
     FROM pg_catalog.pg_default_acl d, pg_catalog.aclexplode(d.defaclacl) a \
     WHERE $1 IS NOT NULL GROUP BY 2";

/// Roles to which default privileges give anything, quoted.
pub fn default_grantees() -> Vec<String> {
    let rows = Catalogs.read(DEFAULT_GRANTEES, &[0]).unwrap_or_default();
    rows.into_iter().map(|(_, role)| role).collect()
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

/// What belongs to this extension, or is over what does.
pub fn ours() -> HashSet<Key> {
    let rows = Catalogs.read(OURS, &[0]).unwrap_or_default();
    let key = |(oid, class): (u32, String)| Some(Key::new(class.parse().ok()?, oid));
    rows.into_iter().filter_map(key).collect()
}

/// Objects of these OIDs that are in a session's own schema, or need what is.
const TEMPORARY: &str = "WITH RECURSIVE up (root_class, root, class, oid) AS ( \
     SELECT 2615::oid, n.oid, 2615::oid, n.oid FROM pg_catalog.pg_namespace n WHERE n.oid = ANY ($1) \
     UNION SELECT d.classid, d.objid, d.refclassid, d.refobjid FROM pg_catalog.pg_depend d \
     WHERE d.classid = ANY (ARRAY[1247, 1255, 1259, 2601, 2605, 2606, 2607, 2612, 2616, 2617, 2753, 3456, 3600, \
       3601, 3602, 3764]::pg_catalog.oid[]) AND d.objid = ANY ($1) AND d.deptype IN ('n', 'a', 'i') \
     UNION SELECT up.root_class, up.root, d.refclassid, d.refobjid FROM up \
     JOIN pg_catalog.pg_depend d ON d.classid = up.class AND d.objid = up.oid \
     WHERE d.deptype IN ('n', 'a', 'i') AND up.class <> 2615) \
     SELECT up.root, up.root_class::pg_catalog.text FROM up \
     JOIN pg_catalog.pg_namespace n ON up.class = 2615 AND n.oid = up.oid AND n.nspname ~ '^pg_temp_'";

/// Those of these objects that go with a session.
pub fn temporary(keys: &FxHashSet<Key>) -> HashSet<Key> {
    let mut oids: Vec<u32> = keys.iter().map(|key| key.oid).collect();
    oids.sort_unstable();
    oids.dedup();
    let rows = Catalogs.read(TEMPORARY, &oids).unwrap_or_default();
    let key = |(oid, class): (u32, String)| Some(Key::new(class.parse().ok()?, oid));
    rows.into_iter().filter_map(key).collect()
}
