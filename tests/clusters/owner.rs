//! "A copy of my server wrote into my backup, and nobody told me." An archive has one owner; every other server
//! reads there, writes nothing, and says who the owner is.

use harness::{give_to_server_user, run, wait_until, Cluster};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

const SETUP: &str = "SELECT * FROM incr_setup()";
const TAKE_OVER: &str = "SELECT * FROM incr_setup(take_over => true)";

/// An original with a table, a closed segment and two bases that retention no longer keeps a month later.
fn original() -> Cluster {
    let c = Cluster::builder()
        .with_failpoints()
        .setting("autovacuum", "off")
        .setting("pg_incrbackup.keep_incremental", "'1d'")
        .setting("pg_incrbackup.keep_base", "'1d'")
        .setting("pg_incrbackup.keep_monthly", "0")
        .back_up();
    c.sql("CREATE TABLE t (a int PRIMARY KEY); INSERT INTO t VALUES (1)");
    c.sql("SELECT incr_rotate(); SELECT incr_dump()");
    c.sql("SELECT * FROM incr_setup()");
    c
}

/// A base backup of the original, promoted, with the same settings: also the same archive.
fn promoted_clone(original: &Cluster) -> Cluster {
    let clone = Cluster::builder().with_failpoints().create();
    fs::remove_dir_all(clone.data_directory()).expect("it was never started");
    let mut copy = original.installation().command("pg_basebackup");
    copy.arg("-d").arg(original.conninfo("postgres"));
    run(copy.args(["-c", "fast", "-D"]).arg(clone.data_directory()));
    clone.write_setting(
        "unix_socket_directories",
        &format!("'{}'", clone.root().display()),
    );
    // What the harness knows by the clone's own path.
    symlink(original.archive_directory(), clone.archive_directory()).expect("a link can be made");
    promote(&clone);
    clone
}

fn promote(stopped: &Cluster) {
    let signal = stopped.data_directory().join("recovery.signal");
    fs::write(&signal, "").expect("the server is down");
    give_to_server_user(&signal);
    stopped.write_setting("restore_command", "'false'");
    stopped.start();
    stopped.wait_for_connections();
}

/// Every file below the archive with its content, but for what an original that is at work appends to.
fn tree(archive: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut directories = vec![archive.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).expect("it can be listed").flatten() {
            let path = entry.path();
            if path.is_dir() {
                found.insert(path.clone(), Vec::new());
                directories.push(path);
            } else if !path.to_string_lossy().ends_with(".partial") {
                let content = fs::read(&path).expect("it can be read");
                found.insert(path, content);
            }
        }
    }
    found
}

fn assert_unchanged(archive: &Path, before: &BTreeMap<PathBuf, Vec<u8>>) {
    let after = tree(archive);
    let names = |tree: &BTreeMap<PathBuf, Vec<u8>>| tree.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&after), names(before));
    for (path, content) in before {
        assert!(after[path] == *content, "{} was changed", path.display());
    }
}

/// Everything that writes, each refused with the data directory of the owner.
fn assert_refused(c: &Cluster, owner: &Cluster) {
    let base = owner.bases()[0].display().to_string();
    for statement in [
        SETUP,
        "SELECT * FROM incr_setup(new_chain => true)",
        "SELECT * FROM incr_expire(dry_run => false)",
        &format!("SELECT incr_keep('{base}')"),
        "SELECT incr_report()",
    ] {
        let error = c.sql_error(statement);
        let holder = owner.data_directory().display().to_string();
        assert!(error.message.contains(&holder), "{statement}: {error}");
        assert!(error.message.contains("belongs to"), "{statement}: {error}");
        assert_eq!(error.sqlstate, "55000", "{statement}: {error}");
    }
    // An emergency once capture has been refused again and again.
    let is_bad = |level: &str| level == "critical" || level == "emergency";
    let health = c.health();
    assert!(
        is_bad(health.split('|').next().unwrap_or_default()),
        "{health}"
    );
    let holder = owner.data_directory().display().to_string();
    assert!(health.contains(&holder), "{health}");
    let level = c.sql("SELECT level FROM incr_cluster_health() WHERE database = 'app'");
    assert!(is_bad(&level), "{level}");
}

