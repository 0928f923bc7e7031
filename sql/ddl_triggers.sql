-- We insert rows without a statement, so this stops everybody else, including superusers and replication.
CREATE TRIGGER refuse_write BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON ddl_history
    FOR EACH STATEMENT EXECUTE FUNCTION incr_refuse_write();
ALTER TABLE ddl_history ENABLE ALWAYS TRIGGER refuse_write;

-- Event triggers fire in the order of their names. Ours sort first, so that rows which other event
-- triggers write about a command follow the command in the stream.
CREATE EVENT TRIGGER "0_pg_incrbackup_command_end" ON ddl_command_end
    EXECUTE FUNCTION incr_ddl_command_end();
CREATE EVENT TRIGGER "0_pg_incrbackup_drop" ON sql_drop
    EXECUTE FUNCTION incr_sql_drop();
CREATE EVENT TRIGGER "0_pg_incrbackup_rewrite" ON table_rewrite
    EXECUTE FUNCTION incr_table_rewrite();
ALTER EVENT TRIGGER "0_pg_incrbackup_command_end" ENABLE ALWAYS;
ALTER EVENT TRIGGER "0_pg_incrbackup_drop" ENABLE ALWAYS;
ALTER EVENT TRIGGER "0_pg_incrbackup_rewrite" ENABLE ALWAYS;
