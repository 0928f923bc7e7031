#!/bin/sh
# The whole promise in a minute, on a throwaway cluster: back a database up while it is used,
# pull the plug, go on, restore, compare. Ends with a non-zero status when anything differs.
# DEMO_PGVER chooses the PostgreSQL (15 or 18), KEEP=1 leaves the cluster's files there.
set -eu
. "$(dirname -- "$0")/paths.sh"

version=${DEMO_PGVER:-15}
bin=$(tree_bin "$version" dev)
PATH=$bin:$PATH
export PATH
unset PGDATABASE PGPORT PGUSER PGOPTIONS PGSERVICE || true

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
run() { printf '$ %s\n' "$*"; as_postgres "$@"; }
sql() { as_postgres psql -XAtq -v ON_ERROR_STOP=1 -h "$root" -U postgres -d "${database:-shop}" -c "$1"; }
show() {
    printf 'shop=# %s\n' "$1"
    as_postgres psql -Xq -v ON_ERROR_STOP=1 -P pager=off -h "$root" -U postgres -d shop -c "$1"
}
start() { as_postgres pg_ctl -w -D "$root/data" -l "$root/server.log" start >/dev/null; }

leave() {
    status=$?
    trap - EXIT
    [ -z "${load:-}" ] || kill "$load" 2>/dev/null || true
    as_postgres pg_ctl -D "$root/data" -m immediate stop >/dev/null 2>&1 || true
    if [ "$status" != 0 ]; then
        echo "demo: something went wrong; the end of the server's log:" >&2
        tail -n 20 "$root/server.log" >&2 || true
    fi
    [ -n "${KEEP:-}" ] || rm -rf "$root"
    exit "$status"
}

# Schema, data and sequences of one database as sorted lines. A restored one has no pg_incrbackup.
fingerprint() {
    as_postgres pg_dump -h "$root" -U postgres --no-unlogged-table-data "$1" |
        grep -v -e '^$' -e '^--' -e '^\\restrict ' -e '^\\unrestrict ' \
            -e '^CREATE EXTENSION IF NOT EXISTS pg_incrbackup ' \
            -e '^COMMENT ON EXTENSION pg_incrbackup ' |
        LC_ALL=C sort
}

is_identical() {
    fingerprint shop >"$root/source"
    fingerprint "$1" >"$root/restored"
    [ -s "$root/source" ] && diff "$root/source" "$root/restored" >"$root/difference"
}

