#!/bin/sh
# rpm.sh MAJOR…: $packages/pg_incrbackup-*.rpm and pg_incrbackup_MAJOR-*.rpm, from $stage.
#
# Names, paths and dependencies are those of extensions in the PostgreSQL project's own repository for
# distributions with RPM packages: the server is in /usr/pgsql-MAJOR.
set -eu
. "$(dirname -- "$0")/paths.sh"
. "$(dirname -- "$0")/layout.sh"

# A version before a release (-rc1) sorts before it (~rc1); a hyphen cannot be in a version.
rpm_version=$(printf %s "$version" | sed 's/-/~/')

# pack ROOT PACKAGE SUMMARY, with what it requires, a TOML table, on standard input. The description is the summary:
# cargo-generate-rpm has no other.
pack() {
    settle "$1"
    {
        cat <<TOML
[package]
name = "$2"
version = "$version"
license = "PostgreSQL"
description = "$3"

[package.metadata.generate-rpm]
version = "$rpm_version"
release = "$revision"
vendor = "pg_incrbackup developers"
require-sh = false
assets = [
TOML
        (cd "$1" && find . -type f -printf '%m %P\n' | sort -k 2) | while read -r mode file; do
            case $file in usr/share/doc/* | usr/share/man/*) doc=true ;; *) doc=false ;; esac
            echo "    { source = \"$1/$file\", dest = \"/$file\", mode = \"$mode\", doc = $doc },"
        done
        echo ']'
        echo
        echo '[package.metadata.generate-rpm.requires]'
        cat
    } >"$1.toml/Cargo.toml"
    # Its builtin procedure, which looks at the libraries themselves, on every machine the same.
    (cd "$1.toml" && "$tools/bin/cargo-generate-rpm" generate-rpm --auto-req builtin --payload-compress gzip \
        --source-date "$SOURCE_DATE_EPOCH" --output "$packages/")
}

pack_program() {
    root=$work/rpm/$name
    mkdir -p "$root" "$root.toml"
    lay_program "$root" site-functions
    lay_documentation "$root/usr/share/doc/$name"
    put 644 "$source/LICENSE" "$root/usr/share/licenses/$name/LICENSE"
    pack "$root" "$name" "$program_summary" </dev/null
}

pack_extension() {
    package=${name}_$1
    root=$work/rpm/$package
    home=$root/usr/pgsql-$1
    mkdir -p "$root" "$root.toml"
    lay_extension "$1" "$home/lib" "$home/share/extension"
    # A library has the mode of a program, else RPM takes nothing from it.
    chmod 755 "$home/lib/$name.so"
    # Where a drill, which restores with the program, looks for it.
    printf '#!/bin/sh\nexec /usr/bin/%s "$@"\n' "$name" >"$work/rpm/wrapper"
    put 755 "$work/rpm/wrapper" "$home/bin/$name"
    put 644 "$source/LICENSE" "$root/usr/share/licenses/$package/LICENSE"
    pack "$root" "$package" "$extension_summary, for PostgreSQL $1" <<TOML
"postgresql$1-server" = "*"
"/bin/sh" = "*"
"$name" = ">= $rpm_version-$revision"
TOML
}

rm -rf "$work/rpm"
[ ! -d "$stage/program" ] || pack_program
for major; do
    pack_extension "$major"
done
