//! What of this extension's own, or over it, could stand in a statement's text, and how to make something
//! of the same look for the time that the text runs where it is missing.

use pgrx::prelude::*;

use super::ddl_identity::OwnPrivileges;
use super::ddl_node::Sql;
use super::ddl_over_ours::depends_on_ours;
use super::extension;
use super::query::{connect_now, select_kept};

/// An object that a restored database lacks, and the statements about one that takes its place.
#[derive(Clone)]
pub struct StandIn {
    /// Qualified, with the arguments of a function.
    pub identity: Sql,
    pub is_relation: bool,
    pub make: Sql,
    pub grant: Sql,
    pub drop: Sql,
}

/// All functions, tables and views that are the extension's own or need what is, at any distance. The
/// functions give NULL, or where `$2` says so a value of their type.
const MISSING: &str = "WITH RECURSIVE missing (classid, objid) AS ( \
       SELECT classid, objid FROM pg_depend \
       WHERE refclassid = 'pg_extension'::regclass AND refobjid = $1 AND deptype = 'e' \
     UNION \
       SELECT n.classid, n.objid FROM missing, LATERAL ( \
           SELECT d.classid, d.objid FROM pg_depend d WHERE d.refclassid = missing.classid \
             AND d.refobjid = missing.objid AND d.deptype IN ('n', 'a', 'i') \
         UNION ALL \
           SELECT 'pg_class'::regclass::oid, r.ev_class FROM pg_rewrite r \
           WHERE missing.classid = 'pg_rewrite'::regclass AND r.oid = missing.objid) AS n) \
     SELECT bytes(p.proname), bytes(i.identity), false, \
       bytes(format('CREATE FUNCTION %I.%I(%s) RETURNS %s LANGUAGE sql AS %L', n.nspname, p.proname, \
         pg_get_function_arguments(p.oid), pg_get_function_result(p.oid), \
         format('SELECT %s::%s', CASE WHEN NOT $2 THEN 'NULL' ELSE CASE \
             WHEN t.oid = 'pg_lsn'::regtype THEN '''0/0''' WHEN t.typcategory = 'B' THEN 'true' \
             WHEN t.typcategory = 'N' THEN '0' WHEN t.typcategory = 'S' THEN '''''' \
             WHEN t.oid IN ('time'::regtype, 'timetz'::regtype) THEN '''00:00''' \
             WHEN t.typcategory = 'D' THEN '''epoch''' WHEN t.typcategory = 'T' THEN '''0''' \
             WHEN t.typcategory = 'A' THEN '''{}''' \
             WHEN t.oid IN ('json'::regtype, 'jsonb'::regtype) THEN '''null''' \
             ELSE 'NULL' END END, format_type(t.oid, NULL)))), \
       bytes(format('GRANT EXECUTE ON FUNCTION %s TO PUBLIC', i.identity)), \
       bytes(format('DROP FUNCTION %s CASCADE', i.identity)) \
     FROM missing m JOIN pg_proc p ON m.classid = 'pg_proc'::regclass AND p.oid = m.objid \
     JOIN pg_namespace n ON n.oid = p.pronamespace JOIN pg_type t ON t.oid = p.prorettype, \
     LATERAL (SELECT format('%I.%I(%s)', n.nspname, p.proname, \
       pg_get_function_identity_arguments(p.oid))) AS i (identity) \
     WHERE p.prokind = 'f' \
     UNION ALL SELECT bytes(c.relname), bytes(i.identity), true, \
       bytes(format('CREATE TABLE %s (%s)', i.identity, (SELECT string_agg( \
         format('%I %s', a.attname, format_type(a.atttypid, a.atttypmod)), ', ' ORDER BY a.attnum) \
         FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped))), \
       bytes(format('GRANT ALL ON TABLE %s TO PUBLIC', i.identity)), \
       bytes(format('DROP TABLE %s CASCADE', i.identity)) \
     FROM missing m JOIN pg_class c ON m.classid = 'pg_class'::regclass AND c.oid = m.objid \
     JOIN pg_namespace n ON n.oid = c.relnamespace, \
     LATERAL (SELECT format('%I.%I', n.nspname, c.relname)) AS i (identity) \
     WHERE c.relkind IN ('v', 'm') OR c.relkind = 'r' AND EXISTS (SELECT FROM pg_depend e \
       WHERE e.classid = 'pg_class'::regclass AND e.objid = c.oid AND e.deptype = 'e')";

