#!/bin/sh
# build.sh MAJOR…: builds the program, and the extension for these versions of PostgreSQL, from $source into
# $stage: program/pg_incrbackup, program/man, program/completions, extension-MAJOR/lib and …/extension.
#
# Built twice, in whatever directories, it is the same bytes: no path of the machine stays in them.
set -eu
. "$(dirname -- "$0")/paths.sh"

cargo_home=${CARGO_HOME:-$HOME/.cargo}
remapped="$source=/usr/src/$name $work/target=/usr/src/$name/target $cargo_home=/usr/src/cargo"
flags=
CFLAGS='-O2 -g0'
for mapping in $remapped; do
    flags="$flags --remap-path-prefix=$mapping"
    CFLAGS="$CFLAGS -ffile-prefix-map=$mapping"
done
# Not as RUSTFLAGS, which would replace what cargo-pgrx adds for a version without build.rs (see below).
unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS
host=$(rustc -vV | sed -n 's/^host: //p' | tr a-z- A-Z_)
export "CARGO_TARGET_${host}_RUSTFLAGS=${flags# }"
CARGO_TARGET_DIR=$work/target
export CFLAGS CARGO_TARGET_DIR
# The remapping above leaves no room for a separator.
case $source$cargo_home in *' '*) fail "a path with a space in it: $source, $cargo_home" ;; esac

build_program() {
    echo "packages: building the program"
    cargo build --quiet --locked --release --package pg_incrbackup-cli
    made=$stage/program
    rm -rf "$made"
    mkdir -p "$made/man" "$made/completions"
    cp "$CARGO_TARGET_DIR/release/pg_incrbackup" "$made/pg_incrbackup"
    "$made/pg_incrbackup" man "$made/man"
    for shell in bash zsh fish; do
        "$made/pg_incrbackup" completions $shell >"$made/completions/$shell"
    done
    strip --strip-unneeded --remove-section=.comment "$made/pg_incrbackup"
}

# build_extension MAJOR. pgrx wants a list of installations; it generates its bindings again when that is newer.
build_extension() {
    pg_config=$(pg_config_of "$1")
    [ -x "$pg_config" ] || fail "there is no PostgreSQL $1 at $pg_config: run make setup, or leave it out of PG_VERSIONS"
    # Structures keep their layout within a major version, so headers of another minor release make the same library
    # (PostgreSQL's rule for its branches; the magic block of a library names the major version only).
    headers=$(headers_version "$pg_config")
    case $headers in
        "$1".*) ;;
        *) fail "the server's headers of $pg_config are of PostgreSQL ${headers:-(there are none)}, not of $1" ;;
    esac
    case $("$pg_config" --version) in
        "PostgreSQL ${headers%% *}" | "PostgreSQL ${headers%% *} "*) ;;
        *) echo "packages: headers of ${headers%% *}, beside $("$pg_config" --version): of one major version, which is enough" ;;
    esac
    PGRX_HOME=$work/pgrx-$1
    export PGRX_HOME
    mkdir -p "$PGRX_HOME"
    config=$(printf '[configs]\npg%s = "%s"' "$1" "$pg_config")
    [ "$(cat "$PGRX_HOME/config.toml" 2>/dev/null)" = "$config" ] || echo "$config" >"$PGRX_HOME/config.toml"

    echo "packages: building the extension for PostgreSQL $1"
    rm -rf "$work/pgrx-out"
    cargo pgrx package --profile release --no-default-features --features "pg$1" \
        --pg-config "$pg_config" --out-dir "$work/pgrx-out" >"$work/build-$1.log" 2>&1 ||
        { cat "$work/build-$1.log" >&2; fail "the extension does not build for PostgreSQL $1"; }
    made=$stage/extension-$1
    rm -rf "$made"
    mkdir -p "$made/lib" "$made/extension"
    find "$work/pgrx-out" -name "$name.so" -exec cp {} "$made/lib/" \;
    find "$work/pgrx-out" -path "*/extension/$name*" -exec cp {} "$made/extension/" \;
    [ -f "$made/lib/$name.so" ] && [ -f "$made/extension/$name.control" ] &&
        [ -f "$made/extension/$name--$version.sql" ] || fail "what pgrx has packed is not complete: $work/pgrx-out"
    strip --strip-unneeded --remove-section=.comment "$made/lib/$name.so"
}

cd "$source"
# Up to 0.3.0 it is cargo-pgrx that keeps the linker from dropping what it reads the SQL from (tools/paths.sh).
[ -f build.rs ] || unset CARGO_PGRX_DISABLE_GC_SECTIONS_WORKAROUND
cargo fetch --quiet --locked
[ ! -d crates/cli ] || build_program
for major; do
    build_extension "$major"
done
