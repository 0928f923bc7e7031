//! What a role that is no superuser cannot have is never missing in silence, and what is somebody's stays as it was.

use std::fs;
use std::process::{Child, Stdio};

use harness::{program_command, wait_until, Cluster};

use crate::part_rights::{assert_empty, with, Role, OWN};
use crate::parts::assert_nothing_left;
use crate::program_rights;

#[test]
fn rows_that_the_scratch_database_cannot_have_are_never_missing_in_silence() {
    let c = Cluster::backed_up();
    c.installation().install_extension(
        "stamped",
        "CREATE TYPE @extschema@.stamp AS ENUM ('a', 'b');",
    );
    c.sql(
        "CREATE SCHEMA ext; CREATE EXTENSION stamped SCHEMA ext; CREATE SCHEMA app; \
         CREATE TABLE app.t (a ext.stamp); INSERT INTO app.t VALUES ('a'), ('b'); \
         CREATE TABLE app.u (a int); INSERT INTO app.u VALUES (1), (2), (3); CREATE TABLE app.w (a int)",
    );
    c.sql("SELECT incr_dump()");
    c.sql("ALTER TABLE app.u ADD COLUMN c ext.stamp DEFAULT 'a'");
    c.flush();
    c.sql("CREATE ROLE guest LOGIN CREATEDB; CREATE DATABASE live OWNER guest");
    c.sql_in(
        "live",
        "CREATE SCHEMA ext; CREATE EXTENSION stamped SCHEMA ext; GRANT USAGE ON SCHEMA ext TO guest; \
         SET ROLE guest; CREATE SCHEMA app; CREATE TABLE app.t (a ext.stamp); CREATE TABLE app.u (a int, c ext.stamp); \
         CREATE TABLE app.w (a int)",
    );
    let role = Role {
        c: &c,
        name: "guest",
    };
    for part in [
        &["--schema", "app", "--data-only"][..],
        &["--table", "app.*", "--data-only"],
        &["--schema", "app", "--section", "data"],
    ] {
        let needed = ["is needed for app.t\n", "ext.stamp", "--exclude-table"];
        role.refused("live", part, &needed);
    }
    let named = ["--table", "app.t", "--data-only"];
    role.refused("live", &named, &["is needed for app.t\n", "ext.stamp"]);
    // The table is there, but not a column with its values.
    for part in [
        &["--table", "app.u"][..],
        &["--schema", "app", "--exclude-table", "app.t"],
    ] {
        let (status, text) = role.restore("live", &with(&[part, &["--data-only"]]));
        assert!(
            status == 1 && text.contains("alter table app.u: "),
            "{text}"
        );
        let rows = "SELECT count(*), count(c) FROM app.u";
        assert_eq!(c.sql_in("live", rows), "3|0", "{text}");
        c.sql_in("live", "TRUNCATE app.u");
    }
    // What no row needs is no news.
    role.restored("live", &["--table", "app.w", "--data-only"]);

    // With definitions, a table that cannot be made is left out, and its rows are counted: those of the base, and later ones.
    c.sql("INSERT INTO app.t SELECT 'a' FROM generate_series(1, 500)");
    c.flush();
    let part = with(&[&["--schema", "app", "--exclude-table", "app.u"], &OWN]);
    let restored = || {
        let (status, text) = role.restore("fresh", &part);
        c.sql("DROP DATABASE fresh");
        assert_eq!(status, 1, "{text}");
        let rows = "502 rows and changes of rows of tables that are left out";
        assert!(
            text.contains("TABLE app.t: ") && text.contains(rows),
            "{text}"
        );
        let written = fs::read_to_string(role.left_out()).expect("it was written");
        assert!(written.contains("Its rows are not here"), "{written}");
    };
    restored();
    c.sql("ALTER SYSTEM SET pg_incrbackup.base_format = 'directory'");
    c.sql("SELECT pg_reload_conf(); SELECT incr_dump()");
    restored();
    assert_nothing_left(&c);
}

/// A program that is running.
fn begin(c: &Cluster, user: &str, database: &str, options: &[&str]) -> Child {
    let target = c
        .conninfo(database)
        .replace("user=postgres", &format!("user={user}"));
    program_command()
        .args(["restore", "--target", &target, "--archive"])
        .arg(c.database_directory())
        .args(options)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program can be run")
}

