//! "The roles, their passwords and the database's settings that I restore are those of last night."

use harness::{wait_until, Cluster};
use std::fs;
use std::path::PathBuf;

/// The newest chain's sets of globals, oldest first.
pub(crate) fn sets(c: &Cluster) -> Vec<PathBuf> {
    let directory = c.chain_directory().join("globals");
    let listing = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut sets: Vec<PathBuf> = listing
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_none())
        .collect();
    sets.sort();
    sets
}

pub(crate) fn newest(c: &Cluster, file: &str) -> String {
    let text = sets(c).last().map(|set| fs::read_to_string(set.join(file)));
    text.and_then(Result::ok).unwrap_or_default()
}

/// Waits until the newest set's file holds a text.
fn wait_for(c: &Cluster, file: &str, text: &str) {
    wait_until(&format!("{file} of the newest set holds {text}"), || {
        newest(c, file).contains(text)
    });
}

/// Waits until every change so far has been looked at.
pub(crate) fn wait_until_at_rest(c: &Cluster) {
    // The look at this role comes after the look at whatever was before.
    static NAMES: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(1);
    let number = NAMES.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    c.sql_in("postgres", &format!("CREATE ROLE at_rest_{number}"));
    wait_for(c, "globals.sql", &format!("at_rest_{number}"));
}

/// The WAL position after everything that was committed so far.
fn here(c: &Cluster) -> String {
    c.flush()
}

#[test]
fn a_role_made_in_another_database_is_in_a_new_set_at_once() {
    let c = Cluster::backed_up();
    c.sql_in(
        "postgres",
        "CREATE ROLE boss; CREATE ROLE \"Wor ker\" LOGIN PASSWORD 'hunter2' IN ROLE boss;
         ALTER ROLE \"Wor ker\" SET work_mem = '7MB'",
    );
    wait_for(&c, "globals.sql", "work_mem");
    let text = newest(&c, "globals.sql");
    assert!(text.contains("CREATE ROLE \"Wor ker\"") && text.contains("SCRAM-SHA-256$"));
    assert!(text.contains("GRANT boss TO \"Wor ker\""), "{text}");
    assert!(!text.contains("hunter2"));
    assert_eq!(c.sql("SELECT * FROM incr_verify()"), "");
    let listed = c.sql("SELECT count(*) FROM incr_files() WHERE kind = 'globals'");
    assert_eq!(listed, sets(&c).len().to_string());
    let set = sets(&c).pop().expect("there is a set");
    let permissions = |path: PathBuf| {
        use std::os::unix::fs::PermissionsExt;
        let metadata = fs::metadata(path).expect("it is there");
        metadata.permissions().mode() & 0o777
    };
    assert_eq!(permissions(set.clone()), 0o700);
    assert_eq!(permissions(set.join("globals.sql")), 0o600);
}

#[test]
fn every_kind_of_change_is_noticed() {
    let c = Cluster::backed_up();
    let app = c.database().to_string();
    for (sql, file, text) in [
        ("CREATE ROLE a; CREATE ROLE b".to_string(), "globals.sql", "CREATE ROLE b;"),
        (format!("ALTER DATABASE {app} SET DateStyle = 'SQL, DMY'"), "database.sql", "DMY"),
        ("ALTER ROLE a VALID UNTIL '2031-01-02'".into(), "globals.sql", "2031-01-02"),
        ("GRANT a TO b".into(), "globals.sql", "GRANT a TO b"),
        ("COMMENT ON ROLE a IS 'first letter'".into(), "globals.sql", "first letter"),
        ("ALTER ROLE a RENAME TO c".into(), "globals.sql", "CREATE ROLE c;"),
        (
            "SET allow_in_place_tablespaces = on; CREATE TABLESPACE apart LOCATION ''".into(),
            "globals.sql",
            "CREATE TABLESPACE apart",
        ),
        ("GRANT CREATE ON TABLESPACE apart TO b".into(), "globals.sql", "ON TABLESPACE apart TO b"),
        ("GRANT SET ON PARAMETER work_mem TO b".into(), "globals.sql", "ON PARAMETER work_mem TO b"),
        (format!("ALTER DATABASE {app} SET work_mem = '5MB'"), "database.sql", "5MB"),
        (format!("GRANT CREATE ON DATABASE {app} TO b"), "database.sql", "GRANT CREATE ON DATABASE"),
        (format!("COMMENT ON DATABASE {app} IS 'mine'"), "database.sql", "mine"),
        (format!("ALTER DATABASE {app} OWNER TO c"), "database.sql", "OWNER TO c"),
        ("REASSIGN OWNED BY c TO b".into(), "database.sql", "OWNER TO b"),
        (
            format!("DO $$ BEGIN EXECUTE 'ALTER ROLE b IN DATABASE {app} SET work_mem = ''6MB'''; END $$"),
            "database.sql",
            "6MB",
        ),
    ] {
        c.sql_in("postgres", &sql);
        wait_for(&c, file, text);
    }
    c.sql_in("postgres", "DROP TABLESPACE apart");
    wait_until("the tablespace is gone", || {
        !newest(&c, "globals.sql").contains("apart")
    });
    // A restored database has all that, although none of it is in the segments.
    let target = Cluster::builder().start();
    c.flush();
    let restored = c.restore_by_program(&target, &[]);
    assert_eq!(facts(&target, &restored.database), facts(&c, c.database()));
}

