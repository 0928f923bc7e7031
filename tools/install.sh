#!/bin/sh
# install.sh PG_CONFIG [PROFILE]: builds the extension for the PostgreSQL that PG_CONFIG describes, and the
# program pg_incrbackup, and installs both there. The feature (pg15 … pg18) follows from its version.
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

# The program, beside the server's own ones.
cargo build --quiet --profile "$profile" --package pg_incrbackup-cli
case $profile in dev) built=debug ;; *) built=$profile ;; esac
program=${CARGO_TARGET_DIR:-target}/$built/pg_incrbackup
bin=$("$pg_config" --bindir)
# Under another name first: the former one may be running.
install -m 755 "$program" "$bin/pg_incrbackup.new"
mv "$bin/pg_incrbackup.new" "$bin/pg_incrbackup"

# Its man pages and completions, where man and the shells look for those of the prefix: Debian has a
# directory for each major version below it.
man=$("$pg_config" --mandir)/man1
prefix=$(printf %s "$bin" | sed "s,/lib/postgresql/$major/bin\$,,; s,/bin\$,,")
made=$(mktemp -d)
"$program" man "$made"
install -d -m 755 "$man"
install -m 644 "$made"/*.1 "$man"
rm -rf "$made"
completions() {
    install -d -m 755 "$2"
    "$program" completions "$1" >"$2/$3"
    chmod 644 "$2/$3"
}
completions bash "$prefix/share/bash-completion/completions" pg_incrbackup
completions zsh "$prefix/share/zsh/site-functions" _pg_incrbackup
completions fish "$prefix/share/fish/vendor_completions.d" pg_incrbackup.fish
echo "installed $bin/pg_incrbackup"
