#!/bin/sh
# Everything that a change must pass: formatting, lints for the oldest and the newest supported
# PostgreSQL, unit tests, the extension's in-server tests, the tests of object classes and on real
# clusters of both versions, a short suite on those in between, whose private structures the decoder
# reads too, and the round trip of PostgreSQL 15's regression suite. A failing step does not hide the
# later ones, but what does not build is not tested. The last line counts the tests.
set -u
. "$(dirname -- "$0")/paths.sh"
cd "$checkout" || exit 1

log=$(mktemp)
# A line for each test, or part of one, that this run leaves out, and why (tests/harness/skip.rs).
skipped_tests=$(mktemp)
export SKIPPED_TESTS="$skipped_tests"
failed_steps=
clusters=
trap 'rm -rf "$log" "$skipped_tests" ${clusters:+"$clusters"}' EXIT
trap 'exit 130' INT TERM HUP

# step NAME COMMAND…: its output is shown and kept for the count at the end. Fails when it fails.
step() {
    name=$1
    shift
    started=$(date +%s)
    echo "=== $name"
    { "$@" 2>&1 || printf '\nstep failed: %s\n' "$name"; } | tee -a "$log"
    echo "=== $name: $(($(date +%s) - started)) s"
    if grep -qxF "step failed: $name" "$log"; then
        failed_steps="$failed_steps, $name"
        return 1
    fi
}

# cargo's closing lines read `test result: ok. 12 passed; 0 failed; …`. A test that left itself out as a whole is
# among those that passed.
finish() {
    passed=$(sed -n 's/^test result: .* \([0-9]*\) passed; .*/\1/p' "$log" | total)
    failed=$(sed -n 's/^test result: .* \([0-9]*\) failed; .*/\1/p' "$log" | total)
    sed -n 's/^test \(.*\) \.\.\. ignored, \(.*\)/ignored \1 (\2)/p' "$log" >>"$skipped_tests"
    passed=$((passed - $(grep -c '^whole ' "$skipped_tests")))
    skipped=$(sed 's/^[a-z]* //' "$skipped_tests" | sort -u)
    [ -z "$failed_steps" ] || echo "failed: ${failed_steps#, }"
    names=$(echo "$skipped" | paste -sd';')
    echo "$passed passed, $failed failed, $(echo "$skipped" | grep -c .) skipped${names:+: $names}"
    [ -z "$failed_steps" ] && [ "$passed" -gt 0 ]
    exit
}

total() {
    awk '{ total += $1 } END { print total + 0 }'
}

# Clusters mostly wait, for a checkpoint or for what comes within a second.
threads=${TEST_THREADS:-$((4 * $(getconf _NPROCESSORS_ONLN)))}

lint() {
    cargo clippy --quiet --workspace --all-targets --no-default-features \
        --features "pg$1 pg_test" -- -D warnings
}

# The in-server tests get a data directory that the server's user can write.
in_server_tests() {
    data=$checkout_prefix/pg_test
    rm -rf "$data"
    mkdir -p "$data"
    if [ "$(id -u)" = 0 ]; then
        chown postgres: "$data"
        cargo pgrx test "pg$1" --package pg_incrbackup --no-default-features \
            --runas postgres --pgdata "$data"
    else
        cargo pgrx test "pg$1" --package pg_incrbackup --no-default-features --pgdata "$data"
    fi
}

# What other programs make of the files, and what the pages tell to type: one version is enough.
of_one_version='offsite_recipes monitoring_alerts monitoring_checks docs_commands drill_damage'

cluster_tests() {
    skip=
    [ "$1" = 15 ] || for group in $of_one_version; do
        skip="$skip --skip $group::"
        echo "group $group on $1 (the run on 15 does these)" >>"$skipped_tests"
    done
    # shellcheck disable=SC2086 # a list of words
    PGVER=$1 cargo test --package cluster-tests --test clusters -- \
        --test-threads "$threads" $skip
}

# What reads PostgreSQL's structures: decoding, and schema changes out of the catalogs.
short_cluster_tests() {
    PGVER=$1 cargo test --package cluster-tests --test clusters -- \
        --test-threads "$threads" effects:: plugin:: names_at_commit:: type_values:: fixed_at_ddl_time::
}

class_tests() {
    PGVER=$1 cargo test --package cluster-tests --test effects --bin roundtrip -- \
        --test-threads "$threads"
}

# Clusters live in memory where there is room (kilobytes): on a disk, making and removing the thousand files of
# every data directory takes a third of the time. TMPDIR, where it is set, names the place instead.
room() {
    ! grep -q '^[^ ]* /dev/shm [^ ]* [^ ]*noexec' /proc/mounts || return
    df -P -t tmpfs /dev/shm 2>/dev/null | awk 'NR == 2 { print $4 }'
}
memory() {
    awk '$1 == "MemAvailable:" { print $2 }' /proc/meminfo 2>/dev/null
}
wanted=$((10 * 1024 * 1024))
if [ -z "${TMPDIR:-}" ] && [ "$(room || :)" -ge $wanted ] 2>/dev/null && [ "$(memory || :)" -ge $wanted ] 2>/dev/null; then
    clusters=$(mktemp -d /dev/shm/pg_incrbackup.XXXXXX)
    chmod 1777 "$clusters"
    export TMPDIR="$clusters"
fi

# Health warns from 80 % on, and tests that want it to be ok would fail one by one.
used=$(df -P "${TMPDIR:-/tmp}" | awk 'NR == 2 { print $5 + 0 }')
if [ "$used" -ge 80 ]; then
    echo "the file system of ${TMPDIR:-/tmp} is $used % full: the tests need it below 80 %"
    exit 1
fi

step "formatting" cargo fmt --all --check
step "workflow files" sh tools/lint-workflows.sh
step "unit tests of the archive" cargo test --package archive --package archive_query --package prerequisites
step "unit tests of effects" cargo test --package effects
step "unit tests of the program" cargo test --package pg_incrbackup-cli
# The tests on clusters run this one.
step "build of the program" cargo build --package pg_incrbackup-cli
# In-server tests install a build of their own, with the tests in it: first, so that the
# ordinary build is the one that stays.
for version in 15 16 17 18; do
    case $version in 15 | 18) is_whole=1 ;; *) is_whole= ;; esac
    [ -z "$is_whole" ] || step "lints for PostgreSQL $version" lint "$version"
    if [ "$version" = 15 ]; then
        step "in-server tests on PostgreSQL $version" in_server_tests "$version"
    fi
    step "build for PostgreSQL $version" \
        sh tools/install.sh "$(tree_bin "$version" dev)/pg_config" dev || continue
    if [ -z "$is_whole" ]; then
        step "short suite on PostgreSQL $version" short_cluster_tests "$version"
        continue
    fi
    step "tests of object classes on PostgreSQL $version" class_tests "$version"
    step "tests on clusters of PostgreSQL $version" cluster_tests "$version"
    if [ "$version" = 15 ]; then
        step "round trip on PostgreSQL $version" env PG="$version" sh tools/roundtrip.sh
    fi
done
finish
