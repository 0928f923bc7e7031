//! "An owner of a table became superuser of production, by the drill." A drill restores on a server of its own,
//! as a role that may do nothing there but own what is restored; what such a role can't make is left out and
//! named, and neither the server nor its directory outlives the drill.

use crate::drill::drill;
use crate::drill_forge::Damage;
use harness::{give_to_server_user, wait_until, Cluster};
use std::fs;
use std::path::PathBuf;

/// Where throwaway servers are.
fn drills_directory(c: &Cluster) -> PathBuf {
    c.root().join("archive").join(".drills")
}

/// Nothing is left of a drill's server.
pub fn assert_no_server_is_left(c: &Cluster) {
    let left = fs::read_dir(drills_directory(c)).map_or(0, |found| found.count());
    assert_eq!(left, 0, "no directory is left");
    assert!(servers(c).is_empty(), "no process is left");
}

/// What processes of throwaway servers of this cluster call themselves.
pub fn servers(c: &Cluster) -> Vec<String> {
    let place = drills_directory(c);
    let mut found = Vec::new();
    for process in fs::read_dir("/proc").expect("it can be read").flatten() {
        let directory = fs::read_link(process.path().join("cwd")).unwrap_or_default();
        if directory.starts_with(&place) {
            let title = fs::read(process.path().join("cmdline")).unwrap_or_default();
            let title = String::from_utf8_lossy(&title);
            found.push(title.trim_matches(['\0', ' ']).to_string());
        }
    }
    found
}

/// A function that tries everything that a superuser may, wherever it is not at home, and notes nothing.
fn with_traps(c: &Cluster) -> PathBuf {
    let proof = c.root().join("pwned");
    let attack = format!(
        "CREATE ROLE mallory LOGIN; GRANT CREATE ON SCHEMA public TO mallory;
         SET ROLE mallory;
         CREATE FUNCTION trap() RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
         DECLARE attempt text; BEGIN
           IF current_database() = 'app' THEN RETURN 'home'; END IF;
           FOREACH attempt IN ARRAY ARRAY[
             'RESET ROLE', 'RESET SESSION AUTHORIZATION', 'SET ROLE postgres', 'ALTER ROLE mallory SUPERUSER',
             'ALTER ROLE postgres SUPERUSER', 'GRANT pg_execute_server_program TO mallory',
             'GRANT pg_execute_server_program TO postgres', 'GRANT pg_write_server_files TO postgres',
             'ALTER ROLE pg_execute_server_program NOSUPERUSER', 'CREATE ROLE evil SUPERUSER', 'SET ROLE pg_execute_server_program',
             'UPDATE pg_authid SET rolsuper = true', 'UPDATE pg_authid SET rolsuper = false WHERE rolname = ''pg_write_server_files''',
             'COPY (SELECT 1) TO PROGRAM ''touch {0}''', 'COPY (SELECT 1) TO ''{0}''', 'SELECT pg_read_file(''/etc/passwd'')',
             'CREATE EXTENSION IF NOT EXISTS plpython3u', 'CREATE FUNCTION public.c() RETURNS int LANGUAGE internal AS ''int4in''',
             'ALTER SYSTEM SET archive_command = ''touch {0}''', 'SELECT lo_export(lo_from_bytea(0, ''x''), ''{0}'')'] LOOP
             BEGIN EXECUTE attempt;
               EXCEPTION WHEN OTHERS THEN NULL; END;
           END LOOP; RETURN 'away'; END $$;
         CREATE TABLE traps (a int, b text DEFAULT trap(), CHECK (trap() IS NOT NULL));
         CREATE INDEX ON traps ((trap()));
         INSERT INTO traps VALUES (1);
         CREATE FUNCTION trigger_trap() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM trap(); RETURN new; END $$;
         CREATE TRIGGER always BEFORE INSERT ON traps FOR EACH ROW EXECUTE FUNCTION trigger_trap();
         ALTER TABLE traps ENABLE ALWAYS TRIGGER always",
        proof.display()
    )
    .replace("{0}", &proof.display().to_string());
    c.sql(&attack);
    proof
}

#[test]
fn code_of_an_owner_in_the_source_is_nobody_where_a_drill_runs_it() {
    let c = Cluster::backed_up();
    let proof = with_traps(&c);
    c.sql("SELECT incr_dump(); SET ROLE mallory; INSERT INTO traps VALUES (2); CREATE INDEX late ON traps ((trap() || a)); INSERT INTO traps VALUES (3)");
    let superusers = "SELECT string_agg(rolname, ' ') FROM pg_roles WHERE rolsuper";
    let before = c.sql(superusers);
    let found = c.sql("SELECT result, problems, left_out, rows FROM incr_drill()");
    assert_eq!(c.sql(superusers), before, "nobody became a superuser");
    assert!(!proof.exists(), "no program has run");
    assert_eq!(found, "passed|{}|{}|3");
    assert_no_server_is_left(&c);
}

