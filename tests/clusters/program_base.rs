//! "What the program makes of my base is not what restore.sh makes of it, or it executes what it should not."

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use harness::{assert_identical, program, run, Cluster};

use crate::globals::wait_until_at_rest;

/// Objects of many classes, with names that are no fun, and rows that a restore must not check.
const OBJECTS: &str = include_str!("program_base.sql");

/// A cluster with them, backed up, and the base is all there is.
fn with_objects(format: &str) -> Cluster {
    let c = Cluster::builder()
        .setting("pg_incrbackup.base_format", &format!("'{format}'"))
        .start();
    c.sql(OBJECTS);
    back_up(&c);
    c
}

fn back_up(c: &Cluster) {
    c.sql("CREATE EXTENSION pg_incrbackup; SELECT * FROM incr_setup()");
    c.flush();
}

fn restores(c: &Cluster, target: &Cluster) {
    let restored = c.restore_by_program(target, &[]);
    assert_identical((c, c.database()), (target, &restored.database));
    assert_eq!(
        lines(c, c.database()),
        lines(target, &restored.database),
        "bytes differ that are the same as text"
    );
}

/// The very bytes of pg_dump's lines, sorted, without our extension and what is random.
fn lines(c: &Cluster, database: &str) -> Vec<Vec<u8>> {
    let mut command = c.installation().command("pg_dump");
    let output = run(command.args(["--no-comments", "-d", &c.conninfo(database)]));
    let lines = output.stdout.split(|byte| *byte == b'\n');
    let is_left_out = |line: &&[u8]| {
        let random: [&[u8]; 3] = [b"\\restrict ", b"\\unrestrict ", b"-- Name: pg_incrbackup;"];
        let ours = b"CREATE EXTENSION IF NOT EXISTS pg_incrbackup ";
        random.iter().any(|start| line.starts_with(start))
            || line.starts_with(ours)
            || line.len() < 3
    };
    let mut lines: Vec<Vec<u8>> = lines
        .filter(|line| !is_left_out(line))
        .map(<[u8]>::to_vec)
        .collect();
    lines.sort();
    // Replica identities of the source are ours, and its owner's.
    lines.retain(|line| !line.ends_with(b" REPLICA IDENTITY FULL;"));
    lines
}

fn said(output: &Output) -> String {
    let both = [&output.stdout[..], &output.stderr].concat();
    String::from_utf8_lossy(&both).into_owned()
}

/// Runs `restore` into a database; the exit status, and what it said.
fn try_restore(c: &Cluster, target: &Cluster, database: &str, options: &[&str]) -> (i32, String) {
    let archive = c.database_directory();
    let archive = archive.to_str().expect("the path is UTF-8");
    let conninfo = target.conninfo(database);
    let arguments = ["restore", "--archive", archive, "--target", &conninfo];
    let output = program(&[&arguments[..], options].concat());
    (output.status.code().unwrap_or(-1), said(&output))
}

#[test]
fn a_plain_base_alone_is_the_same_database() {
    let c = with_objects("plain");
    restores(&c, &c);
}

#[test]
fn a_compressed_base_alone_is_the_same_database() {
    let c = with_objects("compressed");
    restores(&c, &c);
}

#[test]
fn a_base_in_directory_format_alone_is_the_same_database_without_pg_restore() {
    let c = with_objects("directory");
    restores(&c, &c);
}

#[test]
fn a_plain_base_of_an_early_release_has_no_table_of_contents_and_is_the_same_database() {
    let c = with_objects("plain");
    let base = c.bases().remove(0);
    fs::remove_file(base.join("dump.toc")).expect("it is there");
    forge_checksums(&c, &base);
    restores(&c, &c);
}

#[test]
fn roles_and_tablespaces_that_are_missing_are_made() {
    let c = with_objects("plain");
    let other = Cluster::builder().start();
    restores(&c, &other);
    let roles = "SELECT rolname, rolcanlogin, rolsuper FROM pg_roles WHERE oid >= 16384 ORDER BY 1";
    let made = other.sql(roles);
    assert_eq!(made, "bob; \\q\"x|f|f\nplain_owner|f|f");
    let spaces = other.sql("SELECT spcname FROM pg_tablespace WHERE oid >= 16384");
    assert_eq!(spaces, "ts x");
}

