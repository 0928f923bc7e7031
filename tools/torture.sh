#!/bin/sh
# Faults at random on a throwaway cluster under a load whose every number is known: SIGKILL of our
# processes and of all, torn ends of the open segment, death and errors at each step of the durable
# order, bases and restores killed half way. After each round every committed number stands in the
# segments once, in commit order. The last line counts. Exit status 1, and the cluster is kept, if
# anything was lost, repeated, out of order or restored differently.
#   ROUNDS  how many (30)
#   SEED    which faults; from the time of day, and printed, unless given
#   READER  stream or poll (stream)
#   KIND    synchronous: only kills of server and worker, with pg_incrbackup.synchronous = on; and what a client was told to
#           be committed is in the files that the dead server has left; failover: half of the rounds are switchovers,
#           half kill the primary of three nodes that Patroni runs (faults)
#   PG      15 or 18
set -eu
. "$(dirname -- "$0")/paths.sh"
version=${PG:-15}
sh "$checkout/tools/install.sh" "$(tree_bin "$version" dev)/pg_config" dev
cd "$checkout"
PGVER=$version cargo run --quiet --package cluster-tests --bin torture
