-- Health, status, and what there is to restore, are for monitoring; everything else is for superusers until it is granted.

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
REVOKE ALL ON FUNCTION incr_changes(regclass, timestamptz, timestamptz, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION incr_info() FROM PUBLIC;
REVOKE ALL ON FUNCTION incr_as_of(anyelement, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION incr_report() FROM PUBLIC;
REVOKE ALL ON FUNCTION incr_teardown(boolean) FROM PUBLIC;

GRANT EXECUTE ON FUNCTION incr_check() TO pg_monitor;
GRANT EXECUTE ON FUNCTION incr_slot_health() TO pg_monitor;
GRANT EXECUTE ON FUNCTION incr_cluster_health() TO pg_monitor;
GRANT EXECUTE ON FUNCTION incr_metrics() TO pg_monitor;
GRANT EXECUTE ON FUNCTION incr_status() TO pg_monitor;
GRANT EXECUTE ON FUNCTION incr_files() TO pg_monitor;
GRANT EXECUTE ON FUNCTION incr_info() TO pg_monitor;

-- What each of them is, as \df+ shows it. The scripts that update from earlier versions end with the same lines; a test
-- compares them, and one fails for a member of the extension without a comment.
COMMENT ON FUNCTION incr_check() IS 'everything that a backup of this database needs, whether it is there, and what to write';
COMMENT ON FUNCTION incr_setup(boolean, boolean) IS 'sets up the backup of this database: replica identities, slot, first base, capture';
COMMENT ON FUNCTION incr_teardown(boolean) IS 'stops capture of this database and drops its slot; the files are kept';
COMMENT ON FUNCTION incr_slot_health() IS 'health of each slot of this database: level, reasons, lag';
COMMENT ON FUNCTION incr_cluster_health() IS 'health of each database of the cluster that has a slot or an archive, or whose backup is missed, the worst first';
COMMENT ON FUNCTION incr_metrics() IS 'figures of each database of the cluster that is backed up, for monitoring';
COMMENT ON FUNCTION incr_status() IS 'what each worker of this database is doing';
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
