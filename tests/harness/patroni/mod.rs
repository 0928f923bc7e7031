//! Three nodes on one machine, as Patroni runs them: one primary, two standbys, etcd, and an archive that they share.
//!
//! On 15 and 16 it is Debian's Patroni, on 17 and later a newer one (`tools/patroni.sh`). Every test has a network of
//! its own in 127.0.0.0/8, so that all use the same ports. What is started dies with the thread that has started it
//! (but for the servers, which `tools/test.sh` looks after) and with the value.

mod etcd;
mod http;
mod node;

pub use node::Node;

use crate::cluster::new_root;
use crate::installation::{give_to_server_user, run, Installation};
use crate::{wait_until, Cluster};
use etcd::Etcd;
use node::Plan;
use std::fs;
use std::io::Write;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Patroni's name of the cluster.
const SCOPE: &str = "pgincr";
/// The last octets: of etcd, and of the first node.
const ADDRESS_OF_ETCD: u8 = 1;
const FIRST_NODE: u8 = 2;
const NODES: u8 = 3;

/// Three nodes, their etcd, and their archive. Dropping it ends and removes all of it.
pub struct Patroni {
    nodes: Vec<Node>,
    etcd: Etcd,
    root: PathBuf,
}

/// Differences from the default.
#[derive(Default)]
pub struct Builder {
    settings: Vec<(String, String)>,
    own: String,
    own_settings: Vec<(String, String)>,
    has_own_archives: bool,
    script: Option<String>,
}

impl Builder {
    /// A setting of all servers, with the value as in YAML.
    pub fn setting(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.into(), value.into()));
        self
    }

    /// Lines of each node's section `postgresql`, in YAML; `$NODE` is its directory, with the server's socket.
    pub fn own(mut self, yaml: &str) -> Self {
        self.own = yaml.into();
        self
    }

    /// A setting of each server, with `$NODE` for the node's directory in its value.
    pub fn own_setting(mut self, name: &str, value: &str) -> Self {
        self.own_settings.push((name.into(), value.into()));
        self
    }

    /// Each node has an archive directory of its own, and none in common.
    pub fn own_archives(mut self) -> Self {
        self.has_own_archives = true;
        self.own_setting("pg_incrbackup.directory", "$NODE/archive")
    }

    /// A shell script that Patroni calls when a node's role changes, in a place that the server's user can read.
    pub fn on_role_change(mut self, script: &str) -> Self {
        self.script = Some(script.into());
        self
    }

    /// Starts etcd and the nodes; waits for the primary and both standbys.
    pub fn start(mut self) -> Patroni {
        let root = new_root();
        if let Some(script) = &self.script {
            let path = root.join("on_role_change");
            fs::write(&path, script).expect("it can be written");
            give_to_server_user(&path);
            let call = format!("env PGHOST=$NODE sh {}", path.display());
            self.own = format!("  callbacks: {{on_role_change: '{call}'}}");
        }
        let archive = root.join("archive");
        fs::create_dir(&archive).expect("the directory can be made");
        give_to_server_user(&archive);
        let network = free_network();
        let etcd = Etcd::start(&root, network);
        let installation = Installation::under_test();
        let dynamic = self.dynamic(&archive, installation.version);
        let plan = Plan {
            installation: &installation,
            root: &root,
            etcd: etcd.address(),
            dynamic: &dynamic,
            own: &self.own,
            own_settings: &self.own_settings,
            has_own_archives: self.has_own_archives,
        };
        let [a, b, c, _] = network.octets();
        let node = |number: u8| {
            let address = Ipv4Addr::new(a, b, c, FIRST_NODE + number - 1);
            Node::create(&plan, number, address)
        };
        let nodes = (1..=NODES).map(node).collect();
        let patroni = Patroni { nodes, etcd, root };
        for node in &patroni.nodes {
            node.start();
        }
        patroni.wait_for_standbys();
        patroni
    }

    /// What all nodes read from etcd. Short intervals: only the loss of a leader's lock takes as long as `ttl`.
    fn dynamic(&self, archive: &Path, version: u32) -> String {
        let mut lines = String::from(
            "    ttl: 40
    loop_wait: 1
    retry_timeout: 15
    maximum_lag_on_failover: 1073741824
    postgresql:
      use_pg_rewind: true
      use_slots: true
      parameters:
        wal_level: logical
        wal_log_hints: 'on'
        hot_standby_feedback: 'on'
        wal_receiver_status_interval: 1
        wal_retrieve_retry_interval: 200
        max_replication_slots: 10
        max_wal_senders: 10
        max_worker_processes: 16
        max_connections: 60
        fsync: 'off'
        wal_init_zero: 'off'
        shared_buffers: 32MB
        log_checkpoints: 'off'
        shared_preload_libraries: pg_incrbackup
        pg_incrbackup.base_schedule: ''
        pg_incrbackup.compression: none
        pg_incrbackup.base_format: plain
        pg_incrbackup.base_spread: 0
        pg_incrbackup.databases: '!restored*'\n",
        );
        let directory = format!("'{}'", archive.display());
        let mut settings = vec![("pg_incrbackup.directory".to_owned(), directory)];
        if version >= 17 {
            settings.push(("sync_replication_slots".into(), "'on'".into()));
        }
        settings.extend(self.settings.iter().cloned());
        for (name, value) in settings {
            lines.push_str(&format!("        {name}: {value}\n"));
        }
        lines
    }
}