#[test]
fn a_clone_beside_its_original_writes_nothing_and_cannot_take_over() {
    let c = original();
    c.sql_in("postgres", "CREATE DATABASE other");
    c.sql_in("other", "CREATE EXTENSION pg_incrbackup");
    c.sql_in("other", SETUP);
    let clone = promoted_clone(&c);
    c.sql("SELECT incr_flush()");
    let before = tree(&c.archive_directory());
    clone.set_day(60, "");
    assert_refused(&clone, &c);
    let error = clone.sql_error(TAKE_OVER);
    assert!(error.message.contains("is being written by"), "{error}");
    assert!(error.text.contains("stop that server first"), "{error}");
    // Its own databases are its own.
    clone.sql_in("postgres", "DROP DATABASE other");
    clone.sql("INSERT INTO t VALUES (100)");
    assert_unchanged(&c.archive_directory(), &before);
    // What it may do is read.
    assert_eq!(clone.sql("SELECT * FROM incr_verify()"), "");
    assert_eq!(
        clone.sql("SELECT count(*) FROM incr_files() WHERE kind = 'base'"),
        "2"
    );
    c.sql("INSERT INTO t VALUES (2)");
    let restored = c.assert_restores();
    assert_eq!(c.sql_in(&restored.database, "SELECT max(a) FROM t"), "2");
    assert!(c.health().starts_with("ok"), "{}", c.health());
    c.sql("SELECT incr_dump()");
    let other = c.sql_in("other", "SELECT level, reasons FROM incr_slot_health()");
    assert!(other.starts_with("ok"), "{other}");
}

#[test]
fn a_stopped_original_is_replaced_by_decision_only_and_writes_no_more_when_it_is_back() {
    let c = original();
    let clone = promoted_clone(&c);
    c.sql("INSERT INTO t VALUES (2)");
    let lsn = c.flush();
    c.stop();
    let before = tree(&c.archive_directory());
    assert_refused(&clone, &c);
    assert_unchanged(&c.archive_directory(), &before);

    let steps = clone.sql(&format!(
        "SELECT status, detail FROM ({TAKE_OVER}) s WHERE step = 'owner'"
    ));
    assert!(steps.starts_with("taken over|"), "{steps}");
    clone.sql("INSERT INTO t VALUES (100)");
    clone.assert_restores();
    assert!(clone.health().starts_with("ok"), "{}", clone.health());
    let ended = fs::read_to_string(c.database_directory().join("chain-1/chain.json"));
    let ended = ended.expect("the first chain is there");
    assert!(ended.contains("taken over by"), "{ended}");

    let before = tree(&c.archive_directory());
    c.set_day(60, "");
    c.start();
    wait_until("capture is refused", || {
        let health = c.health();
        health.contains("capture is waiting to retry") || health.contains("times in a row")
    });
    assert_refused(&c, &clone);
    let error = c.sql_error("SELECT incr_dump()");
    assert!(error.message.contains("belongs to"), "{error}");
    c.sql("CREATE ROLE unheard; INSERT INTO t VALUES (3)");
    wait_until("its globals are refused, too", || {
        c.health().contains("could not be recorded")
    });
    c.sql("SELECT incr_teardown()");
    assert_unchanged(&c.archive_directory(), &before);

    let first = clone.restore(&["--chain", "1", "--until-lsn", &lsn]);
    let rows = "SELECT string_agg(a::text, ',' ORDER BY a) FROM t";
    assert_eq!(clone.sql_in(&first.database, rows), "1,2");
    clone.sql("INSERT INTO t VALUES (101)");
    let last = clone.assert_restores();
    assert_eq!(clone.sql_in(&last.database, rows), "1,100,101");
}

