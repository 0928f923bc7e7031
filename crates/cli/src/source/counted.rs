//! A storage that tells how much of it has been read.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use archive::archiving::ARCHIVED_JSONL;
use archive::layout::database::RESTORE_FILES;
use archive::layout::names::INDEX;
use archive::pause::Pause;
use archive::storage::{Item, Storage};

use crate::progress::Progress;

/// Everything that is read through it is counted, each byte of a file once, however often it is read.
pub struct Counted {
    inner: Arc<dyn Storage>,
    progress: Arc<Progress>,
    /// How far each file was read.
    reached: Mutex<BTreeMap<String, Arc<AtomicU64>>>,
}

impl Counted {
    /// What is read of `inner` is told to `progress`.
    pub fn new(inner: Arc<dyn Storage>, progress: Arc<Progress>) -> Counted {
        Counted {
            inner,
            progress,
            reached: Mutex::default(),
        }
    }

    fn reached(&self, file: &str) -> Arc<AtomicU64> {
        let mut reached = self.reached.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(reached.entry(file.to_owned()).or_default())
    }
}

/// The bytes of a file.
struct Reader {
    inner: Box<dyn Read + Send>,
    progress: Arc<Progress>,
    at: u64,
    reached: Arc<AtomicU64>,
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        let from = self.at;
        self.at += count as u64;
        count_once(&self.progress, &self.reached, from, self.at);
        Ok(count)
    }
}

/// Tells of those bytes that nobody has read before.
fn count_once(progress: &Progress, reached: &AtomicU64, from: u64, to: u64) {
    let before = reached.fetch_max(to, Ordering::Relaxed);
    progress.add(to.saturating_sub(before.max(from)));
}

impl Storage for Counted {
    fn list(&self, directory: &str) -> archive::Result<Vec<Item>> {
        self.inner.list(directory)
    }

    fn open(&self, file: &str, offset: u64) -> archive::Result<Option<Box<dyn Read + Send>>> {
        let Some(inner) = self.inner.open(file, offset)? else {
            return Ok(None);
        };
        self.progress.file(file);
        Ok(Some(Box::new(Reader {
            inner,
            progress: Arc::clone(&self.progress),
            at: offset,
            reached: self.reached(file),
        })))
    }

    fn size(&self, file: &str) -> archive::Result<Option<u64>> {
        self.inner.size(file)
    }

    fn read_at_rest(&self, file: &str, pause: Pause) -> archive::Result<Option<Vec<u8>>> {
        let bytes = self.inner.read_at_rest(file, pause)?;
        let read = bytes.as_ref().map_or(0, |bytes| bytes.len() as u64);
        count_once(&self.progress, &self.reached(file), 0, read);
        Ok(bytes)
    }

    fn place(&self, file: &str) -> String {
        self.inner.place(file)
    }
}

/// What an archive of a database has.
#[derive(Default)]
pub struct Extent {
    /// Of its chains.
    pub files: usize,
    /// In bytes, of its chains.
    pub bytes: u64,
    /// In bytes: what a check reads, which is not the indexes, but what stands beside the chains.
    pub checked: u64,
}

/// The extent of all that is there.
pub fn extent(storage: &dyn Storage) -> archive::Result<Extent> {
    let mut extent = Extent::default();
    let mut directories = vec![String::new()];
    while let Some(directory) = directories.pop() {
        let is_index = directory.ends_with(&format!("/{INDEX}"));
        for item in storage.list(&directory)? {
            let path = match directory.as_str() {
                "" => item.name,
                directory => format!("{directory}/{}", item.name),
            };
            if item.is_directory {
                directories.push(path);
            } else if directory.is_empty() {
                let is_checked =
                    path == ARCHIVED_JSONL || RESTORE_FILES.iter().any(|(name, _)| path == *name);
                extent.checked += item.size * u64::from(is_checked);
            } else {
                extent.files += 1;
                extent.bytes += item.size;
                extent.checked += item.size * u64::from(!is_index);
            }
        }
    }
    Ok(extent)
}
