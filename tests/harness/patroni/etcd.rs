//! One etcd, where Patroni keeps who is the leader.

use super::{http, script, ADDRESS_OF_ETCD};
use crate::installation::give_to_server_user;
use crate::wait_until;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Stdio};

pub(super) const CLIENTS: u16 = 2379;
const PEERS: u16 = 2380;

/// `/service/pgincr/leader`, as etcd's JSON has it.
const LEADER: &str = "L3NlcnZpY2UvcGdpbmNyL2xlYWRlcg==";

/// A running etcd, killed when it is dropped.
pub struct Etcd {
    process: Child,
    address: SocketAddr,
}

impl Etcd {
    /// Starts one that keeps its data below `root`, in a network of the test's own.
    pub fn start(root: &Path, network: Ipv4Addr) -> Etcd {
        let [a, b, c, _] = network.octets();
        let address = Ipv4Addr::new(a, b, c, ADDRESS_OF_ETCD);
        let url = |port: u16| format!("http://{address}:{port}");
        let data = root.join("etcd");
        fs::create_dir(&data).expect("the directory can be made");
        give_to_server_user(&data);
        let log = fs::File::create(root.join("etcd.log")).expect("the log can be created");
        let errors = log.try_clone().expect("a file can be opened twice");
        let mut command = script("etcd");
        command.arg("--data-dir").arg(&data);
        command.args(["--listen-client-urls", &url(CLIENTS)]);
        command.args(["--advertise-client-urls", &url(CLIENTS)]);
        command.args(["--listen-peer-urls", &url(PEERS)]);
        command.args(["--initial-advertise-peer-urls", &url(PEERS)]);
        let members = format!("default={}", url(PEERS));
        command.args(["--initial-cluster", &members, "--unsafe-no-fsync"]);
        let command = command.stdin(Stdio::null()).stdout(log).stderr(errors);
        let etcd = Etcd {
            process: command.spawn().expect("sh can be run"),
            address: SocketAddr::from((address, CLIENTS)),
        };
        wait_until("etcd answers", || etcd.is_healthy());
        etcd
    }

    fn is_healthy(&self) -> bool {
        let answer = http::request(self.address, "GET", "/health", "");
        answer.is_ok_and(|(_, body)| body.contains("true"))
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes the leader's lock away, as its expiry would after `ttl`, of which Patroni allows 20 s at least.
    pub fn forget_leader(&self) {
        let body = format!("{{\"key\": \"{LEADER}\"}}");
        let answer = http::request(self.address, "POST", "/v3/kv/deleterange", &body);
        let (status, text) = answer.expect("etcd answers");
        assert_eq!(status, 200, "{text}");
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}
