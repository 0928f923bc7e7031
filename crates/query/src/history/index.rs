//! The index of a segment: its tables, its DDL, and for each block of about a megabyte which values of which
//! tables it may contain.
//!
//! An index is the file `chain-<n>/index/<segment>.idx`. It is built from the segment alone, on demand or in
//! the background; if it is missing, damaged or of other content, it is built again. A restore of a part passes
//! over the segments whose index shows nothing of it: what an index says must be all that there is.
//! It is identified by the sha256 of the segment's content, so it is also valid for the compressed form.
//!
//! ```text
//! pg_incrbackup index 1 <length of the JSON> <sha256 of the JSON>
//! {…}
//! <filters>
//! ```

use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::ddl::{Name, Rename};
use super::filter;
use super::lines::Open;
use super::partitions::Membership;
use crate::catalog::{Chain, Segment};
use archive::checksum;
use archive::durable;
use archive::error::{Error, Result};
use archive::layout::names::{INDEX, INDEX_SUFFIX};
use archive::layout::{ChainDir, SegmentName};
use archive::storage::Storage;
use archive::time::{self, Time};
use archive::Lsn;

const MAGIC: &str = "pg_incrbackup index 1";

/// Without its filters.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Index {
    /// sha256 of the segment, uncompressed.
    pub segment: String,
    pub bytes: u64,
    /// After the last complete transaction.
    pub complete: u64,
    /// The segment's own random key.
    pub key: String,
    pub transactions: u64,
    /// The earliest and the latest commit time.
    #[serde(with = "time::json_option")]
    pub earliest: Option<Time>,
    #[serde(with = "time::json_option")]
    pub latest: Option<Time>,
    pub relations: Vec<Relation>,
    /// Lists of columns, referenced by blocks.
    pub columns: Vec<Vec<Name>>,
    pub blocks: Vec<Block>,
    pub renames: Vec<Located<Rename>>,
    /// `None` in an index of a release before 0.4.0.
    #[serde(default)]
    pub memberships: Option<Vec<Located<Membership>>>,
    /// The first of them; `ddl_count` counts all.
    pub ddl: Vec<DdlLine>,
    pub ddl_count: u64,
    /// `None` in an index of a release before 0.4.0, and for a segment with anything else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outline: Option<Outline>,
}

/// What must be known to pass over a segment that has changes of rows and positions of sequences, and nothing else. A
/// restore of a part relies on it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outline {
    /// The statement with the last position of each sequence, in their order.
    pub positions: Vec<Name>,
    /// The lowest and the highest LSN of what has a position: a sequences block may lie behind the last commit.
    pub positions_between: Option<(Lsn, Lsn)>,
    pub last_commit: Option<Lsn>,
    /// True if a transaction has no commit time.
    pub is_timeless: bool,
}

/// A table that the segment writes to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relation {
    /// `schema.table` as written.
    pub name: Name,
    pub inserts: u64,
    pub updates: u64,
    pub deletes: u64,
    pub truncates: u64,
    /// The lines about it.
    pub bytes: u64,
}

/// A range of complete lines.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    pub at: u64,
    pub bytes: u64,
    /// The number of its first line.
    pub line: u64,
    /// Checksum of its bytes.
    pub sum: u64,
    /// What is open where it starts.
    pub open: Open,
    /// Offset of its filter, length, and checksum.
    pub filter: (u64, u64, u64),
    /// Its tables, each with the list of columns in the filter.
    pub relations: Vec<(u32, u32)>,
    /// Tables with a line that may concern any row.
    pub any_row: Vec<u32>,
}

/// The position of something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Located<T> {
    pub at: u64,
    pub what: T,
}

/// DDL, for a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DdlLine {
    #[serde(with = "time::json_option")]
    pub commit_time: Option<Time>,
    pub command: String,
    pub role: Name,
    /// Its beginning.
    pub text: Name,
    pub line: u64,
}

/// An index with its filters.
#[derive(Debug, Clone, Default)]
pub struct Indexed {
    pub index: Index,
    pub filters: Filters,
}

/// The filters of an index.
#[derive(Debug, Clone)]
pub enum Filters {
    Memory(Vec<u8>),
    /// In a file, from this offset on.
    File(Arc<File>, u64),
}

impl Default for Filters {
    fn default() -> Filters {
        Filters::Memory(Vec::new())
    }
}

/// Reads an index; `None` if there is none for this content.
pub fn read(chain: &ChainDir, name: SegmentName, segment_sha256: &str) -> Option<Indexed> {
    let path = chain.index(name);
    let mut file = durable::open_to_read(&path).ok()?;
    let (json, start) = read_json(&mut file)?;
    let index: Index = serde_json::from_slice(&json).ok()?;
    let filters: u64 = index.blocks.iter().map(|block| block.filter.1).sum();
    let is_whole = file.metadata().ok()?.len() == start + filters;
    (is_whole && index.segment == segment_sha256).then_some(Indexed {
        index,
        filters: Filters::File(Arc::new(file), start),
    })
}