/// A recovery to a point, from a base backup, in the place of the server: no slot came along.
#[test]
fn a_server_restored_in_place_is_another_one() {
    let c = original();
    let aside = c.root().join("restored");
    let mut copy = c.installation().command("pg_basebackup");
    copy.arg("-d").arg(c.conninfo("postgres"));
    run(copy.args(["-c", "fast", "-D"]).arg(&aside));
    c.sql("INSERT INTO t VALUES (2)");
    c.flush();
    c.stop();
    fs::remove_dir_all(c.data_directory()).expect("the server is down");
    fs::rename(aside, c.data_directory()).expect("one file system");
    promote(&c);
    let error = c.sql_error(SETUP);
    assert!(error.message.contains("timeline 2, not 1"), "{error}");
    assert!(error.text.contains("take_over => true"), "{error}");
    c.sql(TAKE_OVER);
    c.sql("INSERT INTO t VALUES (5)");
    c.assert_restores();
    assert!(c.health().starts_with("ok"), "{}", c.health());
}

#[test]
fn a_server_that_has_moved_says_what_differs_and_begins_anew_when_told() {
    let c = original();
    let json = c.database_directory().join("owner.json");
    let text = fs::read_to_string(&json).expect("there is an owner");
    let host = text
        .lines()
        .find(|line| line.contains("\"host\""))
        .expect("it has a host");
    fs::write(&json, text.replace(host, "  \"host\": \"before.example\",")).expect("it is a file");
    c.restart();
    wait_until("capture says what differs", || {
        c.health().contains("before.example")
    });
    c.sql("INSERT INTO t VALUES (2)");
    assert!(c.sql_error(SETUP).message.contains("not before.example"));
    wait_until("all is refused, capture again and again", || {
        let health = c.health();
        health.starts_with("emergency") && health.contains("could not be recorded")
    });
    c.sql(TAKE_OVER);
    // Nothing of before.
    assert!(c.health().starts_with("ok"), "{}", c.health());
    c.assert_restores();
    assert!(c.health().starts_with("ok"), "{}", c.health());
    assert_eq!(c.sql("SELECT max(chain) FROM incr_files()"), "2");
}

/// What an earlier version wrote names no owner: the slot tells whose it is.
#[test]
fn an_archive_without_an_owner_gets_the_one_that_has_its_slot() {
    let c = original();
    let clone = promoted_clone(&c);
    c.stop();
    for file in ["owner.json", "owner.lock"] {
        fs::remove_file(c.database_directory().join(file)).ok();
    }
    let before = tree(&c.archive_directory());
    for statement in [SETUP, "SELECT * FROM incr_expire(dry_run => false)"] {
        let error = clone.sql_error(statement);
        assert!(error.message.contains("names no owner"), "{error}");
    }
    assert!(clone.health().starts_with("critical"), "{}", clone.health());
    assert_unchanged(&c.archive_directory(), &before);
    c.start();
    c.sql("INSERT INTO t VALUES (2)");
    c.assert_restores();
    assert!(c.health().starts_with("ok"), "{}", c.health());
    let owner = fs::read_to_string(c.database_directory().join("owner.json"));
    let holder = c.data_directory().display().to_string();
    assert!(owner.expect("there is one now").contains(&holder));
    assert!(clone.sql_error(SETUP).message.contains(&holder));
}

/// As a server makes one that knows no owners.
#[test]
fn a_chain_that_appears_is_critical_and_neither_bases_nor_changes_go_into_it() {
    let c = original();
    let second = c.database_directory().join("chain-2");
    run(Command::new("cp")
        .arg("-a")
        .arg(c.chain_directory())
        .arg(&second));
    let parts = ["base", "globals", "incremental"].map(|part| second.join(part));
    let before = parts.each_ref().map(|part| tree(part));
    wait_until("health tells", || {
        c.health()
            .contains("chain 2 does not belong to the slot of this server")
    });
    assert!(c.health().starts_with("critical"), "{}", c.health());
    let base = c.sql("SELECT incr_dump()");
    assert!(base.contains("/chain-1/"), "{base}");
    c.restart();
    c.sql("INSERT INTO t VALUES (2); SELECT incr_flush(); SELECT incr_rotate()");
    for (part, before) in parts.iter().zip(&before) {
        assert_unchanged(part, before);
    }
    let restored = c.restore(&["--chain", "1"]);
    assert_eq!(c.sql_in(&restored.database, "SELECT max(a) FROM t"), "2");
    // The next one is newer than both.
    c.sql("SELECT * FROM incr_setup(new_chain => true)");
    c.sql("INSERT INTO t VALUES (3); SELECT incr_flush()");
    assert!(c.health().starts_with("ok"), "{}", c.health());
    let restored = c.restore(&[]);
    assert_eq!(c.sql_in(&restored.database, "SELECT max(a) FROM t"), "3");
    assert_eq!(c.sql("SELECT max(chain) FROM incr_files()"), "3");
}

