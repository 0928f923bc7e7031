//! Where a copy is: on a terminal a line that changes, elsewhere a line each minute, for programs an object of JSON for each
//! interval, and for Prometheus a file.

use archive::counted;
use std::io::{IsTerminal, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use archive::time::{iso, now, Time};
use archive::Lsn;
use chrono::TimeDelta;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;

use crate::error::{Error, Result};
use crate::output::Output;
use crate::shown::{line, size, span};

/// Between two lines where nobody sees a terminal.
const LINES: Duration = Duration::from_secs(60);

/// Where it is.
#[derive(Debug, Clone, Default)]
pub struct Status {
    pub state: &'static str,
    /// The last transaction that is applied.
    pub applied: Option<(Lsn, Option<Time>)>,
    /// Up to which the archive is known to reach: a commit, or a position that was recorded.
    pub archive: Option<(Lsn, Option<Time>)>,
    /// The age of the oldest transaction of the archive that is not applied, in seconds; 0 if all are.
    pub lag_seconds: f64,
    pub delay_seconds: f64,
    /// Of the uncompressed text of the segments.
    pub behind_bytes: u64,
    pub transactions: u64,
    /// What is lost, each object once: the copy stays incomplete.
    pub lost: Vec<String>,
    /// Changes that did not fit behind a loss.
    pub not_applied: u64,
    /// Objects that could not be made when their turn came.
    pub deferred: u64,
}

/// Says it.
pub struct Voice {
    output: Output,
    is_json: bool,
    is_quiet: bool,
    database: String,
    metrics: Option<PathBuf>,
    interval: Duration,
    bar: Option<ProgressBar>,
    last: Option<Instant>,
    last_line: Option<Instant>,
    /// The state of the last line: another one is told at once.
    last_state: &'static str,
    /// The trouble that was told.
    trouble: Option<String>,
    has_written: bool,
}

impl Voice {
    /// Of a copy; `database` is its name.
    pub fn new(
        output: &Output,
        database: String,
        metrics: Option<&Path>,
        interval: Duration,
    ) -> Voice {
        let is_seen = std::io::stderr().is_terminal() && !output.is_json() && !output.is_quiet();
        let bar = is_seen.then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            let style = ProgressStyle::with_template("{spinner} {msg}");
            bar.set_style(style.expect("the template is well-formed"));
            bar
        });
        Voice {
            output: *output,
            is_json: output.is_json(),
            is_quiet: output.is_quiet(),
            database,
            metrics: metrics.map(Path::to_owned),
            interval,
            bar,
            last: None,
            last_line: None,
            last_state: "",
            trouble: None,
            has_written: false,
        }
    }

    /// Whether an interval has passed since the last time.
    pub fn is_due(&self) -> bool {
        self.last.is_none_or(|last| last.elapsed() >= self.interval)
    }

    /// Where it is now. A file that cannot be written at first is an error; later one that is old says so itself.
    pub fn tell(&mut self, status: &Status) -> Result<()> {
        self.last = Some(Instant::now());
        if let Some(file) = &self.metrics.clone() {
            match write_metrics(file, &metrics(status, &self.database)) {
                Err(error) if !self.has_written => return Err(error),
                Err(error) => self.trouble(&error),
                Ok(()) => self.has_written = true,
            }
        }
        if self.is_json {
            self.output.fact(&as_json(status, &self.database));
        } else if let Some(bar) = &self.bar {
            bar.set_message(in_words(status));
            bar.tick();
        } else if !self.is_quiet {
            let is_new = status.state != self.last_state;
            if is_new || self.last_line.is_none_or(|last| last.elapsed() >= LINES) {
                self.last_line = Some(Instant::now());
                self.last_state = status.state;
                crate::output::tell!("{}", in_words(status));
            }
        }
        Ok(())
    }

    /// Something passing, said once.
    pub fn trouble(&mut self, error: &Error) {
        let text = error.to_string();
        if self.trouble.as_ref() != Some(&text) {
            let said = format!(
                "{text}\n    It is tried again until it succeeds, or the program is stopped."
            );
            self.say(&said);
            self.trouble = Some(text);
        }
    }

    /// It is over.
    pub fn no_trouble(&mut self) {
        if self.trouble.take().is_some() {
            self.say("it goes on");
        }
    }

    /// A word of its own.
    pub fn say(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| self.output.warning(text)),
            None => self.output.warning(text),
        }
    }

    /// Nothing more is said on the changing line.
    pub fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn as_json(status: &Status, database: &str) -> serde_json::Value {
    let lsn = |place: &Option<(Lsn, Option<Time>)>| place.map(|(lsn, _)| lsn.to_string());
    let at = |place: &Option<(Lsn, Option<Time>)>| place.and_then(|(_, at)| at.map(iso));
    json!({"follow": {
        "database": database,
        "state": status.state,
        "applied_lsn": lsn(&status.applied),
        "applied_commit_at": at(&status.applied),
        "archive_lsn": lsn(&status.archive),
        "archive_at": at(&status.archive),
        "lag_seconds": status.lag_seconds,
        "delay_seconds": status.delay_seconds,
        "behind_bytes": status.behind_bytes,
        "transactions": status.transactions,
        "is_partial": !status.lost.is_empty(),
        "lost": status.lost,
        "not_applied": status.not_applied,
        "deferred": status.deferred,
    }})
}

