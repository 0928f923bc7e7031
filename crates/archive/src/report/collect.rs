//! What the page shows: bases and segments of every chain on a line of time, sizes by day, tables, DDL.

use std::collections::{BTreeMap, HashMap};

use chrono::{Days, NaiveDate, TimeDelta};

use super::text::readable;
use crate::base;
use crate::error::{Error, Result};
use crate::expiry::Lock;
use crate::history::files::{File, Files};
use crate::history::index::Index;
use crate::layout::{BaseName, ChainDir, DatabaseDir, Stored};
use crate::manifest::{self, Entry, Kind};
use crate::pins;
use crate::time::Time;

/// DDL of so many days is shown …
const DDL_DAYS: i64 = 28;
/// … and at most so many statements, the newest.
const DDL_SHOWN: usize = 200;

/// All that the page shows.
#[derive(Debug, Default)]
pub struct Report {
    pub database: String,
    pub generated_at: Time,
    pub system_identifier: u64,
    pub plugin: String,
    /// The oldest first.
    pub chains: Vec<Chain>,
    pub days: BTreeMap<NaiveDate, Day>,
    /// The one with the most bytes first.
    pub tables: Vec<Table>,
    /// The newest first.
    pub ddl: Vec<Ddl>,
    /// How many there were in that time.
    pub ddl_count: u64,
    pub problems: Vec<String>,
}

/// A chain.
#[derive(Debug)]
pub struct Chain {
    pub number: u32,
    pub started_at: Time,
    /// When and why.
    pub ended: Option<(Time, String)>,
    pub bases: Vec<Base>,
    pub stretches: Vec<Stretch>,
    /// Changes between the chain before and this one are in neither.
    pub follows_gap: bool,
}

/// A base backup.
#[derive(Debug)]
pub struct Base {
    pub name: BaseName,
    pub bytes: u64,
    pub seconds: Option<f64>,
    /// Moments after it can be restored.
    pub joins: bool,
    pub pin: Option<String>,
    xmin: Option<u64>,
}

/// Segments without a gap between them.
#[derive(Debug)]
pub struct Stretch {
    pub from: Time,
    pub to: Time,
    /// From here on every moment can be restored.
    pub restorable_from: Option<Time>,
    pub segments: Vec<Segment>,
    /// It goes back to the beginning of the chain.
    is_first: bool,
}

/// A segment.
#[derive(Debug, Clone)]
pub struct Segment {
    pub name: String,
    pub from: Time,
    pub to: Time,
    /// As stored, and uncompressed.
    pub stored: u64,
    pub bytes: u64,
    pub transactions: u64,
    pub is_open: bool,
    next_xid: Option<u64>,
    start_lsn: crate::Lsn,
}

/// What a day added.
#[derive(Debug, Clone, Copy, Default)]
pub struct Day {
    /// Segments, as stored.
    pub stored: f64,
    pub transactions: f64,
    /// Base backups.
    pub bases: f64,
}

/// What the segments hold of a table.
#[derive(Debug, Clone, Default)]
pub struct Table {
    pub name: String,
    pub inserts: u64,
    pub updates: u64,
    pub deletes: u64,
    pub truncates: u64,
    pub bytes: u64,
}

/// DDL.
#[derive(Debug, Clone)]
pub struct Ddl {
    pub at: Time,
    pub role: String,
    pub command: String,
    /// None where it may hold secrets.
    pub text: Option<String>,
}

impl Report {
    /// All segments.
    pub fn segments(&self) -> impl Iterator<Item = &Segment> {
        let stretches = self.chains.iter().flat_map(|chain| &chain.stretches);
        stretches.flat_map(|stretch| &stretch.segments)
    }

    /// All bases.
    pub fn bases(&self) -> impl Iterator<Item = &Base> {
        self.chains.iter().flat_map(|chain| &chain.bases)
    }

