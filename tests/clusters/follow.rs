//! "The copy was three days behind, and nobody knew." A database that follows the archive has all of it, in commit order,
//! whatever is killed meanwhile; it says how far it is, and becomes a database of its own at the end.

use std::path::PathBuf;

use fastrand::Rng;
use harness::{assert_identical, program_command, wait_until, Cluster};
use serde_json::Value;

use crate::following::{run, Following};
use crate::healing::lose;
use crate::program_resume::{change, rich_base};
use crate::roles_over_time::roles;

fn lag_is_written(file: &PathBuf) -> bool {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let lag = text
        .lines()
        .find(|line| line.starts_with("pg_incrbackup_follow_lag_seconds{database=\"copy\"} "));
    lag.is_some_and(|line| {
        line.rsplit(' ')
            .next()
            .is_some_and(|value| value.parse::<f64>().is_ok())
    })
}

const BEGIN: &str = "
    CREATE TABLE accounts (id int PRIMARY KEY, balance int NOT NULL); INSERT INTO accounts SELECT i, 100 FROM generate_series(1, 50) i;
    CREATE TABLE log (what text, at int); CREATE TABLE keyless (a int, b text); CREATE SEQUENCE numbers;
    CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.log VALUES (TG_NAME, NEW.id); RETURN NULL; END $$;
    CREATE TRIGGER noted AFTER INSERT ON accounts FOR EACH ROW EXECUTE FUNCTION note(); ALTER TABLE accounts ENABLE ALWAYS TRIGGER noted;
    CREATE FUNCTION watched() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
    CREATE EVENT TRIGGER watch ON ddl_command_end EXECUTE FUNCTION watched(); ALTER EVENT TRIGGER watch ENABLE ALWAYS;
    CREATE MATERIALIZED VIEW sums AS SELECT count(*), sum(balance) FROM accounts";

/// A piece of load, with schema changes; the sum of all balances stays what it is.
fn load(c: &Cluster, round: u32) {
    c.sql(&format!(
        "DO $$ BEGIN FOR i IN 1 .. 200 LOOP
            UPDATE accounts SET balance = balance - 1 WHERE id = i % 50 + 1; UPDATE accounts SET balance = balance + 1 WHERE id = (i + 7) % 50 + 1;
            INSERT INTO keyless VALUES (i, 'round {round}'); COMMIT; END LOOP; END $$"
    ));
    c.sql(&format!(
        "CREATE TABLE made_{round} (a int PRIMARY KEY, b text); INSERT INTO made_{round} SELECT i, 'x' FROM generate_series(1, 100) i;
         ALTER TABLE keyless ADD COLUMN c_{round} int DEFAULT {round}; INSERT INTO accounts VALUES (1000 + {round}, 0);
         SELECT nextval('numbers') FROM generate_series(1, 40); SELECT lo_from_bytea({}, 'large')",
        700_000 + round
    ));
}