/// Names and values that are not UTF-8.
fn in_encoding(encoding: &str, format: &str) {
    let c = Cluster::builder()
        .encoding(encoding)
        .setting("pg_incrbackup.base_format", &format!("'{format}'"))
        .start();
    let script = b"CREATE TABLE \"t\xe4b\" (id int PRIMARY KEY, \"sp\xe4lte\" text, g int GENERATED ALWAYS AS (id + 1) STORED, \
            n int GENERATED ALWAYS AS IDENTITY);
        INSERT INTO \"t\xe4b\" (id, \"sp\xe4lte\") SELECT i, E'w\xe4rt\\n\\\\.\\n\\\\' || i FROM generate_series(1, 3000) AS i;
        CREATE TABLE plain (a text); INSERT INTO plain VALUES ('\xfc\xc4;');
        CREATE TABLE \"n\xe4\" (); INSERT INTO \"n\xe4\" DEFAULT VALUES;
        CREATE FUNCTION \"f\xe4\"() RETURNS text LANGUAGE sql AS $$ SELECT '\xf6;' $$;
        CREATE MATERIALIZED VIEW \"m\xe4\" AS SELECT * FROM \"t\xe4b\";
        CREATE TABLE \"k\xe4\" (r int, CONSTRAINT \"fk\xe4\" FOREIGN KEY (r) REFERENCES \"t\xe4b\");
        SET session_replication_role = replica; INSERT INTO \"k\xe4\" VALUES (9999);
        COMMENT ON TABLE plain IS '\xe4\\;'; COMMENT ON DATABASE app IS 'k\xe4se';";
    let script = [
        &b"SET client_encoding = '"[..],
        encoding.as_bytes(),
        b"';\n",
        script,
    ]
    .concat();
    let output = c.psql_bytes(c.database(), &script);
    assert!(output.status.success(), "{}", said(&output));
    back_up(&c);
    restores(&c, &c);
}

#[test]
fn a_base_in_latin1_keeps_every_byte() {
    in_encoding("LATIN1", "plain");
    in_encoding("LATIN1", "directory");
}

#[test]
fn a_base_in_sql_ascii_keeps_every_byte() {
    in_encoding("SQL_ASCII", "plain");
    in_encoding("SQL_ASCII", "directory");
}

