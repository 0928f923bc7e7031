//! "I needed the hour in which something could not be carried, and got nothing." A restore into such a stretch
//! gives all that can be applied, says what it left out, and does not call it whole.

use crate::healing::lose;
use crate::poll::through_decoder_raw;
use crate::program_restore::restore;
use harness::{wait_until, Cluster};

/// Restores up to `lsn`; gives what was printed. The exit status is 1.
fn restore_in_part(c: &Cluster, name: &str, options: &[&str]) -> String {
    let (status, text) = restore(c, name, options);
    assert_eq!(status, 1, "{text}");
    text
}

fn wait_until_healed(c: &Cluster, bases: usize) {
    wait_until("a base ends the stretch", || {
        c.bases().len() == bases && !c.health().contains("are incomplete: ")
    });
}

#[test]
fn a_moment_inside_gives_all_that_can_be_applied_and_lists_the_rest() {
    let c = Cluster::builder()
        .setting("pg_incrbackup.copy_threshold", "3")
        .back_up();
    c.sql(
        "CREATE TABLE t (a int, b text); INSERT INTO t SELECT i, 'row ' || i FROM generate_series(1, 5) i;
         CREATE TABLE other (a int PRIMARY KEY, b text); CREATE SEQUENCE s;
         CREATE TABLE odd (a int GENERATED ALWAYS AS IDENTITY, b text, c text[])",
    );
    let before = c.flush();
    // Until it ends, no base does.
    let mut held = c.session();
    held.run("BEGIN; CREATE TABLE pending (a int PRIMARY KEY)");
    c.sql("INSERT INTO other VALUES (0, 'before')");
    lose(
        &c,
        "INSERT INTO other VALUES (1, 'same transaction'); UPDATE t SET a = 100 WHERE a = 1",
    );
    // Of a row that is not there in a restore, and of one that is.
    c.sql("UPDATE t SET b = 'lost' WHERE a = 100; UPDATE t SET b = 'kept' WHERE a = 2; DELETE FROM t WHERE a = 100");
    // Of a restore, not of the source, are two rows alike.
    c.sql("CREATE UNIQUE INDEX once ON t (a); INSERT INTO t VALUES (1, 'again'), (6, 'new')");
    c.sql(
        r"INSERT INTO odd (b, c) SELECT E'\v' || i || E'\t\\\n''\b\f\r', ARRAY[NULL, 'x', E'\\v'] FROM generate_series(1, 9) i;
          INSERT INTO odd (b) VALUES (NULL), (''), (E'\\N'), (E'\\.'), (E'a\vb');
          INSERT INTO t SELECT i, 'many' FROM generate_series(10, 20) i",
    );
    c.sql("ALTER TABLE t RENAME TO renamed; ALTER TABLE other ADD COLUMN c int DEFAULT 7; SELECT nextval('s')");
    c.sql("UPDATE other SET b = 'changed' WHERE a = 1; DELETE FROM other WHERE a = 0; INSERT INTO renamed VALUES (30, 'last')");
    let inside = c.flush();
    let said = restore_in_part(&c, "inside", &["--until-lsn", &inside]);
    assert!(
        said.contains("rows of table public.t: UPDATE on public.t could not be written"),
        "{said}"
    );
    assert!(
        said.contains("left out, because earlier changes are lost:"),
        "{said}"
    );
    assert!(said.contains("    UPDATE public.t (1): "), "{said}");
    assert!(said.contains("    DELETE FROM public.t (1): "), "{said}");
    for table in ["other", "odd"] {
        let rows = format!("SELECT * FROM {table} ORDER BY a");
        assert_eq!(c.sql_in("inside", &rows), c.sql(&rows), "{table}\n{said}");
    }
    let kept = "SELECT a FROM renamed WHERE a NOT IN (1, 100) ORDER BY a";
    assert_eq!(c.sql_in("inside", kept), c.sql(kept));
    assert_eq!(
        c.sql_in("inside", "SELECT b FROM renamed WHERE a = 2"),
        "kept"
    );
    // Before the flag nothing is missing.
    let earlier = c.restore(&["--until-lsn", &before]).database;
    // restore.sh refuses such a moment, and names the last one before it.
    let refused = c.try_restore(&c, "refused", &["--until-lsn", &inside]);
    let refused = refused.expect_err("something was lost");
    let last = refused
        .split("--until-lsn ")
        .nth(1)
        .and_then(|rest| rest.split(';').next());
    let last = last.unwrap_or_else(|| panic!("{refused}"));
    let by_script = c.restore_by_script(&c, &["--until-lsn", last]).database;
    assert_eq!(
        c.sql_in(&by_script, "SELECT count(*), sum(a) FROM t"),
        "5|15"
    );
    assert_eq!(c.sql_in(&earlier, "SELECT count(*), sum(a) FROM t"), "5|15");
    held.run("COMMIT");
    wait_until_healed(&c, 2);
    c.sql("INSERT INTO other VALUES (9)");
    // The base behind the flag is chosen by itself; with the one before it, the way leads through.
    c.assert_restores();
    let first = c.bases().remove(0);
    let first = first
        .file_name()
        .expect("a name")
        .to_string_lossy()
        .into_owned();
    restore_in_part(&c, "through", &["--base", &first]);
    assert_eq!(
        c.sql_in("through", "SELECT count(*) FROM other"),
        c.sql("SELECT count(*) FROM other")
    );
}

