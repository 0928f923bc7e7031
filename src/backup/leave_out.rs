//! What a base leaves out: this extension, and what could not be there without it.
//!
//! A restored database has neither the extension nor its tables. `CREATE VIEW backup_health AS SELECT level
//! FROM incr_slot_health()` would stop every restore; so it goes too, with what hangs on it, and
//! `left-out.sql` keeps the definitions. What all of this is, PostgreSQL's own dependencies say: whatever
//! DROP EXTENSION … CASCADE would drop. (A function whose body is text has none, and restores as it is.)

use archive::dump::{Gone, Member};
use pgrx::prelude::*;

use crate::pg::failure::Failure;

/// A dependent of a dependent goes as well; one that is part of another object, as a view's rule is, takes
/// that one along (PostgreSQL's findDependentObjects).
const GONE: &str = "WITH RECURSIVE gone (class, id) AS ( \
      SELECT 'pg_catalog.pg_extension'::pg_catalog.regclass::pg_catalog.oid, oid \
        FROM pg_catalog.pg_extension WHERE extname = 'pg_incrbackup' \
      UNION SELECT next.class, next.id FROM gone CROSS JOIN LATERAL ( \
        SELECT d.classid, d.objid FROM pg_catalog.pg_depend d \
          WHERE d.refclassid = gone.class AND d.refobjid = gone.id \
        UNION ALL SELECT d.refclassid, d.refobjid FROM pg_catalog.pg_depend d \
          WHERE d.classid = gone.class AND d.objid = gone.id AND d.deptype = 'i' \
      ) AS next (class, id)) \
    SELECT gone.class, gone.id, pg_catalog.convert_to(coalesce(o.type || ' ' || o.identity, \
        gone.class || '/' || gone.id), 'UTF8'), \
      gone.class = 'pg_catalog.pg_extension'::pg_catalog.regclass AND EXISTS (SELECT \
        FROM pg_catalog.pg_extension e WHERE e.oid = gone.id AND e.extname = 'pg_incrbackup') \
    FROM gone, pg_catalog.pg_identify_object(gone.class, gone.id, 0) AS o";

const MEMBERS: &str = "SELECT pg_catalog.convert_to(n.nspname::text, pg_catalog.getdatabaseencoding()), \
      m.kind, pg_catalog.convert_to(m.name::text, pg_catalog.getdatabaseencoding()) \
    FROM pg_catalog.pg_extension e JOIN pg_catalog.pg_depend d ON d.refobjid = e.oid \
        AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.deptype = 'e' \
      JOIN (SELECT 'pg_catalog.pg_proc'::pg_catalog.regclass, oid, 'FUNCTION', pronamespace, proname \
          FROM pg_catalog.pg_proc \
        UNION ALL SELECT 'pg_catalog.pg_class'::pg_catalog.regclass, oid, \
          CASE relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, relnamespace, relname \
          FROM pg_catalog.pg_class) AS m (class, id, kind, namespace, name) \
        ON m.class = d.classid AND m.id = d.objid \
      JOIN pg_catalog.pg_namespace n ON n.oid = m.namespace \
    WHERE e.extname = 'pg_incrbackup'";

/// Reads it from the catalogs. Needs a transaction.
pub fn collect() -> Result<Gone, Failure> {
    let mut gone = Gone::default();
    Spi::connect(|client| {
        for row in client.select(GONE, None, &[])? {
            let class = row.get::<pg_sys::Oid>(1)?.unwrap_or_default().to_u32();
            let id = row.get::<pg_sys::Oid>(2)?.unwrap_or_default().to_u32();
            let name = row.get::<Vec<u8>>(3)?.unwrap_or_default();
            if row.get::<bool>(4)? == Some(true) {
                gone.extension = Some((class, id));
            }
            let name = String::from_utf8_lossy(&name).into_owned();
            gone.objects.insert((class, id), name);
        }
        for row in client.select(MEMBERS, None, &[])? {
            gone.members.push(Member {
                schema: row.get(1)?.unwrap_or_default(),
                kind: match row.get::<&str>(2)?.unwrap_or_default() {
                    "FUNCTION" => "FUNCTION",
                    "SEQUENCE" => "SEQUENCE",
                    _ => "TABLE",
                },
                name: row.get(3)?.unwrap_or_default(),
            });
        }
        Ok::<_, pgrx::spi::Error>(())
    })?;
    Ok(gone)
}
