#!/bin/sh
# Builds the extension with optimisations into a tree of its own, and two floors beside it, and
# measures them there. Peers are measured where they are installed: wal2json is (tools/setup.sh),
# decoder_raw is built by hand into the machine's PostgreSQL or into that tree.
#   PG          15 or 18
#   BENCH_ONLY  some of drain, overhead, ddl, decode, delay, size, restore, program (jobs, part, squash: of it
#               alone), past, growth, worker, idle, files, who, commit, with commas between (all)
#   BENCH_LOADS some of the drain's loads, by name (all)
#   BENCH_GROWTH_MAX  the largest number of changes of growth (10000000)
#   BENCH_COMMIT_SECONDS  seconds of each turn of commit (20)
#   BENCH_DRAW  a result's .json whose pictures of growth are drawn again, and nothing else
#   REPEATS     how often each contestant has its turn (3)
set -eu
. "$(dirname -- "$0")/paths.sh"
version=${PGVER:-${PG:-15}}
sh "$checkout/tools/make-tree.sh" "$version" release
pg_config=$(tree_bin "$version" release)/pg_config
sh "$checkout/tools/install.sh" "$pg_config" release

for floor in null_plugin row_alone; do
    library=$("$pg_config" --pkglibdir)/$floor.so
    cc -O2 -fPIC -shared -Wno-unused-parameter -I"$("$pg_config" --includedir-server)" \
        -o "$library" "$checkout/bench/$floor.c"
    chmod a+r "$library"
done

cd "$checkout"
PGVER=$version PGPROFILE=release cargo bench --quiet --package cluster-tests --bench capture
