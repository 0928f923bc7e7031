#!/bin/sh
# Everything that a change must pass: formatting, lints for the oldest and the newest supported
# PostgreSQL, unit tests, the extension's in-server tests, the tests of object classes and on real
# clusters of both versions, a third of those on the versions in between, and the round trip of
# PostgreSQL 15's regression suite. A failing step does not hide the later ones, but what does not
# build is not tested.
#
# Lanes of tests run side by side, since tests mostly wait, and beside them what is to be built for later: their lines
# are mixed. A version's tests begin when it is built, and no lane waits for another. The last lines say how long each
# step took, in which step a test failed, and count the tests.
#   TEST_THREADS  tests at once in each lane (two for each processor)
#   TMPDIR        where clusters live (memory, if there is room)
set -u
. "$(dirname -- "$0")/paths.sh"
cd "$checkout" || exit 1
# Shared by the lanes: a log for each step, what failed, how long it took, what was built, and a line for each
# test, or part of one, that this run leaves out, and why (tests/harness/skip.rs). What fails removes `whole`, which
# goes on a full disk, too.
work=$(mktemp -d)
mkdir "$work/logs"
touch "$work/skipped" "$work/failed" "$work/times" "$work/whole"
chmod a+rx "$work"
export SKIPPED_TESTS="$work/skipped"
clusters=
trap 'end_servers; prefer_this_session 0; rm -rf "$work" ${clusters:+"$clusters"}' EXIT
# What the lanes have started ends with this.
trap 'trap "" INT TERM HUP; end_descendants; exit 130' INT TERM HUP

# descendants [PID…]: the processes that this one has started, and that these have, and those named, which may have lost
# their parents meanwhile. Parents first: they start nothing in the place of what ends. Those that look are among them.
descendants() {
    ps -eo pid=,ppid=,stat= | awk -v roots="$$ $*" '
        BEGIN {
            split(roots, list)
            for (at in list) ours[list[at]]
        }
        $3 !~ /^Z/ { pid[++count] = $1; parent[$1] = $2 }
        END {
            for (at = 1; at <= count; at++) {
                above = pid[at]
                if (above == list[1]) continue
                while (!(above in ours) && above in parent) above = parent[above]
                if (above in ours) print pid[at]
            }
        }'
}

# Until none is left, ten seconds at most.
end_descendants() {
    left=
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        found=$(descendants $left)
        left=
        for pid in $found; do
            ! kill "$pid" 2>/dev/null || left="$left $pid"
        done
        [ "$left" ] || return 0
        sleep 1
    done
}

# Servers outlive tests that a signal ends, and their directories are removed. One that was killed has left its file,
# and its number may be another process's by now: a server works in its directory. Ten seconds at most.
end_servers() {
    [ "$clusters" ] || return 0
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        find "$clusters" -name postmaster.pid 2>/dev/null >"$work/servers"
        left=
        while IFS= read -r file; do
            pid=$(sed -n 1p "$file" 2>/dev/null)
            [ "/proc/$pid/cwd" -ef "${file%/*}" ] || continue
            ! kill -QUIT "$pid" 2>/dev/null || left=$pid
        done <"$work/servers"
        [ "$left" ] || return 0
        sleep 1
    done
}

# prefer_this_session NICE: Linux shares processors among sessions first (sched_autogroup_enabled), and each of PostgreSQL's
# processes begins one of its own: a compiler, which is in this one with all else, would get a tenth of a processor. Where
# this may not be said, it stays so.
prefer_this_session() {
    (echo "$1" >/proc/self/autogroup) 2>/dev/null || :
}

# fails NAME: says and notes that this has failed.
fails() {
    echo "=== failed: $1"
    rm -f "$work/whole"
    echo "$1" >>"$work/failed"
}