#[test]
fn a_copy_has_all_whatever_is_killed_and_becomes_a_database_of_its_own() {
    let c = Cluster::builder()
        .setting("pg_incrbackup.compression", "zstd")
        .start();
    c.sql(BEGIN);
    c.sql("CREATE EXTENSION pg_incrbackup");
    c.sql("SELECT * FROM incr_setup()");
    let target = Cluster::builder().start();
    let metrics = target.root().join("follow.prom");
    let options = ["--metrics", metrics.to_str().expect("the path is UTF-8")];
    let seed = std::env::var("SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let mut dice = Rng::with_seed(seed.unwrap_or(20_261_130));
    let mut copy = Following::start(&c, &target, "copy", &options);
    let rounds = if c.version() == 15 { 12 } else { 6 };
    for round in 0..rounds {
        load(&c, round);
        if round == 3 {
            c.sql_in(
                "postgres",
                "CREATE ROLE later; ALTER DATABASE app SET work_mem = '5MB'; ALTER DATABASE app SET default_transaction_read_only = off",
            );
            c.sql("CREATE ROLE within; ALTER TABLE made_1 OWNER TO within; GRANT SELECT ON made_2 TO later");
        }
        // One that has just begun leaves it to whoever has started it to try again.
        wait_until("it follows", || copy.status()["state"] == "following");
        match dice.u32(0..6) {
            0 => {
                c.sql("SELECT incr_rotate()");
            }
            1 => {
                target.sql_in("postgres", "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname LIKE 'copy%'");
            }
            2 => {
                target.crash();
                target.start();
            }
            _ => {
                copy.signal("-KILL");
                let (status, said) = copy.end();
                assert_eq!(status, None, "seed {seed:?}, round {round}: {said}");
                copy = Following::start(&c, &target, "copy", &options);
            }
        }
        if dice.bool() {
            let lsn = c.flush();
            copy.wait_for(&lsn);
            // At every commit it is a state that the source had.
            assert_eq!(
                target.sql_in("copy", "SELECT sum(balance) FROM accounts"),
                "5000"
            );
        }
    }
    let lsn = c.flush();
    copy.wait_for(&lsn);
    let status = copy.status();
    assert_eq!(
        (&status["lag_seconds"], &status["is_partial"]),
        (&Value::from(0.0), &Value::from(false))
    );
    wait_until("the metrics are written", || lag_is_written(&metrics));
    // Nobody writes by mistake, and nothing is held while nothing is to be done.
    let refused = target.try_sql_in("copy", "INSERT INTO log VALUES ('x', 1)");
    assert!(refused.is_err());
    let idle = "SELECT count(*) FROM pg_stat_activity WHERE datname = 'copy' AND application_name = 'pg_incrbackup'
        AND (xact_start IS NOT NULL OR backend_xmin IS NOT NULL)";
    wait_until("no transaction is open", || {
        target.sql_in("postgres", idle) == "0"
    });
    assert_eq!(target.sql_in("copy", "SELECT count(*) FROM sums"), "1");
    // Somebody who restores does not take it for a restore of theirs.
    let said = copy.stop();
    assert!(said.contains("the same command goes on there"), "{said}");
    let archive = c.database_directory();
    let archive = archive.to_str().expect("the path is UTF-8");
    let conninfo = target.conninfo("copy");
    let output = harness::program(&["restore", "--archive", archive, "--target", &conninfo]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("it was begun with follow"), "{said}");
    load(&c, 100);
    c.flush();
    // A promotion that does not finish lets nobody in; nor does somebody by hand for long.
    let set = "SET default_transaction_read_only = off";
    target.sql_in(
        "copy",
        &format!("{set}; CREATE VIEW in_the_way AS SELECT stage FROM incr_restore.progress"),
    );
    let (status, said) = run(&c, &target, "copy", &["--promote"]);
    assert!(status == 1 && said.contains("in_the_way"), "{said}");
    let write = "INSERT INTO log VALUES ('x', 1)";
    assert!(target.try_sql_in("copy", write).is_err());
    target.sql_in(
        "copy",
        &format!(
            "{set}; DROP VIEW in_the_way; ALTER DATABASE copy RESET default_transaction_read_only"
        ),
    );
    let (status, said) = run(&c, &target, "copy", &["--once"]);
    assert_eq!(status, 0, "{said}");
    assert!(target.try_sql_in("copy", write).is_err());
    let (status, said) = run(&c, &target, "copy", &["--promote"]);
    assert_eq!(status, 0, "{said}");
    assert_identical((&c, c.database()), (&target, "copy"));
    let firing = "SELECT (SELECT tgenabled FROM pg_trigger WHERE tgname = 'noted'), (SELECT evtenabled FROM pg_event_trigger WHERE evtname = 'watch'),
        (SELECT count(*) FROM pg_namespace WHERE nspname = 'incr_restore'), current_setting('work_mem'), current_setting('default_transaction_read_only'),
        (SELECT pg_get_userbyid(relowner) FROM pg_class WHERE relname = 'made_1')";
    assert_eq!(target.sql_in("copy", firing), "A|A|0|5MB|off|within");
    target.sql_in("copy", "INSERT INTO accounts VALUES (5000, 0)");
    let (status, said) = run(&c, &target, "copy", &["--once"]);
    assert!(status == 1 && said.contains("is not empty"), "{said}");
}

#[test]
fn what_is_younger_than_the_delay_is_not_there() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE t (a int PRIMARY KEY, at timestamptz DEFAULT clock_timestamp()); INSERT INTO t VALUES (0)");
    c.sql("CREATE SEQUENCE numbers");
    let lsn = c.flush();
    let mut copy = Following::start(&c, &c, "copy", &["--delay", "3s"]);
    copy.wait_for(&lsn);
    let mut youngest = f64::MAX;
    for a in 1..=4 {
        c.sql(&format!("INSERT INTO t VALUES ({a})"));
        // Each insert commits after its row's time: one that is there is as old as the delay.
        let age = "SELECT extract(epoch FROM clock_timestamp() - max(at)) FROM t";
        let age: f64 = c.sql_in("copy", age).parse().expect("it is a number");
        youngest = youngest.min(age);
        wait_until("its time has come", || {
            c.sql_in(
                "copy",
                &format!("SELECT count(*) FROM t WHERE a = {}", a - 1),
            ) == "1"
        });
    }
    assert!(youngest >= 3.0, "a row was there after {youngest} s");
    let status = copy.status();
    assert_eq!(status["delay_seconds"], 3.0, "{status}");
    copy.stop();
    // Positions of sequences are as of their time, too. (An hour is longer than this test.)
    c.sql("SELECT setval('numbers', 77)");
    c.flush();
    for (delay, last) in [("1h", "1"), ("0s", "77")] {
        let (status, said) = run(&c, &c, "copy", &["--delay", delay, "--once"]);
        assert_eq!(status, 0, "{said}");
        let value = c.sql_in("copy", "SELECT last_value FROM numbers");
        assert_eq!(value, last, "with a delay of {delay}");
    }
    // Nothing more: what is younger stays out.
    c.sql("INSERT INTO t VALUES (100)");
    let lsn = c.flush();
    let (status, said) = run(&c, &c, "copy", &["--delay", "1h", "--once"]);
    assert_eq!(status, 0, "{said}");
    assert!(
        said.contains(&lsn) || said.contains("archive_lsn"),
        "{said}"
    );
    assert_eq!(
        c.sql_in("copy", "SELECT count(*) FROM t WHERE a = 100"),
        "0"
    );
    // The archive does not answer: that is told, and it ends when it is asked to.
    let mut command = program_command();
    command.args(["--json", "follow", "--from", &c.conninfo(c.database())]);
    command.args(["--target", &c.conninfo("copy")]);
    command.args(["--interval", "50ms", "--delay", "1h"]);
    let copy = Following::of(command);
    let reader = format!(
        "SELECT min(pid) FROM pg_stat_activity WHERE datname = '{}' AND query LIKE '%incr\\_read(%' AND pid <> pg_backend_pid()",
        c.database()
    );
    wait_until("it follows", || copy.status()["state"] == "following");
    let reader = c.sql(&reader);
    let signal = |signal: &str| {
        let sent = std::process::Command::new("kill")
            .args([signal, &reader])
            .status();
        assert!(sent.expect("kill can be run").success());
    };
    signal("-STOP");
    let told = copy.told();
    wait_until("it tells where it is", || copy.told() > told + 10);
    copy.stop();
    signal("-CONT");
    // Without the archive, too.
    let archive = c.database_directory();
    let away = archive.with_extension("away");
    c.stop();
    std::fs::rename(&archive, &away).expect("it can be moved");
    c.start();
    let target = c.conninfo("copy");
    let output = harness::program(&["follow", "--target", &target, "--promote", "--now"]);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(
        c.sql_in("copy", "SELECT count(*) FROM t WHERE a = 100"),
        "0"
    );
    c.sql_in("copy", "INSERT INTO t VALUES (101)");
}