/// A schema change that nobody knows of: what hangs on it is left out, and nothing else.
#[test]
fn what_hangs_on_a_lost_schema_change_is_left_out() {
    let c = through_decoder_raw("stream")
        .setting("max_prepared_transactions", "2")
        .setting("pg_incrbackup.copy_threshold", "3")
        .back_up();
    c.sql("CREATE TABLE t (a int PRIMARY KEY); CREATE TABLE other (a int PRIMARY KEY)");
    // As an open transaction, and there still after a restart.
    c.sql("BEGIN; CREATE TABLE pending (a int PRIMARY KEY); PREPARE TRANSACTION 'held'");
    c.flush();
    c.write_setting("shared_preload_libraries", "''");
    c.restart();
    c.sql("CREATE TABLE unseen (a int PRIMARY KEY); ALTER TABLE t ADD COLUMN b text DEFAULT 'x'");
    c.write_setting("shared_preload_libraries", "pg_incrbackup");
    c.restart();
    c.sql("INSERT INTO unseen SELECT generate_series(1, 9); INSERT INTO other SELECT generate_series(1, 9)");
    c.sql("INSERT INTO t VALUES (1, 'y'); CREATE VIEW v AS SELECT * FROM unseen; CREATE VIEW w AS SELECT * FROM other");
    c.sql("INSERT INTO t VALUES (2, '; DROP TABLE other; --'), (3, 'z'), (4, ''), (5, ''), (6, ''), (7, '')");
    let inside = c.flush();
    let said = restore_in_part(&c, "inside", &["--until-lsn", &inside]);
    assert!(
        said.contains("the schema of an unknown object: could not record DDL"),
        "{said}"
    );
    for left_out in ["public.unseen (", "CREATE VIEW (1)", "public.t ("] {
        assert!(said.contains(left_out), "{left_out}\n{said}");
    }
    assert_eq!(
        c.sql_in(
            "inside",
            "SELECT count(*), (SELECT count(*) FROM w) FROM other"
        ),
        "9|9"
    );
    c.sql("COMMIT PREPARED 'held'");
    wait_until_healed(&c, 2);
    c.assert_restores();
}

/// What the server lacks is not what was lost.
#[test]
fn an_error_of_another_kind_still_stops_the_restore() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE t (a int); INSERT INTO t VALUES (1)");
    let mut held = c.session();
    held.run("BEGIN; CREATE TABLE pending (a int PRIMARY KEY)");
    lose(&c, "UPDATE t SET a = 2");
    // At the source it was allowed.
    c.sql("CREATE FUNCTION full() RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$BEGIN
             IF current_database() <> 'app' THEN RAISE 'no room' USING ERRCODE = 'disk_full'; END IF; RETURN 1; END$$;
           CREATE TABLE u (a int PRIMARY KEY); CREATE INDEX ON u ((full() + a)); INSERT INTO u VALUES (1)");
    let inside = c.flush();
    let said = restore_in_part(&c, "inside", &["--until-lsn", &inside]);
    assert!(said.contains("no room"), "{said}");
    let there = "SELECT count(*) FROM pg_database WHERE datname = 'inside'";
    assert_eq!(c.sql(there), "0", "it has not got its name");
    held.run("COMMIT");
    wait_until_healed(&c, 2);
}
