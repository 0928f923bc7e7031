#!/bin/sh
# previous.sh: prints the newest commit of the version before today's: the one before CHANGELOG.md began to tell of
# today's. PREVIOUS=COMMIT names another.
set -eu
. "$(dirname -- "$0")/paths.sh"

if [ "${PREVIOUS:-}" ]; then
    git -C "$checkout" rev-parse --verify "$PREVIOUS^{commit}"
    exit
fi
bump=$(git -C "$checkout" log --format=%H -S"## $version" "$commit" -- CHANGELOG.md | tail -n 1)
[ "$bump" ] || fail "CHANGELOG.md's history does not say since when there is a version $version"
git -C "$checkout" rev-parse --verify "$bump^"
