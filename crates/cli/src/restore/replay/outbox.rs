//! What the reading thread has read, on its way to be executed: in batches, and at most so many bytes ahead.

use std::sync::Arc;

use tokio::sync::mpsc::Sender;
use tokio::sync::Semaphore;

use super::item::{Batch, Item, What};
use crate::error::{Error, Result};

/// How much is read ahead, in bytes. A larger line waits until all before it is done, and is alone then.
const AHEAD: u32 = 8 << 20;
/// Items up to this size together are handed over at once.
const BATCH: usize = 256 << 10;

/// Nobody takes the batches any more.
pub struct Stopped;

/// Items that are not handed over yet.
pub struct Outbox {
    sender: Sender<Result<Batch>>,
    budget: Arc<Semaphore>,
    items: Vec<Item>,
    size: usize,
    /// What begins a transaction of which nothing is wanted so far.
    begin: Option<Item>,
}

impl Outbox {
    pub fn new(sender: Sender<Result<Batch>>) -> Outbox {
        Outbox {
            sender,
            budget: Arc::new(Semaphore::new(AHEAD as usize)),
            items: Vec::new(),
            size: 0,
            begin: None,
        }
    }

    /// The reading ends with an error.
    pub fn fail(&self, error: Error) {
        // Whoever does not listen has one of its own.
        let _ = self.sender.blocking_send(Err(error));
    }

    /// What begins a transaction is added before the first of what is in it.
    pub fn begin(&mut self, item: Item) {
        self.begin = Some(item);
    }

    /// Whether nothing of the transaction that ends was added; then it has not begun either.
    pub fn is_only_begun(&mut self) -> bool {
        self.begin.take().is_some()
    }

    /// Adds an item, with the size of its text.
    pub fn add(&mut self, line: u64, size: usize, what: What) -> std::result::Result<(), Stopped> {
        if let Some(begin) = self.begin.take() {
            self.items.push(begin);
        }
        if self.size > 0 && self.size + size > BATCH {
            self.hand_over()?;
        }
        self.items.push(Item { line, what });
        // An item without text takes memory, too.
        self.size += size + 64;
        // The next one may be as large.
        if self.size >= AHEAD as usize {
            self.hand_over()?;
        }
        Ok(())
    }

    /// Hands over what there is.
    pub fn hand_over(&mut self) -> std::result::Result<(), Stopped> {
        let size = u32::try_from(self.size).unwrap_or(AHEAD).min(AHEAD);
        let budget = Arc::clone(&self.budget);
        let waiting = budget.acquire_many_owned(size);
        // The budget is never closed.
        let share = futures_executor::block_on(waiting).map_err(|_| Stopped)?;
        let items = std::mem::take(&mut self.items);
        self.size = 0;
        let sent = self.sender.blocking_send(Ok(Batch { items, share }));
        sent.map_err(|_| Stopped)?;
        if size == AHEAD {
            // Another large line beside it would be one more in memory.
            let waiting = self.budget.acquire_many(AHEAD);
            drop(futures_executor::block_on(waiting));
        }
        Ok(())
    }

    /// Joins a row of a COPY block to the rows before it, up to a batch of them; whether it has.
    pub fn joins_row(&mut self, row: &[u8]) -> bool {
        let has_room = self.size + row.len() < BATCH;
        let last = self.items.last_mut().filter(|_| has_room);
        let Some(What::CopyRows(rows)) = last.map(|item| &mut item.what) else {
            return false;
        };
        rows.extend_from_slice(row);
        rows.push(b'\n');
        self.size += row.len() + 1;
        true
    }
}
