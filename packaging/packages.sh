#!/bin/sh
# packages.sh MAJOR…: makes all that a release has, in $packages: the source archive, the packages of the program and
# of the extension for these versions of PostgreSQL, what they are made of, and the checksums of all.
set -eu
. "$(dirname -- "$0")/paths.sh"

[ $# -gt 0 ] || fail "for which versions of PostgreSQL? PG_VERSIONS='15 18'"
here=$(dirname -- "$0")
[ "${COMMIT:-}" ] || [ -z "$(git -C "$checkout" status --porcelain --untracked-files=no)" ] ||
    echo "packages: what is not committed is not in them"

found=$(rustc --version | sed 's/^rustc \([^ ]*\).*/\1/')
[ "$found" = "$rust_version" ] || fail "packages are made with Rust $rust_version, and this is $found: rustup default" \
    "$rust_version, or RUST_VERSION=$found for packages whose bytes are no release's"

clear_packages
rm -rf "$stage"
mkdir -p "$stage"
sh "$here/tools.sh"
sh "$here/source.sh"
sh "$here/build.sh" "$@"
sh "$here/sbom.sh"
sh "$here/deb.sh" "$@"
sh "$here/rpm.sh" "$@"
sh "$here/build-info.sh" "$@" >"$packages/build-info-$deb_architecture"
(cd "$packages" && find . -type f ! -name SHA256SUMS -printf '%P\n' | sort | xargs sha256sum >SHA256SUMS)
echo "packages: $name $version of commit $(git -C "$checkout" rev-parse --short=12 "$commit") in $packages"
(cd "$packages" && ls -l)
