//! Whether the suite ran with us as it runs without us.
//!
//! A test that passes both times is the same. Of others, the two results are compared instead of
//! each with what PostgreSQL expects: a packaged server may fail a test by itself, and a test that
//! lists everything there is shows our objects. What is ours is taken out of both before.

use crate::suite::Run;
use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;

/// Our objects, and what `pg_incrbackup.replica_identity = full` changes for tables without a key:
/// `\d+` shows it, and a publication does not refuse their UPDATEs and DELETEs.
const OURS: [&str; 10] = [
    "incrbackup",
    "incr_",
    "ddl_history",
    "Replica Identity: FULL",
    "ERROR:  cannot update table ",
    "ERROR:  cannot delete from table ",
    "HINT:  To enable updating the table, set REPLICA IDENTITY ",
    "HINT:  To enable deleting from the table, set REPLICA IDENTITY ",
    "DETAIL:  Column used in the publication WHERE expression is not part of the replica identity.",
    "DETAIL:  Column list used by the publication does not cover the replica identity.",
];

/// A test whose result is another one than without us.
pub struct Differing {
    name: String,
    passed_without: Option<bool>,
    passed_with: Option<bool>,
    /// How the results differ, as `diff -u` shows it.
    difference: String,
}

impl Differing {
    pub fn headline(&self) -> String {
        let word = |passed| match passed {
            Some(true) => "passed",
            Some(false) => "failed",
            None => "did not run",
        };
        format!(
            "{}: {} without us, {} with us",
            self.name,
            word(self.passed_without),
            word(self.passed_with)
        )
    }
}

impl fmt::Display for Differing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "=== {}\n{}", self.headline(), self.difference)
    }
}

pub fn differing(without_us: &Run, with_us: &Run) -> Vec<Differing> {
    let names: BTreeSet<_> = without_us
        .tests
        .keys()
        .chain(with_us.tests.keys())
        .collect();
    let differing = |name: &String| {
        let passed = |run: &Run| run.tests.get(name).copied();
        let (passed_without, passed_with) = (passed(without_us), passed(with_us));
        if (passed_without, passed_with) == (Some(true), Some(true)) {
            return None;
        }
        let difference = diff(
            &without_ours(without_us, name),
            &without_ours(with_us, name),
        );
        let has_run = passed_without.is_some() && passed_with.is_some();
        (!has_run || !difference.is_empty()).then(|| Differing {
            name: name.clone(),
            passed_without,
            passed_with,
            difference,
        })
    };
    names.into_iter().filter_map(differing).collect()
}

fn without_ours(run: &Run, test: &str) -> String {
    let text = fs::read(run.results.join(format!("{test}.out"))).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let root = run.root.display().to_string();
    // What stands under a table's identity, which NOTHING is not with us.
    let mut is_identity = false;
    let lines = text.lines().filter(|line| !is_ours(line)).filter(|line| {
        let is_under = is_identity && line.trim().len() == 1;
        is_identity = line.trim() == "relreplident" || is_identity && !is_under;
        !is_under
    });
    let lines = lines.map(|line| squeezed(&line.replace(&root, "ROOT")) + "\n");
    lines.collect()
}

/// A row of ours also changes how many rows there are and how wide the columns are drawn.
fn is_ours(line: &str) -> bool {
    OURS.iter().any(|ours| line.contains(ours))
        || (line.starts_with('(') && (line.ends_with(" rows)") || line.ends_with(" row)")))
        || (line.contains("--") && line.chars().all(|c| "-+ ".contains(c)))
}

fn squeezed(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn diff(left: &str, right: &str) -> String {
    if left == right {
        return String::new();
    }
    let file = |name: &str, text: &str| {
        let path = crate::report_directory().join(name);
        let mut file = fs::File::create(&path).expect("the report's directory can be written");
        file.write_all(text.as_bytes())
            .expect("the report's directory can be written");
        path
    };
    let (left, right) = (file("left", left), file("right", right));
    let output = Command::new("diff")
        .arg("-U3")
        .args([&left, &right])
        .output();
    let output = output.expect("diff can be run");
    remove(&left);
    remove(&right);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    // The names of the two files say nothing.
    text.lines()
        .skip(2)
        .map(|line| format!("{line}\n"))
        .collect()
}

fn remove(path: &Path) {
    fs::remove_file(path).ok();
}

#[cfg(test)]
mod tests {
    use super::is_ours;

    #[test]
    fn what_is_ours_is_left_out() {
        assert!(is_ours("Replica Identity: FULL"));
        assert!(is_ours("-------+----------------------"));
        assert!(is_ours("(3 rows)"));
        assert!(is_ours(" 16410 | incr_sql_drop"));
        assert!(!is_ours(" a | b"));
        assert!(!is_ours("-- a comment"));
    }
}
