//! The archive's segments for tests: plain text, split at the structural comments.

use crate::Cluster;
use std::fs;
use std::path::{Path, PathBuf};

/// One segment of the newest chain, closed or open.
pub struct Segment {
    pub path: PathBuf,
    pub text: String,
    pub is_open: bool,
}

/// One transaction of the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    pub xid: u64,
    pub commit_lsn: String,
    pub commit_time: String,
    /// Everything from BEGIN to COMMIT, the segment's random key written as `KEY`.
    pub body: String,
}

impl Segment {
    fn read(path: PathBuf) -> std::io::Result<Segment> {
        let text = String::from_utf8_lossy(&fs::read(&path)?).into_owned();
        let is_open = path.extension().is_some_and(|e| e == "partial");
        Ok(Segment {
            path,
            text,
            is_open,
        })
    }

    /// The random key in the segment's structural comments.
    pub fn key(&self) -> &str {
        let comment = self.text.lines().find_map(|line| line.strip_prefix("-- @"));
        comment
            .and_then(|rest| rest.split(' ').next())
            .expect("a segment has a header")
    }

    /// The structural comments of one kind, without key and kind.
    pub fn comments(&self, kind: &str) -> Vec<&str> {
        let prefix = format!("-- @{} {kind} ", self.key());
        self.text
            .lines()
            .filter_map(|line| line.strip_prefix(prefix.as_str()))
            .collect()
    }

    /// Its complete transactions: the worker may be writing the next one.
    pub fn transactions(&self) -> Vec<Transaction> {
        if !self.text.contains('\n') {
            return Vec::new();
        }
        let mark = format!("-- @{} transaction ", self.key());
        let mut found = Vec::new();
        let mut lines = self.text.lines().peekable();
        while let Some(line) = lines.next() {
            let Some(fields) = line.strip_prefix(&mark) else {
                continue;
            };
            let mut body = String::new();
            let mut is_complete = false;
            for line in lines.by_ref() {
                body.push_str(&line.replace(self.key(), "KEY"));
                body.push('\n');
                if line == "COMMIT;" {
                    is_complete = true;
                    break;
                }
            }
            if !is_complete {
                break;
            }
            found.push(Transaction {
                xid: field(fields, "xid").parse().expect("an xid is a number"),
                commit_lsn: field(fields, "commit_lsn").to_string(),
                commit_time: field(fields, "commit_time").to_string(),
                body,
            });
        }
        found
    }
}

/// The value of `name=…` in a structural comment.
fn field<'a>(fields: &'a str, name: &str) -> &'a str {
    let mut fields = fields.split(' ').filter_map(|field| field.split_once('='));
    fields
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value)
        .unwrap_or_default()
}

impl Cluster {
    /// The newest chain's directory of the test's database.
    pub fn chain_directory(&self) -> PathBuf {
        let number = |path: &PathBuf| {
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            name.strip_prefix("chain-")
                .and_then(|number| number.parse::<u32>().ok())
        };
        let chains = entries(&self.database_directory()).into_iter();
        chains
            .filter(|path| number(path).is_some())
            .max_by_key(number)
            .expect("there is a chain")
    }

    /// The newest chain's segments in replay order, the open one last. The worker may rename that one between
    /// listing and reading: then both are repeated.
    pub fn segments(&self) -> Vec<Segment> {
        loop {
            let files = entries(&self.chain_directory().join("incremental"));
            let segments: std::io::Result<Vec<_>> = files.into_iter().map(Segment::read).collect();
            match segments {
                Ok(segments) => return segments,
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                Err(e) => panic!("a segment cannot be read: {e}"),
            }
        }
    }

    /// All transactions of the newest chain, in order.
    pub fn transactions(&self) -> Vec<Transaction> {
        self.segments()
            .iter()
            .flat_map(Segment::transactions)
            .collect()
    }

    /// The contents of the newest chain, as one text. Flush first.
    pub fn stream(&self) -> String {
        self.segments()
            .into_iter()
            .map(|segment| segment.text)
            .collect()
    }

    /// The newest chain's bases, oldest first.
    pub fn bases(&self) -> Vec<PathBuf> {
        entries(&self.chain_directory().join("base"))
    }
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    let listing = fs::read_dir(directory)
        .unwrap_or_else(|e| panic!("cannot list {}: {e}", directory.display()));
    let mut paths: Vec<_> = listing.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths
}