# step NAME COMMAND…: its output is shown and kept for the count at the end. Fails when it fails. Whatever ends its
# shell before its end, the line that it has come there is missing.
step() {
    name=$1
    shift
    kept=$work/logs/$(echo "$name" | tr ' /' '__')
    started=$(date +%s)
    echo "=== $name"
    # By lines: another lane writes there, too.
    { "$@" 2>&1 && printf '\nstep done: %s\n' "$name"; } | tee "$kept" | sed -u ''
    took=$(($(date +%s) - started))
    echo "=== $name: $took s"
    echo "$took s $name" >>"$work/times"
    if ! grep -qxF "step done: $name" "$kept"; then
        tests=$(sed -n 's/^test \(.*\) \.\.\. FAILED$/\1/p' "$kept" | paste -sd, | sed 's/,/, /g')
        fails "$name${tests:+ ($tests)}"
        return 1
    fi
}

# The tests' closing lines read `test result: ok. 12 passed; 0 failed; …`. A test that left itself out as a whole is
# among those that passed. A line of groups that were left out says how many tests these are.
finish() {
    passed=$(results passed)
    failed=$(results failed)
    sed -n 's/^test \(.*\) \.\.\. ignored, \(.*\)/ignored \1 (\2)/p' "$work"/logs/* >>"$work/skipped"
    passed=$((passed - $(grep -c '^whole ' "$work/skipped")))
    sort -u -o "$work/skipped" "$work/skipped"
    skipped=$(sed 's/^[a-z]* //' "$work/skipped")
    count=$(sed -n 's/^groups \([0-9]*\) .*/\1/p; t; s/.*/1/p' "$work/skipped" | total)
    names=$(echo "$skipped" | paste -sd';')
    echo "=== times, of what runs side by side too"
    sort -rn "$work/times"
    sed 's/^/failed: /' "$work/failed"
    echo "$passed passed, $failed failed, $count skipped${names:+: $names}"
    [ -e "$work/whole" ] && [ ! -s "$work/failed" ] && [ "$passed" -gt 0 ]
    exit
}

results() {
    cat "$work"/logs/* | sed -n "s/^test result: .* \([0-9]*\) $1; .*/\1/p" | total
}

total() {
    awk '{ total += $1 } END { print total + 0 }'
}

# Clusters mostly wait, for a checkpoint or for what comes within a second. This many in each lane.
threads=${TEST_THREADS:-$((2 * $(getconf _NPROCESSORS_ONLN)))}

# Everything is built by the same selection of packages and features, so that nothing is built twice
# (with_tests_features in paths.sh); only what differs from version to version is, for each.
of_version() {
    echo "--workspace --no-default-features --features pg$1"
}

# Tests run from where cargo has put them, since cargo is busy with what comes next: it says where.
build_tests() {
    # shellcheck disable=SC2046 # lists of words
    cargo --color never test --no-run $(of_version 15),pg_test --tests 2>&1 | tee "$work/built"
    sed -n 's/^ *Executable \(.*\) (\(.*\))$/\2 \1/p' "$work/built" >"$work/executables"
    [ -s "$work/executables" ] && grep -q '^ *Finished ' "$work/built"
}

# executable SOURCE [NAME]: the test program of that source, and of that name where several have it.
executable() {
    awk -v source="$1" -v name="/${2:-}" \
        '{ path = $1; sub(/^[^ ]* (unittests )?/, "") } $0 == source && index(path, name) { print path; exit }' \
        "$work/executables"
}

lint() {
    # shellcheck disable=SC2046 # lists of words
    cargo clippy --quiet $(of_version "$1"),pg_test --all-targets -- -D warnings
}

# What somebody builds to install it: the whole workspace, with its tests, asks for more features of its dependencies.
lint_alone() {
    cargo clippy --quiet --package pg_incrbackup-cli --package pg_incrbackup --lib --bins --no-default-features \
        --features "pg$1" -- -D warnings
}

documentation_tests() {
    # shellcheck disable=SC2046 # lists of words
    cargo test --quiet $(of_version 15),pg_test --doc
}

# What needs no server, or starts its own; the program's unit tests, too.
unit_tests() {
    extension=$(executable src/lib.rs pg_incrbackup-)
    outcome=0
    while read -r program source; do
        case "$program $source" in
            "$extension "* | *' clusters/main.rs' | *' effects/main.rs') continue ;;
        esac
        echo "     Running $source ($program)"
        "$program" --test-threads "$threads" </dev/null || outcome=1
    done <"$work/executables"
    return $outcome
}

