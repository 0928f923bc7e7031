//! "The role was renamed in between, and everything belongs to somebody who is not there any more." A role that may
//! create roles makes them, and follows what becomes of them at the source; an owner that could not have made what it
//! owns gets it nevertheless; and programs are told what a restore makes on a server, before it is there for good.

use crate::globals::wait_until_at_rest;
use crate::program_rights::{assert_same, dumped, Plain};
use harness::{program, Cluster};

/// Owners in schemas of others, renamed and dropped, here and by other databases' sessions.
fn with_roles() -> Cluster {
    let c = Cluster::backed_up();
    c.sql(
        r#"CREATE ROLE old; CREATE ROLE "els;e""where"; CREATE ROLE gone; CREATE ROLE member; GRANT "els;e""where" TO member;
           CREATE SCHEMA "her;s" AUTHORIZATION gone; CREATE TABLE "her;s".t (a int); ALTER TABLE "her;s".t OWNER TO old;
           INSERT INTO "her;s".t VALUES (1);
           CREATE FUNCTION "her;s".f(int) RETURNS int LANGUAGE sql AS 'SELECT 1'; ALTER FUNCTION "her;s".f(int) OWNER TO "els;e""where";
           CREATE PUBLICATION p FOR TABLE "her;s".t; ALTER PUBLICATION p OWNER TO old"#,
    );
    wait_until_at_rest(&c);
    c.sql(
        r#"SELECT incr_dump();
           ALTER ROLE old RENAME TO new; UPDATE "her;s".t SET a = 2;
           CREATE TABLE "her;s".later (a int); ALTER TABLE "her;s".later OWNER TO new;
           ALTER SCHEMA "her;s" OWNER TO member; DROP ROLE gone; CREATE ROLE fresh"#,
    );
    c.sql_in("postgres", r#"ALTER ROLE "els;e""where" RENAME TO here"#);
    wait_until_at_rest(&c);
    c.sql(
        r#"CREATE VIEW "her;s".v AS SELECT 1 AS one; ALTER VIEW "her;s".v OWNER TO here;
           CREATE TYPE "her;s".mood AS ENUM ('glad'); ALTER TYPE "her;s".mood OWNER TO fresh;
           GRANT SELECT ON "her;s".t TO here; ALTER PUBLICATION p OWNER TO here"#,
    );
    c.flush();
    c
}

const ROLES: &str = "SELECT string_agg(rolname, ' ' ORDER BY rolname) FROM pg_roles \
    WHERE oid >= 16384 AND rolname <> 'plain'";

#[test]
fn who_may_create_roles_restores_what_became_of_them() {
    let c = with_roles();
    let target = Cluster::builder().start();
    let plain = Plain::new(&target, "shop");
    target.sql(
        "ALTER ROLE plain CREATEROLE; GRANT SET ON PARAMETER session_replication_role TO plain",
    );
    let (status, text) = plain.restore(&c, &[]);
    // The bootstrap superuser's own things are not its to give.
    let left = std::fs::read_to_string(plain.left_out()).unwrap_or_default();
    assert_eq!(status, 1, "{text}");
    let others = ["TO new", "TO old", "TO here", "TO fresh", "PUBLICATION"];
    let is_other =
        |line: &&str| !line.starts_with("--") && others.iter().any(|name| line.contains(name));
    let found: Vec<&str> = left.lines().filter(is_other).collect();
    assert!(found.is_empty(), "{left}");
    assert_eq!(target.sql(ROLES), "fresh here member new", "{text}");
    let member = "SELECT pg_has_role('member', 'here', 'MEMBER')";
    assert_eq!(target.sql(member), "t");
    // All of the schema, with owners and privileges, and nothing that was lent.
    let options = ["--schema", "her;s"];
    let source = dumped(&c, c.database(), &options);
    assert_same(&source, &dumped(&target, "shop", &options));
    let owner = "SELECT pubowner::regrole, has_database_privilege('here', current_database(), 'CREATE') FROM pg_publication";
    assert_eq!(target.sql_in("shop", owner), "here|f");
    // A role that may not create any is told so, as before.
    target.sql(
        "ALTER ROLE plain NOCREATEROLE; DROP DATABASE shop; DROP ROLE fresh, here, member, new",
    );
    let (status, text) = Plain::new(&target, "other").restore(&c, &[]);
    assert_eq!(status, 1, "{text}");
    assert!(text.contains("may not create roles"), "{text}");
}

#[test]
fn programs_are_told_which_roles_and_tablespaces_are_made() {
    let c = with_roles();
    c.sql(
        "CREATE ROLE late; CREATE TABLE lates (a int); ALTER TABLE lates OWNER TO late;
         SET allow_in_place_tablespaces = on",
    );
    let mut session = c.session();
    session.run("SET allow_in_place_tablespaces = on");
    session.run("CREATE TABLESPACE space LOCATION ''");
    session.run("CREATE TABLE spacious (a int) TABLESPACE space");
    c.flush();
    let target = Cluster::builder().start();
    let archive = c.database_directory();
    let to = format!("--target={}", target.conninfo("shop"));
    let output = program(&[
        "--json",
        "restore",
        "--archive",
        &archive.to_string_lossy(),
        &to,
    ]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut made = said.lines().filter_map(|line| {
        let answer: serde_json::Value = serde_json::from_str(line).expect("JSON");
        answer.get("made").cloned()
    });
    let last = made.next_back().expect("something is made");
    let ids: Vec<&str> = last
        .as_array()
        .expect("a list")
        .iter()
        .flat_map(|id| id.as_str())
        .collect();
    for query in [
        "SELECT 'r' || oid FROM pg_roles WHERE oid >= 16384",
        "SELECT 't' || oid FROM pg_tablespace WHERE oid >= 16384",
    ] {
        let there = target.sql(query);
        assert!(!there.is_empty());
        for id in there.lines() {
            assert!(ids.contains(&id), "{id}: {said}");
        }
    }
}

/// Who is to blame is in the answer.
#[test]
fn a_server_that_goes_away_is_told_from_an_archive_that_is_damaged() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE t (a int); INSERT INTO t VALUES (1)");
    c.flush();
    let archive = c.database_directory().to_string_lossy().into_owned();
    let of_server = |to: &str| {
        let output = program(&["--json", "restore", "--archive", &archive, "--target", to]);
        assert_eq!(output.status.code(), Some(1));
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        let line = text.lines().last().expect("an error").to_owned();
        let answer: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        answer["of_server"].as_bool().expect("a truth value")
    };
    let nobody = format!("host={} port=7 dbname=shop", c.root().display());
    assert!(of_server(&nobody), "nobody listens there");
    assert!(!of_server(&c.conninfo("app")), "it is not empty");
}