/// A network of 127.0.0.0/8 that nobody uses. Tests of another process may choose at the same time: hence by chance.
fn free_network() -> Ipv4Addr {
    loop {
        let network = Ipv4Addr::new(127, fastrand::u8(1..250), fastrand::u8(1..250), 0);
        let [a, b, c, _] = network.octets();
        let etcd = Ipv4Addr::new(a, b, c, ADDRESS_OF_ETCD);
        if TcpListener::bind((etcd, etcd::CLIENTS)).is_ok() {
            return network;
        }
    }
}

/// `tools/patroni.sh` for one of its programs.
fn script(program: &str) -> Command {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tools/patroni.sh");
    let mut command = Command::new("sh");
    command.arg(script).arg(program);
    command
}

impl Patroni {
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The nodes, by their place in [`Patroni::node`].
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    pub fn node(&self, at: usize) -> &Node {
        &self.nodes[at]
    }

    /// The directory that holds everything.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The place of the primary, if there is one at this moment.
    pub fn find_primary(&self) -> Option<usize> {
        (0..self.nodes.len()).find(|at| self.nodes[*at].is_up() && self.nodes[*at].is_primary())
    }

    /// Waits until a node is the primary, and takes connections.
    pub fn wait_for_primary(&self) -> usize {
        let mut found = None;
        wait_until("there is a primary", || {
            found = self.find_primary();
            found.is_some()
        });
        found.unwrap_or_default()
    }

    /// The primary's server.
    pub fn primary(&self) -> &Cluster {
        self.nodes[self.wait_for_primary()].cluster()
    }

    /// Waits until all nodes but the primary stream from it, and have the slots that a failover needs.
    pub fn wait_for_standbys(&self) {
        let mut hastened = Instant::now();
        wait_until("all standbys stream, and have the slots", || {
            let Some(primary) = self.find_primary() else {
                return false;
            };
            let standbys = (0..self.nodes.len()).filter(|at| *at != primary);
            let waiting = standbys.filter(|at| !self.is_ready(primary, &self.nodes[*at]));
            let waiting: Vec<usize> = waiting.collect();
            if !waiting.is_empty() && hastened.elapsed() >= Duration::from_secs(1) {
                hastened = Instant::now();
                for at in &waiting {
                    hasten(self.nodes[primary].cluster(), self.nodes[*at].cluster());
                }
            }
            waiting.is_empty()
        });
    }

    /// Whether a standby streams, and has all slots of the primary in a state that a promotion can use.
    fn is_ready(&self, primary: usize, standby: &Node) -> bool {
        let (primary, server) = (self.nodes[primary].cluster(), standby.cluster());
        let ours = "plugin = 'pg_incrbackup'";
        let name = standby.cluster().root().file_name().unwrap_or_default();
        let streams = format!(
            "SELECT count(*) FROM pg_stat_replication WHERE application_name = '{}' AND state = 'streaming'",
            name.to_string_lossy()
        );
        let usable = match server.version() {
            17.. => format!("{ours} AND synced AND NOT temporary AND invalidation_reason IS NULL"),
            _ => ours.to_owned(),
        };
        let count = |server: &Cluster, condition: &str| {
            server.try_sql(&format!(
                "SELECT count(*) FROM pg_replication_slots WHERE {condition}"
            ))
        };
        let Ok(wanted) = count(primary, ours) else {
            return false;
        };
        primary.try_sql(&streams).is_ok_and(|count| count == "1")
            && count(server, &usable).is_ok_and(|count| count == wanted)
            && (server.version() >= 17 || wanted == "0" || slots_are_safe(&server.log()))
    }

