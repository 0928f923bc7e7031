//! What a role that is no superuser cannot have is never missing in silence, and what is somebody's stays as it was.

use std::fs;

use harness::Cluster;

use crate::part_rights::{with, Role, OWN};
use crate::parts::assert_nothing_left;

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