#[test]
fn a_prepared_change_is_noticed_when_it_is_committed() {
    let c = Cluster::backed_up();
    let mut other = c.session_in("postgres");
    other.run("BEGIN; CREATE ROLE prepared; PREPARE TRANSACTION 'p'");
    wait_until_at_rest(&c);
    assert!(!newest(&c, "globals.sql").contains("CREATE ROLE prepared;"));
    c.crash();
    c.start();
    c.wait_for_capture();
    wait_until_at_rest(&c);
    c.sql_in("postgres", "COMMIT PREPARED 'p'");
    wait_for(&c, "globals.sql", "CREATE ROLE prepared;");
}

#[test]
fn nothing_is_written_where_nothing_differs() {
    let c = Cluster::backed_up();
    wait_until_at_rest(&c);
    let before = sets(&c);
    c.sql("CREATE TABLE t (a int); INSERT INTO t VALUES (1); COMMENT ON TABLE t IS 'x'");
    c.sql_in("postgres", "BEGIN; CREATE ROLE never; ROLLBACK");
    c.sql_in("postgres", "COMMENT ON ROLE postgres IS NULL");
    c.sql("SELECT incr_dump()");
    c.restart();
    c.wait_for_capture();
    wait_until_at_rest(&c);
    let after = sets(&c);
    assert_eq!(after[..after.len() - 1], before[..], "{after:?}");
}

#[test]
fn a_change_right_before_a_crash_is_in_a_set_after_the_restart() {
    let c = Cluster::backed_up();
    wait_until_at_rest(&c);
    c.sql_in("postgres", "CREATE ROLE tail LOGIN PASSWORD 'x'");
    c.crash();
    c.start();
    wait_for(&c, "globals.sql", "CREATE ROLE tail;");
    assert_eq!(c.sql("SELECT * FROM incr_verify()"), "");
}

#[test]
fn globals_are_those_of_the_wished_point() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE t (a int PRIMARY KEY)");
    c.sql_in("postgres", "CREATE ROLE early LOGIN PASSWORD 'one'");
    wait_for(&c, "globals.sql", "CREATE ROLE early;");
    c.sql("INSERT INTO t VALUES (1)");
    let first = here(&c);
    let first_time = c.sql("SELECT clock_timestamp()");
    c.sql_in("postgres", "DROP ROLE early; CREATE ROLE late LOGIN");
    wait_for(&c, "globals.sql", "CREATE ROLE late;");
    let second_time = c.sql("SELECT clock_timestamp()");
    c.sql("INSERT INTO t VALUES (2)");
    let second = here(&c);
    c.sql_in("postgres", "CREATE ROLE too_late");
    wait_for(&c, "globals.sql", "CREATE ROLE too_late;");
    c.flush();
    let roles_after = |options: &[&str]| {
        let target = Cluster::builder().start();
        c.restore_by_program(&target, options);
        target.sql_in(
            "postgres",
            "SELECT string_agg(rolname || rolcanlogin, ',' ORDER BY 1) FROM pg_roles
             WHERE rolname ~ '^(early|late|too_late)$'",
        )
    };
    assert_eq!(
        roles_after(&["--globals", "--until-lsn", &first]),
        "earlytrue"
    );
    assert_eq!(
        roles_after(&["--globals", "--until-time", &first_time]),
        "earlytrue"
    );
    assert_eq!(
        roles_after(&["--globals", "--until-time", &second_time]),
        "latetrue"
    );
    assert_eq!(
        roles_after(&["--globals", "--until-lsn", &second]),
        "latetrue"
    );
    assert_eq!(roles_after(&["--globals"]), "latetrue,too_latefalse");
    assert_eq!(roles_after(&[]), "");
}

fn facts(c: &Cluster, database: &str) -> String {
    c.sql_in(
        database,
        "SELECT pg_get_userbyid(d.datdba), d.datconnlimit, d.datacl,
            shobj_description(d.oid, 'pg_database'),
            (SELECT array_agg((s.setrole::regrole, s.setconfig)::text ORDER BY s.setrole::regrole::text)
             FROM pg_db_role_setting s WHERE s.setdatabase = d.oid)
        FROM pg_database d WHERE d.datname = current_database()",
    )
}

