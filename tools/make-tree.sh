#!/bin/sh
# make-tree.sh VERSION PROFILE: a private copy of that PostgreSQL, so that tests never write into
# the machine's own. PostgreSQL is relocatable: its programs find their files relative to
# themselves. Made once, and again when the installation it was copied from has changed, or got
# another library.
set -eu
. "$(dirname -- "$0")/paths.sh"

version=$1
tree=$(tree "$1" "$2")
pg_config=$(base_pg_config "$version")
[ -x "$pg_config" ] || fail "there is no PostgreSQL $version at $pg_config: run make setup"

libraries=$(ls "$("$pg_config" --pkglibdir)" | cksum)
origin="$("$pg_config" --version) from $pg_config, libraries $libraries"
[ "$(cat "$tree/origin" 2>/dev/null)" != "$origin" ] || exit 0

rm -rf "$tree"
mkdir -p "$tree"
case $version in
    18) cp -a "$wheel_root/." "$tree/" ;;
    16 | 18.4) cp -a "$earlier_wheel_root/." "$tree/" ;;
    17) cp -a "$wheel_17_root/." "$tree/" ;;
    *)
        mkdir -p "$tree/lib/postgresql" "$tree/share/postgresql" "$tree/include/postgresql"
        cp -a "/usr/lib/postgresql/$version" "$tree/lib/postgresql/"
        cp -aL "/usr/share/postgresql/$version" "$tree/share/postgresql/"
        ln -s "/usr/include/postgresql/$version" "$tree/include/postgresql/$version"
        ;;
esac
chmod -R a+rX "$tree"
echo "$origin" >"$tree/origin"
