//! "I updated it, and from then on the backup was not what it seemed": a new version of the extension,
//! a new minor and a new major version of PostgreSQL.

use std::fs;

use harness::{run, wait_until, Cluster, Contents, Installation};

/// The version before this one.
const EARLIER: &str = "0.3.0";
/// Every version that can be updated.
const VERSIONS: [&str; 3] = ["0.1.0", "0.2.0", EARLIER];
/// What the CREATE EXTENSION of each of them ran; that of 0.3.0 came to the same as the update to it.
const SCRIPTS: [(&str, &str); 3] = [
    ("0.1.0", include_str!("versions/pg_incrbackup--0.1.0.sql")),
    ("0.2.0", include_str!("versions/pg_incrbackup--0.2.0.sql")),
    (
        EARLIER,
        concat!(
            include_str!("versions/pg_incrbackup--0.2.0.sql"),
            include_str!("../../sql/pg_incrbackup--0.2.0--0.3.0.sql")
        ),
    ),
];

const UPDATE: &str = "ALTER EXTENSION pg_incrbackup UPDATE";

/// A cluster with this library, in whose database the extension is of an earlier version.
fn with_version(version: &str) -> Cluster {
    let c = Cluster::builder().start();
    for (version, script) in SCRIPTS {
        let file = format!("pg_incrbackup--{version}.sql");
        c.installation().write_extension_file(&file, script);
    }
    c.sql(&format!(
        "CREATE EXTENSION pg_incrbackup VERSION '{version}'"
    ));
    c
}

/// Everything about the members of the extensions of a database, as pg_upgrade would carry it: each
/// with its definition, owner and privileges.
fn members(c: &Cluster, database: &str) -> Vec<String> {
    let mut command = c.installation().command("pg_dump");
    command.args(["--binary-upgrade", "--schema-only", "-d"]);
    let dump = run(command.arg(c.conninfo(database)));
    let dump = String::from_utf8_lossy(&dump.stdout).into_owned();
    let is_of_one_database = |line: &str| {
        line.starts_with("SELECT pg_catalog.binary_upgrade_set_next_")
            || line.starts_with("\\restrict")
            || line.starts_with("\\unrestrict")
            || line.starts_with("SET relfrozenxid")
            || line.starts_with("WHERE oid = ")
    };
    // Each object's statements, without the OIDs of a database and the order that follows them.
    let mut objects: Vec<String> = dump
        .split("\n-- Name: ")
        .map(|object| {
            let lines = object.lines().filter(|line| !is_of_one_database(line));
            lines.collect::<Vec<_>>().join("\n")
        })
        .collect();
    objects.sort();
    objects
}

/// A version that these tests do not know is one whose update nobody has tried.
#[test]
fn each_version_that_a_script_updates_is_tested() {
    let scripts = concat!(env!("CARGO_MANIFEST_DIR"), "/../sql");
    let mut updates: Vec<(String, String)> = fs::read_dir(scripts)
        .expect("the scripts are there")
        .filter_map(|file| {
            let name = file.expect("it can be read").file_name();
            let name = name.to_str()?.strip_prefix("pg_incrbackup--")?;
            let (from, to) = name.strip_suffix(".sql")?.split_once("--")?;
            Some((from.to_owned(), to.to_owned()))
        })
        .collect();
    updates.sort_by_key(|(from, _)| {
        let numbers = from.split('.').map(|n| n.parse().expect("a number"));
        numbers.collect::<Vec<u32>>()
    });
    let from: Vec<&str> = updates.iter().map(|(from, _)| from.as_str()).collect();
    assert_eq!(from, VERSIONS, "VERSIONS, and EARLIER as its last");
    // One leads to the next, the last to this one.
    let to: Vec<&str> = updates.iter().map(|(_, to)| to.as_str()).collect();
    let next = VERSIONS[1..].iter().copied();
    let next: Vec<&str> = next.chain([env!("CARGO_PKG_VERSION")]).collect();
    assert_eq!(to, next);
}

