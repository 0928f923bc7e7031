#!/bin/sh
# build.sh DOCKERFILE CONTEXT OUT [NAME=VALUE…]: does what `docker build --build-arg NAME=VALUE` does, without a container
# engine, as far as our files need it: each stage is a directory below OUT, the last one OUT/image. An instruction or
# an option that is not known here is an error, and so is what an engine refuses: a variable that a stage has not
# declared, a source that is not there or that .dockerignore keeps away.
#
# Environment: DEBIAN_ROOT, a clean Debian bookworm; POSTGRES_ROOT, the same with what the official image of PostgreSQL
# adds. Needs root, for chroot.
set -eu

dockerfile=$1
context=$2
out=$3
shift 3

fail() {
    echo "build.sh: $dockerfile: $*" >&2
    exit 1
}

# What is sent to an engine: all that .dockerignore, which begins with *, lets in again.
sent=$out/context
rm -rf "$out"
mkdir -p "$sent"
grep -qx '\*' "$context/.dockerignore" || fail ".dockerignore lets everything in"
sed -n 's/^!//p' "$context/.dockerignore" | while read -r path; do
    [ -e "$context/$path" ] || fail "there is no $path in the context"
    mkdir -p "$sent/$(dirname "$path")"
    # What the link leads to: packages may have been made elsewhere.
    cp -rL "$context/$path" "$sent/$path"
done

# given NAME: the value of --build-arg, if there is one.
given=$out/given
for argument; do echo "$argument"; done >"$given"
given() {
    sed -n "s/^$1=//p" "$given"
}

# What BuildKit supplies by itself, if the file declares it without a value.
case $(uname -m) in
    x86_64) platform=amd64 ;;
    aarch64) platform=arm64 ;;
    *) platform=$(uname -m) ;;
esac

stage=
declared=
# Variables of the file's own: those before the first FROM hold in FROM only, as an engine has it.
declare_argument() {
    name=${1%%=*}
    value=$(given "$name")
    case $1 in
        *=*) : "${value:=${1#*=}}" ;;
        TARGETARCH) : "${value:=$platform}" ;;
        *) [ "$value" ] || fail "ARG $name has no value" ;;
    esac
    export "$name=$value"
    declared="$declared $name"
}

# expand TEXT: with variables replaced; one that is not declared is an error (set -u).
expand() {
    eval "printf '%s' \"$1\""
}

# from IMAGE [AS NAME]
from() {
    image=$(expand "$1")
    for name in $declared; do unset "$name"; done
    declared=
    stage=$out/image
    [ "${2:-}" != AS ] || stage=$out/stage-$3
    rm -rf "$stage"
    case $image in
        scratch) mkdir "$stage" ;;
        debian:bookworm*) cp -a "$DEBIAN_ROOT" "$stage" ;;
        postgres:*-bookworm)
            cp -a "$POSTGRES_ROOT" "$stage"
            [ -d "$stage/usr/lib/postgresql/${image#postgres:}" ] ||
                [ -d "$stage/usr/lib/postgresql/$(echo "$image" | sed 's/postgres:\([0-9]*\)-.*/\1/')" ] ||
                fail "the root that stands for $image has another PostgreSQL"
            ;;
        *) fail "no root stands for the image $image" ;;
    esac
}

# copy [--from=STAGE] SOURCE… DESTINATION: the contents of a directory, or files.
copy() {
    base=$sent
    case $1 in
        --from=*)
            base=$out/stage-${1#--from=}
            [ -d "$base" ] || fail "there is no stage ${1#--from=}"
            shift
            ;;
        --*) fail "COPY $1 is not known" ;;
    esac
    for destination; do :; done
    destination=$(expand "$destination")
    # More than one argument is left as long as there is a source.
    while [ $# -gt 1 ]; do
        pattern=$(expand "$1")
        shift
        # shellcheck disable=SC2086 # a pattern
        found=$(cd "$base" && ls -d -- ${pattern#/} 2>/dev/null) || fail "COPY $pattern: it is not there"
        for source in $found; do
            target=$stage$destination
            case $destination in */) mkdir -p "$target" ;; *) mkdir -p "$(dirname "$target")" ;; esac
            # Of a directory the contents. Everything belongs to root.
            [ ! -d "$base/$source" ] || { mkdir -p "$target" && source=$source/.; }
            cp -R --no-dereference --preserve=mode,timestamps,links "$base/$source" "$target"
        done
    done
}

run() {
    [ -x "$stage/bin/sh" ] || fail "RUN in an image without a shell"
    cp /etc/resolv.conf "$stage/etc/resolv.conf"
    # With mounts of its own, which end with it.
    unshare --mount -- sh -euc '
        mount -t proc proc "$1/proc"
        mount -t tmpfs tmpfs "$1/dev/shm" 2>/dev/null || mkdir -p "$1/dev/shm"
        exec chroot "$1" /bin/sh -c "$2"
    ' sh "$stage" "$1" >"$out/log" 2>&1 || { cat "$out/log" >&2; fail "failed: RUN $1"; }
}

# One instruction a line.
sed -e '/^#/d' -e '/^$/d' "$dockerfile" | sed -e ':join' -e '/\\$/{N;s/\\\n//;bjoin' -e '}' >"$out/instructions"
while read -r instruction rest; do
    # shellcheck disable=SC2086 # words
    case $instruction in
        ARG) declare_argument "$rest" ;;
        FROM) from $rest ;;
        COPY) copy $rest ;;
        RUN) run "$rest" </dev/null ;;
        USER | VOLUME)
            value=$(expand "$rest")
            echo "$instruction $value" >>"$out/settings"
            ;;
        *) fail "the instruction $instruction is not known" ;;
    esac
done <"$out/instructions"
[ -d "$out/image" ] || fail "the last stage has a name"
