//! The archive of a running server, read through its `incr_read()`: nobody needs a shell there, nor to be a superuser.
//!
//! One connection serves all readers. It belongs to a thread of its own, which answers their requests; several may be
//! under way at once, and the server answers them one after the other.

mod parts;

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Read};
use std::sync::mpsc::{sync_channel, Receiver, SyncSender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use archive::checksum;
use archive::pause::Pause;
use archive::storage::{self, Item, Storage};
use tokio::sync::mpsc::{unbounded_channel, UnboundedReceiver, UnboundedSender};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;
use tokio_postgres::Client;

use crate::connection::{self, Session};
use crate::error::{Error, Result};
use crate::quote::identifier;
use parts::Parts;

/// The most that one call of `incr_read()` returns, for the list of all files.
const MOST: i32 = 256 * 1024 * 1024;

/// How long a process may take from giving a file its name to writing its line.
const FOR_A_LINE: Duration = Duration::from_millis(500);

/// A database's archive on a server.
#[derive(Clone)]
pub struct Server(Arc<Link>);

/// The connection, as its users see it.
struct Link {
    requests: UnboundedSender<Request>,
    /// For messages.
    place: String,
    listing: Mutex<Listing>,
    /// Checksums of what was read at rest.
    last_read: Mutex<HashMap<String, Option<String>>>,
}

/// The files with their sizes.
#[derive(Default)]
struct Listing {
    files: Option<Arc<BTreeMap<String, u64>>>,
    /// Whether a file was opened since: whoever lists then must see what has been added meanwhile.
    is_stale: bool,
}

/// A part of a file.
struct Request {
    file: String,
    offset: i64,
    length: i32,
    answer: SyncSender<Answer>,
}

/// `None`: there is no such file, any more.
type Answer = std::result::Result<Option<Vec<u8>>, String>;

impl Server {
    /// Connects; returns the name of the connection's database, too.
    pub fn connect(conninfo: &str) -> Result<(String, Server)> {
        let (requests, received) = unbounded_channel();
        let (opened, is_open) = sync_channel(1);
        let conninfo = conninfo.to_owned();
        std::thread::spawn(move || {
            let failed = opened.clone();
            let served = connection::block_on(serve(conninfo, opened, received));
            if let Err(error) = served {
                // Nobody waits for it any more after the first answer.
                let _ = failed.send(Err(error));
            }
        });
        let gone = |_| Error::failed("the connection has ended", "");
        let (database, place) = is_open.recv().map_err(gone)??;
        let link = Link {
            requests,
            place,
            listing: Mutex::default(),
            last_read: Mutex::default(),
        };
        Ok((database, Server(Arc::new(link))))
    }

    fn listing(&self) -> archive::Result<Arc<BTreeMap<String, u64>>> {
        let mut listing = self.0.listing();
        if let Some(files) = listing.files.as_ref().filter(|_| !listing.is_stale) {
            return Ok(Arc::clone(files));
        }
        let mut text = Vec::new();
        loop {
            let part = self.0.request("", text.len() as u64, MOST);
            let part = part
                .and_then(|answer| wait(&answer))
                .map_err(|error| self.failed("list", "", error))?;
            let part = part.unwrap_or_default();
            text.extend_from_slice(&part);
            if part.len() < MOST as usize {
                break;
            }
        }
        let text = String::from_utf8_lossy(&text);
        let lines = text.lines().filter_map(|line| line.split_once(' '));
        let files = lines.filter_map(|(size, name)| Some((name.to_owned(), size.parse().ok()?)));
        let files: Arc<BTreeMap<String, u64>> = Arc::new(files.collect());
        *listing = Listing {
            files: Some(Arc::clone(&files)),
            is_stale: false,
        };
        Ok(files)
    }

    fn failed(&self, action: &'static str, file: &str, source: io::Error) -> archive::Error {
        archive::Error::Io {
            action,
            path: self.place(file).into(),
            source,
        }
    }
}

impl Link {
    fn listing(&self) -> MutexGuard<'_, Listing> {
        self.listing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn last_read(&self) -> MutexGuard<'_, HashMap<String, Option<String>>> {
        self.last_read
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a request; the answer comes later.
    fn request(&self, file: &str, offset: u64, length: i32) -> io::Result<Receiver<Answer>> {
        let (answer, receiver) = sync_channel(1);
        let request = Request {
            file: file.to_owned(),
            offset: i64::try_from(offset).map_err(io::Error::other)?,
            length,
            answer,
        };
        self.requests.send(request).map_err(|_| has_ended())?;
        Ok(receiver)
    }
}

fn wait(answer: &Receiver<Answer>) -> io::Result<Option<Vec<u8>>> {
    match answer.recv() {
        Ok(answer) => answer.map_err(io::Error::other),
        Err(_) => Err(has_ended()),
    }
}

fn has_ended() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the connection has ended")
}

impl Storage for Server {
    fn list(&self, directory: &str) -> archive::Result<Vec<Item>> {
        let files = self.listing()?;
        let prefix = match directory {
            "" => String::new(),
            directory => format!("{directory}/"),
        };
        let mut items: Vec<Item> = Vec::new();
        let from = files.range(prefix.clone()..);
        for (name, size) in from.take_while(|(name, _)| name.starts_with(&prefix)) {
            let below = &name[prefix.len()..];
            let (name, is_directory) = match below.split_once('/') {
                Some((directory, _)) => (directory, true),
                None => (below, false),
            };
            if items.last().is_some_and(|last| last.name == name) {
                continue;
            }
            items.push(Item {
                name: name.to_owned(),
                is_directory,
                size: if is_directory { 0 } else { *size },
            });
        }
        items.sort_by(|a, b| a.name.cmp(&b.name));
        items.dedup_by(|a, b| a.name == b.name);
        Ok(items)
    }

