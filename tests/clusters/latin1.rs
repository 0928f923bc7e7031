//! "My database is not UTF-8." The files are in the database's encoding, and every byte comes back.

use harness::Cluster;

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
