//! What the documentation promises has the test that it names.

use harness::Cluster;
use std::fs;
use std::path::Path;

#[test]
fn every_fault_in_the_emergencies_page_has_its_test() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("clusters");
    let page = include_str!("../../docs/emergencies.md");
    let rows: Vec<&str> = page.lines().filter(|line| line.starts_with("| ")).collect();
    assert!(rows.len() > 15, "the table is there");
    for row in &rows[2..] {
        let named = row.trim_end_matches([' ', '|']).rsplit('`').nth(1);
        let (room, test) = named
            .and_then(|name| name.split_once("::"))
            .unwrap_or_else(|| panic!("no test is named: {row}"));
        let source = fs::read_to_string(tests.join(format!("{room}.rs")));
        let source = source.unwrap_or_else(|_| panic!("there is no {room}.rs: {row}"));
        assert!(
            test == "*" || source.contains(&format!("fn {test}()")),
            "there is no test {room}::{test}"
        );
    }
}

#[test]
fn every_line_of_the_security_page_has_its_test() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = include_str!("../../docs/security.md");
    let rows = page
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| --- |"));
    let rows: Vec<&str> = rows.filter(|line| !line.starts_with("| | |")).collect();
    assert!(rows.len() > 30, "the tables are there");
    for row in rows {
        let named = row.split('`').find_map(|part| part.split_once("::"));
        let (room, test) = named.unwrap_or_else(|| panic!("no test is named: {row}"));
        let file = match room.strip_prefix("restore/") {
            Some(room) => root.join(format!("../crates/archive/tests/restore/{room}.rs")),
            None => root.join(format!("clusters/{room}.rs")),
        };
        let source =
            fs::read_to_string(file).unwrap_or_else(|_| panic!("there is no {room}: {row}"));
        assert!(
            test == "*" || source.contains(&format!("fn {test}()")),
            "there is no test {room}::{test}"
        );
    }
}

/// What a page's tables have in their columns, without the marks.
fn rows(page: &str) -> Vec<Vec<String>> {
    let rows = page.lines().filter(|line| line.starts_with("| `"));
    let cells = |row: &str| {
        row.split('|')
            .map(|cell| cell.trim().replace('`', ""))
            .collect()
    };
    rows.map(cells).collect()
}

#[test]
fn the_settings_page_has_every_setting_with_its_default() {
    let listed = rows(include_str!("../../docs/settings.md"));
    let mut builder = Cluster::builder();
    for row in &listed {
        // As somebody would write it: PostgreSQL knows the units.
        let written = row[2].replace("empty", "");
        let default = written.split(':').next().unwrap_or_default();
        builder = builder.setting(&row[1], &format!("'{default}'"));
    }
    let c = builder.start();
    let settings = "FROM pg_settings WHERE name LIKE 'pg\\_incrbackup.%'";
    let count = c.sql(&format!("SELECT count(*) {settings}"));
    assert_eq!(count, listed.len().to_string(), "{listed:?}");
    let other = c.sql(&format!(
        "SELECT name, setting, boot_val {settings} AND (setting <> boot_val OR source = 'default')"
    ));
    assert_eq!(other, "", "these have another default than the page says");
}

#[test]
fn the_functions_page_has_every_function_with_its_arguments() {
    let c = Cluster::builder().start();
    c.sql("CREATE EXTENSION pg_incrbackup");
    let rows = rows(include_str!("../../docs/functions.md"));
    let mut listed: Vec<String> = rows.into_iter().map(|row| row[1].clone()).collect();
    listed.sort();
    let functions = c.sql(
        "SELECT p.proname || '(' || replace(replace(regexp_replace(pg_get_function_arguments(p.oid),
                '::[a-z ]+', '', 'g'), '00:01:00', '1 min'), 'timestamp with time zone', 'timestamptz') || ')'
           FROM pg_proc p JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid
           JOIN pg_extension e ON e.oid = d.refobjid AND d.deptype = 'e' AND e.extname = 'pg_incrbackup'
          WHERE p.prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype)",
    );
    let mut functions: Vec<&str> = functions.lines().collect();
    functions.sort();
    assert_eq!(listed, functions);
}
