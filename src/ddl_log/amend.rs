//! Values that a statement fixed when it ran, and that its text would fix anew when replayed.

use pgrx::prelude::*;
use pgrx::spi::SpiTupleTable;

use super::frames::Frame;

use crate::pg::ddl_catalog::is_immutable_default;
use crate::pg::ddl_identity::{with_descendants, OwnPrivileges};
use crate::pg::ddl_index::unfinished_tree;
use crate::pg::ddl_node::{relation_name, Sql};
use crate::pg::ddl_proof::differ_in_bounds_only;
use crate::pg::ddl_touched::{has_missing_value, is_plain_table, relation_named};
use crate::pg::query::{connect_now, see_own_changes, select_kept};
use crate::pg::quote;
use crate::pg::session::OutputSettings;

/// The value that existing rows have of a column added with a default that is not rewritten into
/// them (pg_attribute.attmissingval), as text. A domain's default is none of the column's own.
const MISSING_VALUES: &str = "SELECT bytes(n.nspname), bytes(c.relname), bytes(a.attname), \
     bytes((a.attmissingval::pg_catalog.text::pg_catalog.text[])[1]), \
     bytes(COALESCE(d.adbin, t.typdefaultbin)::pg_catalog.text), \
     EXISTS (SELECT FROM pg_constraint k \
       WHERE k.conrelid = c.oid AND k.contype = 'c' AND NOT k.convalidated), \
     bytes((SELECT string_agg(quote_literal(b.attname), ', ') \
       FROM pg_constraint k JOIN pg_attribute b ON b.attrelid = c.oid AND b.attnum = k.conkey[1] \
       WHERE k.conrelid = c.oid AND k.contype = 'n' AND NOT k.convalidated)) \
     FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid \
     JOIN pg_namespace n ON n.oid = c.relnamespace \
     JOIN pg_type t ON t.oid = a.atttypid \
     LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum \
     WHERE a.attrelid = ANY ($1) AND a.atthasmissing AND c.relkind = 'r' \
     AND a.attmissingval IS NOT NULL ORDER BY n.nspname, c.relname, a.attnum";

/// Defaults of time types that are constants.
const TIME_DEFAULTS: &str = "SELECT bytes(n.nspname), bytes(c.relname), bytes(a.attname), \
     bytes(pg_catalog.pg_get_expr(d.adbin, d.adrelid)) \
     FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid \
     JOIN pg_namespace n ON n.oid = c.relnamespace \
     JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum \
     WHERE a.attrelid = ANY ($1) AND NOT a.attisdropped AND d.adbin::pg_catalog.text LIKE '{CONST%' \
     AND a.atttypid IN ('date'::regtype, 'timestamp'::regtype, 'timestamptz'::regtype, \
       'time'::regtype, 'timetz'::regtype) ORDER BY n.nspname, c.relname, a.attnum";

const CHECKS: &str = "SELECT oid, bytes(conname), bytes(pg_catalog.pg_get_constraintdef(oid)), \
     coninhcount = 0 FROM pg_constraint WHERE conrelid = ANY ($1) AND contype = 'c' ORDER BY oid";

const BOUND: &str = "SELECT bytes(pg_catalog.regexp_replace( \
       pg_catalog.pg_get_expr(relpartbound, oid), '^FOR VALUES ', '')) \
     FROM pg_class WHERE oid = ANY ($1) AND relpartbound IS NOT NULL";

/// Views whose query was just read, and their options, which CREATE OR REPLACE VIEW would take away.
const VIEWS: &str = "SELECT bytes(n.nspname), bytes(c.relname), \
     bytes(pg_catalog.pg_get_viewdef(c.oid)), \
     bytes((SELECT ' WITH (' || string_agg(format('%I = %L', option_name, option_value), ', ') || ')' \
       FROM pg_catalog.pg_options_to_table(c.reloptions))) FROM pg_class c \
     JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = ANY ($1) AND c.relkind = 'v'";

const CHECKS_THERE: &[u8] = b"(SELECT pg_catalog.count(*) FROM pg_catalog.pg_constraint \
     WHERE conrelid = pg_class.oid AND contype = 'c')";

/// A check constraint of a table.
pub struct Check {
    pub oid: pg_sys::Oid,
    name: Sql,
    definition: Sql,
    /// Not inherited.
    is_own: bool,
}

/// True where there may be something for [`another_text`] or [`what_text_leaves_out`] to say.
pub fn may_say_more(frame: &Frame) -> bool {
    frame.indexes_partitions
        || frame.bound.is_some()
        || !frame.added_columns.is_empty()
        || frame.fixes_time
        || frame.sets_unlogged
        || frame.detached.is_some()
}

