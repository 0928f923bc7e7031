//! Running PostgreSQL's regression suite on a throwaway cluster, as its own `make installcheck`
//! does: `tools/roundtrip.sh` put the suite and its compiled modules into `REGRESS_SUITE`.

use crate::report_directory;
use harness::{give_to_server_user, run as run_program, Builder, Cluster};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// The database that pg_regress wants.
pub const DATABASE: &str = "regression";

/// What pg_regress sets for a database that it makes itself.
const DATABASE_SETTINGS: [&str; 6] = [
    "lc_messages TO 'C'",
    "lc_monetary TO 'C'",
    "lc_numeric TO 'C'",
    "lc_time TO 'C'",
    "bytea_output TO 'hex'",
    "timezone_abbreviations TO 'Default'",
];

/// How many seconds the suite may take before it is taken for stuck.
const PATIENCE: &str = "1800";

/// One run of the whole suite.
pub struct Run {
    pub seconds: f64,
    /// Whether each test passed.
    pub tests: BTreeMap<String, bool>,
    /// The files that the tests wrote, `<test>.out`.
    pub results: PathBuf,
    /// The cluster's directory: the results can name it.
    pub root: PathBuf,
}

/// A cluster as the suite wants it, without us.
pub fn plain_cluster() -> Cluster {
    let cluster = builder().without("shared_preload_libraries").start();
    prepare(&cluster);
    cluster
}

/// The same with the suite's database backed up from the start. The extension has a schema of its
/// own: tests list what is in `public`.
pub fn backed_up_cluster() -> Cluster {
    let cluster = builder().start();
    prepare(&cluster);
    cluster.sql("CREATE SCHEMA incrbackup");
    cluster.sql("CREATE EXTENSION pg_incrbackup SCHEMA incrbackup");
    cluster.sql("SELECT * FROM incrbackup.incr_setup()");
    cluster
}

fn builder() -> Builder {
    // Prepared transactions are tested, and plans depend on shared_buffers.
    Cluster::builder()
        .database(DATABASE)
        .locale("C")
        .setting("max_prepared_transactions", "20")
        .without("shared_buffers")
}

fn prepare(cluster: &Cluster) {
    for setting in DATABASE_SETTINGS {
        cluster.sql(&format!("ALTER DATABASE {DATABASE} SET {setting}"));
    }
    let suite = std::env::var_os("REGRESS_SUITE").expect("tools/roundtrip.sh sets REGRESS_SUITE");
    let copy = directory(cluster);
    run_program(Command::new("cp").arg("-r").arg(suite).arg(&copy));
    give_to_server_user(&copy);
}

fn directory(cluster: &Cluster) -> PathBuf {
    cluster.root().join("regress")
}

/// Runs the suite; `name` says how, in what is printed.
pub fn run(cluster: &Cluster, name: &str) -> Run {
    let started = Instant::now();
    let output = pg_regress(cluster).output();
    let output = output.expect("pg_regress can be run");
    let seconds = started.elapsed().as_secs_f64();
    let text = String::from_utf8_lossy(&output.stdout);
    let tests = verdicts(&text);
    assert!(
        tests.len() > 100,
        "pg_regress ran no suite:\n{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let passed = tests.values().filter(|passed| **passed).count();
    println!(
        "the suite {name} us: {passed} of {} tests pass as they are, {seconds:.1} s",
        tests.len()
    );
    let root = cluster.root().to_path_buf();
    Run {
        seconds,
        tests,
        results: kept_results(cluster, name),
        root,
    }
}

fn pg_regress(cluster: &Cluster) -> Command {
    let installation = cluster.installation();
    let pgxs = run_program(installation.command("pg_config").arg("--pgxs")).stdout;
    let pgxs = PathBuf::from(String::from_utf8_lossy(&pgxs).trim());
    let makefiles = pgxs.parent().expect("pgxs is a file in a directory");
    let mut command = installation.command("timeout");
    command
        .arg(PATIENCE)
        .arg(makefiles.join("../test/regress/pg_regress"))
        .args(["--schedule=parallel_schedule", "--max-concurrent-tests=20"])
        .args(["--use-existing", "--user=postgres", "--port=5432"])
        .arg(option("--dbname", Path::new(DATABASE)))
        .arg(option("--host", cluster.root()))
        .arg(option("--bindir", installation.bin()))
        .arg(option("--dlpath", &directory(cluster)))
        .current_dir(directory(cluster));
    command
}

fn option(name: &str, value: &Path) -> String {
    format!("{name}={}", value.display())
}

/// The results outlive the cluster.
fn kept_results(cluster: &Cluster, name: &str) -> PathBuf {
    let kept = report_directory().join(format!("results-{name}"));
    fs::remove_dir_all(&kept).ok();
    fs::create_dir_all(report_directory()).expect("the report's directory can be made");
    let results = directory(cluster).join("results");
    run_program(Command::new("cp").arg("-r").arg(results).arg(&kept));
    kept
}

/// Reads what pg_regress prints: `test boolean ... ok   41 ms` or `FAILED` up to 15, from 16 on
/// `ok 1   - test_setup   324 ms` or `not ok 7   + char   92 ms`.
fn verdicts(output: &str) -> BTreeMap<String, bool> {
    output.lines().filter_map(verdict).collect()
}

fn verdict(line: &str) -> Option<(String, bool)> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let (name, passed) = match words[..] {
        ["test", name, "...", verdict, ..] | [name, "...", verdict, ..] => (name, verdict == "ok"),
        ["ok", _, "-" | "+", name, ..] => (name, true),
        ["not", "ok", _, "-" | "+", name, ..] => (name, false),
        _ => return None,
    };
    Some((name.to_owned(), passed))
}

#[cfg(test)]
mod tests {
    use super::verdict;

    #[test]
    fn both_forms_of_pg_regress_are_read() {
        let of = |line| verdict(line).map(|(name, passed)| format!("{name} {passed}"));
        let is = |line, expected: &str| assert_eq!(of(line).as_deref(), Some(expected), "{line}");
        is(
            "test tablespace                   ... ok          501 ms",
            "tablespace true",
        );
        is(
            "     opr_sanity                   ... FAILED      714 ms",
            "opr_sanity false",
        );
        is(
            "ok 1         - test_setup                                324 ms",
            "test_setup true",
        );
        is(
            "not ok 7     + char                                       92 ms",
            "char false",
        );
        assert_eq!(of("# parallel group (20 tests):  varchar char"), None);
        assert_eq!(of("1..231"), None);
    }
}
