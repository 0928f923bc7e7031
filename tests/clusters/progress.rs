//! "It has been dumping for an hour: how long will it take?" What incr_status() says of a base and a drill at work.

use std::fs;
use std::process::Command;

use crate::schedule::replace_pg_dump;
use harness::{give_to_server_user, wait_until, Cluster};

/// Something to write to that lets a program go on.
fn pipe(c: &Cluster) -> std::path::PathBuf {
    let pipe = c.root().join("pipe");
    let made = Command::new("mkfifo")
        .args(["-m", "666"])
        .arg(&pipe)
        .status();
    assert!(made.is_ok_and(|status| status.success()));
    pipe
}

fn use_programs(c: &Cluster, bin: &std::path::Path) {
    let bin = bin.display().to_string();
    c.set("pg_incrbackup.bin_directory", &format!("'{bin}'"));
    wait_until("the setting is read", || {
        c.sql("SHOW pg_incrbackup.bin_directory") == bin
    });
}

/// Bytes of tables as progress counts them: without indexes, maps and an initialization fork.
fn bytes_of(c: &Cluster, tables: &str) -> String {
    c.sql(&format!(
        "SELECT sum(pg_relation_size(oid) + coalesce(pg_relation_size(nullif(reltoastrelid, 0)), 0)) FROM pg_class \
         WHERE {tables}"
    ))
}

const WITH_DATA: &str =
    "relname IN ('a', 'b', 'c', 'ddl_history', 'replica_identity_set', 'pg_largeobject')";

#[test]
fn a_base_tells_its_progress_in_every_format() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE TABLE a (id int PRIMARY KEY, t text); CREATE TABLE b (LIKE a); CREATE TABLE c (LIKE a);
         ALTER TABLE a ALTER t SET STORAGE EXTERNAL;
         INSERT INTO a SELECT i, repeat(md5(i::text), 200) FROM generate_series(1, 300) AS i;
         INSERT INTO b SELECT i, 'x' FROM generate_series(1, 9000) AS i;
         INSERT INTO c SELECT * FROM b; SELECT lo_from_bytea(0, repeat('x', 30000)::bytea); CREATE ROLE watcher LOGIN IN ROLE pg_monitor",
    );
    // Read by everybody, so that nothing is written to it any more.
    c.sql("CHECKPOINT; SELECT incr_flush()");
    let pipe = pipe(&c);
    let script = format!(
        "\"$real\" \"$@\" 2>&1 >/dev/null | while IFS= read -r line; do printf '%s\\n' \"$line\" >&2\n\
         case $line in *'contents of table \"public.b\"'*) cat '{}' ;; esac\ndone",
        pipe.display()
    );
    use_programs(&c, &replace_pg_dump(&c, &script));
    for format in ["plain", "compressed", "directory"] {
        c.set("pg_incrbackup.base_format", &format!("'{format}'"));
        wait_until("the setting is read", || {
            c.sql("SHOW pg_incrbackup.base_format") == format
        });
        c.sql("SELECT incr_dump(wait => false)");
        let begun = bytes_of(&c, "relname IN ('a', 'b')");
        let total = bytes_of(&c, WITH_DATA);
        let row = "SET ROLE watcher; SELECT state, bytes_processed, bytes_total FROM incr_status() WHERE worker = 'base'";
        let expected = format!("dumping|{begun}|{total}");
        wait_until(&format!("{format}: {expected}"), || c.sql(row) == expected);
        wait_until("the rate is known", || {
            let rate = "SELECT bytes_per_second > 0 AND time_left > '0' FROM incr_status() WHERE worker = 'base'";
            c.is_true(rate)
        });
        fs::write(&pipe, "").expect("pg_dump ends");
        wait_until("the base is made", || {
            c.sql("SELECT state FROM incr_status() WHERE worker = 'base'") == "done"
        });
        // What is over has no progress.
        let after = "SELECT bytes > 0, bytes_processed, bytes_total, time_left FROM incr_status() WHERE worker = 'base'";
        assert_eq!(c.sql(after), "t|||");
    }
    c.assert_restores();
}

#[test]
fn a_drill_tells_how_much_it_has_read() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE TABLE a (id int PRIMARY KEY, t text);
         INSERT INTO a SELECT i, repeat('x', 100) FROM generate_series(1, 3000) AS i; SELECT incr_flush()",
    );
    let (pipe, bin) = (pipe(&c), c.root().join("bin"));
    fs::create_dir_all(&bin).expect("a directory can be made");
    let real = c.installation().bin();
    for program in real.read_dir().expect("PostgreSQL is installed").flatten() {
        let link = bin.join(program.file_name());
        std::os::unix::fs::symlink(program.path(), link).expect("a link can be made");
    }
    // The script by which the rows are read; others go on at once.
    let psql = bin.join("psql");
    fs::remove_file(&psql).expect("it is a link");
    let script = format!(
        "#!/bin/sh\nscript=$(cat; echo .)\nprintf '%s' \"${{script%.}}\" | '{}' \"$@\" || exit\n\
         case $script in *incr_row*) cat '{}' ;; esac\n",
        real.join("psql").display(),
        pipe.display()
    );
    fs::write(&psql, script).expect("a script can be written");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(&psql, mode).expect("it is ours");
    give_to_server_user(&bin);
    use_programs(&c, &bin);
    let total = bytes_of(
        &c,
        "relname IN ('a', 'ddl_history', 'replica_identity_set', 'pg_largeobject')",
    );
    let read = bytes_of(&c, "relname IN ('a', 'pg_largeobject')");
    c.sql("SELECT incr_drill(wait => false)");
    for state in ["reading the source", "comparing"] {
        let row =
            "SELECT state, bytes_processed, bytes_total FROM incr_status() WHERE worker = 'drill'";
        let expected = format!("{state}|{read}|{total}");
        wait_until(&expected, || c.sql(row) == expected);
        fs::write(&pipe, "").expect("psql ends");
    }
    wait_until("the drill has passed", || {
        c.sql("SELECT state, bytes_total FROM incr_status() WHERE worker = 'drill'") == "passed|"
    });
}
