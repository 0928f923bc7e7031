#!/bin/sh
# Builds the extension with optimisations into a tree of its own, and the null plugin beside it, and
# measures them there. Peers are measured where they are installed: wal2json is (tools/setup.sh),
# decoder_raw is built by hand into the machine's PostgreSQL or into that tree.
#   PG          15 or 18
#   BENCH_ONLY  some of drain, overhead, ddl, decode, delay, size, restore, growth, with commas between (all)
#   BENCH_LOADS some of the drain's loads, by name (all)
#   BENCH_GROWTH_MAX  the largest number of changes of growth (10000000)
#   BENCH_DRAW  a result's .json whose pictures of growth are drawn again, and nothing else
#   REPEATS     how often each contestant has its turn (3)
set -eu
. "$(dirname -- "$0")/paths.sh"
version=${PGVER:-${PG:-15}}
sh "$checkout/tools/make-tree.sh" "$version" release
pg_config=$(tree_bin "$version" release)/pg_config
sh "$checkout/tools/install.sh" "$pg_config" release

null_plugin=$("$pg_config" --pkglibdir)/null_plugin.so
cc -O2 -fPIC -shared -Wno-unused-parameter -I"$("$pg_config" --includedir-server)" \
    -o "$null_plugin" "$checkout/bench/null_plugin.c"
chmod a+r "$null_plugin"

cd "$checkout"
PGVER=$version PGPROFILE=release cargo bench --quiet --package cluster-tests --bench capture