#[test]
fn directories_of_another_cluster_and_unreadable_ones_disturb_nobody() {
    let c = original();
    let foreign = Cluster::builder().own_system_identifier().back_up();
    foreign.sql("CREATE TABLE f (a int); SELECT incr_flush()");
    let copy = |from: &Path, name: &str| {
        run(Command::new("cp")
            .arg("-a")
            .arg(from)
            .arg(c.archive_directory().join(name)));
    };
    copy(&foreign.database_directory(), "foreign");
    copy(&foreign.database_directory(), "foreign of 0.2.0");
    let old = c.archive_directory().join("foreign of 0.2.0");
    fs::remove_file(old.join("owner.json")).ok();
    copy(&c.database_directory(), "aaa");
    let damaged = c.archive_directory().join("aaa");
    fs::remove_file(damaged.join("owner.json")).ok();
    fs::write(damaged.join("chain-1/chain.json"), "{").expect("it can be written");
    let strangers = || {
        ["foreign", "foreign of 0.2.0", "aaa"].map(|name| tree(&c.archive_directory().join(name)))
    };
    let before = strangers();
    c.restart();
    c.sql_in("postgres", "CREATE DATABASE other");
    c.sql_in("other", "CREATE EXTENSION pg_incrbackup");
    c.sql_in("other", SETUP);
    wait_until("all is well", || {
        let levels = "SELECT string_agg(database || ' ' || level, ', ' ORDER BY database) FROM incr_cluster_health()";
        c.sql(levels) == "app ok, other ok"
    });
    c.sql("INSERT INTO t VALUES (2)");
    c.assert_restores();
    c.sql("SELECT incr_dump(); SELECT * FROM incr_expire(dry_run => false)");
    assert_eq!(strangers(), before);
}

/// A copy below the same root, whose name comes before the original's, and that a process which starts later finds
/// first.
#[test]
fn a_copy_that_somebody_made_beside_it_is_not_taken_for_the_archive() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE t (a int PRIMARY KEY); INSERT INTO t VALUES (1)");
    c.sql("SELECT incr_rotate()");
    let copy = c.archive_directory().join("a copy");
    run(Command::new("cp")
        .arg("-a")
        .arg(c.database_directory())
        .arg(&copy));
    let told = |database: &str, function: &str| {
        c.sql_in(
            database,
            &format!("SELECT level, reasons FROM {function}()"),
        )
    };
    for function in ["incr_slot_health", "incr_cluster_health"] {
        let health = told("app", function);
        assert!(health.starts_with("warning"), "{health}");
        assert!(health.contains("a copy\\\" is a copy of"), "{health}");
    }
    let before = tree(&copy);
    // Every process looks anew.
    c.sql("INSERT INTO t VALUES (2)");
    c.flush();
    c.restart();
    c.sql("INSERT INTO t VALUES (3)");
    c.flush();
    c.sql("SELECT incr_dump()");
    assert_eq!(tree(&copy), before);
    c.assert_restores();
    assert_eq!(
        c.sql("SELECT count(*) FROM incr_files() WHERE kind = 'base'"),
        "2"
    );
    fs::remove_dir_all(&copy).expect("it can be removed");
    assert!(told("app", "incr_slot_health").starts_with("ok"));
}
