#!/bin/sh
# debian-root.sh [SUITE [MAJOR]]: prints the directory of a clean Debian (default: bookworm, with the packages of
# PostgreSQL 15 downloaded, not installed), made by debootstrap once for all checkouts. Who uses it copies it.
set -eu
. "$(dirname -- "$0")/../tools/paths.sh"

suite=${1:-bookworm}
major=${2:-15}
root=${PACKAGING_ROOTS:-$prefix/packaging/roots}/$suite-$major
if [ -e "$root.complete" ]; then
    echo "$root"
    exit 0
fi

[ "$(id -u)" = 0 ] || fail "a clean Debian is made as root"
command -v debootstrap >/dev/null || fail "debootstrap is missing: apt-get install debootstrap"
sources=$(debian_sources '' deb) || fail "there is no $list, which says where Debian's packages come from"
mirror=$(echo "$sources" | sed -n 's/^URIs: *//p' | head -n 1)

echo "packages: making a clean Debian $suite in $root (some minutes)" >&2
rm -rf "$root"
mkdir -p "$root"
debootstrap --variant=minbase "$suite" "$root" "$mirror" >&2
# With what has been corrected since.
codename=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
rm -f "$root/etc/apt/sources.list"
echo "$sources" | sed "s/\\b$codename\\b/$suite/g" >"$root/etc/apt/sources.list.d/debian.sources"
# Packages stay in its cache, and what they recommend does not come along.
cat >"$root/etc/apt/apt.conf.d/packages-test" <<CONF
APT::Install-Recommends "false";
APT::Keep-Downloaded-Packages "true";
APT::Sandbox::User "root";
CONF
chroot "$root" apt-get update -qq >&2
chroot "$root" apt-get install -y -qq --download-only "postgresql-$major" >&2
touch "$root.complete"
echo "$root"
