//! `flags.jsonl` of a chain: the ranges in which changes of an object are lost, one line each.
//!
//! A range begins with a transaction whose segment has a flag that names what is lost
//! ([`crate::segment::Lost`]), continues with the object's further flags, and ends with the first base whose
//! snapshot sees the last of them: a restore from that base applies none of them. The file is a summary of
//! the segments, which need not be read for it. It is written as a whole before the transaction is confirmed
//! to the slot; only the capture worker writes it.

use std::io::ErrorKind;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::durable;
use crate::error::{Error, Result};
use crate::escape::percent_encode;
use crate::layout::{BaseName, ChainDir};
use crate::lsn::Lsn;
use crate::manifest::{self, Entry, Kind};
use crate::segment::{Lost, What};
use crate::time::{self, Time};

/// The name of the file.
pub const FLAGS: &str = "flags.jsonl";

/// Maximum number of lines: beyond, the oldest that have ended are removed, and new open ones are recorded
/// for the whole database.
const MOST: usize = 1000;

/// One object's range.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flagged {
    /// [`What::name`].
    pub lost: String,
    pub class: String,
    pub oid: u32,
    /// Percent-encoded, as in segments.
    pub identity: String,
    /// Of the first flag, percent-encoded.
    pub reason: String,
    /// Commit LSNs of the first and the last transaction with a flag, the last one's xid, and their commit
    /// times.
    pub first_lsn: Lsn,
    #[serde(with = "time::json_option")]
    pub first_at: Option<Time>,
    pub last_lsn: Lsn,
    pub last_xid: u64,
    #[serde(with = "time::json_option")]
    pub last_at: Option<Time>,
}

/// A flag of the transaction being written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct New {
    pub lost: Lost,
    pub reason: Vec<u8>,
    pub xid: u64,
    pub commit_lsn: Lsn,
    pub commit_time: Option<Time>,
}

/// When a base was finished, and how long it took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempt {
    pub finished_at: Time,
    pub took_ms: u64,
}

impl Flagged {
    fn of(new: &New) -> Flagged {
        Flagged {
            lost: new.lost.what.name().to_owned(),
            class: new.lost.class.clone(),
            oid: new.lost.oid,
            identity: percent_encode(&new.lost.identity),
            reason: percent_encode(&new.reason),
            first_lsn: new.commit_lsn,
            first_at: new.commit_time,
            last_lsn: new.commit_lsn,
            last_xid: new.xid,
            last_at: new.commit_time,
        }
    }

    /// An OID identifies an object better than its name, which may change.
    fn is_about(&self, lost: &Lost) -> bool {
        self.lost == lost.what.name()
            && self.class == lost.class
            && self.oid == lost.oid
            && (self.oid != 0 || self.identity == percent_encode(&lost.identity))
    }

    fn go_on(&mut self, new: &New) {
        self.last_lsn = new.commit_lsn;
        self.last_xid = new.xid;
        self.last_at = new.commit_time;
    }

    /// The first base that contains all lost changes of the object.
    fn healed_by<'a>(&self, bases: &'a [Entry]) -> Option<&'a Entry> {
        let sees = |base: &&Entry| {
            let snapshot = base.snapshot.as_ref();
            snapshot.is_some_and(|snapshot| snapshot.sees(self.last_xid))
        };
        bases.iter().find(sees)
    }
}

/// All ranges of a chain; empty if nothing was ever lost.
pub fn read(chain: &ChainDir) -> Result<Vec<Flagged>> {
    let path = chain.path.join(FLAGS);
    let Some(bytes) = bytes_of(chain)? else {
        return Ok(Vec::new());
    };
    parse(&bytes, &path)
}

/// The content of the file; `path` is for the error.
pub fn parse(bytes: &[u8], path: &Path) -> Result<Vec<Flagged>> {
    let lines = bytes
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty());
    let read = lines.map(serde_json::from_slice);
    read.collect::<serde_json::Result<_>>()
        .map_err(|error| Error::damaged(path, 0, error.to_string()))
}

/// Those that no base has ended.
pub fn open(chain: &ChainDir) -> Result<Vec<Flagged>> {
    let flags = read(chain)?;
    if flags.is_empty() {
        return Ok(flags);
    }
    let bases = bases(chain)?;
    let is_open = |flagged: &Flagged| flagged.healed_by(&bases).is_none();
    Ok(flags.into_iter().filter(is_open).collect())
}

