#!/bin/sh
# Builds the extension with optimisations into a tree of its own and measures it there.
set -eu
. "$(dirname -- "$0")/paths.sh"
version=${PGVER:-15}
sh "$checkout/tools/make-tree.sh" "$version" release
sh "$checkout/tools/install.sh" "$(tree_bin "$version" release)/pg_config" release
cd "$checkout"
PGVER=$version PGPROFILE=release cargo bench --quiet --package cluster-tests
