//! "The files are broken at their borders." Segments close by size, time and on request, at a
//! transaction's end, and chain to each other.

use harness::{wait_until, Cluster};

#[test]
fn incr_rotate_closes_the_open_segment_and_not_an_empty_one() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE t (a int PRIMARY KEY); INSERT INTO t VALUES (1)");
    let first = c.sql("SELECT incr_rotate()");
    assert!(first.ends_with(".sql"), "{first}");
    assert!(
        std::path::Path::new(&first).exists(),
        "{first} is not there"
    );
    assert_eq!(
        c.sql("SELECT incr_rotate()"),
        first,
        "an empty segment was closed"
    );
    c.sql("INSERT INTO t VALUES (2)");
    assert_ne!(c.sql("SELECT incr_rotate()"), first);
    c.assert_restores();
}

/// Nobody has flushed it yet, and the WAL writer would not for a while.
#[test]
fn incr_rotate_waits_for_what_was_committed_asynchronously() {
    let c = Cluster::builder()
        .setting("wal_writer_delay", "'10s'")
        .back_up();
    c.sql("CREATE TABLE t (a int PRIMARY KEY)");
    c.flush();
    let rotated = c.sql(
        "SET synchronous_commit = off; INSERT INTO t VALUES (1); INSERT INTO t VALUES (2); SELECT incr_rotate()",
    );
    let segment = std::fs::read_to_string(&rotated).expect("the segment is closed");
    let is_there = |row: &str| segment.contains(&format!("VALUES ({row})"));
    assert!(is_there("1") && is_there("2"), "{segment}");
}

#[test]
fn a_segment_closes_at_the_size_but_never_inside_a_transaction() {
    let c = Cluster::builder()
        .setting("pg_incrbackup.rotate_size", "1MB")
        .back_up();
    c.sql("CREATE TABLE t (a int PRIMARY KEY, b text)");
    for i in 0..4 {
        c.sql(&format!(
            "INSERT INTO t SELECT {i} * 10000 + j, repeat('x', 200) FROM generate_series(1, 8000) j"
        ));
    }
    c.flush();
    let closed: Vec<_> = c.segments().into_iter().filter(|s| !s.is_open).collect();
    assert!(closed.len() >= 3, "{} closed segments", closed.len());
    for segment in &closed {
        let begins = segment
            .text
            .lines()
            .filter(|line| *line == "BEGIN;")
            .count();
        let commits = segment
            .text
            .lines()
            .filter(|line| *line == "COMMIT;")
            .count();
        assert_eq!(begins, commits, "{}", segment.path.display());
    }
    c.assert_restores();
}

#[test]
fn a_segment_closes_at_its_age() {
    let c = Cluster::builder()
        .setting("pg_incrbackup.rotate_interval", "2s")
        .back_up();
    c.sql("CREATE TABLE t (a int PRIMARY KEY)");
    let mut i = 0;
    wait_until("a segment is closed by its age", || {
        i += 1;
        c.sql(&format!("INSERT INTO t VALUES ({i})"));
        c.segments().iter().any(|s| !s.is_open)
    });
    c.assert_restores();
}

#[test]
fn segments_follow_each_other_without_a_gap() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE t (a int)");
    for i in 0..5 {
        c.sql(&format!("INSERT INTO t VALUES ({i})"));
        c.sql("SELECT incr_rotate()");
    }
    let borders = c.sql(
        "SELECT bool_and(start_lsn = before) FROM
        
          (SELECT start_lsn, lag(end_lsn) OVER (ORDER BY start_lsn) AS before
           FROM incr_files() WHERE kind = 'incremental') x WHERE before IS NOT NULL",
    );
    assert_eq!(borders, "t", "{}", c.sql("SELECT * FROM incr_files()"));
    let segments = c.segments();
    for pair in segments.windows(2) {
        let name = pair[0]
            .path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let header = pair[1].comments("header").join("");
        assert!(
            header.contains(&format!("previous={name}")),
            "{header} does not name {name}"
        );
    }
    assert_eq!(c.sql("SELECT * FROM incr_verify()"), "");
}

#[test]
fn every_closed_file_has_a_manifest_line_and_the_right_checksum() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE t (a int); INSERT INTO t VALUES (1)");
    let closed = c.sql("SELECT incr_rotate()");
    let manifest = std::fs::read_to_string(c.chain_directory().join("manifest.jsonl"))
        .expect("there is a manifest");
    let name = std::path::Path::new(&closed)
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    assert_eq!(
        manifest.lines().filter(|line| line.contains(&name)).count(),
        1,
        "{manifest}"
    );
    let recorded = c.sql(&format!(
        "SELECT sha256 FROM incr_files() WHERE file LIKE '%{name}'"
    ));
    let sum = std::process::Command::new("sha256sum")
        .arg(&closed)
        .output()
        .expect("sha256sum can be run");
    assert!(
        String::from_utf8_lossy(&sum.stdout).starts_with(&recorded) && recorded.len() == 64,
        "{recorded}"
    );
}

#[test]
fn files_and_directories_are_the_servers_alone() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE t (a int); INSERT INTO t VALUES (1)");
    c.sql("SELECT incr_rotate(); INSERT INTO t VALUES (2); SELECT incr_flush()");
    let found = std::process::Command::new("find")
        .arg(c.archive_directory())
        .args([
            "(",
            "-type",
            "f",
            "-perm",
            "/077",
            "!",
            "-name",
            "restore.sh",
            "!",
            "-name",
            "README.txt",
            ")",
        ])
        .args(["-o", "-type", "d", "-perm", "/077"])
        .output()
        .expect("find can be run");
    assert_eq!(String::from_utf8_lossy(&found.stdout), "");
}
