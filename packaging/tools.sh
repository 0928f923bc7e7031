#!/bin/sh
# tools.sh: installs what making packages needs beside what building needs: cargo-generate-rpm and
# cargo-cyclonedx in pinned versions, into $tools (once for all checkouts), and says which programs are missing.
set -eu
. "$(dirname -- "$0")/paths.sh"

# install_tool NAME VERSION
install_tool() {
    grep -qx "$1 $2" "$tools/$1.version" 2>/dev/null && [ -x "$tools/bin/$1" ] && return 0
    echo "packages: installing $1 $2 (some minutes)"
    CARGO_TARGET_DIR=$tools/build cargo install --quiet --locked --root "$tools" --version "$2" "$1"
    rm -rf "$tools/build"
    echo "$1 $2" >"$tools/$1.version"
}

missing=
for needed in git gzip tar strip objdump sha256sum dpkg-deb dpkg-shlibdeps; do
    command -v "$needed" >/dev/null || missing="$missing $needed"
done
[ -z "$missing" ] ||
    fail "missing:$missing (Debian's packages git, binutils, dpkg-dev)"
mkdir -p "$tools"
install_tool cargo-generate-rpm "$cargo_generate_rpm_version"
install_tool cargo-cyclonedx "$cargo_cyclonedx_version"
