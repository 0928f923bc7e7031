#!/bin/sh
# Random transactions on a throwaway cluster, restored and compared, round after round. Prints every
# seed that it runs; stops at the first difference and keeps that cluster's files.
#   SECONDS_TO_RUN  no new round after so long (60)
#   SEED            of the first round; the next has the next number
#   PG              15 or 18
#   SESSIONS, TRANSACTIONS  of a round (3 sessions, 60 transactions each)
set -eu
. "$(dirname -- "$0")/paths.sh"
version=${PG:-15}
sh "$checkout/tools/install.sh" "$(tree_bin "$version" dev)/pg_config" dev
cd "$checkout"
FUZZ_SECONDS=${SECONDS_TO_RUN:-60} FUZZ_SEED=${SEED:-} \
    FUZZ_SESSIONS=${SESSIONS:-} FUZZ_TRANSACTIONS=${TRANSACTIONS:-} \
    PGVER=$version cargo test --quiet --package cluster-tests -- --ignored --nocapture \
    random_transactions_restore_for_a_long_time