#[test]
fn two_parts_take_turns_in_one_scratch_database() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE t (a int); INSERT INTO t SELECT generate_series(1, 100)");
    c.flush();
    c.sql(
        "CREATE ROLE guest LOGIN; CREATE DATABASE live OWNER guest; CREATE DATABASE other OWNER guest; \
         CREATE DATABASE pad OWNER guest TEMPLATE template0",
    );
    c.sql_in("pad", "GRANT ALL ON SCHEMA public TO guest");
    let part = with(&[&["--table", "t", "--scratch", "pad"], &OWN]);
    let into = with(&[&part, &["--into-schema", "was"]]);
    let role = Role {
        c: &c,
        name: "guest",
    };
    // The first one waits with its rows in the scratch database.
    let mut locker = c.session_in("live");
    locker.run("BEGIN; CREATE SCHEMA was");
    let first = begin(&c, "guest", "live", &into);
    let waits = |database: &str, event: &str| {
        let of = "application_name = 'pg_incrbackup' AND wait_event_type = 'Lock'";
        let query = format!("SELECT count(*) > 0 FROM pg_stat_activity WHERE {of} AND datname = '{database}' AND wait_event = '{event}'");
        wait_until("a restore waits", || c.is_true(&query));
    };
    waits("live", "transactionid");
    // Nor does one begin that has it as its target.
    let (status, text) = role.restore("pad", &OWN);
    assert!(status == 1 && text.contains("is not empty"), "{text}");
    let second = begin(&c, "guest", "other", &into);
    waits("pad", "advisory");
    // While the first one empties it, the second one still waits.
    let mut reader = c.session_in("pad");
    reader.run("BEGIN; LOCK TABLE was.t IN ACCESS SHARE MODE");
    locker.run("ROLLBACK");
    waits("pad", "relation");
    waits("pad", "advisory");
    reader.run("ROLLBACK");
    for child in [first, second] {
        let output = child.wait_with_output().expect("it ends");
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{text}");
    }
    for database in ["live", "other"] {
        assert_eq!(c.sql_in(database, "SELECT count(*) FROM was.t"), "100");
    }
    assert_empty(&c, "pad");
    assert_nothing_left(&c);
}

#[test]
fn a_database_of_scratch_is_as_it_was_before() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE t (a int); INSERT INTO t SELECT generate_series(1, 100)");
    c.flush();
    c.sql(
        "CREATE ROLE guest LOGIN; CREATE DATABASE live OWNER guest; CREATE DATABASE pad OWNER guest TEMPLATE template0; \
         COMMENT ON DATABASE pad IS 'it''s; mine'; GRANT CREATE ON DATABASE pad TO PUBLIC; \
         CREATE DATABASE shut OWNER guest TEMPLATE template0; REVOKE ALL ON DATABASE shut FROM PUBLIC",
    );
    for database in ["pad", "shut"] {
        c.sql_in(database, "GRANT ALL ON SCHEMA public TO guest");
    }
    let role = Role {
        c: &c,
        name: "guest",
    };
    let said = || {
        c.sql("SELECT datname, a.grantor, a.grantee, a.privilege_type, a.is_grantable, shobj_description(d.oid, 'pg_database') \
            FROM pg_database AS d, aclexplode(coalesce(datacl, acldefault('d', datdba))) AS a ORDER BY 1, 2, 3, 4")
    };
    let into = with(&[&["--table", "t", "--into-schema", "was"], &OWN]);
    let pad = with(&[&into, &["--scratch", "pad"]]);
    let before = said();
    role.restored("live", &with(&[&pad, &["--dry-run"]]));
    assert_eq!(said(), before, "after a dry run");
    role.restored("live", &pad);
    assert_eq!(said(), before, "after a restore");
    c.sql_in("live", "CREATE TABLE t ()");
    let here = with(&[&["--table", "t", "--scratch", "pad"], &OWN]);
    role.refused("live", &here, &["already"]);
    assert_eq!(said(), before, "after one that failed");
    c.sql_in("live", "DROP SCHEMA was CASCADE");
    role.restored("live", &with(&[&into, &["--scratch", "shut"]]));
    assert_eq!(said(), before, "of one that is shut");

    // One that is killed leaves the next one to find what was there.
    c.sql_in("live", "DROP SCHEMA was CASCADE");
    let mut locker = c.session_in("live");
    locker.run("BEGIN; CREATE SCHEMA was");
    let mut killed = begin(&c, "guest", "live", &pad);
    let waits = "SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = 'live' AND application_name = 'pg_incrbackup' AND wait_event_type = 'Lock'";
    wait_until("the restore waits", || c.is_true(waits));
    killed.kill().expect("it runs");
    killed.wait().expect("it ends");
    locker.run("ROLLBACK");
    let public = "SELECT has_database_privilege('public', 'pad', 'CONNECT')";
    assert_eq!(c.sql(public), "f", "while it is used");
    assert_ne!(said(), before);
    role.restored("live", &pad);
    assert_eq!(said(), before, "after one that was killed");
    assert_eq!(c.sql_in("live", "SELECT count(*) FROM was.t"), "100");

    // Those of every server are nobody's.
    let superuser = Role {
        c: &c,
        name: "postgres",
    };
    for name in ["postgres", "template0", "template1"] {
        let scratch = with(&[&into, &["--scratch", name]]);
        superuser.refused("live", &scratch, &["which every server has"]);
    }
    assert_eq!(said(), before);
    assert_nothing_left(&c);
}