#[test]
fn the_end_of_a_chain_a_loss_and_segments_that_are_gone_are_said() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE t (a int, b text); INSERT INTO t VALUES (1, 'x'); CREATE TABLE other (a int PRIMARY KEY)");
    let lsn = c.flush();
    let mut copy = Following::start(&c, &c, "copy", &["--refresh-views", "50ms"]);
    copy.wait_for(&lsn);
    // Rows of materialized views are not in the archive.
    c.sql("CREATE MATERIALIZED VIEW m AS SELECT count(*) FROM other; CREATE MATERIALIZED VIEW n AS SELECT 1 AS one");
    c.sql("INSERT INTO other VALUES (1), (2)");
    let is_filled = || {
        c.try_sql_in("copy", "SELECT count FROM m")
            .is_ok_and(|rows| rows == "2")
    };
    wait_until("the view is filled again", is_filled);
    assert_eq!(c.sql_in("copy", "SELECT one FROM n"), "1");
    c.sql("REFRESH MATERIALIZED VIEW n WITH NO DATA");
    wait_until("it has no rows", || {
        c.try_sql_in("copy", "SELECT one FROM n").is_err()
    });
    let (status, said) = run(&c, &c, "copy", &["--globals", "--once"]);
    assert!(
        status == 1 && said.contains("it was begun without options"),
        "{said}"
    );
    // Changes are lost: what can be applied is.
    lose(&c, "UPDATE t SET a = 100 WHERE a = 1");
    c.sql("INSERT INTO other VALUES (7)");
    let lsn = c.flush();
    copy.wait_for(&lsn);
    wait_until("it says so", || copy.status()["is_partial"] == true);
    assert!(
        copy.complaints().contains("changes are lost"),
        "{}",
        copy.complaints()
    );
    copy.stop();
    let mut copy = Following::start(&c, &c, "copy", &[]);
    copy.wait_for(&lsn);
    assert_eq!(copy.status()["is_partial"], true);
    assert_eq!(c.sql_in("copy", "SELECT max(a) FROM other"), "7");
    // The chain ends while it is followed.
    c.sql("SELECT incr_teardown()");
    let (status, said) = copy.end();
    assert_eq!(status, Some(1), "{said}");
    assert!(
        said.contains("has ended at") && said.contains("--promote"),
        "{said}"
    );
    let (status, said) = run(&c, &c, "copy", &["--promote", "--no-count"]);
    assert_eq!(status, 1, "{said}");
    assert!(said.contains("\"done\":true"), "{said}");
    assert_eq!(c.sql_in("copy", "SELECT count FROM m"), "3");
    // A copy that was stopped for too long.
    c.sql("SELECT * FROM incr_setup(new_chain => true)");
    c.sql("INSERT INTO other VALUES (8)");
    c.flush();
    let (status, said) = run(&c, &c, "late", &["--once"]);
    assert_eq!(status, 0, "{said}");
    c.sql("SELECT incr_rotate()");
    c.sql("INSERT INTO other VALUES (9)");
    c.sql("SELECT incr_rotate()");
    c.sql("INSERT INTO other VALUES (10)");
    c.flush();
    let incremental = c.chain_directory().join("incremental");
    let mut names: Vec<PathBuf> = std::fs::read_dir(&incremental)
        .expect("it can be read")
        .map(|entry| entry.expect("it can be read").path())
        .collect();
    names.sort();
    names
        .iter()
        .take(2)
        .for_each(|name| std::fs::remove_file(name).expect("it can be removed"));
    let (status, said) = run(&c, &c, "late", &["--once"]);
    assert_eq!(status, 3, "{said}");
    assert!(
        said.contains("not in the archive any more") && said.contains("begins anew"),
        "{said}"
    );
    assert_eq!(c.sql_in("late", "SELECT max(a) FROM other"), "8");
}

