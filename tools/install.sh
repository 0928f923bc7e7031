#!/bin/sh
# install.sh PG_CONFIG [PROFILE]: builds the extension for the PostgreSQL that PG_CONFIG describes
# and installs it there. The feature (pg15 … pg18) follows from its version.
set -eu
. "$(dirname -- "$0")/paths.sh"

pg_config=$1
profile=${2:-release}
[ -x "$pg_config" ] || fail "there is no pg_config at $pg_config"
major=$("$pg_config" --version | sed 's/^PostgreSQL \([0-9]*\).*/\1/')
case $major in
    15 | 16 | 17 | 18) ;;
    *) fail "PostgreSQL $major is not supported (15 to 18 are)" ;;
esac

# A version that setup does not know is described to pgrx for this build only.
if ! grep -q "^pg$major = " "$PGRX_HOME/config.toml" 2>/dev/null; then
    PGRX_HOME=$(mktemp -d)
    trap 'rm -rf "$PGRX_HOME"' EXIT
    printf '[configs]\npg%s = "%s"\n' "$major" "$pg_config" >"$PGRX_HOME/config.toml"
fi

cd "$checkout"
cargo pgrx install --profile "$profile" --no-default-features --features "pg$major" \
    --pg-config "$pg_config"
chmod a+r "$("$pg_config" --pkglibdir)/pg_incrbackup.so" \
    "$("$pg_config" --sharedir)"/extension/pg_incrbackup*
