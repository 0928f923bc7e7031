//! What the documentation promises has the test that it names.

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
