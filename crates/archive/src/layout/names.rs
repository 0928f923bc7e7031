//! The names of segments, bases and chains: `<lsn16>-<utc>` with a suffix for the state.

use std::fmt;

use chrono::SubsecRound;

use crate::lsn::Lsn;
use crate::time::{parse_utc_stamp, utc_stamp, Time};

/// Suffix of files being written: the open segment, an unfinished base or chain.
pub const PARTIAL: &str = ".partial";

/// The manifest of a chain.
pub const MANIFEST: &str = "manifest.jsonl";
/// The description of a chain.
pub const CHAIN_JSON: &str = "chain.json";
/// The directory of a chain that holds segments.
pub const INCREMENTAL: &str = "incremental";
/// How the directory of a chain is called that holds what the server lost of a timeline, before its number.
pub const LOST: &str = "lost-";
/// The directory of a chain that holds base backups.
pub const BASE: &str = "base";

/// The directory of a chain that holds sets of globals.
pub const GLOBALS: &str = "globals";
/// What a base, or a set of globals, says of itself.
pub const METADATA_JSON: &str = "metadata.json";
/// The directory of a chain that holds what its segments hold, in small, for who searches them.
pub const INDEX: &str = "index";
/// What the name of such a file ends in.
pub const INDEX_SUFFIX: &str = ".idx";

/// The form of a segment on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// Still open: `.sql.partial`.
    Partial,
    /// Closed: `.sql`.
    Plain,
    /// Closed and compressed: `.sql.gz`.
    Gzip,
    /// Closed and compressed: `.sql.zst`.
    Zstd,
}

impl Stored {
    /// Of several forms of a segment the first in this order is read: a closed one before an open one that a copy has from
    /// earlier, an uncompressed one first.
    pub fn preference(self) -> u8 {
        match self {
            Stored::Plain => 0,
            Stored::Gzip => 1,
            Stored::Zstd => 2,
            Stored::Partial => 3,
        }
    }
}

/// The name of a segment: its start LSN and when it was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentName {
    pub start_lsn: Lsn,
    pub opened_at: Time,
}

/// The name of a base backup's directory: its LSN and when it was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BaseName {
    pub lsn: Lsn,
    pub taken_at: Time,
}

/// The name of a set of globals: the commit LSN of the last change in it, and that commit's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GlobalsName {
    pub lsn: Lsn,
    pub changed_at: Time,
}

impl Stored {
    const ALL: [Stored; 4] = [Stored::Partial, Stored::Plain, Stored::Gzip, Stored::Zstd];
    /// The compressed forms.
    pub const COMPRESSED: [Stored; 2] = [Stored::Gzip, Stored::Zstd];

    /// The possible names of a closed segment, given that in the manifest.
    pub fn closed_files(plain: &str) -> Vec<String> {
        let stem = plain.strip_suffix(Stored::Plain.suffix()).unwrap_or(plain);
        let closed = Stored::ALL.into_iter().filter(|s| *s != Stored::Partial);
        closed
            .map(|stored| format!("{stem}{}", stored.suffix()))
            .collect()
    }

    fn suffix(self) -> &'static str {
        match self {
            Stored::Partial => ".sql.partial",
            Stored::Plain => ".sql",
            Stored::Gzip => ".sql.gz",
            Stored::Zstd => ".sql.zst",
        }
    }
}

impl SegmentName {
    /// The time is truncated to seconds.
    pub fn new(start_lsn: Lsn, opened_at: Time) -> SegmentName {
        SegmentName {
            start_lsn,
            opened_at: opened_at.trunc_subsecs(0),
        }
    }

    /// The file name in the given state.
    pub fn file(self, stored: Stored) -> String {
        format!("{self}{}", stored.suffix())
    }

    /// Parses a file name; `None` if it is not a segment's.
    pub fn parse(file: &str) -> Option<(SegmentName, Stored)> {
        Stored::ALL.into_iter().find_map(|stored| {
            let (start_lsn, opened_at) = parse_pair(file.strip_suffix(stored.suffix())?)?;
            Some((
                SegmentName {
                    start_lsn,
                    opened_at,
                },
                stored,
            ))
        })
    }
}