#[test]
fn no_function_of_an_extension_runs_restored_code_as_the_superuser() {
    let c = Cluster::backed_up();
    let proof = c.root().join("pwned");
    c.installation().install_extension(
        "drill_definer",
        "CREATE TABLE noted (a text);
         CREATE FUNCTION note(t text) RETURNS void LANGUAGE sql SECURITY DEFINER
         SET search_path = public, pg_temp AS $$ INSERT INTO noted VALUES (t) $$;\n",
    );
    // A trigger on the extension's table, which is the restoring role's.
    let attack = "CREATE EXTENSION drill_definer SCHEMA public;
        CREATE FUNCTION trap() RETURNS bool LANGUAGE plpgsql AS $t$ BEGIN
          IF current_database() <> 'app' AND to_regprocedure('public.evil()') IS NULL THEN
            RESET ROLE;
            CREATE FUNCTION public.evil() RETURNS trigger LANGUAGE plpgsql AS $e$ BEGIN
              IF current_user = session_user THEN RETURN new; END IF;
              COPY (SELECT 1) TO PROGRAM 'touch {0}'; RETURN new; END $e$;
            CREATE TRIGGER evil BEFORE INSERT ON public.noted FOR EACH ROW EXECUTE FUNCTION public.evil();
            ALTER TABLE public.noted ENABLE ALWAYS TRIGGER evil;
            PERFORM public.note('x');
            DROP TRIGGER evil ON public.noted; DELETE FROM public.noted;
          END IF; RETURN true; END $t$;
        CREATE TABLE traps (a int, CHECK (trap())); INSERT INTO traps VALUES (1); SELECT incr_dump()";
    c.sql(&attack.replace("{0}", &proof.display().to_string()));
    let found = drill(&c);
    assert!(!proof.exists(), "a program has run: {found}");
    assert!(
        found.contains("FUNCTION public.evil(): only restored") && !found.contains("restore: "),
        "the trap has sprung: {found}"
    );
    assert_no_server_is_left(&c);
}

#[test]
fn what_only_a_superuser_can_make_is_left_out_and_named() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE FUNCTION fast(int) RETURNS int LANGUAGE internal IMMUTABLE STRICT AS 'int4abs';
         CREATE TABLE t (a int); INSERT INTO t VALUES (1);
         CREATE TABLE needy (a int, b int DEFAULT fast(-1)); INSERT INTO needy VALUES (1);
         CREATE VIEW seen AS SELECT fast(a) FROM t;
         CREATE EXTENSION dblink; CREATE EXTENSION hstore SCHEMA public; CREATE TABLE h (a hstore); INSERT INTO h VALUES ('a=>1');
         CREATE FUNCTION noted() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN END $$;
         CREATE EVENT TRIGGER noting ON ddl_command_end EXECUTE FUNCTION noted();
         CREATE FOREIGN DATA WRAPPER mine; SELECT incr_dump();
         INSERT INTO t VALUES (2); INSERT INTO needy VALUES (2, 3); UPDATE needy SET a = 5 WHERE a = 1; INSERT INTO t VALUES (3)",
    );
    let found = c.sql("SELECT result, problems, rows FROM incr_drill()");
    assert_eq!(found, "passed|{}|4");
    let left = c.sql("SELECT unnest(left_out) FROM incr_drill()");
    for name in [
        "FUNCTION public.fast(integer)",
        "TABLE public.needy",
        "VIEW public.seen",
        "EVENT TRIGGER noting",
        "FOREIGN DATA WRAPPER mine",
    ] {
        assert!(left.lines().any(|line| line == name), "{name}: {left}");
    }
    assert!(
        !left.contains("TABLE public.t") && !left.contains("TABLE public.h"),
        "{left}"
    );
    // The same where the increments make it.
    c.sql("CREATE FUNCTION later(int) RETURNS int LANGUAGE internal IMMUTABLE STRICT AS 'int4abs'; CREATE TABLE late (a int DEFAULT later(1)); INSERT INTO late VALUES (1), (2); UPDATE late SET a = 3 WHERE a = 1; INSERT INTO t VALUES (4)");
    let found = c.sql(
        "SELECT result, problems, rows, left_out::text ~ 'TABLE public.late' FROM incr_drill()",
    );
    assert_eq!(found, "passed|{}|5|t");
    assert!(c.health().starts_with("ok"), "{}", c.health());
    // Something else that differs is a failure beside it.
    let damage = Damage::new(&c, &[]);
    let insert = |value: u8| format!("INSERT INTO public.t (a) VALUES ({value})");
    damage.swap(&damage.open(), &insert(4), &insert(9));
    let found = drill(&c);
    assert!(
        found.starts_with("failed|")
            && found.contains("public.t has the same number of rows, but different contents"),
        "{found}"
    );
    assert_no_server_is_left(&c);
}

