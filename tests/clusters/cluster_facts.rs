//! "My DDL needs roles and tablespaces that the machine I restore on does not have."

use harness::{differences, Cluster};

#[test]
fn what_a_role_did_as_a_member_is_done_again_where_the_role_is_gone() {
    let c = Cluster::backed_up();
    c.sql("CREATE ROLE boss; CREATE ROLE \"Wor ker\" IN ROLE boss; GRANT CREATE ON SCHEMA public TO boss");
    c.sql(
        "SET ROLE \"Wor ker\"; CREATE TABLE t (a int PRIMARY KEY); ALTER TABLE t OWNER TO boss;
         RESET ROLE; ALTER TABLE t OWNER TO postgres; REVOKE CREATE ON SCHEMA public FROM boss;
         DROP ROLE boss, \"Wor ker\"",
    );
    c.assert_restores();
}

#[test]
fn a_renamed_role_keeps_what_is_its_own() {
    let c = Cluster::backed_up();
    c.sql("CREATE ROLE one; GRANT CREATE ON SCHEMA public TO one");
    c.sql("SET ROLE one; CREATE TABLE t (a int PRIMARY KEY)");
    c.sql("ALTER ROLE one RENAME TO two");
    c.sql("SET ROLE two; ALTER TABLE t ADD b text; COMMENT ON TABLE t IS 'mine'");
    c.sql(
        "ALTER TABLE t OWNER TO postgres; REVOKE CREATE ON SCHEMA public FROM two; DROP ROLE two",
    );
    c.assert_restores();
}

#[test]
fn a_role_that_was_dropped_and_made_again_has_no_memberships_of_its_first_life() {
    let c = Cluster::backed_up();
    c.sql("CREATE ROLE a; CREATE ROLE b IN ROLE a; GRANT CREATE ON SCHEMA public TO a, b");
    c.sql("SET ROLE b; CREATE TABLE t (i int PRIMARY KEY); ALTER TABLE t OWNER TO a");
    c.sql("REVOKE CREATE ON SCHEMA public FROM b; DROP ROLE b; CREATE ROLE b; GRANT b TO a");
    c.sql(
        "SET ROLE a; ALTER TABLE t ADD j int; CREATE TABLE u (i int PRIMARY KEY); RESET ROLE;
           GRANT CREATE ON SCHEMA public TO b; SET ROLE a; ALTER TABLE u OWNER TO b",
    );
    c.sql(
        "ALTER TABLE t OWNER TO postgres; ALTER TABLE u OWNER TO postgres;
           REVOKE CREATE ON SCHEMA public FROM a, b; DROP ROLE a, b",
    );
    c.assert_restores();
}

#[test]
fn tablespaces_that_the_target_lacks_are_made_inside_its_data_directory() {
    let c = Cluster::backed_up();
    c.sql("SET allow_in_place_tablespaces = on; CREATE TABLESPACE \"Fast\" LOCATION ''");
    c.sql("CREATE TABLE t (a int PRIMARY KEY USING INDEX TABLESPACE \"Fast\") TABLESPACE \"Fast\"");
    c.sql("SET default_tablespace = 'Fast'; CREATE TABLE u (a int PRIMARY KEY)");
    c.sql("ALTER TABLESPACE \"Fast\" RENAME TO slow");
    c.sql(
        "CREATE INDEX ON t (a) TABLESPACE slow; INSERT INTO t VALUES (1); INSERT INTO u VALUES (1)",
    );
    c.flush();
    let target = Cluster::builder().start();
    let restored = c.restore_by_program(&target, &[]);
    harness::assert_identical((&c, c.database()), (&target, &restored.database));
    assert!(
        restored
            .output
            .contains("created tablespace \"Fast\" inside the data directory"),
        "{}",
        restored.output
    );
    // One that was there before keeps its name: what the source renamed is another one.
    let target = Cluster::builder().start();
    target.sql("SET allow_in_place_tablespaces = on; CREATE TABLESPACE \"Fast\" LOCATION ''");
    let restored = c.restore_by_program(&target, &[]);
    harness::assert_identical((&c, c.database()), (&target, &restored.database));
}

