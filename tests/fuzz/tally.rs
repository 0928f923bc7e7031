//! How many statements of each kind succeeded: a tester whose statements fail tests nothing.

use std::collections::BTreeMap;
use std::fmt;

#[derive(Default, Clone)]
pub struct Tally(BTreeMap<&'static str, Count>);

#[derive(Default, Clone)]
struct Count {
    taken: usize,
    refused: usize,
    /// Error messages and how often, without what differs from object to object.
    errors: BTreeMap<String, (usize, String)>,
}

impl Tally {
    pub fn count(&mut self, kind: &'static str, error: Option<&str>, sql: &str) {
        let count = self.0.entry(kind).or_default();
        let Some(error) = error else {
            count.taken += 1;
            return;
        };
        count.refused += 1;
        let message = error.split_once("ERROR:  ").map_or(error, |(_, m)| m);
        let message: String = message.chars().filter(|c| !c.is_ascii_digit()).collect();
        let seen = count.errors.entry(message).or_default();
        seen.0 += 1;
        seen.1 = sql.to_string();
    }

    pub fn add(&mut self, other: &Tally) {
        for (kind, count) in &other.0 {
            let sum = self.0.entry(kind).or_default();
            sum.taken += count.taken;
            sum.refused += count.refused;
            for (message, (times, sql)) in &count.errors {
                let seen = sum.errors.entry(message.clone()).or_default();
                seen.0 += times;
                seen.1.clone_from(sql);
            }
        }
    }

    pub fn statements(&self) -> usize {
        self.0.values().map(|c| c.taken + c.refused).sum()
    }

    /// In percent.
    pub fn success(&self) -> f64 {
        let taken: usize = self.0.values().map(|c| c.taken).sum();
        100.0 * taken as f64 / self.statements().max(1) as f64
    }
}

/// Every kind, and its most frequent errors.
impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (kind, count) in &self.0 {
            let all = count.taken + count.refused;
            writeln!(f, "{kind:34} {:>6} of {all:>6}", count.taken)?;
            let mut errors: Vec<_> = count.errors.iter().collect();
            errors.sort_by_key(|(_, (times, _))| std::cmp::Reverse(*times));
            for (message, (times, sql)) in errors.into_iter().take(3) {
                let sql: String = sql.chars().take(200).collect();
                writeln!(f, "    {times} × {message}\n        {sql}")?;
            }
        }
        Ok(())
    }
}
