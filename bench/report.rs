//! The report: tables and targets, printed as they come and written to `bench/results/` as
//! Markdown, with the raw numbers beside it as JSON.

use crate::machine;
use harness::Installation;
use serde_json::{json, Map, Value};
use std::fmt::Write;
use std::fs;

pub struct Report {
    name: String,
    text: String,
    raw: Map<String, Value>,
    targets: Vec<Vec<String>>,
}

impl Report {
    /// Of these parts (none: all of them).
    pub fn new(parts: &[&str], repeats: usize) -> Self {
        let installation = Installation::under_test();
        let version = machine::version(&installation);
        let mut name = format!("{}-{version}", machine::date());
        // A part must not take the place of the whole.
        for part in parts {
            write!(name, "-{part}").expect("a string can be written to");
        }
        let mut report = Self {
            name,
            text: String::new(),
            raw: Map::new(),
            targets: Vec::new(),
        };
        report.say(&format!("# make bench on PostgreSQL {version}"));
        let facts = machine::facts(&installation);
        let mut rows: Vec<_> = facts
            .iter()
            .map(|(name, value)| vec![name.to_string(), value.clone()])
            .collect();
        rows.push(vec!["repeats".into(), repeats.to_string()]);
        report.table(&["machine", ""], &rows);
        let facts = facts
            .into_iter()
            .map(|(name, value)| (name.to_string(), value.into()));
        report
            .raw
            .insert("machine".into(), facts.collect::<Map<_, _>>().into());
        report.raw.insert("repeats".into(), repeats.into());
        report
    }

    pub fn heading(&mut self, text: &str) {
        self.say(&format!("## {text}"));
    }

    pub fn smaller_heading(&mut self, text: &str) {
        self.say(&format!("### {text}"));
    }

    /// A paragraph.
    pub fn note(&mut self, text: &str) {
        self.say(text);
    }

    /// A table; its columns are padded, so that it can be read as it stands.
    pub fn table(&mut self, header: &[&str], rows: &[Vec<String>]) {
        let header: Vec<String> = header.iter().map(|cell| cell.to_string()).collect();
        let width = |column: usize| {
            let cells = rows
                .iter()
                .chain([&header])
                .map(|row| row[column].chars().count());
            cells.max().unwrap_or(0).max(3)
        };
        let widths: Vec<usize> = (0..header.len()).map(width).collect();
        let line = |row: &Vec<String>| {
            let cells = row.iter().zip(&widths).enumerate();
            let cells = cells.map(|(column, (cell, &width))| match column {
                0 => format!("{cell:<width$}"),
                _ => format!("{cell:>width$}"),
            });
            format!("| {} |", cells.collect::<Vec<_>>().join(" | "))
        };
        let rule = widths
            .iter()
            .enumerate()
            .map(|(column, width)| match column {
                0 => "-".repeat(*width),
                _ => format!("{}:", "-".repeat(width - 1)),
            });
        let rule = format!("| {} |", rule.collect::<Vec<_>>().join(" | "));
        let mut lines = vec![line(&header), rule];
        lines.extend(rows.iter().map(line));
        self.say(&lines.join("\n"));
    }

    /// A figure that must not exceed `limit`.
    pub fn at_most(&mut self, what: &str, limit: f64, measured: f64, unit: &str) {
        let wanted = format!("at most {}{unit}", figure(limit));
        let measured_text = format!("{}{unit}", figure(measured));
        self.target(
            what,
            wanted,
            measured_text,
            String::new(),
            measured <= limit,
        );
    }

    /// A ratio of times that must not exceed `limit`, and the same ratio of CPU times, which does
    /// not decide but is less shaken by a busy machine.
    pub fn ratio_at_most(&mut self, what: &str, limit: f64, (clock, cpu): (f64, f64)) {
        let wanted = format!("at most {}", figure(limit));
        self.target(what, wanted, figure(clock), figure(cpu), clock <= limit);
    }

    /// A ratio of times that must reach `limit`, and of CPU times.
    pub fn ratio_at_least(&mut self, what: &str, limit: f64, (clock, cpu): (f64, f64)) {
        let wanted = format!("at least {}", figure(limit));
        self.target(what, wanted, figure(clock), figure(cpu), clock >= limit);
    }

    fn target(&mut self, what: &str, wanted: String, measured: String, cpu: String, is_met: bool) {
        let met = if is_met { "met" } else { "**not met**" };
        let row = [what.to_string(), wanted, measured, cpu, met.to_string()];
        self.targets.push(row.to_vec());
    }

    /// Numbers as they were measured, for whoever wants to count again.
    pub fn raw(&mut self, part: &str, name: &str, numbers: Value) {
        let part = self.raw.entry(part).or_insert_with(|| json!({}));
        part[name] = numbers;
    }

    /// All numbers so far.
    pub fn numbers(&self) -> &Map<String, Value> {
        &self.raw
    }

    /// Writes the files as far as the report goes: a part that fails takes no other along.
    pub fn save(&self) {
        let directory = machine::checkout().join("bench/results");
        fs::create_dir_all(&directory).expect("the results' directory can be made");
        let raw = serde_json::to_string_pretty(&self.raw).expect("numbers can be written");
        for (extension, text) in [("json", raw + "\n"), ("md", self.text.clone())] {
            let file = directory.join(format!("{}.{extension}", self.name));
            fs::write(&file, text).expect("the results can be written");
        }
    }

    /// The targets, and the end.
    pub fn finish(mut self) {
        if !self.targets.is_empty() {
            self.heading("Targets");
            let targets = std::mem::take(&mut self.targets);
            let header = ["target", "wanted", "measured", "by CPU", ""];
            self.table(&header, &targets);
            self.raw.insert("targets".into(), json!(targets));
        }
        self.save();
        println!("bench: written to bench/results/{}.md and .json", self.name);
    }

    fn say(&mut self, paragraph: &str) {
        println!("{paragraph}\n");
        self.text.push_str(paragraph);
        self.text.push_str("\n\n");
    }
}

/// A number with about three digits that count.
pub fn figure(number: f64) -> String {
    match number.abs() {
        size if size.is_nan() => "–".to_string(),
        size if size >= 100.0 => format!("{number:.0}"),
        size if size >= 10.0 => format!("{number:.1}"),
        _ => format!("{number:.2}"),
    }
}
