//! The faults, chosen by the seed, and how each one strikes.

use super::processes;
use super::tear::{tear, Tear};
use super::PATIENCE;
use fastrand::Rng;
use harness::{wait_until, wait_until_within, Cluster};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    KillCapture,
    KillLauncher,
    KillBackend,
    KillPgDump,
    KillBase,
    KillPostmaster,
    KillRestore,
    StopImmediate,
    StopFast,
    TornByCrash(Tear),
    TornByKill(Tear),
    /// Death at a step of the durable order.
    Failpoint,
    /// A step of the durable order that fails for a while.
    DiskError,
}

use Fault::*;

/// All of them, so that the first rounds see each once.
const FAULTS: &[Fault] = &[
    Failpoint,
    TornByCrash(Tear::Cut),
    KillCapture,
    KillPgDump,
    DiskError,
    KillPostmaster,
    KillRestore,
    TornByCrash(Tear::Zeros),
    StopImmediate,
    TornByKill(Tear::Garbage),
    KillBackend,
    KillLauncher,
    Failpoint,
    TornByKill(Tear::Cut),
    KillBase,
    DiskError,
    TornByCrash(Tear::Garbage),
    StopFast,
    Failpoint,
    TornByKill(Tear::Zeros),
];

/// The steps of the durable order of segments, manifest and slot …
const STEPS: &[&str] = &[
    "segment: created",
    "segment: write",
    "segment: fsync",
    "segment: fsynced",
    "publish: fsync",
    "publish: rename",
    "fsync directory",
    "manifest: write",
    "manifest: fsync",
    "slot: confirm",
    "slot: confirmed",
];
/// … of opening the segment again …
const REOPENING: &[&str] = &["segment: write again", "segment: fsync again"];
/// … and of a base.
const OF_BASES: &[&str] = &[
    "small file: write",
    "small file: fsync",
    "small file: rename",
    "directory: rename",
];
const ERRORS: &[&str] = &["EIO", "ENOSPC", "EROFS", "EACCES"];

pub struct Faults<'a> {
    cluster: &'a Cluster,
    rng: Rng,
    /// Where the turn of all faults begins.
    first: usize,
    counts: BTreeMap<&'static str, u32>,
    story: Vec<String>,
    restores: u32,
}

