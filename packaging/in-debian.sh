# What first-hour.sh and upgrade.sh share (sourced). They run in a clean Debian that they may spoil.

conf=/etc/postgresql/$MAJOR/main
archive=/var/backups/postgresql
export DEBIAN_FRONTEND=noninteractive
cd /
began=$(date +%s%N)

# say TEXT…: with the time since the beginning.
say() {
    printf '\n[%6.1f s] %s\n' "$(awk "BEGIN { print ($(date +%s%N) - $began) / 1e9 }")" "$*"
}

# timed COMMAND…: with the time that it has taken, below what it says.
timed() {
    from=$(date +%s%N)
    "$@"
    printf '  (%.1f s)\n' "$(awk "BEGIN { print ($(date +%s%N) - $from) / 1e9 }")"
}

# run COMMAND…: as root. postgres COMMAND…: as the server's user. Both are shown as they are typed.
run() {
    printf '$ sudo %s\n' "$*"
    timed "$@"
}
postgres() {
    printf '$ sudo -u postgres %s\n' "$*"
    timed as_postgres "$@"
}
as_postgres() {
    setpriv --reuid=postgres --regid=postgres --init-groups -- "$@"
}

# sql DATABASE STATEMENT: what it returns, without ornaments. psql DATABASE STATEMENT: as a person sees it.
sql() {
    as_postgres psql -XAtq -v ON_ERROR_STOP=1 -d "$1" -c "$2"
}
psql() {
    printf '%s=# %s\n' "$1" "$2"
    timed as_postgres psql -X -v ON_ERROR_STOP=1 -P pager=off -d "$1" -c "$2"
}

# apt COMMAND…: without what it says of each package, unless it fails.
apt() {
    printf '$ sudo apt-get %s\n' "$*"
    timed quietly apt-get -y -qq "$@"
}
quietly() {
    "$@" >/tmp/said 2>&1 || { cat /tmp/said; fail "$*"; }
}

fail() {
    echo "FAILED: $*" >&2
    tail -n 30 /var/log/postgresql/*.log >&2 || true
    exit 1
}

# The three lines, where Debian's clusters look for such.
configure() {
    run install -d -o postgres -g postgres -m 700 $archive
    cat >"$conf/conf.d/pg_incrbackup.conf" <<CONF
wal_level = logical
shared_preload_libraries = 'pg_incrbackup'
pg_incrbackup.directory = '$archive'
CONF
    run cat "$conf/conf.d/pg_incrbackup.conf"
    run pg_ctlcluster "$MAJOR" main restart
}

# dump_of DATABASE: schema, data and sequences, as sorted lines. A restored one has no pg_incrbackup.
dump_of() {
    as_postgres pg_dump "$1" | grep -v -e '^$' -e '^--' -e '^\\restrict ' -e '^\\unrestrict ' \
        -e '^CREATE EXTENSION IF NOT EXISTS pg_incrbackup ' -e '^COMMENT ON EXTENSION pg_incrbackup ' | sort
}

# ensure_same A B
ensure_same() {
    dump_of "$1" >/tmp/a
    dump_of "$2" >/tmp/b
    [ "$(wc -l </tmp/a)" -gt 20 ] && diff /tmp/a /tmp/b || fail "$2 is not what $1 is"
    echo "$2 is what $1 is ($(wc -l </tmp/a) lines of pg_dump)"
}

# ensure_gone: of the packages no file is left, anywhere but where archives are and where this test keeps them.
ensure_gone() {
    left=$(find / -xdev \( -path /proc -o -path /packages -o -path $archive -o -path "$conf" \) -prune -o \
        \( -name '*pg_incrbackup*' -o -name '*pg-incrbackup*' \) -print | grep -v '^/var/cache/apt/' || true)
    [ -z "$left" ] || fail "left of the packages: $left"
    ! dpkg-query -W -f '${Package} ${Status}\n' '*pg-incrbackup*' 2>/dev/null | grep -v 'unknown ok not-installed' ||
        fail "dpkg still knows of the packages"
    echo 'no file of the packages is left'
}

for tool in cargo rustc gcc cc clang make; do
    ! command -v $tool >/dev/null || fail "this Debian is not clean: it has $tool"
done
