-- What version 0.3.0 has beside 0.2.0. A fresh install comes to the same; a test compares them.

-- Nothing that somebody put into another schema stands in for what these functions mean.
ALTER FUNCTION incr_setup(boolean) SET search_path = pg_catalog, pg_temp;
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
ALTER FUNCTION incr_drill(text, boolean) SET search_path = pg_catalog, pg_temp;
ALTER FUNCTION incr_cluster_health() SET search_path = pg_catalog, pg_temp;
ALTER FUNCTION incr_metrics() SET search_path = pg_catalog, pg_temp;
ALTER FUNCTION incr_history(regclass, jsonb, timestamptz, timestamptz) SET search_path = pg_catalog, pg_temp;
ALTER FUNCTION incr_history(regclass, text, timestamptz, timestamptz) SET search_path = pg_catalog, pg_temp;
ALTER FUNCTION incr_report() SET search_path = pg_catalog, pg_temp;
ALTER FUNCTION incr_teardown(boolean) SET search_path = pg_catalog, pg_temp;
ALTER FUNCTION incr_ddl_command_end() SET search_path = pg_catalog, pg_temp;
ALTER FUNCTION incr_sql_drop() SET search_path = pg_catalog, pg_temp;
ALTER FUNCTION incr_table_rewrite() SET search_path = pg_catalog, pg_temp;
