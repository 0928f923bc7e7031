//! Text for people, JSON for programs.

use std::io::Write;

use serde::Serialize;

use crate::error::{Error, Outcome};
use crate::progress::Progress;
use crate::shown::lines;
use crate::source::Source;

/// A line on standard error. A reader that has gone is no reason to fail, least of all in the middle of a restore.
macro_rules! tell {
    ($($argument:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), $($argument)*);
    }};
}
pub(crate) use tell;

/// Where answers and errors go.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    is_json: bool,
    is_quiet: bool,
}

impl Output {
    pub fn new(is_json: bool, is_quiet: bool) -> Output {
        Output { is_json, is_quiet }
    }

    /// Whether answers are for programs.
    pub fn is_json(&self) -> bool {
        self.is_json
    }

    /// Nobody asks for progress.
    pub fn is_quiet(&self) -> bool {
        self.is_quiet
    }

    /// Of a command's work.
    pub fn progress(&self) -> Progress {
        Progress::new(self.is_json, self.is_quiet)
    }

    /// An error in place of the answer about a database. A program that reads the answers finds it among them.
    pub fn refused(&self, source: &Source, error: &Error) {
        if self.is_json {
            let answer = serde_json::json!({
                "database": source.name,
                "place": source.storage.place(""),
                "error": error.to_string(),
            });
            self.answer(&answer, ToString::to_string);
        }
        self.error(error);
    }

    /// An answer: an object of JSON, or its text.
    pub fn answer<T: Serialize>(&self, answer: &T, text: impl FnOnce(&T) -> String) {
        let line = if self.is_json {
            plain(serde_json::to_string(answer).expect("plain fields always become JSON"))
        } else {
            text(answer).trim_end().to_owned()
        };
        // A reader that has gone (head) is no reason to fail.
        let _ = writeln!(std::io::stdout(), "{line}");
    }

    /// A fact for programs: people are told in another way.
    pub fn fact<T: Serialize>(&self, fact: &T) {
        if self.is_json {
            self.answer(fact, |_| String::new());
        }
    }

    /// What a user should know, on standard error.
    pub fn warning(&self, text: &str) {
        if self.is_json {
            crate::output::tell!("{}", serde_json::json!({ "warning": text }));
        } else {
            crate::output::tell!("pg_incrbackup: {}", lines(text));
        }
    }

    /// An error, on standard error.
    pub fn error(&self, error: &Error) {
        if self.is_json {
            let (message, hint) = (cut(&error.to_string()), cut(error.hint()));
            let status = format!("{:?}", Outcome::of(error));
            let line = serde_json::json!({
                "error": message, "hint": hint, "outcome": status, "of_server": error.is_of_server(),
            });
            crate::output::tell!("{line}");
            return;
        }
        crate::output::tell!("pg_incrbackup: {}", lines(&error.to_string()));
        if !error.hint().is_empty() {
            crate::output::tell!("    {}", lines(error.hint()));
        }
    }
}

/// JSON in which what acts on a terminal, or turns the rest of a line around, is spelled out: the same to a program.
pub fn plain(json: String) -> String {
    let acts = |c: char| {
        matches!(c, '\u{7f}'..='\u{9f}' | '\u{61c}' | '\u{200e}' | '\u{200f}')
            || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if !json.contains(acts) {
        return json;
    }
    let mut out = String::with_capacity(json.len() + 16);
    for c in json.chars() {
        if acts(c) {
            out.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            out.push(c);
        }
    }
    out
}

/// A statement of a server's context can be as long as a row; programs read a line at once, and may keep its end only.
const LONGEST: usize = 8 * 1024;

/// The beginning of a text that is too long.
fn cut(text: &str) -> String {
    if text.len() <= LONGEST {
        return text.to_owned();
    }
    let start = &text[..text.floor_char_boundary(LONGEST)];
    format!("{start}... ({} bytes)", text.len())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_acts_on_a_terminal_is_spelled_out_in_json() {
        let json = serde_json::json!("\u{e4}\u{202e}\u{9b}31m\u{7f}").to_string();
        let plain = plain(json.clone());
        assert_eq!(plain, "\"\u{e4}\\u202e\\u009b31m\\u007f\"");
        let read = |text: &str| serde_json::from_str::<String>(text).unwrap();
        assert_eq!(read(&plain), read(&json));
    }

    #[test]
    fn a_text_that_is_too_long_for_a_line_is_cut_between_characters() {
        assert_eq!(cut("short"), "short");
        let long = "x".repeat(LONGEST - 1) + &"\u{e4}".repeat(LONGEST);
        assert_eq!(
            cut(&long),
            format!("{}... ({} bytes)", &long[..LONGEST - 1], long.len())
        );
    }
}
