#!/bin/sh
# test.sh: installs the .debs of make packages, for PostgreSQL 15, into a copy of a clean Debian without Rust, and uses,
# removes and upgrades them there: first-hour.sh and upgrade.sh, which run in it, without a network. The version
# before is built from the history (PREVIOUS=COMMIT). Ends with a transcript, each command with its time. The .rpms, for
# which no distribution of theirs is at hand, are installed into an empty directory, and erased again.
#
# Needs root: the copy is entered by chroot, with mounts and processes of its own, which end with it.
set -eu
. "$(dirname -- "$0")/paths.sh"

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd -P)
major=15
[ "$(id -u)" = 0 ] || fail "as root: it enters a root directory of its own"
for needed in debootstrap lintian rpm unshare; do
    command -v $needed >/dev/null || fail "$needed is missing: apt-get install debootstrap lintian rpm"
done

# one PATTERN: the one file that it matches.
one() {
    [ -f "$1" ] || fail "there is no $1: run make packages"
    echo "$1"
}
ensure_of_commit
program=$(one "$packages"/pg-incrbackup_*_"$deb_architecture".deb)
extension=$(one "$packages"/postgresql-$major-pg-incrbackup_*_"$deb_architecture".deb)

make_previous() {
    COMMIT=$(sh "$here/previous.sh")
    PACKAGES=$target/packages-previous
    export COMMIT PACKAGES
    echo "packages: the version before is $(version_of "$COMMIT"), of commit $(git -C "$checkout" rev-parse --short=12 "$COMMIT")"
    [ "$(cat "$PACKAGES/commit" 2>/dev/null)" != "$COMMIT" ] || return 0
    rm -rf "$PACKAGES" "$stage"
    mkdir -p "$PACKAGES" "$stage"
    sh "$here/source.sh"
    sh "$here/build.sh" $major
    sh "$here/deb.sh" $major
    echo "$COMMIT" >"$PACKAGES/commit"
}
(make_previous)

echo "packages: what lintian says"
lintian --fail-on error,warning --suppress-tags-from-file "$here/lintian-not-ours" "$program" "$extension"

echo "packages: what rpm says"
for package in "$packages"/*.rpm; do
    rpm -K --nosignature "$package"
    rpm -qp --requires "$package" | grep -q '^libc.so.6' || fail "$package requires no library"
done

# install_rpms DIRECTORY: with a database of packages of its own. What they require is not there, and not asked for.
install_rpms() {
    rpms=$1/rpms
    mkdir "$rpms"
    in_rpms --initdb
    for package in "$packages"/*.rpm; do
        [ -z "$(rpm -qp --scripts --triggers "$package")" ] || fail "$package runs something on installation"
    done
    in_rpms --nodeps --install "$packages"/*.rpm
    in_rpms --nodeps --verify --all || fail "rpm has not laid the files as its packages hold them"
    "$rpms/usr/bin/$name" --version
    for home in "$rpms"/usr/pgsql-*; do
        for made in lib/$name.so share/extension/$name.control "share/extension/$name--$version.sql" bin/$name; do
            [ -s "$home/$made" ] || fail "$home/$made is not there"
        done
    done
    # shellcheck disable=SC2046 # names, one a word
    in_rpms --erase $(in_rpms -qa)
    # Directories without a file stay: cargo-generate-rpm gives a package none of its own.
    left=$(find "$rpms" ! -type d ! -path "$rpms/var/lib/rpm/*")
    [ -z "$left" ] || fail "left of the .rpms: $left"
    rm -rf "$rpms"
}
# Debian's rpm says that it is not meant for installing, and keeps its database in the home directory.
in_rpms() {
    rpm --root "$rpms" --dbpath /var/lib/rpm "$@" 2>"$root/said" || { cat "$root/said" >&2; return 1; }
}

clean=$(sh "$here/debian-root.sh" bookworm $major)
root=$(mktemp -d)
# What is mounted in it is so in namespaces that have ended.
trap 'rm -rf --one-file-system "$root"' EXIT
trap 'exit 1' INT TERM
cp -a "$clean/." "$root/"
chmod 755 "$root"
echo "packages: the .rpms in an empty directory"
install_rpms "$root"
mkdir -p "$root/packages/previous"
cp "$program" "$extension" "$root/packages/"
cp "$target"/packages-previous/*.deb "$root/packages/previous/"
cp "$here/in-debian.sh" "$here/first-hour.sh" "$here/upgrade.sh" "$root/packages/"

enter() {
    unshare --mount --pid --ipc --uts --net --fork --kill-child sh -eu -c '
        mount --make-rprivate /
        mount -t proc proc "$1/proc"
        mkdir -p "$1/dev/shm"
        mount -t tmpfs tmpfs "$1/dev/shm"
        mount -t tmpfs tmpfs "$1/run"
        exec chroot "$1" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 \
            MAJOR="$2" sh /packages/"$3"' enter "$root" $major "$1"
}
enter first-hour.sh
enter upgrade.sh
echo "packages: installed, used, removed and upgraded in a clean Debian"
