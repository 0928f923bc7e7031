#!/bin/sh
# source.sh: the source archive of the commit, as .tar.gz and, as PGXN takes it, as .zip, with PGXN's META.json;
# and the same files unpacked into $source, which all else is built from.
set -eu
. "$(dirname -- "$0")/paths.sh"

mkdir -p "$work" "$packages"
root=$name-$version
# As the commit has it; commits from before packages were made have none, and their archive is without.
meta=
if git -C "$checkout" cat-file -e "$commit:packaging/META.json.in" 2>/dev/null; then
    meta=$(git -C "$checkout" show "$commit:packaging/META.json.in" | sed "s/@VERSION@/$version/g")
fi
# Modes, too, are the same whoever packs it.
archive() {
    git -C "$checkout" -c tar.umask=0022 archive --prefix="$root/" \
        ${meta:+--add-virtual-file="$root/META.json:$meta
"} "$@" "$commit"
}
archive --format=tar | gzip -n -9 >"$packages/$root.tar.gz"
archive --format=zip >"$packages/$root.zip"

# With the time of now (-m), but for files that were the same before: cargo takes a file that is older than its last
# build for one that it has built.
rm -rf "$source.new"
mkdir -p "$source" "$source.new"
tar -xzm --strip-components=1 -f "$packages/$root.tar.gz" -C "$source.new"
(cd "$source.new" && find . -type f) | while IFS= read -r file; do
    ! cmp -s "$source/$file" "$source.new/$file" || touch -r "$source/$file" "$source.new/$file"
done
rm -rf "$source"
mv "$source.new" "$source"
