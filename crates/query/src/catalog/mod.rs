//! What an archive holds, from its files alone: chains, bases, segments, sets of globals.
//!
//! It is read through a [`Storage`] and needs no server. Files that retention has marked as expired are not in it,
//! whatever a crash left of them.

mod read;
mod stretches;

use std::cell::RefCell;
use std::io::Read;

use archive::flags::Flagged;
use archive::globals::Facts;
use archive::layout::chain::ChainInfo;
use archive::layout::names::{chain_name, BASE, GLOBALS, INCREMENTAL};
use archive::layout::{BaseName, GlobalsName, SegmentName, Stored};
use archive::manifest::Entry;
use archive::metadata::Metadata;
use archive::segment::source;
use archive::storage::Storage;
use archive::Lsn;

pub use stretches::{Extent, Gap, Loss, Stretch};

/// All chains of a database, oldest first.
#[derive(Debug, Clone)]
pub struct Catalog {
    pub chains: Vec<Chain>,
}

/// One unbroken series of changes.
#[derive(Debug, Clone)]
pub struct Chain {
    pub number: u32,
    pub info: ChainInfo,
    /// Oldest first.
    pub bases: Vec<Base>,
    /// Those that were set apart: what they have is not in the history of the server that goes on.
    pub lost_bases: Vec<BaseName>,
    /// In replay order; the open one, if there is one, last.
    pub segments: Vec<Segment>,
    /// Oldest first.
    pub globals: Vec<Globals>,
    pub flags: Vec<Flagged>,
    /// The end of the last segment that the manifest lists.
    pub listed_to: Option<Lsn>,
    /// The last segment that retention has removed.
    pub last_expired: Option<Entry>,
    /// Lines of the manifest (from 1) that cannot be parsed, and why.
    pub damaged_lines: Vec<(usize, String)>,
}

/// A base backup.
#[derive(Debug, Clone)]
pub struct Base {
    pub name: BaseName,
    pub metadata: Metadata,
    /// Its line in the manifest.
    pub entry: Option<Entry>,
}

/// A segment. What a closed one contains is in its line.
#[derive(Debug, Clone)]
pub struct Segment {
    pub name: SegmentName,
    pub stored: Stored,
    /// As stored, in bytes.
    pub size: u64,
    pub entry: Option<Entry>,
}

/// A set of globals.
#[derive(Debug, Clone)]
pub struct Globals {
    pub name: GlobalsName,
    pub facts: Facts,
    pub entry: Option<Entry>,
}

impl Catalog {
    /// Reads it. Fails where a description cannot be parsed: [`archive::Error::Damaged`].
    pub fn read(storage: &dyn Storage) -> archive::Result<Catalog> {
        read::catalog(storage, None)
    }

    /// Reads what can be parsed; what cannot is not in it, and why is in the errors.
    pub fn read_sound(storage: &dyn Storage) -> archive::Result<(Catalog, Vec<archive::Error>)> {
        let damage = RefCell::default();
        let catalog = read::catalog(storage, Some(&damage))?;
        Ok((catalog, damage.into_inner()))
    }

    /// The chain of this number.
    pub fn chain(&self, number: u32) -> Option<&Chain> {
        self.chains.iter().find(|chain| chain.number == number)
    }
}

impl Chain {
    /// A file of this chain, from the database's directory.
    pub fn file(&self, file: &str) -> String {
        format!("{}/{file}", chain_name(self.number))
    }

    /// Opens a segment in the form that it has by now: it may have been closed or compressed since it was listed. `None`
    /// if it has gone.
    pub fn open(
        &self,
        storage: &dyn Storage,
        segment: &Segment,
    ) -> archive::Result<Option<Box<dyn Read + Send>>> {
        let closed = [Stored::Plain, Stored::Gzip, Stored::Zstd];
        // Once more for one that was compressed between two attempts.
        for stored in [segment.stored].into_iter().chain(closed).chain(closed) {
            let file = self.file(&format!("{INCREMENTAL}/{}", segment.name.file(stored)));
            let opened = source::open_stored(storage, &file, stored)?;
            if opened.is_some() {
                return Ok(opened);
            }
        }
        Ok(None)
    }

    /// Whether a crash, an incomplete copy, or somebody else left a base without its line: not to be used without being
    /// named. (A copy may have bases, and no lines yet.)
    pub fn is_listed(&self, base: &Base) -> bool {
        base.entry.is_some() || self.bases.iter().all(|other| other.entry.is_none())
    }
}

impl Base {
    /// Its directory, from that of the chain.
    pub fn directory(&self) -> String {
        format!("{BASE}/{}", self.name)
    }

    /// Whether a file of it has nothing but rows, of one table or large object: in a dump in directory format.
    pub fn is_rows(&self, file: &str) -> bool {
        let below = file.strip_prefix(self.metadata.dump.as_str());
        let below = below.and_then(|below| below.strip_prefix('/'));
        below.is_some_and(|name| name != "toc.dat")
    }
}

impl Globals {
    /// Its directory, from that of the chain.
    pub fn directory(&self) -> String {
        format!("{GLOBALS}/{}", self.name)
    }
}

impl Segment {
    /// As stored, from the directory of the chain.
    pub fn file(&self) -> String {
        format!("{INCREMENTAL}/{}", self.name.file(self.stored))
    }

    /// Where it starts.
    pub fn start_lsn(&self) -> Lsn {
        self.name.start_lsn
    }
}