    /// Where moments can be restored, the oldest first.
    pub fn windows(&self) -> Vec<(Time, Time)> {
        let stretches = self.chains.iter().flat_map(|chain| &chain.stretches);
        stretches
            .filter_map(|stretch| Some((stretch.restorable_from?, stretch.to)))
            .collect()
    }

    /// What lies between stretches that do not join, however short it was.
    pub fn gaps(&self) -> Vec<(Time, Time)> {
        let mut gaps = Vec::new();
        let mut before: Option<Time> = None;
        for chain in &self.chains {
            for (nth, stretch) in chain.stretches.iter().enumerate() {
                if let Some(end) = before.filter(|_| nth > 0 || chain.follows_gap) {
                    gaps.push((end.min(stretch.from), end.max(stretch.from)));
                }
                before = Some(stretch.to);
            }
        }
        gaps
    }

    /// As stored.
    pub fn bytes(&self) -> (u64, u64) {
        let segments = self.segments().map(|segment| segment.stored).sum();
        (segments, self.bases().map(|base| base.bytes).sum())
    }
}

/// Gathers it. Nothing is removed meanwhile.
pub fn collect<E: From<Error>>(
    database: &DatabaseDir,
    now: Time,
    may_write_indexes: bool,
    between: &mut dyn FnMut() -> std::result::Result<(), E>,
) -> std::result::Result<Report, E> {
    let _lock = Lock::shared(database)?;
    let mut files = Files::list(database, may_write_indexes)?;
    let mut report = Report {
        database: database.name(),
        generated_at: now,
        ..Report::default()
    };
    for chain in database.chains()? {
        report.database.clone_from(&chain.info.database);
        report.system_identifier = chain.info.system_identifier;
        report.plugin.clone_from(&chain.info.plugin);
        report.chains.push(of_chain(&chain, now)?);
    }
    let mut tables = HashMap::new();
    for nth in 0..files.files.len() {
        between()?;
        let indexed = files.indexed(nth, between)?;
        let file = &mut files.files[nth];
        for problem in &file.problems {
            report.problems.push(format!("{}: {problem}", file.shown()));
        }
        if let Some(indexed) = &indexed {
            note_tables(&indexed.index, &mut tables);
            report.note_ddl(&indexed.index, now);
        }
        report.add_segment(file, indexed.as_ref().map(|indexed| &indexed.index));
    }
    for chain in &mut report.chains {
        chain.settle(now);
    }
    report.count_days(now);
    report.tables = tables.into_values().collect();
    report
        .tables
        .sort_by(|a, b| (b.bytes, &a.name).cmp(&(a.bytes, &b.name)));
    report.ddl.sort_by_key(|ddl| std::cmp::Reverse(ddl.at));
    report.ddl.truncate(DDL_SHOWN);
    Ok(report)
}

fn of_chain(chain: &ChainDir, now: Time) -> Result<Chain> {
    let pins = pins::read(chain)?;
    let entries = manifest::read(chain)?.entries.into_iter();
    let bases: Vec<Entry> = entries
        .filter(|entry| entry.kind == Kind::Base && entry.expired_at.is_none())
        .collect();
    let mut found = Vec::new();
    for name in chain.bases()? {
        let file = base::file_of(name);
        let Some(entry) = bases.iter().find(|entry| entry.file == file) else {
            continue;
        };
        let pin = pins.iter().find(|pin| pin.base == name.to_string());
        let pin = pin.filter(|pin| pin.is_valid(now));
        found.push(Base {
            name,
            bytes: entry.file_bytes,
            seconds: entry.duration_ms.map(|ms| ms as f64 / 1000.0),
            joins: false,
            pin: pin.map(|pin| pin.note.clone()),
            xmin: entry.snapshot.as_ref().map(|snapshot| snapshot.xmin),
        });
    }
    let ended = chain.info.ended.as_ref();
    Ok(Chain {
        number: chain.number,
        started_at: chain.info.started_at,
        ended: ended.map(|end| (end.at, end.reason.clone())),
        bases: found,
        stretches: Vec::new(),
        follows_gap: false,
    })
}

