//! More inputs of the kinds of `cases`: rights that a role has no more, settings of roles.

use crate::cases::assert_comes_back;
use crate::globals::wait_until_at_rest;
use harness::{assert_identical, Cluster};

#[test]
fn case_x_a_superuser_that_is_none_any_more() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE ROLE c07_adm SUPERUSER; CREATE ROLE c07_o; SET ROLE c07_adm; CREATE SCHEMA s AUTHORIZATION c07_o;
         CREATE TABLE s.t (id int PRIMARY KEY); ALTER TABLE s.t OWNER TO c07_o; COMMENT ON TABLE s.t IS 'by a superuser';
         CREATE FUNCTION s.f() RETURNS text LANGUAGE internal AS 'textin'; RESET ROLE;
         INSERT INTO s.t VALUES (1); ALTER ROLE c07_adm NOSUPERUSER",
    );
    assert_comes_back(&c);
}

/// What only superusers are given, in the segments and in a base, in either format.
#[test]
fn what_a_superuser_owned_stays_its_own() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE ROLE \"ad m\" SUPERUSER; CREATE ROLE other; SET ROLE \"ad m\";
         CREATE FUNCTION e() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
         CREATE EVENT TRIGGER e ON ddl_command_start EXECUTE FUNCTION e(); COMMENT ON EVENT TRIGGER e IS 'OWNER TO nobody';
         CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w; GRANT USAGE ON FOREIGN DATA WRAPPER w TO other;
         CREATE PUBLICATION p FOR ALL TABLES; CREATE PUBLICATION q FOR TABLES IN SCHEMA public;
         CREATE SUBSCRIPTION sub CONNECTION 'dbname=nowhere' PUBLICATION p WITH (connect = false); RESET ROLE;
         ALTER ROLE \"ad m\" NOSUPERUSER; CREATE TABLE t (a int PRIMARY KEY); ALTER EVENT TRIGGER e DISABLE",
    );
    assert_comes_back(&c);
    let target = Cluster::builder().start();
    c.assert_restores_into(&target);
    let is_superuser = "SELECT count(*) FROM pg_roles WHERE rolsuper AND rolname = 'ad m'";
    assert_eq!(target.sql_in("postgres", is_superuser), "0");
    for format in ["plain", "compressed", "directory"] {
        c.set("pg_incrbackup.base_format", format);
        c.sql("SELECT incr_dump()");
        c.sql("INSERT INTO t SELECT count(*) FROM t");
        assert_comes_back(&c);
        let target = Cluster::builder().start();
        c.assert_restores_into(&target);
        assert_eq!(target.sql_in("postgres", is_superuser), "0");
    }
}

#[test]
fn case_zz_settings_of_roles_stop_neither_base_nor_restore() {
    let c = Cluster::backed_up();
    let mut session = c.session();
    let mut setter = c.session_in("postgres");
    setter.run(
        "CREATE ROLE lim; ALTER ROLE ALL SET statement_timeout = '40ms'; ALTER ROLE ALL SET default_transaction_read_only = on;
         ALTER ROLE postgres SET search_path = nowhere, public; ALTER ROLE ALL SET standard_conforming_strings = off;
         ALTER ROLE ALL SET client_min_messages = 'debug1'; ALTER ROLE postgres SET lock_timeout = '5ms'",
    );
    session.run(
        "CREATE TABLE public.t (id int PRIMARY KEY, v text); INSERT INTO public.t SELECT g, 'x\\y' FROM generate_series(1, 30000) g;
         UPDATE public.t SET v = v || '.'; SELECT incr_dump(); INSERT INTO public.t VALUES (0, 'a\\b'); SELECT incr_flush()",
    );
    let oldest = c.bases()[0]
        .file_name()
        .expect("it has a name")
        .to_string_lossy()
        .into_owned();
    let restored = [&[][..], &["--base", &oldest][..]].map(|options: &[&str]| c.restore(options));
    setter.run("ALTER ROLE ALL RESET ALL; ALTER ROLE postgres RESET ALL");
    for restored in restored {
        assert!(!restored.output.contains("DEBUG"), "{}", restored.output);
        assert_identical((&c, c.database()), (&c, &restored.database));
    }
    let health = c.health();
    assert!(!health.starts_with("emergency"), "{health}");
}

/// Whoever may, at the source, by what a session elsewhere did a moment ago.
#[test]
fn what_a_new_owner_does_to_the_database_comes_back() {
    let c = Cluster::backed_up();
    c.sql_in(
        "postgres",
        "CREATE ROLE owner3; CREATE ROLE guest; CREATE ROLE other; ALTER DATABASE app OWNER TO owner3; GRANT CREATE ON DATABASE app TO guest WITH GRANT OPTION",
    );
    c.sql(
        "SET ROLE owner3; ALTER DATABASE app SET work_mem = '9MB'; COMMENT ON DATABASE app IS 'mine'; GRANT CONNECT ON DATABASE app TO guest;
         ALTER DATABASE app CONNECTION LIMIT 77; SET ROLE guest; GRANT CREATE ON DATABASE app TO other;
         SET ROLE owner3; ALTER DATABASE app OWNER TO owner3; REVOKE TEMPORARY ON DATABASE app FROM PUBLIC",
    );
    c.sql_in("postgres", "ALTER DATABASE app OWNER TO postgres");
    // What other databases' sessions did is in a set of globals, not at once.
    wait_until_at_rest(&c);
    assert_comes_back(&c);
    let target = Cluster::builder().start();
    let facts = |c: &Cluster, database: &str| {
        c.sql_in(
            database,
            "SELECT pg_get_userbyid(datdba), datconnlimit, datacl, shobj_description(d.oid, 'pg_database'),
               (SELECT setconfig FROM pg_db_role_setting WHERE setdatabase = d.oid AND setrole = 0)
             FROM pg_database d WHERE datname = current_database()",
        )
    };
    for options in [&[][..], &["--globals"][..]] {
        let restored = c.restore_by_program(&target, options).database;
        assert_eq!(facts(&target, &restored), facts(&c, "app"));
    }
}
