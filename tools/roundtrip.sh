#!/bin/sh
# roundtrip.sh [replay DIRECTORY]: PostgreSQL's own tests as the load to survive. They run on a throwaway
# cluster without us and on one that is backed up, is restored, and compared; the program in
# tests/roundtrip says how. PG chooses the PostgreSQL (15 or 18), SUITE the tests: regress (the regression
# suite), isolation (its specs, each a race of sessions) or contrib (each module's own, of those that this
# PostgreSQL brings, one cluster a module; MODULES names some). Fails unless the suite runs the same with us,
# every statement restores, and nothing differs.
#
# QUICK=1 leaves out the run without us. KEEP=1 leaves the cluster, and `replay` with its directory
# restores and compares it again, with this checkout's restore.sh. IS_BUILT=yes builds and installs nothing: make test
# has done it.
#
# The suites come from the distribution's source package; it is fetched once and kept under the
# prefix, outside the checkout.
set -eu
. "$(dirname -- "$0")/paths.sh"

version=${PG:-15}
kind=${SUITE:-regress}
sources=$prefix/suites/$version
tree=$(tree "$version" dev)
suite=$tree/suites/$kind

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

fetch_suites() {
    [ ! -f "$sources/version" ] || return 0
    echo "roundtrip: fetching the tests of PostgreSQL $version"
    download=$(mktemp -d)
    trap 'rm -rf "$download"' EXIT
    trap 'exit 1' INT TERM HUP
    mkdir "$download/sources" "$download/suites"
    # PostgreSQL 18 is younger than Debian 12.
    release=
    [ "$version" = 15 ] || release=unstable
    debian_sources "$release" deb-src >"$download/sources/source.sources" ||
        fail "there is no $list: copy src/test/regress, src/test/isolation and contrib of PostgreSQL" \
            "$version's source into $sources and write its version into $sources/version"
    cd "$download"
    apt_in "$download" apt-get update -qq
    download_source
    tar -xf "$download"/*.orig.tar.* -C suites --strip-components=1 --wildcards \
        '*/src/test/regress' '*/src/test/isolation' '*/contrib'
    mv suites/src/test/* suites/
    rmdir suites/src/test suites/src
    mv version suites/
    mkdir -p "$(dirname "$sources")"
    rm -rf "$sources"
    mv suites "$sources"
    chmod -R a+rX "$(dirname "$sources")"
    cd "$checkout"
    rm -rf "$download"
    trap - EXIT INT TERM HUP
}

# The wheel's programs are not executable.
prepare_suite() {
    pg_config=$(tree_bin "$version" dev)/pg_config
    pgxs=$(dirname "$("$pg_config" --pgxs)")/../..
    chmod a+rx "$pgxs/src/test/regress/pg_regress" "$pgxs"/src/test/isolation/*
    [ "$(cat "$suite/version" 2>/dev/null)" != "$(cat "$sources/version")" ] || return 0
    rm -rf "$suite" "$suite.new"
    mkdir -p "$tree/suites"
    cp -r "$sources/$kind" "$suite.new"
    "complete_$kind" "$suite.new"
    cp "$sources/version" "$suite.new/"
    chmod -R a+rX "$tree/suites"
    mv "$suite.new" "$suite"
}

# The suite's own C functions are compiled against the server's headers; two modules of contrib
# that it uses come with the server.
complete_regress() {
    cc -O2 -fPIC -shared -I"$("$pg_config" --includedir-server)" "$1/regress.c" -o "$1/regress.so"
    cp "$("$pg_config" --pkglibdir)/refint.so" "$("$pg_config" --pkglibdir)/autoinc.so" "$1/"
}

# Each permutation of a spec ends by dropping what it made: there would be nothing to compare. The schema that
# holds it is put aside instead, but where the end is about more than what is in a schema, or a spec gives a
# name in pg_toast.
complete_isolation() {
    for spec in "$1"/specs/*.spec; do
        ! grep -q pg_toast "$spec" || continue
        awk '
            /^session/ { is_past = 1 }
            !is_past && /^teardown/ { is_in = 1 }
            !is_in { print; next }
            { end = end $0 "\n" }
            /}/ { printf "%s", tolower(end) ~ /role|schema|database/ ? end : aside; is_in = 0; end = "" }
        ' aside="teardown { DO 'BEGIN EXECUTE format(''ALTER SCHEMA public RENAME TO kept_%s'', txid_current()); CREATE SCHEMA public; END'; }
" "$spec" >"$spec.new"
        mv "$spec.new" "$spec"
    done
}

# Modules whose library or extension this PostgreSQL does not bring are left out, and named. dblink's tests
# look for the regression suite's functions beside pg_regress.
complete_contrib() {
    missing=
    for module in "$1"/*/; do
        if ! grep -Eq '^(REGRESS|ISOLATION) ' "$module/Makefile" 2>/dev/null; then
            rm -rf "$module"
        elif ! is_brought "$module/Makefile"; then
            missing="$missing $(basename "$module")"
            rm -rf "$module"
        fi
    done
    echo "$missing" >"$1/missing"
    cc -O2 -fPIC -shared -I"$("$pg_config" --includedir-server)" "$sources/regress/regress.c" \
        -o "$pgxs/src/test/regress/regress.so"
    chmod a+r "$pgxs/src/test/regress/regress.so"
}

is_brought() {
    for library in $(sed -n 's/^MODULE[^ ]* = //p' "$1"); do
        [ -f "$("$pg_config" --pkglibdir)/$library.so" ] || return 1
    done
    for extension in $(sed -n 's/^EXTENSION = //p' "$1"); do
        [ -f "$("$pg_config" --sharedir)/extension/$extension.control" ] || return 1
    done
}

# run_part NAME DIRECTORY [ARGUMENT…]: a suite, or a module's part of one, through the round trip.
run_part() {
    part=$1
    directory=$2
    shift 2
    PGVER=$version PGPROFILE=dev SUITE=$kind SUITE_DIRECTORY=$directory \
        REPORT=$checkout/target/roundtrip-$version/$part \
        "${CARGO_TARGET_DIR:-$checkout/target}/debug/roundtrip" "$@" || outcome=1
}

case ${1:-} in
    '') ;;
    replay) [ -d "${2:-}/data" ] || fail "replay wants the directory of a kept cluster" ;;
    *) fail "unknown argument: $1" ;;
esac
case $kind in
    regress | isolation | contrib) ;;
    *) fail "unknown suite: $kind (regress, isolation and contrib are known)" ;;
esac
fetch_suites
prepare_suite
cd "$checkout"
if [ -z "${IS_BUILT:-}" ]; then
    sh tools/install.sh "$(tree_bin "$version" dev)/pg_config" dev
    # It restores with the program, which is beside it.
    # shellcheck disable=SC2086 # a list of words
    cargo build --quiet $with_tests_features --bin pg_incrbackup --bin roundtrip
fi
outcome=0
if [ "$kind" = contrib ] && [ $# = 0 ]; then
    echo "roundtrip: this PostgreSQL does not bring$(cat "$suite/missing")"
    for module in ${MODULES:-$(cd "$suite" && ls -d -- */)}; do
        echo "=== ${module%/}"
        run_part "contrib/${module%/}" "$suite/${module%/}"
    done
else
    run_part "$kind" "$suite" "$@"
fi
exit $outcome
