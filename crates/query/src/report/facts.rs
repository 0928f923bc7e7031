//! What the page shows: bases and segments of every chain on a line of time, sizes by day, tables, DDL.

use std::collections::BTreeMap;

use chrono::NaiveDate;

use archive::layout::BaseName;
use archive::time::Time;

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
    pub(super) xmin: Option<u64>,
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
    pub(super) is_first: bool,
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
    pub(super) next_xid: Option<u64>,
    pub(super) start_lsn: archive::Lsn,
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
                start_lsn: archive::Lsn(0),
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