#[test]
fn an_update_comes_to_the_same_as_a_fresh_install() {
    for version in VERSIONS {
        let c = with_version(version);
        c.sql(UPDATE);
        c.sql("CREATE DATABASE fresh");
        c.sql_in("fresh", "CREATE EXTENSION pg_incrbackup");
        let (updated, fresh) = (members(&c, "app"), members(&c, "fresh"));
        assert!(fresh.len() > 40, "a dump was taken: {}", fresh.join("\n"));
        for object in &fresh {
            assert!(
                updated.contains(object),
                "the update from {version} lacks {object}"
            );
        }
        for object in &updated {
            assert!(
                fresh.contains(object),
                "the update from {version} leaves {object}"
            );
        }
    }
}

/// Functions whose columns have changed are made anew.
#[test]
fn a_privilege_that_an_update_takes_is_said_and_no_other_goes() {
    let c = with_version("0.1.0");
    c.sql("CREATE ROLE watcher; GRANT EXECUTE ON FUNCTION incr_rotate(), incr_flush(interval) TO watcher");
    c.sql(
        "GRANT EXECUTE ON FUNCTION incr_slot_health(), incr_files() TO watcher WITH GRANT OPTION",
    );
    let said = c.session().run(UPDATE);
    let grants: Vec<&str> = said
        .lines()
        .filter_map(|line| line.split_once("grant it again: "))
        .map(|(_, grant)| grant)
        .collect();
    assert_eq!(
        grants,
        [
            "GRANT EXECUTE ON FUNCTION public.incr_files() TO watcher WITH GRANT OPTION;",
            "GRANT EXECUTE ON FUNCTION public.incr_slot_health() TO watcher WITH GRANT OPTION;"
        ],
        "{said}"
    );
    let may = |function| {
        let privilege = "EXECUTE WITH GRANT OPTION";
        c.is_true(&format!(
            "SELECT has_function_privilege('watcher', '{function}', '{privilege}')"
        ))
    };
    assert!(!may("incr_files()") && !may("incr_slot_health()"));
    c.sql(&grants.join("\n"));
    assert!(may("incr_files()") && may("incr_slot_health()"));
    let kept = "SELECT has_function_privilege('watcher', 'incr_rotate()', 'EXECUTE')
        AND has_function_privilege('watcher', 'incr_flush(interval)', 'EXECUTE')";
    assert!(c.is_true(kept));
}

#[test]
fn between_the_library_and_the_update_the_functions_say_so_and_capture_goes_on() {
    let c = with_version(EARLIER);
    let error = c.sql_error("SELECT * FROM incr_setup()");
    assert_eq!(error.sqlstate, "55000", "{error}");
    assert!(error.text.contains(UPDATE), "{error}");
    c.sql(UPDATE);
    c.sql("SELECT * FROM incr_setup(); CREATE TABLE t (a int PRIMARY KEY)");
    // As a server finds it that was started with the new library on a database of the old version.
    let version = |version| {
        c.sql(&format!(
            "UPDATE pg_extension SET extversion = '{version}' WHERE extname = 'pg_incrbackup'"
        ))
    };
    let new = c.sql("SELECT extversion FROM pg_extension WHERE extname = 'pg_incrbackup'");
    version(EARLIER);
    c.restart();
    c.sql(
        "INSERT INTO t VALUES (1); ALTER TABLE t ADD b int DEFAULT 5; INSERT INTO t VALUES (2, 2)",
    );
    for function in [
        "incr_slot_health()",
        "incr_status()",
        "incr_files()",
        "incr_flush()",
    ] {
        let error = c.sql_error(&format!("SELECT * FROM {function}"));
        assert!(error.message.contains(EARLIER), "{error}");
        assert_eq!(error.sqlstate, "55000", "{error}");
    }
    wait_until("what was done meanwhile stands in the segment", || {
        c.stream()
            .contains("INSERT INTO public.t (a, b) VALUES (2, 2)")
    });
    version(&new);
    c.sql("INSERT INTO t VALUES (3)");
    c.assert_restores();
}