#[test]
fn a_copy_is_what_a_restore_makes_roles_and_all() {
    let c = rich_base();
    let target = Cluster::builder().start();
    let options = ["--globals"];
    let archive = c.database_directory();
    let mut dice = Rng::with_seed(7);
    let mut copy = std::thread::scope(|scope| {
        let mut copy = Following::start(&c, &target, "copy", &options);
        let changing = scope.spawn(|| change(&c));
        // Killed between any two of the states that it tells.
        while !changing.is_finished() {
            let told = copy.told();
            let enough = told + dice.usize(1..12);
            wait_until("it says more, or nothing more is to be said", || {
                copy.told() >= enough
            });
            copy.signal("-KILL");
            let (status, said) = copy.end();
            assert_eq!(status, None, "{said}");
            copy = Following::start(&c, &target, "copy", &options);
        }
        copy
    });
    let lsn = c.flush();
    copy.wait_for(&lsn);
    copy.stop();
    let (status, said) = run(&c, &target, "copy", &["--globals", "--promote"]);
    assert_eq!(status, 0, "{said}");
    assert_identical((&c, c.database()), (&target, "copy"));
    let other = Cluster::builder().start();
    let (archive, conninfo) = (archive.display().to_string(), other.conninfo("whole"));
    let arguments = [
        "restore",
        "--archive",
        &archive,
        "--target",
        &conninfo,
        "--globals",
    ];
    let output = harness::program(&arguments);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(roles(&target), roles(&other));
}

