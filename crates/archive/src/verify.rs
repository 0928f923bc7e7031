//! Checks that an archive is unchanged: checksums, order, continuity, and that names, headers, footers and
//! manifest agree. Reads every byte; changes nothing.
//!
//! A problem is a result, not an error: errors are for what could not be checked at all. Capture may be
//! running: a file that was closed since the directory was read is not a problem.

mod directories;
mod expired;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::archiving::{Notes, ARCHIVED_JSONL};
use crate::base;
use crate::checksum::{self, Checksum, Hashing};
use crate::error::{Error, Result};
use crate::expiry::given_up;
use crate::flags::{self, FLAGS};
use crate::globals;
use crate::layout::names::{chain_name, BASE, CHAIN_JSON, GLOBALS, INCREMENTAL, MANIFEST};
use crate::layout::{ChainDir, DatabaseDir, SegmentName, Stored};
use crate::lock::Lock;
use crate::lsn::Lsn;
use crate::manifest::{self, Entry, Kind, Manifest};
use crate::pause::{going_on, Pause, Pausing};
use crate::pins::{self, PINS_JSON};
use crate::segment::manifest_line;
use crate::segment::{source, Header, Previous, Summary};

use directories::{base_problems, globals_problems};

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Relative to the database's directory.
    pub file: String,
    pub problem: String,
}

/// Checks everything of a database; no problem means that all of it can be restored. Expired files are not
/// checked. Retention removes nothing in the meantime.
pub fn verify(database: &DatabaseDir, pause: Pause) -> Result<Vec<Problem>> {
    let _lock = Lock::shared(database, pause)?;
    let mut problems = Vec::new();
    for number in database.chain_numbers()? {
        let chain = match ChainDir::open(database.path(), number) {
            Ok(chain) => chain,
            Err(error) => {
                let file = format!("{}/{CHAIN_JSON}", chain_name(number));
                problems.push(Problem {
                    file,
                    problem: error.to_string(),
                });
                continue;
            }
        };
        let mut check = ChainCheck::new(&chain, pause);
        check.description();
        check.expired_are_the_oldest();
        // A directory that could not be listed is a problem too: the others are still checked.
        for (place, looked_at) in [
            (BASE, check.bases()),
            (GLOBALS, check.globals()),
            (INCREMENTAL, check.segments()),
        ] {
            if let Err(error) = looked_at {
                check.found(place, error.to_string());
            }
        }
        check.nothing_missing();
        problems.append(&mut check.problems);
    }
    problems.extend(restore_files(database));
    if let Err(error) = Notes::read(database) {
        problems.push(Problem {
            file: ARCHIVED_JSONL.to_owned(),
            problem: error.to_string(),
        });
    }
    Ok(problems)
}

/// A restore executes the script with the privileges of a superuser.
fn restore_files(database: &DatabaseDir) -> Vec<Problem> {
    let foreign = |name: &str| Problem {
        file: name.to_owned(),
        problem: "differs from what this version writes; capture rewrites it when it starts"
            .to_owned(),
    };
    let files = database.restore_files().into_iter();
    files
        .filter(|(_, is_ours)| !is_ours)
        .map(|(name, _)| foreign(name))
        .collect()
}

/// The required predecessor of a segment.
struct Before {
    end_lsn: Lsn,
    previous: Option<Previous>,
    highest_xid: u64,
    /// False after a segment that could not be read.
    is_known: bool,
}

struct ChainCheck<'a> {
    chain: &'a ChainDir,
    pause: Pause<'a>,
    /// The manifest's last line about each file; removed when the file is found.
    listed: BTreeMap<String, Entry>,
    /// Expired files.
    expired: BTreeSet<String>,
    /// The last segment of these.
    last_expired: Option<Entry>,
    problems: Vec<Problem>,
}

