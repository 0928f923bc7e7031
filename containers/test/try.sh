# Run in the unpacked image for trying (test.sh): what the official image's entrypoint does with it, and what
# containers/README.md says then.
set -o pipefail
bin=/usr/lib/postgresql/$PG_MAJOR/bin
PGDATA=/var/lib/postgresql/container
POSTGRES_USER=postgres
POSTGRES_DB=shop

as_postgres() {
    setpriv --reuid=postgres --regid=postgres --init-groups -- env "PATH=$bin:$PATH" "$@"
}
fail() {
    echo "try: $*" >&2
    tail -n 20 /tmp/log >&2 || :
    exit 1
}
# What scripts of /docker-entrypoint-initdb.d may call.
docker_process_sql() {
    as_postgres psql -v ON_ERROR_STOP=1 --username "$POSTGRES_USER" --no-password --no-psqlrc --dbname "$POSTGRES_DB" "$@"
}
start() {
    as_postgres pg_ctl --silent -D $PGDATA -l /tmp/log -w "$@" start
}
stop() {
    as_postgres pg_ctl --silent -D $PGDATA -m fast -w stop
}
sql() {
    docker_process_sql -qAt -c "$1"
}

install -d -o postgres -g postgres -m 700 $PGDATA
install -d -o postgres -g postgres -m 3777 /var/run/postgresql
install -o postgres /dev/null /tmp/log
echo secret >/tmp/password
as_postgres initdb --username=postgres --pwfile=/tmp/password -D $PGDATA >/tmp/initdb 2>&1 || fail "$(cat /tmp/initdb)"
grep -q pg_incrbackup.directory $PGDATA/postgresql.conf || fail "initdb has not taken the image's settings"
start -o "-c listen_addresses=''"
as_postgres psql -q --username postgres -c "CREATE DATABASE $POSTGRES_DB"
ls /docker-entrypoint-initdb.d/*.sh >/dev/null
for script in /docker-entrypoint-initdb.d/*.sh; do
    [ ! -x "$script" ] || fail "$script is not sourced, and cannot use the entrypoint's functions"
    . "$script"
done
stop

# docker run goes on here, with a server for everybody.
start
[ "$(sql "SELECT count(*) FROM pg_replication_slots WHERE plugin = 'pg_incrbackup'")" = 1 ] || fail "it is not backed up"
sql "CREATE TABLE orders (id int PRIMARY KEY, item text); INSERT INTO orders SELECT i, 'tea' FROM generate_series(1, 1000) i"
sql "SELECT incr_mark('before the mistake')"
sql "DELETE FROM orders WHERE id > 10; SELECT incr_flush()"
[ "$(sql "SELECT level FROM incr_slot_health()")" != emergency ] || fail "$(sql 'SELECT * FROM incr_slot_health()')"
as_postgres pg_incrbackup info --archive /var/backups/postgresql
as_postgres pg_incrbackup restore --quiet --archive /var/backups/postgresql/$POSTGRES_DB \
    --target 'host=/var/run/postgresql dbname=shop_again' --until-mark 'before the mistake'
POSTGRES_DB=shop_again
[ "$(sql 'SELECT count(*) FROM orders')" = 1000 ] || fail "it does not restore"
POSTGRES_DB=shop
# docker stop, docker start: it goes on in the same chain.
stop
start
sql "INSERT INTO orders VALUES (0, 'after'); SELECT incr_flush()"
[ "$(ls -d /var/backups/postgresql/shop/chain-* | wc -l)" = 1 ] || fail "another chain was begun"
as_postgres pg_incrbackup restore --quiet --archive /var/backups/postgresql/shop \
    --target 'host=/var/run/postgresql dbname=shop_now'
POSTGRES_DB=shop_now
[ "$(sql 'SELECT count(*) FROM orders')" = 11 ] || fail "what came after a restart does not restore"
stop
echo "try: backed up from its first start on, restored, and restarted"
