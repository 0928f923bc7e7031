-- What CREATE EXTENSION ran in version 0.2.0, as pgrx wrote it, without its comments on source lines.

-- What was done to the schema, in the order in which a restore does it again.

CREATE TABLE ddl_history (
    id bigint PRIMARY KEY,
    statement_id bigint NOT NULL,
    txid xid8 NOT NULL,
    executed_at timestamptz NOT NULL,
    executed_by text NOT NULL,
    ddl_command text NOT NULL,
    object_type text,
    object_identity text,
    query text NOT NULL,
    search_path text NOT NULL,
    settings jsonb NOT NULL,
    replay boolean NOT NULL,
    executed_by_superuser boolean NOT NULL,
    replay_text text
);

COMMENT ON TABLE ddl_history IS 'DDL as it is written to the increments; pg_incrbackup alone writes here';
COMMENT ON COLUMN ddl_history.id IS 'txid * 1000000 + place of the row in its transaction';
COMMENT ON COLUMN ddl_history.statement_id IS 'id of the first row of the same statement';
COMMENT ON COLUMN ddl_history.query IS 'the statement as it was sent, secrets masked';
COMMENT ON COLUMN ddl_history.settings IS 'settings at the time, where they differ from those of a segment';
COMMENT ON COLUMN ddl_history.replay IS 'true for the one row of a statement that a restore replays';
COMMENT ON COLUMN ddl_history.replay_text IS 'what a restore runs; may hold secrets';

