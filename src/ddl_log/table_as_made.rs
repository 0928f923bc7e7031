//! The definition of a table as it came out, for one that copies from a temporary table by LIKE:
//! that table is not there at restore. (No text of the user's is in it.)

use pgrx::prelude::*;

use super::amend::read;
use crate::pg::ddl_node::Sql;

/// Leaves out what goes with the session: a default that calls for a temporary sequence is dropped
/// with it.
macro_rules! stays {
    ($class:literal, $object:literal) => {
        concat!(
            "NOT EXISTS (SELECT FROM pg_depend x WHERE x.classid = '",
            $class,
            "'::regclass AND x.objid = ",
            $object,
            " AND CASE x.refclassid \
              WHEN 'pg_class'::regclass THEN (SELECT relnamespace FROM pg_class WHERE oid = x.refobjid) \
              WHEN 'pg_proc'::regclass THEN (SELECT pronamespace FROM pg_proc WHERE oid = x.refobjid) \
              WHEN 'pg_type'::regclass THEN (SELECT typnamespace FROM pg_type WHERE oid = x.refobjid) \
              ELSE 0 END = pg_my_temp_schema() AND pg_my_temp_schema() <> 0)"
        )
    };
}

macro_rules! sequence_options {
    () => {
        "' START WITH ' || s.seqstart || ' INCREMENT BY ' || s.seqincrement || ' MINVALUE ' || s.seqmin \
         || ' MAXVALUE ' || s.seqmax || ' CACHE ' || s.seqcache \
         || CASE WHEN s.seqcycle THEN ' CYCLE' ELSE ' NO CYCLE' END"
    };
}

/// Sequences of serial columns.
const SEQUENCES: &str = concat!(
    "SELECT bytes(format('CREATE %sSEQUENCE %I.%I AS %s', \
       CASE c.relpersistence::text WHEN 'u' THEN 'UNLOGGED ' ELSE '' END, n.nspname, c.relname, \
       format_type(s.seqtypid, NULL)) || ",
    sequence_options!(),
    "), bytes(format('ALTER SEQUENCE %I.%I OWNED BY %s.%I', n.nspname, c.relname, \
       d.refobjid::regclass, a.attname)) \
     FROM pg_depend d JOIN pg_class c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid \
     JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_sequence s ON s.seqrelid = c.oid \
     JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid \
     WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = ANY ($1) AND d.deptype = 'a' \
     ORDER BY a.attnum"
);

/// Columns, then check constraints.
const ELEMENTS: &str = concat!(
    "SELECT bytes(element) FROM (SELECT a.attnum::int AS place, c.oid, format('%I %s', a.attname, \
       format_type(a.atttypid, a.atttypmod)) \
     || CASE WHEN a.attcollation <> t.typcollation \
        THEN format(' COLLATE %I.%I', on_.nspname, o.collname) ELSE '' END \
     || CASE a.attcompression::text WHEN 'p' THEN ' COMPRESSION pglz' \
        WHEN 'l' THEN ' COMPRESSION lz4' ELSE '' END \
     || CASE WHEN a.attgenerated <> '' THEN format(' GENERATED ALWAYS AS (%s) %s', \
          pg_get_expr(d.adbin, d.adrelid), \
          CASE a.attgenerated::text WHEN 's' THEN 'STORED' ELSE 'VIRTUAL' END) \
        WHEN d.oid IS NOT NULL AND ",
    stays!("pg_attrdef", "d.oid"),
    " THEN ' DEFAULT ' || pg_get_expr(d.adbin, d.adrelid) \
        WHEN a.attidentity <> '' THEN ' GENERATED ' \
          || CASE a.attidentity::text WHEN 'a' THEN 'ALWAYS' ELSE 'BY DEFAULT' END \
          || format(' AS IDENTITY (SEQUENCE NAME %s', i.objid::regclass) || ",
    sequence_options!(),
    " || ')' ELSE '' END \
     || CASE WHEN a.attnotnull THEN COALESCE(' CONSTRAINT ' || quote_ident(n.conname), '') \
        || ' NOT NULL' || CASE WHEN n.connoinherit THEN ' NO INHERIT' ELSE '' END ELSE '' END AS element \
     FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped \
     JOIN pg_type t ON t.oid = a.atttypid \
     LEFT JOIN pg_collation o ON o.oid = a.attcollation \
     LEFT JOIN pg_namespace on_ ON on_.oid = o.collnamespace \
     LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum \
     LEFT JOIN pg_depend i ON i.refclassid = 'pg_class'::regclass AND i.refobjid = c.oid \
       AND i.refobjsubid = a.attnum AND i.classid = 'pg_class'::regclass AND i.deptype = 'i' \
       AND a.attidentity <> '' \
     LEFT JOIN pg_sequence s ON s.seqrelid = i.objid \
     LEFT JOIN pg_constraint n ON n.conrelid = c.oid AND n.contype = 'n' AND n.conkey[1] = a.attnum \
     WHERE c.oid = ANY ($1) \
     UNION ALL SELECT 100000, c.oid, format('CONSTRAINT %I %s', c.conname, pg_get_constraintdef(c.oid)) \
     FROM pg_constraint c WHERE c.conrelid = ANY ($1) AND c.contype = 'c' AND ",
    stays!("pg_constraint", "c.oid"),
    ") AS elements ORDER BY place, oid"
);

