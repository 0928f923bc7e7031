//! Compression of closed segments, by a process for which nobody waits.
//!
//! The order is safe in a crash at any point, and in a power loss:
//!
//! 1. the compressed form is written under a `.partial` name and read back: its text must have the sha256 of
//!    the segment in the manifest,
//! 2. it is fsynced and renamed, durably; from here on the segment exists in two forms, of which every reader
//!    uses the uncompressed one,
//! 3. the manifest gets a second line about the segment, with the form in which it is stored,
//! 4. the uncompressed form is removed, when the archive is not being read.
//!
//! The next pass finishes what a crash left. A segment that is already compressed is not changed when the
//! setting changes.

mod setting;

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufReader, Read, Seek, Write};
use std::path::Path;

use rustix::fs::{flock, FlockOperation};

use crate::checksum::{self, Checksum, Hashing};
use crate::durable;
use crate::error::{Error, Result};
use crate::failpoint::pass;
use crate::layout::names::PARTIAL;
use crate::layout::{ChainDir, DatabaseDir, SegmentName, Stored};
use crate::lock::Lock;
use crate::manifest::{self, Entry};
use crate::segment::source;

pub use setting::Compression;

const CHUNK: usize = 256 * 1024;

/// The result of a pass over an archive.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Segments that this pass has compressed.
    pub compressed: Vec<(u32, SegmentName)>,
    /// Segments that were not compressed, and why. The next pass retries.
    pub failed: Vec<(u32, SegmentName, Error)>,
    /// Uncompressed forms that could not be removed yet, because the archive is being read.
    pub in_use: u32,
}

/// Compresses every closed segment of a database that is not compressed; with [`Compression::None`] only
/// finishes an earlier pass. `pause` is called regularly: it may check for a request to stop, and need not
/// return.
pub fn compress(
    database: &DatabaseDir,
    how: Compression,
    pause: &mut dyn FnMut(),
) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    for chain in database.chains()? {
        let _lock = lock(&chain)?;
        remove_leftovers(&chain)?;
        let names = waiting(&chain, how)?;
        if names.is_empty() {
            continue;
        }
        let work = Work {
            database,
            chain: &chain,
            how,
            listed: manifest::by_file(&chain)?,
        };
        for name in names {
            match work.segment(name, pause) {
                Ok(Done::Nothing) => {}
                Ok(Done::Compressed) => outcome.compressed.push((chain.number, name)),
                Ok(Done::InUse) => outcome.in_use += 1,
                // Retention has removed it since the pass began.
                Err(_)
                    if fs::symlink_metadata(chain.segment_path(name, Stored::Plain)).is_err() => {}
                // Each of the others needs space, too.
                Err(error) if error.is_no_space() => {
                    outcome.failed.push((chain.number, name, error));
                    return Ok(outcome);
                }
                Err(error) => outcome.failed.push((chain.number, name, error)),
            }
        }
    }
    Ok(outcome)
}

/// Segments that exist in their uncompressed form and are to be compressed, or are already.
fn waiting(chain: &ChainDir, how: Compression) -> Result<Vec<SegmentName>> {
    let stored = chain.stored_segments()?;
    let forms = stored.chunk_by(|(one, _), (other, _)| one == other);
    let is_waiting = |forms: &&[(SegmentName, Stored)]| {
        let is_plain = forms.iter().any(|(_, stored)| *stored == Stored::Plain);
        is_plain && (how.stored().is_some() || forms.len() > 1)
    };
    Ok(forms.filter(is_waiting).map(|forms| forms[0].0).collect())
}

/// Excludes a second process; the lock is released with the file.
fn lock(chain: &ChainDir) -> Result<File> {
    let path = chain.incremental();
    let directory = File::open(&path).map_err(Error::io("open", &path))?;
    match flock(&directory, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(directory),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(Error::Locked { path }),
        Err(errno) => Err(Error::io("lock", &path)(errno.into())),
    }
}

/// Unfinished compressed forms.
fn remove_leftovers(chain: &ChainDir) -> Result<()> {
    for name in durable::names_in(&chain.incremental())? {
        let finished = name.strip_suffix(PARTIAL).and_then(SegmentName::parse);
        if finished.is_some_and(|(_, stored)| Stored::COMPRESSED.contains(&stored)) {
            durable::remove_if_there(&chain.incremental().join(name))?;
        }
    }
    Ok(())
}

enum Done {
    Nothing,
    Compressed,
    InUse,
}

struct Work<'a> {
    database: &'a DatabaseDir,
    chain: &'a ChainDir,
    how: Compression,
    /// The valid lines of the manifest at the start of the pass.
    listed: HashMap<String, Entry>,
}