fn in_words(status: &Status) -> String {
    let mut text = status.state.to_owned();
    if let Some((lsn, at)) = &status.applied {
        let at = at.map_or_else(String::new, |at| format!(" of {}", iso(at)));
        text.push_str(&format!(": applied up to commit {lsn}{at}"));
    }
    if status.behind_bytes > 0 {
        let lag = TimeDelta::milliseconds((status.lag_seconds * 1000.0) as i64);
        text.push_str(&format!(
            ", {} and {} behind",
            span(lag),
            size(status.behind_bytes)
        ));
    } else if status.archive.is_some() {
        text.push_str(", all that the archive has");
    }
    if !status.lost.is_empty() {
        text.push_str("; incomplete, changes are lost");
    }
    if status.deferred > 0 {
        text.push_str(&format!(
            "; {} to be made at the promotion",
            counted(status.deferred, "object")
        ));
    }
    line(&text)
}

/// In Prometheus's text format.
fn metrics(status: &Status, database: &str) -> String {
    let label = database
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n");
    let seconds = |at: Option<Time>| at.map(|at| at.timestamp_micros() as f64 / 1e6);
    let lsn = |place: &Option<(Lsn, Option<Time>)>| place.map(|(lsn, _)| lsn.0 as f64);
    let at = |place: &Option<(Lsn, Option<Time>)>| seconds(place.and_then(|(_, at)| at));
    let is_connected = matches!(status.state, "following" | "catching up");
    let figures: [(&str, &str, &str, Option<f64>); 12] = [
        (
            "connected",
            "gauge",
            "1: archive and target can be reached, and the copy is followed",
            Some(f64::from(u8::from(is_connected))),
        ),
        (
            "lag_seconds",
            "gauge",
            "Age of the oldest transaction of the archive that is not applied; 0 if all are",
            Some(status.lag_seconds),
        ),
        (
            "delay_seconds",
            "gauge",
            "The delay that is asked for",
            Some(status.delay_seconds),
        ),
        (
            "behind_bytes",
            "gauge",
            "Bytes of the segments, uncompressed, that are not applied",
            Some(status.behind_bytes as f64),
        ),
        (
            "applied_lsn",
            "gauge",
            "Commit LSN of the last transaction that is applied, as a number of bytes",
            lsn(&status.applied),
        ),
        (
            "archive_lsn",
            "gauge",
            "LSN that the archive reaches to",
            lsn(&status.archive),
        ),
        (
            "applied_commit_timestamp_seconds",
            "gauge",
            "Commit time of the last transaction that is applied",
            at(&status.applied),
        ),
        (
            "archive_timestamp_seconds",
            "gauge",
            "All that was committed up to then is in the archive",
            at(&status.archive),
        ),
        (
            "transactions_total",
            "counter",
            "Transactions applied since the copy was begun",
            Some(status.transactions as f64),
        ),
        (
            "partial",
            "gauge",
            "1: changes are lost, and the copy is incomplete",
            Some(f64::from(u8::from(!status.lost.is_empty()))),
        ),
        (
            "deferred_objects",
            "gauge",
            "Objects that could not be made, and wait for the promotion",
            Some(status.deferred as f64),
        ),
        (
            "written_timestamp_seconds",
            "gauge",
            "When this file was written",
            seconds(Some(now())),
        ),
    ];
    let mut text = String::new();
    for (name, kind, help, value) in figures {
        let name = format!("pg_incrbackup_follow_{name}");
        let value = value.map_or_else(|| "NaN".to_owned(), |value| value.to_string());
        text.push_str(&format!(
            "# HELP {name} {help}\n# TYPE {name} {kind}\n{name}{{database=\"{label}\"}} {value}\n"
        ));
    }
    text
}

/// A reader finds the old content or the new one.
fn write_metrics(file: &Path, text: &str) -> Result<()> {
    let mut temporary = file.as_os_str().to_owned();
    temporary.push(".tmp");
    let written = std::fs::File::create(&temporary)
        .and_then(|mut created| created.write_all(text.as_bytes()))
        .and_then(|()| std::fs::rename(&temporary, file));
    written.map_err(|error| {
        let message = format!(
            "could not write the metrics to \"{}\": {error}",
            file.display()
        );
        Error::failed(
            message,
            "Its directory must exist, and be writable for whoever follows.",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_what_prometheus_reads() {
        let status = Status {
            state: "following",
            lag_seconds: 1.5,
            ..Status::default()
        };
        let text = metrics(&status, "it\"s\\");
        assert!(
            text.contains("\npg_incrbackup_follow_lag_seconds{database=\"it\\\"s\\\\\"} 1.5\n"),
            "{text}"
        );
        assert!(
            text.contains("\npg_incrbackup_follow_applied_lsn{database=\"it\\\"s\\\\\"} NaN\n"),
            "{text}"
        );
        for line in text.lines() {
            assert!(
                line.starts_with("# ") || line.split(' ').count() == 2,
                "{line}"
            );
        }
    }
}