#[test]
fn an_update_while_capture_runs_is_no_part_of_the_backup() {
    let c = with_version(EARLIER);
    // The earlier library's functions are not there to set it up; what they leave is the slot.
    c.sql("CREATE TABLE t (a int PRIMARY KEY)");
    let number = c.sql(
        "UPDATE pg_extension SET extversion = default_version FROM pg_available_extensions a
           WHERE extname = a.name AND a.name = 'pg_incrbackup' RETURNING extversion",
    );
    assert!(!number.is_empty());
    c.sql("SELECT step, status FROM incr_setup()");
    c.sql(&format!(
        "UPDATE pg_extension SET extversion = '{EARLIER}' WHERE extname = 'pg_incrbackup'"
    ));
    c.sql("BEGIN; INSERT INTO t VALUES (1); ALTER EXTENSION pg_incrbackup UPDATE; CREATE TABLE u AS SELECT 1 AS a; COMMIT");
    c.sql("INSERT INTO t VALUES (2)");
    c.assert_restores();
    let stream = c.stream();
    assert!(stream.contains("INSERT INTO public.u"), "{stream}");
    assert!(!stream.contains("EXTENSION"), "{stream}");
    assert!(c.health().starts_with("ok"), "{}", c.health());
}

/// Upgrades a stopped server into a new one, which is then started. The new one gets an archive
/// directory of its own: what has an archive already is another server's.
fn pg_upgrade(old: &Cluster) -> Cluster {
    let new = Cluster::builder().own_system_identifier().create();
    let mut upgrade = new.installation().command("pg_upgrade");
    upgrade.current_dir(new.root());
    upgrade.arg("-b").arg(old.installation().bin());
    upgrade.arg("-B").arg(new.installation().bin());
    upgrade.arg("-d").arg(old.data_directory());
    upgrade.arg("-D").arg(new.data_directory());
    run(upgrade.args(["-U", "postgres", "-s"]).arg(new.root()));
    new.start();
    new
}

/// A database with something in it that docs/upgrade.md makes ready for pg_upgrade.
fn ready_for_pg_upgrade(version: u32) -> Cluster {
    let builder = Cluster::builder().version(version);
    let c = builder.own_system_identifier().back_up();
    c.sql("CREATE TABLE t (a int PRIMARY KEY, b text)");
    c.sql("INSERT INTO t SELECT i, 'x' FROM generate_series(1, 1000) i");
    c.sql("CREATE TABLE keyless (a text); INSERT INTO keyless VALUES ('old'), ('new')");
    c.sql("SELECT incr_flush()");
    c
}

fn assert_goes_on(new: &Cluster, recorded: &str) {
    assert_eq!(new.sql("SELECT count(*) FROM ddl_history"), recorded);
    let health = new.health();
    assert!(health.starts_with("warning"), "{health}");
    new.sql("SELECT * FROM incr_setup()");
    new.sql("INSERT INTO t VALUES (0, 'after'); UPDATE keyless SET a = 'newer' WHERE a = 'new'");
    new.sql("CREATE TABLE u (a int); INSERT INTO u VALUES (1)");
    new.assert_restores();
}

/// From 17 on pg_upgrade takes slots along: only those that have read everything, and whose plugin the
/// new server's output_plugin_libraries names. So they are dropped before.
#[test]
fn pg_upgrade_to_the_same_version_passes_and_records_nothing() {
    let old = ready_for_pg_upgrade(Cluster::builder().installation().version);
    let recorded = old.sql("SELECT count(*) FROM ddl_history");
    old.sql("SELECT incr_teardown()");
    old.stop();
    assert_goes_on(&pg_upgrade(&old), &recorded);
}

#[test]
fn pg_upgrade_from_15_goes_on_and_what_15_wrote_restores_into_the_new_server() {
    let old = ready_for_pg_upgrade(15);
    let recorded = old.sql("SELECT count(*) FROM ddl_history");
    old.sql("SELECT incr_teardown()");
    // 15.20 notes versions of columns; the 18.6 that tests run is older than it and does not know them.
    old.sql(
        "UPDATE pg_attribute SET attoptions = NULL WHERE attoptions::text LIKE '{pg_attver=%}'",
    );
    old.stop();
    // initdb of 18 turns them on; pg_upgrade wants both alike.
    if Cluster::builder().installation().version >= 18 {
        let mut enable = old.installation().command("pg_checksums");
        run(enable.arg("--enable").arg("-D").arg(old.data_directory()));
    }
    let new = pg_upgrade(&old);
    let contents = Contents::of(&new, new.database());
    assert_goes_on(&new, &recorded);
    let restored = old.restore_by_program(&new, &[]);
    // The teardown gave it back when nothing was captured any more.
    let given_back = "ALTER TABLE keyless REPLICA IDENTITY DEFAULT";
    new.sql_in(&restored.database, given_back);
    contents.assert_restored(&new, &restored.database);
}

