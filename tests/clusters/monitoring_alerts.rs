//! "The alert that should have woken me had never worked." Prometheus' own promtool judges the alerts and runs
//! their unit tests; the dashboard and the page name metrics that there are, and all of them.

use crate::exporter::{all_names, checkout, free_address, get, here, shell, shop, Exporter, PAGE};
use crate::page::block;
use harness::{run, wait_until, Cluster};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::process::{Child, Stdio};

const ALERTS: &str = include_str!("../../monitoring/alerts.yaml");
const ALERTS_TESTS: &str = include_str!("../monitoring/alerts.yaml");
const DASHBOARD: &str = include_str!("../../monitoring/grafana.json");

/// Every name of a metric of ours in a text.
fn names_in(text: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = text.split(|c: char| !is_part(c));
    let names = words.filter(|word| word.starts_with("pg_incrbackup_"));
    names.map(str::to_string).collect()
}

/// Prometheus' files as the page has them, in a place of the test's own. No server is needed.
fn place() -> Cluster {
    let c = shop().create();
    fs::create_dir(c.root().join("etc")).expect("a directory can be made");
    run(&mut shell(&c, &here(&c, "alerts")));
    fs::write(c.root().join("etc/prometheus.yml"), here(&c, "prometheus"))
        .expect("it can be written");
    c
}

#[test]
fn the_alerts_are_sound_and_pass_their_unit_tests() {
    let c = place();
    let said = run(&mut shell(&c, &here(&c, "check")));
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    let alerts = ALERTS.matches("- alert:").count();
    assert!(
        alerts >= 25 && said.contains(&format!("{alerts} rules found")),
        "{said}"
    );
}

#[test]
fn each_alert_has_a_unit_test_that_it_fires_in_and_one_that_it_does_not() {
    for alert in ALERTS
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "))
    {
        let fires =
            format!("        alertname: {alert}\n        exp_alerts:\n          - exp_labels:");
        let is_quiet = format!("alertname: {alert}, exp_alerts: []");
        assert!(
            ALERTS_TESTS.contains(&fires),
            "{alert} is nowhere seen to fire"
        );
        assert!(
            ALERTS_TESTS.contains(&is_quiet),
            "{alert} is nowhere seen to be quiet"
        );
    }
}

/// A unit test that expects what is not so fails: what passes has been looked at.
#[test]
fn a_unit_test_that_is_wrong_fails() {
    let c = place();
    let wrong = ALERTS_TESTS.replacen(
        "pg_incrbackup_level{database=\"bad\"}', values: '0x60 3x200'",
        "pg_incrbackup_level{database=\"bad\"}', values: '0x260'",
        1,
    );
    assert_ne!(wrong, ALERTS_TESTS);
    let rules = checkout()
        .join("monitoring/alerts.yaml")
        .display()
        .to_string();
    let file = c.root().join("etc/wrong.yaml");
    fs::write(&file, wrong.replace("../../monitoring/alerts.yaml", &rules))
        .expect("it can be written");
    let script = format!("promtool test rules '{}'", file.display());
    assert!(!shell(&c, &script)
        .output()
        .expect("sh can be run")
        .status
        .success());
}

/// A running Prometheus, set up as the page says, that looks each second.
struct Prometheus {
    process: Child,
    address: String,
}

impl Prometheus {
    fn start(c: &Cluster, exporter: &Exporter) -> Prometheus {
        run(&mut shell(c, &here(c, "alerts")));
        let etc = c.root().join("etc").display().to_string();
        let settings = here(c, "prometheus").replace("localhost:9187", exporter.address());
        let settings =
            format!("global: {{scrape_interval: 1s, evaluation_interval: 1s}}\n{settings}");
        fs::write(format!("{etc}/prometheus.yml"), settings).expect("it can be written");
        let address = free_address();
        let start = format!(
            "exec prometheus --config.file='{etc}/prometheus.yml' --storage.tsdb.path='{etc}/data' --web.listen-address={address}"
        );
        let process = shell(c, &start)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("sh can be run");
        let prometheus = Prometheus { process, address };
        wait_until("Prometheus has looked twice", || {
            let seen = prometheus.result("count_over_time(pg_incrbackup_level[5m]) > 1");
            seen.is_some_and(|seen| !seen.is_empty())
        });
        prometheus
    }

    /// What a query gives; `None` where the server does not answer.
    fn result(&self, query: &str) -> Option<Vec<Value>> {
        let url = format!("http://{}/api/v1/query", self.address);
        let answer = get(&url, &["--data-urlencode", &format!("query={query}")])?;
        let answer: Value = serde_json::from_str(&answer).expect("it is JSON");
        answer["data"]["result"].as_array().cloned()
    }

