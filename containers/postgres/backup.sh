# Sourced by the image's entrypoint on the first start, with a temporary server: the backup of the database begins.
docker_process_sql <<'SQL'
CREATE EXTENSION IF NOT EXISTS pg_incrbackup;
SELECT step, status, detail FROM incr_setup();
SQL
