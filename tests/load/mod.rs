//! Everything at once: four clients of pgbench, base backups, rotation, a reader of
//! `incr_slot_health()` every second, a transaction that stays open all the time, and one `heavy`
//! piece of work after the other. `watch` notes memory and lag meanwhile; at the end the chain is
//! restored from its first base and compared. `make load` runs it.

mod heavy;
mod watch;

use harness::{differences, Cluster};
use std::fmt;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};
use watch::{Seen, Watch};

/// How long the heavy work, and its way to disk, may take.
const PATIENCE: Duration = Duration::from_secs(3600);

/// How large the heavy pieces are.
#[derive(Clone, Copy)]
pub struct Sizes {
    /// Of one transaction.
    pub rows: u64,
    /// Of one transaction.
    pub subtransactions: u64,
    /// Transactions that are open at the same time.
    pub open: usize,
    pub tables: u64,
    /// Of one row.
    pub row_megabytes: u64,
    pub copy_megabytes: u64,
    pub pgbench_scale: u32,
}

#[cfg(test)]
impl Sizes {
    /// For every change.
    const SMALL: Sizes = Sizes {
        rows: 50_000,
        subtransactions: 2_000,
        open: 20,
        tables: 100,
        row_megabytes: 5,
        copy_megabytes: 10,
        pgbench_scale: 1,
    };
}

pub struct Load {
    /// pgbench goes on at least so long.
    pub seconds: u64,
    pub sizes: Sizes,
}

/// What it came to, known before the restore.
struct Figures {
    seen: Seen,
    /// The worker's largest resident set, in kB, and what it may be.
    peak: u64,
    limit: u64,
    pgbench: String,
    heavy: Vec<(&'static str, Duration)>,
    drained: Duration,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (work, took) in &self.heavy {
            writeln!(f, "load: {work}: {:.1} s", took.as_secs_f64())?;
        }
        writeln!(f, "load: pgbench -c 4: {}", self.pgbench)?;
        writeln!(f, "load: {}", self.seen)?;
        writeln!(
            f,
            "load: peak memory of the capture worker {} MB, of {} MB that it may take",
            self.peak / 1024,
            self.limit / 1024
        )?;
        write!(
            f,
            "load: all on disk {:.1} s after the load's end",
            self.drained.as_secs_f64()
        )
    }
}

impl Load {
    /// Prints what it measures; gives what is wrong.
    pub fn run(&self) -> Vec<String> {
        let c = Cluster::builder()
            .setting("fsync", "on")
            .setting("wal_init_zero", "on")
            .setting("max_wal_size", "'16GB'")
            .setting("max_connections", &(self.sizes.open + 50).to_string())
            .setting("max_locks_per_transaction", "256")
            .setting("pg_incrbackup.rotate_size", "'64MB'")
            .back_up();
        c.keep_if_it_fails();
        let scale = self.sizes.pgbench_scale.to_string();
        c.pgbench(&["-i", "-q", "-s", &scale]);
        c.sql(heavy::TABLES);
        let worker = c.capture_pid();
        let mut open = c.session();
        open.run("BEGIN; INSERT INTO open VALUES (1)");

        let mut pgbench = self.start_pgbench(&c);
        let watch = Watch::start(&c);
        let started = Instant::now();
        let mut problems = Vec::new();
        let mut heavy = Vec::new();
        for work in heavy::WORK {
            let began = Instant::now();
            (work.run)(&c, &self.sizes);
            heavy.push((work.name, began.elapsed()));
            if let Err(failure) = c.try_sql("SELECT incr_dump()") {
                problems.push(format!("base after {}: {failure}", work.name));
            }
        }
        while started.elapsed() < Duration::from_secs(self.seconds) {
            std::thread::sleep(Duration::from_secs(1));
        }
        let pgbench = finish_pgbench(&mut pgbench);
        open.run("INSERT INTO open VALUES (2); COMMIT");
        let began = Instant::now();
        if let Err(failure) = c.try_sql("SELECT incr_flush('1 hour')") {
            problems.push(format!("incr_flush(): {failure}"));
        }
        let drained = began.elapsed();
        let seen = watch.stop();
        problems.extend(seen.problems.iter().cloned());
        if worker != c.capture_pid() {
            problems.push("the capture worker is another one than at the start".to_string());
        }
        let peak = watch::peak_kilobytes(&worker);
        let limit = self.memory_limit(&c);
        if peak > limit {
            problems.push(format!("the capture worker took {} MB", peak / 1024));
        }
        let figures = Figures {
            seen,
            peak,
            limit,
            pgbench,
            heavy,
            drained,
        };
        println!("{figures}");
        self.restore(c, &mut problems);
        println!("load: {} problems\n{}", problems.len(), problems.join("\n"));
        problems
    }

