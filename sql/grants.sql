-- Health and status are for monitoring; everything else is for superusers until it is granted.

REVOKE ALL ON FUNCTION incr_setup(boolean, boolean) FROM PUBLIC;
REVOKE ALL ON FUNCTION incr_check() FROM PUBLIC;
REVOKE ALL ON FUNCTION incr_slot_health() FROM PUBLIC;
REVOKE ALL ON FUNCTION incr_seq_sync_sql() FROM PUBLIC;
REVOKE ALL ON FUNCTION incr_status() FROM PUBLIC;
REVOKE ALL ON FUNCTION incr_flush(interval) FROM PUBLIC;
REVOKE ALL ON FUNCTION incr_rotate() FROM PUBLIC;
REVOKE ALL ON FUNCTION incr_mark(text) FROM PUBLIC;
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
REVOKE ALL ON FUNCTION incr_as_of(anyelement, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION incr_report() FROM PUBLIC;
REVOKE ALL ON FUNCTION incr_teardown(boolean) FROM PUBLIC;

GRANT EXECUTE ON FUNCTION incr_check() TO pg_monitor;
GRANT EXECUTE ON FUNCTION incr_slot_health() TO pg_monitor;
GRANT EXECUTE ON FUNCTION incr_cluster_health() TO pg_monitor;
GRANT EXECUTE ON FUNCTION incr_metrics() TO pg_monitor;
GRANT EXECUTE ON FUNCTION incr_status() TO pg_monitor;
