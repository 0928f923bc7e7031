//! Row changes, without waiting for the answer to the one before.
//!
//! Statements of a shape that occurs often are executed by a function, many with one call ([`super::batch`]); all others
//! as they are. The answers come in order, and each is looked at before the transaction is committed: an UPDATE or
//! DELETE must have hit exactly one row.

use std::collections::{HashMap, VecDeque};
use std::future::{poll_fn, Future};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use tokio_postgres::Client;

use super::batch::{Batch, Function};
use super::shape::{self, Shape};
use crate::connection::{self, Session};

/// Statements and batches that wait for their answers.
const MOST_WAITING: usize = 500;
const MOST_BATCHES: usize = 2;
/// Bytes of these; one that is longer is alone.
const MOST_BYTES: usize = 1 << 20;
/// A shape gets its place in the function when it occurs so often.
const WORTH: u64 = 20;
/// Shapes that are known by their number of occurrences.
const MOST_SHAPES: usize = 5000;
/// A smaller batch is not worth a call.
const SMALLEST_BATCH: usize = 4;

type Answer = std::result::Result<u64, tokio_postgres::Error>;
type Waiting = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// A statement and its line.
pub type Line = (u64, Vec<u8>);

/// What waits for its answer.
enum Sent {
    /// A statement; the number of rows that it hits must be one.
    One {
        line: u64,
        exactly_one: bool,
        size: usize,
    },
    Batch(Vec<Line>),
}

/// What is wrong with the answer to the statement of a line.
#[derive(Debug)]
pub enum Wrong {
    Refused(tokio_postgres::Error),
    /// The number of rows that it hit.
    Hit(u64),
    /// The number of rows that COPY took, and that it was given.
    Copied(u64, u64),
}

/// A statement that failed.
#[derive(Debug)]
pub struct Failed {
    pub line: u64,
    pub wrong: Wrong,
}

type Result<T> = std::result::Result<T, Failed>;

/// A shape that occurred.
#[derive(Default)]
struct Known {
    times: u64,
    /// Its number in the function.
    place: Option<usize>,
    /// No function can execute it.
    is_refused: bool,
}

/// Row changes on their way.
pub struct Rows {
    client: Arc<Client>,
    is_utf8: bool,
    waiting: VecDeque<(Sent, Waiting)>,
    bytes: usize,
    batches: usize,
    shapes: HashMap<Vec<u8>, Known>,
    function: Function,
    batch: Batch,
}

impl Rows {
    pub fn new(session: &Session) -> Rows {
        Rows::of(Arc::clone(&session.client), session.is_utf8())
    }

    /// By a client, which sends texts in this encoding.
    pub fn of(client: Arc<Client>, is_utf8: bool) -> Rows {
        Rows {
            client,
            is_utf8,
            waiting: VecDeque::new(),
            bytes: 0,
            batches: 0,
            shapes: HashMap::new(),
            function: Function::new(),
            batch: Batch::default(),
        }
    }

    /// Plans may not fit what a schema change makes.
    pub fn forget(&mut self) {
        self.shapes.clear();
        self.function.forget();
    }

    /// Sends a statement of one line, now or with others; the first that failed before it, if one has.
    pub async fn send(&mut self, line: u64, text: Vec<u8>) -> Result<()> {
        let shape = shape::of(&text);
        self.send_shaped(line, text, shape).await
    }

    /// The same of a statement whose shape is known.
    pub async fn send_shaped(
        &mut self,
        line: u64,
        text: Vec<u8>,
        shape: Option<Shape>,
    ) -> Result<()> {
        let place = match &shape {
            Some(shape) => self.place_of(line, shape).await?,
            None => None,
        };
        let (Some(place), Some(shape)) = (place, shape) else {
            self.send_batch().await?;
            return self.send_alone(line, text).await;
        };
        self.batch.add(place, &shape, (line, text));
        if self.batch.is_full() {
            self.send_batch().await?;
        }
        Ok(())
    }

    /// The number of a shape in the function, if it has one by now.
    async fn place_of(&mut self, line: u64, shape: &Shape) -> Result<Option<usize>> {
        if !self.is_utf8 && !shape.text.is_ascii() {
            return Ok(None);
        }
        if self.shapes.len() > MOST_SHAPES {
            self.send_batch().await?;
            self.forget();
        }
        if !self.shapes.contains_key(&shape.text) {
            self.shapes.insert(shape.text.clone(), Known::default());
        }
        let is_full = self.function.is_full();
        let known = self.shapes.get_mut(&shape.text).expect("it was put there");
        known.times += 1;
        if known.place.is_some() || known.is_refused || known.times < WORTH {
            return Ok(known.place);
        }
        self.send_batch().await?;
        self.drain().await?;
        if is_full {
            self.forget();
            return Ok(None);
        }
        let place = self.function.learn(&self.client, shape).await;
        let place = place.map_err(|error| Failed {
            line,
            wrong: Wrong::Refused(error),
        })?;
        if let Some(known) = self.shapes.get_mut(&shape.text) {
            (known.place, known.is_refused) = (place, place.is_none());
        }
        Ok(place)
    }

