//! "I have no superuser there." A role that owns an empty database and nothing else restores it.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Output;

use harness::{program_command, run, Cluster};

/// A role without any grant, and an empty database that it owns.
pub struct Plain<'a> {
    pub cluster: &'a Cluster,
    pub database: String,
}

impl<'a> Plain<'a> {
    /// A new database; the role `plain` is made if it is missing.
    pub fn new(cluster: &'a Cluster, database: &str) -> Plain<'a> {
        let role = "SELECT FROM pg_roles WHERE rolname = 'plain'";
        let make = format!(
            "DO $$ BEGIN IF NOT EXISTS ({role}) THEN CREATE ROLE plain LOGIN; END IF; END $$"
        );
        cluster.sql_in("postgres", &make);
        let database = database.to_owned();
        let create = format!("CREATE DATABASE {database} TEMPLATE template0 OWNER plain");
        cluster.sql_in("postgres", &create);
        Plain { cluster, database }
    }

    pub fn conninfo(&self) -> String {
        let conninfo = self.cluster.conninfo(&self.database);
        conninfo.replace("user=postgres", "user=plain")
    }

    /// Restores an archive; the exit status, and all that the program said. left-out.sql is written in a directory of the
    /// database's own.
    pub fn restore(&self, source: &Cluster, options: &[&str]) -> (i32, String) {
        restore(source, &self.conninfo(), &self.left_out(), options)
    }

    pub fn left_out(&self) -> PathBuf {
        self.cluster
            .root()
            .join(format!("{}.left-out.sql", self.database))
    }
}

/// Restores into any target.
pub fn restore(
    source: &Cluster,
    target: &str,
    left_out: &PathBuf,
    options: &[&str],
) -> (i32, String) {
    let archive = source.database_directory();
    let mut command = program_command();
    command
        .args(["restore", "--target", target, "--archive"])
        .arg(archive);
    let output = command
        .arg("--left-out")
        .arg(left_out)
        .args(options)
        .output();
    let output = output.expect("the program can be run");
    (output.status.code().unwrap_or(-1), said(&output))
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

/// pg_dump's lines, and how often each is there.
pub fn dumped(c: &Cluster, database: &str, options: &[&str]) -> BTreeMap<String, usize> {
    let mut command = c.installation().command("pg_dump");
    let output = run(command.args(options).args(["-d", &c.conninfo(database)]));
    let mut lines = BTreeMap::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let is_ours = line.contains("EXTENSION") && line.contains("pg_incrbackup");
        let is_of_source = is_ours || line.ends_with(" REPLICA IDENTITY FULL;");
        // Large objects come in groups, which depend on owners.
        let is_frame = line.is_empty() || matches!(line, "BEGIN;" | "COMMIT;");
        if !line.starts_with('\\') && !line.starts_with("--") && !is_frame && !is_of_source {
            *lines.entry(line.to_owned()).or_default() += 1;
        }
    }
    lines
}

/// Panics with the lines that only one of them has.
pub fn assert_same(source: &BTreeMap<String, usize>, restored: &BTreeMap<String, usize>) {
    let only = |a: &BTreeMap<String, usize>, b: &BTreeMap<String, usize>, sign: &str| {
        let more = a.iter().filter(|(line, count)| b.get(*line) != Some(count));
        more.map(|(line, count)| format!("{sign} {line} ({count})\n"))
            .collect::<String>()
    };
    let found = only(source, restored, "-") + &only(restored, source, "+");
    assert!(
        found.is_empty(),
        "source (-) and restored (+) differ:\n{found}"
    );
}

/// Of what belongs to whom, a plain role restores nothing.
const PLAIN: [&str; 2] = ["--no-owner", "--no-privileges"];

/// A cluster with objects in its base, and changes after it.
pub fn with_changes(format: &str) -> Cluster {
    let c = Cluster::builder()
        .setting("pg_incrbackup.base_format", &format!("'{format}'"))
        .start();
    c.sql(include_str!("program_rights.sql"));
    c.sql("CREATE EXTENSION pg_incrbackup; SELECT * FROM incr_setup()");
    c.flush();
    c.sql(include_str!("program_rights_changes.sql"));
    c.flush();
    c
}

#[test]
fn a_role_without_any_grant_restores_what_acts_on_rows() {
    let c = with_changes("plain");
    let target = Cluster::builder().start();
    let source = dumped(&c, c.database(), &PLAIN);
    let plain = Plain::new(&target, "ungranted");
    let (status, text) = plain.restore(&c, &PLAIN);
    assert_eq!(status, 0, "{text}");
    assert!(!plain.left_out().exists(), "{text}");
    assert_same(&source, &dumped(&target, "ungranted", &PLAIN));
    // The same as a role that may be a replica.
    let granted = Plain::new(&target, "granted");
    target.sql_in(
        "postgres",
        "GRANT SET ON PARAMETER session_replication_role TO plain",
    );
    let (status, text) = granted.restore(&c, &PLAIN);
    assert_eq!(status, 0, "{text}");
    assert_same(&source, &dumped(&target, "granted", &PLAIN));
    target.sql_in(
        "postgres",
        "REVOKE SET ON PARAMETER session_replication_role FROM plain",
    );
    // A role that may create the database; the roles of the source are not there, and it is told.
    target.sql_in("postgres", "ALTER ROLE plain CREATEDB");
    let made = Plain {
        cluster: &target,
        database: "made".to_owned(),
    };
    let (status, text) = made.restore(&c, &[]);
    assert_eq!(status, 1, "{text}");
    let place = text.find("owner of").expect("it is told");
    assert!(text[place..].contains("--no-owner"), "{text}");
    assert!(
        text.find("done ").is_some_and(|done| place < done),
        "{text}"
    );
    assert_same(&source, &dumped(&target, "made", &PLAIN));
    // A role to which it can give objects gets them, and no other.
    let member = Plain::new(&target, "member");
    target.sql_in(
        "member",
        "CREATE ROLE bob; GRANT bob TO plain; GRANT CREATE ON SCHEMA public TO bob",
    );
    let (status, text) = member.restore(&c, &["--no-privileges"]);
    assert_eq!(status, 1, "{text}");
    let owners = "SELECT (SELECT relowner::regrole FROM pg_class WHERE relname = 'parent'), \
        (SELECT proowner::regrole FROM pg_proc WHERE proname = 'note')";
    assert_eq!(target.sql_in("member", owners), "bob|plain");
    assert_same(&source, &dumped(&target, "member", &PLAIN));
    let (status, text) = Plain::new(&target, "globals").restore(&c, &["--globals"]);
    assert_eq!(status, 1, "{text}");
    assert!(
        text.contains("--globals makes roles") && text.contains("not a superuser"),
        "{text}"
    );
}

#[test]
fn a_base_in_directory_format_is_restored_without_a_superuser() {
    let c = with_changes("directory");
    let target = Cluster::builder().start();
    let plain = Plain::new(&target, "shop");
    let (status, text) = plain.restore(&c, &PLAIN);
    assert_eq!(status, 0, "{text}");
    let source = dumped(&c, c.database(), &PLAIN);
    assert_same(&source, &dumped(&target, "shop", &PLAIN));
    // A base alone, with a materialized view of a table whose owner row security holds for.
    c.sql("SELECT incr_dump()");
    let base = c.bases().pop().expect("there are two");
    fs::remove_dir_all(c.chain_directory().join("incremental")).expect("it is there");
    let name = base
        .file_name()
        .and_then(|name| name.to_str())
        .expect("it is UTF-8");
    let options = ["--no-owner", "-x", "--base", name, "--allow-earlier"];
    let (status, text) = Plain::new(&target, "alone").restore(&c, &options);
    assert_eq!(status, 0, "{text}");
    assert_same(&source, &dumped(&target, "alone", &PLAIN));
}

#[test]
fn names_that_are_not_utf_8_are_no_matter() {
    let c = Cluster::builder().encoding("LATIN1").start();
    let script = b"SET client_encoding = 'LATIN1'; CREATE ROLE \"b\xf6b\";
        CREATE TABLE \"t\xe4b\" (\"\xefd\" int PRIMARY KEY, t text);
        CREATE TABLE \"k\xe4\" (r int CONSTRAINT \"fk\xe4\" REFERENCES \"t\xe4b\" ON DELETE CASCADE);
        CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'never'; END $$;
        CREATE TRIGGER \"tr\xe4\" AFTER DELETE ON \"k\xe4\" FOR EACH ROW WHEN (OLD.r > 5) EXECUTE FUNCTION f();
        ALTER TABLE \"k\xe4\" ENABLE ALWAYS TRIGGER \"tr\xe4\";
        INSERT INTO \"t\xe4b\" VALUES (1, '\xfc'), (2, 'b'), (6, 'c'); INSERT INTO \"k\xe4\" VALUES (1), (2);
        ALTER TABLE \"t\xe4b\" OWNER TO \"b\xf6b\";";
    assert!(c.psql_bytes(c.database(), script).status.success());
    c.sql("CREATE EXTENSION pg_incrbackup; SELECT * FROM incr_setup()");
    let script = b"SET client_encoding = 'LATIN1'; DELETE FROM \"t\xe4b\" WHERE \"\xefd\" = 1;
        ALTER TABLE \"k\xe4\" RENAME CONSTRAINT \"fk\xe4\" TO \"\xe4fk\"; ALTER TABLE \"t\xe4b\" RENAME TO \"\xe4\";
        INSERT INTO \"k\xe4\" VALUES (6); COMMENT ON CONSTRAINT \"\xe4fk\" ON \"k\xe4\" IS '\xe4';
        ALTER TABLE \"k\xe4\" DISABLE TRIGGER \"tr\xe4\"; DELETE FROM \"k\xe4\" WHERE r = 6; ALTER TABLE \"k\xe4\" ENABLE TRIGGER \"tr\xe4\";";
    assert!(c.psql_bytes(c.database(), script).status.success());
    c.flush();
    let target = Cluster::builder().encoding("LATIN1").start();
    let plain = Plain::new(&target, "shop");
    let (status, text) = plain.restore(&c, &PLAIN);
    assert_eq!(status, 0, "{text}");
    assert_same(
        &dumped(&c, c.database(), &PLAIN),
        &dumped(&target, "shop", &PLAIN),
    );
    let (status, text) = Plain::new(&target, "owned").restore(&c, &["-x"]);
    assert_eq!(status, 1, "{text}");
    let written = fs::read(target.root().join("owned.left-out.sql")).expect("it was written");
    let alter = b"ALTER TABLE public.\"t\xe4b\" OWNER TO \"b\xf6b\";";
    assert!(
        written.windows(alter.len()).any(|part| part == alter),
        "{text}"
    );
}

#[test]
fn a_schema_of_more_tables_than_the_server_has_locks_for_is_restored() {
    let c = Cluster::builder().start();
    c.sql("DO $$ BEGIN FOR i IN 1 .. 1000 LOOP EXECUTE format('CREATE TABLE t%s (a int PRIMARY KEY)', i); END LOOP; END $$");
    c.sql("CREATE EXTENSION pg_incrbackup; SELECT * FROM incr_setup(); INSERT INTO t7 VALUES (1)");
    c.flush();
    let target = Cluster::builder()
        .setting("max_locks_per_transaction", "10")
        .setting("max_connections", "20")
        .start();
    let plain = Plain::new(&target, "shop");
    let (status, text) = plain.restore(&c, &PLAIN);
    assert_eq!(status, 0, "{text}");
    assert!(text.contains("max_locks_per_transaction"), "{text}");
    let made = "SELECT count(*), (SELECT a FROM t7) FROM pg_class WHERE relname ~ '^t[0-9]+$'";
    assert_eq!(target.sql_in("shop", made), "1000|1");
}
