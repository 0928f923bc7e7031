//! What is read of tables.

/// Columns are in the order of their numbers; dropped ones are known by being absent. `above` are the columns
/// of the direct parents from which a column is inherited; `below` the tables with rows under this one;
/// `missing_below` what their columns' stored missing values are. `file` alone makes no difference: VACUUM
/// FULL, CLUSTER and TRUNCATE change it, too. `rest` is what a release to come has more:
/// in those that are known nothing would be left of the row, for a tenth of the query's time.
pub const QUERY: &str = concat!(
    "SELECT r.oid, pg_catalog.row_to_json(r)::pg_catalog.text FROM (SELECT c.oid, \
     pg_catalog.current_setting('server_version_num')::pg_catalog.int4 AS version, c.oid::pg_catalog.int8 AS number, pg_catalog.quote_ident(n.nspname) AS schema, pg_catalog.quote_ident(c.relname) AS name, \
     n.oid::pg_catalog.int8 AS namespace, c.relkind AS kind, c.relpersistence AS persistence, c.relfilenode::pg_catalog.int8 AS file, \
     (SELECT pg_catalog.quote_ident(m.amname) FROM pg_catalog.pg_am m WHERE m.oid = c.relam) AS method, \
     c.relam::pg_catalog.int8 AS method_oid, \
     (SELECT pg_catalog.quote_ident(s.spcname) FROM pg_catalog.pg_tablespace s WHERE s.oid = c.reltablespace) AS tablespace, \
     c.reltablespace::pg_catalog.int8 AS tablespace_oid, \
     CASE WHEN c.reloftype <> 0 THEN pg_catalog.json_build_object('oid', c.reloftype::pg_catalog.int8, \
        'name', pg_catalog.format_type(c.reloftype, NULL)) END AS of_type, \
     (SELECT pg_catalog.json_build_object('server', pg_catalog.quote_ident(s.srvname), 'server_oid', s.oid::pg_catalog.int8, 'options', ",
    crate::options!("f.ftoptions"),
    ") FROM pg_catalog.pg_foreign_table f JOIN pg_catalog.pg_foreign_server s ON s.oid = f.ftserver WHERE f.ftrelid = c.oid) AS foreign, ",
    crate::options!("c.reloptions"),
    " AS options, (SELECT ",
    crate::options!("tc.reloptions"),
    " FROM pg_catalog.pg_class tc WHERE tc.oid = c.reltoastrelid) AS toast_options, \
     c.relreplident AS identity, \
     (SELECT ", index!(), " WHERE x.indrelid = c.oid AND x.indisreplident LIMIT 1) AS identity_index, \
     (SELECT ", index!(), " WHERE x.indrelid = c.oid AND x.indisclustered LIMIT 1) AS cluster_index, \
     c.relrowsecurity AS row_security, c.relforcerowsecurity AS force_row_security, \
     CASE c.relkind WHEN 'p' THEN pg_catalog.pg_get_partkeydef(c.oid) END AS partition_key, \
     (SELECT pg_catalog.md5(pg_catalog.concat_ws(' ', p.partstrat, p.partattrs, p.partclass, p.partcollation, p.partexprs)) \
        FROM pg_catalog.pg_partitioned_table p WHERE p.partrelid = c.oid) AS partition_tree, \
     CASE WHEN c.relispartition THEN pg_catalog.json_build_object('text', pg_catalog.pg_get_expr(c.relpartbound, c.oid), \
        'tree', pg_catalog.md5(c.relpartbound::pg_catalog.text)) END AS bound, \
     (SELECT pg_catalog.json_agg(pg_catalog.json_build_object('oid', i.inhparent::pg_catalog.int8, \
        'schema', pg_catalog.quote_ident(pn.nspname), 'name', pg_catalog.quote_ident(p.relname), \
        'is_partitioned', p.relkind = 'p', 'is_pending', i.inhdetachpending) ORDER BY i.inhseqno) \
      FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class p ON p.oid = i.inhparent \
      JOIN pg_catalog.pg_namespace pn ON pn.oid = p.relnamespace WHERE i.inhrelid = c.oid) AS parents, ",
    below!(), ", \
     CASE WHEN c.relhassubclass AND c.relkind <> 'p' THEN (SELECT pg_catalog.json_object_agg(i.inhrelid, \
        (SELECT pg_catalog.json_agg(pg_catalog.quote_ident(a.attname)) FROM pg_catalog.pg_attribute a \
         WHERE a.attrelid = i.inhrelid AND a.attnum > 0 AND a.attislocal AND NOT a.attisdropped)) \
        FROM pg_catalog.pg_inherits i WHERE i.inhparent = c.oid) END AS children, \
     (SELECT pg_catalog.json_agg(k.oid::pg_catalog.int8 ORDER BY k.oid) FROM pg_catalog.pg_constraint k WHERE k.conrelid = c.oid \
        AND k.contype IN ('c', 'p', 'u', 'x')) AS constraints, \
     (SELECT pg_catalog.json_agg(x.indexrelid::pg_catalog.int8 ORDER BY x.indexrelid) FROM pg_catalog.pg_index x WHERE x.indrelid = c.oid) AS indexes, \
     (SELECT pg_catalog.jsonb_agg(pg_catalog.jsonb_build_array(a.class, a.oid)) FROM (\
        SELECT 1247, t.oid::pg_catalog.int8 FROM pg_catalog.pg_type t WHERE t.oid IN (c.reltype, \
           (SELECT e.typarray FROM pg_catalog.pg_type e WHERE e.oid = c.reltype)) \
        UNION ALL SELECT 1259, c.reltoastrelid::pg_catalog.int8 WHERE c.reltoastrelid <> 0 \
        UNION ALL SELECT 2604, d.oid::pg_catalog.int8 FROM pg_catalog.pg_attrdef d WHERE d.adrelid = c.oid \
        UNION ALL SELECT 2606, k.oid::pg_catalog.int8 FROM pg_catalog.pg_constraint k WHERE k.conrelid = c.oid AND k.contype = 'n'\
        ) a (class, oid)) AS aliases, ",
    columns!(), ", ",
    crate::common_columns!(
        "1259", "c.oid", "c.relowner", "c.relacl", "'r'",
        crate::needs_of_parts!(
            "SELECT 1259, c.oid UNION ALL SELECT 2604, d.oid FROM pg_catalog.pg_attrdef d WHERE d.adrelid = c.oid"
        )
    ),
    ", CASE WHEN pg_catalog.current_setting('server_version_num')::pg_catalog.int4 >= 190000 THEN pg_catalog.to_jsonb(c) - '{oid,relname,relnamespace,reltype,reloftype,relowner,relam,relfilenode,reltablespace,\
     relpages,reltuples,relallvisible,relallfrozen,reltoastrelid,relhasindex,relpersistence,relkind,relnatts,relchecks,\
     relhasrules,relhastriggers,relhassubclass,relrowsecurity,relforcerowsecurity,relreplident,relispartition,\
     relrewrite,relfrozenxid,relminmxid,relacl,reloptions,relpartbound}'::pg_catalog.text[] END AS rest \
     FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
     WHERE c.oid = ANY ($1) AND c.relkind IN ('r', 'p', 'f') AND c.relpersistence <> 't' AND c.relrewrite = 0) r"
);