/// What stands around the elements.
const TABLE: &str = "SELECT bytes(format('CREATE %sTABLE %I.%I ', \
       CASE c.relpersistence::text WHEN 'u' THEN 'UNLOGGED ' ELSE '' END, n.nspname, c.relname)), \
     bytes(COALESCE(' PARTITION BY ' || pg_get_partkeydef(c.oid), '') \
       || COALESCE(' USING ' || quote_ident(m.amname), '') \
       || COALESCE((SELECT ' WITH (' || string_agg(format('%s%I = %L', o.space, option_name, \
            option_value), ', ') || ')' \
          FROM (SELECT '' AS space, c.reloptions UNION ALL SELECT 'toast.', w.reloptions) AS o, \
            pg_options_to_table(o.reloptions)), '') \
       || COALESCE(' TABLESPACE ' || quote_ident(s.spcname), '')) \
     FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
     LEFT JOIN pg_class w ON w.oid = c.reltoastrelid LEFT JOIN pg_am m ON m.oid = c.relam \
     LEFT JOIN pg_tablespace s ON s.oid = c.reltablespace WHERE c.oid = ANY ($1)";

/// What is made after the table: the type of an identity's sequence (which LIKE makes a bigint), storage, constraints and indexes, statistics, comments.
const PARTS: &str = concat!(
    "SELECT bytes(part) FROM (SELECT 0 AS place, c.oid, format('ALTER SEQUENCE %s AS %s', c.oid::regclass, \
       format_type(s.seqtypid, NULL)) || ",
    sequence_options!(),
    " AS part \
     FROM pg_depend d JOIN pg_class c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid \
     JOIN pg_sequence s ON s.seqrelid = c.oid \
     JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid \
     WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = ANY ($1) AND d.deptype = 'i' \
       AND a.attidentity <> '' AND s.seqtypid <> a.atttypid \
     UNION ALL SELECT 1, a.attnum::oid, \
       format('ALTER TABLE %s ALTER COLUMN %I SET STORAGE %s', a.attrelid::regclass, a.attname, \
         CASE a.attstorage::text WHEN 'p' THEN 'PLAIN' WHEN 'e' THEN 'EXTERNAL' \
           WHEN 'm' THEN 'MAIN' ELSE 'EXTENDED' END) \
     FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid \
     WHERE a.attrelid = ANY ($1) AND a.attnum > 0 AND NOT a.attisdropped AND a.attstorage <> t.typstorage \
     UNION ALL SELECT 2, oid, format('ALTER TABLE %s ADD CONSTRAINT %I %s', conrelid::regclass, conname, \
       pg_get_constraintdef(oid)) \
     FROM pg_constraint WHERE conrelid = ANY ($1) AND contype IN ('p', 'u', 'x', 'f') \
     UNION ALL SELECT 3, indexrelid, pg_get_indexdef(indexrelid) FROM pg_index i \
     WHERE indrelid = ANY ($1) AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = i.indexrelid \
       AND conrelid = i.indrelid) AND ",
    stays!("pg_class", "i.indexrelid"),
    " UNION ALL SELECT 4, c.oid, format('ALTER INDEX %s SET (%s)', c.oid::regclass, \
       (SELECT string_agg(format('%I = %L', option_name, option_value), ', ') \
        FROM pg_options_to_table(c.reloptions))) \
     FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid \
     WHERE i.indrelid = ANY ($1) AND c.reloptions IS NOT NULL \
     UNION ALL SELECT 5, c.oid, format('ALTER INDEX %s SET TABLESPACE %I', c.oid::regclass, s.spcname) \
     FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_tablespace s ON s.oid = c.reltablespace \
     WHERE i.indrelid = ANY ($1) \
     UNION ALL SELECT 6, oid, pg_get_statisticsobjdef(oid) FROM pg_statistic_ext s \
     WHERE stxrelid = ANY ($1) AND ",
    stays!("pg_statistic_ext", "s.oid"),
    " UNION ALL SELECT 7, d.objsubid::oid, format('COMMENT ON COLUMN %s.%I IS %L', a.attrelid::regclass, \
       a.attname, d.description) \
     FROM pg_description d JOIN pg_attribute a ON a.attrelid = d.objoid AND a.attnum = d.objsubid \
     WHERE d.classoid = 'pg_class'::regclass AND d.objoid = ANY ($1) AND d.objsubid > 0 \
     UNION ALL SELECT 8, c.oid, format('COMMENT ON CONSTRAINT %I ON %s IS %L', c.conname, \
       c.conrelid::regclass, d.description) \
     FROM pg_description d JOIN pg_constraint c ON c.oid = d.objoid \
     WHERE d.classoid = 'pg_constraint'::regclass AND c.conrelid = ANY ($1) \
     UNION ALL SELECT 9, i.indexrelid, format('COMMENT ON INDEX %s IS %L', i.indexrelid::regclass, \
       d.description) \
     FROM pg_description d JOIN pg_index i ON i.indexrelid = d.objoid \
     WHERE d.classoid = 'pg_class'::regclass AND d.objsubid = 0 AND i.indrelid = ANY ($1) \
     UNION ALL SELECT 10, s.oid, format('COMMENT ON STATISTICS %I.%I IS %L', n.nspname, s.stxname, \
       d.description) \
     FROM pg_description d JOIN pg_statistic_ext s ON s.oid = d.objoid \
     JOIN pg_namespace n ON n.oid = s.stxnamespace \
     WHERE d.classoid = 'pg_statistic_ext'::regclass AND s.stxrelid = ANY ($1)) AS parts \
     ORDER BY place, oid"
);

