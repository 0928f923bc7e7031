#!/bin/sh
# source.sh: the source archive of the commit, as .tar.gz and, as PGXN takes it, as .zip, with PGXN's META.json;
# and the same files unpacked into $source, which all else is built from.
set -eu
. "$(dirname -- "$0")/paths.sh"

mkdir -p "$work" "$packages"
root=$name-$version
meta=$(sed "s/@VERSION@/$version/g" "$checkout/packaging/META.json.in")
archive() {
    git -C "$checkout" archive --prefix="$root/" --add-virtual-file="$root/META.json:$meta
" "$@" "$commit"
}
archive --format=tar | gzip -n -9 >"$packages/$root.tar.gz"
archive --format=zip >"$packages/$root.zip"

# With the time of now (-m): cargo takes a file that is older than its last build for one that it has built.
rm -rf "$source"
mkdir -p "$source"
tar -xzm --strip-components=1 -f "$packages/$root.tar.gz" -C "$source"
