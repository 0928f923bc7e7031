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
run as_postgres createdb shop
sql shop "CREATE TABLE orders (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, item text, at timestamptz DEFAULT now());
    INSERT INTO orders (item) SELECT 'tea ' || i FROM generate_series(1, 1000) i"

say "It is backed up from here on"
shown shop 'CREATE EXTENSION pg_incrbackup'
shown shop 'SELECT * FROM incr_setup()'
shown shop "ALTER TABLE orders ADD price numeric(8,2) DEFAULT 3.50"
shown shop "UPDATE orders SET price = 4.20 WHERE id % 7 = 0"
shown shop "CREATE TABLE notes (note text); INSERT INTO notes VALUES ('without a key'); UPDATE notes SET note = 'changed'"
shown shop "SELECT incr_mark('before the mistake')"
orders=$(sql shop 'SELECT count(*) FROM orders')
shown shop "DELETE FROM orders WHERE id > 500"
shown shop 'SELECT incr_flush()'
shown shop 'SELECT level, reasons FROM incr_slot_health()'
[ "$(sql shop 'SELECT level FROM incr_slot_health()')" = ok ] || fail 'it is not well'

say "What can be restored"
run as_postgres pg_incrbackup info --archive $archive/shop
run as_postgres pg_incrbackup verify --archive $archive/shop

say "The latest state, as another database"
run as_postgres pg_incrbackup restore --archive $archive/shop --target 'dbname=shop_again'
ensure_same shop shop_again

say "The state before the mistake"
run as_postgres pg_incrbackup restore --archive $archive/shop --target 'dbname=shop_before' --until-mark 'before the mistake'
[ "$(sql shop_before 'SELECT count(*) FROM orders')" = "$orders" ] || fail 'the orders are not back'

say "A drill finds the program, too"
shown shop 'SELECT result, problems FROM incr_drill()'
[ "$(sql shop "SELECT result FROM incr_drills() ORDER BY started_at DESC LIMIT 1")" = passed ] || fail 'the drill has not passed'

say "Removing it"
shown shop 'SELECT incr_teardown()'
shown shop 'DROP EXTENSION pg_incrbackup'
run rm "$conf/conf.d/pg_incrbackup.conf"
apt remove "postgresql-$MAJOR-pg-incrbackup" pg-incrbackup
run pg_ctlcluster "$MAJOR" main restart
[ "$(sql shop 'SELECT count(*) FROM pg_replication_slots')" = 0 ] || fail 'a slot is left'
ensure_gone
apt purge "postgresql-$MAJOR-pg-incrbackup" pg-incrbackup
ensure_gone
ensure_same shop shop_again
[ -s $archive/shop/restore.sh ] || fail 'the archive is gone'

say "And without any of it, the archive is restored by what it holds itself"
run as_postgres sh $archive/shop/restore.sh --target 'dbname=shop_by_script'
ensure_same shop shop_by_script
pg_dropcluster --stop "$MAJOR" main
rm -rf $archive
say "Done"
