#!/bin/sh
# upgrade.sh: a database that the version before backs up is backed up by this one when its packages are installed: with a
# client that goes on committing meanwhile, in the same chain, and every moment of it is restored, those before it, too.
set -eu
. "$(dirname -- "$0")/in-debian.sh"

version() {
    sql shop "SELECT extversion FROM pg_extension WHERE extname = 'pg_incrbackup'"
}

# write: commits numbers, one after another, until it is told to end, and notes those that the server has confirmed.
write() {
    while [ ! -e /tmp/enough ]; do
        sql shop 'INSERT INTO numbers DEFAULT VALUES RETURNING n' >>/tmp/committed 2>>/tmp/refused || :
    done
}

# wait_for_writer: until it has committed ten more, for a minute at most.
wait_for_writer() {
    until=$(($(wc -l </tmp/committed) + 10))
    deadline=$(($(date +%s) + 60))
    while [ "$(wc -l </tmp/committed)" -lt $until ]; do
        [ "$(date +%s)" -lt $deadline ] || fail "nothing is committed: $(tail -n 5 /tmp/refused)"
        kill -0 "$writer" 2>/dev/null || fail "who writes has ended: $(cat /tmp/refused)"
    done
}

# now: as --until-time takes it.
now() {
    sql shop "SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US')"
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
sql shop 'CREATE TABLE numbers (n bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY)'
: >/tmp/committed
write &
writer=$!
psql shop "UPDATE orders SET item = 'by the old version' WHERE id <= 10"
wait_for_writer
by_the_old=$(now)
old=$(version)

say "This version over it, with a client that goes on"
apt install /packages/*.deb
psql shop "UPDATE orders SET item = 'before the restart' WHERE id BETWEEN 11 AND 20"
psql shop 'SELECT level, reasons FROM incr_slot_health()'
wait_for_writer
run pg_ctlcluster "$MAJOR" main restart
wait_for_writer
psql shop "UPDATE orders SET item = 'before ALTER EXTENSION' WHERE id BETWEEN 21 AND 30"
! sql shop 'SELECT level FROM incr_slot_health()' >/tmp/said 2>&1 || fail "monitoring answers before ALTER EXTENSION"
cat /tmp/said
grep -q 'ALTER EXTENSION' /tmp/said || fail "the error does not say what to do"
before_update=$(now)
wait_for_writer
psql shop 'ALTER EXTENSION pg_incrbackup UPDATE'
[ "$(version)" != "$old" ] || fail "the extension still is of version $old"
echo "the extension was $old and is $(version)"
psql shop "CREATE TABLE notes (note text); INSERT INTO notes VALUES ('by the new version')"
wait_for_writer
touch /tmp/enough
wait "$writer"
psql shop 'SELECT incr_flush()'
psql shop 'SELECT level, reasons FROM incr_slot_health()'
[ "$(ls -d $archive/shop/chain-* | wc -l)" = 1 ] || fail "another chain was begun"

say "Every moment of it is restored"
postgres pg_incrbackup info --archive $archive/shop
postgres pg_incrbackup verify --archive $archive/shop
postgres pg_incrbackup restore --archive $archive/shop --target 'dbname=shop_again'
ensure_same shop shop_again
[ "$(sql shop_again "SELECT count(DISTINCT item) FROM orders WHERE id <= 30")" = 3 ] || fail 'not every change is in it'
sql shop_again 'SELECT n FROM numbers' | sort >/tmp/restored
sort /tmp/committed | comm -23 - /tmp/restored >/tmp/lost
[ ! -s /tmp/lost ] || fail "committed, and not restored: $(cat /tmp/lost)"
echo "$(wc -l </tmp/committed) transactions were confirmed meanwhile, and each is in it ($(wc -l </tmp/refused) lines of errors during the restart)"

postgres pg_incrbackup restore --archive $archive/shop --target 'dbname=shop_before' --until-time "$by_the_old"
[ "$(sql shop_before "SELECT count(DISTINCT item) FROM orders WHERE id <= 30")" = 21 ] ||
    fail 'that moment of the old version is another one'
postgres pg_incrbackup restore --archive $archive/shop --target 'dbname=shop_between' --until-time "$before_update"
[ "$(sql shop_between "SELECT count(DISTINCT item) FROM orders WHERE id <= 30")" = 3 ] ||
    fail 'what was written before ALTER EXTENSION is not in it'
[ -z "$(sql shop_between "SELECT to_regclass('notes')")" ] || fail 'there is something of later in it'

say "Ended, and purged"
psql shop 'SELECT incr_teardown()'
psql shop 'DROP EXTENSION pg_incrbackup'
run rm "$conf/conf.d/pg_incrbackup.conf"
run pg_ctlcluster "$MAJOR" main restart
apt purge "postgresql-$MAJOR-pg-incrbackup" pg-incrbackup
ensure_gone
postgres sh $archive/shop/restore.sh --target 'dbname=shop_by_script'
ensure_same shop_again shop_by_script
say "Done"
