//! "The graph shows nothing", "the check says UNKNOWN since there is a pooler": the figures of check_pg_incrbackup as the
//! Monitoring Plugins Development Guidelines define them, and PgBouncer in transaction mode.

use std::fs;
use std::process::{Child, Command, Stdio};

use crate::exporter::{here, shell, shop, PAGE};
use crate::page::block;
use harness::{give_to_server_user, wait_until, Cluster};

/// `'label'=value[UOM];[warn];[crit];[min];[max]`, strictly: label, value and unit, and the four others.
#[derive(Debug, PartialEq)]
struct Figure {
    label: String,
    value: f64,
    unit: String,
    limits: Vec<String>,
}

fn number(text: &str) -> f64 {
    let is_one = !text.is_empty()
        && text
            .chars()
            .all(|it| it.is_ascii_digit() || ".-".contains(it));
    assert!(is_one, "\"{text}\" is no number");
    text.parse().expect("a number")
}

fn figures(line: &str) -> Vec<Figure> {
    let (_, mut rest) = line.trim_end().split_once('|').expect("there are figures");
    let mut found = Vec::new();
    while !rest.trim_start().is_empty() {
        assert!(rest.starts_with(' '), "a blank separates figures: {rest}");
        let label = rest[1..].strip_prefix('\'').expect("a quoted label");
        let (label, behind) = label.split_once('\'').expect("the end of the label");
        assert!(
            !label.is_empty() && !label.contains(['=', '|', ' ', '\n', '\t']),
            "{label}"
        );
        let behind = behind.strip_prefix('=').expect("a value");
        let end = behind.find(' ').unwrap_or(behind.len());
        let mut parts = behind[..end].split(';');
        let value = parts.next().expect("a value");
        let digits = value.find(|it: char| !it.is_ascii_digit() && !".-".contains(it));
        let (value, unit) = value.split_at(digits.unwrap_or(value.len()));
        assert!(
            ["", "s", "us", "ms", "%", "B", "KB", "MB", "GB", "TB", "c"].contains(&unit),
            "{unit}"
        );
        let limits: Vec<String> = parts.map(str::to_owned).collect();
        assert!(limits.len() <= 4, "{limits:?}");
        for limit in limits.iter().filter(|limit| !limit.is_empty()) {
            number(limit);
        }
        found.push(Figure {
            label: label.to_owned(),
            value: number(value),
            unit: unit.to_owned(),
            limits,
        });
        rest = &behind[end..];
    }
    found
}

/// Exit status and line of the check, with what the page says, but for `from`, which is `to` here.
fn check(c: &Cluster, (from, to): (&str, &str)) -> (Option<i32>, String) {
    let script = here(c, "nagios").replace(from, to);
    let output = shell(c, &script).output().expect("sh can be run");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    let line = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.code(), line)
}

#[test]
fn the_figures_are_those_of_the_guidelines_whatever_a_database_is_called() {
    let c = shop().back_up();
    c.sql(&block(PAGE, "role"));
    c.sql("CREATE TABLE t (a int PRIMARY KEY); INSERT INTO t VALUES (1); SELECT incr_flush()");
    c.sql_in("postgres", "CREATE DATABASE \"it's = 5\t| bad\n\"");
    c.sql_in("it's = 5\t| bad\n", "CREATE EXTENSION pg_incrbackup");
    c.sql_in("it's = 5\t| bad\n", "SELECT * FROM incr_setup()");
    // Health is that of a moment, in which the server itself may have committed something in either database.
    let (mut status, mut line) = (None, String::new());
    wait_until("nothing is behind", || {
        (status, line) = check(&c, ("", ""));
        eprintln!("{status:?} {line}");
        status == Some(0) && line.matches("_behind'=0s").count() == 2
    });
    let found = figures(&line);
    let labels: Vec<&str> = found.iter().map(|figure| &figure.label[..]).collect();
    let names = ["it_s___5___bad_", "shop"];
    let expected: Vec<String> = names
        .iter()
        .flat_map(|name| ["behind", "wal_held", "disk_used"].map(|it| format!("{name}_{it}")))
        .collect();
    assert_eq!(labels, expected, "{line}");
    let of = |label: &str| {
        let figure = found.iter().find(|figure| figure.label == label);
        figure.unwrap_or_else(|| panic!("{label} in {line}"))
    };
    assert_eq!(
        (of("shop_behind").value, &of("shop_behind").unit[..]),
        (0.0, "s")
    );
    assert!(of("shop_wal_held").value > 0.0 && of("shop_wal_held").unit == "B");
    let critical = c.sql("SELECT pg_size_bytes(current_setting('pg_incrbackup.lag_critical'))");
    assert_eq!(of("shop_wal_held").limits, ["", &critical, "0"]);
    assert_eq!(of("shop_disk_used").limits, ["", "", "0", "100"]);
    // What is not known has no figure: without a slot there is no WAL that it holds.
    c.lose_slot();
    wait_until("the chain is broken", || {
        c.health().starts_with("emergency")
    });
    let (status, line) = check(&c, ("", ""));
    assert_eq!(status, Some(2), "{line}");
    let found = figures(&line);
    assert!(
        !found.iter().any(|figure| figure.label == "shop_wal_held"),
        "{line}"
    );
}

