//! Reads a segment once before anything is made: whether it is as its checksum and its neighbours say, and the facts
//! that a plan needs.

use std::collections::BTreeMap;

use archive::checksum::Hashing;
use archive::layout::Stored;
use archive::segment::{ClusterFact, Effect, Event, Header, Lost, Part, Scanner};
use archive::storage::{self, Storage};
use archive::time::Time;
use archive::Lsn;
use archive_query::catalog::{Chain, Segment};

use super::moment::Moment;
use crate::error::{Error, Result};
use crate::restore::part::hashed;

/// Classes of effects that say what relations are called.
const FOLLOWED: [&str; 6] = [
    "table",
    "foreign table",
    "view",
    "materialized view",
    "sequence",
    "schema",
];

/// What a segment contains.
#[derive(Debug, Default)]
pub struct Facts {
    pub header: Option<Header>,
    /// Where the last complete transaction or position ends: so far a restore reads.
    pub complete: u64,
    /// Of the uncompressed bytes.
    pub sha256: String,
    pub bytes: u64,
    /// The last complete transaction or position.
    pub end_lsn: Lsn,
    pub is_closed: bool,
    pub transactions: u64,
    pub statements: u64,
    /// The last commit time or time of a position.
    pub latest: Option<Time>,
    /// True if a transaction has no commit time.
    pub is_timeless: bool,
    pub found: Found,
    /// Where and why the content is not valid.
    pub torn: Option<(u64, String)>,
    /// It only breaks off there.
    pub is_cut: bool,
}

/// Where the requested time is in the segments so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Found {
    /// The last commit that is not after it.
    pub last: Option<Lsn>,
    /// The first commit behind `last`.
    pub beyond: Option<Lsn>,
}

/// What the transactions name that is not in the database, and what they have lost.
#[derive(Debug, Default)]
pub struct Needs {
    /// Roles, and whether one acted as a superuser.
    pub roles: BTreeMap<Vec<u8>, bool>,
    /// Tablespaces, and the name that one had before.
    pub tablespaces: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    pub lost: Vec<LostHere>,
    /// What became of relations and schemas, in the order of commits.
    pub changes: Vec<Change>,
    /// The first segment in which schema changes are text.
    pub text_only: Option<String>,
}

/// Whether a statement that is replayed as text may make a relation, or give one another name: with decoder_raw all are.
fn is_of_relations(command: &str) -> bool {
    let verbs = ["CREATE ", "ALTER ", "DROP ", "SELECT INTO", "IMPORT "];
    let is_it = verbs.iter().any(|verb| command.starts_with(verb));
    let others = [" EXTENSION", " SUBSCRIPTION", " ROLE", " TABLESPACE"];
    is_it && !others.iter().any(|other| command.ends_with(other))
}

/// The effect of a schema change, and its transaction.
#[derive(Debug, Clone)]
pub struct Change {
    pub xid: u64,
    pub lsn: Lsn,
    pub at: Option<Time>,
    pub effect: Effect,
    /// It makes a table that may be partitioned by hash of an enum.
    pub is_hashed: bool,
}

/// A flag that names what is lost.
#[derive(Debug, Clone)]
pub struct LostHere {
    pub lsn: Lsn,
    pub xid: u64,
    pub at: Option<Time>,
    pub lost: Lost,
    pub reason: Vec<u8>,
}

impl Needs {
    /// Whether nothing but changes of rows was found.
    pub fn is_of_rows_alone(&self) -> bool {
        let has_changes = !self.changes.is_empty() || self.text_only.is_some();
        let has_facts = !self.roles.is_empty() || !self.tablespaces.is_empty();
        !has_changes && !has_facts && self.lost.is_empty()
    }

    /// Adds those of the transactions behind these.
    pub fn absorb(&mut self, behind: Needs) {
        for (name, is_superuser) in behind.roles {
            self.role(name, is_superuser);
        }
        for (name, before) in behind.tablespaces {
            self.tablespaces.entry(name).or_insert(before);
        }
        self.lost.extend(behind.lost);
        self.changes.extend(behind.changes);
        self.text_only = self.text_only.take().or(behind.text_only);
    }

    /// The last change makes a table, by this statement.
    fn has_made(&mut self, create: &[u8]) {
        if let Some(change) = self.changes.last_mut() {
            change.is_hashed = hashed::may_be(create);
        }
    }

    fn add(&mut self, fact: ClusterFact) {
        match fact {
            ClusterFact::Role { name, superuser } => self.role(name, superuser),
            ClusterFact::Tablespace { name } => drop(self.tablespaces.entry(name).or_default()),
            ClusterFact::TablespaceRenamed { name, to } => {
                self.tablespaces.entry(to).or_insert(Some(name));
            }
            ClusterFact::Member { .. }
            | ClusterFact::RoleRenamed { .. }
            | ClusterFact::RoleDropped { .. } => {}
        }
    }

    fn role(&mut self, name: Vec<u8>, is_superuser: bool) {
        if !name.is_empty() {
            *self.roles.entry(name).or_default() |= is_superuser;
        }
    }
}

impl Found {
    /// After a segment whose commits are all not after it.
    pub fn all_before(self, last_commit: Option<Lsn>) -> Found {
        match last_commit {
            Some(_) => Found {
                last: last_commit,
                beyond: None,
            },
            None => self,
        }
    }

    /// With what was found in the segment behind these.
    pub fn then(self, behind: Found) -> Found {
        match behind.last {
            Some(_) => behind,
            None => Found {
                last: self.last,
                beyond: self.beyond.or(behind.beyond),
            },
        }
    }