impl fmt::Display for SegmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}-{}",
            self.start_lsn.to_hex16(),
            utc_stamp(self.opened_at)
        )
    }
}

impl BaseName {
    /// The time is truncated to seconds.
    pub fn new(lsn: Lsn, taken_at: Time) -> BaseName {
        BaseName {
            lsn,
            taken_at: taken_at.trunc_subsecs(0),
        }
    }

    /// Parses a finished base's directory name; `None` for anything else.
    pub fn parse(directory: &str) -> Option<BaseName> {
        let (lsn, taken_at) = parse_pair(directory)?;
        Some(BaseName { lsn, taken_at })
    }
}

impl fmt::Display for BaseName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.lsn.to_hex16(), utc_stamp(self.taken_at))
    }
}

impl GlobalsName {
    /// The time is truncated to seconds.
    pub fn new(lsn: Lsn, changed_at: Time) -> GlobalsName {
        GlobalsName {
            lsn,
            changed_at: changed_at.trunc_subsecs(0),
        }
    }

    /// Parses a finished set's directory name; `None` for anything else.
    pub fn parse(directory: &str) -> Option<GlobalsName> {
        let (lsn, changed_at) = parse_pair(directory)?;
        Some(GlobalsName { lsn, changed_at })
    }
}

impl fmt::Display for GlobalsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.lsn.to_hex16(), utc_stamp(self.changed_at))
    }
}

/// True for the name of an unfinished base or set.
pub fn is_partial_directory(name: &str) -> bool {
    name.strip_suffix(PARTIAL).and_then(parse_pair).is_some()
}

/// `chain-<n>`
pub fn chain_name(number: u32) -> String {
    format!("chain-{number}")
}

/// Parses `chain-<n>`; `None` for anything else.
pub fn parse_chain_name(directory: &str) -> Option<u32> {
    let number = directory.strip_prefix("chain-")?.parse().ok()?;
    (chain_name(number) == directory).then_some(number)
}

fn parse_pair(text: &str) -> Option<(Lsn, Time)> {
    let (lsn, stamp) = text.split_once('-')?;
    Some((Lsn::from_hex16(lsn).ok()?, parse_utc_stamp(stamp)?))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn time() -> Time {
        parse_utc_stamp("20261120T020000Z").unwrap()
    }

    #[test]
    fn segment_names_go_there_and_back() {
        let name = SegmentName {
            start_lsn: Lsn(0x15E0F88),
            opened_at: time(),
        };
        for stored in Stored::ALL {
            assert_eq!(SegmentName::parse(&name.file(stored)), Some((name, stored)));
        }
        assert_eq!(
            name.file(Stored::Plain),
            "00000000015E0F88-20261120T020000Z.sql"
        );
        for other in [
            "",
            "x.sql",
            "00000000015E0F88-20261120T020000Z",
            ".sql",
            "a-b.sql.partial",
        ] {
            assert_eq!(SegmentName::parse(other), None, "{other:?}");
        }
    }

    #[test]
    fn base_and_chain_names_go_there_and_back() {
        let name = BaseName {
            lsn: Lsn(0x15E0F88),
            taken_at: time(),
        };
        assert_eq!(BaseName::parse(&name.to_string()), Some(name));
        assert_eq!(
            BaseName::parse("00000000015E0F88-20261120T020000Z.partial"),
            None
        );
        let set = GlobalsName::new(name.lsn, name.taken_at);
        assert_eq!(GlobalsName::parse(&set.to_string()), Some(set));
        assert!(is_partial_directory(&format!("{set}{PARTIAL}")));
        assert!(!is_partial_directory(&set.to_string()) && !is_partial_directory("x.partial"));
        assert_eq!(parse_chain_name(&chain_name(12)), Some(12));
        for other in [
            "chain-",
            "chain-01",
            "chain-+1",
            "chain-1.partial",
            "chains",
        ] {
            assert_eq!(parse_chain_name(other), None, "{other:?}");
        }
    }
}
