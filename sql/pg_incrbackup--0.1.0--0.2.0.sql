-- What version 0.2.0 has beside 0.1.0. A fresh install comes to the same; a test compares them.

CREATE FUNCTION incr_drill(
    conninfo text DEFAULT NULL,
    wait bool DEFAULT true
) RETURNS TABLE (
    result text,
    started_at timestamp with time zone,
    duration interval,
    chain integer,
    base text,
    lsn pg_lsn,
    tables bigint,
    rows bigint,
    restored_to text,
    problems text[]
)
VOLATILE PARALLEL UNSAFE
LANGUAGE c
AS 'MODULE_PATHNAME', 'incr_drill_wrapper';

CREATE FUNCTION incr_cluster_health() RETURNS TABLE (
    database text,
    level text,
    reasons text[],
    slot_name text,
    active bool,
    wal_status text,
    restart_lag_bytes bigint,
    confirmed_lag_bytes bigint,
    age interval,
    durable_lsn pg_lsn,
    last_commit_at timestamp with time zone,
    disk_used_percent integer,
    drill_age interval
)
STRICT VOLATILE PARALLEL UNSAFE
LANGUAGE c
AS 'MODULE_PATHNAME', 'incr_cluster_health_wrapper';

REVOKE ALL ON FUNCTION incr_drill(text, boolean) FROM PUBLIC;
REVOKE ALL ON FUNCTION incr_cluster_health() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION incr_cluster_health() TO pg_monitor;

-- A function that gives other columns is another function: a view on it stops this at the DROP. Its owner
-- and its privileges come over as they are. GRANT would name another grantor of some, and would make them
-- the extension's own, which pg_dump leaves out.
ALTER FUNCTION incr_slot_health() RENAME TO incr_slot_health_before;
CREATE FUNCTION incr_slot_health() RETURNS TABLE (
    slot_name text,
    database text,
    plugin text,
    level text,
    reasons text[],
    active bool,
    wal_status text,
    restart_lag_bytes bigint,
    replication_lag text,
    confirmed_lag_bytes bigint,
    confirmed_lag text,
    safe_wal_size bigint,
    age interval,
    durable_lsn pg_lsn,
    last_commit_at timestamp with time zone,
    disk_used_percent integer,
    drill_age interval
)
STRICT VOLATILE PARALLEL UNSAFE
LANGUAGE c
AS 'MODULE_PATHNAME', 'incr_slot_health_wrapper';
REVOKE ALL ON FUNCTION incr_slot_health() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION incr_slot_health() TO pg_monitor;
DELETE FROM pg_catalog.pg_shdepend
    WHERE classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND objid = 'incr_slot_health()'::pg_catalog.regprocedure
    AND dbid = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database());
INSERT INTO pg_catalog.pg_shdepend
    SELECT dbid, classid, 'incr_slot_health()'::pg_catalog.regprocedure, objsubid, refclassid, refobjid, deptype
    FROM pg_catalog.pg_shdepend
    WHERE classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND objid = 'incr_slot_health_before()'::pg_catalog.regprocedure
    AND dbid = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database());
UPDATE pg_catalog.pg_proc AS now SET proowner = before.proowner, proacl = before.proacl
    FROM pg_catalog.pg_proc AS before
    WHERE now.oid = 'incr_slot_health()'::pg_catalog.regprocedure
    AND before.oid = 'incr_slot_health_before()'::pg_catalog.regprocedure;
DROP FUNCTION incr_slot_health_before();