    /// The decoding memory, six times the largest row, and what a backend takes anyway: its own, and
    /// the shared buffers, which count as its resident set.
    fn memory_limit(&self, c: &Cluster) -> u64 {
        const BACKEND: u64 = 64 * 1024;
        let settings = "SELECT (pg_size_bytes(current_setting('logical_decoding_work_mem')) \
            + pg_size_bytes(current_setting('shared_buffers'))) / 1024";
        let settings: u64 = c.sql(settings).parse().expect("a number");
        settings + 6 * self.sizes.row_megabytes * 1024 + BACKEND
    }

    fn start_pgbench(&self, c: &Cluster) -> Child {
        let mut command = c.installation().command("pgbench");
        let seconds = self.seconds.to_string();
        command.args(["-n", "-c", "4", "-j", "1", "-T", &seconds, "-P", "10"]);
        command.arg(c.conninfo(c.database()));
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().expect("pgbench can be run")
    }

    /// From the first base, through everything.
    fn restore(&self, c: Cluster, problems: &mut Vec<String>) {
        let verified = c.sql("SELECT * FROM incr_verify()");
        if !verified.is_empty() {
            problems.push(format!("incr_verify(): {verified}"));
        }
        let bases = c.bases();
        let first = bases[0].file_name().expect("a base has a name");
        let began = Instant::now();
        let restored = c.restore(&["--base", &first.to_string_lossy()]);
        println!(
            "load: restored from the first of {} bases in {:.1} s",
            bases.len(),
            began.elapsed().as_secs_f64()
        );
        let (source, target) = ((&c, c.database()), (&c, restored.database.as_str()));
        let found = differences(source, target);
        problems.extend(
            found
                .iter()
                .map(|difference| format!("the restored database differs: {difference:?}")),
        );
        if problems.is_empty() {
            c.discard();
        }
    }
}

/// Its transactions per second, over all and in the worst ten seconds.
fn finish_pgbench(pgbench: &mut Child) -> String {
    use std::io::Read;
    let (mut progress, mut summary) = (String::new(), String::new());
    let (mut errors, mut output) = (pgbench.stderr.take(), pgbench.stdout.take());
    errors
        .as_mut()
        .map(|pipe| pipe.read_to_string(&mut progress));
    output
        .as_mut()
        .map(|pipe| pipe.read_to_string(&mut summary));
    let status = pgbench.wait().expect("pgbench was started");
    assert!(status.success(), "pgbench: {progress}");
    let rate = |line: &str| -> Option<f64> {
        let (_, rest) = line.split_once(" s, ")?;
        rest.split(' ').next()?.parse().ok()
    };
    let rates = progress
        .lines()
        .filter(|line| line.starts_with("progress:"))
        .filter_map(rate);
    let worst = rates.fold(f64::INFINITY, f64::min);
    let overall = summary
        .lines()
        .find(|line| line.starts_with("tps"))
        .unwrap_or("no tps");
    format!("{overall}; worst ten seconds {worst:.0} tps")
}

#[cfg(test)]
#[test]
fn everything_at_once_restores() {
    let load = Load {
        seconds: 5,
        sizes: Sizes::SMALL,
    };
    let problems = load.run();
    assert!(problems.is_empty(), "{problems:?}");
}
