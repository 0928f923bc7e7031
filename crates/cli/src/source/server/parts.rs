//! A file read in parts, the next of which is under way while the former is consumed.

use std::io::{self, Read};
use std::sync::mpsc::Receiver;

use archive::layout::{SegmentName, Stored};
use archive::segment::source;

use super::{wait, Answer, Server};

/// In bytes. The first part is small: of many files only the beginning is read.
const FIRST_PART: i32 = 128 * 1024;
const LARGEST_PART: i32 = 4 * 1024 * 1024;

/// The bytes of a file from an offset on.
pub struct Parts {
    server: Server,
    file: String,
    /// Behind the current part.
    offset: u64,
    current: Vec<u8>,
    at: usize,
    /// The length of the next part, and its answer; `None` at the end of the file.
    next: Option<(i32, Receiver<Answer>)>,
    /// What the file became while it was read.
    successor: Option<Box<dyn Read + Send>>,
}

impl Parts {
    /// `None` if the file does not exist.
    pub fn open(server: &Server, file: &str, offset: u64) -> io::Result<Option<Parts>> {
        let mut parts = Parts {
            server: server.clone(),
            file: file.to_owned(),
            offset,
            current: Vec::new(),
            at: 0,
            next: Some((FIRST_PART, server.0.request(file, offset, FIRST_PART)?)),
            successor: None,
        };
        Ok(parts.advance()?.then_some(parts))
    }

    /// Takes the next part, and requests the one behind it. False if the file is gone.
    fn advance(&mut self) -> io::Result<bool> {
        (self.current, self.at) = (Vec::new(), 0);
        let Some((length, answer)) = self.next.take() else {
            return Ok(true);
        };
        let Some(part) = wait(&answer)? else {
            return Ok(false);
        };
        self.offset += part.len() as u64;
        // A shorter one is the last.
        if part.len() >= usize::try_from(length).unwrap_or(usize::MAX) {
            let length = length.saturating_mul(4).min(LARGEST_PART);
            let answer = self.server.0.request(&self.file, self.offset, length)?;
            self.next = Some((length, answer));
        }
        self.current = part;
        Ok(true)
    }

    /// A segment that was closed or compressed has the same text under another name.
    fn find_successor(&self) -> io::Result<Box<dyn Read + Send>> {
        let name = self.file.rsplit_once('/').unwrap_or(("", &self.file));
        if let Some((segment, before)) =
            SegmentName::parse(name.1).filter(|_| !is_compressed(&self.file))
        {
            let forms = [Stored::Plain, Stored::Gzip, Stored::Zstd];
            for stored in forms.into_iter().filter(|stored| *stored != before) {
                let file = format!("{}/{}", name.0, segment.file(stored));
                let found = source::open_stored(&self.server, &file, stored);
                if let Some(mut text) = found.map_err(io::Error::other)? {
                    let skipped = io::copy(&mut (&mut text).take(self.offset), &mut io::sink())?;
                    if skipped == self.offset {
                        return Ok(text);
                    }
                }
            }
        }
        let message = "it was removed while it was being read";
        Err(io::Error::new(io::ErrorKind::NotFound, message))
    }
}

fn is_compressed(file: &str) -> bool {
    !file.ends_with(".sql") && !file.ends_with(".partial")
}

impl Read for Parts {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(successor) = &mut self.successor {
                return successor.read(buffer);
            }
            let left = &self.current[self.at..];
            if !left.is_empty() {
                let count = left.len().min(buffer.len());
                buffer[..count].copy_from_slice(&left[..count]);
                self.at += count;
                return Ok(count);
            }
            if self.next.is_none() {
                return Ok(0);
            }
            if !self.advance()? {
                self.successor = Some(self.find_successor()?);
            }
        }
    }
}
