//! "The roles that I restore are those of another day, and it has changed the ones that I had."
//!
//! With `--globals` the roles that a restore makes are at every point what they were at the source; those that the
//! target had before stay as they are.

use crate::globals::wait_until_at_rest;
use harness::{assert_identical, Cluster, Contents};

/// Everything about roles that a cluster has of its own, a line each.
pub(crate) fn roles(c: &Cluster) -> String {
    let options = if c.version() >= 16 {
        ", m.inherit_option, m.set_option"
    } else {
        ""
    };
    c.sql_in(
        "postgres",
        &format!(
            "SELECT line FROM (
             SELECT concat_ws(' ', rolname, rolsuper, rolinherit, rolcreaterole, rolcreatedb, rolcanlogin, rolreplication,
               rolbypassrls, rolconnlimit, rolpassword, rolvaliduntil, shobj_description(oid, 'pg_authid'),
               (SELECT setconfig FROM pg_db_role_setting WHERE setrole = a.oid AND setdatabase = 0)) FROM pg_authid a WHERE oid >= 16384
             UNION ALL SELECT concat_ws(' ', m.roleid::regrole, 'to', m.member::regrole, 'by', m.grantor::regrole, m.admin_option{options})
               FROM pg_auth_members m WHERE member >= 16384
             UNION ALL SELECT concat_ws(' ', parname, grantee::regrole, privilege_type, is_grantable, grantor::regrole)
               FROM pg_parameter_acl, aclexplode(paracl) WHERE grantee >= 16384
             UNION ALL SELECT concat_ws(' ', spcname, spcowner::regrole, spcacl, spcoptions, shobj_description(oid, 'pg_tablespace'))
               FROM pg_tablespace WHERE oid >= 16384) AS every (line) ORDER BY 1"
        ),
    )
}

struct Point {
    lsn: String,
    roles: String,
    contents: Contents,
}

/// Runs a change elsewhere and waits for its set; gives the point behind it.
fn after(c: &Cluster, elsewhere: &str) -> Point {
    c.sql_in("postgres", elsewhere);
    wait_until_at_rest(c);
    point(c)
}

fn point(c: &Cluster) -> Point {
    Point {
        lsn: c.flush(),
        roles: roles(c),
        contents: Contents::of(c, c.database()).without_sequences(),
    }
}

fn assert_was(c: &Cluster, point: &Point) {
    let target = Cluster::builder().start();
    let restored = c.restore_by_program(&target, &["--globals", "--until-lsn", &point.lsn]);
    assert_eq!(roles(&target), point.roles, "{}", restored.output);
    point.contents.assert_restored(&target, &restored.database);
}

pub(crate) const FIRST: &str = "
    CREATE ROLE team; CREATE ROLE \"De v\" LOGIN PASSWORD 'one' CONNECTION LIMIT 3 VALID UNTIL '2031-01-01';
    CREATE ROLE guest; CREATE ROLE passing; CREATE ROLE swap_a; CREATE ROLE swap_b CREATEDB;
    COMMENT ON ROLE \"De v\" IS E'it''s :dbname\\nCREATE ROLE forged;\\n\\\\! true'; ALTER ROLE \"De v\" SET work_mem = '7MB';
    ALTER ROLE \"De v\" SET search_path = 'a\"b', public; GRANT team TO \"De v\" WITH ADMIN OPTION; GRANT pg_monitor TO team;
    GRANT SET ON PARAMETER log_statement TO \"De v\" WITH GRANT OPTION;
    SET ROLE \"De v\"; GRANT team TO guest; GRANT SET ON PARAMETER log_statement TO guest; RESET ROLE;
    SET allow_in_place_tablespaces = on; CREATE TABLESPACE apart OWNER team LOCATION '';
    GRANT CREATE ON TABLESPACE apart TO guest; COMMENT ON TABLESPACE apart IS 'kept';
    ALTER TABLESPACE apart SET (random_page_cost = 2)";

