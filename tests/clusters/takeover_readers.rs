//! "My reporting copy follows the archive; the primary died last night. Is the copy still the truth?" Who reads across a
//! take-over: a copy that follows, the state as of a moment, the history, and a restore that is in the middle of it.

use std::fs;
use std::process::{Child, Command, Output, Stdio};

use crate::following::{run, Following};
use crate::takeover::{
    alone, primary, promote, standby_of, take_over_broken, wait_for_replay, TAKE_OVER,
};
use harness::{program, program_command, wait_until, Cluster};

const NUMBERS: &str = "SELECT string_agg(a::text, ',' ORDER BY a) FROM t";

/// Positions behind the switch, in a segment that the copy has read to its end.
fn positions_only_the_files_have(c: &Cluster) -> String {
    c.sql("SELECT pg_switch_wal()");
    c.flush();
    c.sql("SELECT incr_rotate()");
    c.sql("SELECT pg_switch_wal()");
    c.flush()
}

#[test]
fn a_copy_goes_on_when_only_what_it_does_not_have_was_cut_off() {
    let c = primary();
    let standby = standby_of(&c);
    let target = Cluster::builder().start();
    let mut following = Following::start(&c, &target, "copy", &[]);
    following.wait_for(&c.flush());
    alone(&standby);
    let end = positions_only_the_files_have(&c);
    following.wait_for(&end);
    c.crash();
    standby.start();
    promote(&standby);
    standby.sql("INSERT INTO t VALUES (1001)");
    standby.sql(TAKE_OVER);
    standby.sql("INSERT INTO t VALUES (1002)");
    let all = standby.sql(NUMBERS);
    assert!(all.ends_with("1001,1002"), "{all}");
    standby.flush();
    wait_until("the copy has what the new primary has", || {
        target.sql_in("copy", NUMBERS) == all
    });
    let said = following.stop();
    assert!(
        said.contains(
            "the end of chain-1, as it was read, is in the archive no more: going on behind"
        ),
        "{said}"
    );
    assert!(!said.contains("etention"), "{said}");
    // A later run goes on as well.
    standby.sql("INSERT INTO t VALUES (1003)");
    let end = standby.flush();
    let mut following = Following::start(&c, &target, "copy", &[]);
    following.wait_for(&end);
    following.stop();
    assert_eq!(target.sql_in("copy", NUMBERS), standby.sql(NUMBERS));
}

#[test]
fn a_copy_that_has_what_was_set_apart_says_so() {
    let c = primary();
    let standby = standby_of(&c);
    let target = Cluster::builder().start();
    let mut following = Following::start(&c, &target, "copy", &[]);
    alone(&standby);
    let known = c.sql(NUMBERS);
    c.sql("INSERT INTO t VALUES (2001); SELECT incr_rotate(); INSERT INTO t VALUES (2002)");
    let end = c.flush();
    following.wait_for(&end);
    c.crash();
    standby.start();
    promote(&standby);
    standby.write_setting("pg_incrbackup.on_chain_break", "'rebase'");
    standby.sql_in("postgres", "SELECT pg_reload_conf()");
    take_over_broken(&standby);
    let told = |said: &str| {
        for part in [
            "chain-1 has ended at ",
            "the copy has what is behind that, up to ",
            "and not in the chain any more",
            "2 transactions of the former primary are not in the history",
            "lost-1",
            "drop the database, and the same command begins anew",
            "with changes that the server which goes on never had",
            "restore --chain 1 into a new database",
        ] {
            assert!(said.contains(part), "{part} is not in: {said}");
        }
        assert!(!said.contains("etention"), "{said}");
    };
    let (status, said) = following.end();
    assert_eq!(status, Some(1), "{said}");
    told(&said);
    // It is what it was, and whoever asks again is told the same.
    assert_eq!(target.sql_in("copy", NUMBERS), format!("{known},2001,2002"));
    let (status, said) = Following::start(&c, &target, "copy", &[]).end();
    assert_eq!(status, Some(1), "{said}");
    told(&said);
    // As it says: what the chain has without them.
    wait_until("another chain follows", || {
        standby.health().starts_with("ok")
    });
    let restored = standby.restore(&["--chain", "1"]);
    assert_eq!(standby.sql_in(&restored.database, NUMBERS), known);
    target.sql_in("postgres", "DROP DATABASE copy");
    standby.sql("INSERT INTO t VALUES (3001)");
    let end = standby.flush();
    let mut following = Following::start(&c, &target, "copy", &[]);
    following.wait_for(&end);
    following.stop();
    assert_eq!(target.sql_in("copy", NUMBERS), standby.sql(NUMBERS));
}

