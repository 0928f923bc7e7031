#!/bin/sh
# reproduce.sh MAJOR…: builds the packages that make packages has made once more, from the same commit but in another
# directory and with nothing kept, and compares the bytes. Fails at the first that differs, and keeps both.
set -eu
. "$(dirname -- "$0")/paths.sh"

[ -f "$packages/SHA256SUMS" ] || sh "$(dirname -- "$0")/packages.sh" "$@"
ensure_of_commit
first=$packages
elsewhere=$(mktemp -d "$target/elsewhere.XXXXXX")
CARGO_TARGET_DIR=$elsewhere
PACKAGES=$elsewhere/packages
# Nothing of these may matter.
TZ=Pacific/Auckland
HOSTNAME=elsewhere
export CARGO_TARGET_DIR PACKAGES TZ HOSTNAME
sh "$(dirname -- "$0")/packages.sh" "$@"
diff "$first/SHA256SUMS" "$PACKAGES/SHA256SUMS" ||
    fail "these differ, in $first and $PACKAGES"
rm -rf "$elsewhere"
echo "packages: built twice, $(wc -l <"$first/SHA256SUMS") files, each the same"
