//! "Whoever may fetch the backup may read my whole machine", or cannot restore what was fetched.

use crate::offsite_recipes::recipe;
use harness::{assert_identical, give_to_server_user, run, wait_until, Cluster};
use std::fs;
use std::os::unix::fs::symlink;

fn start() -> Cluster {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE t (a int PRIMARY KEY, b text)");
    c.sql("INSERT INTO t SELECT a, repeat('text ', 1000) FROM generate_series(1, 100) a; SELECT incr_rotate()");
    c.sql(&recipe("puller"));
    c
}

/// Runs the script of the page as the role of the page.
fn fetch(c: &Cluster) {
    let script = c.root().join("fetch.py");
    fs::write(&script, recipe("fetch")).expect("a script can be written");
    give_to_server_user(&script);
    let conninfo = c
        .conninfo(c.database())
        .replace("user=postgres", "user=puller");
    let mut command = c.installation().command("/usr/bin/python3");
    run(command
        .arg(&script)
        .arg(conninfo)
        .arg(c.root().join("fetched")));
}

fn restore_fetched(c: &Cluster, database: &str) {
    let mut command = c.installation().command("sh");
    command.arg(c.root().join("fetched/restore.sh"));
    run(command.args(["--target", &c.conninfo(database)]));
    // The extension is not restored, so no right to its functions is.
    c.sql("REVOKE EXECUTE ON FUNCTION incr_read FROM puller");
    assert_identical((c, c.database()), (c, database));
    c.sql("GRANT EXECUTE ON FUNCTION incr_read TO puller");
}

#[test]
fn an_archive_is_fetched_over_one_connection_and_restores() {
    let c = start();
    c.sql("INSERT INTO t VALUES (0, 'in the open segment')");
    c.flush();
    fetch(&c);
    restore_fetched(&c, "first");
    // What was open is closed and compressed now, and there is more.
    c.set("pg_incrbackup.compression", "'zstd'");
    c.sql("SELECT incr_rotate(); SELECT incr_dump(); CREATE ROLE late; UPDATE t SET b = 'new'; SELECT incr_rotate()");
    wait_until("all are compressed", || {
        c.is_true("SELECT count(*) = 0 FROM incr_files() WHERE kind = 'incremental' AND sha256 IS NOT NULL AND file NOT LIKE '%.zst'")
    });
    c.sql("DELETE FROM t WHERE a > 50");
    c.flush();
    fetch(&c);
    restore_fetched(&c, "second");
}

#[test]
fn the_right_to_read_the_archive_is_enough_and_no_more() {
    let c = start();
    let as_puller = |sql: &str| c.sql(&format!("SET ROLE puller; {sql}"));
    let listed = as_puller("SELECT convert_from(incr_read('', 0, 1000000), 'UTF8')");
    assert!(
        listed.contains(" restore.sh\n") && listed.ends_with("manifest.jsonl\n"),
        "{listed}"
    );
    let head = as_puller("SELECT convert_from(incr_read('restore.sh', 2, 7), 'UTF8')");
    assert_eq!(head, "/bin/sh");
    assert_eq!(
        as_puller("SELECT length(incr_read('restore.sh', 1000000000000, 7))"),
        "0"
    );
    assert_eq!(as_puller("SELECT incr_read(NULL, 0, 7) IS NULL"), "t");
    for sql in [
        "SELECT * FROM incr_files()",
        "SELECT incr_rotate()",
        "TABLE t",
        "SELECT pg_read_file('PG_VERSION')",
    ] {
        let error = c.sql_error(&format!("SET ROLE puller; {sql}"));
        assert_eq!(error.sqlstate, "42501", "{sql}: {error}");
    }
    let error =
        c.sql_error("CREATE ROLE mallory; SET ROLE mallory; SELECT incr_read('restore.sh', 0, 7)");
    assert_eq!(error.sqlstate, "42501", "{error}");
}

#[test]
fn nothing_but_the_archive_can_be_read() {
    let c = start();
    let chain = c.chain_directory();
    for name in [
        "/etc/passwd",
        "../data/PG_VERSION",
        "chain-1/../../data/PG_VERSION",
        "chain-1",
        "chain-1/incremental/../../restore.sh",
        "archived.jsonl",
        "restore.sh/",
        "%2e%2e/data/PG_VERSION",
        "chain-1/base/x/dump.sql",
    ] {
        let error = c.sql_error(&format!("SELECT incr_read('{name}', 0, 100)"));
        assert_eq!(error.sqlstate, "22023", "{name}: {error}");
        assert!(error.hint.contains("incr_read"), "{error}");
    }
    for (arguments, sqlstate) in [
        ("'restore.sh', -1, 100", "22023"),
        ("'restore.sh', 0, -1", "22023"),
        ("'restore.sh', 0, 2000000000", "22023"),
        ("'chain-7/chain.json', 0, 100", "58P01"),
        (
            "'chain-1/incremental/0000000000000001-20200101T000000Z.sql', 0, 100",
            "58P01",
        ),
    ] {
        let error = c.sql_error(&format!("SELECT incr_read({arguments})"));
        assert_eq!(error.sqlstate, sqlstate, "{arguments}: {error}");
        assert!(!error.hint.is_empty(), "{error}");
    }
    let secret = c.root().join("secret");
    fs::create_dir(&secret).expect("a directory can be made");
    fs::write(secret.join("pins.json"), "secret").expect("a file can be written");
    give_to_server_user(&secret);
    give_to_server_user(&secret.join("pins.json"));
    symlink(secret.join("pins.json"), chain.join("pins.json")).expect("a link can be made");
    let error = c.sql_error("SELECT incr_read('chain-1/pins.json', 0, 100)");
    assert!(
        !error.text.contains("secret\\x") && error.sqlstate.starts_with("58"),
        "{error}"
    );
    assert!(!c
        .sql("SELECT convert_from(incr_read('', 0, 1000000), 'UTF8')")
        .contains("pins.json"));
    fs::remove_file(chain.join("pins.json")).expect("it can be removed");
}
