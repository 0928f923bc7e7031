//! A streaming standby of a cluster.

use crate::cluster::{Cluster, PORT};
use crate::installation::{give_to_server_user, run};
use crate::wait::wait_until;
use std::fs;
use std::os::unix::fs::symlink;

impl Cluster {
    /// A running standby of this cluster: a base backup that follows it by the physical slot `slot`, made here, and keeps
    /// failover slots in step where the version has them. It has the settings of this cluster, and so the same archive.
    pub fn standby(&self, slot: &str) -> Cluster {
        self.sql_in(
            "postgres",
            &format!("SELECT pg_create_physical_replication_slot('{slot}', true)"),
        );
        let builder = Cluster::builder().version(self.version());
        let standby = builder.database(self.database()).create();
        let data = standby.data_directory();
        fs::remove_dir_all(&data).expect("it was never started");
        let mut copy = self.installation().command("pg_basebackup");
        copy.arg("-d").arg(self.conninfo("postgres"));
        run(copy.args(["-c", "fast", "-D"]).arg(&data));
        let signal = data.join("standby.signal");
        fs::write(&signal, "").expect("a file can be written");
        give_to_server_user(&signal);
        let quoted = |text: &str| format!("'{}'", text.replace('\'', "''"));
        let primary = format!(
            "host={} port={PORT} user=postgres dbname=postgres application_name={slot}",
            self.root().display()
        );
        standby.write_setting("primary_conninfo", &quoted(&primary));
        standby.write_setting("primary_slot_name", &quoted(slot));
        standby.write_setting("hot_standby_feedback", "on");
        let sockets = standby.root().display().to_string();
        standby.write_setting("unix_socket_directories", &quoted(&sockets));
        if self.version() >= 17 {
            standby.write_setting("sync_replication_slots", "on");
            standby.write_setting("synchronized_standby_slots", "''");
        }
        // What the harness knows by the standby's own path.
        symlink(self.archive_directory(), standby.archive_directory()).expect("a link can be made");
        standby.start();
        standby
    }

    /// Waits until this standby has the slot of the test's database for good (17 and later).
    pub fn wait_for_synced_slot(&self) {
        wait_until("the standby has the slot", || {
            // The worker that keeps slots in step naps for up to 30 seconds; a reload wakes it.
            self.sql("SELECT pg_reload_conf()");
            self.slot_is("synced AND NOT temporary AND invalidation_reason IS NULL")
        });
    }

    /// Promotes a standby, and waits until it is a primary.
    pub fn promote(&self) {
        self.sql_in("postgres", "SELECT pg_promote()");
        self.wait_for_connections();
    }
}