#[test]
fn a_check_that_rows_contradict_is_skipped_by_name_and_stays_not_valid() {
    let c = Cluster::builder().start();
    c.sql(
        "CREATE FUNCTION now_or_never() RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 1';
         CREATE TABLE t (a int, CONSTRAINT \"it's; so\" CHECK (a >= now_or_never()));
         COMMENT ON CONSTRAINT \"it's; so\" ON t IS 'kept'; INSERT INTO t VALUES (1), (5);
         CREATE OR REPLACE FUNCTION now_or_never() RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 2'",
    );
    back_up(&c);
    let (status, text) = try_restore(&c, &c, "refused", &[]);
    assert_eq!(status, 1, "{text}");
    assert!(
        text.contains("TABLE DATA public.t: ") && text.contains("violates check constraint"),
        "{text}"
    );
    assert!(
        text.contains("DROP DATABASE \"refused.restoring\";"),
        "{text}"
    );
    let restored = c.restore_by_program(&c, &["--skip-check", "it's; so"]);
    let rows = c.sql_in(&restored.database, "SELECT a FROM t ORDER BY 1");
    assert_eq!(rows, "1\n5");
    let check =
        "SELECT convalidated, obj_description(oid) FROM pg_constraint WHERE conname = 'it''s; so'";
    assert_eq!(c.sql_in(&restored.database, check), "f|kept");
}

#[test]
fn what_cannot_become_the_target_is_refused_with_its_reason() {
    let c = Cluster::builder().start();
    c.sql("CREATE TABLE t (a int PRIMARY KEY)");
    back_up(&c);
    c.sql_in("postgres", "CREATE DATABASE used");
    c.sql_in("used", "CREATE TABLE somebodys (a int)");
    c.sql_in("postgres", "CREATE DATABASE \"half.restoring\"");
    c.sql_in("postgres", "CREATE ROLE lesser LOGIN");
    let long = "x".repeat(64);
    for (database, status, reason) in [
        ("used", 1, "is not empty"),
        (
            "half",
            1,
            "an earlier restore has left the database \"half.restoring\"",
        ),
        (long.as_str(), 2, "longer than 63 bytes"),
    ] {
        let (got, text) = try_restore(&c, &c, database, &[]);
        assert_eq!(got, status, "{text}");
        assert!(text.contains(reason), "{text}");
    }
    let archive = c.database_directory();
    let archive = archive.to_str().expect("the path is UTF-8");
    let conninfo = format!("{} user=lesser", c.conninfo("by_lesser"));
    let output = program(&["restore", "--archive", archive, "--target", &conninfo]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        said(&output).contains("may not create the database"),
        "{}",
        said(&output)
    );
    let made = "SELECT datname FROM pg_database WHERE oid >= 16384 ORDER BY 1";
    assert_eq!(c.sql_in("postgres", made), "app\nhalf.restoring\nused");
}

#[test]
fn an_empty_database_keeps_its_name_and_lets_in_whom_the_source_does() {
    let c = Cluster::builder().start();
    c.sql("CREATE TABLE t (a int PRIMARY KEY); INSERT INTO t VALUES (1); CREATE ROLE guest LOGIN");
    back_up(&c);
    c.sql_in("postgres", "CREATE DATABASE open");
    let (status, text) = try_restore(&c, &c, "open", &[]);
    assert_eq!(status, 0, "{text}");
    assert_identical((&c, c.database()), (&c, "open"));
    let lets_in = "SELECT has_database_privilege('guest', 'open', 'CONNECT')";
    assert_eq!(c.sql_in("postgres", lets_in), "t");
    c.sql(&format!(
        "REVOKE CONNECT ON DATABASE {} FROM PUBLIC",
        c.database()
    ));
    c.flush();
    c.sql("SELECT incr_dump()");
    c.sql_in("postgres", "CREATE DATABASE open2");
    let (status, text) = try_restore(&c, &c, "open2", &[]);
    assert_eq!(status, 0, "{text}");
    let lets_in = "SELECT has_database_privilege('guest', 'open2', 'CONNECT')";
    assert_eq!(c.sql_in("postgres", lets_in), "f");
}

#[test]
fn globals_bring_passwords_settings_and_memberships_of_the_source() {
    let c = Cluster::builder().start();
    c.sql(
        "CREATE ROLE \"a;b\" LOGIN PASSWORD 'secret''1' VALID UNTIL '2040-01-01'; CREATE ROLE grp; GRANT grp TO \"a;b\";
         ALTER ROLE \"a;b\" SET work_mem = '7MB'; COMMENT ON ROLE grp IS 'it''s \\ \"x\";'; CREATE ROLE gone;
         CREATE TABLE t (a int PRIMARY KEY); ALTER TABLE t OWNER TO grp",
    );
    back_up(&c);
    // By sessions elsewhere: only sets of globals have these.
    c.sql_in(
        "postgres",
        "ALTER ROLE grp RENAME TO \"new; grp\"; DROP ROLE gone; CREATE ROLE late CONNECTION LIMIT 3; GRANT \"a;b\" TO late",
    );
    wait_until_at_rest(&c);
    c.sql("INSERT INTO t VALUES (1)");
    c.flush();
    let other = Cluster::builder().start();
    let (status, text) = try_restore(&c, &other, "r", &["--globals"]);
    assert_eq!(status, 0, "{text}");
    let roles = "SELECT a.rolname, a.rolcanlogin, a.rolconnlimit, a.rolpassword, a.rolvaliduntil, s.setconfig, \
            shobj_description(a.oid, 'pg_authid') \
        FROM pg_authid AS a LEFT JOIN pg_db_role_setting AS s ON setrole = a.oid AND setdatabase = 0 \
        WHERE a.oid >= 16384 ORDER BY 1";
    let members = "SELECT roleid::regrole, member::regrole, admin_option FROM pg_auth_members WHERE member >= 16384 ORDER BY 1, 2";
    for query in [roles, members] {
        assert_eq!(other.sql_in("r", query), c.sql(query), "{text}");
    }
    let owner = "SELECT relowner::regrole FROM pg_class WHERE relname = 't'";
    assert_eq!(other.sql_in("r", owner), "\"new; grp\"");
}

#[test]
fn a_dump_that_was_changed_is_refused_and_none_of_the_change_is_executed() {
    let c = Cluster::builder()
        .setting("pg_incrbackup.base_format", "'plain'")
        .start();
    c.sql(
        "CREATE TABLE \"\\restrict x\" (a text); INSERT INTO \"\\restrict x\" VALUES (E'\\\\! id'), ('two');
         CREATE VIEW v AS SELECT ':DBNAME'::text AS x; SELECT lo_from_bytea(0, 'x')",
    );
    back_up(&c);
    restores(&c, &c);
    let directory = c.bases().remove(0);
    let dump = directory.join("dump.sql");
    let whole = fs::read_to_string(&dump).expect("it is UTF-8");
    let change = |from: &str, to: &str| {
        assert!(whole.contains(from), "{from}\n{whole}");
        whole.replacen(from, to, 1)
    };
    // Nobody has forged the checksums.
    fs::write(&dump, change("two\n", "too\n")).expect("it can be written");
    let (status, text) = try_restore(&c, &c, "damaged", &[]);
    assert_eq!(status, 4, "{text}");
    assert_eq!(
        c.sql_in(
            "postgres",
            "SELECT count(*) FROM pg_database WHERE datname ~ 'damaged'"
        ),
        "0"
    );
    for (name, changed, reason) in [
        (
            "row",
            change("two\n", "two\ntwo\n"),
            "does not match its table of contents",
        ),
        (
            "end",
            change("two\n\\.\n", "two\n\\.\nCREATE TABLE evil ();\n"),
            "does not match its table of contents",
        ),
        (
            "copy",
            change(" FROM stdin;\n", " FROM '/etc'\n"),
            "does not match its table of contents",
        ),
        (
            "large",
            change(
                "SELECT pg_catalog.lo_close(0);",
                "CREATE TABLE evil (a int2); --",
            ),
            "does not write for large objects",
        ),
        (
            "head",
            change(
                "-- Name: v; Type: VIEW; Schema: public",
                "-- Name: v\nCREATE TABLE evil();; public",
            ),
            "does not match",
        ),
        (
            "cut",
            whole[..whole.len() / 2].to_owned(),
            "table of contents",
        ),
    ] {
        fs::write(&dump, changed).expect("it can be written");
        forge_checksums(&c, &directory);
        let (status, text) = try_restore(&c, &c, name, &[]);
        assert_eq!(status, 4, "{name}: {text}");
        assert!(text.contains(reason), "{name}: {text}");
        let evil = "SELECT count(*) FROM pg_class WHERE relname = 'evil'";
        assert_eq!(c.sql_in(&format!("{name}.restoring"), evil), "0", "{name}");
    }
}

/// Whoever can write to the archive can write its checksums, too.
fn forge_checksums(c: &Cluster, base: &Path) {
    let sha256 = |path: &Path| {
        let mut command = std::process::Command::new("sha256sum");
        let output = run(command.arg(path));
        String::from_utf8_lossy(&output.stdout)[..64].to_owned()
    };
    let sums = base.join("SHA256SUMS");
    let before = sha256(&sums);
    let text = fs::read_to_string(&sums).expect("it is text");
    let names = text.lines().map(|line| &line[66..]);
    let names = names.filter(|name| base.join(name).exists());
    let lines = names.map(|name| format!("{}  {name}\n", sha256(&base.join(name))));
    fs::write(&sums, lines.collect::<String>()).expect("it can be written");
    let manifest: PathBuf = c.chain_directory().join("manifest.jsonl");
    let text = fs::read_to_string(&manifest).expect("it is text");
    fs::write(&manifest, text.replace(&before, &sha256(&sums))).expect("it can be written");
}