/// Their rows are not compared, and why their query fails is nothing that the archive has done.
#[test]
fn a_materialized_view_that_cannot_be_filled_is_named_and_is_no_failure() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE FUNCTION at_home() RETURNS int LANGUAGE plpgsql AS $$ BEGIN
           IF current_database() <> 'app' THEN RAISE 'not here' USING ERRCODE = '08001'; END IF; RETURN 1; END $$;
         CREATE TABLE t (a int); INSERT INTO t VALUES (0);
         CREATE MATERIALIZED VIEW divided AS SELECT 1 / a AS b FROM t WITH NO DATA;
         UPDATE t SET a = 1; REFRESH MATERIALIZED VIEW divided; UPDATE t SET a = 0;
         CREATE MATERIALIZED VIEW files AS SELECT length(pg_read_file('PG_VERSION')) AS n;
         CREATE MATERIALIZED VIEW away AS SELECT at_home() AS n; SELECT incr_dump()",
    );
    let call = "SELECT result, problems, rows, array_to_string(left_out, '; ') FROM incr_drill()";
    let found = c.sql(call);
    assert!(found.starts_with("passed|{}|1|"), "{found}");
    for (view, code) in [("divided", "22012"), ("files", "42501"), ("away", "08001")] {
        let named = format!("no rows: REFRESH MATERIALIZED VIEW public.{view}: ");
        assert!(found.contains(&named) && found.contains(code), "{found}");
    }
    assert!(c.health().starts_with("ok"), "{}", c.health());
}

#[test]
fn a_drill_that_takes_longer_than_it_may_is_ended_and_is_an_alarm() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE FUNCTION slow(int) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN
           IF current_database() <> 'app' THEN PERFORM pg_sleep(3600); END IF; RETURN true; END $$;
         CREATE TABLE t (a int CHECK (public.slow(a))); INSERT INTO t VALUES (1); SELECT incr_dump()",
    );
    c.set("pg_incrbackup.drill_timeout", "'4s'");
    wait_until("the setting is read", || {
        c.sql("SHOW pg_incrbackup.drill_timeout") == "4s"
    });
    let found = c.sql("SELECT result, problems::text ~ 'drill_timeout' FROM incr_drill()");
    assert_eq!(found, "timed out|t");
    assert_no_server_is_left(&c);
    let health = c.health();
    assert!(
        health.starts_with("critical") && health.contains("timed out"),
        "{health}"
    );
    c.set("pg_incrbackup.drill_timeout", "0");
    c.sql("CREATE OR REPLACE FUNCTION slow(int) RETURNS bool LANGUAGE sql AS 'SELECT true'; SELECT incr_dump()");
    wait_until("the setting is read", || {
        c.sql("SHOW pg_incrbackup.drill_timeout") == "0"
    });
    assert_eq!(drill(&c), "passed|{}");
    assert!(c.health().starts_with("ok"), "{}", c.health());
}

/// What a role that is not the owner's superuser meets: schemas of others, row security, constraints that are
/// not valid, triggers that fire always, owners that may not create, names that have to be quoted, renames.
#[test]
fn what_belongs_to_many_roles_comes_back_as_theirs() {
    let c = Cluster::backed_up();
    c.sql(
        r#"CREATE ROLE "o'neill: x"; CREATE ROLE second SUPERUSER; CREATE ROLE old; CREATE ROLE member IN ROLE "o'neill: x";
           CREATE SCHEMA his AUTHORIZATION "o'neill: x"; CREATE SCHEMA ext; CREATE EXTENSION citext SCHEMA ext;
           CREATE TABLE his.t (a int PRIMARY KEY, b ext.citext); ALTER TABLE his.t OWNER TO old;
           ALTER TABLE his.t ENABLE ROW LEVEL SECURITY; ALTER TABLE his.t FORCE ROW LEVEL SECURITY;
           INSERT INTO his.t VALUES (1, 'a'), (2, 'b');
           CREATE TABLE checked (a int); INSERT INTO checked VALUES (-1); ALTER TABLE checked ADD CHECK (a > 0) NOT VALID;
           CREATE TABLE logged (a int); CREATE FUNCTION log() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.logged VALUES (1); RETURN new; END $$;
           CREATE TRIGGER always AFTER INSERT OR UPDATE ON his.t FOR EACH ROW EXECUTE FUNCTION log(); ALTER TABLE his.t ENABLE ALWAYS TRIGGER always;
           GRANT SELECT ON his.t TO member; SELECT lo_from_bytea(77, 'large');
           SELECT incr_dump();
           ALTER ROLE old RENAME TO new; UPDATE his.t SET b = 'c' WHERE a = 1; DELETE FROM his.t WHERE a = 2; INSERT INTO his.t VALUES (3, 'z');
           CREATE TABLE his.later (a int); ALTER TABLE his.later OWNER TO new; INSERT INTO his.later VALUES (1), (2), (3); UPDATE his.later SET a = 7 WHERE a = 3;
           CREATE SCHEMA more AUTHORIZATION new; CREATE TABLE more.t AS SELECT 1 AS a; ALTER TABLE more.t OWNER TO new;
           GRANT INSERT ON more.t TO member; ALTER TABLE checked ALTER a TYPE numeric USING a * 2"#,
    );
    c.sql("SET ROLE new; CREATE TABLE more.own (a int); INSERT INTO more.own VALUES (5)");
    let found = c.sql("SELECT result, problems, left_out FROM incr_drill()");
    assert_eq!(found, "passed|{}|{}");
    assert_no_server_is_left(&c);
}