/// Those for which `is_named` says so, given their names.
pub fn missing(with_value: bool, is_named: impl Fn(&[u8]) -> bool) -> Vec<StandIn> {
    let Some(ours) = extension::own_oid() else {
        return Vec::new();
    };
    let own = OwnPrivileges::enter();
    let found = connect_now(|client| {
        let mut found = Vec::new();
        let mut rows = select_kept(client, MISSING, &[ours.into(), with_value.into()])?;
        while rows.next().is_some() {
            let text = |place| Ok::<_, spi::Error>(rows.get::<Sql>(place)?.unwrap_or_default());
            let name = text(1)?;
            if is_named(&name) {
                found.push(StandIn {
                    identity: text(2)?,
                    is_relation: rows.get(3)?.unwrap_or_default(),
                    make: text(4)?,
                    grant: text(5)?,
                    drop: text(6)?,
                });
            }
        }
        Ok::<_, spi::Error>(found)
    });
    own.leave();
    found.unwrap_or_else(|error| error!("{error}"))
}

/// Defaults and check constraints over functions that are missing at restore, of these tables and domains:
/// type and identity as an event trigger has them.
const OVER: &str = "SELECT bytes(i.type), bytes(i.identity), d.classid = 'pg_type'::regclass, \
       d.refobjid FROM ( \
       SELECT 'pg_attrdef'::regclass::oid, oid FROM pg_attrdef WHERE adrelid = ANY ($1) \
       UNION ALL SELECT 'pg_constraint'::regclass::oid, oid FROM pg_constraint \
         WHERE contype = 'c' AND (conrelid = ANY ($1) OR contypid <> 0 AND contypid = ANY ($2)) \
       UNION ALL SELECT 'pg_type'::regclass::oid, oid FROM pg_type \
         WHERE oid = ANY ($2) AND typdefaultbin IS NOT NULL) AS o (classid, objid) \
     JOIN pg_depend d USING (classid, objid), \
     LATERAL pg_identify_object(d.classid, d.objid, 0) AS i \
     WHERE d.refclassid = 'pg_proc'::regclass AND d.deptype = 'n' ORDER BY 1, 2";

/// A default or a check constraint that a restored database lacks.
pub struct LeftOut {
    pub object_type: Sql,
    pub identity: Sql,
    /// The default of a domain, which is a part of it: it would go with the function.
    pub is_of_domain: bool,
}

pub fn defaults_and_checks(tables: &[pg_sys::Oid], domains: &[pg_sys::Oid]) -> Vec<LeftOut> {
    let own = OwnPrivileges::enter();
    let found = connect_now(|client| {
        let arguments = [tables.to_vec().into(), domains.to_vec().into()];
        let mut rows = select_kept(client, OVER, &arguments)?;
        let mut found = Vec::new();
        while rows.next().is_some() {
            let text = |place| Ok::<_, spi::Error>(rows.get::<Sql>(place)?.unwrap_or_default());
            let function = rows.get::<pg_sys::Oid>(4)?.unwrap_or(pg_sys::InvalidOid);
            let left_out = LeftOut {
                object_type: text(1)?,
                identity: text(2)?,
                is_of_domain: rows.get(3)?.unwrap_or_default(),
            };
            found.push((left_out, function));
        }
        Ok::<_, spi::Error>(found)
    });
    own.leave();
    let mut found = found.unwrap_or_else(|error| error!("{error}"));
    let is_missing = |function| depends_on_ours(pg_sys::ProcedureRelationId, function);
    found.retain(|(_, function)| is_missing(*function));
    let mut found: Vec<LeftOut> = found.into_iter().map(|(left_out, _)| left_out).collect();
    found.dedup_by(|one, other| one.identity == other.identity);
    found
}

const CHECKS: &str = "SELECT bytes(k.conname), d.refobjid FROM pg_constraint k \
     JOIN pg_depend d ON d.classid = 'pg_constraint'::regclass AND d.objid = k.oid \
     WHERE k.conrelid = $1 AND k.contype = 'c' AND d.refclassid = 'pg_proc'::regclass AND d.deptype = 'n'";

/// The names of a table's check constraints over functions that are missing at restore.
pub fn missing_checks(table: pg_sys::Oid) -> Vec<Sql> {
    let own = OwnPrivileges::enter();
    let found = connect_now(|client| {
        let mut rows = select_kept(client, CHECKS, &[table.into()])?;
        let mut found = Vec::new();
        while rows.next().is_some() {
            let name = rows.get::<Sql>(1)?.unwrap_or_default();
            found.push((name, rows.get::<pg_sys::Oid>(2)?.unwrap_or_default()));
        }
        Ok::<_, spi::Error>(found)
    });
    own.leave();
    let mut found = found.unwrap_or_else(|error| error!("{error}"));
    found.retain(|(_, function)| depends_on_ours(pg_sys::ProcedureRelationId, *function));
    let mut names: Vec<Sql> = found.into_iter().map(|(name, _)| name).collect();
    names.dedup();
    names
}
