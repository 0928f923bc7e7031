# What build.sh and install.sh share (sourced after paths.sh, with their arguments): $pg_config, $profile, $major, and
# where that is built: $built, for $built_for.

pg_config=${1:-}
profile=${2:-release}
[ "$pg_config" ] && [ -x "$pg_config" ] || fail "there is no pg_config${pg_config:+ at $pg_config}: name the one of the" \
    "server that is to be backed up, as in make install PG_CONFIG=/usr/lib/postgresql/15/bin/pg_config"
major=$("$pg_config" --version | sed 's/^PostgreSQL \([0-9]*\).*/\1/')
case $major in
    15 | 16 | 17 | 18) ;;
    *) fail "PostgreSQL $major is not supported (15 to 18 are)" ;;
esac
target=${CARGO_TARGET_DIR:-$checkout/target}
built=$target/install/$major-$profile
built_for="$("$pg_config" --version) of $pg_config"
