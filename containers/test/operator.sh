# Run in a root with a server of PostgreSQL 18 that knows nothing of us, and the extension's image mounted where
# CloudNativePG mounts it (test.sh): settings as the operator writes them, as its user.
set -o pipefail
mounted=/extensions/pg_incrbackup
bin=/usr/lib/postgresql/18/bin
data=/var/lib/postgresql/data

as_postgres() {
    setpriv --reuid=postgres --regid=postgres --init-groups -- env "PATH=$bin:$PATH:$mounted/bin" "$@"
}
fail() {
    echo "operator: $*" >&2
    tail -n 30 /var/lib/postgresql/log >&2 || :
    exit 1
}
sql() {
    as_postgres psql -v ON_ERROR_STOP=1 -X -qAt -h /controller/run -d "$1" -c "$2"
}

touch $mounted/written 2>/dev/null && fail "the image is not mounted read-only"
install -d -o postgres -g postgres -m 700 /var/lib/postgresql $data /controller/run
# The volume of the example's tablespace.
install -d -o root -g postgres -m 2775 /var/lib/postgresql/tablespaces/backups
as_postgres initdb --username=postgres -D $data/pgdata --auth-local=peer >/tmp/initdb 2>&1 || fail "$(cat /tmp/initdb)"
cat >>$data/pgdata/postgresql.conf <<CONF
listen_addresses = ''
unix_socket_directories = '/controller/run'
wal_level = logical
extension_control_path = '\$system:$mounted/share'
dynamic_library_path = '\$libdir:$mounted/lib'
CONF
# postgresql.parameters and shared_preload_libraries of our example.
sed -n '/^      pg_incrbackup\./{s/^ *//; s/: "\(.*\)"$/ = '"'"'\1'"'"'/; p}' /cluster.yaml >>$data/pgdata/postgresql.conf
sed -n '/^    shared_preload_libraries:/{n; s/.*- "\(.*\)"/shared_preload_libraries = '"'"'\1'"'"'/; p}' /cluster.yaml >>$data/pgdata/postgresql.conf
grep '^pg_incrbackup\|^shared_preload' $data/pgdata/postgresql.conf
grep -q '^pg_incrbackup.directory' $data/pgdata/postgresql.conf || fail "the example has no directory"
grep -q "^shared_preload_libraries = 'pg_incrbackup'" $data/pgdata/postgresql.conf || fail "the example does not preload"
as_postgres pg_ctl --silent -D $data/pgdata -l /var/lib/postgresql/log -w start || fail "the server does not start"

sql postgres "CREATE DATABASE app"
sql app "CREATE EXTENSION pg_incrbackup"
sql app "SELECT step, status FROM incr_setup()"
sql app "CREATE TABLE orders (id int PRIMARY KEY, item text); INSERT INTO orders SELECT i, 'tea' FROM generate_series(1, 1000) i;
    UPDATE orders SET item = 'mate' WHERE id = 7; SELECT incr_flush()"
archive=$(sql app "SHOW pg_incrbackup.directory")
as_postgres pg_incrbackup restore --quiet --archive "$archive/app" --target 'host=/controller/run dbname=app_again'
[ "$(sql app_again "SELECT count(*), max(item) FILTER (WHERE id = 7) FROM orders")" = "1000|mate" ] || fail "it does not restore"
# Its programs are in bin_directory, the server's and ours.
drill=$(sql app "SELECT result, problems, left_out FROM incr_drill()")
[ "$drill" = 'passed|{}|{}' ] || fail "the drill says $drill"
[ "$(sql app "SELECT count(*) FROM pg_settings WHERE name = 'pg_incrbackup.bin_directory' AND setting = '$mounted/bin'")" = 1 ] ||
    fail "the example does not say where the programs are"
as_postgres pg_ctl --silent -D $data/pgdata -m fast -w stop
echo "operator: found by extension_control_path, backed up, restored, and drilled"