# The in-server tests get a data directory that the server's user can write. They install a build with the tests in
# it, by cargo-pgrx.
in_server_tests() {
    data=$checkout_prefix/pg_test
    rm -rf "$data"
    mkdir -p "$data"
    export CARGO_PGRX_TEST_PGDATA="$data" CARGO_MANIFEST_DIR="$checkout" PGRX_BUILD_FLAGS="$with_tests_features" \
        PGRX_FEATURES="pg$1 pg_test" PGRX_NO_DEFAULT_FEATURES=true PGRX_BUILD_PROFILE=dev
    if [ "$(id -u)" = 0 ]; then
        chown postgres: "$data"
        export CARGO_PGRX_TEST_RUNAS=postgres
    fi
    "$(executable src/lib.rs pg_incrbackup-)"
}

build_extension() {
    sh tools/install.sh "$(tree_bin "$1" dev)/pg_config" dev
}

# build_for VERSION: what it cannot be tested on fails, and hides no other version.
build_for() {
    if step "build for PostgreSQL $1" build_extension "$1"; then
        touch "$work/ready-$1"
    else
        touch "$work/lost-$1"
    fi
}

# What other programs make of the files, what the pages tell to type, rows of half a gigabyte, and kills at each of several
# points: one version is enough.
of_one_version='long_rows:: offsite_recipes:: monitoring_alerts:: monitoring_checks:: docs_commands:: drill_damage::
    takeover_killed::'

# What 16 and 17 run: about a third of all tests, where versions differ. Their structures, catalogs and
# dumps are read there; what else the product does it does alike on all of them.
third='
    types:: latin1::
    ddl:: effects:: effects_extreme:: cases:: catalog_rows:: fixed_at_ddl_time:: names_at_commit:: enum_partitions::
    plugin:: both_ways:: statements:: replica_identity:: sequences:: large_objects:: crash:: big_transaction::
    restore:: restore_moments:: restore_sessions:: program_base:: base_names:: base_psql:: snapshot_join::
    upgrade:: globals:: globals_reused:: who:: cases_roles:: roles_over_time::'

# Tests of three nodes wait for minutes, for leases and for naps of PostgreSQL's own workers: they have a lane of theirs.
failovers=failover::

# cluster_tests VERSION FILTER…: of the tests on clusters; what is left out is noted, by groups. Fails if a word of the
# filters matches no test.
cluster_tests() {
    version=$1
    shift
    clusters_program=$(executable clusters/main.rs)
    "$clusters_program" --list "$@" 2>/dev/null | sed -n 's/: test$//p' | sort >"$work/chosen-$version"
    "$clusters_program" --list --skip $failovers 2>/dev/null | sed -n 's/: test$//p' | sort >"$work/all-$version"
    comm -23 "$work/all-$version" "$work/chosen-$version" | note_groups "$version"
    outcome=0
    for word; do
        [ "$word" != --skip ] || continue
        grep -qF -e "$word" "$work/all-$version" || { echo "no test on clusters is called $word"; outcome=1; }
    done
    PGVER=$version "$clusters_program" --test-threads "$threads" --skip $failovers "$@" || outcome=1
    return $outcome
}

failover_tests() {
    PGVER=$1 "$(executable clusters/main.rs)" --test-threads 2 $failovers
}

note_groups() {
    awk -F :: -v version="$1" '
        !($1 in seen) { seen[$1]; names = names " " $1 }
        END { if (NR) print "groups " NR " tests of" names " on " version " (other versions run these)" }
    ' >>"$work/skipped"
}

all_but_of_one_version() {
    # shellcheck disable=SC2046 # a list of words
    cluster_tests "$1" $(printf -- '--skip %s ' $of_one_version)
}