macro_rules! index {
    () => {
        "pg_catalog.json_build_object('oid', x.indexrelid::pg_catalog.int8, 'name', pg_catalog.quote_ident(xc.relname)) \
         FROM pg_catalog.pg_index x JOIN pg_catalog.pg_class xc ON xc.oid = x.indexrelid"
    };
}
use index;

macro_rules! tree {
    () => {
        "WITH RECURSIVE tree (oid) AS (SELECT i.inhrelid FROM pg_catalog.pg_inherits i WHERE i.inhparent = c.oid \
         UNION SELECT i.inhrelid FROM pg_catalog.pg_inherits i JOIN tree ON i.inhparent = tree.oid) "
    };
}
use tree;

macro_rules! below {
    () => {
        concat!(
            "CASE WHEN c.relhassubclass THEN (", tree!(),
            "SELECT pg_catalog.json_agg(pg_catalog.json_build_object('oid', b.oid::pg_catalog.int8, \
                'name', pg_catalog.concat(pg_catalog.quote_ident(bn.nspname), '.', pg_catalog.quote_ident(b.relname)), \
                'file', b.relfilenode::pg_catalog.int8) ORDER BY b.oid) FROM tree JOIN pg_catalog.pg_class b ON b.oid = tree.oid \
                JOIN pg_catalog.pg_namespace bn ON bn.oid = b.relnamespace WHERE b.relkind = 'r') END AS below, \
             c.relhassubclass AND EXISTS (", tree!(),
            "SELECT FROM tree JOIN pg_catalog.pg_class b ON b.oid = tree.oid WHERE b.relkind = 'f') AS has_foreign_below, \
             CASE WHEN c.relhassubclass THEN (", tree!(),
            "SELECT pg_catalog.json_object_agg(m.attname, m.list) FROM (SELECT pg_catalog.quote_ident(ba.attname) AS attname, \
                pg_catalog.json_agg(DISTINCT ba.attmissingval::pg_catalog.text) AS list \
                FROM tree JOIN pg_catalog.pg_class b ON b.oid = tree.oid JOIN pg_catalog.pg_attribute ba ON ba.attrelid = b.oid \
                WHERE b.relkind = 'r' AND ba.attnum > 0 AND NOT ba.attisdropped GROUP BY ba.attname \
                HAVING pg_catalog.bool_or(ba.atthasmissing)) m) END AS missing_below"
        )
    };
}
use below;

