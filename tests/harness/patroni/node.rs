//! One node: Patroni's configuration, its process, and the server that it runs.

use super::{http, script, SCOPE};
use crate::installation::{give_to_server_user, Installation};
use crate::{processes, template, Cluster};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

const REST: u16 = 8008;

/// A server that Patroni runs, or has run.
pub struct Node {
    cluster: Cluster,
    address: Ipv4Addr,
    patroni: Mutex<Option<Child>>,
}

/// What all nodes have in common.
pub(super) struct Plan<'a> {
    pub installation: &'a Installation,
    pub root: &'a Path,
    pub etcd: SocketAddr,
    /// The first lines of the cluster's configuration in etcd, in YAML.
    pub dynamic: &'a str,
    /// Lines of a node's own section `postgresql`, with `$NODE` for its directory.
    pub own: &'a str,
    /// Of a node's server, likewise.
    pub own_settings: &'a [(String, String)],
    pub has_own_archives: bool,
}

impl Node {
    /// Makes the node's data directory, a copy of the same as the others', and its archive, unless that is the common one.
    pub(super) fn create(plan: &Plan, number: u8, address: Ipv4Addr) -> Node {
        let root = plan.root.join(format!("node{number}"));
        fs::create_dir(&root).expect("the directory can be made");
        give_to_server_user(&root);
        let cluster = Cluster::below(plan.installation, &root);
        template::copy(
            plan.installation,
            "UTF8",
            Some(cluster.database()),
            &cluster.data_directory(),
        );
        if plan.has_own_archives {
            cluster.make_archive_directory();
        } else {
            symlink(plan.root.join("archive"), cluster.archive_directory())
                .expect("a link can be made");
        }
        let node = Node {
            cluster,
            address,
            patroni: Mutex::new(None),
        };
        fs::write(node.configuration(), node.yaml(plan, number)).expect("it can be written");
        give_to_server_user(&node.configuration());
        node
    }

    fn yaml(&self, plan: &Plan, number: u8) -> String {
        let (address, root) = (self.address, self.cluster.root().display());
        let (etcd, dynamic) = (plan.etcd, plan.dynamic);
        let own = plan.own.replace("$NODE", &root.to_string());
        let own_settings: String = plan
            .own_settings
            .iter()
            .map(|(name, value)| {
                let value = value.replace("$NODE", &root.to_string());
                format!(", {name}: '{}'", value.replace('\'', "''"))
            })
            .collect();
        let bin = plan.installation.bin().display();
        format!(
            "scope: {SCOPE}
name: node{number}
restapi: {{listen: '{address}:{REST}', connect_address: '{address}:{REST}'}}
etcd3: {{host: '{etcd}'}}
bootstrap:
  dcs:
{dynamic}
postgresql:
  listen: '{address}:5432'
  connect_address: '{address}:5432'
  data_dir: '{root}/data'
  bin_dir: '{bin}'
  pgpass: '{root}/pgpass'
  use_unix_socket: true
  use_unix_socket_repl: true
  remove_data_directory_on_rewind_failure: true
  remove_data_directory_on_diverged_timelines: true
  authentication:
    superuser: {{username: postgres}}
    replication: {{username: postgres}}
    rewind: {{username: postgres}}
  parameters: {{unix_socket_directories: '{root}'{own_settings}}}
  pg_hba:
  - local all all trust
  - local replication all trust
  - host all all 127.0.0.0/8 trust
  - host replication all 127.0.0.0/8 trust
  basebackup: [{{checkpoint: fast}}, no-sync]
{own}
"
        )
    }

    /// The file that Patroni and patronictl read.
    pub fn configuration(&self) -> PathBuf {
        self.cluster.root().join("patroni.yml")
    }

    /// The server: SQL, log, archive. Patroni starts and stops it.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    fn process(&self) -> MutexGuard<'_, Option<Child>> {
        self.patroni.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether Patroni was started, and not killed since.
    pub fn is_up(&self) -> bool {
        self.process().is_some()
    }

    /// Whether the server takes connections and is a primary.
    pub fn is_primary(&self) -> bool {
        self.cluster.is_true("SELECT NOT pg_is_in_recovery()")
    }

    /// Starts Patroni, which starts the server. It is killed with the thread that calls this.
    pub fn start(&self) {
        let mut log = fs::OpenOptions::new();
        let log = log.append(true).create(true);
        let log = log.open(self.cluster.root().join("log"));
        let log = log.expect("the log can be opened");
        let errors = log.try_clone().expect("a file can be opened twice");
        let mut command = script("patroni");
        command.arg(self.cluster.version().to_string());
        command.arg(self.configuration()).stdin(Stdio::null());
        let started = command.stdout(log).stderr(errors).spawn();
        *self.process() = Some(started.expect("sh can be run"));
    }

    /// SIGKILL for Patroni and all processes of the server at once, as when the machine stops.
    pub fn kill(&self) {
        let patroni = self.process().take();
        if let Some(mut patroni) = patroni {
            processes::kill_with_all_below(patroni.id());
            patroni.wait().ok();
        }
        processes::kill_all(&self.cluster);
    }

    /// A request to Patroni's REST interface.
    pub fn ask(&self, method: &str, path: &str, body: &str) -> std::io::Result<(u16, String)> {
        http::request(SocketAddr::from((self.address, REST)), method, path, body)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}
