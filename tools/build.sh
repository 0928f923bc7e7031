#!/bin/sh
# build.sh PG_CONFIG [PROFILE]: builds the extension for the PostgreSQL that PG_CONFIG describes, and the program
# pg_incrbackup, and puts what install.sh copies into target/install/MAJOR-PROFILE: lib, extension, bin, man,
# completions, and `built`, which says for which PostgreSQL and is as old as what was built. Installs nothing.
set -eu
. "$(dirname -- "$0")/paths.sh"
. "$checkout/tools/built.sh"

# A version that setup does not know is described to pgrx for this build only.
if ! grep -q "^pg$major = " "$PGRX_HOME/config.toml" 2>/dev/null; then
    PGRX_HOME=$(mktemp -d)
    trap 'rm -rf "$PGRX_HOME"' EXIT
    printf '[configs]\npg%s = "%s"\n' "$major" "$pg_config" >"$PGRX_HOME/config.toml"
fi

cd "$checkout"
rm -rf "$built"
mkdir -p "$built/lib" "$built/extension" "$built/bin" "$built/man" "$built/completions"
# What is changed from here on may not be in it.
echo "$built_for" >"$built/begun"
# Tests run what is built by `dev`.
program_selection='--package pg_incrbackup-cli'
if [ "$profile" = dev ]; then
    program_selection="$with_tests_features --bin pg_incrbackup"
    export PGRX_BUILD_FLAGS="$with_tests_features"
fi
cargo pgrx package --profile "$profile" --no-default-features --features "pg$major" \
    --pg-config "$pg_config" --out-dir "$built/pgrx"
find "$built/pgrx" -name pg_incrbackup.so -exec mv {} "$built/lib/" \;
find "$built/pgrx" -path '*/extension/pg_incrbackup*' -exec mv {} "$built/extension/" \;
rm -rf "$built/pgrx"
[ -f "$built/lib/pg_incrbackup.so" ] && [ -f "$built/extension/pg_incrbackup.control" ] ||
    fail "what pgrx has built is not complete: $built"

# shellcheck disable=SC2086 # a list of words
cargo build --quiet --profile "$profile" $program_selection
case $profile in dev) directory=debug ;; *) directory=$profile ;; esac
program=$target/$directory/pg_incrbackup
cp "$program" "$built/bin/pg_incrbackup"
"$program" man "$built/man"
for shell in bash zsh fish; do
    "$program" completions $shell >"$built/completions/$shell"
done
mv "$built/begun" "$built/built"