fn note_tables(index: &Index, tables: &mut HashMap<Vec<u8>, Table>) {
    for relation in &index.relations {
        let table = tables.entry(relation.name.0.clone()).or_default();
        if table.name.is_empty() {
            table.name = readable(&relation.name.0);
        }
        table.inserts += relation.inserts;
        table.updates += relation.updates;
        table.deletes += relation.deletes;
        table.truncates += relation.truncates;
        table.bytes += relation.bytes;
    }
}

/// Their texts may hold passwords and connection strings.
fn may_hold_secrets(command: &str) -> bool {
    let kinds = ["SUBSCRIPTION", "SERVER", "USER MAPPING", "FOREIGN", "ROLE"];
    kinds.iter().any(|kind| command.contains(kind))
}

impl Report {
    fn note_ddl(&mut self, index: &Index, now: Time) {
        let since = now - TimeDelta::days(DDL_DAYS);
        if index.latest.is_none_or(|latest| latest < since) {
            return;
        }
        let recent = index.ddl.iter().filter_map(|ddl| {
            let at = ddl.commit_time.filter(|at| *at >= since)?;
            Some(Ddl {
                at,
                role: readable(&ddl.role.0),
                command: ddl.command.clone(),
                text: (!may_hold_secrets(&ddl.command)).then(|| readable(&ddl.text.0)),
            })
        });
        let before = self.ddl.len();
        self.ddl.extend(recent);
        let unlisted = index.ddl_count - index.ddl.len() as u64;
        self.ddl_count += (self.ddl.len() - before) as u64 + unlisted;
        // A busy archive has more than are ever shown.
        if self.ddl.len() > 20 * DDL_SHOWN {
            self.ddl.sort_by_key(|ddl| std::cmp::Reverse(ddl.at));
            self.ddl.truncate(DDL_SHOWN);
        }
    }

    fn add_segment(&mut self, file: &File, index: Option<&Index>) {
        let number = file.chain.number;
        let Some(chain) = self.chains.iter_mut().find(|chain| chain.number == number) else {
            return;
        };
        let entry = file.entry.as_ref();
        if chain.stretches.is_empty() {
            chain.follows_gap |= file.follows_gap;
        }
        let is_first = file.name.start_lsn == file.chain.info.slot_start_lsn;
        let Some(stored) = file.stored.filter(|_| !file.is_damaged) else {
            // What follows a missing one, or one at which a restore stops, is not joined to what is before.
            chain.break_here();
            return;
        };
        let opened = file.name.opened_at;
        let latest = entry.map_or_else(|| index.and_then(|i| i.latest), |e| e.last_commit_at);
        let bytes = entry.map_or_else(|| index.map_or(0, |i| i.bytes), |e| e.bytes);
        let segment = Segment {
            name: format!("chain-{number}/{}", file.name),
            from: opened,
            to: latest.unwrap_or(opened).max(opened),
            stored: entry.map_or(bytes, |entry| entry.file_bytes),
            bytes,
            transactions: entry.map_or_else(
                || index.map_or(0, |index| index.transactions),
                |entry| entry.transactions,
            ),
            is_open: stored == Stored::Partial,
            next_xid: entry.and_then(|entry| entry.next_xid),
            start_lsn: file.name.start_lsn,
        };
        if file.follows_gap {
            chain.break_here();
        }
        chain.add(segment, is_first);
    }

