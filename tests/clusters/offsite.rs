//! "The copy elsewhere lacks just the file that I need", or its making held my server up. Compression and
//! archive_command, their faults, and what retention may do meanwhile.

use harness::{assert_identical, wait_until, Cluster};
use std::fs;
use std::path::{Path, PathBuf};

/// Copies so that a name is there only with all that belongs under it.
const COPY: &str =
    r#"mkdir -p "$(dirname "COPY/%f")" && cp %p "COPY/%f.new" && mv "COPY/%f.new" "COPY/%f""#;

fn copy_of(c: &Cluster) -> PathBuf {
    c.root().join("copy")
}

fn copying(c: &Cluster) -> String {
    format!(
        "'{}'",
        COPY.replace("COPY", &copy_of(c).display().to_string())
    )
}

fn set_and_wait(c: &Cluster, name: &str, value: &str) {
    c.set(name, value);
    let value = value.trim_matches('\'').replace("''", "'");
    wait_until("the setting is read", || {
        c.sql(&format!("SHOW {name}")) == value
    });
}

/// A row, in a segment of its own.
fn live(c: &Cluster, number: i64) {
    c.sql(&format!(
        "INSERT INTO t VALUES ({number}, repeat('text ', 100)); SELECT incr_rotate()"
    ));
}

fn start(settings: &[(&str, &str)]) -> Cluster {
    let mut builder = Cluster::builder().with_failpoints();
    for (name, value) in settings {
        builder = builder.setting(&format!("pg_incrbackup.{name}"), value);
    }
    let c = builder.back_up();
    c.sql("CREATE TABLE t (a int PRIMARY KEY, b text)");
    c
}

fn unpacked(c: &Cluster, suffix: &str) -> String {
    c.sql(&format!(
        "SELECT count(*) FROM incr_files() WHERE kind = 'incremental' AND sha256 IS NOT NULL AND file NOT LIKE '%{suffix}'"
    ))
}

/// Everything that is closed was taken, and the copy's manifest says so.
pub fn wait_for_archive(c: &Cluster) {
    wait_until("everything is archived", || {
        c.is_true("SELECT count(*) = 0 FROM incr_files() WHERE archived_at IS NULL AND sha256 IS NOT NULL")
            && c.is_true("SELECT pid IS NULL FROM incr_status() WHERE worker = 'archiver'")
            && c.is_true("SELECT archive_lag_files = 0 FROM incr_slot_health()")
    });
}

/// The copy, restored by its own restore.sh.
fn restore_copy(c: &Cluster, directory: &Path, database: &str) {
    let mut command = c.installation().command("sh");
    command.arg(directory.join("restore.sh"));
    harness::run(command.args(["--target", &c.conninfo(database)]));
}

fn assert_copy_restores(c: &Cluster, database: &str) {
    c.sql("SELECT incr_rotate()");
    wait_for_archive(c);
    restore_copy(c, &copy_of(c).join(c.database()), database);
    assert_identical((c, c.database()), (c, database));
}

#[test]
fn a_wrong_setting_is_refused_with_a_hint() {
    let c = Cluster::builder().start();
    c.sql("CREATE EXTENSION pg_incrbackup; CREATE ROLE mallory");
    for (setting, value, hint) in [
        ("compression", "lz4", "'zstd:3'"),
        ("compression", "gzip:10", "'zstd:3'"),
        ("compression", "", "'zstd:3'"),
        ("archive_command", "cp %s", "%f"),
        ("archive_command", "cp %p %", "%f"),
    ] {
        let sql = format!("ALTER SYSTEM SET pg_incrbackup.{setting} = '{value}'");
        let error = c.sql_error(&sql);
        assert_eq!(error.sqlstate, "22023", "{sql}: {error}");
        assert!(error.hint.contains(hint), "{error}");
    }
    for setting in ["compression = 'zstd'", "archive_command = 'true'"] {
        let error = c.sql_error(&format!("SET pg_incrbackup.{setting}"));
        assert_eq!(error.sqlstate, "55P02", "{error}");
        let error = c.sql_error(&format!(
            "SET ROLE mallory; ALTER SYSTEM SET pg_incrbackup.{setting}"
        ));
        assert_eq!(error.sqlstate, "42501", "{error}");
    }
    let shown = c.sql_error("SET ROLE mallory; SHOW pg_incrbackup.archive_command");
    assert_eq!(shown.sqlstate, "42501", "it may hold a key: {shown}");
}

