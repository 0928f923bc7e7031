-- What version 0.3.0 has beside 0.2.0. A fresh install comes to the same; a test compares them.

-- Nothing that somebody put into another schema stands in for what these functions mean.
ALTER FUNCTION incr_slot_health() SET search_path = pg_catalog, pg_temp;
ALTER FUNCTION incr_seq_sync_sql() SET search_path = pg_catalog, pg_temp;
ALTER FUNCTION incr_status() SET search_path = pg_catalog, pg_temp;
ALTER FUNCTION incr_flush(interval) SET search_path = pg_catalog, pg_temp;
ALTER FUNCTION incr_rotate() SET search_path = pg_catalog, pg_temp;
ALTER FUNCTION incr_dump(boolean) SET search_path = pg_catalog, pg_temp;
ALTER FUNCTION incr_files() SET search_path = pg_catalog, pg_temp;
ALTER FUNCTION incr_verify() SET search_path = pg_catalog, pg_temp;
ALTER FUNCTION incr_expire(boolean) SET search_path = pg_catalog, pg_temp;
ALTER FUNCTION incr_keep(text, timestamptz, text) SET search_path = pg_catalog, pg_temp;
ALTER FUNCTION incr_read(text, bigint, integer) SET search_path = pg_catalog, pg_temp;
ALTER FUNCTION incr_cluster_health() SET search_path = pg_catalog, pg_temp;
ALTER FUNCTION incr_metrics() SET search_path = pg_catalog, pg_temp;
ALTER FUNCTION incr_history(regclass, jsonb, timestamptz, timestamptz) SET search_path = pg_catalog, pg_temp;
ALTER FUNCTION incr_history(regclass, text, timestamptz, timestamptz) SET search_path = pg_catalog, pg_temp;
ALTER FUNCTION incr_report() SET search_path = pg_catalog, pg_temp;
ALTER FUNCTION incr_teardown(boolean) SET search_path = pg_catalog, pg_temp;
ALTER FUNCTION incr_ddl_command_end() SET search_path = pg_catalog, pg_temp;
ALTER FUNCTION incr_sql_drop() SET search_path = pg_catalog, pg_temp;
ALTER FUNCTION incr_table_rewrite() SET search_path = pg_catalog, pg_temp;

-- incr_setup() has one more argument and incr_drill() one more column, so they are made anew. What somebody else was
-- granted on them goes with them, and is said.
DO $$
DECLARE
    lost text;
    path text := pg_catalog.current_setting('search_path');
BEGIN
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    FOR lost IN
        SELECT format('GRANT EXECUTE ON FUNCTION %s(%s) TO %s%s;',
                f.oid::regproc,
                CASE f.proname WHEN 'incr_setup' THEN 'boolean, boolean' ELSE 'text, boolean' END,
                CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END,
                CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
            FROM pg_depend d
            JOIN pg_proc f ON d.classid = 'pg_proc'::regclass AND d.objid = f.oid
            JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND d.deptype = 'e'
            CROSS JOIN aclexplode(f.proacl) a
            WHERE e.extname = 'pg_incrbackup'
                AND f.proname IN ('incr_setup', 'incr_drill')
                AND a.grantee <> f.proowner
            ORDER BY 1
    LOOP
        RAISE WARNING 'this privilege is gone with the old function, grant it again: %', lost;
    END LOOP;
    PERFORM pg_catalog.set_config('search_path', path, true);
END $$;

DROP FUNCTION incr_setup(boolean);
CREATE FUNCTION "incr_setup"(
    "new_chain" bool DEFAULT false,
    "take_over" bool DEFAULT false
) RETURNS TABLE (
    "step" text,
    "status" text,
    "detail" text
)
STRICT VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
LANGUAGE c
AS 'MODULE_PATHNAME', 'incr_setup_or_take_over_wrapper';
REVOKE ALL ON FUNCTION incr_setup(boolean, boolean) FROM PUBLIC;

DROP FUNCTION incr_drill(text, boolean);
CREATE FUNCTION "incr_drill"(
    "conninfo" text DEFAULT NULL,
    "wait" bool DEFAULT true
) RETURNS TABLE (
    "result" text,
    "started_at" timestamp with time zone,
    "duration" interval,
    "chain" INT,
    "base" text,
    "lsn" pg_lsn,
    "tables" bigint,
    "rows" bigint,
    "restored_to" text,
    "problems" text[],
    "left_out" text[]
)
VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
LANGUAGE c
AS 'MODULE_PATHNAME', 'incr_drill_wrapper';
REVOKE ALL ON FUNCTION incr_drill(text, boolean) FROM PUBLIC;
