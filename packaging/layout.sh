# The files of each package (sourced after paths.sh), below a root and for either kind of package.

# put MODE FILE DESTINATION: a copy, with the directories above it.
put() {
    install -D -m "$1" "$2" "$3"
}

# lay_program ROOT ZSH: the program, its man pages and completions, the documentation, what monitoring takes.
# ZSH is where that shell looks for completions of packages, which differs.
lay_program() {
    put 755 "$stage/program/$name" "$1/usr/bin/$name"
    for page in "$stage"/program/man/*.1; do
        put 644 "$page" "$1/usr/share/man/man1/$(basename "$page")"
    done
    gzip -n -9 "$1"/usr/share/man/man1/*.1
    put 644 "$stage/program/completions/bash" "$1/usr/share/bash-completion/completions/$name"
    put 644 "$stage/program/completions/zsh" "$1/usr/share/zsh/$2/_$name"
    put 644 "$stage/program/completions/fish" "$1/usr/share/fish/vendor_completions.d/$name.fish"
}

# lay_documentation DIRECTORY
lay_documentation() {
    for page in README.md CHANGELOG.md $(cd "$source" && find docs -name '*.md' -o -name '*.png'); do
        put 644 "$source/$page" "$1/$page"
    done
    for file in $(cd "$source" && find monitoring -type f); do
        mode=644
        [ ! -x "$source/$file" ] || mode=755
        put $mode "$source/$file" "$1/$file"
    done
}

# lay_extension MAJOR LIBRARIES EXTENSIONS
lay_extension() {
    put 644 "$stage/extension-$1/lib/$name.so" "$2/$name.so"
    for file in "$stage/extension-$1"/extension/*; do
        put 644 "$file" "$3/$(basename "$file")"
    done
}

# settle ROOT: modes and times that do not depend on who has built it, and when.
settle() {
    find "$1" -type d -exec chmod 755 {} +
    find "$1" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
}

program_summary='readable SQL backups of PostgreSQL: shows, checks, restores'
extension_summary='continuous backup of a database as readable SQL'