#[test]
fn closed_segments_are_compressed_and_every_form_restores() {
    let c = start(&[]);
    live(&c, 1);
    for (number, how, suffix) in [
        (2, "gzip:9", ".sql.gz"),
        (3, "zstd:19", ".sql.zst"),
        (4, "none", ".sql"),
    ] {
        set_and_wait(&c, "pg_incrbackup.compression", &format!("'{how}'"));
        live(&c, number);
        wait_until("it is stored so", || {
            c.sql("SELECT file FROM incr_files() WHERE sha256 IS NOT NULL AND kind = 'incremental' ORDER BY start_lsn DESC LIMIT 1")
                .ends_with(suffix)
        });
    }
    // What stood plain when the setting came is compressed, too.
    let forms = c.sql("SELECT string_agg(substring(file FROM '[.]sql.*'), ' ' ORDER BY start_lsn) FROM incr_files() WHERE kind = 'incremental' AND sha256 IS NOT NULL");
    assert_eq!(forms, ".sql.gz .sql.gz .sql.zst .sql");
    c.assert_restores();
    let restarted = c.sql("SELECT incr_flush()");
    c.restart();
    live(&c, 5);
    let early = c.restore(&["--until-lsn", &restarted]);
    assert_eq!(c.sql_in(&early.database, "SELECT count(*) FROM t"), "4");
    c.assert_restores();
}

#[test]
fn an_archiver_that_is_killed_at_any_step_loses_nothing() {
    let c = start(&[("compression", "'zstd'")]);
    c.set("pg_incrbackup.archive_command", &copying(&c));
    let points = [
        "compress: write",
        "compress: read back",
        "publish: rename",
        "compress: named",
        "compress: remove",
        "archived: write",
        "archived: fsync",
    ];
    for (number, point) in (1..).zip(points) {
        wait_for_archive(&c);
        c.sql(&format!("INSERT INTO t VALUES ({number})"));
        c.flush();
        // Capture passes the point, too, where it has the name: whoever dies, nothing is lost.
        c.set_day(0, &format!("kill 1 {point}\n"));
        // The answer may be lost with the server.
        let _ = c.try_sql("SELECT incr_rotate()");
        wait_until("somebody has died", || {
            c.root().join("failpoints.fired").exists()
        });
        fs::remove_file(c.root().join("failpoints.fired")).expect("it can be removed");
        c.wait_for_connections();
        wait_until("capture goes on", || {
            c.try_sql("SELECT incr_flush()").is_ok()
        });
    }
    c.sql("SELECT incr_rotate()");
    wait_until("all are compressed", || unpacked(&c, ".sql.zst") == "0");
    c.assert_restores();
    assert_copy_restores(&c, "from_copy");
    let left = fs::read_dir(c.chain_directory().join("incremental")).expect("it can be listed");
    let left = left
        .flatten()
        .filter(|entry| !entry.file_name().to_string_lossy().ends_with(".zst"));
    assert_eq!(left.count(), 1, "but for the open one nothing is left");
}

#[test]
fn a_full_disk_stops_compression_alone() {
    let c = start(&[]);
    c.set_day(0, "ENOSPC 1 compress: write\n");
    set_and_wait(&c, "pg_incrbackup.compression", "'gzip'");
    c.set("pg_incrbackup.archive_command", &copying(&c));
    live(&c, 1);
    wait_until("health says so", || {
        c.health().contains("could not be compressed")
    });
    live(&c, 2);
    wait_for_archive(&c);
    assert_ne!(unpacked(&c, ".sql.gz"), "0");
    c.set_day(0, "");
    live(&c, 3);
    wait_until("it goes on", || unpacked(&c, ".sql.gz") == "0");
    wait_until("health is content", || !c.health().contains("compressed"));
    c.assert_restores();
    assert_copy_restores(&c, "from_copy");
}

