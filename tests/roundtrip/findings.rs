//! What a round trip found: told in short, written in full below `target`, counted for the verdict.

use crate::report_directory;
use crate::survey::{shortened, Survey};
use harness::Difference;
use std::fmt::Write;
use std::fs;
use std::process::ExitCode;

/// How many groups of failed statements, and how many differing objects, are shown.
const SHOWN: usize = 30;

/// How many statements of one error, and how many characters of each, are written.
const STATEMENTS: usize = 20;
const STATEMENT_LENGTH: usize = 800;

pub struct Findings {
    counts: Vec<(usize, &'static str)>,
}

impl Findings {
    pub fn new() -> Self {
        fs::create_dir_all(report_directory()).expect("the report's directory can be made");
        Self { counts: Vec::new() }
    }

    /// Notes how many of something there are that should be none.
    pub fn count(&mut self, count: usize, what: &'static str) {
        self.counts.push((count, what));
    }

    pub fn write(&self, file: &str, text: &str) {
        let path = report_directory().join(file);
        fs::write(path, text).expect("the report's directory can be written");
    }

    pub fn survey(&mut self, survey: &Survey) {
        let groups = survey.by_error();
        let mut text = String::new();
        for (error, failures) in &groups {
            writeln!(text, "=== {} × {error}", failures.len()).ok();
            for failure in failures.iter().take(STATEMENTS) {
                let statement = shortened(&failure.statement, STATEMENT_LENGTH);
                writeln!(text, "{}  {statement}", failure.place).ok();
                for line in failure.details.lines().filter(|line| !points_at(line)) {
                    writeln!(text, "    {}", shortened(line, STATEMENT_LENGTH)).ok();
                }
            }
            if failures.len() > STATEMENTS {
                writeln!(text, "… and {} more", failures.len() - STATEMENTS).ok();
            }
            text.push('\n');
        }
        self.write("survey.txt", &text);
        println!("all failed statements, by error:");
        for (error, failures) in groups.iter().take(SHOWN) {
            println!("  {} × {}", failures.len(), shortened(error, 150));
        }
        self.count(survey.failures.len(), "failed statements");
        if let Some(said) = &survey.broken_off {
            println!("the survey broke off:\n{said}");
            self.count(1, "survey that broke off");
        }
    }

    pub fn differences(&mut self, found: &[Difference]) {
        let mut text = String::new();
        let mut shown = 0;
        for group in found.chunk_by(|a, b| a.object == b.object) {
            writeln!(text, "=== {}", group[0].object).ok();
            for difference in group {
                writeln!(text, "{difference}").ok();
            }
            shown += 1;
            if shown <= SHOWN {
                println!("  differs: {}, {} lines", group[0].object, group.len());
            }
        }
        self.write("diff.txt", &text);
        self.count(found.len(), "differing lines");
    }

    /// Says the verdict.
    pub fn conclude(self) -> ExitCode {
        println!("details: {}", report_directory().display());
        let problems: usize = self.counts.iter().map(|(count, _)| count).sum();
        let counts = self.counts.iter();
        let counts: Vec<_> = counts
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
        let verdict = if problems == 0 { "identical" } else { "FAILED" };
        println!("round trip {verdict}: {}", counts.join(", "));
        if problems == 0 {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }
}

/// The caret below a LINE, and the LINE itself, which repeats the statement.
fn points_at(line: &str) -> bool {
    line.trim() == "^" || line.starts_with("LINE ")
}
