//! Row changes, sent without waiting for the answer to the one before.
//!
//! The answers come in order, and each is looked at before the transaction is committed: an UPDATE or DELETE must have
//! hit exactly one row.

use std::collections::{HashMap, VecDeque};
use std::future::{poll_fn, Future};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use bytes::{BufMut, BytesMut};
use tokio_postgres::types::{to_sql_checked, Format, IsNull, ToSql, Type};
use tokio_postgres::{Client, Statement};

use super::shape::{self, Shape, Value};
use crate::connection::{self, Session};

/// Statements that wait for their answers.
const MOST_WAITING: usize = 1000;
/// Bytes of these; one that is longer is alone.
const MOST_BYTES: usize = 1 << 20;
/// From its third occurrence on a shape is worth a plan.
const WORTH: u64 = 3;
/// Prepared statements at a time.
const MOST_PREPARED: usize = 200;

type Answer = std::result::Result<u64, tokio_postgres::Error>;

/// Where a statement is from, and how many rows it must hit.
struct Expected {
    line: u64,
    exactly_one: bool,
    size: usize,
}

/// What is wrong with the answer to the statement of a line.
#[derive(Debug)]
pub enum Wrong {
    Refused(tokio_postgres::Error),
    /// The number of rows that it hit.
    Hit(u64),
}

/// A statement that failed.
#[derive(Debug)]
pub struct Failed {
    pub line: u64,
    pub wrong: Wrong,
}

/// A shape that occurred.
#[derive(Default)]
struct Known {
    times: u64,
    prepared: Option<Statement>,
}

/// Statements on their way.
pub struct Pipeline {
    client: Arc<Client>,
    is_utf8: bool,
    waiting: VecDeque<(Expected, Pin<Box<dyn Future<Output = Answer>>>)>,
    bytes: usize,
    shapes: HashMap<Vec<u8>, Known>,
    prepared: usize,
}

impl Pipeline {
    pub fn new(session: &Session) -> Pipeline {
        Pipeline {
            client: Arc::clone(&session.client),
            is_utf8: session.is_utf8(),
            waiting: VecDeque::new(),
            bytes: 0,
            shapes: HashMap::new(),
            prepared: 0,
        }
    }

    /// Plans may not fit what a schema change has made.
    pub fn forget(&mut self) {
        self.shapes.clear();
        self.prepared = 0;
    }

    /// Sends a statement of one line; the first that failed before it, if one has.
    pub async fn send(&mut self, line: u64, text: Vec<u8>) -> std::result::Result<(), Failed> {
        let expected = Expected {
            line,
            exactly_one: text.starts_with(b"UPDATE ") || text.starts_with(b"DELETE FROM "),
            size: text.len(),
        };
        while self.waiting.len() >= MOST_WAITING
            || (self.bytes + text.len() > MOST_BYTES && !self.waiting.is_empty())
        {
            self.take().await?;
        }
        let shape = shape::of(&text);
        let prepared = match &shape {
            Some(shape) => self.prepared(shape).await?,
            None => None,
        };
        let client = Arc::clone(&self.client);
        let answer: Pin<Box<dyn Future<Output = Answer>>> = match (prepared, shape) {
            (Some(statement), Some(shape)) => {
                let values = shape.values;
                Box::pin(async move {
                    let parameters = values.iter().map(|value| Parameter { text: &text, value });
                    client.execute_raw(&statement, parameters).await
                })
            }
            _ => self.as_it_is(text),
        };
        self.bytes += expected.size;
        self.push(expected, answer).await;
        Ok(())
    }

    fn as_it_is(&self, text: Vec<u8>) -> Pin<Box<dyn Future<Output = Answer>>> {
        let client = Arc::clone(&self.client);
        let is_utf8 = self.is_utf8;
        Box::pin(async move { connection::execute(&client, is_utf8, &text).await })
    }

    /// The first poll puts the message into the order of the connection.
    async fn push(
        &mut self,
        expected: Expected,
        mut answer: Pin<Box<dyn Future<Output = Answer>>>,
    ) {
        let first = poll_fn(|cx| Poll::Ready(answer.as_mut().poll(cx))).await;
        match first {
            Poll::Pending => self.waiting.push_back((expected, answer)),
            Poll::Ready(answer) => {
                let ready = Box::pin(std::future::ready(answer));
                self.waiting.push_back((expected, ready));
            }
        }
    }

    /// The plan of a shape, if it occurs often.
    async fn prepared(&mut self, shape: &Shape) -> std::result::Result<Option<Statement>, Failed> {
        let text = match std::str::from_utf8(&shape.text) {
            Ok(text) if self.is_utf8 || text.is_ascii() => text,
            _ => return Ok(None),
        };
        if self.prepared >= MOST_PREPARED || self.shapes.len() > 20 * MOST_PREPARED {
            self.forget();
        }
        let known = self.shapes.entry(shape.text.clone()).or_default();
        known.times += 1;
        let times = known.times;
        if times < WORTH {
            return Ok(None);
        }
        // A plan that was made for a small table is not kept for a large one.
        let is_due = matches!(times, WORTH | 10 | 100 | 1000) || times % 10_000 == 0;
        if !is_due {
            return Ok(known.prepared.clone());
        }
        // Its answer must not be taken for that of a failure before it.
        let Ok(statement) = self.client.prepare(text).await else {
            self.drain().await?;
            return Ok(None);
        };
        let known = self.shapes.entry(shape.text.clone()).or_default();
        if known.prepared.replace(statement.clone()).is_none() {
            self.prepared += 1;
        }
        Ok(Some(statement))
    }

    /// Waits for all answers; the first that is wrong.
    pub async fn drain(&mut self) -> std::result::Result<(), Failed> {
        while !self.waiting.is_empty() {
            self.take().await?;
        }
        Ok(())
    }

    async fn take(&mut self) -> std::result::Result<(), Failed> {
        let Some((expected, answer)) = self.waiting.pop_front() else {
            return Ok(());
        };
        self.bytes -= expected.size;
        let wrong = match answer.await {
            Ok(1) => return Ok(()),
            Ok(_) if !expected.exactly_one => return Ok(()),
            Ok(count) => Wrong::Hit(count),
            Err(error) => Wrong::Refused(error),
        };
        Err(Failed {
            line: expected.line,
            wrong,
        })
    }
}

/// A value on its way: as text, of whatever type the server takes it for.
#[derive(Debug)]
struct Parameter<'a> {
    text: &'a [u8],
    value: &'a Value,
}

impl ToSql for Parameter<'_> {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut BytesMut,
    ) -> std::result::Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        match self.value {
            Value::Null => return Ok(IsNull::Yes),
            Value::Plain(range) => out.put_slice(&self.text[range.clone()]),
            quoted @ Value::Quoted(..) => match shape::bytes_of(self.text, quoted) {
                Some(bytes) => out.put_slice(&bytes),
                None => return Ok(IsNull::Yes),
            },
        }
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        Format::Text
    }

    to_sql_checked!();
}
