//! Running a suite of PostgreSQL's own tests on a throwaway cluster, as its `make installcheck` does:
//! `tools/roundtrip.sh` put it into `SUITE_DIRECTORY`, and tells by `SUITE` of which kind it is.

use crate::report_directory;
use harness::{give_to_server_user, run as run_program, Builder, Cluster};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// The database that the suite's tests take themselves to be in.
pub fn database() -> &'static str {
    match kind().as_str() {
        "isolation" => "isolation_regression",
        "contrib" => "contrib_regression",
        _ => "regression",
    }
}

fn kind() -> String {
    std::env::var("SUITE").expect("tools/roundtrip.sh sets SUITE")
}

fn suite() -> PathBuf {
    let suite = std::env::var_os("SUITE_DIRECTORY");
    PathBuf::from(suite.expect("tools/roundtrip.sh sets SUITE_DIRECTORY"))
}

/// What pg_regress sets for a database that it makes itself.
const DATABASE_SETTINGS: [&str; 6] = [
    "lc_messages TO 'C'",
    "lc_monetary TO 'C'",
    "lc_numeric TO 'C'",
    "lc_time TO 'C'",
    "bytea_output TO 'hex'",
    "timezone_abbreviations TO 'Default'",
];

const PRELOADED: &str = "shared_preload_libraries";

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

/// True where tests list all that the server decodes or runs, ours among it: no run without us is like it.
pub fn lists_everything() -> bool {
    ["pg_logicalinspect", "pg_stat_statements", "test_decoding"]
        .iter()
        .any(|module| suite().ends_with(module))
}

/// A cluster as the suite wants it, without us.
pub fn plain_cluster() -> Cluster {
    let cluster = builder().setting(PRELOADED, &preloaded(&[])).start();
    prepare(&cluster);
    cluster
}

/// The same with the suite's database backed up from the start. The extension has a schema of its
/// own: tests list what is in `public`.
pub fn backed_up_cluster() -> Cluster {
    let cluster = builder()
        .setting(PRELOADED, &preloaded(&["pg_incrbackup"]))
        .start();
    prepare(&cluster);
    cluster.sql("CREATE SCHEMA incrbackup");
    cluster.sql("CREATE EXTENSION pg_incrbackup SCHEMA incrbackup");
    cluster.sql("SELECT * FROM incrbackup.incr_setup()");
    cluster
}

fn builder() -> Builder {
    // Prepared transactions are tested, and plans depend on shared_buffers. Compiling them takes longer than they run.
    let builder = Cluster::builder()
        .database(database())
        .locale("C")
        .setting("max_prepared_transactions", "20")
        .setting("jit", "off")
        .without("shared_buffers");
    let wanted = wanted_settings().into_iter();
    wanted.fold(builder, |builder, (name, value)| {
        builder.setting(&name, &value)
    })
}

/// What a module of contrib wants of the server, but for what a server that is backed up needs.
fn wanted_settings() -> Vec<(String, String)> {
    let needed = ["wal_level", "max_replication_slots", PRELOADED];
    let mut settings = module_settings();
    settings.retain(|(name, _)| !needed.contains(&name.as_str()));
    settings
}

/// The lines of the file of settings that stands among a module's tests.
fn module_settings() -> Vec<(String, String)> {
    let files = fs::read_dir(suite()).expect("the suite can be read");
    let paths = files.map(|file| file.expect("the suite can be read").path());
    let files = paths.filter(|path| path.extension().is_some_and(|name| name == "conf"));
    let texts = files.map(|path| fs::read_to_string(path).expect("the suite can be read"));
    let text: String = texts.collect();
    let settings = text.lines().filter_map(|line| line.split_once('='));
    let settings = settings.map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()));
    settings
        .filter(|(name, _)| !name.starts_with('#'))
        .collect()
}

/// The value of shared_preload_libraries with these before those that a module wants.
fn preloaded(ours: &[&str]) -> String {
    let wanted = module_settings();
    let wanted = wanted.iter().filter(|(name, _)| name == PRELOADED);
    let wanted = wanted.map(|(_, libraries)| libraries.trim_matches('\''));
    let libraries: Vec<&str> = ours.iter().copied().chain(wanted).collect();
    format!("'{}'", libraries.join(","))
}

fn prepare(cluster: &Cluster) {
    for setting in DATABASE_SETTINGS {
        cluster.sql(&format!("ALTER DATABASE {} SET {setting}", database()));
    }
    if kind() == "isolation" {
        // A spec has an index over a function that wants it, also of who restores a dump.
        cluster.sql("ALTER ROLE postgres SET spec.session TO 1");
    }
    let copy = directory(cluster);
    run_program(Command::new("cp").arg("-r").arg(suite()).arg(&copy));
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
        !tests.is_empty(),
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

/// The program that runs the tests of this kind: PostgreSQL's own one, or the module's makefile.
fn pg_regress(cluster: &Cluster) -> Command {
    let installation = cluster.installation();
    let pgxs = run_program(installation.command("pg_config").arg("--pgxs")).stdout;
    let pgxs = PathBuf::from(String::from_utf8_lossy(&pgxs).trim());
    let makefiles = pgxs.parent().expect("pgxs is a file in a directory");
    let mut options = vec![
        "--use-existing".to_owned(),
        "--user=postgres".to_owned(),
        "--port=5432".to_owned(),
        option("--host", cluster.root()),
    ];
    let mut command = installation.command("timeout");
    command.arg(PATIENCE).current_dir(directory(cluster));
    if kind() == "contrib" {
        let pg_config = installation.bin().join("pg_config");
        command
            .args([
                "make",
                "-i",
                "-s",
                "installcheck",
                "USE_PGXS=1",
                "NO_INSTALLCHECK=",
            ])
            .arg(option("PG_CONFIG", &pg_config))
            .arg(option("CONTRIB_TESTDB", Path::new(database())))
            .arg(option("ISOLATION_TESTDB", Path::new(database())))
            .arg(format!("EXTRA_REGRESS_OPTS={}", options.join(" ")));
        return command;
    }
    options.push(option("--dbname", Path::new(database())));
    options.push(option("--bindir", installation.bin()));
    if kind() == "isolation" {
        command.arg(makefiles.join("../test/isolation/pg_isolation_regress"));
        command.arg("--schedule=isolation_schedule");
    } else {
        command.arg(makefiles.join("../test/regress/pg_regress"));
        command.args(["--schedule=parallel_schedule", "--max-concurrent-tests=20"]);
        options.push(option("--dlpath", &directory(cluster)));
    }
    command.args(options);
    command
}

fn option(name: &str, value: &Path) -> String {
    format!("{name}={}", value.display())
}

/// The results outlive the cluster. A module of contrib has those of its specs beside the others.
fn kept_results(cluster: &Cluster, name: &str) -> PathBuf {
    let kept = report_directory().join(format!("results-{name}"));
    fs::remove_dir_all(&kept).ok();
    fs::create_dir_all(&kept).expect("the report's directory can be made");
    for results in ["results", "output_iso/results"] {
        let results = directory(cluster).join(results);
        if results.exists() {
            run_program(
                Command::new("cp")
                    .arg("-r")
                    .arg(results.join("."))
                    .arg(&kept),
            );
        }
    }
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
