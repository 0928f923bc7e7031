//! A capture whose worker stands still (SIGSTOP) while changes are written, and is measured from its
//! going on until they are in the files: without a start, and without the writers beside it.

use crate::process;
use crate::wal::DRAINED;
use harness::{run, wait_until, Cluster, Session};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

pub struct Standing {
    pub cluster: Cluster,
    observer: Session,
    /// The transaction that is open all the time. It has written a row.
    open: Option<Session>,
}

/// What reading some changes took.
#[derive(Clone, Copy, Default)]
pub struct Reading {
    pub seconds: f64,
    /// CPU seconds of the worker.
    pub cpu: f64,
    /// Megabytes: the most that it held with what it touched of shared memory, and the most that
    /// was its own (looked at every 5 ms).
    pub peak: f64,
    pub own: f64,
    /// Megabytes that the files have grown by.
    pub megabytes: f64,
}

impl Reading {
    /// Of changes that were read in parts.
    pub fn and(self, next: Reading) -> Self {
        Self {
            seconds: self.seconds + next.seconds,
            cpu: self.cpu + next.cpu,
            peak: self.peak.max(next.peak),
            own: self.own.max(next.own),
            megabytes: self.megabytes + next.megabytes,
        }
    }
}

impl Standing {
    pub fn new(cluster: Cluster, has_open_transaction: bool) -> Self {
        cluster.sql("CREATE TABLE held (id int PRIMARY KEY)");
        cluster.sql("CREATE EXTENSION pg_incrbackup");
        cluster.sql(DRAINED);
        cluster.sql("SELECT * FROM incr_setup()");
        let open = has_open_transaction.then(|| {
            let mut session = cluster.session();
            session.run("BEGIN");
            session.run("INSERT INTO held VALUES (1)");
            session
        });
        cluster.flush();
        Self {
            observer: cluster.session(),
            cluster,
            open,
        }
    }

    /// Writes changes and lets the worker read them.
    pub fn read(&mut self, changes: &str) -> Reading {
        let worker = self.cluster.capture_pid();
        self.stop(&worker);
        // Nobody waits for these commits; one behind the end flushes them.
        self.cluster
            .sql(&format!("SET synchronous_commit = off;\n{changes}"));
        let end = self.cluster.sql("SELECT pg_current_wal_insert_lsn()");
        self.cluster
            .sql("SELECT pg_logical_emit_message(true, 'bench', '')");

        process::forget_peak(&worker);
        let is_over = AtomicBool::new(false);
        let (cpu, bytes) = (process::exact_cpu_seconds(&worker), self.bytes());
        std::thread::scope(|scope| {
            let watcher = scope.spawn(|| watch(&worker, &is_over));
            let started = Instant::now();
            signal("CONT", &worker);
            let drained = format!("SELECT seconds_until_drained('{end}')");
            self.observer.send(&drained);
            let output = self.observer.output_within(Duration::from_secs(900));
            let seconds = started.elapsed().as_secs_f64();
            let cpu = process::exact_cpu_seconds(&worker) - cpu;
            is_over.store(true, Ordering::Relaxed);
            let own = watcher.join().expect("the watcher does not panic");
            let is_drained = output.is_some_and(|output| !output.contains("ERROR"));
            assert!(
                is_drained,
                "the changes were not read: {}",
                self.cluster.health()
            );
            assert_eq!(self.cluster.capture_pid(), worker, "the worker began again");
            Reading {
                seconds,
                cpu,
                peak: process::peak_megabytes(&worker),
                own,
                megabytes: (self.bytes() - bytes) / 1e6,
            }
        })
    }

    /// Starts the server again, which ends the open transaction; gives how long, by the clock and in
    /// CPU time, a worker takes from its start until a change from after it is durable.
    pub fn start_again(&mut self) -> (f64, f64) {
        self.open = None;
        self.cluster.restart();
        self.observer = self.cluster.session();
        let c = &self.cluster;
        c.sql("INSERT INTO held VALUES (2)");
        let end = c.sql("SELECT pg_current_wal_insert_lsn()");
        c.sql("SELECT pg_logical_emit_message(true, 'bench', '')");
        let seconds = c.try_sql(&format!("SELECT seconds_until_drained('{end}')"));
        let seconds = seconds.unwrap_or_else(|e| panic!("{e}"));
        (
            seconds.parse().expect("a number of seconds"),
            process::exact_cpu_seconds(&c.capture_pid()),
        )
    }

    /// Stops the worker where it waits for its latch and therefore holds no lock.
    fn stop(&self, worker: &str) {
        let waits = format!(
            "SELECT coalesce(wait_event_type IN ('Activity', 'Extension'), false) \
             FROM pg_stat_activity WHERE pid = {worker}"
        );
        wait_until("the capture worker rests", || {
            if !self.cluster.is_true(&waits) {
                return false;
            }
            signal("STOP", worker);
            wait_until("the capture worker stands still", || {
                process::state(worker) == Some('T')
            });
            let is_at_rest = self.cluster.is_true(&waits);
            if !is_at_rest {
                signal("CONT", worker);
            }
            is_at_rest
        });
    }

    fn bytes(&self) -> f64 {
        let chains = self.cluster.database_directory();
        let output = run(Command::new("du")
            .args(["-sb", "--exclude=base"])
            .arg(chains));
        let output = String::from_utf8_lossy(&output.stdout).into_owned();
        let bytes = output
            .split_whitespace()
            .next()
            .and_then(|b| b.parse().ok());
        bytes.expect("du says how many bytes there are")
    }
}

fn signal(name: &str, pid: &str) {
    run(Command::new("kill").args([&format!("-{name}"), pid]));
}

/// The most of its own memory that the process held.
fn watch(pid: &str, is_over: &AtomicBool) -> f64 {
    let mut most: f64 = 0.0;
    while !is_over.load(Ordering::Relaxed) {
        most = most.max(process::anonymous_megabytes(pid));
        std::thread::sleep(Duration::from_millis(5));
    }
    most.max(process::anonymous_megabytes(pid))
}