/// The statements that make `table`, and all that was made with it.
pub fn definition(table: pg_sys::Oid) -> Sql {
    let sequences = rows(SEQUENCES, table, 2);
    let around = rows(TABLE, table, 2).into_iter().next();
    let Some([start, end]) = around.and_then(|row| <[Sql; 2]>::try_from(row).ok()) else {
        error!("the table that was made is gone");
    };
    let elements: Vec<Sql> = rows(ELEMENTS, table, 1).into_iter().flatten().collect();
    let elements: Vec<Sql> = elements
        .iter()
        .map(|element| [b"\n  ", &element[..]].concat())
        .collect();
    let create = [
        &start[..],
        b"(",
        &elements.join(b",".as_slice()),
        b"\n)",
        &end,
    ]
    .concat();
    let made = sequences.iter().map(|row| row[0].clone());
    let owned = sequences.iter().map(|row| row[1].clone());
    let parts = rows(PARTS, table, 1).into_iter().flatten();
    let all: Vec<Sql> = made.chain([create]).chain(owned).chain(parts).collect();
    all.join(b"\n; ".as_slice())
}

fn rows(query: &'static str, table: pg_sys::Oid, columns: usize) -> Vec<Vec<Sql>> {
    let mut found = Vec::new();
    read(query, vec![table], |row| {
        let text = |place| Ok::<_, spi::Error>(row.get::<Sql>(place)?.unwrap_or_default());
        found.push((1..=columns).map(text).collect::<spi::Result<Vec<Sql>>>()?);
        Ok(())
    });
    found
}