#[test]
fn a_command_that_fails_is_tried_until_it_succeeds_and_health_says_so_meanwhile() {
    let c = start(&[]);
    let gate = c.root().join("gate");
    let command = format!(
        "'test -e {} || {{ echo \"the vault is shut\" >&2; exit 3; }}; {}'",
        gate.display(),
        COPY.replace("COPY", &copy_of(&c).display().to_string())
    );
    c.set("pg_incrbackup.archive_command", &command);
    live(&c, 1);
    wait_until("health says so", || {
        let health = c.health();
        health.starts_with("warning")
            && health.contains("the vault is shut")
            && health.contains("status 3")
    });
    live(&c, 2);
    wait_until("the lag is counted", || {
        c.is_true("SELECT archive_lag_files > 4 AND archive_lag_bytes > 1000 AND archive_lag >= '0' FROM incr_slot_health()")
    });
    wait_until("it is tried again and again", || {
        c.is_true("SELECT errors >= 2 AND last_error LIKE '%vault%' AND state <> 'done' FROM incr_status() WHERE worker = 'archiver'")
    });
    assert!(c.log().contains("the vault is shut"), "{}", c.log());
    assert_ne!(
        c.sql("SELECT count(*) FROM incr_files() WHERE archived_at IS NULL"),
        "0"
    );
    set_and_wait(&c, "pg_incrbackup.archive_command", "'kill -9 $$'");
    wait_until("health says what ended it", || {
        c.health().contains("signal 9")
    });
    c.set("pg_incrbackup.archive_command", &command);
    // Capture, bases and restores do not mind.
    c.sql("SELECT incr_dump()");
    c.assert_restores();
    c.set("pg_incrbackup.age_emergency", "'1s'");
    wait_until("it becomes critical", || {
        c.health().contains("critical") || c.health().starts_with("emergency")
    });
    c.set("pg_incrbackup.age_emergency", "'24h'");
    fs::write(&gate, "").expect("a file can be written");
    wait_for_archive(&c);
    wait_until("health says no more of it", || {
        !c.health().contains("archive_command")
    });
    assert_copy_restores(&c, "from_copy");
}

/// Has a command hang that is made of a shell and a `sleep`; gives that one's place below /proc.
fn hang(c: &Cluster, row: i64, how: &str) -> PathBuf {
    let pid = c.root().join(format!("pid{row}"));
    let command = how.replace(
        "SLEEP",
        &format!("sleep 1000 & echo $! >{}; wait", pid.display()),
    );
    c.set("pg_incrbackup.archive_command", &format!("'{command}'"));
    live(c, row);
    wait_until("it hangs", || {
        fs::read_to_string(&pid).is_ok_and(|pid| pid.ends_with('\n'))
    });
    let pid = fs::read_to_string(&pid).expect("it was there");
    let process = Path::new("/proc").join(pid.trim());
    assert!(process.exists(), "{}", process.display());
    process
}

#[test]
fn a_command_that_hangs_gives_way_to_another() {
    let c = start(&[]);
    let process = hang(&c, 1, "SLEEP");
    c.set("pg_incrbackup.archive_command", &copying(&c));
    wait_for_archive(&c);
    assert!(!process.exists(), "{}", process.display());
    assert_copy_restores(&c, "from_copy");
}

#[test]
fn a_command_outlives_neither_the_server_nor_its_archiver() {
    let c = start(&[]);
    let process = hang(&c, 1, "SLEEP");
    c.kill(&c.sql("SELECT pid FROM incr_status() WHERE worker = 'archiver'"));
    wait_until("it ends with its archiver", || !process.exists());
    wait_until("the server has noticed", || {
        c.log().contains("all server processes terminated")
    });
    c.wait_for_connections();
    let process = hang(&c, 2, "SLEEP; exit 1");
    c.crash();
    wait_until("it ends with the server", || !process.exists());
    c.start();
    // It ignores what it is told.
    let process = hang(&c, 3, r#"(trap "" TERM; SLEEP) & wait"#);
    c.stop();
    wait_until("it ends with the server", || !process.exists());
}

#[test]
fn the_manifest_of_the_copy_never_names_what_is_not_there() {
    let c = start(&[("compression", "'zstd:1'")]);
    // Refuses a manifest with a name that was not copied before.
    let check = c.root().join("check.sh");
    let script = r#"case $2 in
        */manifest*.jsonl) sed -n 's/.*"file":"\([^"]*\)".*/\1/p' "$1" | while read -r file; do
            ls -d "$3/${2%/*}/$file"* >/dev/null || { echo "$file" >>"$3/disorder"; exit 9; }
        done ;;
        esac"#;
    fs::write(&check, script).expect("a script can be written");
    let copy = copy_of(&c).display().to_string();
    let command = format!(
        "'sh {} %p %f {copy} && {}'",
        check.display(),
        COPY.replace("COPY", &copy)
    );
    c.set("pg_incrbackup.archive_command", &command);
    for number in 1..=5 {
        live(&c, number);
        c.sql(&format!("SELECT incr_dump(); CREATE ROLE r{number}"));
    }
    wait_for_archive(&c);
    assert!(!copy_of(&c).join("disorder").exists());
    let manifest =
        fs::read_to_string(copy_of(&c).join("app/chain-1/manifest.jsonl")).expect("there is one");
    assert!(manifest.lines().count() > 10, "{manifest}");
    assert_copy_restores(&c, "from_copy");
}