/// A copy that has nothing but a base that was set apart; whether commits were set apart with it.
fn a_copy_of_a_base_that_was_set_apart(has_commits: bool, parts: &[&str]) {
    let c = primary();
    let standby = standby_of(&c);
    alone(&standby);
    positions_only_the_files_have(&c);
    if has_commits {
        c.sql("INSERT INTO t VALUES (2001)");
    }
    c.sql("SELECT incr_dump()");
    let copied = c.sql(NUMBERS);
    c.flush();
    let target = Cluster::builder().start();
    let (status, said) = run(&c, &target, "copy", &["--once"]);
    assert_eq!(status, 0, "{said}");
    let following = Following::start(&c, &target, "copy", &[]);
    wait_until("it follows", || following.status()["state"] == "following");
    c.crash();
    standby.start();
    promote(&standby);
    // Enough WAL for commits on either side of the base's LSN.
    take_over_broken(&standby);
    standby.sql("INSERT INTO t VALUES (3001)");
    standby.sql("SELECT pg_switch_wal(); INSERT INTO t VALUES (3002)");
    standby.sql("SELECT pg_switch_wal(); INSERT INTO t VALUES (3003)");
    let told = |(status, said): (Option<i32>, String)| {
        assert_eq!(status, Some(1), "{said}");
        for part in parts {
            assert!(said.contains(part), "{part} is not in: {said}");
        }
    };
    told(following.end());
    told(Following::start(&c, &target, "copy", &[]).end());
    assert_eq!(target.sql_in("copy", NUMBERS), copied);
    // As it says. Nothing is missing only where the chain has ended before.
    let (status, said) = run(&c, &target, "copy", &["--promote"]);
    assert_eq!(status, i32::from(!has_commits), "{said}");
    if !has_commits {
        assert!(said.contains(parts[1]), "{said}");
        let (status, said) = run(&c, &target, "copy", &["--promote", "--now"]);
        assert_eq!(status, 0, "{said}");
    }
    assert_eq!(target.sql_in("copy", NUMBERS), copied);
}

#[test]
fn a_copy_of_a_base_that_was_set_apart_alone_gets_nothing_of_another_history() {
    a_copy_of_a_base_that_was_set_apart(
        false,
        &[
            "the base that the copy was made of, as of ",
            "is not in chain-1 any more: it was set apart when another server was promoted",
            "Drop the database, and follow begins anew",
        ],
    );
}

#[test]
fn a_copy_of_a_base_with_commits_that_were_set_apart_says_so() {
    a_copy_of_a_base_that_was_set_apart(
        true,
        &[
            "chain-1 has ended at ",
            "the copy has what is behind that, up to ",
            "1 transaction of the former primary is not in the history",
            "restore --chain 1 into a new database",
        ],
    );
}

/// A copy of the archive that a program makes file by file may have segments of the promoted server, and the manifest of before.
#[test]
fn nothing_of_another_history_is_applied_to_a_base_whose_loss_the_copied_manifest_does_not_tell() {
    let c = primary();
    let standby = standby_of(&c);
    alone(&standby);
    positions_only_the_files_have(&c);
    c.sql("SELECT incr_dump()");
    let known = c.sql(NUMBERS);
    c.flush();
    let place = c.root().join("copied");
    let from = c.database_directory();
    let mirror = |what: &str| {
        fs::remove_dir_all(place.join(what)).ok();
        harness::run(
            Command::new("cp")
                .arg("-a")
                .arg(from.join(what))
                .arg(place.join(what)),
        );
    };
    harness::run(Command::new("cp").arg("-a").arg(&from).arg(&place));
    let target = Cluster::builder().start();
    let (archive, to) = (place.display().to_string(), target.conninfo("copy"));
    let follow = || program(&["follow", "--archive", &archive, "--target", &to, "--once"]);
    assert!(follow().status.success());
    c.crash();
    standby.start();
    promote(&standby);
    take_over_broken(&standby);
    for row in 3001..3004 {
        standby.sql(&format!(
            "SELECT pg_switch_wal(); INSERT INTO t VALUES ({row}); SELECT incr_rotate()"
        ));
    }
    standby.flush();
    mirror("chain-1/incremental");
    let refused = |output: Output, told: &str| {
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        assert!(
            !output.status.success() && said.contains(told),
            "{}: {said}",
            output.status
        );
    };
    refused(
        follow(),
        "it was set apart when another server was promoted",
    );
    assert_eq!(target.sql_in("copy", NUMBERS), known);
    let restored = target.conninfo("restored");
    let restore = program(&["restore", "--archive", &archive, "--target", &restored]);
    refused(restore, "a server was promoted that never had this base");
    let mut sh = c.installation().command("sh");
    sh.arg(place.join("restore.sh"))
        .args(["--target", &restored]);
    refused(
        sh.output().expect("sh can be run"),
        "the server was promoted",
    );
    // Once it is copied as a whole, it is another base that is taken.
    mirror("chain-1/manifest.jsonl");
    mirror("chain-1/base");
    let restore = program(&["restore", "--archive", &archive, "--target", &restored]);
    assert!(
        restore.status.success(),
        "{}",
        String::from_utf8_lossy(&restore.stderr)
    );
    assert_eq!(target.sql_in("restored", NUMBERS), standby.sql(NUMBERS));
}

