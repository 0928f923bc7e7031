#!/bin/sh
# first-hour.sh: from the .debs to a database that is backed up, restored, and rid of them again, in a clean Debian.
set -eu
. "$(dirname -- "$0")/in-debian.sh"

say "Installing PostgreSQL $MAJOR, the extension and the program"
apt install "postgresql-$MAJOR" /packages/*.deb
run dpkg-query -W '*pg-incrbackup*' "postgresql-$MAJOR"
run pg_incrbackup --version
for made in /usr/share/man/man1/pg_incrbackup.1.gz /usr/share/bash-completion/completions/pg_incrbackup \
    /usr/share/zsh/vendor-completions/_pg_incrbackup /usr/share/fish/vendor_completions.d/pg_incrbackup.fish; do
    [ -s $made ] || fail "$made is not there"
done
dpkg --verify pg-incrbackup "postgresql-$MAJOR-pg-incrbackup" || fail "a file is not what its package holds"

say "Three lines of configuration, and one restart"
configure

say "A database with something in it"
postgres createdb shop
sql shop "CREATE TABLE orders (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, item text, at timestamptz DEFAULT now());
    INSERT INTO orders (item) SELECT 'tea ' || i FROM generate_series(1, 1000) i"

say "It is backed up from here on"
psql shop 'CREATE EXTENSION pg_incrbackup'
psql shop 'SELECT * FROM incr_setup()'
psql shop "ALTER TABLE orders ADD price numeric(8,2) DEFAULT 3.50"
psql shop "UPDATE orders SET price = 4.20 WHERE id % 7 = 0"
psql shop "CREATE TABLE notes (note text); INSERT INTO notes VALUES ('without a key'); UPDATE notes SET note = 'changed'"
psql shop "SELECT incr_mark('before the mistake')"
orders=$(sql shop 'SELECT count(*) FROM orders')
psql shop "DELETE FROM orders WHERE id > 500"
psql shop 'SELECT incr_flush()'
psql shop 'SELECT level, reasons FROM incr_slot_health()'
[ "$(sql shop 'SELECT level FROM incr_slot_health()')" = ok ] || fail 'it is not well'

say "What can be restored"
postgres pg_incrbackup info --archive $archive/shop
postgres pg_incrbackup verify --archive $archive/shop

say "The latest state, as another database"
postgres pg_incrbackup restore --archive $archive/shop --target 'dbname=shop_again'
ensure_same shop shop_again

say "The state before the mistake"
postgres pg_incrbackup restore --archive $archive/shop --target 'dbname=shop_before' --until-mark 'before the mistake'
[ "$(sql shop_before 'SELECT count(*) FROM orders')" = "$orders" ] || fail 'the orders are not back'

say "A drill finds the program, too"
psql shop 'SELECT result, problems FROM incr_drill()' >/tmp/drill
cat /tmp/drill
grep -q '^ passed | {}' /tmp/drill || fail 'the drill has not passed'

say "Removing it"
psql shop 'SELECT incr_teardown()'
psql shop 'DROP EXTENSION pg_incrbackup'
run rm "$conf/conf.d/pg_incrbackup.conf"
apt remove "postgresql-$MAJOR-pg-incrbackup" pg-incrbackup
run pg_ctlcluster "$MAJOR" main restart
[ "$(sql shop 'SELECT count(*) FROM pg_replication_slots')" = 0 ] || fail 'a slot is left'
ensure_gone
apt install /packages/*.deb
apt purge pg-incrbackup 'postgresql-*-pg-incrbackup'
ensure_gone
[ "$(sql shop "SELECT relreplident FROM pg_class WHERE relname = 'notes'")" = d ] || fail 'a replica identity is left'
[ -s $archive/shop/restore.sh ] || fail 'the archive is gone'

say "And without any of it, the archive is restored by what it holds itself"
postgres sh $archive/shop/restore.sh --target 'dbname=shop_by_script'
ensure_same shop_again shop_by_script
pg_dropcluster --stop "$MAJOR" main
rm -rf $archive
say "Done"
