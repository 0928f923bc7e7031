#!/bin/sh
# roundtrip.sh [replay DIRECTORY]: PostgreSQL's own regression suite as the load to survive. It runs
# on a throwaway cluster without us and on one that is backed up, is restored, and compared; the
# program in tests/roundtrip says how. PG chooses the PostgreSQL (15 or 18). Fails unless the suite
# runs the same with us, every statement restores, and nothing differs.
#
# QUICK=1 leaves out the run without us. KEEP=1 leaves the cluster, and `replay` with its directory
# restores and compares it again, with this checkout's restore.sh.
#
# The suite comes from the distribution's source package; it is fetched once and kept under the
# prefix, outside the checkout.
set -eu
. "$(dirname -- "$0")/paths.sh"

version=${PG:-15}
sources=$prefix/regress/$version
tree=$(tree "$version" dev)
suite=$tree/regress

# A package that is listed can be gone from the mirror: then the next older one serves.
download_source() {
    for candidate in $(apt_in "$download" apt-cache showsrc "postgresql-$version" | sed -n 's/^Version: //p' | sort -rVu); do
        if apt_in "$download" apt-get source -qq --download-only "postgresql-$version=$candidate" 2>>"$download/log"; then
            echo "$candidate" >"$download/version"
            return
        fi
    done
    cat "$download/log" >&2
    fail "no source package of PostgreSQL $version can be fetched"
}

fetch_suite() {
    [ ! -f "$sources/version" ] || return 0
    echo "roundtrip: fetching the regression suite of PostgreSQL $version"
    download=$(mktemp -d)
    trap 'rm -rf "$download"' EXIT
    trap 'exit 1' INT TERM HUP
    mkdir "$download/sources" "$download/regress"
    # PostgreSQL 18 is younger than Debian 12.
    release=
    [ "$version" = 15 ] || release=unstable
    debian_sources "$release" deb-src >"$download/sources/source.sources" ||
        fail "there is no $list: unpack src/test/regress of PostgreSQL $version's" \
            "source into $sources and write its version into $sources/version"
    cd "$download"
    apt_in "$download" apt-get update -qq
    download_source
    tar -xf "$download"/*.orig.tar.* -C regress --strip-components=4 --wildcards '*/src/test/regress'
    mv version regress/
    mkdir -p "$(dirname "$sources")"
    rm -rf "$sources"
    mv regress "$sources"
    chmod -R a+rX "$(dirname "$sources")"
    cd "$checkout"
    rm -rf "$download"
    trap - EXIT INT TERM HUP
}

# The suite's own C functions are compiled against the server's headers; two modules of contrib
# that it uses come with the server. The wheel's pg_regress is not executable.
prepare_suite() {
    pg_config=$(tree_bin "$version" dev)/pg_config
    chmod a+rx "$(dirname "$("$pg_config" --pgxs)")/../test/regress/pg_regress"
    [ "$(cat "$suite/version" 2>/dev/null)" != "$(cat "$sources/version")" ] || return 0
    rm -rf "$suite" "$suite.new"
    cp -r "$sources" "$suite.new"
    cc -O2 -fPIC -shared -I"$("$pg_config" --includedir-server)" "$sources/regress.c" -o "$suite.new/regress.so"
    cp "$("$pg_config" --pkglibdir)/refint.so" "$("$pg_config" --pkglibdir)/autoinc.so" "$suite.new/"
    chmod -R a+rX "$suite.new"
    mv "$suite.new" "$suite"
}

case ${1:-} in
    '') ;;
    replay) [ -d "${2:-}/data" ] || fail "replay wants the directory of a kept cluster" ;;
    *) fail "unknown argument: $1" ;;
esac
fetch_suite
prepare_suite
sh "$checkout/tools/install.sh" "$(tree_bin "$version" dev)/pg_config" dev
cd "$checkout"
PGVER=$version PGPROFILE=dev REGRESS_SUITE=$suite \
    cargo run --quiet --package cluster-tests --bin roundtrip -- "$@"
