//! Damages an archive in one way, makes its checksums true again where that is wanted, and takes all of it back
//! when it goes.

use harness::{run, Cluster};
use serde_json::Value;
use std::cell::RefCell;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

pub struct Damage<'a> {
    c: &'a Cluster,
    /// Closed ones: before the newest base, and two after it.
    segments: &'a [PathBuf],
    /// What stood in each file that was touched, in that order.
    before: RefCell<Vec<(PathBuf, Vec<u8>)>>,
    removed: RefCell<Vec<(PathBuf, PathBuf)>>,
}

impl<'a> Damage<'a> {
    pub fn new(c: &'a Cluster, segments: &'a [PathBuf]) -> Damage<'a> {
        Damage {
            c,
            segments,
            before: RefCell::default(),
            removed: RefCell::default(),
        }
    }

    pub fn newest(&self, file: &str) -> PathBuf {
        self.c.bases().pop().expect("there is one").join(file)
    }

    pub fn oldest(&self, file: &str) -> PathBuf {
        self.c.bases().remove(0).join(file)
    }

    pub fn segment(&self, nth: usize) -> &Path {
        &self.segments[nth]
    }

    pub fn open(&self) -> PathBuf {
        let open = self.c.segments().pop().expect("there is one");
        assert!(open.is_open);
        open.path
    }

    pub fn manifest(&self) -> PathBuf {
        self.c.chain_directory().join("manifest.jsonl")
    }

    pub fn restore_sh(&self) -> PathBuf {
        self.c.database_directory().join("restore.sh")
    }

    pub fn checksum(&self, nth: usize) -> String {
        sha256(&self.segments[nth])
    }

    /// Writes other bytes of the same length over the first place where `from` stands, in place.
    pub fn swap(&self, path: &Path, from: &str, to: &str) {
        assert_eq!(from.len(), to.len());
        let bytes = self.keep(path);
        let at = find(path, &bytes, from);
        write_at(path, to.as_bytes(), at);
    }

    pub fn zeros(&self, path: &Path) {
        let middle = self.keep(path).len() / 2;
        write_at(path, &[0; 512], middle);
    }

    pub fn cut(&self, path: &Path) {
        let bytes = self.keep(path);
        fs::write(path, &bytes[..bytes.len() / 2]).expect("it can be written");
    }

    pub fn replace(&self, path: &Path, from: &str, to: &str) {
        let bytes = self.keep(path);
        let at = find(path, &bytes, from);
        let rest = &bytes[at + from.len()..];
        let text = [&bytes[..at], to.as_bytes(), rest].concat();
        fs::write(path, text).expect("it can be written");
        if path.ends_with("dump.sql") {
            self.shift(
                &path.with_file_name("dump.toc"),
                at,
                to.len() as i64 - from.len() as i64,
            );
        }
    }

    /// Entries of a dump behind `at` begin elsewhere now.
    fn shift(&self, toc: &Path, at: usize, grown: i64) {
        let text = String::from_utf8(self.keep(toc)).expect("text");
        let lines = text.lines().map(|line| {
            let mut words: Vec<String> = line.split(' ').map(str::to_string).collect();
            let offset: i64 = words[2].parse().expect("an offset");
            if offset > at as i64 {
                words[2] = (offset + grown).to_string();
            }
            words.join(" ") + "\n"
        });
        fs::write(toc, lines.collect::<String>()).expect("it can be written");
    }

    /// Changes rows of a dump; what comes behind them keeps its lines, as dump.toc has them.
    pub fn rows(&self, path: &Path, from: &str, to: &str) {
        let bytes = fs::read(path).expect("it can be read");
        let at = find(path, &bytes, from);
        let end = at + find(path, &bytes[at..], "\\.\n") + 3;
        let rows = String::from_utf8_lossy(&bytes[at..end]).into_owned();
        let changed = rows.replacen(from, to, 1);
        let (before, now) = (rows.matches('\n').count(), changed.matches('\n').count());
        let blank = "\n".repeat(now.saturating_sub(before));
        let more = "\n".repeat(before.saturating_sub(now));
        self.replace(path, &(rows + &blank), &(changed + &more));
    }

    /// Takes out what begins with `from`, up to the first `to` behind it, and leaves its lines empty.
    pub fn between(&self, path: &Path, from: &str, to: &str) {
        let bytes = fs::read(path).expect("it can be read");
        let at = find(path, &bytes, from);
        let end = at + find(path, &bytes[at..], to) + to.len();
        let whole = String::from_utf8_lossy(&bytes[at..end]).into_owned();
        let lines = "\n".repeat(whole.matches('\n').count());
        self.replace(path, &whole, &lines);
    }

    pub fn remove(&self, path: &Path) {
        let mut removed = self.removed.borrow_mut();
        let aside = self.c.root().join(format!("aside-{}", removed.len()));
        let path = PathBuf::from(path.to_string_lossy().trim_end_matches('/'));
        fs::rename(&path, &aside).expect("one file system");
        removed.push((path, aside));
    }

    /// Takes a file's line out of the manifest.
    pub fn unlist(&self, path: &Path) {
        let text = String::from_utf8(self.keep(&self.manifest())).expect("text");
        let name = name_of(path);
        let others: Vec<&str> = text.lines().filter(|line| !line.contains(&name)).collect();
        assert!(others.len() < text.lines().count());
        fs::write(self.manifest(), others.join("\n") + "\n").expect("it can be written");
    }

    /// Takes out the statement that ends so, and counts one less.
    pub fn lose_statement(&self, path: &Path, end: &str) {
        let text = fs::read_to_string(path).expect("it can be read");
        let line = text.split_inclusive('\n').find(|line| line.ends_with(end));
        self.replace(path, line.expect("there is one"), "");
        self.count_less(path, 0);
    }

    /// Takes out the transaction of the statement that ends so, and counts one less of both.
    pub fn lose_transaction(&self, path: &Path, end: &str) {
        let text = fs::read_to_string(path).expect("it can be read");
        let statement = text.find(end).expect("there is one");
        let begin = text[..statement].rfind("\n-- @").expect("it has one") + 1;
        const COMMIT: &str = "COMMIT;\n";
        let commit = statement + text[statement..].find(COMMIT).expect("it ends") + COMMIT.len();
        self.replace(path, &text[begin..commit], "");
        self.count_less(path, 1);
    }

    fn count_less(&self, path: &Path, transactions: u64) {
        let mut changed = self.entry(path);
        for (what, less) in [("transactions", transactions), ("statements", 1)] {
            let count = changed[what].as_u64().expect("a number");
            self.replace(
                path,
                &format!(" {what}={count}"),
                &format!(" {what}={}", count - less),
            );
            changed[what] = (count - less).into();
        }
        self.put_entry(path, changed);
    }

    /// Makes lengths and checksums of what was touched true, and those that are made of them in turn.
    pub fn forge(&self) {
        let mut touched: Vec<(PathBuf, Vec<u8>)> = Vec::new();
        for (path, before) in self.before.borrow().iter() {
            if !touched.iter().any(|(known, _)| known == path) && *path != self.manifest() {
                touched.push((path.clone(), before.clone()));
            }
        }
        for (path, before) in touched {
            let (old, new) = (sha256_of(self.c, &before), sha256(&path));
            let grown =
                fs::metadata(&path).expect("it is there").len() as i64 - before.len() as i64;
            let sums = path.with_file_name("SHA256SUMS");
            if sums.exists() {
                let sums_before = sha256(&sums);
                self.replace(&sums, &old, &new);
                self.relist(
                    &path.with_file_name(""),
                    &sums_before,
                    &sha256(&sums),
                    grown,
                );
            } else {
                self.relist(&path, &old, &new, grown);
            }
        }
    }

    /// The next segment names the checksum of the one before it.
    fn relist(&self, path: &Path, old: &str, new: &str, grown: i64) {
        let mut entry = self.entry(path);
        for size in ["bytes", "file_bytes"] {
            let bytes = entry[size].as_i64().expect("a number");
            entry[size] = (bytes + grown).into();
        }
        for sum in ["sha256", "file_sha256"] {
            entry[sum] = new.into();
        }
        self.put_entry(path, entry);
        let next = self.c.segments().into_iter().find(|segment| {
            let head = fs::read_to_string(&segment.path).unwrap_or_default();
            head.lines().take(3).any(|line| line.contains(old))
        });
        if let Some(next) = next {
            let before = sha256(&next.path);
            self.swap(&next.path, old, new);
            let manifest = fs::read_to_string(self.manifest()).expect("it can be read");
            if manifest.contains(old) {
                self.swap(&self.manifest(), old, new);
            }
            if !next.is_open {
                self.relist(&next.path, &before, &sha256(&next.path), 0);
            }
        }
    }

    fn entry(&self, path: &Path) -> Value {
        let text = fs::read_to_string(self.manifest()).expect("it can be read");
        let name = name_of(path);
        let mut lines = text.lines().filter(|line| line.contains(&name));
        serde_json::from_str(lines.next_back().expect("it is listed")).expect("JSON")
    }

    fn put_entry(&self, path: &Path, entry: Value) {
        let text = String::from_utf8(self.keep(&self.manifest())).expect("text");
        let name = name_of(path);
        let lines = text.lines().map(|line| {
            if line.contains(&name) {
                entry.to_string()
            } else {
                line.to_string()
            }
        });
        let lines: Vec<String> = lines.collect();
        fs::write(self.manifest(), lines.join("\n") + "\n").expect("it can be written");
    }

    fn keep(&self, path: &Path) -> Vec<u8> {
        let bytes = fs::read(path).expect("it can be read");
        self.before
            .borrow_mut()
            .push((path.to_owned(), bytes.clone()));
        bytes
    }
}

