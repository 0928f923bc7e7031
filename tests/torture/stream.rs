//! What the segments hold: which numbers, how often, in which order.

use super::ledger::Ledger;
use harness::Cluster;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// The marks of one table: `k` of the keyed one, `b` of the keyless one.
pub type Mark = (char, u64);

/// One transaction: its commit LSN and the marks in it.
pub type Found = (u64, Vec<Mark>);

/// The newest chain's transactions. Closed segments are read once: incr_verify() sees to it that
/// they stay what they were.
#[derive(Default)]
pub struct Stream {
    closed: Vec<Found>,
    read: HashSet<PathBuf>,
    open: Vec<Found>,
}

/// How the segments differ from what was committed.
#[derive(Default)]
pub struct Findings {
    lost: u32,
    repeated: u32,
    out_of_order: u32,
    /// Of transactions that were rolled back.
    aborted: u32,
    first: Option<String>,
}

impl Findings {
    pub fn is_clean(&self) -> bool {
        self.lost + self.repeated + self.out_of_order + self.aborted == 0
    }

    fn first(&mut self, what: impl FnOnce() -> String) {
        self.first.get_or_insert_with(what);
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            lost,
            repeated,
            out_of_order,
            aborted,
            first,
        } = self;
        write!(
            f,
            "{lost} lost, {repeated} repeated, {out_of_order} out of order, {aborted} rolled back but there"
        )?;
        match first {
            Some(first) => write!(f, " (first: {first})"),
            None => Ok(()),
        }
    }
}

impl Stream {
    /// Reads what is new. Nothing may be written meanwhile but positions.
    pub fn read(&mut self, cluster: &Cluster) {
        let directory = cluster.chain_directory().join("incremental");
        let listing = fs::read_dir(&directory).expect("the segments can be listed");
        let mut files: Vec<PathBuf> = listing.flatten().map(|entry| entry.path()).collect();
        files.sort();
        self.open.clear();
        for path in files {
            let name = path.to_string_lossy();
            if name.ends_with(".sql") && self.read.insert(path.clone()) {
                self.closed.extend(transactions(&path));
            } else if name.ends_with(".partial") {
                self.open = transactions(&path);
            }
        }
    }

    /// Every committed number once, in commit order; no other.
    pub fn compare(&self, ledger: &Ledger) -> Findings {
        let book = ledger.book();
        let mut findings = Findings::default();
        let mut seen: HashMap<Mark, u32> = HashMap::new();
        let mut last_of_client: HashMap<(char, usize), u64> = HashMap::new();
        let mut last_lsn = 0;
        for (lsn, marks) in self.closed.iter().chain(&self.open) {
            if *lsn <= last_lsn {
                findings.out_of_order += 1;
                findings.first(|| format!("commit LSN {lsn:X} after {last_lsn:X}"));
            }
            last_lsn = *lsn;
            for (table, number) in marks {
                *seen.entry((*table, *number)).or_default() += 1;
                let Some(client) = book.committed.get(number) else {
                    continue;
                };
                let last = last_of_client.entry((*table, *client)).or_default();
                if number < last {
                    findings.out_of_order += 1;
                    findings.first(|| format!("number {number} after {last} of the same client"));
                }
                *last = *number;
            }
        }
        for number in book.committed.keys() {
            for table in ['k', 'b'] {
                match seen.remove(&(table, *number)) {
                    None => {
                        findings.lost += 1;
                        findings.first(|| format!("{table}#{number} is lost"));
                    }
                    Some(1) => {}
                    Some(times) => {
                        findings.repeated += 1;
                        findings.first(|| format!("{table}#{number} is there {times} times"));
                    }
                }
            }
        }
        for (table, number) in seen.keys() {
            findings.aborted += 1;
            findings.first(|| format!("{table}#{number} was rolled back and is there"));
        }
        findings
    }
}

/// The transactions of a segment.
pub fn transactions(path: &Path) -> Vec<Found> {
    let bytes = fs::read(path).unwrap_or_else(|e| panic!("{} can't be read: {e}", path.display()));
    let text = String::from_utf8(bytes).expect("the segments of this load are ASCII");
    let key = text.lines().nth(1).and_then(|line| line.get(4..20));
    let comment = format!("-- @{} transaction ", key.unwrap_or("no key"));
    let mut found: Vec<Found> = Vec::new();
    for line in text.lines() {
        if let Some(fields) = line.strip_prefix(&comment) {
            found.push((field_lsn(fields, "commit_lsn="), Vec::new()));
        } else if let (true, Some((_, marks))) = (line.contains('#'), found.last_mut()) {
            marks.extend(marks_in(line));
        }
    }
    found
}

/// The LSN behind `name` in a structural comment.
pub fn field_lsn(fields: &str, name: &str) -> u64 {
    let mut words = fields.split(' ');
    let text = words.find_map(|word| word.strip_prefix(name));
    let (high, low) = text.and_then(|t| t.split_once('/')).unwrap_or_else(|| {
        panic!("no {name} in {fields}");
    });
    let part = |hex| u64::from_str_radix(hex, 16).expect("an LSN is hexadecimal");
    (part(high) << 32) | part(low)
}

/// `k#12#` and its like.
fn marks_in(line: &str) -> impl Iterator<Item = Mark> + '_ {
    let parts: Vec<&str> = line.split('#').collect();
    let pairs: Vec<Mark> = parts
        .windows(2)
        .filter_map(|pair| {
            let table = pair[0].chars().next_back().filter(|c| "kb".contains(*c))?;
            Some((table, pair[1].parse().ok()?))
        })
        .collect();
    pairs.into_iter()
}