/// The names of the segments that have an index, of whatever content.
pub fn segments(storage: &dyn Storage, chain: &Chain) -> BTreeSet<String> {
    // They only save time: why they cannot be listed does not matter.
    let items = storage.list(&chain.file(INDEX)).unwrap_or_default();
    let names = items
        .iter()
        .filter_map(|item| item.name.strip_suffix(INDEX_SUFFIX));
    names.map(str::to_owned).collect()
}

/// The index of a closed segment, without its filters; `None` if there is none for the content that the manifest lists.
pub fn of_listed(storage: &dyn Storage, chain: &Chain, segment: &Segment) -> Option<Index> {
    let listed = segment.entry.as_ref()?;
    let file = chain.file(&format!("{INDEX}/{}{INDEX_SUFFIX}", segment.name));
    // It only saves time: why it cannot be read does not matter.
    let input = storage.open(&file, 0).ok()??;
    let (json, _) = read_json(input)?;
    let index: Index = serde_json::from_slice(&json).ok()?;
    (index.segment == listed.sha256).then_some(index)
}

/// The JSON, if it matches its checksum, and the start of the filters.
fn read_json(file: impl std::io::Read) -> Option<(Vec<u8>, u64)> {
    use std::io::{BufRead, BufReader, Read};
    let mut input = BufReader::new(file);
    let mut first = String::new();
    input.by_ref().take(256).read_line(&mut first).ok()?;
    let mut words = first.strip_prefix(MAGIC)?.split_whitespace();
    let length: u64 = words.next()?.parse().ok()?;
    let sha256 = words.next()?;
    let mut json = Vec::new();
    input.by_ref().take(length).read_to_end(&mut json).ok()?;
    let mut end = [0];
    input.read_exact(&mut end).ok()?;
    let is_sound = end == *b"\n" && checksum::of_bytes(&json) == sha256;
    is_sound.then_some((json, first.len() as u64 + length + 1))
}

/// Writes an index durably. It is not essential.
pub fn write(chain: &ChainDir, name: SegmentName, indexed: &Indexed) -> Result<()> {
    let Filters::Memory(filters) = &indexed.filters else {
        return Ok(());
    };
    let directory = chain.indexes();
    if !durable::is_real_dir(&directory) {
        match durable::create_dir(&directory) {
            // Another process was first.
            Err(_) if durable::is_real_dir(&directory) => {}
            made => made?,
        }
    }
    let json = serde_json::to_vec(&indexed.index).expect("plain fields always become JSON");
    let mut bytes = format!("{MAGIC} {} {}\n", json.len(), checksum::of_bytes(&json)).into_bytes();
    bytes.extend_from_slice(&json);
    bytes.push(b'\n');
    bytes.extend_from_slice(filters);
    durable::write_atomically(&chain.index(name), &bytes)
}

impl Indexed {
    /// A block's filter; `None` if it is damaged.
    pub fn filter(&self, block: &Block) -> Option<Vec<u8>> {
        use std::os::unix::fs::FileExt;
        let (at, length, sum) = block.filter;
        let filter = match &self.filters {
            Filters::Memory(all) => all.get(at as usize..(at + length) as usize)?.to_vec(),
            Filters::File(file, start) => {
                let mut filter = vec![0; usize::try_from(length).ok()?];
                file.read_exact_at(&mut filter, start + at).ok()?;
                filter
            }
        };
        (sum_of(&filter) == sum).then_some(filter)
    }
}

/// A block whose filter is read at the first query that needs it.
pub struct BlockFilter<'a> {
    indexed: &'a Indexed,
    block: &'a Block,
    filter: OnceCell<Option<Vec<u8>>>,
}

impl<'a> BlockFilter<'a> {
    /// Reads nothing yet.
    pub fn new(indexed: &'a Indexed, block: &'a Block) -> BlockFilter<'a> {
        BlockFilter {
            indexed,
            block,
            filter: OnceCell::new(),
        }
    }

    /// True if the filter contains it, or cannot be read.
    fn holds(&self, hash: u64) -> bool {
        let filter = self.filter.get_or_init(|| self.indexed.filter(self.block));
        filter
            .as_ref()
            .is_none_or(|filter| filter::may_hold(filter, hash))
    }

    /// Whether the block must be read for a row of a table with these column values; each value with the
    /// current name of its column.
    pub fn may_hold(&self, asked: &Asked<'_>) -> bool {
        for (relation, columns) in &self.block.relations {
            if !asked.relations.contains(relation) {
                continue;
            }
            if self.block.any_row.contains(relation) {
                return true;
            }
            let held = &self.indexed.index.columns[*columns as usize];
            let value = |(column, hash): &(&[u8], u64)| {
                !held.iter().any(|name| name.0 == *column) || self.holds(*hash)
            };
            if asked.values.iter().all(value) {
                return true;
            }
        }
        asked.ddl.iter().any(|hash| self.holds(*hash))
    }
}