# Ends the load's sessions and waits until they are gone: a signal would only reach the subshell.
stop_load() {
    sql "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'pgbench'" >/dev/null
    wait "$load" 2>/dev/null || true
    load=
    until [ "$(sql "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgbench'")" = 0 ]; do
        sleep 0.1
    done
}

# A load that goes on until it is stopped or the server goes away.
start_load() {
    as_postgres pgbench -n -c 3 -T 600 -h "$root" -U postgres shop >/dev/null 2>&1 &
    load=$!
}

wait_for_transactions() {
    target=$(($(sql 'SELECT count(*) FROM pgbench_history') + $1))
    while [ "$(sql 'SELECT count(*) FROM pgbench_history')" -lt "$target" ]; do sleep 0.1; done
}

say "1. A throwaway cluster of PostgreSQL $version, with the three lines that pg_incrbackup needs"
root=$(mktemp -d)
trap leave EXIT
trap 'exit 1' INT TERM
sh "$checkout/tools/install.sh" "$bin/pg_config" dev >"$root/build.log" 2>&1 ||
    { cat "$root/build.log"; fail "the extension does not build"; }
# The server's programs complain about a directory that their user may not enter.
cd /
[ "$(id -u)" != 0 ] || chown postgres: "$root"
archive=$root/archive
as_postgres initdb -D "$root/data" -U postgres --auth=trust --locale=C.UTF-8 >/dev/null
as_postgres tee -a "$root/data/postgresql.conf" <<CONF
wal_level = logical
shared_preload_libraries = 'pg_incrbackup'
pg_incrbackup.directory = '$archive'
CONF
as_postgres tee -a "$root/data/postgresql.conf" >/dev/null <<CONF
listen_addresses = ''
unix_socket_directories = '$root'
CONF
start
database=postgres sql 'CREATE DATABASE shop'
as_postgres pgbench -i -q -s 5 -h "$root" -U postgres shop >/dev/null 2>&1

say "2. From CREATE EXTENSION to a usable backup in one call"
show 'CREATE EXTENSION pg_incrbackup'
show 'SELECT * FROM incr_setup()'

say "3. A load, and at the same time: schema changes, TRUNCATE, a table without a key, CREATE TABLE AS"
start_load
wait_for_transactions 300
sql "CREATE TABLE customers (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL);
     INSERT INTO customers (name) VALUES ('Ann'), ('Bob'), (E'a name\non two lines')"
sql 'ALTER TABLE customers ADD COLUMN since timestamptz DEFAULT now()'
sql 'CREATE INDEX CONCURRENTLY customers_name ON customers (name)'
sql "CREATE TABLE visits (page text, note json)"
sql "INSERT INTO visits SELECT 'home', '{}' FROM generate_series(1, 5);
     UPDATE visits SET page = 'cart' WHERE ctid = '(0,2)'; DELETE FROM visits WHERE ctid = '(0,4)'"
sql 'CREATE TABLE rich AS SELECT aid, abalance, random() AS luck FROM pgbench_accounts ORDER BY abalance DESC LIMIT 20'
sql "CREATE TABLE scratch (a int); INSERT INTO scratch SELECT generate_series(1, 1000); TRUNCATE scratch; INSERT INTO scratch VALUES (42)"
sql 'CREATE VIEW names AS SELECT name FROM customers; COMMENT ON VIEW names IS $$who buys$$'
wait_for_transactions 300

say "4. The plug is pulled in the middle of it"
run pg_ctl -D "$root/data" -m immediate stop
wait "$load" 2>/dev/null || true
start
echo 'restarted; the load goes on, and so does the schema'
start_load
wait_for_transactions 300
sql "ALTER TABLE customers RENAME COLUMN name TO full_name; INSERT INTO customers (full_name) VALUES ('Cy')"
sql "CREATE TABLE prices (item text PRIMARY KEY, price numeric); INSERT INTO prices VALUES ('tea', 3.50), ('cake', 4.20)"
wait_for_transactions 300
kept=$(sql 'SELECT string_agg(item || $$ $$ || price, $$, $$ ORDER BY item) FROM prices')
sql "SELECT incr_mark('before the new prices')" >/dev/null
sql 'UPDATE prices SET price = 0'
wait_for_transactions 100
stop_load

say "5. What is on disk: plain SQL"
flushed=$(sql 'SELECT incr_flush()')
segment=$(find "$archive/shop" -name '*.sql*' -path '*incremental*' | LC_ALL=C sort | tail -n 1)
echo "$segment ends with"
tail -n 14 "$segment" | cut -c 1-160 | sed 's/^/    /'

say "6. How the backup is"
printf 'shop=# SELECT * FROM incr_slot_health() \\gx\n'
as_postgres psql -Xq -P pager=off -h "$root" -U postgres -d shop -x -c 'SELECT * FROM incr_slot_health()'

say "7. Restored into a new database, and once more with nothing but the archive's own restore.sh"
connect="host=$root user=postgres"
run pg_incrbackup --quiet restore --archive "$archive/shop" --target "$connect dbname=again"
run sh "$archive/shop/restore.sh" --target "$connect dbname=by_script"
transactions=$(sql "SELECT sum(transactions) FROM incr_files() WHERE kind = 'incremental'")
result=0
for database in again by_script; do
    if is_identical $database; then
        echo "$database: identical: schema, data and sequences ($(wc -l <"$root/source") lines of pg_dump)"
    else
        echo "$database: DIFFERENT:"
        head -n 40 "$root/difference"
        result=1
    fi
done
database=

say "8. One table as it was before somebody set all prices to 0, beside the live one, in the running database"
run pg_incrbackup --quiet restore --archive "$archive/shop" --target "$connect dbname=shop" \
    --table prices --until-mark 'before the new prices' --into-schema earlier
show 'SELECT item, now.price, was.price AS was FROM prices AS now JOIN earlier.prices AS was USING (item)'
found=$(sql 'SELECT string_agg(item || $$ $$ || price, $$, $$ ORDER BY item) FROM earlier.prices' || true)
if [ "$found" != "$kept" ]; then
    echo "DIFFERENT: it was $kept"
    result=1
fi

say "Done"
echo "$transactions transactions were captured up to $flushed, through one crash."
if [ "$result" = 0 ]; then
    echo 'The restored databases are identical to their source.'
else
    echo 'The restored databases DIFFER from their source.'
fi
exit "$result"
