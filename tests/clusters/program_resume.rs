//! "It was killed after nine hours, and I had to begin anew." A restore that was killed goes on where its last commit
//! ended, applies every transaction once, and is never taken for another one.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use fastrand::Rng;
use harness::{assert_identical, program_command, wait_until, Cluster};

use crate::globals::wait_until_at_rest;
use crate::program_restore::restore;
use crate::roles_over_time::{roles, FIRST, SECOND};

/// What the base has: each kind of entry that is loaded in a way of its own.
const BASE: &str = "
    CREATE TABLE parts (a int, b text) PARTITION BY LIST (a); CREATE TABLE part_1 PARTITION OF parts FOR VALUES IN (1);
    CREATE TABLE plain (a int PRIMARY KEY, b text); INSERT INTO plain SELECT i, repeat('x', 100) FROM generate_series(1, 3000) i;
    CREATE TABLE log (what text, at int); CREATE TABLE keyless (a int, b text, c text);
    INSERT INTO keyless SELECT i, md5(i::text), repeat('y', 500) FROM generate_series(1, 4000) i;
    CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO public.log VALUES (TG_NAME, coalesce(NEW.a, OLD.a)); RETURN NULL; END $$;
    CREATE TRIGGER noted AFTER INSERT ON plain FOR EACH ROW EXECUTE FUNCTION note(); ALTER TABLE plain ENABLE ALWAYS TRIGGER noted;
    CREATE MATERIALIZED VIEW sums AS SELECT count(*), sum(a) FROM plain; CREATE MATERIALIZED VIEW over_sums AS SELECT * FROM sums;
    CREATE SEQUENCE numbers; SELECT nextval('numbers') FROM generate_series(1, 50);
    SELECT lo_from_bytea(900000 + i, decode(repeat(md5(i::text), 200), 'hex')) FROM generate_series(1, 5) i;
    CREATE EVENT TRIGGER watch ON ddl_command_end EXECUTE FUNCTION watched(); ALTER EVENT TRIGGER watch ENABLE ALWAYS;
    CREATE TABLE late_check (a int); INSERT INTO late_check VALUES (-1); ALTER TABLE late_check ADD CHECK (a > 0) NOT VALID;
    CREATE TABLE owned (a int PRIMARY KEY); ALTER TABLE owned OWNER TO \"De v\"; CREATE TABLE elsewhere (a int) TABLESPACE apart";

/// Many transactions, with schema changes between them.
pub fn change(c: &Cluster) {
    c.sql(
        "DO $$ BEGIN FOR i IN 1 .. 2500 LOOP
            INSERT INTO plain VALUES (10000 + i, 'new'); UPDATE plain SET b = b || '.' WHERE a = i % 3000 + 1; COMMIT;
         END LOOP; END $$",
    );
    c.sql("ALTER TABLE plain ADD COLUMN c int DEFAULT 7; CREATE INDEX ON plain (b)");
    c.sql(
        "ALTER TABLE plain DISABLE TRIGGER noted; ALTER TABLE plain ENABLE REPLICA TRIGGER noted",
    );
    c.sql(
        "DO $$ BEGIN FOR i IN 1 .. 300 LOOP
            UPDATE keyless SET c = 'found' WHERE a = i; DELETE FROM keyless WHERE a = 3000 + i; COMMIT; END LOOP; END $$",
    );
    c.sql("SELECT lo_put(900001, 10, 'changed'), lo_from_bytea(900100, 'new'), lo_unlink(900002)");
    c.sql("SELECT nextval('numbers') FROM generate_series(1, 70); INSERT INTO late_check VALUES (1), (2)");
    c.sql_in("postgres", SECOND);
    wait_until_at_rest(c);
    c.sql("INSERT INTO parts SELECT 1, i::text FROM generate_series(1, 500) i; ALTER TABLE owned ADD b int");
    c.sql("CREATE MATERIALIZED VIEW late AS SELECT * FROM parts; REFRESH MATERIALIZED VIEW sums");
    c.sql(
        "DO $$ BEGIN FOR i IN 1 .. 400 LOOP EXECUTE format('CREATE TABLE %I (a int PRIMARY KEY)', 'made_' || i % 20);
            EXECUTE format('INSERT INTO %I VALUES (%s)', 'made_' || i % 20, i);
            IF i < 390 THEN EXECUTE format('DROP TABLE %I', 'made_' || i % 20); END IF; COMMIT; END LOOP; END $$",
    );
    c.sql("SELECT incr_rotate()");
    c.sql("INSERT INTO plain SELECT 20000 + i FROM generate_series(1, 200) i; UPDATE keyless SET c = 'last' WHERE a = 5");
}

