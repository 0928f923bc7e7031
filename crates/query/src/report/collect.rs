//! Gathers what the page shows, from the manifests and the segments' indexes.

use std::collections::{BTreeMap, HashMap};

use chrono::{Days, NaiveDate, TimeDelta};

use super::facts::{Base, Chain, Day, Ddl, Report, Segment, Stretch, Table};
use super::text::readable;
use crate::history::files::{File, Files};
use crate::history::index::Index;
use archive::base;
use archive::error::{Error, Result};
use archive::layout::{ChainDir, DatabaseDir, Stored};
use archive::lock::Lock;
use archive::manifest::{self, Entry, Kind};
use archive::pins;
use archive::time::Time;

/// DDL of so many days is shown …
const DDL_DAYS: i64 = 28;
/// … and at most so many statements, the newest.
const DDL_SHOWN: usize = 200;

/// Gathers it. Nothing is removed meanwhile.
pub fn collect<E: From<Error>>(
    database: &DatabaseDir,
    now: Time,
    may_write_indexes: bool,
    between: &mut dyn FnMut() -> std::result::Result<(), E>,
) -> std::result::Result<Report, E> {
    let _lock = Lock::shared_or(database, between)?;
    let mut files = Files::list(database, may_write_indexes, between)?;
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
        chain.finish(now);
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
        .filter(|entry| entry.kind == Kind::Base && !entry.is_gone())
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
                let share = if first == last {
                    1.0
                } else {
                    inside.max(0.0) / length
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
    fn finish(&mut self, now: Time) {
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