impl<'a> ChainCheck<'a> {
    fn new(chain: &'a ChainDir, pause: Pause<'a>) -> ChainCheck<'a> {
        let mut check = ChainCheck {
            chain,
            pause,
            listed: BTreeMap::new(),
            expired: BTreeSet::new(),
            last_expired: None,
            problems: Vec::new(),
        };
        let manifest = check.manifest().unwrap_or_else(|error| {
            check.found(MANIFEST, error.to_string());
            Manifest::default()
        });
        for (line, why) in manifest.damaged {
            check.found(MANIFEST, format!("line {line} is invalid: {why}"));
        }
        let given_up = given_up(chain).unwrap_or_default();
        for entry in manifest.entries {
            if entry.expired_at.is_none() && !given_up.contains(&entry.file) {
                check.listed.insert(entry.file.clone(), entry);
                continue;
            }
            check.expired.insert(entry.file.clone());
            let last = check.last_expired.as_ref().map(|last| last.end_lsn);
            if entry.kind == Kind::Incremental && last < Some(entry.end_lsn) {
                check.last_expired = Some(entry);
            }
        }
        check
    }

    fn manifest(&mut self) -> Result<Manifest> {
        manifest::read_strictly(self.chain, &mut going_on(self.pause))
    }

    fn description(&mut self) {
        match self.chain.is_as_written() {
            Ok(true) => {}
            Ok(false) => self.found(CHAIN_JSON, "was changed after it was written"),
            Err(error) => self.found(CHAIN_JSON, error.to_string()),
        }
        if let Err(error) = pins::read(self.chain) {
            self.found(PINS_JSON, error.to_string());
        }
        if let Err(error) = flags::read(self.chain) {
            self.found(FLAGS, error.to_string());
        }
    }

    fn found(&mut self, file: &str, problem: impl Into<String>) {
        let file = format!("{}/{file}", chain_name(self.chain.number));
        self.problems.push(Problem {
            file,
            problem: problem.into(),
        });
    }

    fn segments(&mut self) -> Result<()> {
        let mut before = self.before_the_first();
        for (name, stored) in self.chain.segments()? {
            if self.expired.contains(&Entry::segment_file(name)) {
                continue;
            }
            before = self.segment(name, stored, before)?;
        }
        if let Some(end) = self
            .chain
            .info
            .ended
            .clone()
            .filter(|e| e.last_lsn > before.end_lsn)
        {
            let (has, said) = (before.end_lsn, end.last_lsn);
            self.found(
                CHAIN_JSON,
                format!("the chain ended at {said}, its files at {has}"),
            );
        }
        Ok(())
    }

    /// The slot's start, or the last expired segment.
    fn before_the_first(&self) -> Before {
        let (end_lsn, previous) = match &self.last_expired {
            Some(entry) => (entry.end_lsn, Some(Previous::of(entry))),
            None => (self.chain.info.slot_start_lsn, None),
        };
        Before {
            end_lsn,
            previous,
            highest_xid: 0,
            is_known: true,
        }
    }

    fn segment(&mut self, name: SegmentName, stored: Stored, before: Before) -> Result<Before> {
        let path = self.chain.segment_path(name, stored);
        let file = format!("{INCREMENTAL}/{}", name.file(stored));
        let (summary, content) = match read(&path, stored, self.pause) {
            Ok(read) => read,
            Err(_) if stored == Stored::Partial && std::fs::symlink_metadata(&path).is_err() => {
                return Ok(before);
            }
            Err(error) => {
                self.found(&file, error.to_string());
                self.listed.remove(&Entry::segment_file(name));
                let unknown = Before {
                    end_lsn: Lsn(0),
                    previous: None,
                    highest_xid: 0,
                    is_known: false,
                };
                return Ok(unknown);
            }
        };
        let is_open = stored == Stored::Partial;
        if let Some((at, why)) = summary.torn.as_ref().filter(|_| !is_open) {
            self.found(&file, format!("damaged at byte {at}: {why}"));
        }
        if let Some(why) = &summary.contradiction {
            self.found(&file, why.clone());
        }
        if !is_open && summary.torn.is_none() && summary.footer.is_none() {
            self.found(&file, "closed without a footer");
        }
        if let Some(header) = &summary.header {
            self.header(&file, name, header, &before);
        }
        if !is_open {
            self.manifest_line(&file, (name, stored), &summary, &content);
        }
        let previous = Previous {
            file: name.file(Stored::Plain),
            sha256: content.sha256,
        };
        Ok(Before {
            end_lsn: summary.tally.end_lsn,
            previous: Some(previous),
            highest_xid: before.highest_xid.max(summary.tally.highest_xid),
            is_known: true,
        })
    }

    fn header(&mut self, file: &str, name: SegmentName, header: &Header, before: &Before) {
        let info = &self.chain.info;
        let ours = (info.system_identifier, info.database_oid, self.chain.number);
        if (header.system_identifier, header.database_oid, header.chain) != ours {
            self.found(file, "its header names another cluster, database or chain");
        }
        if header.name() != name {
            self.found(file, "its name does not match its header");
        }
        if before.is_known && before.previous.is_none() && header.previous.is_some() {
            self.found(
                file,
                "the segments before it are missing, and were not removed by retention",
            );
        } else if before.is_known {
            if header.start_lsn != before.end_lsn {
                let (start, end) = (header.start_lsn, before.end_lsn);
                self.found(
                    file,
                    format!("it starts at {start}, the segment before ends at {end}"),
                );
            }
            if header.previous != before.previous {
                self.found(
                    file,
                    "its predecessor is not the segment that its header names",
                );
            }
        }
        if header.next_xid <= before.highest_xid {
            self.found(
                file,
                "its next_xid is not above the xids of the segments before",
            );
        }
    }

    fn manifest_line(
        &mut self,
        file: &str,
        (name, stored): (SegmentName, Stored),
        summary: &Summary,
        content: &Checksum,
    ) {
        let Some(listed) = self.take_listed(&Entry::segment_file(name)) else {
            self.found(file, "not in the manifest");
            return;
        };
        if listed.sha256 != content.sha256 {
            self.found(file, "its checksum does not match the manifest");
        }
        match self.is_stored_as(name, &listed, (stored, content)) {
            Ok(true) => {}
            Ok(false) => {
                self.found(
                    file,
                    "its size or checksum as stored does not match the manifest",
                );
            }
            Err(error) => {
                self.found(file, error.to_string());
                return;
            }
        }
        let Some(header) = &summary.header else {
            return;
        };
        let as_listed = Checksum {
            bytes: listed.file_bytes,
            sha256: listed.file_sha256.clone(),
        };
        let expected = manifest_line::line(header, &summary.tally, content, &as_listed);
        if listed != expected && listed.sha256 == expected.sha256 {
            self.found(file, "the manifest does not match the contents of the file");
        }
    }

    /// True if one of the segment's forms is the one in its line. A crash during compression leaves two, and
    /// either may be it.
    fn is_stored_as(
        &mut self,
        name: SegmentName,
        listed: &Entry,
        (stored, content): (Stored, &Checksum),
    ) -> Result<bool> {
        let is_it =
            |sum: &Checksum| (listed.file_bytes, &listed.file_sha256) == (sum.bytes, &sum.sha256);
        if stored == Stored::Plain && is_it(content) {
            return Ok(true);
        }
        for stored in Stored::COMPRESSED {
            let path = self.chain.segment_path(name, stored);
            if std::fs::symlink_metadata(&path).is_ok()
                && is_it(&checksum::of_large_file(&path, self.pause)?)
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn bases(&mut self) -> Result<()> {
        for name in self.chain.bases()? {
            if self.expired.contains(&base::file_of(name)) {
                continue;
            }
            let problems = base_problems(self.chain, name, self.pause);
            let actual = base::entry_of_base(self.chain, name).ok();
            self.directory(&format!("{BASE}/{name}"), problems, actual);
        }
        Ok(())
    }

    fn globals(&mut self) -> Result<()> {
        for name in self.chain.globals_sets()? {
            if self.expired.contains(&globals::file_of(name)) {
                continue;
            }
            let problems = globals_problems(self.chain, name, self.pause);
            let actual = globals::entry_of_set(self.chain, name).ok();
            self.directory(&format!("{GLOBALS}/{name}"), problems, actual);
        }
        Ok(())
    }

    /// A base or a set, with its problems and its expected line in the manifest.
    fn directory(
        &mut self,
        directory: &str,
        problems: Vec<(String, String)>,
        actual: Option<Entry>,
    ) {
        for (file, why) in problems {
            self.found(&format!("{directory}/{file}"), why);
        }
        match self.take_listed(directory) {
            None => self.found(directory, "not in the manifest"),
            Some(listed) if actual.is_some_and(|actual| actual != listed) => {
                let why = "the manifest does not match the contents of the directory";
                self.found(directory, why);
            }
            Some(_) => {}
        }
    }

    /// The manifest's line about a file, searched once more if it may be newer than our reading. A process
    /// that renames a file holds the manifest's lock until its line is written, so reading waits for it.
    fn take_listed(&mut self, file: &str) -> Option<Entry> {
        if let Some(entry) = self.listed.remove(file) {
            return Some(entry);
        }
        let mut entries = self.manifest().ok()?.entries.into_iter();
        entries.rfind(|entry| entry.file == file)
    }

    fn nothing_missing(&mut self) {
        for file in std::mem::take(&mut self.listed).into_keys() {
            self.found(&file, "listed in the manifest, but missing");
        }
    }
}

fn read(path: &Path, stored: Stored, pause: Pause) -> Result<(Summary, Checksum)> {
    let mut hashing = Hashing::new(Pausing::new(source::open(path, stored)?, pause));
    let summary = Summary::of(&mut hashing).map_err(Error::io("read", path))?;
    // A torn segment is read to its end nevertheless: the checksum is of the whole.
    std::io::copy(&mut hashing, &mut std::io::sink()).map_err(Error::io("read", path))?;
    Ok((summary, hashing.finish()))
}
