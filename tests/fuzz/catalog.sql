-- What there is to work on in the schemas :mine and "shared" (and this session's temporary ones),
-- as one JSON object. Names are qualified and quoted; a built-in type stands as format_type has it.
WITH places AS (
  SELECT oid, CASE WHEN oid = pg_my_temp_schema() THEN 'pg_temp' ELSE quote_ident(nspname) END AS place
  FROM pg_namespace
  WHERE nspname LIKE :'mine' || '%' OR nspname = 'shared' OR oid = pg_my_temp_schema()
), relations AS (
  SELECT c.*, p.place FROM pg_class c JOIN places p ON p.oid = c.relnamespace
  WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S')
), type_names AS (
  SELECT t.oid, CASE
    WHEN e.oid IS NOT NULL AND ep.place IS NOT NULL THEN ep.place || '.' || quote_ident(e.typname) || '[]'
    WHEN p.place IS NOT NULL THEN p.place || '.' || quote_ident(t.typname) END AS name
  FROM pg_type t
  LEFT JOIN places p ON p.oid = t.typnamespace
  LEFT JOIN pg_type e ON e.typarray = t.oid
  LEFT JOIN places ep ON ep.oid = e.typnamespace
), columns AS (
  SELECT a.attrelid, json_agg(json_build_object(
    'name', quote_ident(a.attname),
    'ty', coalesce(n.name, format_type(a.atttypid, a.atttypmod)),
    'generated', a.attgenerated,
    'identity', a.attidentity,
    'not_null', a.attnotnull,
    'has_default', a.atthasdef,
    'is_inherited', a.attinhcount > 0,
    'in_key', EXISTS (SELECT FROM pg_constraint k WHERE k.conrelid = a.attrelid
                      AND k.contype IN ('p', 'u') AND a.attnum = ANY (k.conkey)),
    'in_partition_key', EXISTS (SELECT FROM pg_partitioned_table k WHERE k.partrelid = a.attrelid
                      AND a.attnum = ANY (k.partattrs)),
    'references', (SELECT json_build_array(format('%I.%I', s.nspname, t.relname),
                     (SELECT quote_ident(attname) FROM pg_attribute
                      WHERE attrelid = k.confrelid AND attnum = k.confkey[1]))
                   FROM pg_constraint k JOIN pg_class t ON t.oid = k.confrelid
                   JOIN pg_namespace s ON s.oid = t.relnamespace
                   WHERE k.contype = 'f' AND k.conrelid = a.attrelid AND k.conkey = ARRAY[a.attnum]
                   LIMIT 1)
    ) ORDER BY a.attnum) AS list
  FROM pg_attribute a JOIN relations r ON r.oid = a.attrelid LEFT JOIN type_names n ON n.oid = a.atttypid
  WHERE a.attnum > 0 AND NOT a.attisdropped AND r.relkind <> 'S'
  GROUP BY a.attrelid
)
SELECT json_build_object(
  'relations', (SELECT coalesce(json_agg(json_build_object(
    'schema', r.place, 'name', quote_ident(r.relname), 'kind', r.relkind,
    'persistence', r.relpersistence, 'is_partition', r.relispartition,
    'is_typed', r.reloftype <> 0,
    'reads_unlogged', EXISTS (SELECT FROM pg_rewrite w JOIN pg_depend d ON d.objid = w.oid
      JOIN pg_class read ON read.oid = d.refobjid AND read.relpersistence = 'u'
      WHERE w.ev_class = r.oid AND d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass),
    'strategy', (SELECT partstrat FROM pg_partitioned_table WHERE partrelid = r.oid),
    'bound', pg_get_expr(r.relpartbound, r.oid),
    'parent', (SELECT p.place || '.' || quote_ident(p.relname) FROM pg_inherits i
               JOIN relations p ON p.oid = i.inhparent WHERE i.inhrelid = r.oid ORDER BY 1 LIMIT 1),
    'has_children', EXISTS (SELECT FROM pg_inherits WHERE inhparent = r.oid),
    'is_owned', EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = r.oid
                        AND refclassid = 'pg_class'::regclass AND deptype IN ('a', 'i')),
    'columns', (SELECT coalesce(list, '[]') FROM (VALUES (1)) one LEFT JOIN columns c ON c.attrelid = r.oid),
    'constraints', (SELECT coalesce(json_agg(json_build_object('name', quote_ident(conname), 'kind', contype,
        'is_local', coninhcount = 0 AND conparentid = 0, 'is_valid', convalidated,
        'columns', (SELECT coalesce(json_agg(quote_ident(attname)), '[]') FROM pg_attribute
                    WHERE attrelid = r.oid AND attnum = ANY (conkey)))
        ORDER BY conname), '[]')
      FROM pg_constraint WHERE conrelid = r.oid AND contype IN ('p', 'u', 'f', 'c')),
    'indexes', (SELECT coalesce(json_agg(json_build_object('name', quote_ident(ic.relname),
        'is_unique', i.indisunique AND i.indpred IS NULL AND i.indexprs IS NULL) ORDER BY ic.relname), '[]')
      FROM pg_index i JOIN pg_class ic ON ic.oid = i.indexrelid
      WHERE i.indrelid = r.oid AND NOT ic.relispartition
        AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = i.indexrelid)),
    'triggers', (SELECT coalesce(json_agg(quote_ident(tgname) ORDER BY tgname), '[]')
      FROM pg_trigger WHERE tgrelid = r.oid AND NOT tgisinternal AND tgparentid = 0)
    ) ORDER BY r.place, r.relname), '[]') FROM relations r),
  'types', (SELECT coalesce(json_agg(json_build_object(
    'name', n.name, 'kind', t.typtype,
    'labels', (SELECT coalesce(json_agg(quote_literal(enumlabel) ORDER BY enumsortorder), '[]')
               FROM pg_enum WHERE enumtypid = t.oid),
    'attributes', (SELECT coalesce(json_agg(json_build_object('name', quote_ident(attname),
        'ty', coalesce(an.name, format_type(atttypid, atttypmod))) ORDER BY attnum), '[]')
      FROM pg_attribute LEFT JOIN type_names an ON an.oid = atttypid
      WHERE attrelid = t.typrelid AND attnum > 0 AND NOT attisdropped AND t.typtype = 'c'),
    'base', format_type(t.typbasetype, t.typtypmod)) ORDER BY n.name), '[]')
    FROM pg_type t JOIN places p ON p.oid = t.typnamespace AND p.place <> 'pg_temp' JOIN type_names n ON n.oid = t.oid
    WHERE t.typtype IN ('e', 'd')
       OR t.typtype = 'c' AND EXISTS (SELECT FROM pg_class WHERE oid = t.typrelid AND relkind = 'c')),
  'functions', (SELECT coalesce(json_agg(json_build_object(
    'name', p.place || '.' || quote_ident(f.proname),
    -- NULL when another session has dropped it since.
    'arguments', coalesce(pg_get_function_identity_arguments(f.oid), ''),
    'result', format_type(f.prorettype, NULL)) ORDER BY f.proname), '[]')
    FROM pg_proc f JOIN places p ON p.oid = f.pronamespace),
  'schemas', (SELECT json_agg(place ORDER BY place) FROM places WHERE place NOT IN ('shared', 'pg_temp'))
)