/// What it has read, and not applied for its delay, is not applied later.
#[test]
fn a_delayed_copy_does_not_apply_what_was_set_apart() {
    a_delayed_copy(false, "all of it is applied");
}

/// Nor what follows a base that was set apart with it.
#[test]
fn a_delayed_copy_of_a_base_that_was_set_apart_does_not_apply_what_was_set_apart() {
    a_delayed_copy(true, "the copy has what is behind that");
}

fn a_delayed_copy(is_base_lost: bool, told: &str) {
    let c = primary();
    let standby = standby_of(&c);
    let target = Cluster::builder().start();
    if is_base_lost {
        alone(&standby);
        positions_only_the_files_have(&c);
        c.sql("SELECT incr_dump()");
    }
    let known = c.sql(NUMBERS);
    c.flush();
    let following = Following::start(&c, &target, "copy", &["--delay", "60s"]);
    wait_until("the copy has what is old enough", || {
        target
            .try_sql_in("copy", NUMBERS)
            .is_ok_and(|numbers| numbers == known)
    });
    if !is_base_lost {
        alone(&standby);
    }
    c.sql("INSERT INTO t VALUES (2001); SELECT incr_rotate(); INSERT INTO t VALUES (2002)");
    c.flush();
    wait_until("they are read", || {
        following.status()["behind_bytes"].as_u64() > Some(0)
    });
    c.crash();
    standby.start();
    promote(&standby);
    take_over_broken(&standby);
    let (status, said) = following.end();
    assert_eq!(status, Some(1), "{said}");
    assert!(
        said.contains("chain-1 has ended at ") && said.contains(told),
        "{said}"
    );
    assert!(said.contains("lost-1"), "{said}");
    assert_eq!(target.sql_in("copy", NUMBERS), known);
}

/// The numbers as of a moment, by the files.
fn as_of(c: &Cluster, moment: &str) -> String {
    c.sql(&format!(
        "SET client_min_messages = warning; SELECT string_agg(a::text, ',' ORDER BY a) FROM incr_as_of(NULL::t, '{moment}')"
    ))
}

/// The numbers that were ever inserted, by incr_changes().
fn changes(c: &Cluster) -> String {
    c.sql(
        "SET client_min_messages = warning; SELECT string_agg(new->>'a', ',' ORDER BY (new->>'a')::int) \
         FROM incr_changes('t') WHERE command = 'INSERT'",
    )
}

fn history(c: &Cluster, number: &str) -> String {
    c.sql(&format!(
        "SET client_min_messages = warning; SELECT count(*) FROM incr_history('t', '{number}') WHERE operation = 'INSERT'"
    ))
}

fn now(c: &Cluster) -> String {
    c.sql("SELECT pg_sleep(0.01); SELECT clock_timestamp()")
        .trim()
        .to_owned()
}

#[test]
fn states_and_history_go_across_the_switch() {
    let c = primary();
    let standby = standby_of(&c);
    c.sql("INSERT INTO t VALUES (1000)");
    let (before, known) = (c.flush(), c.sql(NUMBERS));
    let then = now(&c);
    wait_for_replay(&c, &standby);
    alone(&standby);
    positions_only_the_files_have(&c);
    c.crash();
    standby.start();
    promote(&standby);
    standby.sql(TAKE_OVER);
    standby.sql("INSERT INTO t VALUES (3001)");
    let (after, all) = (standby.flush(), standby.sql(NUMBERS));
    for moment in [&before, &then] {
        assert_eq!(as_of(&standby, moment), known, "{moment}");
    }
    standby.sql("DELETE FROM t WHERE a = 3001");
    standby.flush();
    assert_eq!(as_of(&standby, &after), all);
    assert_eq!(changes(&standby), all);
    assert_eq!(history(&standby, "1000"), "1");
    assert_eq!(history(&standby, "3001"), "1");
}

