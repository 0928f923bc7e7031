-- What version 0.4.0 has beside 0.3.0. A fresh install comes to the same; a test compares them.

-- incr_history() and incr_status() have more columns, so they are made anew. What somebody else was granted on them goes
-- with them, and is said.
DO $$
DECLARE
    lost text;
    path text := pg_catalog.current_setting('search_path');
BEGIN
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    FOR lost IN
        SELECT format('GRANT EXECUTE ON FUNCTION %s(%s) TO %s%s;',
                f.oid::regproc,
                (SELECT string_agg(format_type(type, NULL), ', ' ORDER BY nth)
                    FROM unnest(f.proargtypes) WITH ORDINALITY arguments(type, nth)),
                CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END,
                CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
            FROM pg_depend d
            JOIN pg_proc f ON d.classid = 'pg_proc'::regclass AND d.objid = f.oid
            JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND d.deptype = 'e'
            CROSS JOIN aclexplode(f.proacl) a
            WHERE e.extname = 'pg_incrbackup'
                AND f.proname IN ('incr_history', 'incr_status')
                AND NOT (f.proname = 'incr_status' AND a.grantee = 'pg_monitor'::regrole)
                AND a.grantee <> f.proowner
            ORDER BY 1
    LOOP
        RAISE WARNING 'this privilege is gone with the old function, grant it again: %', lost;
    END LOOP;
    PERFORM pg_catalog.set_config('search_path', path, true);
END $$;

DROP FUNCTION incr_status();
CREATE FUNCTION "incr_status"() RETURNS TABLE (
    "worker" text,
    "pid" INT,
    "state" text,
    "since" timestamp with time zone,
    "file" text,
    "durable_lsn" pg_lsn,
    "transactions" bigint,
    "statements" bigint,
    "bytes" bigint,
    "errors" bigint,
    "last_error" text,
    "last_error_at" timestamp with time zone,
    "detail" text,
    "bytes_processed" bigint,
    "bytes_total" bigint,
    "bytes_per_second" bigint,
    "time_left" interval
)
STRICT VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
LANGUAGE c
AS 'MODULE_PATHNAME', 'incr_status_wrapper';
REVOKE ALL ON FUNCTION incr_status() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION incr_status() TO pg_monitor;

CREATE FUNCTION "incr_synchronous"() RETURNS TABLE (
    "database" text,
    "waiting" bigint,
    "waiting_since" timestamp with time zone,
    "degraded" bigint,
    "degraded_at" timestamp with time zone
)
STRICT VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
LANGUAGE c
AS 'MODULE_PATHNAME', 'incr_synchronous_wrapper';
REVOKE ALL ON FUNCTION incr_synchronous() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION incr_synchronous() TO pg_monitor;

CREATE FUNCTION "incr_mark"(
    "name" text
) RETURNS void
VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
LANGUAGE c
AS 'MODULE_PATHNAME', 'incr_mark_wrapper';
REVOKE ALL ON FUNCTION incr_mark(text) FROM PUBLIC;

CREATE FUNCTION "incr_as_of"(
    "relation" anyelement,
    "moment" text
) RETURNS SETOF anyelement
VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
LANGUAGE c
AS 'MODULE_PATHNAME', 'incr_as_of_wrapper';
REVOKE ALL ON FUNCTION incr_as_of(anyelement, text) FROM PUBLIC;

CREATE FUNCTION "incr_check"() RETURNS TABLE (
    "name" text,
    "state" text,
    "found" text,
    "todo" text,
    "needs_restart" bool
)
STRICT STABLE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
LANGUAGE c
AS 'MODULE_PATHNAME', 'incr_check_wrapper';
REVOKE ALL ON FUNCTION incr_check() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION incr_check() TO pg_monitor;

DROP FUNCTION incr_history(regclass, jsonb, timestamptz, timestamptz);
DROP FUNCTION incr_history(regclass, text, timestamptz, timestamptz);
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
    "note" text,
    "role" text,
    "application_name" text,
    "client" text
)
VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
LANGUAGE c
AS 'MODULE_PATHNAME', 'incr_history_wrapper';
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
    "note" text,
    "role" text,
    "application_name" text,
    "client" text
)
VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
LANGUAGE c
AS 'MODULE_PATHNAME', 'incr_history_text_wrapper';
REVOKE ALL ON FUNCTION incr_history(regclass, jsonb, timestamptz, timestamptz) FROM PUBLIC;
REVOKE ALL ON FUNCTION incr_history(regclass, text, timestamptz, timestamptz) FROM PUBLIC;

CREATE FUNCTION "incr_changes"(
    "relation" regclass,
    "since" timestamp with time zone DEFAULT NULL,
    "until" timestamp with time zone DEFAULT NULL,
    "operation" text DEFAULT NULL
) RETURNS TABLE (
    "committed" timestamp with time zone,
    "xid" xid8,
    "lsn" pg_lsn,
    "command" text,
    "key" jsonb,
    "old" jsonb,
    "new" jsonb,
    "role" text,
    "application_name" text,
    "client" text,
    "statement" text,
    "file" text,
    "line" bigint,
    "note" text
)
VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
LANGUAGE c
AS 'MODULE_PATHNAME', 'incr_changes_wrapper';
REVOKE ALL ON FUNCTION incr_changes(regclass, timestamptz, timestamptz, text) FROM PUBLIC;

