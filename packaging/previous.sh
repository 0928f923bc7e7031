#!/bin/sh
# previous.sh: prints the newest commit of the version before today's: the one before the version in Cargo.toml was
# changed to what it is. PREVIOUS=COMMIT names another.
set -eu
. "$(dirname -- "$0")/paths.sh"

if [ "${PREVIOUS:-}" ]; then
    git -C "$checkout" rev-parse --verify "$PREVIOUS^{commit}"
    exit
fi
bump=$(git -C "$checkout" log --format=%H -S"version = \"$version\"" "$commit" -- Cargo.toml | tail -n 1)
[ "$bump" ] || fail "Cargo.toml's history does not say since when it is version $version"
git -C "$checkout" rev-parse --verify "$bump^"
