//! What the reading thread hands over.

use std::io::{self, Read};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

use archive::segment::{ClusterFact, Effect, Header};
use archive::time::Time;
use archive::Lsn;
use tokio::sync::OwnedSemaphorePermit;

/// A piece of work, and the line that it is from.
pub struct Item {
    pub line: u64,
    pub what: What,
}

/// What is to be done, in order.
pub enum What {
    /// A segment begins.
    Segment {
        file: String,
        header: Box<Header>,
    },
    /// A transaction that is to be applied begins.
    Begin {
        lsn: Lsn,
        time: Option<Time>,
    },
    /// One that the base has was passed over.
    Skipped,
    /// Sequence positions outside of transactions begin, as they were then.
    Sequences {
        at: Option<Time>,
    },
    /// INSERT, UPDATE, DELETE and others of one line.
    Statement(Vec<u8>),
    /// Changes of rows, each a line with its end; `Item::line` is that of the first.
    Rows(Vec<u8>),
    /// The first line of a COPY block.
    Copy(Vec<u8>),
    /// Rows of it, each with its line end; `Item::line` is that of the first.
    CopyRows(Vec<u8>),
    CopyEnd,
    Effect(Box<Effect>, Vec<u8>),
    Ddl {
        command: String,
        /// Who ran it; empty if it does not matter.
        role: Vec<u8>,
        text: Vec<u8>,
    },
    Fact(ClusterFact),
    /// A place that could not be carried exactly, without a loss.
    Flag,
    LeftOut(Vec<u8>),
    Commit,
}

impl What {
    /// Whether it is done in a transaction of the restore's own session.
    pub fn is_own(&self) -> bool {
        matches!(
            self,
            What::Effect(..) | What::Ddl { .. } | What::Fact(_) | What::LeftOut(_)
        )
    }
}

/// Items in order, and their share of what may be read ahead.
pub struct Batch {
    pub items: Vec<Item>,
    /// Given back when they are done.
    pub share: OwnedSemaphorePermit,
}

/// Adds a line to a block; the whole block after its last line.
pub fn extend(block: &mut Option<What>, line: &[u8], is_last: bool) -> Option<(usize, What)> {
    let text = match block.as_mut()? {
        What::Effect(_, text) | What::Ddl { text, .. } => text,
        _ => return None,
    };
    text.extend_from_slice(line);
    if !is_last {
        text.push(b'\n');
        return None;
    }
    let size = text.len();
    block.take().map(|what| (size, what))
}

/// Counts what is read.
pub struct Counting {
    pub inner: Box<dyn Read + Send>,
    pub bytes: Arc<AtomicU64>,
}

impl Read for Counting {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.bytes.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}
