-- DDL statements, in the order in which a restore replays them.

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

-- Tables whose replica identity we have set, to be reset when a key is added; former is the relreplident that they had.
CREATE TABLE replica_identity_set (
    relation oid PRIMARY KEY,
    set_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    former "char" NOT NULL DEFAULT 'd'
);

REVOKE ALL ON ddl_history, replica_identity_set FROM PUBLIC;

GRANT SELECT (id, statement_id, txid, executed_at, executed_by, ddl_command, object_type,
    object_identity, query, search_path, settings, replay, executed_by_superuser)
    ON ddl_history TO pg_monitor;