#[test]
fn whatever_roles_and_schemas_and_operators_are_called() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE SCHEMA old; CREATE FUNCTION old.fast(int) RETURNS int LANGUAGE internal IMMUTABLE AS 'int4abs'; \
         CREATE TYPE old.base; CREATE FUNCTION old.base_in(cstring) RETURNS old.base LANGUAGE internal AS 'textin'; \
         CREATE FUNCTION old.raised() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'; \
         CREATE TABLE old.t (a int); INSERT INTO old.t VALUES (1), (2); CREATE TABLE old.odd (a int DEFAULT old.fast(1))",
    );
    c.sql("SELECT incr_dump()");
    c.sql(
        "ALTER SCHEMA old RENAME TO middle; \
         CREATE FUNCTION middle.later(int) RETURNS int LANGUAGE internal IMMUTABLE AS 'int4abs'; \
         CREATE OPERATOR middle.## (FUNCTION = middle.later, RIGHTARG = int); \
         ALTER SCHEMA middle RENAME TO app; \
         CREATE FUNCTION app.newest(int) RETURNS int LANGUAGE internal IMMUTABLE AS 'int4abs'; \
         CREATE OPERATOR app.@@@@ (FUNCTION = app.newest, RIGHTARG = int)",
    );
    c.flush();
    // Names of roles are no identifiers.
    c.sql(r#"CREATE ROLE "Own-er" LOGIN CREATEDB; CREATE DATABASE live OWNER "Own-er""#);
    let role = Role {
        c: &c,
        name: "Own-er",
    };
    let text = role.restored("live", &with(&[&["--table", "app.t"], &OWN]));
    assert!(!text.contains("old."), "{text}");
    assert_eq!(c.sql_in("live", "SELECT sum(a) FROM app.t"), "3");
    c.sql_in("live", "DROP SCHEMA app CASCADE");
    let (status, text) = role.restore("live", &with(&[&["--schema", "app"], &OWN]));
    assert_eq!(status, 1, "{text}");
    for missed in [
        "app.raised(): \"Own-er\"",
        "FUNCTION old.fast(",
        "FUNCTION old.base_in(",
        "create function middle.later(",
        "create operator middle.##",
        "create function app.newest(",
        "create operator app.@@@@",
    ] {
        assert!(text.contains(missed), "{missed}: {text}");
    }
    // What is needed is named by the name that it had.
    role.refused(
        "live",
        &with(&[&["--table", "app.odd", "--into-schema", "was"], &OWN]),
        &["is needed for app.odd", "old.fast"],
    );
    assert_nothing_left(&c);
}

#[test]
fn what_is_done_stays_done_and_what_is_left_is_named() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE SCHEMA app; CREATE FUNCTION app.fast(int) RETURNS int LANGUAGE internal IMMUTABLE AS 'int4abs'; \
         CREATE TABLE app.t (a int); INSERT INTO app.t SELECT generate_series(1, 100)",
    );
    c.flush();
    c.sql("CREATE ROLE guest LOGIN CREATEDB; CREATE DATABASE live OWNER guest; CREATE DATABASE pad OWNER guest TEMPLATE template0");
    c.sql_in("pad", "GRANT ALL ON SCHEMA public TO guest");
    // A file that cannot be written, behind the COMMIT.
    let target = c.conninfo("live").replace("user=postgres", "user=guest");
    let nowhere = c.root().join("nowhere/left-out.sql");
    let options = with(&[&["--schema", "app"], &OWN]);
    let (status, text) = program_rights::restore(&c, &target, &nowhere, &options);
    assert_eq!(status, 1, "{text}");
    for said in [
        "done      the part in live is restored",
        "the SQL of what is left out is not there: could not write",
        "function app.fast",
    ] {
        assert!(text.contains(said), "{said}: {text}");
    }
    assert!(!text.contains("Nothing was changed"), "{text}");
    assert_eq!(c.sql_in("live", "SELECT count(*) FROM app.t"), "100");

    // A restore that fails, and a scratch database that cannot be emptied.
    let part = [
        "--table",
        "app.t",
        "--into-schema",
        "was",
        "--scratch",
        "pad",
    ];
    let mut locker = c.session_in("live");
    locker.run("BEGIN; CREATE SCHEMA was");
    let child = begin(&c, "guest", "live", &with(&[&part, &OWN]));
    let waits = "SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = 'live' AND application_name = 'pg_incrbackup' AND wait_event_type = 'Lock'";
    wait_until("the restore waits", || c.is_true(waits));
    c.sql_in("pad", "CREATE SCHEMA his");
    locker.run("COMMIT");
    let output = child.wait_with_output().expect("it ends");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{text}");
    let left = "Nothing was changed in \"live\". The scratch database \"pad\" is left (the scratch database \"pad\" could not be emptied";
    assert!(text.contains(left), "{text}");
    assert_nothing_left(&c);
}
