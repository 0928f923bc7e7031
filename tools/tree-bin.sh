#!/bin/sh
# tree-bin.sh VERSION [PROFILE]: prints where the programs of this checkout's private PostgreSQL are.
set -eu
. "$(dirname -- "$0")/paths.sh"
tree_bin "$1" "${2:-dev}"
