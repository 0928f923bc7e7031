//! A place of a segment to which it was read.

use std::io::{self, Read};
use std::sync::Arc;

use archive::layout::Stored;
use archive::segment::{Header, Standing};
use archive::storage::{self, Storage};
use archive_query::catalog::{Chain, Segment};

use crate::error::Result;

/// A place of a segment behind a complete transaction, and how to find out whether it is still that.
#[derive(Clone)]
pub struct Behind {
    pub standing: Standing,
    pub header: Arc<Header>,
    /// The comment with which the last transaction or position before it begins, and where it is. A crash of the source's
    /// system may take the end of a file, which is written again.
    pub(super) mark: Vec<u8>,
    pub(super) mark_at: u64,
}

impl Behind {
    /// The text from there on; `None` if the segment has gone, or is another one up to there.
    pub fn reader(
        &self,
        storage: &dyn Storage,
        chain: &Chain,
        segment: &Segment,
    ) -> Result<Option<Box<dyn Read + Send>>> {
        let file = chain.file(&segment.file());
        let is_plain = matches!(segment.stored, Stored::Partial | Stored::Plain);
        let sought = if is_plain {
            storage.open(&file, self.mark_at)?
        } else {
            None
        };
        let (mut input, before) = match sought {
            Some(input) => (input, 0),
            None => match chain.open(storage, segment)? {
                Some(input) => (input, self.mark_at),
                None => return Ok(None),
            },
        };
        let length = self.mark.len() as u64;
        let after = self.standing.offset() - self.mark_at - length;
        let mut mark = Vec::new();
        let read = skip(&mut input, before).and_then(|skipped| {
            (&mut input).take(length).read_to_end(&mut mark)?;
            Ok(skipped && mark == self.mark && skip(&mut input, after)?)
        });
        let is_same = read.map_err(storage::failed("read", storage, &file))?;
        Ok(is_same.then_some(input))
    }
}

/// Whether there were so many bytes.
fn skip(input: &mut impl Read, bytes: u64) -> io::Result<bool> {
    Ok(io::copy(&mut input.take(bytes), &mut io::sink())? == bytes)
}