/// What a restore has to run instead of the text of this statement; none where the text does.
pub fn another_text(frame: &Frame) -> Option<Sql> {
    if frame.indexes_partitions {
        // It took over an index that is not valid, which a restore does not have.
        let mut trees = frame.touched.tables.iter();
        return trees.find_map(|index| unfinished_tree(*index));
    }
    let bound = frame.bound.as_ref()?;
    let made = bound.table.as_ref();
    let made = made.and_then(|(schema, name)| relation_named(schema, name));
    let mut text = None;
    read(BOUND, vec![bound.partition.or(made)?], |row| {
        let values: Sql = row.get(1)?.unwrap_or_default();
        text = Some([&bound.before[..], &values, &bound.after].concat());
        Ok(())
    });
    if text
        .as_ref()
        .is_some_and(|text| !differ_in_bounds_only(&bound.whole, text))
    {
        error!("the bounds of a partition could not be written");
    }
    text
}

/// What a restore has to run after the text of this statement, which ran as `role`, to get at the same
/// result.
pub fn what_text_leaves_out(frame: &Frame, role: &[u8]) -> Sql {
    let mut rows = fixed_values(frame);
    // An unlogged table is restored empty. (TRUNCATE would mind who references it.)
    let mut emptied = frame.touched.tables.clone();
    emptied.retain(|table| frame.sets_unlogged && is_plain_table(*table));
    emptied.sort_by_key(|table| table.to_u32());
    emptied.dedup();
    for table in emptied {
        let name = relation_name(table).unwrap_or_default();
        rows.extend([b"\n; DELETE FROM ONLY ", &name[..]].concat());
    }
    // Rows are the restorer's: to its owner a table may be closed, by REVOKE or by row security.
    let mut sql = Vec::new();
    if !rows.is_empty() {
        let role = quote::identifier(role);
        let parts = [
            b"\n; SET LOCAL ROLE NONE",
            &rows[..],
            b"\n; SET LOCAL ROLE ",
        ];
        sql = [&parts.concat()[..], &role].concat();
    }
    if frame.fixes_time {
        sql.extend(time_defaults(&frame.touched.tables));
        sql.extend(time_views(&frame.touched.tables));
        sql.extend(time_checks(frame));
    }
    if let Some((partition, before)) = &frame.detached {
        let table = relation_name(*partition).unwrap_or_default();
        for check in check_constraints(*partition) {
            if !before.contains(&check.oid) {
                let name = quote::identifier(&check.name);
                let add = [
                    b"\n; ALTER TABLE ",
                    &table[..],
                    b" ADD CONSTRAINT ",
                    &name,
                    b" ",
                ];
                sql.extend(add.concat());
                sql.extend(check.definition);
            }
        }
    }
    sql
}

/// The check constraints of a table.
pub fn check_constraints(table: pg_sys::Oid) -> Vec<Check> {
    let mut checks = Vec::new();
    read(CHECKS, vec![table], |row| {
        checks.push(Check {
            oid: row.get(1)?.unwrap_or(pg_sys::InvalidOid),
            name: row.get(2)?.unwrap_or_default(),
            definition: row.get(3)?.unwrap_or_default(),
            is_own: row.get(4)?.unwrap_or(true),
        });
        Ok(())
    });
    checks
}

/// `DEFAULT 'now'` is a constant from the moment on that it is read.
fn time_defaults(tables: &[pg_sys::Oid]) -> Sql {
    let mut sql = Vec::new();
    read(TIME_DEFAULTS, tables.to_vec(), |row| {
        let text = |place| Ok::<_, spi::Error>(row.get::<Vec<u8>>(place)?.unwrap_or_default());
        let column = quote::identifier(&text(3)?);
        sql.extend_from_slice(b"\n; ALTER TABLE ONLY ");
        sql.extend_from_slice(&quote::qualified(&text(1)?, &text(2)?));
        let default = text(4)?;
        sql.extend([b" ALTER COLUMN ", &column[..], b" SET DEFAULT ", &default].concat());
        Ok(())
    });
    sql
}

/// `'now'` in a view's query is a constant too.
fn time_views(views: &[pg_sys::Oid]) -> Sql {
    let mut sql = Vec::new();
    read(VIEWS, views.to_vec(), |row| {
        let text = |place| Ok::<_, spi::Error>(row.get::<Vec<u8>>(place)?.unwrap_or_default());
        let name = quote::qualified(&text(1)?, &text(2)?);
        let query = text(3)?;
        let query = query.strip_suffix(b";").unwrap_or(&query);
        let options = text(4)?;
        let start = [b"\n; CREATE OR REPLACE VIEW ", &name[..], &options].concat();
        sql.extend([&start[..], b" AS ", query].concat());
        Ok(())
    });
    sql
}

