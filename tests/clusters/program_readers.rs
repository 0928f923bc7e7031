//! What readers of the program's restore found, where parts of it meet that were written apart.

use harness::Cluster;

use crate::parts::restored;
use crate::program_restore::restore;
use crate::program_resume::{GUARDED, MENDED};

/// A role that may create databases, beside the superuser.
fn with_plain(c: &Cluster) -> String {
    c.sql_in("postgres", "CREATE ROLE plain LOGIN CREATEDB");
    c.conninfo("made").replace("user=postgres", "user=plain")
}

/// Whatever the command line says of the target, the archive is the cluster's own.
fn restore_to(c: &Cluster, target: &str, options: &[&str]) -> (i32, String) {
    let archive = c.database_directory();
    let archive = archive.to_str().expect("the path is UTF-8");
    let arguments = ["restore", "--archive", archive, "--target", target];
    let output = harness::program(&[&arguments[..], options].concat());
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    (output.status.code().unwrap_or(-1), said)
}

/// An index that fails is deferred whatever is left out, and what follows it keeps its tablespace.
#[test]
fn what_waits_takes_nothing_along() {
    let c = Cluster::builder().start();
    c.sql_in(
        "postgres",
        "SET allow_in_place_tablespaces = on; CREATE TABLESPACE aside LOCATION ''",
    );
    c.sql(
        "CREATE FUNCTION needs(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS
            $$ BEGIN RETURN current_setting('app.number')::int + $1; END $$;
         SET app.number = '1'; CREATE TABLE t (a int, b int); INSERT INTO t VALUES (1, 2);
         CREATE INDEX t_1 ON t (a); CREATE INDEX t_2 ON t (needs(a)); CREATE INDEX t_3 ON t (b) TABLESPACE aside;
         CREATE INDEX t_4 ON t (a, b)",
    );
    c.sql("CREATE EXTENSION pg_incrbackup; SELECT * FROM incr_setup()");
    c.flush();
    for (database, options) in [("whole", &[][..]), ("ownerless", &["--no-owner"])] {
        let (status, said) = restore(&c, database, options);
        assert_eq!(status, 1, "{said}");
        assert!(said.contains("INDEX public.t_2 ("), "{said}");
        assert!(!said.contains("current transaction is aborted"), "{said}");
        let spaces = "SELECT string_agg(indexname || ' ' || coalesce(tablespace, '-'), ', ' ORDER BY 1) FROM pg_indexes
            WHERE tablename = 't'";
        assert_eq!(c.sql_in(database, spaces), "t_1 -, t_3 aside, t_4 -");
    }
}

/// Foreign keys and triggers that a role has set aside are made again by none that needs no such care.
#[test]
fn a_restore_belongs_to_its_role() {
    let c = Cluster::builder().start();
    c.sql(
        "CREATE TABLE parent (a int PRIMARY KEY); CREATE TABLE child (a int REFERENCES parent);
         CREATE FUNCTION never() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'never'; END $$;
         CREATE TRIGGER never BEFORE INSERT ON child FOR EACH ROW EXECUTE FUNCTION never(); ALTER TABLE child DISABLE TRIGGER never;
         CREATE EXTENSION pg_incrbackup",
    );
    c.sql("SELECT * FROM incr_setup()");
    c.sql("INSERT INTO parent VALUES (1); INSERT INTO child VALUES (1); ALTER TABLE child ENABLE TRIGGER never");
    c.sql(GUARDED);
    c.flush();
    let target = with_plain(&c);
    c.sql_in(
        "postgres",
        "CREATE DATABASE made OWNER plain TEMPLATE template0",
    );
    let options = ["--no-owner", "--no-privileges"];
    let (status, said) = restore_to(&c, &target, &options);
    assert_eq!(status, 1, "{said}");
    assert!(
        said.contains("the same command line goes on with it"),
        "{said}"
    );
    let (status, said) = restore(&c, "made", &options);
    assert_eq!(status, 1, "{said}");
    assert!(said.contains("another role has begun a restore"), "{said}");
    c.sql_in("postgres", "ALTER ROLE plain SUPERUSER");
    let (status, said) = restore_to(&c, &target, &options);
    assert_eq!(status, 1, "{said}");
    assert!(said.contains("its role was no superuser then"), "{said}");
    c.sql_in("postgres", "ALTER ROLE plain NOSUPERUSER");
    c.sql_in("made", MENDED);
    let (status, said) = restore_to(&c, &target, &options);
    assert_eq!(status, 0, "{said}");
    let there = "SELECT (SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND convalidated),
        (SELECT tgenabled FROM pg_trigger WHERE tgname = 'never')";
    assert_eq!(c.sql_in("made", there), "1|O");
}

/// A view under the name of the progress would run as whoever restores.
#[test]
fn a_planted_progress_is_not_read() {
    let c = Cluster::backed_up();
    c.flush();
    with_plain(&c);
    c.sql_in(
        "postgres",
        "CREATE DATABASE planted OWNER plain TEMPLATE template0",
    );
    c.sql_in(
        "planted",
        "SET ROLE plain; CREATE SCHEMA incr_restore;
         CREATE FUNCTION incr_restore.runs() RETURNS int LANGUAGE plpgsql AS $$ BEGIN RAISE 'it has run as %', current_user; END $$;
         CREATE VIEW incr_restore.progress AS SELECT incr_restore.runs() AS format, '' AS identity, '' AS stage, 0::bigint AS pieces,
            '' AS place, 0::bigint AS sets, false AS is_set_due",
    );
    for options in [&[][..], &["--dry-run"]] {
        let (status, said) = restore(&c, "planted", options);
        assert_eq!(status, 1, "{said}");
        assert!(said.contains("another role has begun a restore"), "{said}");
        assert!(!said.contains("it has run"), "{said}");
    }
}

/// Rows of other partitions are not in the part, and a schema of that name is at the source.
#[test]
fn a_part_says_what_its_keys_are_worth() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE SCHEMA before; CREATE TABLE before.q (a int); INSERT INTO before.q VALUES (9);
         CREATE TABLE p (a int PRIMARY KEY) PARTITION BY LIST (a); CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1);
         CREATE TABLE p2 PARTITION OF p FOR VALUES IN (2); INSERT INTO p VALUES (1), (2);
         CREATE TABLE q (id int GENERATED ALWAYS AS IDENTITY, a int REFERENCES p); INSERT INTO q (a) VALUES (2);
         CREATE TABLE apart PARTITION OF p FOR VALUES IN (3); ALTER TABLE p DETACH PARTITION apart; INSERT INTO apart VALUES (3)",
    );
    c.flush();
    c.sql_in("postgres", "CREATE DATABASE live");
    let options = [
        "--table",
        "public.q",
        "--table",
        "public.p",
        "--exclude-table",
        "p1",
        "--exclude-table",
        "p2",
    ];
    let (status, said) = restore(&c, "live", &options);
    assert_eq!(status, 1, "{said}");
    assert!(said.contains("a foreign key is "), "{said}");
    let valid = "SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND convalidated";
    assert_eq!(c.sql_in("live", valid), "0");

    restored(
        &c,
        "live",
        &["--table", "public.q", "--into-schema", "before"],
    );
    assert_eq!(c.sql_in("live", "SELECT a FROM before.q"), "2");

    // One that was detached does not go with its former table, and a sequence that was never called is set.
    c.sql("DROP TABLE p CASCADE");
    c.flush();
    restored(&c, "alone", &["--table", "apart"]);
    assert_eq!(c.sql_in("alone", "SELECT a FROM apart"), "3");
}
