//! Debian's postgres_exporter, set up as docs/monitoring.md says, and what it tells of a cluster.

use crate::page::block;
use harness::{run, wait_until, Cluster};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

pub const PAGE: &str = include_str!("../../docs/monitoring.md");
const QUERIES: &str = include_str!("../../monitoring/postgres_exporter.yaml");

/// A statement that is not carried faithfully, and is flagged.
pub const NOT_CARRIED: &str =
    "CREATE TYPE mood AS ENUM ('glad'); CREATE TABLE moods (m mood) PARTITION BY HASH (m);
    CREATE TABLE \"a|b\" PARTITION OF moods FOR VALUES WITH (MODULUS 1, REMAINDER 0);
    TRUNCATE \"a|b\"; SELECT incr_flush()";

/// A database named as in the page.
pub fn shop() -> harness::Builder {
    Cluster::builder().database("shop")
}

pub fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A block of the page, with the paths of this test.
pub fn here(c: &Cluster, name: &str) -> String {
    let root = c.root().display().to_string();
    block(PAGE, name)
        .replace("/etc/prometheus", &format!("{root}/etc"))
        .replace("/run/postgresql", &root)
}

/// A shell in the checkout, with the tools that `make setup` has put aside.
pub fn shell(c: &Cluster, script: &str) -> Command {
    let mut command = Command::new("sh");
    let tools = ". tools/paths.sh; PATH=$prefix/monitoring/usr/bin:$BIN:$PATH";
    command
        .args(["-ec", &format!("{tools}\n{script}")])
        .env("BIN", c.installation().bin())
        .current_dir(checkout());
    command
}

/// Where a server of the test's own can listen.
pub fn free_address() -> String {
    let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    free.expect("there is a free port").to_string()
}

/// What a server answers; `None` where it does not, or says that something failed.
pub fn get(url: &str, arguments: &[&str]) -> Option<String> {
    let answer = Command::new("curl")
        .args(["-sf", url])
        .args(arguments)
        .output();
    let answer = answer.expect("make setup installs curl");
    let is_whole = answer.status.success();
    is_whole.then(|| String::from_utf8_lossy(&answer.stdout).into_owned())
}

/// A running exporter.
pub struct Exporter {
    process: Child,
    address: String,
}

impl Exporter {
    /// As the page says, with more arguments.
    pub fn start(c: &Cluster, arguments: &str) -> Exporter {
        run(&mut shell(
            c,
            &format!("mkdir -p '{}/etc'", c.root().display()),
        ));
        run(&mut shell(c, &here(c, "queries")));
        let address = free_address();
        let settings = here(c, "exporter");
        let start = format!(
            "{settings}\nexport DATA_SOURCE_NAME\n\
             exec prometheus-postgres-exporter $ARGS {arguments} --web.listen-address={address}"
        );
        let log = fs::File::create(c.root().join("exporter.log")).expect("it can be written");
        let process = shell(c, &start)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("sh can be run");
        let exporter = Exporter { process, address };
        wait_until("the exporter answers", || exporter.try_look().is_some());
        exporter
    }

    fn try_look(&self) -> Option<String> {
        get(&format!("http://{}/metrics", self.address), &[])
    }

    pub fn address(&self) -> &str {
        &self.address
    }

    /// Our metrics, of each database.
    pub fn scrape(&self) -> Metrics {
        let text = self.try_look().expect("the exporter answers");
        assert!(text.contains("pg_exporter_last_scrape_error 0"), "{text}");
        let mut metrics = Metrics::default();
        for line in text
            .lines()
            .filter(|line| line.starts_with("pg_incrbackup_"))
        {
            let (name, rest) = line.split_once('{').expect("it has labels");
            let (labels, value) = rest.split_once("} ").expect("it has a value");
            // What is about all of them has no database.
            let database = labels
                .split_once("database=\"")
                .map_or("", |labels| labels.1);
            let database = database.split('"').next().unwrap_or_default().to_string();
            let value: f64 = value.parse().expect("it is a number");
            let before = metrics.0.insert((database, name.to_string()), value);
            assert!(before.is_none(), "told twice: {line}");
        }
        metrics
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// Values by database and name.
#[derive(Debug, Default)]
pub struct Metrics(BTreeMap<(String, String), f64>);

impl Metrics {
    pub fn of(&self, database: &str, name: &str) -> f64 {
        let key = (database.to_string(), format!("pg_incrbackup_{name}"));
        let value = self.0.get(&key);
        *value.unwrap_or_else(|| panic!("there is no {key:?}: {self:?}"))
    }

    pub fn names(&self) -> BTreeSet<String> {
        self.0.keys().map(|(_, name)| name.clone()).collect()
    }

    pub fn databases(&self) -> BTreeSet<String> {
        self.0
            .keys()
            .map(|(database, _)| database.clone())
            .filter(|database| !database.is_empty())
            .collect()
    }
}

/// Every metric that the queries tell.
pub fn all_names() -> BTreeSet<String> {
    let (mut names, mut query) = (BTreeSet::new(), "");
    for line in QUERIES.lines() {
        if let Some(column) = line.strip_prefix("    - ") {
            names.insert(format!("{query}_{}", column.trim_end_matches(':')));
        } else if line.starts_with("pg_incrbackup") {
            query = line.trim_end_matches(':');
        }
    }
    names.remove("pg_incrbackup_database");
    names
}
