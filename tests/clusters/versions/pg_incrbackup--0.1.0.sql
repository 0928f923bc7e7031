-- What CREATE EXTENSION ran in version 0.1.0, as pgrx wrote it, without its comments on source lines.

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

CREATE  FUNCTION "incr_files"() RETURNS TABLE (
	"chain" INT,  /* i32 */
	"kind" text,  /* ServerText */
	"file" text,  /* ServerText */
	"start_lsn" pg_lsn,  /* PgLsn */
	"end_lsn" pg_lsn,  /* PgLsn */
	"first_commit_at" timestamp with time zone,  /* Option < TimestampWithTimeZone > */
	"last_commit_at" timestamp with time zone,  /* Option < TimestampWithTimeZone > */
	"transactions" bigint,  /* i64 */
	"statements" bigint,  /* i64 */
	"bytes" bigint,  /* i64 */
	"sha256" text  /* Option < ServerText > */
)
STRICT VOLATILE PARALLEL UNSAFE
LANGUAGE c /* Rust */
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

CREATE  FUNCTION "incr_slot_health"() RETURNS TABLE (
	"slot_name" text,  /* ServerText */
	"database" text,  /* ServerText */
	"plugin" text,  /* Option < ServerText > */
	"level" text,  /* ServerText */
	"reasons" text[],  /* Vec < ServerText > */
	"active" bool,  /* bool */
	"wal_status" text,  /* Option < ServerText > */
	"restart_lag_bytes" bigint,  /* Option < i64 > */
	"replication_lag" text,  /* Option < ServerText > */
	"confirmed_lag_bytes" bigint,  /* Option < i64 > */
	"confirmed_lag" text,  /* Option < ServerText > */
	"safe_wal_size" bigint,  /* Option < i64 > */
	"age" interval,  /* Option < Interval > */
	"durable_lsn" pg_lsn,  /* Option < PgLsn > */
	"last_commit_at" timestamp with time zone,  /* Option < TimestampWithTimeZone > */
	"disk_used_percent" INT  /* Option < i32 > */
)
STRICT VOLATILE PARALLEL UNSAFE
LANGUAGE c /* Rust */
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
REVOKE ALL ON FUNCTION incr_teardown(boolean) FROM PUBLIC;

GRANT EXECUTE ON FUNCTION incr_slot_health() TO pg_monitor;
GRANT EXECUTE ON FUNCTION incr_status() TO pg_monitor;