/// The last base that was taken while a range was open: the next one that is to end a range keeps its
/// distance from it.
pub fn last_attempt(chain: &ChainDir) -> Result<Option<Attempt>> {
    let flags = read(chain)?;
    let bases = bases(chain)?;
    let was_wanted = |base: &&Entry| {
        flags.iter().any(|flagged| {
            let end = flagged.healed_by(&bases);
            base.start_lsn >= flagged.first_lsn
                && end.is_none_or(|end| base.start_lsn <= end.start_lsn)
        })
    };
    let last = bases.iter().rev().find(was_wanted);
    Ok(last.and_then(|base| {
        let name = BaseName::parse(base.file.rsplit('/').next()?)?;
        let took_ms = base.duration_ms.unwrap_or(0);
        let took = chrono::TimeDelta::try_milliseconds(i64::try_from(took_ms).ok()?)?;
        Some(Attempt {
            finished_at: name.taken_at + took,
            took_ms,
        })
    }))
}

/// The ranges in one sentence: `changes since … (0/…) are incomplete: rows of table public.t (…)`; empty if
/// there is none.
pub fn in_words(flags: &[Flagged]) -> Option<String> {
    const LISTED: usize = 5;
    let first = flags.iter().min_by_key(|flagged| flagged.first_lsn)?;
    let since = match first.first_at {
        Some(at) => format!("{} ({})", time::iso(at), first.first_lsn),
        None => first.first_lsn.to_string(),
    };
    let listed = flags.iter().take(LISTED);
    let listed: Vec<String> = listed
        .map(|flagged| format!("{} ({})", flagged.object(), flagged.why()))
        .collect();
    let more = match flags.len().saturating_sub(LISTED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    Some(format!(
        "changes since {since} are incomplete: {}{more}",
        listed.join(", ")
    ))
}

/// Records these flags; durable when this returns. A file that cannot be read is replaced: what is lost now
/// must not be lost silently.
pub fn note(chain: &ChainDir, news: &[New]) -> Result<()> {
    let mut flags = match read(chain) {
        Err(Error::Damaged { .. }) => Vec::new(),
        read => read?,
    };
    let before = flags.clone();
    let bases = bases(chain)?;
    for new in news {
        // Only the last one about an object can be open.
        let last = flags
            .iter_mut()
            .rev()
            .find(|flagged| flagged.is_about(&new.lost));
        match last {
            // It was recorded by a worker that exited before confirming it.
            Some(last) if last.last_lsn >= new.commit_lsn => {}
            Some(last) if last.healed_by(&bases).is_none() => last.go_on(new),
            _ => add(&mut flags, &bases, new),
        }
    }
    if flags == before {
        Ok(())
    } else {
        durable::write_atomically(&chain.path.join(FLAGS), &to_lines(&flags))
    }
}

fn add(flags: &mut Vec<Flagged>, bases: &[Entry], new: &New) {
    if flags.len() < MOST {
        return flags.push(Flagged::of(new));
    }
    let has_ended = |flagged: &Flagged| flagged.healed_by(bases).is_some();
    if let Some(oldest) = flags.iter().position(has_ended) {
        flags.remove(oldest);
        return flags.push(Flagged::of(new));
    }
    // This many objects at once are not listed one by one.
    let anything = New {
        lost: Lost::anything(new.lost.what),
        ..new.clone()
    };
    match flags.iter_mut().find(|one| one.is_about(&anything.lost)) {
        Some(known) => known.go_on(&anything),
        None => flags.push(Flagged::of(&anything)),
    }
}

fn bases(chain: &ChainDir) -> Result<Vec<Entry>> {
    let mut bases = manifest::read(chain)?.entries;
    bases.retain(|entry| entry.kind == Kind::Base);
    bases.sort_by(|one, other| (one.start_lsn, &one.file).cmp(&(other.start_lsn, &other.file)));
    Ok(bases)
}

fn bytes_of(chain: &ChainDir) -> Result<Option<Vec<u8>>> {
    match durable::read(&chain.path.join(FLAGS)) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.io_error().map(std::io::Error::kind) == Some(ErrorKind::NotFound) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn to_lines(flags: &[Flagged]) -> Vec<u8> {
    let mut text = Vec::new();
    for flagged in flags {
        serde_json::to_writer(&mut text, flagged).expect("plain fields always become JSON");
        text.push(b'\n');
    }
    text
}

impl Flagged {
    /// What is lost, as text: `rows of table public.t`.
    pub fn object(&self) -> String {
        let decoded = crate::escape::percent_decode(self.identity.as_bytes()).unwrap_or_default();
        let identity = String::from_utf8_lossy(&decoded).into_owned();
        let what = match What::parse(&self.lost) {
            Some(What::Rows) => "rows of ",
            _ => "",
        };
        match (self.oid, identity.as_str()) {
            (0, "") => "the schema of an unknown object".to_owned(),
            (_, "") => format!("{what}{} with OID {}", self.class, self.oid),
            _ => format!("{what}{} {identity}", self.class),
        }
    }

    /// The reason of the first flag, as text.
    pub fn why(&self) -> String {
        let decoded = crate::escape::percent_decode(self.reason.as_bytes()).unwrap_or_default();
        String::from_utf8_lossy(&decoded).into_owned()
    }
}
