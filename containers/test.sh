#!/bin/sh
# test.sh: the container files, without a container engine (make containers-test): each is built into directories, from
# the packages that `make packages` has made and a clean Debian, and run there by chroot, without a network.
#
# - containers/postgres with Debian's PostgreSQL 15, as the official image's entrypoint runs it
# - containers/cloudnative-pg mounted read-only beside a server of PostgreSQL 18 that knows nothing of it
#
# Needs root, and packages for 15 and 18 (PACKAGES=DIRECTORY if they are not in target/packages).
set -eu
. "$(dirname -- "$0")/../tools/paths.sh"
here=$checkout/containers/test
. "$here/enter.sh"

[ "$(id -u)" = 0 ] || fail "as root: it enters root directories of its own"
case $(uname -m) in x86_64) architecture=amd64 ;; aarch64) architecture=arm64 ;; *) fail "there are no images for $(uname -m)" ;; esac
packages=${PACKAGES:-${CARGO_TARGET_DIR:-$checkout/target}/packages}
for needed in pg-incrbackup postgresql-15-pg-incrbackup postgresql-18-pg-incrbackup; do
    ls "$packages/${needed}"_*_$architecture.deb >/dev/null 2>&1 ||
        fail "there is no $needed in $packages: run make packages PG_VERSIONS='15 18'"
done

work=$(mktemp -d /var/tmp/containers.XXXXXX)
trap 'rm -rf --one-file-system "$work"' EXIT
trap 'exit 1' INT TERM HUP
chmod 755 "$work"
DEBIAN_ROOT=$(sh "$checkout/packaging/debian-root.sh" bookworm 15)
POSTGRES_ROOT=$work/postgres
export DEBIAN_ROOT POSTGRES_ROOT

# What an engine is given: the checkout, with these packages.
mkdir -p "$work/context/target"
cp -a "$checkout/containers" "$checkout/.dockerignore" "$work/context/"
ln -s "$packages" "$work/context/target/packages"

# Stands for the official image (its Dockerfile-debian.template): no cluster by itself, the sample of postgresql.conf in
# one place for all versions, a directory for scripts.
make_postgres_root() {
    cp -a "$DEBIAN_ROOT" "$POSTGRES_ROOT"
    cat >"$POSTGRES_ROOT/root/install" <<'SH'
mkdir -p /etc/postgresql-common/createcluster.d
echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.d/no.conf
printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
chmod 755 /usr/sbin/policy-rc.d
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends --no-download postgresql-15 >/root/installed 2>&1 ||
    { cat /root/installed; exit 1; }
mv /usr/share/postgresql/15/postgresql.conf.sample /usr/share/postgresql/
ln -s ../postgresql.conf.sample /usr/share/postgresql/15/
mkdir /docker-entrypoint-initdb.d
SH
    enter "$POSTGRES_ROOT" /root/install
}

echo "containers: the image for trying"
make_postgres_root
sh "$here/build.sh" "$checkout/containers/postgres/Dockerfile" "$work/context" "$work/try" \
    PG_MAJOR=15
grep -qx 'VOLUME /var/backups/postgresql' "$work/try/settings" || fail "the archive is not on a volume"
cp "$here/try.sh" "$work/try/image/root/try.sh"
enter "$work/try/image" /root/try.sh PG_MAJOR=15
rm -rf --one-file-system "$work/try" "$POSTGRES_ROOT"

echo "containers: the extension's image for CloudNativePG"
sh "$here/build.sh" "$checkout/containers/cloudnative-pg/Dockerfile" "$work/context" "$work/operator" \
    PG_MAJOR=18
image=$work/operator/image
# Nothing but what PostgreSQL looks for there: no system, no shell, no other file.
(cd "$image" && find . -type f -o -type l) | sort >"$work/contents"
cat "$work/contents"
grep -qx ./lib/pg_incrbackup.so "$work/contents" && grep -qx ./share/extension/pg_incrbackup.control "$work/contents" ||
    fail "the extension is not in its image"
grep -vE '^\./(lib/pg_incrbackup\.so|share/extension/pg_incrbackup(--[0-9.-]+)?\.(control|sql)|bin/(pg_incrbackup|pg_dump|pg_dumpall|pg_restore|psql)|licenses/postgresql-18-pg-incrbackup/copyright)$' \
    "$work/contents" && fail "these files do not belong there"
grep -qx 'USER 65532:65532' "$work/operator/settings" || fail "the image has another user than CloudNativePG's own"

# A server that knows nothing of us: the wheel's, where Debian's packages would be.
root=$work/server
cp -a "$DEBIAN_ROOT" "$root"
cp -a "$wheel_root" "$root/opt/postgresql"
mkdir -p "$root/usr/lib/postgresql/18"
ln -s "/opt/postgresql/$wheel_home/bin" "$root/usr/lib/postgresql/18/bin"
[ ! -e "$root/opt/postgresql/$wheel_home/share/extension/pg_incrbackup.control" ] || fail "that PostgreSQL has the extension already"
chroot "$root" useradd --system --home-dir /var/lib/postgresql postgres
cp -a "$image" "$root/extension-image"
cp "$here/operator.sh" "$root/root/operator.sh"
cp "$checkout/containers/cloudnative-pg/cluster.yaml" "$root/cluster.yaml"
enter "$root" /root/operator.sh
echo "containers: both built and run"