    fn open(&self, file: &str, offset: u64) -> archive::Result<Option<Box<dyn Read + Send>>> {
        // Asking for a file that does not exist would be an error in the server's log.
        let was_there = self
            .0
            .listing()
            .files
            .as_ref()
            .is_some_and(|files| files.contains_key(file));
        if !was_there && !self.listing()?.contains_key(file) {
            return Ok(None);
        }
        self.0.listing().is_stale = true;
        let parts = Parts::open(self, file, offset);
        let parts = parts.map_err(|error| self.failed("read", file, error))?;
        Ok(parts.map(|parts| Box::new(parts) as Box<dyn Read + Send>))
    }

    fn size(&self, file: &str) -> archive::Result<Option<u64>> {
        Ok(self.listing()?.get(file).copied())
    }

    /// The lock is out of reach. Who asks again for what has not changed misses a line that is about to be written.
    fn read_at_rest(&self, file: &str, _pause: Pause) -> archive::Result<Option<Vec<u8>>> {
        let mut bytes = storage::read(self, file)?;
        let sum = bytes.as_deref().map(checksum::of_bytes);
        let last = self.0.last_read().insert(file.to_owned(), sum.clone());
        if last.is_some_and(|last| last == sum) {
            std::thread::sleep(FOR_A_LINE);
            bytes = storage::read(self, file)?;
        }
        Ok(bytes)
    }

    fn place(&self, file: &str) -> String {
        match file {
            "" => self.0.place.clone(),
            file => format!("{file} of {}", self.0.place),
        }
    }
}

/// The thread of the connection: opens it, says so, and answers requests until nobody is left to make one.
async fn serve(
    conninfo: String,
    opened: SyncSender<Result<(String, String)>>,
    mut requests: UnboundedReceiver<Request>,
) -> Result<()> {
    let session = Session::open(&conninfo, None).await?;
    let (database, query) = find_function(&session.client).await?;
    let place = format!("database {database} of {}", session.host);
    // Whoever may not call it learns so at once.
    if let Err(error) = call(&session.client, &query, "", 0, 0).await {
        return Err(match error.code() {
            Some(code) if *code == SqlState::INSUFFICIENT_PRIVILEGE => {
                let hint = format!(
                    "A superuser grants it: GRANT EXECUTE ON FUNCTION {} TO …;",
                    granted(&query)
                );
                let message = error
                    .as_db_error()
                    .map_or_else(|| error.to_string(), |e| e.message().to_owned());
                Error::failed(message, hint)
            }
            _ => error.into(),
        });
    }
    let _ = opened.send(Ok((database, place)));
    let (client, query) = (Arc::new(session.client), Arc::new(query));
    while let Some(request) = requests.recv().await {
        let (client, query) = (Arc::clone(&client), Arc::clone(&query));
        tokio::spawn(async move {
            let (file, offset, length) = (&request.file, request.offset, request.length);
            let called = call(&client, &query, file, offset, length).await;
            let gone = [SqlState::UNDEFINED_FILE, SqlState::INVALID_PARAMETER_VALUE];
            let answer = match called {
                Ok(bytes) => Ok(Some(bytes)),
                // The second is a name that no archive has.
                Err(error) if error.code().is_some_and(|code| gone.contains(code)) => Ok(None),
                Err(error) => Err(Error::from(error).to_string()),
            };
            // A reader that has gone needs no answer.
            let _ = request.answer.send(answer);
        });
    }
    Ok(())
}

/// The name of the database, and the query that calls `incr_read()`, wherever its extension is.
async fn find_function(client: &Client) -> Result<(String, String)> {
    let query = "SELECT pg_catalog.current_database()::pg_catalog.text, (SELECT nspname::pg_catalog.text \
        FROM pg_catalog.pg_extension JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) extnamespace \
        WHERE extname OPERATOR(pg_catalog.=) 'pg_incrbackup')";
    let rows = client.query_typed(query, &[]).await?;
    let (database, schema): (String, Option<String>) = (rows[0].get(0), rows[0].get(1));
    let Some(schema) = schema else {
        let message = format!("the extension pg_incrbackup is not in the database \"{database}\"");
        let hint = "--from takes the connection string of a database that is backed up.";
        return Err(Error::failed(message, hint));
    };
    let schema = identifier(&schema);
    Ok((database, format!("SELECT {schema}.incr_read($1, $2, $3)")))
}

/// The function's signature, from the query that calls it.
fn granted(query: &str) -> String {
    let name = query.trim_start_matches("SELECT ");
    name.replace("($1, $2, $3)", "(text, bigint, integer)")
}

async fn call(
    client: &Client,
    query: &str,
    file: &str,
    offset: i64,
    length: i32,
) -> std::result::Result<Vec<u8>, tokio_postgres::Error> {
    let parameters: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 3] = [
        (&file, Type::TEXT),
        (&offset, Type::INT8),
        (&length, Type::INT4),
    ];
    let rows = client.query_typed(query, &parameters).await?;
    rows[0].try_get(0)
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
