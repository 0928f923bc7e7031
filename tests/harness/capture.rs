//! The state of the capture of a test's database.

use std::process::Command;

use crate::{run, wait_until, Cluster};

impl Cluster {
    /// One column of pg_replication_slots for the slot of the test's database; empty for NULL, or if there is
    /// no slot.
    pub fn slot(&self, column: &str) -> String {
        self.sql(&format!(
            "SELECT {column} FROM pg_replication_slots WHERE {OUR_SLOT}"
        ))
    }

    /// Whether a condition on the slot's row of pg_replication_slots holds.
    pub fn slot_is(&self, condition: &str) -> bool {
        self.is_true(&format!(
            "SELECT {condition} FROM pg_replication_slots WHERE {OUR_SLOT}"
        ))
    }

    /// The process id of the capture worker; empty while none is running.
    pub fn capture_pid(&self) -> String {
        self.slot("active_pid")
    }

    /// Waits until a capture worker has the slot.
    pub fn wait_for_capture(&self) {
        wait_until("a capture worker has the slot", || self.slot_is("active"));
    }

    /// Drops the slot of the test's database, which ends its chain.
    pub fn lose_slot(&self) {
        let launcher = self
            .sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'pg_incrbackup launcher'");
        // It would start another worker in between.
        run(Command::new("kill").args(["-STOP", &launcher]));
        self.slot("pg_terminate_backend(active_pid)");
        wait_until("nobody has the slot", || self.slot("active") == "f");
        self.slot("pg_drop_replication_slot(slot_name)");
        run(Command::new("kill").args(["-CONT", &launcher]));
    }

    /// Level and reasons of `incr_slot_health()`, as `level|{reasons}`.
    pub fn health(&self) -> String {
        self.sql("SELECT level, reasons FROM incr_slot_health()")
    }
}

const OUR_SLOT: &str = "slot_name = 'pg_incrbackup_' || \
    (SELECT oid FROM pg_database WHERE datname = current_database())";
