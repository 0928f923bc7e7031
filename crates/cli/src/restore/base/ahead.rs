//! A file that a thread reads ahead, and decompresses, while the server works.

use std::io::{self, Read};

use bytes::{Bytes, BytesMut};
use tokio::sync::mpsc;

/// What the thread reads at once, in bytes; it is at most [`CHUNKS`] of them ahead.
const CHUNK: usize = 256 * 1024;
const CHUNKS: usize = 8;

/// The bytes of a file, in order.
pub struct Ahead {
    chunks: mpsc::Receiver<io::Result<Bytes>>,
    /// Received, and not taken yet.
    rest: Bytes,
    /// Of the next byte.
    offset: u64,
}

impl Ahead {
    /// Starts the thread. It ends with the file, or when nobody wants more.
    pub fn start(mut input: Box<dyn Read + Send>) -> Ahead {
        let (sender, chunks) = mpsc::channel(CHUNKS);
        std::thread::spawn(move || loop {
            let chunk = chunk(&mut *input);
            let is_last = !matches!(&chunk, Ok(bytes) if !bytes.is_empty());
            if chunk.as_ref().is_ok_and(Bytes::is_empty) {
                return;
            }
            if sender.blocking_send(chunk).is_err() || is_last {
                return;
            }
        });
        Ahead {
            chunks,
            rest: Bytes::new(),
            offset: 0,
        }
    }

    /// Of the next byte, from the beginning of the file.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The next bytes, as many as there are; `None` at the end of the file.
    pub async fn next(&mut self) -> io::Result<Option<Bytes>> {
        let bytes = if self.rest.is_empty() {
            match self.chunks.recv().await {
                Some(chunk) => chunk?,
                None => return Ok(None),
            }
        } else {
            std::mem::take(&mut self.rest)
        };
        self.offset += bytes.len() as u64;
        Ok(Some(bytes))
    }

    /// Gives back the last `bytes` of what was taken.
    pub fn put_back(&mut self, bytes: Bytes) {
        self.offset -= bytes.len() as u64;
        if self.rest.is_empty() {
            self.rest = bytes;
        } else {
            self.rest = [&bytes[..], &self.rest[..]].concat().into();
        }
    }

    /// The next `count` bytes, or less at the end of the file.
    pub async fn take(&mut self, count: u64) -> io::Result<Vec<u8>> {
        // The caller's count may be wrong: memory grows with what is there.
        let mut taken = Vec::new();
        while (taken.len() as u64) < count {
            let Some(mut bytes) = self.next().await? else {
                break;
            };
            let wanted = usize::try_from(count - taken.len() as u64).unwrap_or(usize::MAX);
            if bytes.len() > wanted {
                self.put_back(bytes.split_off(wanted));
            }
            taken.extend_from_slice(&bytes);
        }
        Ok(taken)
    }

    /// Goes on to this byte, or to the end of the file. `tick` is called now and then.
    pub async fn pass(&mut self, offset: u64, tick: &mut dyn FnMut()) -> io::Result<()> {
        while self.offset < offset {
            let Some(mut bytes) = self.next().await? else {
                break;
            };
            if self.offset > offset {
                let surplus = usize::try_from(self.offset - offset).unwrap_or(usize::MAX);
                let kept = bytes.len().saturating_sub(surplus);
                self.put_back(bytes.split_off(kept));
            }
            tick();
        }
        Ok(())
    }

    /// The next line, with its end; `None` at the end of the file.
    pub async fn line(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut line = Vec::new();
        while let Some(mut bytes) = self.next().await? {
            let end = memchr::memchr(b'\n', &bytes).map(|at| at + 1);
            if let Some(end) = end.filter(|end| *end < bytes.len()) {
                self.put_back(bytes.split_off(end));
            }
            line.extend_from_slice(&bytes);
            if end.is_some() {
                return Ok(Some(line));
            }
        }
        Ok(Some(line).filter(|line| !line.is_empty()))
    }

    /// All that is left, but more than `most` bytes are an error.
    pub async fn take_rest(&mut self, most: u64) -> io::Result<Vec<u8>> {
        let rest = self.take(most).await?;
        match self.next().await? {
            None => Ok(rest),
            Some(_) => Err(super::odd("there is more text than expected")),
        }
    }
}

fn chunk(input: &mut dyn Read) -> io::Result<Bytes> {
    let mut chunk = BytesMut::zeroed(CHUNK);
    let mut filled = 0;
    while filled < chunk.len() {
        match input.read(&mut chunk[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    chunk.truncate(filled);
    Ok(chunk.freeze())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::connection::block_on;

    #[test]
    fn every_byte_comes_once_and_in_order() {
        let bytes: Vec<u8> = (0..3 * CHUNK + 7).map(|n| (n % 251) as u8).collect();
        let expected = bytes.clone();
        let all = block_on(async {
            let mut ahead = Ahead::start(Box::new(io::Cursor::new(bytes)));
            let mut all = ahead.take(5).await.unwrap();
            let mut some = ahead.next().await.unwrap().unwrap();
            let back = some.split_off(some.len() - 3);
            ahead.put_back(back);
            all.extend_from_slice(&some);
            assert_eq!(ahead.offset(), all.len() as u64);
            all.extend(ahead.take(2 * CHUNK as u64).await.unwrap());
            all.extend(ahead.take_rest(2 * CHUNK as u64).await.unwrap());
            Ok(all)
        });
        assert!(all.unwrap() == expected);
    }

    #[test]
    fn a_file_that_cannot_be_read_to_its_end_is_an_error() {
        struct Torn(usize);
        impl Read for Torn {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                self.0 += 1;
                if self.0 > 3 {
                    return Err(io::Error::other("torn"));
                }
                let count = buffer.len().min(CHUNK / 2);
                buffer[..count].fill(1);
                Ok(count)
            }
        }
        let result = block_on(async {
            let mut ahead = Ahead::start(Box::new(Torn(0)));
            Ok((
                ahead.take(10).await.is_ok(),
                ahead.take(1 << 30).await.is_err(),
            ))
        });
        assert_eq!(result.unwrap(), (true, true));
    }

    #[test]
    fn more_than_expected_is_an_error() {
        let result = block_on(async {
            let mut ahead = Ahead::start(Box::new(io::Cursor::new(vec![1; 10])));
            Ok(ahead.take_rest(9).await.is_err())
        });
        assert!(result.unwrap());
    }
}
