#!/bin/sh
# deb.sh MAJOR…: $packages/pg-incrbackup_*.deb and postgresql-MAJOR-pg-incrbackup_*.deb, from $stage.
#
# Names, paths and dependencies are those of extensions in Debian and in the PostgreSQL project's own
# repository. Nothing is run on installation: a server is restarted by whoever owns it.
set -eu
. "$(dirname -- "$0")/paths.sh"
. "$(dirname -- "$0")/layout.sh"

# The order of versions is Debian's: a version before a release (-rc1) sorts before it (~rc1).
deb_version=$(printf %s "$version" | sed 's/-/~/')-$revision
program_package=pg-incrbackup
export DPKG_DEB_THREADS_MAX=1

# libraries_of FILE: the packages of the shared libraries that it needs, with the versions it needs.
libraries_of() {
    rm -rf "$work/shlibdeps"
    mkdir -p "$work/shlibdeps/debian/x"
    cp "$1" "$work/shlibdeps/debian/x/file"
    printf 'Source: x\n\nPackage: x\nArchitecture: any\n' >"$work/shlibdeps/debian/control"
    # It complains that the file is in no package yet, and that the server's symbols are in no library.
    (cd "$work/shlibdeps" && dpkg-shlibdeps -O -edebian/x/file >answer 2>messages) ||
        { cat "$work/shlibdeps/messages" >&2; fail "nobody knows which libraries $1 needs"; }
    sed -n 's/^shlibs:Depends=//p' "$work/shlibdeps/answer"
}

# lay_papers ROOT PACKAGE: what Debian's policy wants in /usr/share/doc.
lay_papers() {
    papers=$1/usr/share/doc/$2
    mkdir -p "$papers"
    {
        echo 'Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/'
        echo "Upstream-Name: $name"
        echo
        echo 'Files: *'
        sed -n 's/^Copyright (c)/Copyright:/p' "$source/LICENSE"
        echo 'License: PostgreSQL'
        sed -n '/^Permission/,$p' "$source/LICENSE" | sed 's/^$/./; s/^/ /'
    } >"$papers/copyright"
    gzip -n -9 -c "$source/CHANGELOG.md" >"$papers/changelog.gz"
    {
        echo "pg-incrbackup ($deb_version) unstable; urgency=medium"
        echo
        echo "  * Version $version, commit $(git -C "$checkout" rev-parse --short=12 "$commit")."
        echo
        echo " -- $maintainer  $(date -R -d "@$SOURCE_DATE_EPOCH")"
    } | gzip -n -9 >"$papers/changelog.Debian.gz"
    chmod 644 "$papers"/*
}

# pack ROOT PACKAGE SECTION DEPENDENCIES SUMMARY, with the description on standard input.
pack() {
    mkdir -p "$1/DEBIAN"
    kilobytes=$(cd "$1" && find . -path ./DEBIAN -prune -o -type f -printf '%s\n' -o -printf '1\n' |
        awk '{ sum += int(($1 + 1023) / 1024) } END { print sum }')
    cat >"$1/DEBIAN/control" <<CONTROL
Package: $2
Source: pg-incrbackup
Version: $deb_version
Architecture: $deb_architecture
Maintainer: $maintainer
Installed-Size: $kilobytes
Depends: $4
Section: $3
Priority: optional
Description: $5
$(sed 's/^$/./; s/^/ /')
CONTROL
    (cd "$1" && find . -path ./DEBIAN -prune -o -type f -print | sed 's,^\./,,' | sort | xargs md5sum) >"$1/DEBIAN/md5sums"
    chmod 644 "$1"/DEBIAN/*
    settle "$1"
    dpkg-deb --root-owner-group -Zxz --build "$1" "$packages/${2}_${deb_version}_$deb_architecture.deb" >/dev/null
}

pack_program() {
    root=$work/deb/$program_package
    lay_program "$root" vendor-completions
    lay_documentation "$root/usr/share/doc/$program_package"
    # It is there as changelog.gz.
    rm "$root/usr/share/doc/$program_package/CHANGELOG.md"
    lay_papers "$root" "$program_package"
    needed=$(libraries_of "$root/usr/bin/$name")
    pack "$root" "$program_package" database "$needed" "$program_summary" <<'TEXT'
pg_incrbackup turns a live PostgreSQL database into a directory of plain SQL,
continuously: a base backup, and every committed change since, data and
schema, as SQL.
.
This package has the program, which shows what such an archive holds, checks
it, and makes of it the database as it was at any moment, or one table beside
the live one. It needs neither a server nor PostgreSQL's libraries. What is
backed up needs the extension, in postgresql-NN-pg-incrbackup.
TEXT
}

pack_extension() {
    package=postgresql-$1-pg-incrbackup
    root=$work/deb/$package
    libraries=$root/usr/lib/postgresql/$1/lib
    lay_extension "$1" "$libraries" "$root/usr/share/postgresql/$1/extension"
    # Where a drill, which restores with the program, looks for it.
    if [ -d "$stage/program" ]; then
        mkdir -p "$root/usr/lib/postgresql/$1/bin"
        ln -s "../../../../bin/$name" "$root/usr/lib/postgresql/$1/bin/$name"
    fi
    lay_papers "$root" "$package"
    needed=$(libraries_of "$libraries/$name.so")
    needed="postgresql-$1, $needed"
    [ ! -d "$stage/program" ] || needed="$needed, $program_package (>= $deb_version)"
    pack "$root" "$package" database "$needed" "$extension_summary" <<TEXT
pg_incrbackup turns a live PostgreSQL database into a directory of plain SQL,
continuously: a base backup, and every committed change since, data and
schema, as SQL. A background worker reads the WAL by logical decoding and
writes each change within a second of its commit.
.
This package has the extension for PostgreSQL $1. It takes effect when
pg_incrbackup is added to shared_preload_libraries and the server is
restarted: /usr/share/doc/pg-incrbackup/docs/install.md tells how.
TEXT
}

rm -rf "$work/deb"
[ ! -d "$stage/program" ] || pack_program
for major; do
    pack_extension "$major"
done
