#!/bin/sh
# Everything at once on a throwaway cluster with a release build: pgbench, base backups, rotation, a
# transaction that is open all the time, very large transactions and rows. Prints peak memory, worst
# lag and transactions per second; exit status 1, and the cluster is kept, if memory was not bounded,
# a base failed, the slot stood still, or the restored database differs.
#   SECONDS_TO_RUN  pgbench goes on at least so long (600)
#   PG              15 or 18
set -eu
. "$(dirname -- "$0")/paths.sh"
version=${PG:-15}
sh "$checkout/tools/make-tree.sh" "$version" release
sh "$checkout/tools/install.sh" "$(tree_bin "$version" release)/pg_config" release
cd "$checkout"
PGVER=$version PGPROFILE=release cargo run --quiet --release --package cluster-tests --bin load
