//! A load that is in the WAL and that everybody reads from the same point.
//!
//! Two slots stand before the load: the capture's, and one (`start`) that peers' slots are copied
//! from and that holds WAL and catalog rows back. The capture's slot, and its archive, are put back
//! with the server down: its files are copied, as they were before the load.

use crate::loads::Load;
use crate::server;
use harness::{run, Cluster};
use std::path::Path;
use std::process::Command;

pub struct Wal {
    pub cluster: Cluster,
    /// Just after the load.
    pub end: String,
    slot_directory: String,
}

/// Waits for the capture and gives how many seconds after its worker's start that was. A worker that
/// failed and began again would be measured from its last start, so that is an error.
pub const DRAINED: &str = "
    CREATE FUNCTION seconds_until_drained(until pg_lsn) RETURNS float8 LANGUAGE plpgsql AS $$
    DECLARE
      capture record;
      deadline timestamptz := clock_timestamp() + interval '10 min';
    BEGIN
      LOOP
        SELECT * INTO capture FROM incr_status() WHERE worker = 'capture';
        IF capture.durable_lsn >= until THEN
          RETURN extract(epoch FROM clock_timestamp() - capture.since);
        ELSIF capture.errors > 0 OR clock_timestamp() > deadline THEN
          RAISE 'the load is not drained: %', capture;
        END IF;
        PERFORM pg_sleep(0.005);
      END LOOP;
    END $$;";

impl Wal {
    pub fn of(load: &Load) -> Self {
        let cluster = server::builder().start();
        load.make_tables(&cluster);
        cluster.sql("VACUUM ANALYZE");
        cluster.sql("CREATE EXTENSION pg_incrbackup");
        cluster.sql(DRAINED);
        cluster.sql("SELECT * FROM incr_setup()");
        cluster.sql("SELECT pg_create_logical_replication_slot('start', 'test_decoding')");
        cluster.flush();
        let slot_directory = format!("data/pg_replslot/{}", cluster.slot("slot_name"));
        let mut wal = Self {
            cluster,
            end: String::new(),
            slot_directory,
        };
        wal.cluster.stop();
        wal.copy("archive", "archive.before");
        wal.copy(&wal.slot_directory, "slot.before");
        wal.cluster.start();
        wal.cluster.sql("SELECT incr_teardown(drop_slot => false)");
        load.change_them(&wal.cluster);
        let end = "SELECT pg_current_wal_insert_lsn()";
        wal.end = wal.cluster.sql(end);
        // Something behind the end, so that every reader can pass it.
        wal.cluster.sql("CHECKPOINT");
        wal
    }

    /// Puts the capture back to before the load and starts the server, and with it the worker.
    pub fn rewind(&self, settings: &[(&str, String)]) {
        self.cluster.stop();
        self.copy("archive.before", "archive");
        self.copy("slot.before", &self.slot_directory);
        for (name, value) in settings {
            self.cluster.write_setting(name, value);
        }
        self.cluster.start();
    }

    /// Megabytes of the stream's files: what the load has become in the archive.
    pub fn stream_megabytes(&self) -> f64 {
        let bytes = |c: &harness::Segment| c.text.len() as f64;
        self.cluster.segments().iter().map(bytes).sum::<f64>() / 1e6
    }

    fn copy(&self, from: &str, to: &str) {
        let root = self.cluster.root();
        let path = |name: &str| -> String { Path::join(root, name).display().to_string() };
        run(Command::new("rm").args(["-rf", &path(to)]));
        run(Command::new("cp").args(["-a", &path(from), &path(to)]));
    }
}