/// A query to [`BlockFilter::may_hold`].
pub struct Asked<'a> {
    /// Positions in [`Index::relations`] of the table.
    pub relations: &'a [u32],
    /// Each column's name with the hash of its value.
    pub values: Vec<(&'a [u8], u64)>,
    /// Hashes of names in DDL.
    pub ddl: Vec<u64>,
}

/// Reads blocks of a segment in their order.
pub struct BlockReader {
    input: Box<dyn std::io::Read>,
    plain: Option<File>,
    at: u64,
    path: PathBuf,
}

impl BlockReader {
    /// Opens the segment.
    pub fn open(path: &Path, stored: archive::layout::Stored) -> Result<BlockReader> {
        use archive::layout::Stored;
        let plain = match stored {
            Stored::Partial | Stored::Plain => Some(durable::open_to_read(path)?),
            Stored::Gzip | Stored::Zstd => None,
        };
        let input: Box<dyn std::io::Read> = match plain {
            Some(_) => Box::new(std::io::empty()),
            None => Box::new(archive::segment::source::open(path, stored)?),
        };
        Ok(BlockReader {
            input,
            plain,
            at: 0,
            path: path.to_owned(),
        })
    }

    /// Reads an index; `None` if there is none for this content.
    pub fn read(&mut self, at: u64, length: u64) -> Result<Vec<u8>> {
        use std::io::Read;
        use std::os::unix::fs::FileExt;
        let failed = || Error::io("read", &self.path);
        let mut bytes = vec![0; length as usize];
        if let Some(file) = &self.plain {
            file.read_exact_at(&mut bytes, at).map_err(failed())?;
            return Ok(bytes);
        }
        let skipped = at - self.at;
        let mut before = self.input.by_ref().take(skipped);
        std::io::copy(&mut before, &mut std::io::sink()).map_err(failed())?;
        self.input.read_exact(&mut bytes).map_err(failed())?;
        self.at = at + length;
        Ok(bytes)
    }

    /// A block, which must be unchanged since the index was built.
    pub fn block(&mut self, block: &Block) -> Result<Vec<u8>> {
        let bytes = self.read(block.at, block.bytes)?;
        if sum_of(&bytes) == block.sum {
            Ok(bytes)
        } else {
            Err(Error::damaged(
                &self.path,
                block.at,
                "it is not what it was when its index was made",
            ))
        }
    }
}

/// A fast checksum: one changed word always changes it.
#[derive(Debug, Clone)]
pub struct Sum {
    sum: u64,
    rest: Vec<u8>,
}

impl Sum {
    pub fn new() -> Sum {
        Sum {
            sum: 0x9e37_79b9_7f4a_7c15,
            rest: Vec::with_capacity(8),
        }
    }

    pub fn add(&mut self, mut bytes: &[u8]) {
        if !self.rest.is_empty() {
            let missing = (8 - self.rest.len()).min(bytes.len());
            self.rest.extend_from_slice(&bytes[..missing]);
            bytes = &bytes[missing..];
            if self.rest.len() < 8 {
                return;
            }
            let word = std::mem::take(&mut self.rest);
            self.word(&word);
        }
        let words = bytes.chunks_exact(8);
        self.rest.extend_from_slice(words.remainder());
        words.for_each(|word| self.word(word));
    }

    fn word(&mut self, word: &[u8]) {
        let word = u64::from_le_bytes(word.try_into().expect("eight bytes"));
        self.sum = (self.sum ^ word)
            .wrapping_mul(0xff51_afd7_ed55_8ccd)
            .rotate_left(31);
    }

    pub fn finish(mut self) -> u64 {
        let mut last = std::mem::take(&mut self.rest);
        let length = last.len() as u8;
        last.resize(8, 0);
        self.word(&last);
        self.word(&[length, 0, 0, 0, 0, 0, 0, 0]);
        self.sum
    }
}

impl Default for Sum {
    fn default() -> Sum {
        Sum::new()
    }
}

/// [`Sum`] of bytes in one piece.
pub fn sum_of(bytes: &[u8]) -> u64 {
    let mut sum = Sum::new();
    sum.add(bytes);
    sum.finish()
}
