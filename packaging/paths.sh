# What the scripts of the packages share (sourced, never run): the version, the date, and where things are.
#
# Everything is built from COMMIT (default: HEAD), unpacked below $work, never from the checkout's own files: what
# is packed is what the source archive holds. The version stands in Cargo.toml, and nowhere else.

. "$(dirname -- "$0")/../tools/paths.sh"

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
tools=${PACKAGING_TOOLS:-$prefix/packaging}

# pg_config_of MAJOR: the installation whose headers the extension is built with.
pg_config_of() {
    base_pg_config "$1"
}
