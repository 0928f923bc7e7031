//! Opens a segment for reading, in any stored form.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;

use crate::durable;
use crate::error::{Error, Result};
use crate::layout::Stored;
use crate::storage::{self, Storage};

/// The uncompressed bytes of a stored file. A truncated compressed file is an error, never a shorter text.
pub enum Source<R: Read> {
    Plain(R),
    Gzip(Box<MultiGzDecoder<BufReader<R>>>),
    Zstd(Box<zstd::Decoder<'static, BufReader<R>>>),
}

/// Opens a segment.
pub fn open(path: &Path, stored: Stored) -> Result<Source<File>> {
    let file = durable::open_to_read(path)?;
    decode(file, stored).map_err(Error::io("decompress", path))
}

/// The uncompressed bytes of a segment in one of its forms; `None` if it is not there in this one.
pub fn open_stored(
    storage: &dyn Storage,
    file: &str,
    stored: Stored,
) -> Result<Option<Box<dyn Read + Send>>> {
    let Some(input) = storage.open(file, 0)? else {
        return Ok(None);
    };
    let source = decode(input, stored).map_err(storage::failed("decompress", storage, file))?;
    Ok(Some(Box::new(source)))
}

/// The bytes of a reader, uncompressed.
pub fn decode<R: Read>(input: R, stored: Stored) -> io::Result<Source<R>> {
    Ok(match stored {
        Stored::Partial | Stored::Plain => Source::Plain(input),
        Stored::Gzip => Source::Gzip(Box::new(MultiGzDecoder::new(BufReader::new(input)))),
        Stored::Zstd => Source::Zstd(Box::new(zstd::Decoder::new(input)?)),
    })
}

impl<R: Read> Read for Source<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Source::Plain(input) => input.read(buffer),
            Source::Gzip(decoder) => decoder.read(buffer),
            // Its errors are of no kind of their own.
            Source::Zstd(decoder) => decoder.read(buffer).map_err(|error| match error.kind() {
                io::ErrorKind::Other => io::Error::new(io::ErrorKind::InvalidData, error),
                _ => error,
            }),
        }
    }
}
