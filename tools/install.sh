#!/bin/sh
# install.sh PG_CONFIG [PROFILE]: installs the extension and the program pg_incrbackup for the PostgreSQL that
# PG_CONFIG describes. With PROFILE they are built first; without, what `make` has built is installed, and built if it
# is not, or is older than the sources. DESTDIR is put before each directory, as packagers want it.
set -eu
. "$(dirname -- "$0")/paths.sh"
. "$checkout/tools/built.sh"

library=$("$pg_config" --pkglibdir)
extension=$("$pg_config" --sharedir)/extension
bin=$("$pg_config" --bindir)
man=$("$pg_config" --mandir)/man1
# Where man and the shells look for those of the prefix: Debian has a directory for each major version below it.
prefix=$(printf %s "$bin" | sed "s,/lib/postgresql/$major/bin\$,,; s,/bin\$,,")
bash=$prefix/share/bash-completion/completions
zsh=$prefix/share/zsh/site-functions
fish=$prefix/share/fish/vendor_completions.d

# is_writable DIRECTORY: or it can be made there.
is_writable() {
    above=$1
    while [ ! -e "$above" ]; do
        above=$(dirname -- "$above")
    done
    [ -d "$above" ] && [ -w "$above" ]
}

# Before minutes of building.
for directory in "$library" "$extension" "$bin" "$man" "$bash" "$zsh" "$fish"; do
    is_writable "${DESTDIR:-}$directory" ||
        fail "$(id -un) may not write ${DESTDIR:-}$directory: build with make PG_CONFIG=$pg_config, then" \
            "install with sudo make install PG_CONFIG=$pg_config"
done

# is_built: for this PostgreSQL, and no source is newer.
is_built() {
    [ "$(cat "$built/built" 2>/dev/null)" = "$built_for" ] || return
    newer=$(cd "$checkout" && find .cargo Cargo.toml Cargo.lock build.rs pg_incrbackup.control src sql crates -type f \
        -newer "$built/built" | head -n 1)
    [ ! "$newer" ]
}

if [ "${2:-}" ]; then
    sh "$checkout/tools/build.sh" "$pg_config" "$profile"
elif ! is_built; then
    command -v cargo >/dev/null || fail "it is not built, or its sources are newer, and $(id -un) has no cargo: run" \
        "make PG_CONFIG=$pg_config as the user who has Rust"
    sh "$checkout/tools/setup.sh" install "$pg_config"
    sh "$checkout/tools/build.sh" "$pg_config" "$profile"
fi

# put MODE FILE DIRECTORY [NAME]: under another name first: the former one may be running.
put() {
    to=${DESTDIR:-}$3/${4:-$(basename -- "$2")}
    [ -d "${DESTDIR:-}$3" ] || install -d -m 755 "${DESTDIR:-}$3"
    install -m "$1" "$2" "$to.new"
    mv "$to.new" "$to"
}
put 755 "$built/lib/pg_incrbackup.so" "$library"
for file in "$built"/extension/*; do
    put 644 "$file" "$extension"
done
put 755 "$built/bin/pg_incrbackup" "$bin"
for page in "$built"/man/*.1; do
    put 644 "$page" "$man"
done
put 644 "$built/completions/bash" "$bash" pg_incrbackup
put 644 "$built/completions/zsh" "$zsh" _pg_incrbackup
put 644 "$built/completions/fish" "$fish" pg_incrbackup.fish
echo "installed ${DESTDIR:-}$bin/pg_incrbackup"
