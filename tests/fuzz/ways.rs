//! The same database by every way back: net effects, several sessions, a copy that follows and is killed meanwhile, and
//! each table alone, from the files.

use std::process::Output;
use std::time::Duration;

use super::dice::Dice;
use crate::following::Following;
use archive::segment::SETTINGS;
use harness::{assert_identical, program, Cluster};

/// Tables that are extracted, at most.
const MOST_TABLES: usize = 15;

/// Tables whose rows the files have, with the list of their stored columns.
const TABLES: &str = "SELECT c.oid, format('%s %I.%I', CASE relkind WHEN 'r' THEN 'ONLY' END, nspname, relname),
        (SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute
         WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped AND attgenerated = '')
    FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
    WHERE relkind IN ('r', 'p') AND relpersistence = 'p' AND nspname NOT LIKE 'pg\\_%' AND nspname <> 'information_schema'
        AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = c.oid AND deptype = 'e')
    ORDER BY c.oid";

/// What became of the tables that were extracted.
#[derive(Default, Clone, Copy)]
pub struct Extracted {
    pub tables: usize,
    /// Only a server knows their rows.
    pub refused: usize,
}

/// At the end of a round: the source is at rest, and all of it is in the archive.
pub fn check(cluster: &Cluster, dice: &mut Dice) -> Extracted {
    for options in [
        &["--squash"][..],
        &["--jobs", "3"],
        &["--jobs", "2", "--squash"],
    ] {
        let restored = cluster.restore(options);
        assert_identical((cluster, cluster.database()), (cluster, &restored.database));
    }
    follow(cluster, dice);
    extract(cluster, dice)
}

/// It is killed at random moments, and goes on.
fn follow(cluster: &Cluster, dice: &mut Dice) {
    let lsn = cluster.flush();
    for _ in 0..3 {
        let copy = Following::start(cluster, cluster, "followed", &[]);
        std::thread::sleep(Duration::from_millis(dice.between(20, 900) as u64));
        copy.signal("-KILL");
        copy.end();
    }
    let mut copy = Following::start(cluster, cluster, "followed", &[]);
    copy.wait_for(&lsn);
    copy.stop();
    let output = run(
        cluster,
        &[
            "follow",
            "--promote",
            "--target",
            &cluster.conninfo("followed"),
        ],
    );
    let said = String::from_utf8_lossy(&output.stderr);
    // What the query of a materialized view refuses is no reason to fail.
    let views = "materialized views that stay without rows";
    assert!(output.status.success() || said.contains(views), "{said}");
    assert_identical((cluster, cluster.database()), (cluster, "followed"));
}

fn extract(cluster: &Cluster, dice: &mut Dice) -> Extracted {
    let tables = cluster.sql(TABLES);
    let mut tables: Vec<&str> = tables.lines().collect();
    while tables.len() > MOST_TABLES {
        tables.swap_remove(dice.below(tables.len()));
    }
    let mut extracted = Extracted::default();
    for table in tables {
        let mut fields = table.splitn(3, '|');
        let mut field = || fields.next().expect("the query has three columns");
        let (oid, name, columns) = (field(), field(), field());
        extracted.tables += 1;
        let output = run(
            cluster,
            &["extract", "--format", "copy", "--table-oid", oid],
        );
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            let is_refused = output.status.code() == Some(1) && said.contains("only a server");
            assert!(
                is_refused,
                "extracting {name} failed ({}): {said}",
                output.status
            );
            println!("fuzz: {name} is not extracted: {}", said.trim());
            extracted.refused += 1;
            continue;
        }
        let settings = SETTINGS
            .iter()
            .map(|(name, value)| format!("SET {name} = {value};"));
        let settings: String = settings.collect();
        let copied = cluster.sql(&format!(
            "{settings} COPY (SELECT {columns} FROM {name}) TO STDOUT"
        ));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(sorted(&text), sorted(&copied), "the rows of {name} ({oid})");
    }
    extracted
}

fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines
}

fn run(cluster: &Cluster, arguments: &[&str]) -> Output {
    let archive = cluster.database_directory();
    let archive = archive.to_str().expect("the path is UTF-8");
    let (command, options) = arguments.split_first().expect("a command");
    program(&[&["--quiet", command, "--archive", archive], options].concat())
}