CREATE FUNCTION "incr_info"() RETURNS TABLE (
    "chain" INT,
    "from_time" timestamp with time zone,
    "from_lsn" pg_lsn,
    "to_time" timestamp with time zone,
    "to_lsn" pg_lsn,
    "base" text,
    "ends" text,
    "lost" text[]
)
STRICT VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
LANGUAGE c
AS 'MODULE_PATHNAME', 'incr_info_wrapper';
REVOKE ALL ON FUNCTION incr_info() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION incr_info() TO pg_monitor;
GRANT EXECUTE ON FUNCTION incr_files() TO pg_monitor;

-- Of a table whose replica identity was set earlier nobody knows any more whether it had NOTHING.
ALTER TABLE replica_identity_set ADD COLUMN former "char";
UPDATE replica_identity_set SET former = 'd';
ALTER TABLE replica_identity_set ALTER COLUMN former SET NOT NULL, ALTER COLUMN former SET DEFAULT 'd';

-- What each of them is, as \df+ shows it. The scripts that update from earlier versions end with the same lines; a test
-- compares them, and one fails for a member of the extension without a comment.
COMMENT ON FUNCTION incr_check() IS 'everything that a backup of this database needs, whether it is there, and what to write';
COMMENT ON FUNCTION incr_setup(boolean, boolean) IS 'sets up the backup of this database: replica identities, slot, first base, capture';
COMMENT ON FUNCTION incr_teardown(boolean) IS 'stops capture of this database and drops its slot; the files are kept';
COMMENT ON FUNCTION incr_slot_health() IS 'health of each slot of this database: level, reasons, lag';
COMMENT ON FUNCTION incr_cluster_health() IS 'health of each database of the cluster that has a slot or an archive, or whose backup is missed, the worst first';
COMMENT ON FUNCTION incr_metrics() IS 'figures of each database of the cluster that is backed up, for monitoring';
COMMENT ON FUNCTION incr_status() IS 'what each worker of this database is doing';
COMMENT ON FUNCTION incr_synchronous() IS 'commits of each database that wait for the files, and those that returned before they were durable';
COMMENT ON FUNCTION incr_info() IS 'the moments of this database that can be restored: from, to, and why they end';
COMMENT ON FUNCTION incr_files() IS 'every file of this database''s archive';
COMMENT ON FUNCTION incr_flush(interval) IS 'waits until everything that was committed before the call is on disk; returns the LSN';
COMMENT ON FUNCTION incr_mark(text) IS 'gives this transaction a name, to which a restore can be made';
COMMENT ON FUNCTION incr_rotate() IS 'closes the open segment; returns the path of the last closed one';
COMMENT ON FUNCTION incr_dump(boolean) IS 'takes a base backup; returns its path';
COMMENT ON FUNCTION incr_verify() IS 'checks the archive of this database; no row means that there is no problem';
COMMENT ON FUNCTION incr_expire(boolean) IS 'what retention keeps and removes, and why; with false it removes expired files';
COMMENT ON FUNCTION incr_keep(text, timestamptz, text) IS 'keeps a base longer than retention would';
COMMENT ON FUNCTION incr_read(text, bigint, integer) IS 'a part of a file of the archive, for clients without access to the directory';
COMMENT ON FUNCTION incr_drill(text, boolean) IS 'restores the archive into a new database, compares it with this one, and drops it';
COMMENT ON FUNCTION incr_history(regclass, jsonb, timestamptz, timestamptz) IS 'what happened to a row, from the files; the key is an object of columns and values';
COMMENT ON FUNCTION incr_history(regclass, text, timestamptz, timestamptz) IS 'what happened to a row, from the files; the key is the value of a single-column key';
COMMENT ON FUNCTION incr_changes(regclass, timestamptz, timestamptz, text) IS 'what happened to a table, from the files: each change with its values and who made it';
COMMENT ON FUNCTION incr_as_of(anyelement, text) IS 'the rows that a table had at a moment, from the files';
COMMENT ON FUNCTION incr_report() IS 'writes a page about the archive into it; returns its path';
COMMENT ON FUNCTION incr_seq_sync_sql() IS 'setval statements that set every sequence to its exact value';
COMMENT ON FUNCTION incr_ddl_command_end() IS 'of an event trigger of pg_incrbackup: records what DDL has created and altered';
COMMENT ON FUNCTION incr_sql_drop() IS 'of an event trigger of pg_incrbackup: records what DDL has dropped';
COMMENT ON FUNCTION incr_table_rewrite() IS 'of an event trigger of pg_incrbackup: records which tables DDL rewrites';
COMMENT ON FUNCTION incr_refuse_write() IS 'of the trigger of ddl_history: nobody but pg_incrbackup writes there';
COMMENT ON TABLE replica_identity_set IS 'tables whose replica identity pg_incrbackup has set, to be reset when they get a key';
COMMENT ON EVENT TRIGGER "0_pg_incrbackup_command_end" IS 'records DDL for the backup';
COMMENT ON EVENT TRIGGER "0_pg_incrbackup_drop" IS 'records DDL for the backup';
COMMENT ON EVENT TRIGGER "0_pg_incrbackup_rewrite" IS 'records DDL for the backup';