/// 18.4 knows no output_plugin_libraries, 18.6 refuses plugins that it does not name: the slot goes on
/// by itself all the same.
#[test]
fn a_minor_update_of_the_server_goes_on_in_the_same_chain() {
    if Installation::under_test().version != 18 {
        return harness::skipped("two minor releases of 18");
    }
    let mut c = Cluster::builder()
        .installed(Installation::of_18_4())
        .back_up();
    assert_eq!(c.sql("SHOW server_version"), "18.4");
    c.sql("CREATE TABLE t (a int PRIMARY KEY, b text DEFAULT 'before'); INSERT INTO t VALUES (1)");
    c.stop();
    c.run_by(Installation::of(18));
    c.start();
    assert_eq!(c.sql("SHOW server_version"), "18.6");
    c.sql("INSERT INTO t VALUES (2); ALTER TABLE t ADD c int; UPDATE t SET c = 3");
    c.assert_restores();
    assert!(c.health().starts_with("ok"), "{}", c.health());
    assert_eq!(c.sql("SELECT DISTINCT chain FROM incr_files()"), "1");
}

/// A library that writes format 2 starts over an open segment of format 1.
#[test]
fn a_segment_of_the_former_format_is_closed_though_the_worker_is_killed_meanwhile() {
    // Format 1 knows no effects: the table is there before.
    let c = Cluster::builder().with_failpoints().start();
    c.sql("CREATE TABLE t (a int PRIMARY KEY); CREATE EXTENSION pg_incrbackup");
    c.sql("SELECT * FROM incr_setup()");
    let points = ["segment: fsync", "publish: rename", "manifest: write"];
    let mut former = Vec::new();
    for (number, point) in (1..).zip(points) {
        c.sql(&format!("INSERT INTO t VALUES ({number})"));
        c.flush();
        c.stop();
        former.push(make_former(&c));
        c.set_day(0, &format!("kill 1 {point}\n"));
        c.start();
        let fired = c.root().join("failpoints.fired");
        wait_until("the worker was killed", || fired.exists());
        fs::remove_file(fired).expect("it can be removed");
        c.wait_for_connections();
        wait_until("capture goes on", || {
            c.try_sql("SELECT incr_flush()").is_ok()
        });
    }
    c.sql("INSERT INTO t VALUES (100)");
    c.flush();
    for segment in c.segments() {
        let text = fs::read_to_string(&segment.path).expect("it can be read");
        let is_former = former.contains(&segment.path);
        let format = if is_former { 1 } else { 2 };
        let first = format!("-- pg_incrbackup segment format={format}\n");
        assert!(text.starts_with(&first), "{}", segment.path.display());
        assert_eq!(text.contains(" footer "), is_former);
    }
    assert_eq!(c.sql("SELECT * FROM incr_verify()"), "");
    c.assert_restores();
    crate::crash::assert_each_once(&c);
}

/// The open segment, of a server that is down, as one of format 1; the name that it is closed under.
fn make_former(c: &Cluster) -> std::path::PathBuf {
    let open = c.segments().pop().expect("one is open").path;
    let text = fs::read_to_string(&open).expect("it can be read");
    let text = text.replacen("segment format=2\n", "segment format=1\n", 1);
    fs::write(&open, text).expect("it can be written");
    open.with_extension("")
}

#[test]
fn a_base_begins_where_capture_goes_on_in_a_new_format() {
    let c = Cluster::builder().start();
    c.sql("CREATE TABLE t (a int PRIMARY KEY); CREATE EXTENSION pg_incrbackup");
    c.sql("SELECT * FROM incr_setup()");
    c.sql("INSERT INTO t VALUES (1)");
    c.flush();
    c.stop();
    let former = make_former(&c);
    c.start();
    wait_until("the base is made", || c.bases().len() == 2);
    assert!(former.exists());
    c.sql("INSERT INTO t VALUES (2)");
    c.assert_restores();
    for _ in 0..2 {
        c.stop();
        c.start();
        c.wait_for_connections();
        wait_until("capture goes on", || {
            c.try_sql("SELECT incr_flush()").is_ok()
        });
    }
    c.sql("SELECT incr_dump()");
    assert_eq!(c.bases().len(), 3, "no other has begun by itself");
}
