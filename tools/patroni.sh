#!/bin/sh
# patroni.sh etcd OPTION…: etcd, as the server's user.
# patroni.sh patroni VERSION FILE: Patroni with that file, for a server of that version.
# patroni.sh patronictl VERSION OPTION…: its client.
# For the tests on three nodes (tests/harness/patroni). What is started becomes this process, and is killed with the
# thread that has started it, however that ends.
set -eu
. "$(dirname -- "$0")/paths.sh"
[ -e "$prefix/patroni/complete" ] || fail "Patroni and etcd are not there: run make setup"
what=$1
shift

# Where Patroni's modules are: Debian's, and before them those of a newer one for servers from 17 on.
modules=$prefix/patroni/usr/lib/python3/dist-packages
if [ "$what" != etcd ]; then
    [ "$1" -lt 17 ] || modules=$(dirname -- "$(dirname -- "$(sh "$checkout/tools/wheel.sh" patroni __main__.py)")"):$modules
    shift
fi
# libyaml is there, too.
LD_LIBRARY_PATH=$(echo "$prefix"/patroni/usr/lib/*-linux-gnu)
# etcd 3.4 runs on arm64 only if told so.
ETCD_UNSUPPORTED_ARCH=$(dpkg --print-architecture 2>/dev/null || :)
export PYTHONPATH="$modules" LD_LIBRARY_PATH ETCD_UNSUPPORTED_ARCH PYTHONDONTWRITEBYTECODE=1 LC_ALL=C.UTF-8

cd /
case $what in
    etcd) set -- "$prefix/patroni/usr/bin/etcd" "$@" ;;
    patroni) set -- /usr/bin/python3 -m patroni "$@" ;;
    patronictl) set -- /usr/bin/python3 -c 'from patroni.ctl import ctl; ctl(prog_name="patronictl")' "$@" ;;
    *) fail "there is no $what" ;;
esac
user=
[ "$(id -u)" != 0 ] || user='--reuid=postgres --regid=postgres --init-groups'
# shellcheck disable=SC2086 # a list of words
exec setpriv $user --pdeathsig KILL -- "$@"