/// And in the check constraints that the statement added: those are made again as they came out.
fn time_checks(frame: &Frame) -> Sql {
    let mut sql = Vec::new();
    for table in &frame.touched.tables {
        let name = relation_name(*table).unwrap_or_default();
        for check in check_constraints(*table) {
            if frame.checks_before.contains(&check.oid) || !check.is_own {
                continue;
            }
            let constraint = quote::identifier(&check.name);
            let parts: [&[u8]; 8] = [
                b"\n; ALTER TABLE ",
                &name,
                b" DROP CONSTRAINT ",
                &constraint,
                b", ADD CONSTRAINT ",
                &constraint,
                b" ",
                &check.definition,
            ];
            sql.extend(parts.concat());
        }
    }
    sql
}

/// What is to be run after an ALTER TABLE … ADD COLUMN so that the rows that existed have the values
/// that `now()` and its like had then; empty where there is nothing to fix.
fn fixed_values(frame: &Frame) -> Sql {
    let (tables, added_columns) = (&frame.touched.tables, &frame.added_columns);
    let mut sql = Vec::new();
    if added_columns.is_empty() {
        return sql;
    }
    see_own_changes();
    let mut tables: Vec<pg_sys::Oid> = tables.iter().flat_map(|t| with_descendants(*t)).collect();
    tables.sort_by_key(|table| table.to_u32());
    tables.dedup();
    let is_missing = |table, column: &Sql| has_missing_value(table, column);
    tables.retain(|table| {
        added_columns
            .iter()
            .any(|column| is_missing(*table, column))
    });
    if tables.is_empty() {
        return sql;
    }
    read(MISSING_VALUES, tables, |row| {
        let text = |place| Ok::<_, spi::Error>(row.get::<Vec<u8>>(place)?.unwrap_or_default());
        let column = text(3)?;
        // What took the place of a function of ours gave another value.
        let is_the_same = || Ok::<_, spi::Error>(is_immutable_default(&text(5)?));
        if !added_columns.contains(&column) || frame.around.is_none() && is_the_same()? {
            return Ok(());
        }
        let (schema, table) = (text(1)?, text(2)?);
        let is_unchecked = row.get(6)?.unwrap_or(false);
        let nullable = text(7)?;
        if is_unchecked {
            sql.extend(set_checks(&schema, &table, b"0"));
        }
        if !nullable.is_empty() {
            sql.extend(set_not_null(&schema, &table, &nullable, b"false"));
        }
        sql.extend_from_slice(b"\n; UPDATE ONLY ");
        sql.extend_from_slice(&quote::qualified(&schema, &table));
        sql.extend([b" SET ", &quote::identifier(&column)[..], b" = "].concat());
        sql.extend_from_slice(&quote::literal(&text(4)?));
        if is_unchecked {
            sql.extend(set_checks(&schema, &table, CHECKS_THERE));
        }
        if !nullable.is_empty() {
            sql.extend(set_not_null(&schema, &table, &nullable, b"true"));
        }
        Ok(())
    });
    sql
}

/// Rows that a CHECK which is NOT VALID has never seen may break it, and are not looked at where the
/// table's note of it is gone; restore.sh does the same for the rows of the segments.
fn set_checks(schema: &[u8], table: &[u8], count: &[u8]) -> Sql {
    let table = quote::literal(&quote::regclass_text(schema, table));
    let parts: [&[u8]; 5] = [
        b"\n; UPDATE pg_catalog.pg_class SET relchecks = ",
        count,
        b" WHERE oid = ",
        &table,
        b"::pg_catalog.regclass",
    ];
    parts.concat()
}

/// The same for a NOT NULL that is NOT VALID (18 and later).
fn set_not_null(schema: &[u8], table: &[u8], columns: &[u8], value: &[u8]) -> Sql {
    let table = quote::literal(&quote::regclass_text(schema, table));
    let parts: [&[u8]; 7] = [
        b"\n; UPDATE pg_catalog.pg_attribute SET attnotnull = ",
        value,
        b" WHERE attrelid = ",
        &table,
        b"::pg_catalog.regclass AND attname IN (",
        columns,
        b")",
    ];
    parts.concat()
}

/// Reads the catalogs under privileges, a search path and output settings of our own.
pub(super) fn read(
    query: &'static str,
    tables: Vec<pg_sys::Oid>,
    mut each: impl FnMut(&SpiTupleTable) -> spi::Result<()>,
) {
    let mut output = OutputSettings::default();
    output.enter();
    // Last, so that its search path stands: under an empty one a temporary table of the user's
    // could pose as a catalog.
    let own = OwnPrivileges::enter();
    let read = connect_now(|client| {
        let mut rows = select_kept(client, query, &[tables.into()])?;
        while rows.next().is_some() {
            each(&rows)?;
        }
        Ok::<_, spi::Error>(())
    });
    own.leave();
    output.leave();
    read.unwrap_or_else(|error| pgrx::error!("{error}"));
}