/// In another database; what it does in ours comes between.
pub(crate) const SECOND: &str = "
    ALTER ROLE \"De v\" RENAME TO developer; ALTER ROLE developer PASSWORD 'two' CONNECTION LIMIT -1;
    COMMENT ON ROLE developer IS NULL; ALTER ROLE developer RESET work_mem; DROP ROLE passing;
    ALTER ROLE swap_a RENAME TO swap_c; ALTER ROLE swap_b RENAME TO swap_a; ALTER ROLE swap_c RENAME TO swap_b;
    REVOKE pg_monitor FROM team; CREATE ROLE late CREATEROLE; GRANT team TO late;
    REVOKE CREATE ON TABLESPACE apart FROM guest; ALTER TABLESPACE apart RESET (random_page_cost)";

/// Memberships have more options from 16 on.
fn grant(c: &Cluster) -> &'static str {
    if c.version() >= 16 {
        "; GRANT swap_a TO guest WITH INHERIT FALSE, SET TRUE"
    } else {
        "; GRANT swap_a TO guest"
    }
}

#[test]
fn roles_are_at_every_point_what_they_were() {
    let c = Cluster::backed_up();
    let first = after(&c, &format!("{FIRST}{}", grant(&c)));
    c.sql(
        "CREATE TABLE t (a int PRIMARY KEY); ALTER TABLE t OWNER TO \"De v\"; GRANT SELECT ON t TO swap_a;
         CREATE TABLE u (a int PRIMARY KEY); ALTER TABLE u OWNER TO swap_b",
    );
    let made = point(&c);
    let second = after(&c, &format!("{SECOND}{}", grant(&c)));
    c.sql("CREATE TABLE v (a int PRIMARY KEY); ALTER TABLE v OWNER TO developer; GRANT SELECT ON v TO swap_a, late");
    let third = after(
        &c,
        "ALTER ROLE late SUPERUSER; ALTER ROLE guest VALID UNTIL '2033-01-01'",
    );
    c.sql(
        "CREATE FUNCTION e() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
         SET ROLE late; CREATE EVENT TRIGGER e ON ddl_command_start EXECUTE FUNCTION e(); RESET ROLE",
    );
    let fourth = after(&c, "ALTER ROLE late NOSUPERUSER; REVOKE team FROM late");
    c.sql("INSERT INTO v VALUES (1)");
    for point in [&first, &made, &second, &third, &fourth] {
        assert_was(&c, point);
    }
}

#[test]
fn what_the_target_had_before_stays_as_it_is_and_is_named() {
    let c = Cluster::backed_up();
    c.sql_in(
        "postgres",
        "CREATE ROLE shared LOGIN PASSWORD 'source'; CREATE ROLE mine LOGIN PASSWORD 'm'; GRANT shared TO mine; CREATE ROLE above; GRANT above TO shared;
         ALTER ROLE shared SET work_mem = '9MB'; CREATE ROLE going",
    );
    c.sql("CREATE TABLE t (a int PRIMARY KEY); ALTER TABLE t OWNER TO shared; GRANT SELECT ON t TO mine");
    wait_until_at_rest(&c);
    c.sql_in(
        "postgres",
        "ALTER ROLE shared SUPERUSER; ALTER ROLE mine SET work_mem = '8MB'; DROP ROLE going",
    );
    wait_until_at_rest(&c);
    c.sql("INSERT INTO t VALUES (1)");
    c.flush();
    let target = Cluster::builder().start();
    target.sql_in("postgres", "CREATE ROLE shared NOLOGIN CONNECTION LIMIT 1; CREATE ROLE going; CREATE ROLE \"other\"; GRANT shared TO other");
    let facts = || {
        target.sql_in(
            "postgres",
            "SELECT a, (SELECT array_agg(m::text) FROM pg_auth_members m WHERE a.oid IN (m.member, m.roleid)),
               (SELECT setconfig FROM pg_db_role_setting WHERE setrole = a.oid)
             FROM pg_authid a WHERE rolname IN ('shared', 'going', 'other', 'postgres') ORDER BY rolname",
        )
    };
    let before = facts();
    let restored = c.restore_by_program(&target, &["--globals"]);
    assert_eq!(facts(), before);
    assert_identical((&c, c.database()), (&target, &restored.database));
    let output = &restored.output;
    let kept = "left as they are, since they were there before: roles going, postgres, shared";
    assert!(output.contains(kept), "{output}");
    let mine = "SELECT rolcanlogin, rolpassword IS NOT NULL, (SELECT setconfig FROM pg_db_role_setting WHERE setrole = a.oid) FROM pg_authid a WHERE rolname = 'mine'";
    assert_eq!(target.sql_in("postgres", mine), "t|t|{work_mem=8MB}");
    // A second restore finds them all, and touches none.
    let before = roles(&target);
    c.sql_in(
        "postgres",
        "ALTER ROLE mine PASSWORD 'other'; ALTER ROLE shared RENAME TO neither",
    );
    wait_until_at_rest(&c);
    let kept = |roles: &str| -> Vec<String> {
        let lines = roles
            .lines()
            .filter(|line| !line.starts_with("at_rest") && !line.starts_with("neither "));
        lines.map(str::to_string).collect()
    };
    c.restore_by_program(&target, &["--globals"]);
    assert_eq!(kept(&roles(&target)), kept(&before));
}