impl<'a> Faults<'a> {
    pub fn new(cluster: &'a Cluster, seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        Self {
            cluster,
            first: rng.usize(0..FAULTS.len()),
            rng,
            counts: BTreeMap::new(),
            story: Vec::new(),
            restores: 0,
        }
    }

    /// The fault of a round: first each one in turn, from a place that the seed chooses.
    pub fn choose(&mut self, round: u32) -> Fault {
        let turn = if (round as usize) <= FAULTS.len() {
            self.first + round as usize
        } else {
            self.rng.usize(0..FAULTS.len())
        };
        FAULTS[turn % FAULTS.len()]
    }

    pub fn counts(&self) -> BTreeMap<&'static str, u32> {
        self.counts.clone()
    }

    /// What happened in this round.
    pub fn story(&mut self) -> String {
        std::mem::take(&mut self.story).join(", ")
    }

    fn count(&mut self, kind: &'static str, what: impl Into<String>) {
        *self.counts.entry(kind).or_default() += 1;
        let what = what.into();
        self.story.push(if what.is_empty() {
            kind.to_string()
        } else {
            format!("{kind} ({what})")
        });
    }

    /// Strikes. The server runs, or will soon, when this returns.
    pub fn strike(&mut self, fault: Fault) {
        self.disturb();
        match fault {
            KillCapture => self.kill("capture killed", "pg_incrbackup capture"),
            KillLauncher => self.kill("launcher killed", "pg_incrbackup launcher"),
            KillBackend => self.kill("backend killed", "client backend"),
            KillPgDump => self.kill_base("pg_dump killed", "pg_dump"),
            KillBase => self.kill_base("base worker killed", "postgres"),
            KillPostmaster => {
                processes::kill_all(self.cluster);
                self.count("all processes killed", "");
                self.start();
            }
            KillRestore => self.kill_restore(),
            StopImmediate => {
                self.cluster.crash();
                self.count("immediate stop", "");
                self.start();
            }
            StopFast => {
                self.cluster.stop();
                self.count("fast stop", "");
                self.start();
            }
            TornByCrash(how) => {
                self.cluster.crash();
                self.tear(how);
            }
            TornByKill(how) => {
                processes::kill_all(self.cluster);
                self.tear(how);
            }
            Failpoint => self.die_at_a_step(),
            DiskError => self.fail_at_a_step(),
        }
    }

    /// What a running system does to itself at a bad moment.
    fn disturb(&mut self) {
        for (chance, kind, sql) in [
            (40, "CHECKPOINT", "CHECKPOINT"),
            (30, "incr_rotate()", "SELECT incr_rotate()"),
            (8, "incr_dump()", "SELECT incr_dump(wait => false)"),
        ] {
            if self.rng.u32(0..100) < chance && self.cluster.try_sql(sql).is_ok() {
                self.count(kind, "");
            }
        }
    }

    fn start(&self) {
        // A backend of the dead server may hold its shared memory for another moment.
        wait_until_within(PATIENCE, "the server starts", || {
            self.cluster.try_start().is_ok()
        });
    }

    /// SIGKILL for a server process of that type, once there is one.
    fn kill(&mut self, kind: &'static str, backend_type: &str) {
        let query = format!(
            "SELECT pid FROM pg_stat_activity WHERE backend_type = '{backend_type}'
                AND pid <> pg_backend_pid() ORDER BY random() LIMIT 1"
        );
        let mut pid = String::new();
        wait_until(kind, || {
            pid = self.cluster.try_sql(&query).unwrap_or_default();
            !pid.is_empty() && kill(&pid)
        });
        self.count(kind, "");
    }

    fn tear(&mut self, how: Tear) {
        let kind = match how {
            Tear::Cut => "torn: cut",
            Tear::Garbage => "torn: garbage",
            Tear::Zeros => "torn: zeros",
        };
        match tear(self.cluster, how, &mut self.rng) {
            Some(what) => self.count(kind, what),
            None => self.count("torn: no open segment", ""),
        }
        self.start();
    }

    /// Kills pg_dump, or the worker that runs it, in the middle: while it waits for a lock.
    fn kill_base(&mut self, kind: &'static str, name: &str) {
        let mut holder = self.cluster.session();
        holder.run("BEGIN; LOCK TABLE held IN ACCESS EXCLUSIVE MODE");
        let waits = "SELECT count(*) > 0 FROM pg_stat_activity
            WHERE query LIKE 'LOCK TABLE %held%' AND wait_event_type = 'Lock'";
        wait_until_within(PATIENCE, "pg_dump waits", || {
            // One may be under way already.
            self.cluster.try_sql("SELECT incr_dump(wait => false)").ok();
            self.cluster.is_true(waits)
        });
        if name == "pg_dump" {
            let pid = processes::named(self.cluster, name).expect("pg_dump runs");
            self.cluster.kill(&pid.to_string());
            self.count(kind, "");
        } else {
            self.kill(kind, "pg_incrbackup base");
        }
    }

    /// Kills restore.sh with all that it started. What it made is no database yet: another restore
    /// into it is refused.
    fn kill_restore(&mut self) {
        self.restores += 1;
        let target = format!("half_{}", self.restores);
        let mut command = self.cluster.restore_command(self.cluster, &target);
        command.process_group(0).stdout(Stdio::null());
        let mut restore = command
            .stderr(Stdio::null())
            .spawn()
            .expect("sh can be run");
        wait_until("the restore is under way", || {
            let made = self.cluster.try_sql_in(
                &target,
                "SELECT count(*) > 0 FROM pg_class WHERE relname = 'keyed'",
            );
            made.is_ok_and(|made| made == "t") || restore.try_wait().is_ok_and(|s| s.is_some())
        });
        kill(&format!("-{}", restore.id()));
        let status = restore.wait().expect("the restore can be waited for");
        self.count(
            "restore killed",
            if status.success() { "too late" } else { "" },
        );
        let again = self.cluster.try_restore(self.cluster, &target, &[]);
        assert!(again.is_err(), "restored into a database that is not empty");
        let drop = format!("DROP DATABASE {target} WITH (FORCE)");
        wait_until("the half database can be dropped", || {
            self.cluster.try_sql_in("postgres", &drop).is_ok()
        });
    }

    fn failpoints(&self) -> PathBuf {
        self.cluster.root().join("failpoints")
    }

    fn write_failpoints(&self, line: &str) {
        let temporary = self.cluster.root().join("failpoints.new");
        fs::write(&temporary, line).expect("failpoints can be written");
        fs::rename(temporary, self.failpoints()).expect("failpoints can be written");
    }

    /// A step, and what makes the server come by.
    fn a_step(&mut self) -> (&'static str, u32, &'static str) {
        const ROTATE: &str = "SELECT incr_rotate()";
        let kind = self.rng.usize(0..10);
        let one = |rng: &mut Rng, of: &[&'static str]| of[rng.usize(0..of.len())];
        match kind {
            // A worker of bases lives for one: it comes by once.
            0 => (
                one(&mut self.rng, OF_BASES),
                1,
                "SELECT incr_dump(wait => false)",
            ),
            1 => (
                one(&mut self.rng, REOPENING),
                1,
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                    WHERE backend_type = 'pg_incrbackup capture'",
            ),
            _ => (one(&mut self.rng, STEPS), self.rng.u32(1..4), ROTATE),
        }
    }

    fn die_at_a_step(&mut self) {
        let (step, nth, bait) = self.a_step();
        let fired = self.failpoints().with_extension("fired");
        fs::remove_file(&fired).ok();
        self.write_failpoints(&format!("kill {nth} {step}\n"));
        wait_until_within(PATIENCE, step, || {
            self.cluster.try_sql(bait).ok();
            fired.exists()
        });
        self.count("killed at a step", format!("{step}, {nth}"));
    }

    fn fail_at_a_step(&mut self) {
        let (step, nth, bait) = self.a_step();
        let error = ERRORS[self.rng.usize(0..ERRORS.len())];
        self.write_failpoints(&format!("{error} {nth} {step}\n"));
        let before = self.errors();
        wait_until_within(PATIENCE, step, || {
            self.cluster.try_sql(bait).ok();
            self.errors() > before || self.is_said_by_health()
        });
        fs::remove_file(self.failpoints()).expect("the failpoints can be removed");
        self.count("failed at a step", format!("{error}, {step}, {nth}"));
    }

    /// An error that repeats itself is logged once.
    fn is_said_by_health(&self) -> bool {
        let health = self
            .cluster
            .try_sql("SELECT reasons FROM incr_slot_health()");
        health.is_ok_and(|health| health.contains("(os error"))
    }

    /// How often our workers said that the operating system refused them something.
    fn errors(&self) -> usize {
        let log = self.cluster.log();
        let lines = log.lines().filter(|line| line.contains("(os error"));
        lines.count()
    }
}

/// Whether the process, or with a minus the group, was there to be killed.
fn kill(pid: &str) -> bool {
    let output = Command::new("kill").args(["-9", "--", pid]).output();
    output.is_ok_and(|output| output.status.success())
}
