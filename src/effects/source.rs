//! The queries of the crate `effects`, run under the catalogs in force.

use effects::Source;

use crate::output_plugin::raise_if_passing;
use crate::pg::effects::query;

/// Reads them. A failure that says nothing about the objects (a lock that was not to be had) ends the
/// decoding, which is tried again.
pub struct Catalogs;

impl Source for Catalogs {
    type Error = String;

    fn read(&mut self, query: &'static str, oids: &[u32]) -> Result<Vec<(u32, String)>, String> {
        query::read(query, oids).map_err(|failure| {
            raise_if_passing(&failure);
            failure.in_full()
        })
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
