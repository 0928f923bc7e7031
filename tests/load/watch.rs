//! Looks on every second: what health says, how far capture is behind, whether the slot moves.

use harness::Cluster;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The longest that the slot may stand while others commit.
const LONGEST_STANDSTILL: Duration = Duration::from_secs(120);

/// What was seen.
#[derive(Default)]
pub struct Seen {
    looks: u32,
    /// The longest that one look at health took.
    longest_look: Duration,
    worst_lag_bytes: u64,
    worst_lag: Duration,
    longest_standstill: Duration,
    /// Levels other than ok, with reasons, once each.
    levels: Vec<String>,
    pub problems: Vec<String>,
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "worst lag {:.1} s, {} MB of WAL; the slot stood still for at most {:.1} s; health was read {} \
             times in at most {:.2} s",
            self.worst_lag.as_secs_f64(),
            self.worst_lag_bytes / 1_000_000,
            self.longest_standstill.as_secs_f64(),
            self.looks,
            self.longest_look.as_secs_f64()
        )?;
        self.levels
            .iter()
            .try_for_each(|level| write!(f, "\nload: health said {level}"))
    }
}

pub struct Watch {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Seen>,
}

/// One look: when, where the server's WAL ended, what the slot was told.
struct Sample {
    at: Instant,
    written: u64,
    confirmed: u64,
}

const QUERY: &str = "SELECT level, reasons, pg_current_wal_lsn() - '0/0', durable_lsn - '0/0', \
    (SELECT confirmed_flush_lsn - '0/0' FROM pg_replication_slots s WHERE s.slot_name = h.slot_name) \
    FROM incr_slot_health() h";

impl Watch {
    pub fn start(c: &Cluster) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut session = c.session();
        let told = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut seen = Seen::default();
            let mut looks: Vec<Sample> = Vec::new();
            while !told.load(Ordering::Relaxed) {
                let began = Instant::now();
                let row = session.run(QUERY);
                seen.longest_look = seen.longest_look.max(began.elapsed());
                seen.note(row.trim(), began, &mut looks);
                std::thread::sleep(Duration::from_secs(1).saturating_sub(began.elapsed()));
            }
            seen
        });
        Self { stop, thread }
    }

    pub fn stop(self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        let seen = self.thread.join();
        seen.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl Seen {
    fn note(&mut self, row: &str, at: Instant, looks: &mut Vec<Sample>) {
        self.looks += 1;
        let mut fields = row.rsplitn(4, '|');
        let mut lsn = || -> u64 {
            fields
                .next()
                .and_then(|field| field.parse().ok())
                .unwrap_or(0)
        };
        let (confirmed, durable, written) = (lsn(), lsn(), lsn());
        let health = fields.next().unwrap_or(row);
        // The same with another number is no news.
        let words = |health: &str| health.replace(|c: char| c.is_ascii_digit(), "");
        let is_known = |level: &String| words(level) == words(health);
        if !health.starts_with("ok") && !self.levels.iter().any(is_known) {
            self.levels.push(health.to_string());
            if health.starts_with("emergency") {
                self.problems.push(format!("health: {health}"));
            }
        }
        self.worst_lag_bytes = self.worst_lag_bytes.max(written.saturating_sub(durable));
        // Behind since the first look whose WAL is not safe now.
        let behind = looks.iter().find(|look| look.written > durable);
        let behind = behind.map_or(Duration::ZERO, |look| at - look.at);
        self.worst_lag = self.worst_lag.max(behind);
        let same = looks
            .iter()
            .rev()
            .take_while(|look| look.confirmed == confirmed);
        let stood = same.last().map_or(Duration::ZERO, |look| at - look.at);
        self.longest_standstill = self.longest_standstill.max(stood);
        if stood > LONGEST_STANDSTILL && self.problems.is_empty() {
            self.problems
                .push(format!("the slot has stood still for {stood:?}"));
        }
        looks.push(Sample {
            at,
            written,
            confirmed,
        });
    }
}

/// The most memory that a process has ever held, in kB.
pub fn peak_kilobytes(pid: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak = peak.unwrap_or("0 kB").trim().trim_end_matches(" kB");
    peak.parse().unwrap_or(0)
}
