//! SHA-256 of files, as hex text.

use std::io::{self, BufReader, Read};
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::durable;
use crate::error::{Error, Result};
use crate::pause::{Pause, Pausing};

/// Size and checksum of some bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checksum {
    pub bytes: u64,
    pub sha256: String,
}

/// [`io::copy`] reads 8 kB at a time, unless its input has a larger buffer.
const READ_SIZE: usize = 256 * 1024;

/// sha256 of some bytes, as hex.
pub fn of_bytes(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Lower-case hex.
pub fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reads to the end.
pub fn of_reader(input: impl Read) -> io::Result<Checksum> {
    let mut hashing = Hashing::new(input);
    let mut input = BufReader::with_capacity(READ_SIZE, &mut hashing);
    io::copy(&mut input, &mut io::sink())?;
    Ok(hashing.finish())
}

/// Of a stored file, unchanged.
pub fn of_file(path: &Path) -> Result<Checksum> {
    of_large_file(path, &mut || {})
}

/// The same of a file of any size.
pub(crate) fn of_large_file(path: &Path, pause: Pause) -> Result<Checksum> {
    let file = Pausing::new(durable::open_to_read(path)?, pause);
    of_reader(file).map_err(Error::io("read", path))
}

/// A reader that hashes its data.
pub struct Hashing<R> {
    inner: R,
    hasher: Sha256,
    bytes: u64,
}

impl<R> Hashing<R> {
    /// Around another reader.
    pub fn new(inner: R) -> Hashing<R> {
        Hashing {
            inner,
            hasher: Sha256::new(),
            bytes: 0,
        }
    }

    /// The data so far.
    pub fn finish(self) -> Checksum {
        Checksum {
            bytes: self.bytes,
            sha256: hex(&self.hasher.finalize()),
        }
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        self.bytes += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_sha256sum() {
        let sum = of_reader(&b"abc"[..]).unwrap();
        assert_eq!(sum.bytes, 3);
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sum.sha256, expected);
    }
}
