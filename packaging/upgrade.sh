#!/bin/sh
# upgrade.sh: a database that the version before backs up is backed up by this one when its packages are installed.
set -eu
. "$(dirname -- "$0")/in-debian.sh"

version() {
    sql shop "SELECT extversion FROM pg_extension WHERE extname = 'pg_incrbackup'"
}

say "The version before"
apt install "postgresql-$MAJOR" /packages/previous/*.deb
[ -d "$conf" ] || run pg_createcluster "$MAJOR" main
configure
postgres createdb shop
sql shop "CREATE TABLE orders (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, item text);
    INSERT INTO orders (item) SELECT 'tea ' || i FROM generate_series(1, 1000) i"
psql shop 'CREATE EXTENSION pg_incrbackup'
psql shop 'SELECT * FROM incr_setup()'
psql shop "UPDATE orders SET item = 'by the old version' WHERE id <= 10"
old=$(version)

say "This version over it"
apt install /packages/*.deb
psql shop "UPDATE orders SET item = 'before the restart' WHERE id BETWEEN 11 AND 20"
run pg_ctlcluster "$MAJOR" main restart
psql shop "UPDATE orders SET item = 'before ALTER EXTENSION' WHERE id BETWEEN 21 AND 30"
psql shop 'ALTER EXTENSION pg_incrbackup UPDATE'
[ "$(version)" != "$old" ] || fail "the extension still is of version $old"
echo "the extension was $old and is $(version)"
psql shop "CREATE TABLE notes (note text); INSERT INTO notes VALUES ('by the new version')"
psql shop 'SELECT incr_flush()'
psql shop 'SELECT level, reasons FROM incr_slot_health()'
postgres pg_incrbackup restore --archive $archive/shop --target 'dbname=shop_again'
ensure_same shop shop_again
[ "$(sql shop_again "SELECT count(DISTINCT item) FROM orders WHERE id <= 30")" = 3 ] || fail 'not every change is in it'

say "Purged"
apt purge "postgresql-$MAJOR-pg-incrbackup" pg-incrbackup
ensure_gone
say "Done"
