//! A lane: a session that applies changes of rows in the order in which it gets them, in transactions of its own. Each
//! commits how far the lane is with the rows.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::SinkExt;
use tokio::sync::mpsc::{unbounded_channel, UnboundedReceiver, UnboundedSender};
use tokio::sync::{oneshot, OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;
use tokio_postgres::{Client, CopyInSink};

use super::super::rows::{Failed, Rows, Wrong};
use super::super::shape::Shape;
use super::super::{large, pieces};
use crate::restore::counts::Counts;

/// What a lane may have before it, in bytes. A larger row is alone.
const AHEAD: u32 = 1 << 20;

type Result<T> = std::result::Result<T, Failed>;

/// What a lane is to do, in order.
enum Order {
    Row {
        line: u64,
        text: Vec<u8>,
        shape: Option<Shape>,
        _share: OwnedSemaphorePermit,
    },
    /// The first line of a COPY block.
    Copy {
        line: u64,
        head: Arc<Vec<u8>>,
    },
    CopyRows {
        rows: Vec<u8>,
        _share: OwnedSemaphorePermit,
    },
    CopyEnd,
    /// Commits with this statement; the number of the round.
    Commit(Arc<String>, u64),
    /// Plans may not fit any more, and texts are in UTF-8 or not.
    Forget {
        is_utf8: bool,
    },
    /// All before it is done.
    Tell(oneshot::Sender<()>),
}

/// The lane has ended; its error says why.
pub struct Ended;

/// The end of a lane that gives orders.
pub struct Lane {
    orders: Option<UnboundedSender<Order>>,
    budget: Arc<Semaphore>,
    /// None when its end is known.
    task: Option<JoinHandle<Result<()>>>,
    /// The number of the last round that it has committed.
    committed: Arc<AtomicU64>,
}

impl Drop for Lane {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl Lane {
    /// Starts one that works by `client`.
    pub fn start(client: Arc<Client>, is_utf8: bool, counts: Counts) -> Lane {
        let (orders, receiver) = unbounded_channel();
        let committed = Arc::new(AtomicU64::new(0));
        let work = Work {
            rows: Rows::of(Arc::clone(&client), is_utf8),
            client,
            is_utf8,
            counts,
            is_open: false,
            copy: None,
            committed: Arc::clone(&committed),
            line: 0,
        };
        Lane {
            orders: Some(orders),
            budget: Arc::new(Semaphore::new(AHEAD as usize)),
            task: Some(tokio::spawn(work.run(receiver))),
            committed,
        }
    }

    /// A row change, when there is room for it.
    pub async fn row(
        &self,
        line: u64,
        text: Vec<u8>,
        shape: Option<Shape>,
    ) -> std::result::Result<(), Ended> {
        let _share = self.share(text.len()).await?;
        self.order(Order::Row {
            line,
            text,
            shape,
            _share,
        })
    }

    pub fn copy(&self, line: u64, head: &Arc<Vec<u8>>) -> std::result::Result<(), Ended> {
        let head = Arc::clone(head);
        self.order(Order::Copy { line, head })
    }

    /// Rows of the COPY block that was begun.
    pub async fn copy_rows(&self, rows: Vec<u8>) -> std::result::Result<(), Ended> {
        let _share = self.share(rows.len()).await?;
        self.order(Order::CopyRows { rows, _share })
    }

    pub fn end_copy(&self) -> std::result::Result<(), Ended> {
        self.order(Order::CopyEnd)
    }

    pub fn commit(&self, place: &Arc<String>, round: u64) -> std::result::Result<(), Ended> {
        self.order(Order::Commit(Arc::clone(place), round))
    }

    pub fn forget(&self, is_utf8: bool) -> std::result::Result<(), Ended> {
        self.order(Order::Forget { is_utf8 })
    }

    /// Waits until all that it was given is done.
    pub async fn is_done(&self) -> std::result::Result<(), Ended> {
        let (tell, told) = oneshot::channel();
        self.order(Order::Tell(tell))?;
        told.await.map_err(|_| Ended)
    }

    pub fn committed(&self) -> u64 {
        self.committed.load(Ordering::Relaxed)
    }

    /// It gets nothing more: it does what it has, and commits no more. What went wrong in it.
    pub async fn end(&mut self) -> Result<()> {
        self.orders = None;
        let Some(task) = self.task.take() else {
            return Ok(());
        };
        match task.await {
            Ok(done) => done,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => Ok(()),
        }
    }

    async fn share(&self, size: usize) -> std::result::Result<OwnedSemaphorePermit, Ended> {
        // What has no text takes memory, too.
        let size = u32::try_from(size + 128).unwrap_or(AHEAD).min(AHEAD);
        let budget = Arc::clone(&self.budget);
        budget.acquire_many_owned(size).await.map_err(|_| Ended)
    }

    fn order(&self, order: Order) -> std::result::Result<(), Ended> {
        let sent = self.orders.as_ref().map(|orders| orders.send(order));
        sent.and_then(std::result::Result::ok).ok_or(Ended)
    }
}

/// An open COPY block.
struct Copying {
    line: u64,
    head: Arc<Vec<u8>>,
    /// None before the first row.
    sink: Option<Pin<Box<CopyInSink<Bytes>>>>,
    rows: u64,
}

/// The end of a lane that carries orders out.
struct Work {
    client: Arc<Client>,
    is_utf8: bool,
    rows: Rows,
    counts: Counts,
    /// A transaction is open.
    is_open: bool,
    copy: Option<Copying>,
    committed: Arc<AtomicU64>,
    /// Of the last order.
    line: u64,
}

impl Work {
    async fn run(mut self, mut orders: UnboundedReceiver<Order>) -> Result<()> {
        while let Some(order) = orders.recv().await {
            self.order(order).await?;
        }
        // Who gave the orders wants to know which of them fail.
        self.rows.drain().await
    }

    async fn order(&mut self, order: Order) -> Result<()> {
        match order {
            Order::Row {
                line,
                text,
                shape,
                _share,
            } => {
                self.line = line;
                self.open().await?;
                self.counts.note(&text);
                self.row(line, text, shape).await
            }
            Order::Copy { line, head } => {
                self.line = line;
                self.copy = Some(Copying {
                    line,
                    head,
                    sink: None,
                    rows: 0,
                });
                Ok(())
            }
            Order::CopyRows { rows, _share } => self.copy_rows(rows).await,
            Order::CopyEnd => self.end_copy().await,
            Order::Commit(place, round) => self.commit(&place, round).await,
            Order::Forget { is_utf8 } => {
                self.is_utf8 = is_utf8;
                self.rows.in_utf8(is_utf8);
                Ok(())
            }
            Order::Tell(tell) => {
                // Nobody waits for it who has an error of another lane.
                let _ = tell.send(());
                Ok(())
            }
        }
    }

    async fn open(&mut self) -> Result<()> {
        if !self.is_open {
            self.is_open = true;
            let begun = self.client.batch_execute("BEGIN").await;
            begun.map_err(|error| self.refused(error))?;
        }
        Ok(())
    }

    async fn row(&mut self, line: u64, text: Vec<u8>, shape: Option<Shape>) -> Result<()> {
        if text.len() < large::LARGE {
            return self.rows.send_shaped(line, text, shape).await;
        }
        self.rows.drain().await?;
        if let Some(inserted) = large::insert(&self.client, self.is_utf8, &text).await {
            return inserted.map(drop).map_err(|error| self.refused(error));
        }
        if !pieces::is_worth_it(&text) {
            return self.rows.send_shaped(line, text, shape).await;
        }
        let wrong = match pieces::execute(&self.client, &text).await {
            Ok(1) => return Ok(()),
            Ok(hit) => Wrong::Hit(hit),
            Err(error) => Wrong::Refused(error),
        };
        Err(Failed { line, wrong })
    }

    async fn copy_rows(&mut self, rows: Vec<u8>) -> Result<()> {
        let Some(mut copy) = self.copy.take() else {
            return Ok(());
        };
        let sent = self.send_rows(&mut copy, rows).await;
        self.copy = Some(copy);
        match sent {
            // The reason comes with the end.
            Err(Failed {
                wrong: Wrong::Refused(error),
                ..
            }) if error.is_closed() => self.end_copy().await,
            sent => sent,
        }
    }

    async fn send_rows(&mut self, copy: &mut Copying, rows: Vec<u8>) -> Result<()> {
        let (line, head) = (copy.line, Arc::clone(&copy.head));
        let refused = |error| Failed {
            line,
            wrong: Wrong::Refused(error),
        };
        if copy.sink.is_none() {
            self.open().await?;
            self.rows.drain().await?;
            let statement = String::from_utf8_lossy(&head);
            let sink = self.client.copy_in(&*statement).await.map_err(refused)?;
            copy.sink = Some(Box::pin(sink));
        }
        copy.rows += memchr::memchr_iter(b'\n', &rows).count() as u64;
        match &mut copy.sink {
            Some(sink) => sink.as_mut().send(rows.into()).await.map_err(refused),
            None => Ok(()),
        }
    }

    async fn end_copy(&mut self) -> Result<()> {
        let Some(copy) = self.copy.take() else {
            return Ok(());
        };
        let Some(mut sink) = copy.sink else {
            return Ok(());
        };
        let line = copy.line;
        let wrong = match sink.as_mut().finish().await {
            Ok(count) if count == copy.rows => {
                self.counts.add_copied(&copy.head, copy.rows);
                return Ok(());
            }
            Ok(count) => Wrong::Copied(count, copy.rows),
            Err(error) => Wrong::Refused(error),
        };
        Err(Failed { line, wrong })
    }

    /// What there is to commit has its answer, and it was right.
    async fn commit(&mut self, place: &str, round: u64) -> Result<()> {
        if self.is_open {
            self.rows.drain().await?;
            let end = super::progress::commit(self.counts.lane(), place);
            // Each is sent when it is first polled, in this order.
            let ended = self.client.batch_execute(&end);
            let counted = self.counts.flush_by(&self.client);
            let (counted, ended) = futures_util::join!(counted, ended);
            counted.and(ended).map_err(|error| self.refused(error))?;
            self.is_open = false;
        }
        self.committed.store(round, Ordering::Relaxed);
        Ok(())
    }

    fn refused(&self, error: tokio_postgres::Error) -> Failed {
        Failed {
            line: self.line,
            wrong: Wrong::Refused(error),
        }
    }
}
