#!/bin/sh
# sbom.sh: what the extension and the program are made of, as CycloneDX 1.5: every crate with its version, licence and
# checksum, from Cargo.lock. What only tests and the build use is not in it.
set -eu
. "$(dirname -- "$0")/paths.sh"

# of CRATE_DIRECTORY NAME: cargo-cyclonedx writes into the crates' directories, with their paths.
of() {
    made=$packages/$2-$version.cdx.json
    sed "s,$source,/usr/src/$name,g" "$source/$1/sbom.json" >"$made"
}

cd "$source"
"$tools/bin/cargo-cyclonedx" cyclonedx --quiet --format json --spec-version 1.5 --no-build-deps \
    --target "$(rustc -vV | sed -n 's/^host: //p')" --override-filename sbom
of . "$name"
[ ! -d crates/cli ] || of crates/cli "$name-program"