    /// Runs `sql` on the primary, backs its database up, and tells Patroni what incr_check() says that it needs, as a DBA
    /// would paste it, before and after. Returns when a failover may come.
    pub fn set_up(&self, sql: &str) {
        let primary = self.primary();
        primary.sql("CREATE EXTENSION pg_incrbackup");
        self.tell(primary);
        primary.sql(&format!("{sql}; SELECT * FROM incr_setup()"));
        self.tell(primary);
        self.wait_for_standbys();
    }

    fn tell(&self, primary: &Cluster) {
        let todo = primary.sql("SELECT todo FROM incr_check() WHERE name = 'Patroni'");
        if !todo.is_empty() {
            self.edit_config(&todo);
        }
    }

    /// Runs patronictl on the cluster's configuration; returns what it prints.
    pub fn edit_config(&self, yaml: &str) -> String {
        let node = &self.nodes[0];
        let mut command = script("patronictl");
        command.arg(node.cluster().version().to_string());
        command.arg("-c").arg(node.configuration());
        command.args(["edit-config", "--force", "--apply", "-", SCOPE]);
        let file = self.root.join("edit.yml");
        fs::write(&file, yaml).expect("it can be written");
        let input = fs::File::open(&file).expect("it is there");
        let output = run(command.stdin(Stdio::from(input)));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Makes another node the primary, in order; returns its place.
    pub fn switch_over(&self) -> usize {
        let from = self.wait_for_primary();
        let to = (from + 1) % self.nodes.len();
        let body = format!(
            "{{\"leader\": \"node{}\", \"candidate\": \"node{}\"}}",
            from + 1,
            to + 1
        );
        let answer = self.nodes[from].ask("POST", "/switchover", &body);
        let (status, text) = answer.expect("Patroni answers");
        assert_eq!(status, 200, "{text}");
        wait_until("the candidate is the primary", || {
            self.nodes[to].is_primary()
        });
        to
    }

    /// Kills the primary as if its machine had stopped, and lets its lock as leader expire; returns its place.
    pub fn kill_primary(&self) -> usize {
        let killed = self.wait_for_primary();
        self.nodes[killed].kill();
        self.etcd.forget_leader();
        killed
    }

    /// Makes another node the primary: by a kill, of a node that is returned to be brought back, or in order.
    pub fn change_primary(&self, is_kill: bool) -> Option<usize> {
        if is_kill {
            return Some(self.kill_primary());
        }
        self.switch_over();
        None
    }

    /// Waits until both standbys have all of the primary's WAL.
    pub fn wait_for_replication(&self) {
        let primary = self.primary();
        let lsn = primary.sql("SELECT pg_current_wal_flush_lsn()");
        wait_until("both standbys have all", || {
            primary.is_true(&format!(
                "SELECT count(*) = 2 FROM pg_stat_replication WHERE flush_lsn >= '{lsn}'"
            ))
        });
    }

    /// Starts a node that was killed.
    pub fn bring_back(&self, at: usize) {
        self.nodes[at].start();
    }
}

impl Drop for Patroni {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for node in &self.nodes {
                eprintln!(
                    "--- the end of the log of {}:",
                    node.cluster().root().display()
                );
                std::io::stderr()
                    .write_all(node.cluster().end_of_log(40).as_bytes())
                    .ok();
            }
        }
        // All of them, before one takes over from another.
        for node in &self.nodes {
            node.kill();
        }
        self.nodes.clear();
        if std::env::var_os("KEEP").is_none() {
            fs::remove_dir_all(&self.root).ok();
        }
    }
}

/// What happens by itself sooner or later. From 17 on a slot that was made on a standby is good for a promotion when the primary's
/// slot has passed a record of running transactions (one every 15 s), and when the worker that keeps slots in step, which naps
/// for up to 30 s, has looked once more.
fn hasten(primary: &Cluster, standby: &Cluster) {
    if standby.version() >= 17 {
        primary.try_sql("SELECT pg_log_standby_snapshot()").ok();
        standby.try_sql("SELECT pg_reload_conf()").ok();
    }
}

/// Whether Patroni on 15 and 16 has found the slots of a standby, copied or left from its time as the primary, to be usable
/// after a failover: not before the primary knows which rows of catalogs this standby needs.
fn slots_are_safe(log: &str) -> bool {
    match log.rsplit_once("entering standby mode") {
        Some((_, since)) => since.contains("is safe to be used after a failover"),
        None => true,
    }
}