#[test]
fn a_base_names_the_tablespaces_that_it_needs() {
    let c = Cluster::backed_up();
    c.sql("SET allow_in_place_tablespaces = on; CREATE TABLESPACE apart LOCATION ''");
    c.sql("CREATE TABLE t (a int PRIMARY KEY) TABLESPACE apart");
    c.sql("SELECT incr_dump()");
    c.flush();
    let target = Cluster::builder().start();
    let restored = c.restore_by_program(&target, &[]);
    harness::assert_identical((&c, c.database()), (&target, &restored.database));
}

#[test]
fn properties_of_the_database_itself_come_along_under_another_name() {
    let c = Cluster::backed_up();
    let database = c.database();
    c.sql(&format!(
        "CREATE ROLE reader;
         ALTER DATABASE {database} SET work_mem = '5MB';
         ALTER DATABASE {database} SET search_path TO 'a%b', public;
         COMMENT ON DATABASE {database} IS E'100%\\nmine $do$';
         REVOKE TEMPORARY ON DATABASE {database} FROM PUBLIC;
         GRANT CREATE ON DATABASE postgres, {database} TO reader;
         ALTER ROLE reader IN DATABASE {database} SET work_mem = '6MB';
         ALTER DATABASE {database} CONNECTION LIMIT 77"
    ));
    let restored = {
        c.flush();
        c.restore(&[])
    };
    let facts = "SELECT d.datconnlimit, d.datacl, shobj_description(d.oid, 'pg_database'),
            (SELECT array_agg((s.setrole::regrole, s.setconfig)::text ORDER BY s.setrole)
             FROM pg_db_role_setting s WHERE s.setdatabase = d.oid)
        FROM pg_database d WHERE d.datname = current_database()";
    let source = c.sql(facts);
    assert!(
        source.contains("a%b") && source.contains("100%"),
        "{source}"
    );
    assert_eq!(c.sql_in(&restored.database, facts), source);
}

#[test]
fn what_a_concurrent_index_needs_is_named_too() {
    let c = Cluster::backed_up();
    c.sql("SET allow_in_place_tablespaces = on; CREATE TABLESPACE apart LOCATION ''");
    c.sql("CREATE TABLE t (a int PRIMARY KEY)");
    c.sql("SELECT incr_rotate()");
    c.sql("CREATE INDEX CONCURRENTLY i ON t (a) TABLESPACE apart");
    let target = Cluster::builder().start();
    c.flush();
    assert!(c
        .segments()
        .last()
        .is_some_and(|s| !s.comments("tablespace").is_empty()));
    let restored = c.restore_by_program(&target, &[]);
    harness::assert_identical((&c, c.database()), (&target, &restored.database));
}

#[test]
fn what_only_superusers_may_own_is_given_to_one_again() {
    let c = Cluster::backed_up();
    c.sql("CREATE ROLE mighty; CREATE FUNCTION f() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'");
    c.sql("CREATE EVENT TRIGGER e ON ddl_command_end EXECUTE FUNCTION f(); ALTER ROLE mighty SUPERUSER");
    c.sql("ALTER EVENT TRIGGER e OWNER TO mighty");
    c.sql("DROP EVENT TRIGGER e; DROP ROLE mighty");
    c.assert_restores();
}

#[test]
fn what_a_statement_about_all_that_a_role_owns_does_to_the_database_is_done_to_the_restored_one() {
    let c = Cluster::backed_up();
    let is_same = || {
        let restored = c.assert_restores().database;
        let found = differences((&c, c.database()), (&c, &restored));
        assert_eq!(found, []);
    };
    c.sql(
        "CREATE ROLE a; CREATE ROLE b; CREATE ROLE \"o'n%e\"; GRANT CREATE ON DATABASE app TO a WITH GRANT OPTION;
         SET ROLE a; GRANT CREATE ON DATABASE app TO \"o'n%e\"; CREATE SCHEMA s; CREATE TABLE s.t (i int); RESET ROLE",
    );
    is_same();
    c.sql(
        "ALTER DATABASE app OWNER TO a; REASSIGN OWNED BY a TO b; GRANT TEMP ON DATABASE app TO a",
    );
    is_same();
    c.sql("GRANT ALL ON s.t TO a; DROP OWNED BY a; GRANT CONNECT ON DATABASE app TO \"o'n%e\"");
    is_same();
    c.sql("DROP OWNED BY \"o'n%e\"; DROP ROLE \"o'n%e\"");
    is_same();
}