    async fn send_alone(&mut self, line: u64, text: Vec<u8>) -> Result<()> {
        let size = text.len();
        while self.waiting.len() >= MOST_WAITING
            || (self.bytes + size > MOST_BYTES && !self.waiting.is_empty())
        {
            self.take().await?;
        }
        let exactly_one = text.starts_with(b"UPDATE ") || text.starts_with(b"DELETE FROM ");
        let (client, is_utf8) = (Arc::clone(&self.client), self.is_utf8);
        let answer = Box::pin(async move { connection::execute(&client, is_utf8, &text).await });
        self.bytes += size;
        let sent = Sent::One {
            line,
            exactly_one,
            size,
        };
        self.push(sent, answer).await;
        Ok(())
    }

    async fn send_batch(&mut self) -> Result<()> {
        let batch = std::mem::take(&mut self.batch);
        if batch.len() < SMALLEST_BATCH {
            for (line, text) in batch.statements {
                self.send_alone(line, text).await?;
            }
            return Ok(());
        }
        while self.batches >= MOST_BATCHES {
            self.take().await?;
        }
        if let Err(error) = self.function.ensure_made(&self.client, batch.len()).await {
            let line = batch.statements[0].0;
            // The transaction may have failed at what was sent before.
            self.drain_sent().await?;
            return Err(Failed {
                line,
                wrong: Wrong::Refused(error),
            });
        }
        let call = self
            .function
            .call(Arc::clone(&self.client), batch.steps, batch.values);
        self.batches += 1;
        self.push(Sent::Batch(batch.statements), Box::pin(call))
            .await;
        Ok(())
    }

    /// The first poll puts the message into the order of the connection.
    async fn push(&mut self, sent: Sent, mut answer: Waiting) {
        let first = poll_fn(|cx| Poll::Ready(answer.as_mut().poll(cx))).await;
        let answer = match first {
            Poll::Pending => answer,
            Poll::Ready(answer) => Box::pin(std::future::ready(answer)),
        };
        self.waiting.push_back((sent, answer));
    }

    /// Sends what is left and waits for all answers; the first that is wrong.
    pub async fn drain(&mut self) -> Result<()> {
        self.send_batch().await?;
        self.drain_sent().await
    }

    async fn drain_sent(&mut self) -> Result<()> {
        while !self.waiting.is_empty() {
            self.take().await?;
        }
        Ok(())
    }

    /// The texts that follow are in this session's encoding.
    pub fn in_encoding_of(&mut self, session: &Session) {
        self.in_utf8(session.is_utf8());
    }

    /// The texts that follow are in UTF-8, or in another encoding.
    pub fn in_utf8(&mut self, is_utf8: bool) {
        self.forget();
        self.is_utf8 = is_utf8;
    }

    async fn take(&mut self) -> Result<()> {
        let Some((sent, answer)) = self.waiting.pop_front() else {
            return Ok(());
        };
        let answer = answer.await;
        match sent {
            Sent::One {
                line,
                exactly_one,
                size,
            } => {
                self.bytes -= size;
                judge(line, exactly_one, answer)
            }
            Sent::Batch(statements) => {
                self.batches -= 1;
                match answer {
                    Ok(_) => Ok(()),
                    Err(error) => Err(self.find(statements, error).await),
                }
            }
        }
    }

    /// Which statement of a batch failed: they are executed once more, one by one.
    async fn find(&mut self, statements: Vec<Line>, error: tokio_postgres::Error) -> Failed {
        let first = statements.first().map_or(0, |(line, _)| *line);
        let begun = super::batch::undo(&self.client).await;
        for (line, text) in statements {
            if begun.is_err() {
                break;
            }
            let exactly_one = text.starts_with(b"UPDATE ") || text.starts_with(b"DELETE FROM ");
            let answer = connection::execute(&self.client, self.is_utf8, &text).await;
            if let Err(failed) = judge(line, exactly_one, answer) {
                return failed;
            }
        }
        Failed {
            line: first,
            wrong: Wrong::Refused(error),
        }
    }
}

fn judge(line: u64, exactly_one: bool, answer: Answer) -> Result<()> {
    let wrong = match answer {
        Ok(1) => return Ok(()),
        Ok(_) if !exactly_one => return Ok(()),
        Ok(count) => Wrong::Hit(count),
        Err(error) => Wrong::Refused(error),
    };
    Err(Failed { line, wrong })
}
