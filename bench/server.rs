//! The servers that are measured: as durable as in earnest, and nothing done by the clock.

use crate::process;
use harness::{wait_until, Builder, Cluster, Installation};
use std::process::Stdio;

/// Output plugins whose peers or floors are measured, where they are installed.
const PLUGINS: &str = "pgoutput, test_decoding, pg_incrbackup, wal2json, decoder_raw, null_plugin";

/// fsync is on; no checkpoint and no vacuum falls into one contestant's turn by chance; `app` is
/// the database.
pub fn builder() -> Builder {
    let builder = Cluster::builder()
        .setting("fsync", "on")
        .setting("wal_init_zero", "on")
        .setting("shared_buffers", "'256MB'")
        .setting("max_wal_size", "'16GB'")
        .setting("checkpoint_timeout", "'1d'")
        .setting("autovacuum", "off")
        .setting("max_replication_slots", "20");
    if knows(builder.installation(), "output_plugin_libraries") {
        builder.setting("output_plugin_libraries", &format!("'{PLUGINS}'"))
    } else {
        builder
    }
}

/// Whether the library of an output plugin is installed.
pub fn has_plugin(installation: &Installation, plugin: &str) -> bool {
    let library = installation.module_directory().join(plugin);
    library.with_extension("so").exists()
}

fn knows(installation: &Installation, setting: &str) -> bool {
    let mut command = installation.command("postgres");
    let output = command
        .arg("--describe-config")
        .stderr(Stdio::null())
        .output();
    let output = output.expect("postgres can be run");
    let settings = String::from_utf8_lossy(&output.stdout).into_owned();
    settings
        .lines()
        .any(|line| line.split('\t').next() == Some(setting))
}

/// The process id of a cluster's postmaster.
pub fn postmaster(c: &Cluster) -> String {
    let file = c.data_directory().join("postmaster.pid");
    let text = std::fs::read_to_string(file).expect("a running server has a postmaster.pid");
    text.lines().next().unwrap_or_default().to_string()
}

/// Until no backend, no walsender and no apply worker of the postgres role is left, and the CPU time
/// of those that were is the postmaster's.
pub fn wait_for_sessions_to_end(c: &Cluster) {
    let postmaster = postmaster(c);
    // One that has ended has no command line until it is waited for.
    let is_session = |line: &String| {
        let marks = ["postgres: postgres ", "walsender", " for subscription "];
        line.is_empty() || marks.iter().any(|mark| line.contains(mark))
    };
    wait_until("no session is left", || {
        !process::children(&postmaster).iter().any(is_session)
    });
}