/// A NOT NULL constraint (18 and later) of a column of `$table` whose number is `$number`.
macro_rules! not_null {
    ($table:literal, $number:literal) => {
        concat!(
            "(SELECT pg_catalog.json_build_object('oid', k.oid::pg_catalog.int8, 'name', pg_catalog.quote_ident(k.conname), \
             'is_valid', k.convalidated, 'no_inherit', k.connoinherit, 'is_local', k.conislocal, 'inherited', k.coninhcount, \
             'comment', (SELECT x.description FROM pg_catalog.pg_description x WHERE x.objoid = k.oid AND x.classoid = 2606)) \
             FROM pg_catalog.pg_constraint k WHERE k.conrelid = ", $table, " AND k.contype = 'n' AND k.conkey[1] = ", $number, ")"
        )
    };
}
use not_null;

/// What a column's default or generation expression is; `tree` stays the same where names change.
macro_rules! expression {
    ($table:literal, $number:literal) => {
        concat!(
            "(SELECT pg_catalog.json_build_object('text', pg_catalog.pg_get_expr(d.adbin, d.adrelid), \
             'tree', pg_catalog.md5(d.adbin::pg_catalog.text)) FROM pg_catalog.pg_attrdef d \
             WHERE d.adrelid = ", $table, " AND d.adnum = ", $number, ")"
        )
    };
}
use expression;

macro_rules! columns {
    () => {
        concat!(
            "(SELECT pg_catalog.json_agg(pg_catalog.json_build_object('number', a.attnum, 'name', pg_catalog.quote_ident(a.attname), \
             'type', pg_catalog.format_type(a.atttypid, a.atttypmod), \
             'type_id', pg_catalog.json_build_array(a.atttypid::pg_catalog.int8, a.atttypmod, a.attcollation::pg_catalog.int8), \
             'is_domain', t.typtype = 'd', 'type_storage', t.typstorage, \
             'collation', CASE WHEN a.attcollation <> 0 AND a.attcollation <> t.typcollation THEN ",
            crate::collation_name!("a.attcollation"),
            " END, 'not_null', a.attnotnull, 'constraint', ", not_null!("c.oid", "a.attnum"),
            ", 'expression', CASE WHEN a.atthasdef THEN ", expression!("c.oid", "a.attnum"),
            " END, 'generated', a.attgenerated, 'identity', a.attidentity, 'storage', a.attstorage, 'compression', a.attcompression, \
             'statistics', COALESCE(a.attstattarget, -1), 'options', ", crate::column_options!(),
            ", 'foreign_options', ", crate::options!("a.attfdwoptions"),
            ", 'is_local', a.attislocal, 'inherited', a.attinhcount, 'missing', a.attmissingval::pg_catalog.text, \
             'acl', ", crate::grants!("a.attacl"),
            ", 'comment', (SELECT x.description FROM pg_catalog.pg_description x \
                WHERE x.objoid = c.oid AND x.classoid = 1259 AND x.objsubid = a.attnum), \
             'labels', (SELECT pg_catalog.json_agg(pg_catalog.json_build_array(x.provider, x.label) ORDER BY x.provider) \
                FROM pg_catalog.pg_seclabel x WHERE x.objoid = c.oid AND x.classoid = 1259 AND x.objsubid = a.attnum), \
             'above', CASE WHEN a.attinhcount > 0 THEN (SELECT pg_catalog.json_agg(pg_catalog.json_build_object(\
                'table', i.inhparent::pg_catalog.int8, 'number', pa.attnum, 'not_null', pa.attnotnull, \
                'constraint', ", not_null!("pa.attrelid", "pa.attnum"),
            ", 'expression', ", expression!("pa.attrelid", "pa.attnum"),
            ", 'generated', pa.attgenerated, 'storage', pa.attstorage, 'compression', pa.attcompression) ORDER BY i.inhseqno) \
                FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_attribute pa ON pa.attrelid = i.inhparent \
                AND pa.attname = a.attname AND NOT pa.attisdropped WHERE i.inhrelid = c.oid) END, \
             'rest', CASE WHEN pg_catalog.current_setting('server_version_num')::pg_catalog.int4 >= 190000 THEN pg_catalog.to_jsonb(a) - '{attrelid,attname,atttypid,attstattarget,attlen,attnum,attndims,attcacheoff,\
             atttypmod,attbyval,attalign,attstorage,attcompression,attnotnull,atthasdef,atthasmissing,attidentity,\
             attgenerated,attisdropped,attislocal,attinhcount,attcollation,attacl,attoptions,attfdwoptions,\
             attmissingval}'::pg_catalog.text[] END) ORDER BY a.attnum) \
             FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid \
             WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) AS columns"
        )
    };
}
use columns;