/// Without `--globals` too: what they own and what they are granted goes with them.
#[test]
fn a_role_that_was_renamed_elsewhere_keeps_what_it_has() {
    let c = Cluster::backed_up();
    c.sql_in(
        "postgres",
        "CREATE ROLE one; CREATE ROLE two; CREATE ROLE three",
    );
    c.sql(
        "CREATE TABLE t (a int PRIMARY KEY); ALTER TABLE t OWNER TO one; GRANT SELECT ON t TO two",
    );
    wait_until_at_rest(&c);
    // What names the new name comes before its set, or behind it.
    let mut elsewhere = c.session_in("postgres");
    elsewhere.run("ALTER ROLE one RENAME TO uno; ALTER ROLE two RENAME TO dos");
    c.sql(
        "CREATE TABLE u (a int PRIMARY KEY); ALTER TABLE u OWNER TO uno; GRANT SELECT ON u TO dos",
    );
    wait_until_at_rest(&c);
    elsewhere.run("ALTER ROLE three RENAME TO one");
    wait_until_at_rest(&c);
    c.sql(
        "CREATE TABLE v (a int PRIMARY KEY); ALTER TABLE v OWNER TO one; GRANT SELECT ON t TO one",
    );
    for options in [&[][..], &["--globals"][..]] {
        c.flush();
        let target = Cluster::builder().start();
        // Another restore would find the roles that this one has made.
        let restored = c.restore_by_program(&target, options);
        assert_identical((&c, c.database()), (&target, &restored.database));
    }
}

/// They are for whoever uses the restored database; the restore's own sessions begin with others.
#[test]
fn settings_of_the_database_that_end_every_session_do_not_end_the_restore() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE t (a int PRIMARY KEY); INSERT INTO t VALUES (1)");
    c.sql_in("postgres", "CREATE ROLE guest");
    let mut session = c.session();
    for setting in [
        "session_preload_libraries = 'is_nowhere'",
        "default_transaction_read_only = on",
        "search_path = nowhere",
        "statement_timeout = '1ms'",
        "role = guest",
    ] {
        c.sql_in("postgres", &format!("ALTER DATABASE app SET {setting}"));
        wait_until_at_rest(&c);
        session.run(&format!(
            "INSERT INTO t SELECT 1 + max(a) FROM t; ALTER DATABASE app SET work_mem = '{}MB'",
            setting.len()
        ));
    }
    session.run("SELECT incr_dump()");
    session.run("INSERT INTO t VALUES (100); SELECT incr_flush()");
    let oldest = c.bases()[0]
        .file_name()
        .expect("it has a name")
        .to_string_lossy()
        .into_owned();
    let restored = [&[][..], &["--base", &oldest][..]]
        .map(|options| c.restore_by_script(&c, options).database);
    for database in restored.iter().map(String::as_str).chain(["app"]) {
        c.sql_in("postgres", &format!("ALTER DATABASE {database} RESET ALL"));
    }
    for database in &restored {
        assert_identical((&c, c.database()), (&c, database));
    }
}
