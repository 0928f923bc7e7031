# What the scripts of the packages share (sourced, never run): the version, the date, and where things are.
#
# Everything is built from COMMIT (default: HEAD), unpacked below $work, never from the checkout's own files: what
# is packed is what the source archive holds. The version stands in Cargo.toml, and nowhere else.

. "$(dirname -- "$0")/../tools/paths.sh"

# What the release's workflow has: another one gives other bytes.
rust_version=${RUST_VERSION:-1.95.0}
cargo_generate_rpm_version=0.21.1
cargo_cyclonedx_version=0.5.9

commit=$(git -C "$checkout" rev-parse --verify "${COMMIT:-HEAD}^{commit}") ||
    fail "the packages are built from a commit of a git repository"

# version_of COMMIT: what its Cargo.toml says.
version_of() {
    git -C "$checkout" show "$1:Cargo.toml" | sed -n '/^\[workspace.package\]/,/^\[[^w]/s/^version = "\(.*\)"$/\1/p'
}

version=$(version_of "$commit")
[ "$version" ] || fail "Cargo.toml of $commit has no version in [workspace.package]"
revision=1
name=pg_incrbackup
# Where an answer can be expected, which whoever publishes the packages has to say.
maintainer=${MAINTAINER:-pg_incrbackup developers <maintainers@pg-incrbackup.invalid>}

# One date for all that is made.
SOURCE_DATE_EPOCH=$(git -C "$checkout" log -1 --format=%ct "$commit")
LC_ALL=C
TZ=UTC
export SOURCE_DATE_EPOCH LC_ALL TZ
umask 022

case $(uname -m) in
    x86_64) deb_architecture=amd64 ;;
    aarch64) deb_architecture=arm64 ;;
    *) deb_architecture=$(dpkg --print-architecture 2>/dev/null || uname -m) ;;
esac

# $work: what is built, kept to be faster the next time. $packages: the result.
target=${CARGO_TARGET_DIR:-$checkout/target}
work=$target/packaging
source=$work/source
stage=$work/stage
packages=${PACKAGES:-$target/packages}
# clear_packages: PACKAGES may name any directory: what else lies there is somebody's.
clear_packages() {
    mkdir -p "$packages"
    left=$(of_packages !)
    [ ! "$left" ] || fail "$packages has something else than packages, which would be taken for some: $left"
    of_packages | while IFS= read -r file; do
        rm -- "$packages/$file"
    done
}

# of_packages [!]: the names of the files there that packages.sh writes; with !, of all else.
of_packages() {
    find "$packages" -mindepth 1 -maxdepth 1 $* \( -type f \( -name 'pg-incrbackup_*.deb' \
        -o -name 'postgresql-*-pg-incrbackup_*.deb' -o -name "${name}[-_]*.rpm" -o -name "$name-*.tar.gz" \
        -o -name "$name-*.zip" -o -name "$name-*.cdx.json" -o -name 'build-info-*' -o -name SHA256SUMS \) \) -printf '%f\n'
}

# ensure_of_commit: what is in $packages was made of the commit that is to be tested.
ensure_of_commit() {
    info=$packages/build-info-$deb_architecture
    [ -f "$info" ] || fail "there is no $info: run make packages"
    of=$(sed -n 's/^commit: //p' "$info")
    [ "$of" = "$commit" ] || fail "$packages has those of commit $of, and this is $commit: run make packages"
}

tools=${PACKAGING_TOOLS:-$prefix/packaging}

# pg_config_of MAJOR: the installation whose headers the extension is built with.
pg_config_of() {
    base_pg_config "$1"
}
