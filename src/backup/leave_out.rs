//! What a base leaves out: this extension, and the objects that depend on it.
//!
//! A restored database contains neither the extension nor its tables. `CREATE VIEW backup_health AS SELECT
//! level FROM incr_slot_health()` would make every restore fail; so it is left out too, with the objects that
//! depend on it, and `left-out.sql` keeps the definitions. This follows PostgreSQL's own dependencies:
//! everything that DROP EXTENSION … CASCADE would drop, except tables of which only a column depends on it.
//! (A function whose body is a string has no such dependency, and is restored as it is.)

use archive::dump::{Gone, Member, Part};
use pgrx::prelude::*;

use crate::pg::failure::Failure;

/// A dependent of a dependent is left out as well; one that is part of another object, like a view's rule,
/// takes that object along (PostgreSQL's findDependentObjects).
///
/// A table is only left out with a type or a table of the extension itself, never with a column, a partition
/// key or another's type: whoever may change a function or a domain must not be able to remove somebody
/// else's rows from bases. Nor is a domain left out because of a function in its default.
macro_rules! gone {
    ($query:literal) => {
        concat!(
            "WITH RECURSIVE ours (id) AS (SELECT oid FROM pg_catalog.pg_extension WHERE extname = 'pg_incrbackup'), \
    own_types (id) AS (SELECT pg_catalog.unnest(ARRAY[t.oid, t.typarray]) FROM ours \
      JOIN pg_catalog.pg_depend m ON m.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass \
        AND m.refobjid = ours.id AND m.deptype = 'e' AND m.classid = 'pg_catalog.pg_class'::pg_catalog.regclass \
      JOIN pg_catalog.pg_type t ON t.typrelid = m.objid), \
    gone (class, id) AS ( \
      SELECT 'pg_catalog.pg_extension'::pg_catalog.regclass::pg_catalog.oid, id FROM ours \
      UNION SELECT next.class, next.id FROM gone CROSS JOIN LATERAL ( \
        SELECT d.classid, d.objid FROM pg_catalog.pg_depend d \
          LEFT JOIN pg_catalog.pg_class c ON d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass \
            AND c.oid = d.objid AND c.relkind IN ('r', 'p', 'f') \
          LEFT JOIN pg_catalog.pg_type t ON d.classid = 'pg_catalog.pg_type'::pg_catalog.regclass \
            AND t.oid = d.objid AND t.typtype = 'd' \
          WHERE d.refclassid = gone.class AND d.refobjid = gone.id \
            AND (c.oid IS NULL OR d.deptype = 'e' OR gone.class = 'pg_catalog.pg_type'::pg_catalog.regclass \
                AND gone.id IN (SELECT id FROM own_types) \
              OR gone.class = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objsubid = 0) \
            AND (t.oid IS NULL OR gone.class <> 'pg_catalog.pg_proc'::pg_catalog.regclass) \
        UNION ALL SELECT d.refclassid, d.refobjid FROM pg_catalog.pg_depend d \
          WHERE d.classid = gone.class AND d.objid = gone.id AND d.deptype = 'i' AND d.refobjsubid = 0 \
      ) AS next (class, id)) ",
            $query
        )
    };
}

const GONE: &str = gone!(
    "SELECT gone.class, gone.id, pg_catalog.convert_to(coalesce(o.type || ' ' || o.identity, \
        gone.class || '/' || gone.id), 'UTF8'), \
      gone.class = 'pg_catalog.pg_extension'::pg_catalog.regclass AND EXISTS (SELECT \
        FROM pg_catalog.pg_extension e WHERE e.oid = gone.id AND e.extname = 'pg_incrbackup') \
    FROM gone, pg_catalog.pg_identify_object(gone.class, gone.id, 0) AS o"
);