impl Work<'_> {
    /// One segment that exists in its uncompressed form.
    fn segment(&self, name: SegmentName, pause: &mut dyn FnMut()) -> Result<Done> {
        // Without a line it is not closed yet: the process that closes it is about to write the line. One
        // that got its line since the pass began waits for the next pass.
        let listed = self.listed.get(&Entry::segment_file(name));
        let Some(listed) = listed.filter(|entry| !entry.is_gone()) else {
            return Ok(Done::Nothing);
        };
        for stored in Stored::COMPRESSED {
            let path = self.chain.segment_path(name, stored);
            if fs::symlink_metadata(&path).is_err() {
                continue;
            }
            if let Some(sum) = read_back(&path, stored, listed, pause)? {
                return self.finish(name, &sum, None);
            }
            durable::remove_if_there(&path)?;
        }
        let Some(stored) = self.how.stored() else {
            return Ok(Done::Nothing);
        };
        let path = self.chain.segment_path(name, stored);
        let partial = durable::beside(&path, PARTIAL);
        let plain = self.chain.segment_path(name, Stored::Plain);
        let written = self
            .write(&plain, &partial, pause)
            .and_then(|file| Ok((file, read_back(&partial, stored, listed, pause)?)));
        let (file, sum) = match written {
            Ok((file, Some(sum))) => (file, sum),
            Ok((_, None)) => {
                durable::remove_if_there(&partial)?;
                let why = "its checksum does not match the manifest; it is not compressed";
                return Err(Error::damaged(&plain, 0, why));
            }
            Err(error) => {
                // Otherwise it would take space until the next pass; if it cannot be removed, the error is
                // sufficient.
                let _ = fs::remove_file(&partial);
                return Err(error);
            }
        };
        self.finish(name, &sum, Some((&file, partial.as_path(), path.as_path())))
    }

    fn write(&self, plain: &Path, partial: &Path, pause: &mut dyn FnMut()) -> Result<File> {
        let mut input = durable::open_to_read(plain)?;
        let output = durable::create_new(partial)?;
        let mut encoder = self
            .how
            .encoder(output)
            .map_err(Error::io("write", partial))?;
        let mut buffer = vec![0; CHUNK];
        loop {
            pause();
            let count = input.read(&mut buffer).map_err(Error::io("read", plain))?;
            if count == 0 {
                break;
            }
            pass("compress: write")
                .and_then(|()| encoder.write_all(&buffer[..count]))
                .map_err(Error::io("write", partial))?;
        }
        encoder.finish().map_err(Error::io("write", partial))
    }

    /// The rename (if necessary), the manifest, and removal of the uncompressed form.
    fn finish(
        &self,
        name: SegmentName,
        sum: &Checksum,
        unnamed: Option<(&File, &Path, &Path)>,
    ) -> Result<Done> {
        if let Some((file, partial, _)) = unnamed {
            // Before the lock, which capture needs to close a segment: this takes long.
            durable::fsync(file, "compress: fsync", partial)?;
        }
        let manifest = manifest::lock(self.chain)?;
        // Retention marks expired files under the same lock.
        let last = manifest.last(&Entry::segment_file(name))?;
        let Some(last) = last.filter(|last| !last.is_gone()) else {
            if let Some((_, partial, _)) = unnamed {
                durable::remove_if_there(partial)?;
            }
            return Ok(Done::Nothing);
        };
        if let Some((file, partial, path)) = unnamed {
            durable::publish(file, partial, path)?;
        }
        pass("compress: named").map_err(Error::io("write", &self.chain.manifest()))?;
        let entry = Entry {
            file_bytes: sum.bytes,
            file_sha256: sum.sha256.clone(),
            ..last.clone()
        };
        if entry == last {
            // It may have been written but not fsynced.
            manifest.make_durable()?
        } else {
            manifest.append(&entry)?
        }
        let plain = self.chain.segment_path(name, Stored::Plain);
        let _lock = match Lock::exclusive(self.database) {
            Err(Error::InUse { .. }) => return Ok(Done::InUse),
            lock => lock?,
        };
        pass("compress: remove").map_err(Error::io("remove", &plain))?;
        durable::remove_if_there(&plain)?;
        Ok(Done::Compressed)
    }
}

/// The file at `path`, if its text is the one in the segment's line. If that line lists this very file, it
/// was read back before.
fn read_back(
    path: &Path,
    stored: Stored,
    listed: &Entry,
    pause: &mut dyn FnMut(),
) -> Result<Option<Checksum>> {
    let mut file = durable::open_to_read(path)?;
    let size = file.metadata().map_err(Error::io("stat", path))?.len();
    if listed.file_sha256 != listed.sha256 && listed.file_bytes == size {
        let sum = checksum::of_file(path)?;
        if sum.sha256 == listed.file_sha256 {
            return Ok(Some(sum));
        }
    }
    let text = text_of(&file, stored, pause);
    file.rewind().map_err(Error::io("read", path))?;
    match text {
        Ok(text) if text.sha256 == listed.sha256 => {
            let stored = checksum::of_reader(BufReader::new(file));
            stored.map(Some).map_err(Error::io("read", path))
        }
        Ok(_) => Ok(None),
        // A file that cannot be decompressed does not have that text; one that cannot be read may have it.
        Err(error) if error.raw_os_error().is_none() => Ok(None),
        Err(error) => Err(Error::io("read", path)(error)),
    }
}

fn text_of(file: &File, stored: Stored, pause: &mut dyn FnMut()) -> io::Result<Checksum> {
    let mut text = Hashing::new(source::decode(file, stored)?);
    let mut buffer = vec![0; CHUNK];
    loop {
        pause();
        pass("compress: read back")?;
        if text.read(&mut buffer)? == 0 {
            return Ok(text.finish());
        }
    }
}
