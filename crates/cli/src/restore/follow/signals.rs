//! SIGINT and SIGTERM: the first one ends what is followed between two transactions, a second one at once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{signal, SignalKind};
use tokio::sync::Notify;

use crate::connection::block_on;
use crate::error::{Error, Result};

/// Whether it is to end.
#[derive(Clone, Default)]
pub struct Stop {
    is_wanted: Arc<AtomicBool>,
    told: Arc<Notify>,
}

impl Stop {
    /// Listens, from now on: in a thread of its own, since a base is checked without a pause.
    pub fn listen() -> Result<Stop> {
        let failed = |error| Error::failed(format!("could not listen to signals: {error}"), "");
        let stop = Stop::default();
        let told = stop.clone();
        let (sender, begun) = std::sync::mpsc::channel();
        let listen = move || {
            let heard = block_on(hear(told, sender.clone()));
            if let Err(error) = heard {
                // Nobody waits for it after it has begun.
                let _ = sender.send(Err(error));
            }
        };
        let thread = std::thread::Builder::new().name("signals".to_owned());
        thread.spawn(listen).map_err(failed)?;
        let gone = |_| Error::failed("could not listen to signals", "");
        begun.recv().map_err(gone)??;
        Ok(stop)
    }

    /// Whether a signal has come.
    pub fn is_wanted(&self) -> bool {
        self.is_wanted.load(Ordering::Relaxed)
    }

    /// Ends as soon as one comes.
    pub async fn wanted(&self) {
        let told = self.told.notified();
        if !self.is_wanted() {
            told.await;
        }
    }

    /// Waits so long, or until one comes; whether none has.
    pub async fn not_within(&self, time: Duration) -> bool {
        tokio::select! {
            () = self.wanted() => false,
            () = tokio::time::sleep(time) => !self.is_wanted(),
        }
    }
}

async fn hear(stop: Stop, begun: Sender<Result<()>>) -> Result<()> {
    let failed = |error| Error::failed(format!("could not listen to signals: {error}"), "");
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let _ = begun.send(Ok(()));
    loop {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        if stop.is_wanted.swap(true, Ordering::Relaxed) {
            // The target's server rolls back what is open.
            std::process::exit(1);
        }
        stop.told.notify_waiters();
    }
}