-- Tables whose replica identity was set by us, to be taken back when a key appears.
CREATE TABLE replica_identity_set (
    relation oid PRIMARY KEY,
    set_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

REVOKE ALL ON ddl_history, replica_identity_set FROM PUBLIC;

GRANT SELECT (id, statement_id, txid, executed_at, executed_by, ddl_command, object_type,
    object_identity, query, search_path, settings, replay, executed_by_superuser)
    ON ddl_history TO pg_monitor;

CREATE FUNCTION incr_ddl_command_end() RETURNS event_trigger
LANGUAGE c
AS 'MODULE_PATHNAME', 'incr_ddl_command_end_wrapper';
REVOKE ALL ON FUNCTION incr_ddl_command_end() FROM PUBLIC;

CREATE  FUNCTION "incr_dump"(
	"wait" bool DEFAULT true /* bool */
) RETURNS text /* ServerText */
STRICT VOLATILE PARALLEL UNSAFE
LANGUAGE c /* Rust */
AS 'MODULE_PATHNAME', 'incr_dump_wrapper';

CREATE  FUNCTION "incr_expire"(
	"dry_run" bool DEFAULT true /* bool */
) RETURNS TABLE (
	"chain" INT,  /* i32 */
	"kind" text,  /* ServerText */
	"file" text,  /* ServerText */
	"decision" text,  /* ServerText */
	"reason" text,  /* ServerText */
	"bytes" bigint  /* i64 */
)
STRICT VOLATILE PARALLEL UNSAFE
LANGUAGE c /* Rust */
AS 'MODULE_PATHNAME', 'incr_expire_wrapper';

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

CREATE  FUNCTION "incr_flush"(
	"timeout" interval DEFAULT '1 min' /* Interval */
) RETURNS pg_lsn /* PgLsn */
STRICT VOLATILE PARALLEL UNSAFE
LANGUAGE c /* Rust */
AS 'MODULE_PATHNAME', 'incr_flush_wrapper';

CREATE  FUNCTION "incr_keep"(
	"base" text, /* Option < ServerText > */
	"until" timestamp with time zone DEFAULT NULL, /* Option < TimestampWithTimeZone > */
	"note" text DEFAULT NULL /* Option < ServerText > */
) RETURNS text /* ServerText */
VOLATILE PARALLEL UNSAFE
LANGUAGE c /* Rust */
AS 'MODULE_PATHNAME', 'incr_keep_wrapper';

CREATE FUNCTION incr_refuse_write() RETURNS trigger
LANGUAGE c SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'incr_refuse_write_wrapper';
REVOKE ALL ON FUNCTION incr_refuse_write() FROM PUBLIC;

CREATE  FUNCTION "incr_rotate"() RETURNS text /* Option < ServerText > */
STRICT VOLATILE PARALLEL UNSAFE
LANGUAGE c /* Rust */
AS 'MODULE_PATHNAME', 'incr_rotate_wrapper';

CREATE  FUNCTION "incr_seq_sync_sql"() RETURNS SETOF text /* ServerText */
STRICT VOLATILE PARALLEL UNSAFE
LANGUAGE c /* Rust */
AS 'MODULE_PATHNAME', 'incr_seq_sync_sql_wrapper';

CREATE  FUNCTION "incr_setup"(
	"new_chain" bool DEFAULT false /* bool */
) RETURNS TABLE (
	"step" text,  /* ServerText */
	"status" text,  /* ServerText */
	"detail" text  /* ServerText */
)
STRICT VOLATILE PARALLEL UNSAFE
LANGUAGE c /* Rust */
AS 'MODULE_PATHNAME', 'incr_setup_wrapper';

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

CREATE FUNCTION incr_sql_drop() RETURNS event_trigger
LANGUAGE c
AS 'MODULE_PATHNAME', 'incr_sql_drop_wrapper';
REVOKE ALL ON FUNCTION incr_sql_drop() FROM PUBLIC;

CREATE  FUNCTION "incr_status"() RETURNS TABLE (
	"worker" text,  /* ServerText */
	"pid" INT,  /* Option < i32 > */
	"state" text,  /* ServerText */
	"since" timestamp with time zone,  /* Option < TimestampWithTimeZone > */
	"file" text,  /* Option < ServerText > */
	"durable_lsn" pg_lsn,  /* Option < PgLsn > */
	"transactions" bigint,  /* Option < i64 > */
	"statements" bigint,  /* Option < i64 > */
	"bytes" bigint,  /* Option < i64 > */
	"errors" bigint,  /* Option < i64 > */
	"last_error" text,  /* Option < ServerText > */
	"last_error_at" timestamp with time zone,  /* Option < TimestampWithTimeZone > */
	"detail" text  /* Option < ServerText > */
)
STRICT VOLATILE PARALLEL UNSAFE
LANGUAGE c /* Rust */
AS 'MODULE_PATHNAME', 'incr_status_wrapper';

CREATE FUNCTION incr_table_rewrite() RETURNS event_trigger
LANGUAGE c
AS 'MODULE_PATHNAME', 'incr_table_rewrite_wrapper';
REVOKE ALL ON FUNCTION incr_table_rewrite() FROM PUBLIC;

-- requires:
--   ddl_history
--   objects::incr_ddl_command_end
--   objects::incr_sql_drop
--   objects::incr_table_rewrite
--   objects::incr_refuse_write

-- Our own writing is no statement, so this stops everybody, superusers and replicas too.
CREATE TRIGGER refuse_write BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON ddl_history
    FOR EACH STATEMENT EXECUTE FUNCTION incr_refuse_write();
ALTER TABLE ddl_history ENABLE ALWAYS TRIGGER refuse_write;

-- Event triggers fire in the order of their names. Ours come first: what others write about a
-- command then stands behind the command itself.
CREATE EVENT TRIGGER "0_pg_incrbackup_command_end" ON ddl_command_end
    EXECUTE FUNCTION incr_ddl_command_end();
CREATE EVENT TRIGGER "0_pg_incrbackup_drop" ON sql_drop
    EXECUTE FUNCTION incr_sql_drop();
CREATE EVENT TRIGGER "0_pg_incrbackup_rewrite" ON table_rewrite
    EXECUTE FUNCTION incr_table_rewrite();
ALTER EVENT TRIGGER "0_pg_incrbackup_command_end" ENABLE ALWAYS;
ALTER EVENT TRIGGER "0_pg_incrbackup_drop" ENABLE ALWAYS;
ALTER EVENT TRIGGER "0_pg_incrbackup_rewrite" ENABLE ALWAYS;

CREATE  FUNCTION "incr_teardown"(
	"drop_slot" bool DEFAULT true /* bool */
) RETURNS text /* ServerText */
STRICT VOLATILE PARALLEL UNSAFE
LANGUAGE c /* Rust */
AS 'MODULE_PATHNAME', 'incr_teardown_wrapper';

CREATE  FUNCTION "incr_verify"() RETURNS TABLE (
	"file" text,  /* ServerText */
	"problem" text  /* ServerText */
)
STRICT VOLATILE PARALLEL UNSAFE
LANGUAGE c /* Rust */
AS 'MODULE_PATHNAME', 'incr_verify_wrapper';

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

CREATE FUNCTION "incr_read"(
    "file" text,
    "offset" bigint,
    "length" INT
) RETURNS bytea
STRICT VOLATILE PARALLEL UNSAFE
LANGUAGE c
AS 'MODULE_PATHNAME', 'incr_read_wrapper';

CREATE FUNCTION "incr_report"() RETURNS text
STRICT VOLATILE PARALLEL UNSAFE
LANGUAGE c
AS 'MODULE_PATHNAME', 'incr_report_wrapper';

-- finalize
-- Who may do what: health and status are for monitoring, the rest is the superuser's until granted.

REVOKE ALL ON FUNCTION incr_setup(boolean) FROM PUBLIC;
REVOKE ALL ON FUNCTION incr_slot_health() FROM PUBLIC;
REVOKE ALL ON FUNCTION incr_seq_sync_sql() FROM PUBLIC;
REVOKE ALL ON FUNCTION incr_status() FROM PUBLIC;
REVOKE ALL ON FUNCTION incr_flush(interval) FROM PUBLIC;
REVOKE ALL ON FUNCTION incr_rotate() FROM PUBLIC;
REVOKE ALL ON FUNCTION incr_dump(boolean) FROM PUBLIC;
REVOKE ALL ON FUNCTION incr_files() FROM PUBLIC;
REVOKE ALL ON FUNCTION incr_verify() FROM PUBLIC;
REVOKE ALL ON FUNCTION incr_expire(boolean) FROM PUBLIC;
REVOKE ALL ON FUNCTION incr_keep(text, timestamptz, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION incr_read(text, bigint, integer) FROM PUBLIC;
REVOKE ALL ON FUNCTION incr_drill(text, boolean) FROM PUBLIC;
REVOKE ALL ON FUNCTION incr_cluster_health() FROM PUBLIC;
REVOKE ALL ON FUNCTION incr_metrics() FROM PUBLIC;
REVOKE ALL ON FUNCTION incr_history(regclass, jsonb, timestamptz, timestamptz) FROM PUBLIC;
REVOKE ALL ON FUNCTION incr_history(regclass, text, timestamptz, timestamptz) FROM PUBLIC;
REVOKE ALL ON FUNCTION incr_report() FROM PUBLIC;
REVOKE ALL ON FUNCTION incr_teardown(boolean) FROM PUBLIC;

GRANT EXECUTE ON FUNCTION incr_slot_health() TO pg_monitor;
GRANT EXECUTE ON FUNCTION incr_cluster_health() TO pg_monitor;
GRANT EXECUTE ON FUNCTION incr_metrics() TO pg_monitor;
GRANT EXECUTE ON FUNCTION incr_status() TO pg_monitor;