/// A running PgBouncer, which ends with it.
struct Pooler(Child);

impl Drop for Pooler {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// In transaction mode, on a socket in `c.root()/pooler`.
fn pooler(c: &Cluster) -> Pooler {
    let directory = c.root().join("pooler");
    fs::create_dir(&directory).expect("a directory can be made");
    let (root, here) = (c.root().display(), directory.display());
    let port = c.sql("SHOW port");
    let settings = format!(
        "[databases]\nshop = host={root} port={port} user=postgres\n[pgbouncer]\nlisten_addr =\nlisten_port = {port}\n\
         unix_socket_dir = {here}\nauth_type = any\npool_mode = transaction\ndefault_pool_size = 2\n"
    );
    let file = directory.join("pgbouncer.ini");
    fs::write(&file, settings).expect("the settings can be written");
    give_to_server_user(&directory);
    let script = format!(
        "export LD_LIBRARY_PATH=$(echo $prefix/monitoring/usr/lib/*-linux-gnu); \
         exec $as_server $prefix/monitoring/usr/sbin/pgbouncer -q '{}'",
        file.display()
    );
    let as_server = "as_server=; if [ \"$(id -u)\" = 0 ]; then as_server='setpriv --reuid postgres --regid postgres --clear-groups'; fi";
    let started = shell(c, &format!("{as_server}\n{script}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let pooler = Pooler(started.expect("sh can be run"));
    let socket = directory.join(format!(".s.PGSQL.{port}"));
    wait_until("PgBouncer listens", || socket.exists());
    pooler
}

#[test]
fn the_check_works_behind_a_pooler_and_leaves_nothing_in_its_sessions() {
    let c = shop().back_up();
    c.sql(&block(PAGE, "role"));
    c.sql("CREATE TABLE t (a int PRIMARY KEY); INSERT INTO t VALUES (1); SELECT incr_flush()");
    let has_pooler = shell(&c, "test -x $prefix/monitoring/usr/sbin/pgbouncer").status();
    if !has_pooler.is_ok_and(|status| status.success()) {
        return harness::skipped("make setup could not get PgBouncer");
    }
    let _pooler = pooler(&c);
    let root = c.root().display().to_string();
    let behind = format!("host={root}/pooler");
    for _ in 0..3 {
        let (status, line) = check(&c, (&format!("host={root}"), &behind));
        assert_eq!(status, Some(0), "{line}");
        assert_eq!(figures(&line).len(), 3, "{line}");
    }
    let port = c.sql("SHOW port");
    let output = Command::new(c.installation().bin().join("psql"))
        .args([
            "-XAtw",
            "-d",
            &format!("{behind} port={port} user=prometheus dbname=shop"),
        ])
        .args(["-c", "SHOW search_path", "-c", "SHOW statement_timeout"])
        .output()
        .expect("psql can be run");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(
        said,
        "\"$user\", public\n0\n",
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
