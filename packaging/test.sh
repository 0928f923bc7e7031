#!/bin/sh
# test.sh: installs the .debs of make packages, for PostgreSQL 15, into a copy of a clean Debian without Rust, and uses,
# removes and upgrades them there: first-hour.sh and upgrade.sh, which run in it, without a network. The version
# before is built from the history (PREVIOUS=COMMIT). Ends with a transcript, each command with its time.
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

clean=$(sh "$here/debian-root.sh" bookworm $major)
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
trap 'exit 1' INT TERM
cp -a "$clean/." "$root/"
chmod 755 "$root"
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