#[test]
fn states_and_history_have_nothing_of_what_was_set_apart() {
    let c = primary();
    let standby = standby_of(&c);
    c.sql("INSERT INTO t VALUES (1000)");
    let known = c.sql(NUMBERS);
    c.flush();
    // A later moment is behind the end of the chain, which is that commit.
    let then = c.sql("SELECT last_commit_at FROM incr_slot_health()");
    wait_for_replay(&c, &standby);
    alone(&standby);
    c.sql("INSERT INTO t VALUES (2001)");
    let lost = now(&c);
    // A base is of a whole second, the one in which it was taken.
    c.sql("INSERT INTO t VALUES (2002); SELECT pg_sleep(1)");
    c.flush();
    c.crash();
    standby.start();
    promote(&standby);
    standby.write_setting("pg_incrbackup.on_chain_break", "'rebase'");
    standby.sql_in("postgres", "SELECT pg_reload_conf()");
    take_over_broken(&standby);
    wait_until("another chain follows", || {
        standby.health().starts_with("ok")
    });
    standby.sql("INSERT INTO t VALUES (3001)");
    let (after, all) = (standby.flush(), standby.sql(NUMBERS));
    assert_eq!(as_of(&standby, &after), all);
    assert_eq!(as_of(&standby, &then), known);
    // Between the end of one chain and the base of the next: no older state for it.
    let error = standby.sql_error(&format!("SELECT * FROM incr_as_of(NULL::t, '{lost}')"));
    assert!(error.text.contains("lost-1"), "{error}");
    for number in ["2001", "2002"] {
        assert_eq!(history(&standby, number), "0");
    }
    let changed = changes(&standby);
    assert!(
        changed.contains("1000") && changed.contains("3001") && !changed.contains("200"),
        "{changed}"
    );
}

/// A restore that was stopped by its first signal, in the middle of the files.
struct Stopped(Child);

impl Drop for Stopped {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

#[test]
fn a_restore_in_the_middle_of_a_cut_is_no_mix() {
    let c = primary();
    // Long enough to be met in the middle.
    c.sql("CREATE TABLE big (a int PRIMARY KEY, b text); INSERT INTO big SELECT i, repeat('x', 200) FROM generate_series(1, 20000) i");
    let standby = standby_of(&c);
    let known = c.sql(NUMBERS);
    alone(&standby);
    c.sql("INSERT INTO t VALUES (2001); SELECT incr_rotate(); INSERT INTO t VALUES (2002); UPDATE big SET b = 'lost'");
    c.flush();
    c.crash();
    standby.start();
    promote(&standby);
    let target = Cluster::builder().start();
    let mut restore = program_command();
    restore
        .args(["restore", "--archive"])
        .arg(c.database_directory());
    restore.args(["--target", &target.conninfo("restored")]);
    restore.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut restore = Stopped(restore.spawn().expect("the program can be run"));
    let pid = restore.0.id().to_string();
    wait_until("it has begun", || {
        target.is_true("SELECT count(*) > 0 FROM pg_database WHERE datname LIKE 'restored%'")
    });
    c.signal(&pid, "STOP");
    standby.write_setting("pg_incrbackup.on_chain_break", "'rebase'");
    standby.sql_in("postgres", "SELECT pg_reload_conf()");
    take_over_broken(&standby);
    // It is not waited for for ever.
    wait_until("another chain has a base", || {
        standby.sql("SELECT max(chain) FROM incr_files() WHERE kind = 'base'") == "2"
    });
    c.signal(&pid, "CONT");
    let status = restore.0.wait().expect("it was started");
    if status.success() {
        // It had everything in its hands: then it is what the archive had when it began.
        assert_eq!(
            target.sql_in("restored", NUMBERS),
            format!("{known},2001,2002")
        );
        assert_eq!(
            target.sql_in("restored", "SELECT count(*) FROM big WHERE b = 'lost'"),
            "20000"
        );
    } else {
        assert!(target.try_sql_in("restored", "SELECT 1").is_err());
    }
}