#[test]
fn what_another_database_did_to_this_one_comes_along_in_its_order() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE t (a int PRIMARY KEY)");
    c.sql(
        "CREATE ROLE reader; CREATE ROLE writer; GRANT CREATE ON DATABASE app TO reader WITH GRANT OPTION;
         ALTER DATABASE app SET work_mem = '5MB'; ALTER ROLE reader IN DATABASE app SET work_mem = '8MB';
         SET SESSION AUTHORIZATION reader; GRANT CREATE ON DATABASE app TO writer; RESET SESSION AUTHORIZATION",
    );
    wait_until_at_rest(&c);
    let before = (here(&c), facts(&c, "app"));
    let mut other = c.session_in("postgres");
    other.run(
        "BEGIN; CREATE ROLE \"ow'n er\"; ALTER DATABASE app RESET work_mem; ALTER DATABASE app SET search_path TO 'a\"b', public;
         ALTER ROLE reader IN DATABASE app RESET ALL; COMMENT ON DATABASE app IS E'it''s\\nhere :dbname \\\\ $do$';
         REVOKE ALL ON DATABASE app FROM PUBLIC; REVOKE CREATE ON DATABASE app FROM reader CASCADE;
         ALTER DATABASE app CONNECTION LIMIT 55; ALTER DATABASE app OWNER TO \"ow'n er\"; COMMIT",
    );
    wait_for(&c, "database.sql", "55");
    c.sql("INSERT INTO t VALUES (1)");
    let between = (here(&c), facts(&c, "app"));
    // In the segments, after the set.
    c.sql("ALTER DATABASE app SET work_mem = '9MB'; GRANT CONNECT ON DATABASE app TO writer");
    let in_stream = (here(&c), facts(&c, "app"));
    assert!(in_stream.1.contains("9MB"), "{}", in_stream.1);
    wait_for(&c, "database.sql", "9MB");
    let target = Cluster::builder().start();
    for (lsn, expected) in [&before, &between, &in_stream] {
        let restored = c.restore_by_program(&target, &["--until-lsn", lsn]);
        assert_eq!(
            &facts(&target, &restored.database),
            expected,
            "{}",
            restored.output
        );
    }
    let restored = c.restore_by_program(&target, &[]);
    assert_eq!(facts(&target, &restored.database), in_stream.1);
    assert_eq!(target.sql_in(&restored.database, "SELECT a FROM t"), "1");
}

#[test]
fn what_the_segments_say_after_the_newest_set_is_not_taken_back() {
    let c = Cluster::backed_up();
    c.sql_in("postgres", "ALTER DATABASE app SET work_mem = '5MB'");
    wait_for(&c, "database.sql", "5MB");
    c.sql("ALTER DATABASE app SET work_mem = '6MB'; ALTER DATABASE app SET work_mem = '7MB'");
    let six = c.flush();
    let expected = facts(&c, "app");
    // The same point, before and after the set of the last change is there.
    for _ in 0..2 {
        let restored = c.restore(&["--until-lsn", &six]);
        assert_eq!(facts(&c, &restored.database), expected);
        wait_for(&c, "database.sql", "7MB");
    }
}

#[test]
fn no_password_is_in_a_segment_or_in_ddl_history() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE ROLE a LOGIN PASSWORD 'hunter2'; ALTER ROLE a PASSWORD E'hunter\\062';
         CREATE USER b WITH ENCRYPTED PASSWORD $x$hunter2$x$; ALTER USER b WITH LOGIN PASSWORD U&'hunter\\0032';
         DO $$ BEGIN EXECUTE 'ALTER ROLE a PASSWORD ''hunter2'''; EXECUTE format('CREATE ROLE c PASSWORD %L', 'hunter2'); END $$;
         CREATE ROLE d; ALTER ROLE d PASSWORD 'SCRAM-SHA-256$4096:c2FsdHNhbHRzYWx0c2FsdA==$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB='",
    );
    c.flush();
    wait_for(&c, "globals.sql", "BBBBBBBB");
    let everything = c.stream() + &c.sql("SELECT ddl_history FROM ddl_history");
    for secret in ["hunter", "SCRAM-SHA-256", "BBBBBBBB"] {
        assert!(!everything.contains(secret), "{secret} in: {everything}");
    }
}

#[test]
fn a_set_that_cannot_be_written_is_told_and_tried_again() {
    let c = Cluster::backed_up();
    wait_until_at_rest(&c);
    c.set("pg_incrbackup.bin_directory", "'/nowhere'");
    c.sql_in("postgres", "CREATE ROLE waiting");
    wait_until("health warns", || {
        c.health().contains("could not be recorded")
    });
    assert!(c.health().starts_with("warning"), "{}", c.health());
    c.set("pg_incrbackup.bin_directory", "''");
    wait_for(&c, "globals.sql", "CREATE ROLE waiting;");
    wait_until("health is fine again", || c.health().starts_with("ok"));
}

#[test]
fn a_new_chain_has_a_set_of_its_own() {
    let c = Cluster::backed_up();
    wait_until("the first chain has a set", || !sets(&c).is_empty());
    c.sql("SELECT * FROM incr_setup(new_chain => true)");
    wait_until("the second chain has a set", || !sets(&c).is_empty());
    assert_eq!(c.sql("SELECT * FROM incr_verify()"), "");
}