#[test]
fn retention_waits_for_the_copy() {
    let c = start(&[
        ("keep_incremental", "'2d'"),
        ("keep_base", "'2d'"),
        ("keep_monthly", "0"),
        ("archive_command", "'false'"),
    ]);
    for day in [1, 4, 8, 12] {
        c.set_day(day, "");
        live(&c, day);
        c.sql("SELECT incr_dump()");
    }
    let kept = "SELECT count(*) FROM incr_files() WHERE kind = 'base'";
    assert_eq!(c.sql(kept), "5");
    assert_eq!(
        c.sql("SELECT DISTINCT decision FROM incr_expire(false)"),
        "kept"
    );
    let why =
        c.sql("SELECT DISTINCT reason FROM incr_expire() WHERE reason LIKE '%archive_command%'");
    assert!(!why.is_empty(), "{}", c.sql("SELECT * FROM incr_expire()"));
    set_and_wait(&c, "pg_incrbackup.archive_command", &copying(&c));
    wait_for_archive(&c);
    assert_ne!(
        c.sql("SELECT count(*) FROM incr_expire(false) WHERE decision = 'expired'"),
        "0"
    );
    assert_eq!(c.sql(kept), "2");
    assert_eq!(c.sql("SELECT * FROM incr_verify()"), "");
    // What is gone here is there.
    assert_copy_restores(&c, "from_copy");
    let bases = fs::read_dir(copy_of(&c).join("app/chain-1/base")).expect("it can be listed");
    assert_eq!(bases.count(), 5);
    // Without the setting nothing is waited for.
    set_and_wait(&c, "pg_incrbackup.archive_command", "''");
    c.set_day(30, "");
    live(&c, 30);
    c.sql("SELECT incr_dump()");
    assert_eq!(
        c.sql("SELECT archive_lag_files IS NULL FROM incr_slot_health()"),
        "t"
    );
    assert_eq!(c.sql(kept), "2");
}

#[test]
fn each_database_has_its_place_in_the_copy_and_a_renamed_one_a_new_one() {
    let c = start(&[]);
    c.set("pg_incrbackup.archive_command", &copying(&c));
    c.sql(r#"CREATE DATABASE "my shop; touch x""#);
    let other = "my shop; touch x";
    c.sql_in(other, "CREATE EXTENSION pg_incrbackup; SELECT * FROM incr_setup(); CREATE TABLE u (a int); SELECT incr_rotate()");
    live(&c, 1);
    wait_for_archive(&c);
    let encoded = copy_of(&c).join("my%20shop%3B%20touch%20x");
    wait_until("both are there", || {
        encoded.join("chain-1/manifest.jsonl").exists()
    });
    wait_until("the segment is there", || {
        c.try_sql_in(other, "SELECT count(*) = 0 FROM incr_files() WHERE archived_at IS NULL AND sha256 IS NOT NULL").is_ok_and(|rows| rows == "t")
    });
    restore_copy(&c, &encoded, "other_copy");
    assert_identical((&c, other), (&c, "other_copy"));
    c.sql_in(
        "postgres",
        r#"ALTER DATABASE "my shop; touch x" RENAME TO mall"#,
    );
    c.sql_in("mall", "INSERT INTO u VALUES (1)");
    wait_until("it is in the files", || {
        c.try_sql_in("mall", "SELECT incr_rotate()").is_ok()
    });
    wait_until("all of it is there anew", || {
        copy_of(&c).join("mall/chain-1/manifest.jsonl").exists()
            && c.try_sql_in("mall", "SELECT count(*) = 0 FROM incr_files() WHERE archived_at IS NULL AND sha256 IS NOT NULL").is_ok_and(|rows| rows == "t")
    });
    restore_copy(&c, &copy_of(&c).join("mall"), "mall_copy");
    assert_identical((&c, "mall"), (&c, "mall_copy"));
}

#[test]
fn a_segment_of_before_compression_in_the_copy_does_no_harm() {
    let c = start(&[]);
    c.set("pg_incrbackup.archive_command", &copying(&c));
    live(&c, 1);
    wait_for_archive(&c);
    set_and_wait(&c, "pg_incrbackup.compression", "'gzip'");
    live(&c, 2);
    wait_until("all are compressed", || unpacked(&c, ".sql.gz") == "0");
    assert_copy_restores(&c, "from_copy");
    c.assert_restores();
}