    /// Takes a commit into account, in the order of the segments.
    fn add(&mut self, moment: &Moment, lsn: Lsn, time: Option<Time>) {
        let Moment::Time(upto) = moment else {
            return;
        };
        if time.is_some_and(|time| time <= *upto) {
            (self.last, self.beyond) = (Some(lsn), None);
        } else {
            self.beyond = self.beyond.or(Some(lsn));
        }
    }
}

/// Reads a segment to its end. `read` is told the number of bytes from time to time.
pub fn read(
    storage: &dyn Storage,
    chain: &Chain,
    segment: &Segment,
    moment: &Moment,
    found: Found,
    needs: &mut Needs,
) -> Result<Facts> {
    let file = chain.file(&segment.file());
    let Some(input) = chain.open(storage, segment)? else {
        return Err(gone(storage, &file));
    };
    let mut facts = Facts {
        found,
        ..Facts::default()
    };
    let mut hashing = Hashing::new(input);
    let mut scanner = Scanner::new(&mut hashing);
    let mut open = None;
    let mut footer = None;
    // The statement that makes a table.
    let mut made: Option<Vec<u8>> = None;
    loop {
        let line = scanner.pass_rows(|_| ()).and_then(|_| scanner.next_line());
        let Some((part, event)) = line.map_err(storage::failed("read", storage, &file))? else {
            break;
        };
        let Some(event) = event else {
            if let (Part::Block(is_last), Some(text)) = (part, &mut made) {
                text.extend_from_slice(scanner.text());
                text.push(b'\n');
                if is_last {
                    needs.has_made(&made.take().unwrap_or_default());
                    scanner.keep_text(false);
                }
            }
            continue;
        };
        match event {
            Event::Header(header) => {
                facts.end_lsn = header.start_lsn;
                if header.format < 2 {
                    needs.text_only.get_or_insert_with(|| storage.place(&file));
                }
                facts.header = Some(*header);
            }
            Event::Transaction {
                xid,
                commit_lsn,
                commit_time,
                ..
            } => open = Some((xid, commit_lsn, commit_time)),
            Event::End { statements, .. } => {
                let Some((_, lsn, time)) = open.take() else {
                    continue;
                };
                facts.end_lsn = lsn;
                facts.transactions += 1;
                facts.statements += statements;
                facts.latest = facts.latest.max(time);
                facts.is_timeless |= time.is_none();
                facts.found.add(moment, lsn, time);
            }
            Event::Position { lsn, at, .. } => {
                facts.end_lsn = lsn;
                facts.latest = facts.latest.max(Some(at));
            }
            Event::Ddl { role, command } => {
                if is_of_relations(&command) {
                    needs.text_only.get_or_insert_with(|| storage.place(&file));
                }
                needs.role(role, false);
            }
            Event::Fact(fact) => needs.add(fact),
            Event::Flag {
                reason,
                lost: Some(lost),
            } => {
                if let Some((xid, lsn, at)) = open {
                    needs.lost.push(LostHere {
                        lsn,
                        xid,
                        at,
                        lost,
                        reason,
                    });
                }
            }
            Event::Footer(read) => footer = Some(read),
            Event::Torn {
                at, why, is_cut, ..
            } => {
                facts.torn = Some((at, why));
                facts.is_cut = is_cut;
            }
            Event::Effect(effect) if FOLLOWED.contains(&effect.class.as_str()) => {
                if let Some((xid, lsn, at)) = open {
                    if (effect.class.as_str(), effect.verb.as_str()) == ("table", "create") {
                        made = Some(Vec::new());
                        scanner.keep_text(true);
                    }
                    needs.changes.push(Change {
                        xid,
                        lsn,
                        at,
                        effect: *effect,
                        is_hashed: false,
                    });
                }
            }
            Event::Sequences { .. }
            | Event::Words(_)
            | Event::Effect(_)
            | Event::Unhandled { .. }
            | Event::Flag { lost: None, .. }
            | Event::LeftOut { .. }
            | Event::Mark(_) => {}
        }
    }
    facts.complete = scanner.complete_offset();
    let content = hashing.finish();
    facts.sha256 = content.sha256;
    facts.bytes = content.bytes;
    facts.is_closed = footer.is_some_and(|footer| {
        (footer.end_lsn, footer.transactions) == (facts.end_lsn, facts.transactions)
    });
    Ok(facts)
}

impl Facts {
    /// Its checksum is that in the manifest, if it is listed there.
    pub fn ensure_listed(&self, place: &str, segment: &Segment) -> Result<()> {
        let listed = segment.entry.as_ref();
        if listed.is_none_or(|entry| entry.sha256 == self.sha256) {
            return Ok(());
        }
        let why = "its checksum does not match the manifest";
        Err(Error::damaged(format!("{place} is damaged: {why}")))
    }

    /// An open segment may break off in the middle of a transaction; any other must be whole.
    pub fn ensure_whole(&self, storage: &dyn Storage, file: &str, stored: Stored) -> Result<()> {
        if stored == Stored::Partial && (self.torn.is_none() || self.is_cut) {
            return Ok(());
        }
        let place = storage.place(file);
        let why = match &self.torn {
            Some((at, why)) => format!("{place} is damaged at byte {at}: {why}"),
            None if self.is_closed => return Ok(()),
            None => format!("{place} is damaged: its footer does not match its contents"),
        };
        Err(Error::damaged(why))
    }
}

/// Of a segment that is in no form any more.
pub fn gone(storage: &dyn Storage, file: &str) -> Error {
    let message = format!("{} has gone since it was listed", storage.place(file));
    let hint = "Retention has removed it meanwhile: try again, or choose a later moment.";
    Error::failed(message, hint)
}
