-- What version 0.2.0 has beside 0.1.0. A fresh install comes to the same; a test compares them.

-- These functions give more columns than before, so they are made anew. What somebody else was granted on them
-- goes with them, and is said.
DO $$
DECLARE
    lost text;
    path text := pg_catalog.current_setting('search_path');
BEGIN
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    FOR lost IN
        SELECT format('GRANT EXECUTE ON FUNCTION %s TO %s%s;', f.oid::regprocedure,
                CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END,
                CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
            FROM pg_depend d
            JOIN pg_proc f ON d.classid = 'pg_proc'::regclass AND d.objid = f.oid
            JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND d.deptype = 'e'
            CROSS JOIN aclexplode(f.proacl) a
            WHERE e.extname = 'pg_incrbackup'
                AND f.proname IN ('incr_files', 'incr_slot_health')
                AND a.grantee NOT IN (f.proowner, 'pg_monitor'::regrole)
            ORDER BY 1
    LOOP
        RAISE WARNING 'this privilege is gone with the old function, grant it again: %', lost;
    END LOOP;
    PERFORM pg_catalog.set_config('search_path', path, true);
END $$;

DROP FUNCTION incr_files();
CREATE FUNCTION "incr_files"() RETURNS TABLE (
    "chain" INT,
    "kind" text,
    "file" text,
    "start_lsn" pg_lsn,
    "end_lsn" pg_lsn,
    "first_commit_at" timestamp with time zone,
    "last_commit_at" timestamp with time zone,
    "transactions" bigint,
    "statements" bigint,
    "bytes" bigint,
    "sha256" text,
    "archived_at" timestamp with time zone
)
STRICT VOLATILE PARALLEL UNSAFE
LANGUAGE c
AS 'MODULE_PATHNAME', 'incr_files_wrapper';
REVOKE ALL ON FUNCTION incr_files() FROM PUBLIC;

DROP FUNCTION incr_slot_health();
CREATE FUNCTION "incr_slot_health"() RETURNS TABLE (
    "slot_name" text,
    "database" text,
    "plugin" text,
    "level" text,
    "reasons" text[],
    "active" bool,
    "wal_status" text,
    "restart_lag_bytes" bigint,
    "replication_lag" text,
    "confirmed_lag_bytes" bigint,
    "confirmed_lag" text,
    "safe_wal_size" bigint,
    "age" interval,
    "durable_lsn" pg_lsn,
    "last_commit_at" timestamp with time zone,
    "disk_used_percent" INT,
    "archive_lag_files" bigint,
    "archive_lag_bytes" bigint,
    "archive_lag" interval,
    "drill_age" interval
)
STRICT VOLATILE PARALLEL UNSAFE
LANGUAGE c
AS 'MODULE_PATHNAME', 'incr_slot_health_wrapper';
REVOKE ALL ON FUNCTION incr_slot_health() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION incr_slot_health() TO pg_monitor;

-- New ones.

CREATE FUNCTION "incr_cluster_health"() RETURNS TABLE (
    "database" text,
    "level" text,
    "reasons" text[],
    "slot_name" text,
    "active" bool,
    "wal_status" text,
    "restart_lag_bytes" bigint,
    "confirmed_lag_bytes" bigint,
    "age" interval,
    "durable_lsn" pg_lsn,
    "last_commit_at" timestamp with time zone,
    "disk_used_percent" INT,
    "drill_age" interval
)
STRICT VOLATILE PARALLEL UNSAFE
LANGUAGE c
AS 'MODULE_PATHNAME', 'incr_cluster_health_wrapper';
REVOKE ALL ON FUNCTION incr_cluster_health() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION incr_cluster_health() TO pg_monitor;

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
    "problems" text[]
)
VOLATILE PARALLEL UNSAFE
LANGUAGE c
AS 'MODULE_PATHNAME', 'incr_drill_wrapper';
REVOKE ALL ON FUNCTION incr_drill(text, boolean) FROM PUBLIC;

CREATE FUNCTION "incr_history"(
    "relation" regclass,
    "key" jsonb,
    "since" timestamp with time zone DEFAULT NULL,
    "until" timestamp with time zone DEFAULT NULL
) RETURNS TABLE (
    "committed" timestamp with time zone,
    "xid" xid8,
    "lsn" pg_lsn,
    "operation" text,
    "statement" text,
    "file" text,
    "line" bigint,
    "note" text
)
VOLATILE PARALLEL UNSAFE
LANGUAGE c
AS 'MODULE_PATHNAME', 'incr_history_wrapper';
REVOKE ALL ON FUNCTION incr_history(regclass, jsonb, timestamptz, timestamptz) FROM PUBLIC;

CREATE FUNCTION "incr_history"(
    "relation" regclass,
    "key" text,
    "since" timestamp with time zone DEFAULT NULL,
    "until" timestamp with time zone DEFAULT NULL
) RETURNS TABLE (
    "committed" timestamp with time zone,
    "xid" xid8,
    "lsn" pg_lsn,
    "operation" text,
    "statement" text,
    "file" text,
    "line" bigint,
    "note" text
)
VOLATILE PARALLEL UNSAFE 
LANGUAGE c
AS 'MODULE_PATHNAME', 'incr_history_text_wrapper';
REVOKE ALL ON FUNCTION incr_history(regclass, text, timestamptz, timestamptz) FROM PUBLIC;

CREATE FUNCTION "incr_metrics"() RETURNS TABLE (
    "database" text,
    "slot_name" text,
    "level" text,
    "chain_broken" bool,
    "capturing" bool,
    "active" bool,
    "wal_status" text,
    "restart_lag_bytes" bigint,
    "confirmed_lag_bytes" bigint,
    "safe_wal_size" bigint,
    "behind_seconds" double precision,
    "last_commit_at" timestamp with time zone,
    "transactions" bigint,
    "statements" bigint,
    "bytes" bigint,
    "restarts" bigint,
    "errors" bigint,
    "not_carried" bigint,
    "ddl_not_carried" bigint,
    "ddl_logged" bool,
    "tables_without_identity" bigint,
    "base_age_seconds" double precision,
    "base_seconds" double precision,
    "base_failures" bigint,
    "drill_result" text,
    "drill_age_seconds" double precision,
    "drill_seconds" double precision,
    "archive_lag_files" bigint,
    "archive_lag_bytes" bigint,
    "archive_lag_seconds" double precision,
    "archive_failures" bigint,
    "disk_used_percent" INT
)
STRICT VOLATILE PARALLEL UNSAFE
LANGUAGE c
AS 'MODULE_PATHNAME', 'incr_metrics_wrapper';
REVOKE ALL ON FUNCTION incr_metrics() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION incr_metrics() TO pg_monitor;

CREATE FUNCTION "incr_read"(
    "file" text,
    "offset" bigint,
    "length" INT
) RETURNS bytea
STRICT VOLATILE PARALLEL UNSAFE
LANGUAGE c
AS 'MODULE_PATHNAME', 'incr_read_wrapper';
REVOKE ALL ON FUNCTION incr_read(text, bigint, integer) FROM PUBLIC;

CREATE FUNCTION "incr_report"() RETURNS text
STRICT VOLATILE PARALLEL UNSAFE
LANGUAGE c
AS 'MODULE_PATHNAME', 'incr_report_wrapper';
REVOKE ALL ON FUNCTION incr_report() FROM PUBLIC;
