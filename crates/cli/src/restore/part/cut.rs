//! Cuts the relations of a part off from tables that are not in it, in the scratch database: a restored table must never
//! become a partition, a child or a sequence of a live one, whose queries it would change.

use std::collections::BTreeSet;

use tokio_postgres::types::{ToSql, Type};

use super::chosen::Chosen;
use crate::connection::Session;
use crate::error::{Error, Result};

/// Statements for partitions, children and owned sequences whose table is not in the part, with what is said of each.
const CUTS: &str = "SELECT c.oid, CASE WHEN c.relispartition \
            THEN pg_catalog.format('ALTER TABLE %s DETACH PARTITION %s', p.oid::pg_catalog.regclass, c.oid::pg_catalog.regclass) \
            ELSE pg_catalog.format('ALTER TABLE %s NO INHERIT %s', c.oid::pg_catalog.regclass, p.oid::pg_catalog.regclass) END, \
        pg_catalog.format('%s %s: %2$s is not in the part', CASE WHEN c.relispartition THEN \
            pg_catalog.concat('table ', c.oid::pg_catalog.regclass::text, ' becomes a table of its own, not a partition of') \
            ELSE pg_catalog.concat('table ', c.oid::pg_catalog.regclass::text, ' does not inherit from') END, \
            p.oid::pg_catalog.regclass::text) \
        FROM pg_catalog.pg_inherits AS i JOIN pg_catalog.pg_class AS c ON c.oid = i.inhrelid \
        JOIN pg_catalog.pg_class AS p ON p.oid = i.inhparent \
        WHERE c.oid = ANY ($1) AND p.oid <> ALL ($1) AND c.relkind IN ('r', 'p', 'f') \
    UNION ALL SELECT d.objid, pg_catalog.format('ALTER SEQUENCE %s OWNED BY NONE', d.objid::pg_catalog.regclass), \
        pg_catalog.format('sequence %s belongs to no column: %s is not in the part', d.objid::pg_catalog.regclass, \
            d.refobjid::pg_catalog.regclass) \
        FROM pg_catalog.pg_depend AS d JOIN pg_catalog.pg_class AS s ON s.oid = d.objid AND s.relkind = 'S' \
        WHERE d.classid = 1259 AND d.refclassid = 1259 AND d.deptype = 'a' AND d.objid = ANY ($1) \
            AND d.refobjid <> ALL ($1) \
    ORDER BY 1";

/// Sequences of identity columns cannot be without their table.
const IDENTITIES: &str = "SELECT d.objid, pg_catalog.format('sequence %s: it is that of an identity column of %s, \
        which is not in the part', d.objid::pg_catalog.regclass, d.refobjid::pg_catalog.regclass) \
    FROM pg_catalog.pg_depend AS d JOIN pg_catalog.pg_class AS s ON s.oid = d.objid AND s.relkind = 'S' \
    WHERE d.classid = 1259 AND d.refclassid = 1259 AND d.deptype = 'i' AND d.objid = ANY ($1) AND d.refobjid <> ALL ($1)";

/// Cuts them off; what of it is worth a word.
pub async fn off(session: &Session, chosen: &mut Chosen) -> Result<Vec<String>> {
    let oids: Vec<u32> = chosen.relations.iter().map(|it| it.oid).collect();
    let parameters: [(&(dyn ToSql + Sync), Type); 1] = [(&oids, Type::OID_ARRAY)];
    let client = &session.client;
    let mut words = Vec::new();
    let mut alone = BTreeSet::new();
    for row in client.query_typed(IDENTITIES, &parameters).await? {
        alone.insert(row.try_get::<_, u32>(0)?);
        words.push(row.try_get(1)?);
    }
    chosen.relations.retain(|it| !alone.contains(&it.oid));
    for row in client.query_typed(CUTS, &parameters).await? {
        let (statement, what): (String, String) = (row.try_get(1)?, row.try_get(2)?);
        client
            .batch_execute(&statement)
            .await
            .map_err(|error| Error::failed(format!("{statement}: {}", Error::from(error)), ""))?;
        words.push(what);
    }
    Ok(words)
}