    /// Spreads what each segment holds evenly over the days from its first to its last commit.
    fn count_days(&mut self, now: Time) {
        let mut days: BTreeMap<NaiveDate, Day> = BTreeMap::new();
        for segment in self.segments() {
            let (first, last) = (segment.from.date_naive(), segment.to.date_naive());
            let length = (segment.to - segment.from).as_seconds_f64().max(1.0);
            let mut day = first;
            while day <= last.max(first) {
                let begin = day.and_time(chrono::NaiveTime::MIN).and_utc();
                let end = begin + TimeDelta::days(1);
                let inside = (segment.to.min(end) - segment.from.max(begin)).as_seconds_f64();
                let share = match first == last {
                    true => 1.0,
                    false => inside.max(0.0) / length,
                };
                let counted = days.entry(day).or_default();
                counted.stored += segment.stored as f64 * share;
                counted.transactions += segment.transactions as f64 * share;
                let Some(next) = day.checked_add_days(Days::new(1)) else {
                    break;
                };
                day = next;
            }
        }
        for base in self.bases() {
            let day = base.name.taken_at.date_naive();
            days.entry(day).or_default().bases += base.bytes as f64;
        }
        let today = now.date_naive();
        days.retain(|day, _| *day <= today);
        self.days = days;
    }
}

impl Chain {
    fn break_here(&mut self) {
        // The next segment opens another one.
        if self
            .stretches
            .last()
            .is_some_and(|last| !last.segments.is_empty())
        {
            self.stretches.push(Stretch {
                from: Time::default(),
                to: Time::default(),
                restorable_from: None,
                segments: Vec::new(),
                is_first: false,
            });
        }
    }

    fn add(&mut self, segment: Segment, is_first: bool) {
        if self.stretches.is_empty() {
            self.stretches.push(Stretch {
                from: segment.from,
                to: segment.to,
                restorable_from: None,
                segments: Vec::new(),
                is_first,
            });
        }
        if let Some(stretch) = self.stretches.last_mut() {
            if stretch.segments.is_empty() {
                stretch.from = segment.from;
            }
            // One is opened where the one before was closed.
            if let Some(before) = stretch.segments.last_mut() {
                before.to = before.to.max(segment.from);
            }
            stretch.to = segment.to.max(stretch.to);
            stretch.segments.push(segment);
        }
    }

    /// Decides which bases the segments go on from.
    fn settle(&mut self, now: Time) {
        self.stretches
            .retain(|stretch| !stretch.segments.is_empty());
        let end = self.ended.as_ref().map_or(now, |(at, _)| *at);
        if let Some(last) = self.stretches.last_mut() {
            if let Some(segment) = last.segments.last_mut().filter(|segment| segment.is_open) {
                segment.to = segment.to.max(end);
                last.to = last.to.max(end);
            }
        }
        for stretch in &mut self.stretches {
            let first = &stretch.segments[0];
            for base in &mut self.bases {
                let joins = match (base.xmin, first.next_xid) {
                    _ if base.name.taken_at > stretch.to => false,
                    _ if stretch.is_first => true,
                    (Some(xmin), Some(next_xid)) => next_xid <= xmin,
                    _ => base.name.lsn >= first.start_lsn,
                };
                if joins {
                    base.joins = true;
                    let at = base.name.taken_at.max(stretch.from);
                    let earliest = stretch.restorable_from.map_or(at, |known| known.min(at));
                    stretch.restorable_from = Some(earliest);
                }
            }
        }
    }
}

/// For tests of the page.
#[cfg(test)]
mod made_up {
    use super::*;

    impl Segment {
        pub fn made_up(from: Time, to: Time, bytes: u64, is_open: bool) -> Segment {
            Segment {
                name: "chain-1/00000000015E0F88-20261120T020000Z".to_owned(),
                from,
                to,
                stored: bytes,
                bytes,
                transactions: bytes / 700,
                is_open,
                next_xid: None,
                start_lsn: crate::Lsn(0),
            }
        }
    }

    impl Stretch {
        pub fn made_up(
            from: Time,
            to: Time,
            restorable_from: Option<Time>,
            segments: Vec<Segment>,
        ) -> Stretch {
            Stretch {
                from,
                to,
                restorable_from,
                segments,
                is_first: true,
            }
        }
    }

    impl Base {
        pub fn made_up(name: BaseName, bytes: u64, joins: bool) -> Base {
            Base {
                name,
                bytes,
                seconds: Some(bytes as f64 / 20_000_000.0),
                joins,
                pin: (!joins).then(|| "before the move".to_owned()),
                xmin: None,
            }
        }
    }
}
