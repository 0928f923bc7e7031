//! The file of an open segment: buffered, hashed while it grows, unusable after a failure.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::checksum::{hex, Checksum};
use crate::durable;
use crate::error::{Error, Result};
use crate::failpoint::pass;

/// Buffer size.
const BUFFER: usize = 256 * 1024;

/// An open segment's file.
pub struct SegmentFile {
    path: PathBuf,
    file: File,
    buffer: Vec<u8>,
    hasher: Sha256,
    /// Bytes so far, including buffered ones.
    bytes: u64,
    /// Bytes covered by an fsync.
    durable: u64,
    /// A write failed, or the file is closed.
    failed: bool,
}

impl SegmentFile {
    /// Creates a new file with `header`; its name and content are durable afterwards.
    pub fn create(path: PathBuf, header: &[u8]) -> Result<SegmentFile> {
        let file = durable::create_new(&path)?;
        let mut made = SegmentFile::around(path, file, Sha256::new(), 0);
        pass("segment: created").map_err(Error::io("create", &made.path))?;
        made.put(header)?;
        made.sync()?;
        durable::fsync_parent(&made.path)?;
        Ok(made)
    }

    /// Opens an existing file, truncates it to `length` and makes the rest durable. It is unknown whether an
    /// fsync ever covered the bytes from `proven` on.
    pub fn reopen(path: PathBuf, length: u64, proven: u64) -> Result<SegmentFile> {
        let mut file = durable::open_for_update(&path)?;
        file.set_len(length).map_err(Error::io("truncate", &path))?;
        write_again(&mut file, &path, proven.min(length))?;
        file.rewind().map_err(Error::io("seek", &path))?;
        let mut hasher = Sha256::new();
        let mut chunk = vec![0; BUFFER];
        loop {
            match file.read(&mut chunk).map_err(Error::io("read", &path))? {
                0 => break,
                count => hasher.update(&chunk[..count]),
            }
        }
        let end = file
            .seek(SeekFrom::End(0))
            .map_err(Error::io("seek", &path))?;
        Ok(SegmentFile::around(path, file, hasher, end))
    }

    fn around(path: PathBuf, file: File, hasher: Sha256, length: u64) -> SegmentFile {
        let buffer = Vec::with_capacity(BUFFER);
        SegmentFile {
            path,
            file,
            buffer,
            hasher,
            bytes: length,
            durable: length,
            failed: false,
        }
    }

    /// Appends bytes.
    pub fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.ensure_usable()?;
        if self.buffer.len() + bytes.len() > BUFFER {
            self.flush()?;
        }
        if bytes.len() >= BUFFER {
            self.write_out(bytes)?;
        } else {
            self.buffer.extend_from_slice(bytes);
        }
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    /// Everything put so far is on disk when this returns.
    pub fn sync(&mut self) -> Result<()> {
        self.ensure_usable()?;
        self.flush()?;
        if self.durable == self.bytes {
            return Ok(());
        }
        if let Err(error) = pass("segment: fsync").and_then(|()| self.file.sync_data()) {
            self.failed = true;
            // What the kernel still shows of the lost pages may never reach the disk, and the next fsync
            // would not report that. When the file is reopened they are written again; without them there is
            // less to write.
            let _ = self.file.set_len(self.durable);
            return Err(Error::io("fsync", &self.path)(error));
        }
        pass("segment: fsynced").map_err(Error::io("fsync", &self.path))?;
        self.ensure_in_place()?;
        self.durable = self.bytes;
        Ok(())
    }

    /// Gives the file its final name; returns the checksum of its content. Nothing can be written afterwards.
    pub fn publish(&mut self, to: &Path) -> Result<Checksum> {
        self.ensure_usable()?;
        self.flush()?;
        // Its name may be another's file by now, who has taken over.
        self.ensure_in_place()?;
        self.failed = true;
        durable::publish(&self.file, &self.path, to)?;
        Ok(Checksum {
            bytes: self.bytes,
            sha256: hex(&self.hasher.clone().finalize()),
        })
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its size, including buffered bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    fn flush(&mut self) -> Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let buffer = std::mem::take(&mut self.buffer);
        self.write_out(&buffer)?;
        self.buffer = buffer;
        self.buffer.clear();
        Ok(())
    }

    fn write_out(&mut self, bytes: &[u8]) -> Result<()> {
        if let Err(error) = pass("segment: write").and_then(|()| self.file.write_all(bytes)) {
            self.failed = true;
            return Err(Error::io("write", &self.path)(error));
        }
        self.hasher.update(bytes);
        Ok(())
    }

    /// A file that was removed or moved can still be written and fsynced, but its contents are lost.
    fn ensure_in_place(&mut self) -> Result<()> {
        if !durable::is_at(&self.file, &self.path)? {
            self.failed = true;
            return Err(Error::OutOfPlace {
                path: self.path.clone(),
            });
        }
        Ok(())
    }

    fn ensure_usable(&self) -> Result<()> {
        if self.failed {
            return Err(Error::Poisoned {
                path: self.path.clone(),
            });
        }
        Ok(())
    }
}

/// Rewrites the contents of a file from `start` on in place, and fsyncs. After a failed fsync, possibly of a
/// process that has exited, the kernel may regard pages as clean that never reached the disk; an fsync of
/// such pages succeeds without writing them. Pages that were written again are written by it.
pub(super) fn write_again(file: &mut File, path: &Path, start: u64) -> Result<()> {
    let again = |file: &mut File| -> std::io::Result<()> {
        let mut chunk = vec![0; BUFFER];
        let mut at = start;
        loop {
            let count = file.read_at(&mut chunk, at)?;
            if count == 0 {
                return Ok(());
            }
            file.write_all_at(&chunk[..count], at)?;
            at += count as u64;
        }
    };
    pass("segment: write again")
        .and_then(|()| again(file))
        .map_err(Error::io("write", path))?;
    durable::fsync(file, "segment: fsync again", path)
}