fn read(path: &std::path::Path) -> String {
    std::fs::read_to_string(path).expect("it can be read")
}

/// Whoever reads finds the old file or the new one.
fn replace(path: &std::path::Path, text: &str) {
    let beside = path.with_extension("new");
    std::fs::write(&beside, text).expect("it can be written");
    std::fs::rename(&beside, path).expect("it can be renamed");
}

#[test]
fn an_open_segment_that_is_written_again_and_a_copy_that_is_being_made_are_followed() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE t (a int); INSERT INTO t VALUES (1)");
    c.flush();
    c.sql("INSERT INTO t VALUES (2)");
    let lsn = c.flush();
    // A copy of the archive, of which only the files that are put there are seen.
    let copied = c.root().join("copied");
    let (from, to) = (c.database_directory(), copied.display().to_string());
    let cp = std::process::Command::new("cp")
        .arg("-a")
        .arg(from)
        .arg(&to)
        .status();
    assert!(cp.expect("cp can be run").success());
    let open = c.segments().pop().expect("one is open").path;
    let chain = |path: &std::path::Path| {
        let below = path
            .strip_prefix(c.database_directory())
            .expect("it is below");
        copied.join(below)
    };
    let command = || {
        let mut command = program_command();
        command.args(["--json", "follow", "--archive", &to, "--interval", "50ms"]);
        command.args(["--target", &c.conninfo("copy"), "--patience", "0s"]);
        command
    };
    let mut copy = Following::of(command());
    copy.wait_for(&lsn);
    // The system of the source crashes: what was not on disk is written once more, and not as it was.
    c.sql("INSERT INTO t VALUES (3)");
    let lsn = c.flush();
    let text = read(&open);
    let is_position = |line: &&str| line.contains(" position lsn=");
    let positions = text.lines().filter(is_position).count();
    assert!(positions > 1, "{text}");
    let last = text
        .lines()
        .rfind(|line| is_position(line))
        .expect("there is one");
    let mut again: Vec<&str> = text.lines().filter(|line| !is_position(line)).collect();
    again.push(last);
    replace(&chain(&open), &(again.join("\n") + "\n"));
    copy.wait_for(&lsn);
    let rows = "SELECT string_agg(a::text, ' ' ORDER BY a) FROM t";
    assert_eq!(c.sql_in("copy", rows), "1 2 3");
    copy.stop();
    // It is closed; half of it is copied, and the manifest is not.
    c.sql("INSERT INTO t VALUES (4)");
    let closed = PathBuf::from(c.sql("SELECT incr_rotate()"));
    c.sql("INSERT INTO t VALUES (5)");
    let lsn = c.flush();
    let whole = read(&closed);
    std::fs::remove_file(chain(&open)).expect("it can be removed");
    let half = whole.rfind("INSERT").expect("it has rows");
    replace(&chain(&closed), &whole[..half]);
    let output = command()
        .arg("--once")
        .output()
        .expect("the program can be run");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert_eq!(c.sql_in("copy", rows), "1 2 3");
    let mut copy = Following::of(command());
    replace(&chain(&closed), &whole);
    let manifest = c.chain_directory().join("manifest.jsonl");
    replace(&chain(&manifest), &read(&manifest));
    let open = c.segments().pop().expect("one is open").path;
    replace(&chain(&open), &read(&open));
    copy.wait_for(&lsn);
    assert_eq!(c.sql_in("copy", rows), "1 2 3 4 5");
    // Damage is not passed over, and not taken for something that passes.
    let text = read(&open);
    replace(&chain(&open), &text.replace("COMMIT;\n", "COMMIT,\n"));
    c.sql("INSERT INTO t VALUES (6)");
    c.flush();
    replace(
        &chain(&open),
        &read(&open).replace("COMMIT;\n", "COMMIT,\n"),
    );
    let (status, said) = copy.end();
    assert_eq!(status, Some(4), "{said}");
    assert!(said.contains("is damaged at byte"), "{said}");
}