# Those of them that need what a wheel does not bring: modules of contrib, test_decoding among them, and libxml (16), and
# headers that are its server's, to build decoder_raw by (17).
third_with_contrib='ddl::an_extension_comes_back_as_create_extension_alone
    ddl::rows_of_a_table_that_an_extension_gave_away_are_written
    ddl::two_hundred_statements_of_every_kind_restore both_ways::statements_of_every_kind
    nested_ddl::a_partition_whose_bound_makes_and_updates_an_extension_is_attached
    cases::case_36_a_materialized_view_over_what_is_gone
    large_objects::a_trigger_that_unlinks_does_it_once
    who::with_it_on_everywhere_every_worker_goes_on_and_health_is_ok'
third_with_xml='statements::settings_of_the_session_mean_the_same_at_restore'
third_with_headers='both_ways::statements_as_text'

third_of_cluster_tests() {
    not_here=
    config=$(tree_bin "$1" dev)/pg_config
    [ -e "$("$config" --sharedir)/extension/hstore.control" ] || not_here=$third_with_contrib
    "$config" --configure | grep -q libxml || not_here="$not_here $third_with_xml"
    [ "$1" != 17 ] || not_here="$not_here $third_with_headers"
    # shellcheck disable=SC2046,SC2086 # lists of words
    cluster_tests "$1" $third ${not_here:+$(printf -- '--skip %s ' $not_here)}
}

# Half as many at once: they wait for little, and have a lane that ends before the others.
class_tests() {
    PGVER=$1 "$(executable effects/main.rs)" --test-threads $(((threads + 1) / 2))
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
step "build of the tests" build_tests || finish

# build_rest: what lanes wait for, by a file for each version; then what nobody waits for.
build_rest() {
    step "in-server tests on PostgreSQL 15" in_server_tests 15
    # Behind those: their build is not the one that stays. It builds the program, too.
    for version in 15 18 16 17; do
        build_for "$version"
    done
    step "lints for PostgreSQL 15" lint 15
    step "lints for PostgreSQL 18, without tests" lint_alone 18
    step "documentation's tests" documentation_tests
}

# is_ready VERSION: waits until it is built. Fails if it could not be.
is_ready() {
    while :; do
        is_building=yes
        kill -0 "$builder" 2>/dev/null || is_building=
        [ ! -e "$work/ready-$1" ] || return 0
        [ ! -e "$work/lost-$1" ] || return 1
        if [ ! "$is_building" ]; then
            fails "the wait for PostgreSQL $1: build_rest has ended without it"
            return 1
        fi
        sleep 1
    done
}

test_15_and_16() {
    ! is_ready 15 || step "tests on clusters of PostgreSQL 15" cluster_tests 15
    ! is_ready 16 || step "a third of the tests on clusters, on PostgreSQL 16" third_of_cluster_tests 16
}

test_18_and_17() {
    ! is_ready 18 || step "tests on clusters of PostgreSQL 18" all_but_of_one_version 18
    ! is_ready 17 || step "a third of the tests on clusters, on PostgreSQL 17" third_of_cluster_tests 17
}

# What takes less than those, one after the other.
test_rest() {
    step "unit tests" unit_tests
    for version in 15 18; do
        ! is_ready $version || step "tests of object classes on PostgreSQL $version" class_tests $version
    done
}

# They wait more than they work: for sessions of a suite, one at a time, and for three nodes.
round_trip() {
    ! is_ready 15 || step "round trip on PostgreSQL 15" env PG=15 IS_BUILT=yes sh tools/roundtrip.sh
}

test_failovers() {
    for version in 15 18; do
        ! is_ready $version || step "tests of failovers on PostgreSQL $version" failover_tests $version
    done
}

# lane FUNCTION: runs it, and notes that it has come to its end.
lane() {
    "$1"
    touch "$work/ended-$1"
}

# test_lane FUNCTION: the same, and what is to be built goes first: lanes wait for it.
test_lane() {
    # The number of this shell, which is not $$.
    renice -n 10 -p "$(exec sh -c 'echo $PPID')" >/dev/null
    lane "$1"
}

prefer_this_session -15
lanes='test_15_and_16 test_18_and_17 test_rest round_trip test_failovers'
lane build_rest &
builder=$!
for lane in $lanes; do
    test_lane "$lane" &
done
wait
for lane in build_rest $lanes; do
    [ -e "$work/ended-$lane" ] || fails "$lane, which has not come to its end"
done
finish