/// The server of a drill has the tablespaces that the source has, and had at its bases.
#[test]
fn what_is_in_a_tablespace_that_was_renamed_is_where_it_is_at_the_source() {
    let c = Cluster::backed_up();
    let mut session = c.session();
    session.run("SET allow_in_place_tablespaces = on");
    session.run("CREATE TABLESPACE \"o;ld\" LOCATION ''");
    session.run(
        "CREATE TABLE t (a int PRIMARY KEY USING INDEX TABLESPACE \"o;ld\") TABLESPACE \"o;ld\"",
    );
    session.run("INSERT INTO t VALUES (1)");
    session.run("SELECT incr_dump()");
    session.run("ALTER TABLESPACE \"o;ld\" RENAME TO new");
    session.run("CREATE TABLE u (a int) TABLESPACE new");
    session.run("INSERT INTO u VALUES (2)");
    // One of another database, with a name that is none in this one's encoding.
    session.run("CREATE DATABASE narrow TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'");
    let mut narrow = c.session_in("narrow");
    narrow.run("SET client_encoding = 'UTF8'; SET allow_in_place_tablespaces = on");
    narrow.run("CREATE TABLESPACE größe LOCATION ''");
    let found = c.sql("SELECT result, problems, left_out, rows FROM incr_drill()");
    assert_eq!(found, "passed|{}|{}|2");
}

#[test]
fn a_drill_that_cannot_run_the_program_says_where_it_comes_from() {
    let c = Cluster::backed_up();
    let elsewhere = c.root().join("elsewhere");
    fs::create_dir(&elsewhere).expect("it can be made");
    for name in ["psql", "pg_dump", "pg_restore", "pg_dumpall"] {
        let from = c.installation().bin().join(name);
        std::os::unix::fs::symlink(from, elsewhere.join(name)).expect("it can be made");
    }
    give_to_server_user(&elsewhere);
    c.set(
        "pg_incrbackup.bin_directory",
        &format!("'{}'", elsewhere.display()),
    );
    wait_until("the setting is read", || {
        c.sql("SHOW pg_incrbackup.bin_directory") == elsewhere.to_string_lossy()
    });
    assert_eq!(drill(&c), "passed|{}", "the server's own directory has one");
    fs::write(elsewhere.join("pg_incrbackup"), "").expect("it can be written");
    let found = drill(&c);
    assert!(
        found.starts_with("not done|") && found.contains("make install"),
        "{found}"
    );
    assert_no_server_is_left(&c);
    assert!(c.health().starts_with("warning"), "{}", c.health());
    // Without a restore the files are checked all the same.
    let damage = Damage::new(&c, &[]);
    damage.swap(&damage.newest("globals.sql"), "CREATE ROLE", "CREATE ROLL");
    let found = drill(&c);
    assert!(
        found.starts_with("failed|")
            && found.contains("globals.sql")
            && found.contains("make install"),
        "{found}"
    );
}

#[test]
fn drills_of_several_databases_do_not_meet() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE t (a int); INSERT INTO t VALUES (1)");
    c.sql_in("postgres", "CREATE DATABASE \"an 'odd' \\ name\"");
    c.sql_in(
        "an 'odd' \\ name",
        "CREATE EXTENSION pg_incrbackup; SELECT * FROM incr_setup(); CREATE TABLE u (a int); INSERT INTO u VALUES (1), (2)",
    );
    let mut first = c.session();
    first.send("SELECT result, rows FROM incr_drill()");
    let second = c.sql_in("an 'odd' \\ name", "SELECT result, rows FROM incr_drill()");
    assert_eq!(
        (first.finish().as_str(), second.as_str()),
        ("passed|1", "passed|2")
    );
    assert_no_server_is_left(&c);
}
