//! COPY blocks.

use std::pin::Pin;

use bytes::Bytes;
use futures_util::SinkExt;
use tokio_postgres::CopyInSink;

use super::lanes::dispatch::Split;
use super::Replay;
use crate::error::{Error, Result};

/// An open COPY block.
pub(super) enum Copy {
    Server {
        /// The statement.
        head: Vec<u8>,
        line: u64,
        sink: Pin<Box<CopyInSink<Bytes>>>,
        rows: u64,
    },
    /// Its rows are sent as statements: the table with the columns.
    Inserts(Vec<u8>),
    /// Lanes take its rows.
    Lanes(Split),
    /// Its table was left out, and its rows are counted.
    Nothing,
}

impl Replay<'_> {
    pub(super) async fn begin_copy(&mut self, line: u64, text: Vec<u8>) -> Result<()> {
        if self.copy_by_lanes(line, &text).await? {
            return Ok(());
        }
        self.open().await?;
        self.items += 1;
        self.checks_off().await?;
        self.settle().await?;
        if self.copies_into_nothing(&text).await? {
            self.copy = Some(Copy::Nothing);
            return Ok(());
        }
        let is_sendable = self.session.is_utf8() || text.is_ascii();
        let statement = std::str::from_utf8(&text).ok().filter(|_| is_sendable);
        let is_squashed = self.lenient.is_none() && self.squashes_copy(&text).await?;
        let is_copied = self.lenient.is_none() && !is_squashed;
        let Some(statement) = statement.filter(|_| is_copied) else {
            // Behind a loss a row may fail alone. And a statement in another encoding than UTF-8 cannot be sent, but
            // its rows can.
            let head = text
                .strip_prefix(b"COPY ")
                .and_then(|t| t.strip_suffix(b" FROM stdin;"));
            self.copy = head.map(|head| Copy::Inserts(head.to_vec()));
            return Ok(());
        };
        let sink = self.session.client.copy_in(statement).await;
        let sink = sink.map_err(|error| self.at(line, error.into()))?;
        self.copy = Some(Copy::Server {
            head: text.clone(),
            line,
            sink: Box::pin(sink),
            rows: 0,
        });
        Ok(())
    }

    pub(super) async fn copy_rows(&mut self, line: u64, text: Vec<u8>) -> Result<()> {
        match self.copy.take() {
            None => Ok(()),
            Some(Copy::Nothing) => {
                let rows = memchr::memchr_iter(b'\n', &text).count() as u64;
                self.rights.left_out().add_rows(rows);
                self.copy = Some(Copy::Nothing);
                Ok(())
            }
            Some(Copy::Lanes(split)) => {
                let sent = self.rows_by_lanes(&split, text).await;
                self.copy = Some(Copy::Lanes(split));
                sent
            }
            Some(Copy::Inserts(head)) => {
                let sent = self.rows_as_inserts(line, &head, &text).await;
                self.copy = Some(Copy::Inserts(head));
                sent
            }
            Some(Copy::Server {
                head,
                line,
                mut sink,
                rows,
            }) => {
                self.bytes += text.len();
                self.pass_by(text.len());
                let rows = rows + memchr::memchr_iter(b'\n', &text).count() as u64;
                let sent = sink.as_mut().send(Bytes::from(text)).await;
                self.copy = Some(Copy::Server {
                    head,
                    line,
                    sink,
                    rows,
                });
                match sent {
                    Ok(()) => Ok(()),
                    // The reason comes with the end.
                    Err(_) => self.end_copy().await,
                }
            }
        }
    }

    pub(super) async fn end_copy(&mut self) -> Result<()> {
        let (head, line, mut sink, rows) = match self.copy.take() {
            Some(Copy::Server {
                head,
                line,
                sink,
                rows,
            }) => (head, line, sink, rows),
            Some(Copy::Lanes(split)) => return self.end_copy_by_lanes(&split).await,
            _ => return Ok(()),
        };
        let count = sink.as_mut().finish().await;
        let count = count.map_err(|error| self.at(line, error.into()))?;
        if count != rows {
            let message = format!("COPY took {count} rows of {rows}");
            return Err(self.at(line, Error::failed(message, "")));
        }
        self.counts.add_copied(&head, rows);
        Ok(())
    }
}
