#!/bin/sh
# build-info.sh MAJOR…: prints what the packages are made of and with, for who wants the same bytes, and for the tests,
# which refuse packages of another commit.
set -eu
. "$(dirname -- "$0")/paths.sh"

echo "version: $version"
echo "commit: $commit"
echo "architecture: $deb_architecture"
rustc -vV | sed 's/^/rust: /'
echo "cargo-pgrx: $(cargo pgrx --version | sed 's/.* //')"
echo "compiler: $(cc --version | head -n 1)"
echo "clang: $(clang --version 2>/dev/null | head -n 1)"
echo "C library: $(ldd --version 2>&1 | head -n 1)"
for major; do
    echo "PostgreSQL $major: headers of $(headers_version "$(pg_config_of "$major")"), $("$(pg_config_of "$major")" --version)"
done
