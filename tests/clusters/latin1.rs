//! "My database is not UTF-8." The files are in the database's encoding, and every byte comes back.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use harness::{run, wait_until, Cluster};

/// Latin-1 bytes of a script that is written here in UTF-8.
fn latin1(script: &str) -> Vec<u8> {
    script
        .chars()
        .map(|c| u8::try_from(u32::from(c)).expect("a Latin-1 character"))
        .collect()
}

#[test]
fn a_latin1_database_comes_back() {
    let c = Cluster::builder().encoding("LATIN1").back_up();
    let script = latin1(
        "SET client_encoding = 'LATIN1';
         CREATE TABLE \"Größe\" (\"Schlüssel\" text PRIMARY KEY, wert text);
         INSERT INTO \"Größe\" VALUES ('ÄÖÜß', 'é\\'), ('¡¢£', NULL);
         UPDATE \"Größe\" SET wert = 'naïve ÿ' WHERE \"Schlüssel\" = '¡¢£';
         DELETE FROM \"Größe\" WHERE \"Schlüssel\" = 'ÄÖÜß';
         COMMENT ON TABLE \"Größe\" IS 'übergroß';
         CREATE TYPE stimmung AS ENUM ('fröhlich'); CREATE TABLE s (a stimmung);
         INSERT INTO s VALUES ('fröhlich');
         INSERT INTO \"Größe\" SELECT 'ö' || i, 'ü' || chr(228) FROM generate_series(1, 100) i;",
    );
    let output = c.psql_bytes("app", &script);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    c.flush();
    let bytes = std::fs::read(&c.segments()[0].path).expect("the segment can be read");
    let holds = |needle: &[u8]| bytes.windows(needle.len()).any(|window| window == needle);
    assert!(
        holds(&latin1("naïve ÿ")),
        "the stream is not in the database's encoding"
    );
    assert!(holds(b"client_encoding = 'LATIN1'"));
    c.assert_restores();
}

#[test]
fn an_sql_ascii_database_comes_back() {
    let c = Cluster::builder().encoding("SQL_ASCII").back_up();
    let output = c.psql_bytes(
        "app",
        b"CREATE TABLE t (a text PRIMARY KEY);
    INSERT INTO t VALUES ('\xff\xfe'), ('\xc3\xa4'); DELETE FROM t WHERE a = '\xc3\xa4';",
    );
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    c.assert_restores();
}

#[test]
fn settings_of_a_latin1_session_come_along() {
    let c = Cluster::builder().encoding("LATIN1").back_up();
    let script = latin1(
        "SET client_encoding = 'LATIN1'; SET allow_in_place_tablespaces = on;
         CREATE TABLESPACE \"é\" LOCATION '';
         SET default_tablespace = 'é'; SET TimeZone = 'Asia/Tokyo';
         CREATE TABLE t (a int PRIMARY KEY, at timestamptz DEFAULT '2020-01-01 00:00');",
    );
    let output = c.psql_bytes("app", &script);
    assert!(output.status.success());
    c.assert_restores();
}

/// A name is the very bytes that were given, for whoever connects to the database.
#[test]
fn a_database_whose_name_is_not_utf_8_is_backed_up() {
    let c = Cluster::builder().encoding("LATIN1").start();
    let create =
        latin1("SET client_encoding = 'LATIN1'; CREATE DATABASE \"größe\"; CREATE ROLE here_only;");
    let created = c.psql_bytes("postgres", &create);
    assert!(created.status.success());
    let psql = |sql: &str| {
        let conninfo = c.conninfo("größe");
        let mut psql = c.installation().command("psql");
        psql.args(["-X", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d"]);
        psql.arg(OsString::from_vec(latin1(&conninfo)));
        let output = run(psql.args(["-c", sql]));
        output.stdout
    };
    psql("CREATE EXTENSION pg_incrbackup");
    psql("SELECT * FROM incr_setup()");
    psql("CREATE TABLE t (a int PRIMARY KEY); INSERT INTO t VALUES (1)");
    psql("SELECT incr_flush()");
    // It is shown as it is called.
    let health =
        psql("SET client_encoding = 'LATIN1'; SELECT database, level FROM incr_slot_health()");
    assert!(health.ends_with(&latin1("größe|ok\n")), "{health:?}");
    let base = psql("SELECT incr_dump()");
    let base = String::from_utf8(base).expect("a path is UTF-8");
    let dump = std::fs::read_to_string(format!("{}/dump.sql", base.trim()));
    assert!(dump.expect("it is there").contains("CREATE TABLE"));
    wait_until("its globals are written", || {
        let globals = format!("{}/globals.sql", base.trim());
        std::fs::read_to_string(globals).is_ok_and(|globals| globals.contains("here_only"))
    });
}

/// What would be shown, stored or handed on as another one is refused, by name.
#[test]
fn a_path_or_a_conninfo_that_is_not_utf_8_is_refused() {
    let c = Cluster::builder().encoding("LATIN1").start();
    for (setting, value) in [
        ("directory", "/var/backups/größe"),
        ("bin_directory", "/größe"),
        ("drill_directory", "/größe"),
        ("dump_conninfo", "user=größe"),
        ("drill_conninfo", "user=größe"),
        ("plugin", "größe"),
    ] {
        let set = format!(
            "SET client_encoding = 'LATIN1'; ALTER SYSTEM SET pg_incrbackup.{setting} = '{value}'"
        );
        let refused = c.psql_bytes("postgres", &latin1(&set));
        assert!(!refused.status.success(), "{setting}");
        let said = String::from_utf8_lossy(&refused.stderr);
        let is_told = said.contains("22023") && said.contains("UTF-8") && said.contains("HINT");
        assert!(is_told, "{setting}: {said}");
    }
    let long = format!("/{}", "x".repeat(700));
    let error = c.sql_error(&format!(
        "ALTER SYSTEM SET pg_incrbackup.directory = '{long}'"
    ));
    assert_eq!(error.sqlstate, "22023", "{error}");
}
