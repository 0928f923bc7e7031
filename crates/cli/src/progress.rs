//! How far long work has come: bytes, rate, time left, and what is being read.
//!
//! On a terminal a line that changes (indicatif); elsewhere a line every few seconds; for programs objects of JSON,
//! `{"progress": …}`, on standard error; with `--quiet` nothing. Whoever works may do so in several threads.

use std::io::IsTerminal;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chrono::TimeDelta;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::shown::{line, size, span};

/// Between two lines.
const INTERVAL: Duration = Duration::from_secs(3);

/// With a total, and without.
const BAR: &str = "{prefix}  {bar:24} {percent}%  {msg}";
const SPINNER: &str = "{prefix}  {spinner} {msg}";

/// The work of a command, one phase after the other.
pub struct Progress {
    shown: Shown,
    /// Of the current phase, in bytes.
    done: AtomicU64,
    state: Mutex<State>,
}

enum Shown {
    Nothing,
    Bar(ProgressBar),
    Lines,
    Json,
}

struct State {
    phase: String,
    file: String,
    /// In bytes; `None` if unknown.
    total: Option<u64>,
    begun: Instant,
    last_shown: Option<Instant>,
}

/// What is shown of a phase.
struct Figures {
    done: u64,
    total: Option<u64>,
    /// Bytes per second.
    rate: u64,
    /// In seconds.
    left: Option<u64>,
}

impl Progress {
    /// For a command's whole life.
    pub fn new(is_json: bool, is_quiet: bool) -> Progress {
        let shown = if is_quiet {
            Shown::Nothing
        } else if is_json {
            Shown::Json
        } else if std::io::stderr().is_terminal() {
            Shown::Bar(ProgressBar::with_draw_target(
                None,
                ProgressDrawTarget::stderr(),
            ))
        } else {
            Shown::Lines
        };
        Progress {
            shown,
            done: AtomicU64::new(0),
            state: Mutex::new(State {
                phase: String::new(),
                file: String::new(),
                total: None,
                begun: Instant::now(),
                last_shown: None,
            }),
        }
    }

    /// Begins a phase, whose first line is always shown; `total` is in bytes.
    pub fn phase(&self, name: &str, total: Option<u64>) {
        let mut state = self.state();
        *state = State {
            phase: name.to_owned(),
            file: String::new(),
            total,
            begun: Instant::now(),
            last_shown: None,
        };
        self.done.store(0, Ordering::Relaxed);
        if let Shown::Bar(bar) = &self.shown {
            let template = if total.is_some() { BAR } else { SPINNER };
            let style =
                ProgressStyle::with_template(template).expect("the template is well-formed");
            bar.set_style(style.progress_chars("=> "));
            bar.set_prefix(line(name));
            bar.set_length(total.unwrap_or(0));
        }
        self.show(&mut state);
    }

    /// Names what is being read.
    pub fn file(&self, name: &str) {
        let mut state = self.state();
        name.clone_into(&mut state.file);
        self.show_if_due(&mut state);
    }

    /// So many bytes more are done.
    pub fn add(&self, bytes: u64) {
        self.done.fetch_add(bytes, Ordering::Relaxed);
        self.show_if_due(&mut self.state());
    }

    /// Ends the phase; its last line is always shown.
    pub fn finish(&self) {
        let mut state = self.state();
        state.file.clear();
        self.show(&mut state);
        if let Shown::Bar(bar) = &self.shown {
            bar.finish_and_clear();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn show_if_due(&self, state: &mut State) {
        let interval = match &self.shown {
            Shown::Nothing => return,
            // indicatif limits how often it draws; this limits how often it is told.
            Shown::Bar(_) => Duration::from_millis(50),
            Shown::Lines | Shown::Json => INTERVAL,
        };
        if state
            .last_shown
            .is_none_or(|last| last.elapsed() >= interval)
        {
            self.show(state);
        }
    }

    fn show(&self, state: &mut State) {
        state.last_shown = Some(Instant::now());
        let done = self.done.load(Ordering::Relaxed);
        let figures = Figures::of(done, state.total, state.begun.elapsed());
        match &self.shown {
            Shown::Nothing => {}
            Shown::Bar(bar) => {
                bar.set_position(done);
                bar.set_message(format!("{}  {}", figures.text(), line(&state.file)));
            }
            Shown::Lines => {
                let mut parts = vec![line(&state.phase), figures.text(), line(&state.file)];
                parts.retain(|part| !part.is_empty());
                crate::output::tell!("{}", parts.join(": "));
            }
            Shown::Json => {
                let progress = serde_json::json!({
                    "phase": state.phase,
                    "file": state.file,
                    "bytes": figures.done,
                    "total": figures.total,
                    "bytes_per_second": figures.rate,
                    "seconds_left": figures.left,
                });
                crate::output::tell!("{}", serde_json::json!({ "progress": progress }));
            }
        }
    }
}

impl Figures {
    fn of(done: u64, total: Option<u64>, elapsed: Duration) -> Figures {
        let seconds = elapsed.as_secs_f64();
        // Before the first second a rate is a guess.
        let rate = if seconds >= 1.0 {
            (done as f64 / seconds) as u64
        } else {
            0
        };
        let left = total.map(|total| total.saturating_sub(done));
        let left = left.and_then(|bytes| bytes.checked_div(rate));
        Figures {
            done,
            total,
            rate,
            left,
        }
    }

    /// Nothing before the first byte of nobody knows how many.
    fn text(&self) -> String {
        if (self.done, self.total) == (0, None) {
            return String::new();
        }
        let mut text = size(self.done);
        if let Some(total) = self.total {
            let percent = (self.done.min(total) * 100)
                .checked_div(total)
                .unwrap_or(100);
            text.push_str(&format!(" of {} ({percent} %)", size(total)));
        }
        if self.rate > 0 {
            text.push_str(&format!(", {}/s", size(self.rate)));
        }
        if let Some(left) = self.left.filter(|left| *left > 0) {
            let left = TimeDelta::seconds(i64::try_from(left).unwrap_or(i64::MAX / 1000));
            text.push_str(&format!(", {} left", span(left)));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_say_how_far_how_fast_and_how_long() {
        let after =
            |done, total, seconds| Figures::of(done, total, Duration::from_secs(seconds)).text();
        assert_eq!(after(0, Some(1 << 20), 0), "0 bytes of 1.0 MB (0 %)");
        assert_eq!(
            after(1 << 19, Some(1 << 20), 2),
            "512 kB of 1.0 MB (50 %), 256 kB/s, 2 s left"
        );
        assert_eq!(
            after(1 << 20, Some(1 << 20), 4),
            "1.0 MB of 1.0 MB (100 %), 256 kB/s"
        );
        // More than was expected, of nothing, and of nobody knows how much.
        assert_eq!(
            after(300, Some(200), 1),
            "300 bytes of 200 bytes (100 %), 300 bytes/s"
        );
        assert_eq!(after(0, Some(0), 9), "0 bytes of 0 bytes (100 %)");
        assert_eq!(after(100, None, 1), "100 bytes, 100 bytes/s");
        assert_eq!(after(0, None, 5), "");
    }
}