impl Drop for Damage<'_> {
    fn drop(&mut self) {
        for (path, aside) in self.removed.borrow_mut().drain(..).rev() {
            fs::rename(aside, path).expect("one file system");
        }
        for (path, bytes) in self.before.borrow_mut().drain(..).rev() {
            // Capture appends to the open segment meanwhile.
            if path.extension().is_some_and(|ext| ext == "partial") {
                write_at(&path, &bytes, 0);
            } else {
                fs::write(&path, bytes).expect("it can be written");
            }
        }
    }
}

/// As the manifest names it.
fn name_of(path: &Path) -> String {
    let text = path.to_string_lossy();
    let name = text.trim_end_matches('/').rsplit('/').next();
    let folder = match path.extension() {
        Some(_) => "incremental",
        None => "base",
    };
    format!("\"{folder}/{}\"", name.unwrap_or_default())
}

fn find(path: &Path, bytes: &[u8], text: &str) -> usize {
    let mut windows = bytes.windows(text.len());
    let at = windows.position(|window| window == text.as_bytes());
    at.unwrap_or_else(|| panic!("there is no {text} in {}", path.display()))
}

fn write_at(path: &Path, bytes: &[u8], at: usize) {
    let file = fs::OpenOptions::new().write(true).open(path);
    let file = file.expect("it can be written");
    file.write_all_at(bytes, at as u64)
        .expect("it can be written");
}

fn sha256(path: &Path) -> String {
    let sum = run(Command::new("sha256sum").arg(path)).stdout;
    String::from_utf8_lossy(&sum[..64]).into_owned()
}

fn sha256_of(c: &Cluster, bytes: &[u8]) -> String {
    let path = c.root().join("to_be_summed");
    fs::write(&path, bytes).expect("it can be written");
    sha256(&path)
}