    /// Names of the alerts that fire.
    fn firing(&self) -> BTreeSet<String> {
        let query = "ALERTS{alertstate=\"firing\"}";
        let alerts = self.result(query).expect("Prometheus answers");
        let names = alerts
            .iter()
            .filter_map(|alert| alert["metric"]["alertname"].as_str());
        names.map(str::to_string).collect()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

#[test]
fn a_real_prometheus_fires_at_a_broken_chain_and_every_panel_shows_something() {
    let c = shop().back_up();
    c.sql(&block(PAGE, "role"));
    let exporter = Exporter::start(&c, "");
    let prometheus = Prometheus::start(&c, &exporter);
    assert_eq!(prometheus.firing(), BTreeSet::new());
    for query in dashboard_queries() {
        let query = query.replace("$__rate_interval", "5m");
        let query = query.replace("$server", ".*").replace("$database", "shop");
        let found = prometheus.result(&query).expect("Prometheus answers");
        assert_eq!(found.len(), 1, "{query}: {found:?}");
    }
    c.lose_slot();
    wait_until("the alert fires", || {
        prometheus.firing().contains("PgIncrbackupChainBroken")
    });
    c.sql("SELECT * FROM incr_setup(new_chain => true)");
    wait_until("the alert is over", || {
        !prometheus.firing().contains("PgIncrbackupChainBroken")
    });
}

fn dashboard_queries() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(DASHBOARD).expect("it is JSON");
    let panels = dashboard["panels"].as_array().expect("it has panels");
    let targets = panels
        .iter()
        .filter_map(|panel| panel["targets"].as_array());
    let queries = targets.flatten().map(|target| target["expr"].as_str());
    queries
        .map(|query| query.expect("a target has a query").to_string())
        .collect()
}

#[test]
fn alerts_name_metrics_that_there_are() {
    let unknown: Vec<_> = names_in(ALERTS).difference(&all_names()).cloned().collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

#[test]
fn the_dashboard_shows_every_metric_and_no_other_of_the_chosen_databases() {
    assert_eq!(names_in(DASHBOARD), all_names());
    for query in dashboard_queries() {
        let metrics = query.matches("pg_incrbackup_").count();
        let chosen = query
            .matches("{server=~\"$server\",database=~\"$database\"}")
            .count();
        let of_all = query
            .matches("_without_backup{server=~\"$server\"}")
            .count();
        assert_eq!(metrics, chosen + of_all, "{query}");
    }
}

#[test]
fn the_dashboard_has_the_shape_that_grafana_asks_for() {
    let dashboard: Value = serde_json::from_str(DASHBOARD).expect("it is JSON");
    assert!(dashboard["schemaVersion"]
        .as_u64()
        .is_some_and(|version| version >= 30));
    assert!(dashboard["uid"]
        .as_str()
        .is_some_and(|uid| (1..=40).contains(&uid.len())));
    assert!(
        dashboard.get("id").is_none_or(Value::is_null),
        "an id is the importing server's to give"
    );
    let variables = dashboard["templating"]["list"]
        .as_array()
        .expect("it has variables");
    let variables: BTreeSet<_> = variables
        .iter()
        .filter_map(|variable| variable["name"].as_str())
        .collect();
    assert_eq!(variables, ["database", "datasource", "server"].into());
    let (mut ids, mut taken) = (BTreeSet::new(), BTreeSet::new());
    for panel in dashboard["panels"].as_array().expect("it has panels") {
        let title = panel["title"].as_str().expect("a panel has a title");
        assert!(
            ids.insert(panel["id"].as_u64().expect("a panel has an id")),
            "{title}: its id is another's"
        );
        let place = |side: &str| {
            panel["gridPos"][side]
                .as_u64()
                .expect("a panel has its place")
        };
        assert!(
            place("x") + place("w") <= 24,
            "{title} is beyond the right edge"
        );
        for x in place("x")..place("x") + place("w") {
            for y in place("y")..place("y") + place("h") {
                assert!(taken.insert((x, y)), "{title} lies on another");
            }
        }
        if panel["type"] == "row" {
            continue;
        }
        let targets = panel["targets"].as_array().expect("a panel asks something");
        let references: BTreeSet<_> = targets
            .iter()
            .map(|target| target["refId"].as_str())
            .collect();
        assert_eq!(
            references.len(),
            targets.len(),
            "{title}: its queries have names of their own"
        );
        assert!(
            ["stat", "timeseries"]
                .map(Value::from)
                .contains(&panel["type"]),
            "{title}"
        );
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
    }
}

#[test]
fn the_page_tells_of_every_metric_and_no_other() {
    let rows = PAGE.lines().filter_map(|line| line.strip_prefix("| `"));
    let told: BTreeSet<_> = rows
        .filter_map(|row| row.split('`').next())
        .map(str::to_string)
        .collect();
    assert_eq!(told, all_names());
}