/// [`BASE`], backed up.
pub fn rich_base() -> Cluster {
    let mut builder = Cluster::builder();
    if builder.installation().version == 18 {
        builder = builder.setting("pg_incrbackup.base_format", "'directory'");
    }
    let c = builder.start();
    c.sql_in("postgres", FIRST);
    c.sql("CREATE FUNCTION watched() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'");
    c.sql(BASE);
    c.sql("CREATE EXTENSION pg_incrbackup");
    c.sql("SELECT * FROM incr_setup()");
    c
}

fn rich() -> Cluster {
    let c = rich_base();
    change(&c);
    c.flush();
    c
}

fn start(c: &Cluster, target: &Cluster, database: &str, options: &[&str]) -> Child {
    let archive = c.database_directory();
    let conninfo = target.conninfo(database);
    let mut command = program_command();
    command
        .args(["--json", "restore", "--archive"])
        .arg(archive);
    command.args(["--target", &conninfo]).args(options);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("the program can be run")
}

/// How the program ends by itself: its exit status, and all that it said.
fn end(child: Child) -> (Option<i32>, String) {
    let output = child.wait_with_output().expect("it was started");
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.code(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

/// What is killed.
#[derive(Debug, Clone, Copy)]
enum Victim {
    Program,
    /// The server process of one of its connections.
    Connection,
    Server,
}

/// Kills it at a random moment, unless the restore ends before.
fn kill(target: &Cluster, child: &mut Child, victim: Victim, moment: Duration) {
    let begun = Instant::now();
    while begun.elapsed() < moment {
        if child.try_wait().expect("it was started").is_some() {
            return;
        }
        std::thread::yield_now();
    }
    match victim {
        Victim::Program => drop(child.kill()),
        Victim::Connection => drop(target.sql_in(
            "postgres",
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname LIKE '%.restoring' ORDER BY random() LIMIT 1",
        )),
        Victim::Server => {
            target.crash();
            target.start();
        }
    }
}

/// The number that an answer of the program has.
fn number(said: &str, field: &str) -> u64 {
    let value = said.split(&format!("\"{field}\":")).nth(1);
    let digits: String = value
        .unwrap_or_default()
        .chars()
        .take_while(char::is_ascii_digit)
        .collect();
    digits
        .parse()
        .unwrap_or_else(|_| panic!("no {field}: {said}"))
}

/// Restores with so many kills; the transactions that the run which was not killed says are applied. Of `options` each run
/// has one, in turn.
pub fn with_kills(c: &Cluster, target: &Cluster, kills: u32, seed: u64, options: &[&[&str]]) {
    let mut dice = Rng::with_seed(seed);
    let mut options = options.iter().cycle();
    let begun = Instant::now();
    let (status, said) = end(start(c, target, "whole", &["--globals"]));
    assert_eq!(status, Some(0), "{said}");
    let duration = begun.elapsed();
    let whole = number(&said, "transactions");
    let whole_roles = roles(target);
    assert_identical((c, c.database()), (target, "whole"));
    let (mut done, mut restores, mut resumed) = (0, 0, 0);
    while done < kills {
        drop_roles(target, &["whole", "killed"]);
        restores += 1;
        loop {
            let others = options.next().copied().unwrap_or_default();
            let options = [&["--globals"], others].concat();
            let mut child = start(c, target, "killed", &options);
            let part = duration.mul_f64(0.3 * dice.f64());
            let victim = match dice.u32(0..25) {
                0 => Victim::Server,
                1..=4 => Victim::Connection,
                _ => Victim::Program,
            };
            if done < kills {
                kill(target, &mut child, victim, part);
            }
            let (status, said) = end(child);
            resumed += u32::from(said.contains("\"resumes\""));
            match status {
                Some(0) => {
                    if said.contains("\"transactions\":") && said.contains("\"sequence_positions\"")
                    {
                        let answer = said.lines().find(|line| line.contains("\"done\":true"));
                        let applied = number(answer.unwrap_or_default(), "transactions");
                        assert_eq!(applied, whole, "seed {seed}: {said}");
                    }
                    break;
                }
                Some(status) => assert!(
                    status == 1 && !matches!(victim, Victim::Program),
                    "seed {seed}, {victim:?} after {part:?}: {said}"
                ),
                None => {}
            }
            done += 1;
        }
        assert_identical((c, c.database()), (target, "killed"));
        assert_eq!(roles(target), whole_roles, "seed {seed}");
        let left = "SELECT count(*) FROM pg_namespace WHERE nspname = 'incr_restore'";
        assert_eq!(target.sql_in("killed", left), "0");
        let left = "SELECT count(*) FROM pg_db_role_setting AS s JOIN pg_database AS d ON d.oid = setdatabase
            WHERE setconfig::text LIKE '%incr_restore%' OR datname LIKE '%.restoring' OR datconnlimit > 0";
        assert_eq!(target.sql_in("postgres", left), "0");
    }
    println!(
        "{done} kills, after which {resumed} runs went on, in {restores} restores of {duration:?}"
    );
    // On a machine that is busier than it was at first many are killed before anything is there to go on with.
    assert!(
        resumed >= kills / 5,
        "seed {seed}: after {done} kills {resumed} runs went on"
    );
}

/// Drops databases and all roles and tablespaces that a restore made.
fn drop_roles(target: &Cluster, databases: &[&str]) {
    for database in databases {
        target.sql_in("postgres", &format!("DROP DATABASE IF EXISTS {database}"));
    }
    target.sql_in(
        "postgres",
        "DO $$ DECLARE r record; BEGIN
            FOR r IN SELECT parname, grantee::regrole AS name FROM pg_parameter_acl, aclexplode(paracl) WHERE grantee >= 16384 LOOP
                EXECUTE format('REVOKE ALL ON PARAMETER %I FROM %s CASCADE', r.parname, r.name); END LOOP;
            FOR r IN SELECT spcname, spcowner::regrole AS name FROM pg_tablespace WHERE oid >= 16384 LOOP
                EXECUTE format('ALTER TABLESPACE %I OWNER TO postgres', r.spcname);
                EXECUTE format('DROP OWNED BY %s', r.name);  END LOOP;
            FOR r IN SELECT rolname FROM pg_roles WHERE oid >= 16384 LOOP EXECUTE format('DROP OWNED BY %I CASCADE', r.rolname); END LOOP;
            FOR r IN SELECT rolname FROM pg_roles WHERE oid >= 16384 LOOP EXECUTE format('DROP ROLE %I', r.rolname); END LOOP;
         END $$",
    );
    let spaces = target.sql_in(
        "postgres",
        "SELECT string_agg(format('DROP TABLESPACE %I', spcname), '; ') FROM pg_tablespace WHERE oid >= 16384",
    );
    for statement in spaces.split("; ").filter(|statement| !statement.is_empty()) {
        target.sql_in("postgres", statement);
    }
}

#[test]
fn fifty_kills_at_random_moments_lose_nothing_and_repeat_nothing() {
    let c = rich();
    let target = Cluster::builder().start();
    let kills = if c.version() == 15 { 50 } else { 10 };
    let seed = std::env::var("SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    with_kills(&c, &target, kills, seed.unwrap_or(20261129), &[]);
}

/// A check that refuses rows anywhere but at the source.
pub const GUARDED: &str = "CREATE FUNCTION refuse(int) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN
     RETURN current_database() = 'app' OR $1 < 10; END $$;
     CREATE TABLE guarded (a int CHECK (refuse(a))); INSERT INTO guarded VALUES (1), (11)";

/// What somebody does who wants it to go on.
pub const MENDED: &str =
    "CREATE OR REPLACE FUNCTION refuse(int) RETURNS bool LANGUAGE sql AS 'SELECT true'";

#[test]
fn a_restore_that_failed_goes_on_by_the_same_command_line_only() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE before (a int); INSERT INTO before SELECT generate_series(1, 500)");
    c.sql(GUARDED);
    c.flush();
    let (status, said) = restore(&c, "stopped", &[]);
    assert_eq!(status, 1, "{said}");
    assert!(
        said.contains("the same command line goes on with it"),
        "{said}"
    );
    // An archive that has grown gives a later moment.
    c.sql("INSERT INTO before VALUES (501)");
    let lsn = c.flush();
    for options in [
        &["--until-lsn", &lsn[..]][..],
        &["--chain", "1"],
        &["--globals"],
    ] {
        let (status, said) = restore(&c, "stopped", options);
        assert_eq!(status, 1, "{said}");
        assert!(said.contains("it was begun without options"), "{said}");
    }
    let (status, said) = restore(&c, "stopped.restoring", &[]);
    assert_eq!(status, 1, "{said}");
    assert!(said.contains("it was begun as \"stopped\""), "{said}");
    c.sql_in("stopped.restoring", MENDED);
    let (status, said) = restore(&c, "stopped", &["--dry-run"]);
    assert_eq!(status, 0, "{said}");
    assert!(said.contains("resumes   "), "{said}");
    // All is there, but somebody is in the way of its name.
    let mut guest = c.session_in("stopped.restoring");
    guest.run("SELECT 1");
    let (status, said) = restore(&c, "stopped", &[]);
    assert_eq!(status, 1, "{said}");
    assert!(said.contains("could not be renamed"), "{said}");
    let (status, said) = restore(&c, "stopped", &["--globals"]);
    assert_eq!(status, 1, "{said}");
    assert!(said.contains("is another one"), "{said}");
    drop(guest);
    wait_until("the guest has left", || {
        c.sql_in(
            "postgres",
            "SELECT count(*) FROM pg_stat_activity WHERE datname = 'stopped.restoring'",
        ) == "0"
    });
    let (status, said) = restore(&c, "stopped", &[]);
    assert_eq!(status, 0, "{said}");
    assert!(said.contains("was restored by an earlier run"), "{said}");
    let rows = "SELECT count(*), max(a), (SELECT count(*) FROM guarded) FROM before";
    assert_eq!(c.sql_in("stopped", rows), "501|501|2");
}

#[test]
fn a_database_that_was_given_goes_on_and_lets_nobody_in_before_the_end() {
    let c = Cluster::backed_up();
    c.sql(GUARDED);
    c.flush();
    let lets_in = "SELECT has_database_privilege('guest', 'given', 'CONNECT')";
    c.sql_in(
        "postgres",
        "CREATE ROLE guest; CREATE DATABASE given TEMPLATE template0",
    );
    let (status, said) = restore(&c, "given", &[]);
    assert_eq!(status, 1, "{said}");
    assert_eq!(c.sql_in("postgres", lets_in), "f");
    c.sql_in("given", MENDED);
    let (status, said) = restore(&c, "given", &[]);
    assert_eq!(status, 0, "{said}");
    assert!(said.contains("resumes   "), "{said}");
    assert_eq!(c.sql_in("postgres", lets_in), "t");
    assert_eq!(c.sql_in("given", "SELECT count(*) FROM guarded"), "2");
    let (status, said) = restore(&c, "given", &[]);
    assert_eq!(status, 1, "{said}");
    assert!(said.contains("is not empty"), "{said}");
}