/// Defaults and checks that are parts of a table or domain which is kept: pg_dump includes them in its
/// definition.
const PARTS: &str = gone!(
    "SELECT part.class, part.id, pg_catalog.convert_to(CASE part.class \
        WHEN 'pg_catalog.pg_type'::pg_catalog.regclass THEN 'default value for domain' ELSE o.type END \
        || ' ' || o.identity, 'UTF8'), \
      pg_catalog.convert_to(part.definition, pg_catalog.getdatabaseencoding()), part.relation, part.domain, \
      pg_catalog.convert_to(part.first, pg_catalog.getdatabaseencoding()) FROM ( \
        SELECT gone.class, gone.id, a.adrelid AS relation, 0::pg_catalog.oid AS domain, \
          pg_catalog.format(CASE t.attgenerated WHEN '' THEN 'ALTER TABLE ONLY %I.%I ALTER COLUMN %I SET DEFAULT %s' \
            ELSE 'ALTER TABLE ONLY %I.%I ALTER COLUMN %I SET EXPRESSION AS (%s)' END, n.nspname, c.relname, \
            t.attname, pg_catalog.pg_get_expr(a.adbin, a.adrelid)) AS definition, \
          CASE t.attgenerated WHEN '' THEN NULL ELSE pg_catalog.format( \
            'ALTER TABLE ONLY %I.%I ALTER COLUMN %I DROP EXPRESSION', n.nspname, c.relname, t.attname) END AS first \
          FROM gone JOIN pg_catalog.pg_attrdef a \
            ON gone.class = 'pg_catalog.pg_attrdef'::pg_catalog.regclass AND a.oid = gone.id \
          JOIN pg_catalog.pg_class c ON c.oid = a.adrelid AND c.relkind IN ('r', 'p', 'f') \
          JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
          JOIN pg_catalog.pg_attribute t ON t.attrelid = a.adrelid AND t.attnum = a.adnum \
        UNION ALL SELECT DISTINCT d.classid, d.objid, 0::pg_catalog.oid, d.objid, \
          pg_catalog.format('ALTER DOMAIN %s SET DEFAULT %s', pg_catalog.format_type(t.oid, NULL), \
            pg_catalog.pg_get_expr(t.typdefaultbin, 0)), \
          pg_catalog.format('ALTER DOMAIN %s DROP DEFAULT', pg_catalog.format_type(t.oid, NULL)) \
          FROM gone JOIN pg_catalog.pg_depend d ON d.refclassid = gone.class AND d.refobjid = gone.id \
            AND d.classid = 'pg_catalog.pg_type'::pg_catalog.regclass \
            AND gone.class = 'pg_catalog.pg_proc'::pg_catalog.regclass \
          JOIN pg_catalog.pg_type t ON t.oid = d.objid AND t.typtype = 'd' AND t.typdefaultbin IS NOT NULL \
        UNION ALL SELECT gone.class, gone.id, k.conrelid, k.contypid, \
          pg_catalog.format('ALTER %s ADD CONSTRAINT %I %s', CASE k.conrelid WHEN 0 \
            THEN 'DOMAIN ' || pg_catalog.format_type(k.contypid, NULL) \
            ELSE 'TABLE ' || k.conrelid::pg_catalog.regclass END, k.conname, \
            pg_catalog.pg_get_constraintdef(k.oid)), NULL \
          FROM gone JOIN pg_catalog.pg_constraint k \
            ON gone.class = 'pg_catalog.pg_constraint'::pg_catalog.regclass AND k.oid = gone.id \
            AND k.contype = 'c' AND k.conislocal) AS part, \
      pg_catalog.pg_identify_object(part.class, part.id, 0) AS o \
    WHERE NOT EXISTS (SELECT FROM gone AS whole WHERE whole.id = part.relation \
        AND whole.class = 'pg_catalog.pg_class'::pg_catalog.regclass \
      OR whole.id = part.domain AND whole.class = 'pg_catalog.pg_type'::pg_catalog.regclass)"
);

/// The functions that these call, and stand-ins with the same signature while the table is created.
const STAND_INS: &str = "SELECT DISTINCT pg_catalog.convert_to(pg_catalog.format( \
        'CREATE FUNCTION %I.%I(%s) RETURNS %s LANGUAGE sql %s AS %L', n.nspname, p.proname, \
        pg_catalog.pg_get_function_arguments(p.oid), pg_catalog.pg_get_function_result(p.oid), \
        CASE p.provolatile WHEN 'i' THEN 'IMMUTABLE' WHEN 's' THEN 'STABLE' ELSE 'VOLATILE' END, \
        'SELECT NULL::' || pg_catalog.format_type(p.prorettype, NULL)), pg_catalog.getdatabaseencoding()), \
      pg_catalog.convert_to(pg_catalog.format('DROP FUNCTION %I.%I(%s) CASCADE', n.nspname, p.proname, \
        pg_catalog.pg_get_function_identity_arguments(p.oid)), pg_catalog.getdatabaseencoding()), p.oid \
    FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_proc p ON p.oid = d.refobjid AND p.prokind = 'f' \
      JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace \
    WHERE d.classid = $1 AND d.objid = $2 AND d.refclassid = 'pg_catalog.pg_proc'::pg_catalog.regclass";

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
        let mut called = std::collections::HashSet::new();
        // This comes before the stand-in functions are dropped, or DROP … CASCADE would drop domains and
        // columns.
        let mut first: Vec<Vec<u8>> = Vec::new();
        for row in client.select(PARTS, None, &[])? {
            let class = row.get::<pg_sys::Oid>(1)?.unwrap_or_default();
            let id = row.get::<pg_sys::Oid>(2)?.unwrap_or_default();
            let name = row.get::<Vec<u8>>(3)?.unwrap_or_default();
            let oid =
                |place| Ok::<_, spi::Error>(row.get::<pg_sys::Oid>(place)?.unwrap_or_default());
            let (relation, domain) = (oid(5)?.to_u32(), oid(6)?.to_u32());
            gone.parts.push(Part {
                whole: match domain {
                    0 => (pg_sys::RelationRelationId.to_u32(), relation),
                    _ => (pg_sys::TypeRelationId.to_u32(), domain),
                },
                identity: (class.to_u32(), id.to_u32()),
                name: String::from_utf8_lossy(&name).into_owned(),
                definition: row.get(4)?.unwrap_or_default(),
            });
            first.extend(row.get::<Vec<u8>>(7)?);
            for row in client.select(STAND_INS, None, &[class.into(), id.into()])? {
                let function = row.get::<pg_sys::Oid>(3)?.unwrap_or_default().to_u32();
                let is_gone = gone
                    .objects
                    .contains_key(&(pg_sys::ProcedureRelationId.to_u32(), function));
                if is_gone && called.insert(function) {
                    let make = row.get(1)?.unwrap_or_default();
                    gone.stand_ins.push((make, row.get(2)?.unwrap_or_default()));
                }
            }
        }
        gone.drop_first = first;
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
