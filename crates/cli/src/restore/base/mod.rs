//! Loads a base into an empty database, entry by entry.
//!
//! ```text
//! dump.sql(.gz), dump.toc ─▶ plain ───┐              ┌─▶ entry: text of statements, one message each
//!                                     ├─▶ entries ───┤
//! dump/toc.dat, dump/*.dat ─▶ directory              └─▶ rows: COPY, in chunks; large_objects
//!           ▲
//!           └── ahead: a thread reads and decompresses, a few chunks ahead of the server
//! ```
//!
//! The places of the entries are known exactly, so nothing here parses SQL. Triggers and rules do not fire
//! (session_replication_role), materialized views are noted for the end, and what the source tolerates in its rows
//! (foreign keys, checks) is tolerated here.
//!
//! With several sessions ([`beside`]) the rows of a table are loaded by one of them, and so is an index or a constraint made
//! ([`pieces`]), the first ones as soon as their tables are loaded ([`first_row`]); all else has its turn in the session of
//! the restore. Each entry is a transaction, which notes that it is done.

mod ahead;
mod beside;
pub mod checks;
mod counted;
mod directory;
mod entry;
mod first_row;
mod large_objects;
mod lexer;
mod parts;
mod pieces;
mod plain;
mod rows;
pub mod survey;
mod turns;
mod unlisted;
mod words;

use std::io;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use archive::dump::Listed;
use archive::storage::{self, Storage};
use archive_query::catalog::{Base, Chain};

use super::part::Wanted;
use crate::args::OnError;
use crate::connection::Session;
use crate::error::{Error, Result};
use crate::restore::progress::Progress;
use crate::restore::rights::Rights;
pub use directory::listed;
pub use plain::without_head;

/// What is to be loaded.
#[derive(Clone)]
pub struct Loading<'a> {
    pub storage: Arc<dyn Storage>,
    pub chain: &'a Chain,
    pub base: &'a Base,
    /// CHECKs that rows may contradict (`--skip-check`): their names, in the database's encoding.
    pub skip_checks: &'a [Vec<u8>],
    /// What of it is wanted, and what the role may make.
    pub rights: Rc<Rights>,
    /// Its definitions alone are executed, in the session's open transaction.
    pub is_rehearsal: bool,
    /// Foreign keys will be set aside, so that it does not matter yet whether rows contradict them.
    pub sets_keys_aside: bool,
    /// Only a part of it is wanted.
    pub part: Option<&'a Wanted>,
    pub on_error: OnError,
    /// Sessions that load rows, and make indexes and constraints, at the same time; none: that of the restore does.
    pub sessions: &'a [Session],
}

/// What a session must have set for the texts of a dump: what pg_dump writes at its beginning.
pub const SETTINGS: &str =
    "SET search_path = ''; SET check_function_bodies = off; SET xmloption = content; \
    SET default_tablespace = ''; SET synchronous_commit = off";
const REPLICA: &str = "SET session_replication_role = replica";

/// What the texts of a base, and what follows it, need of a session.
pub async fn prepare(session: &mut Session, encoding: &str, rights: &Rights) -> Result<()> {
    session.set_encoding(encoding).await?;
    session.client.batch_execute(SETTINGS).await?;
    if !rights.lacks_setting("session_replication_role") {
        session.client.batch_execute(REPLICA).await?;
    }
    Ok(())
}

/// Loads the base into the database of `session`, which is prepared, from where an earlier run has ended
/// (a rehearsal has no progress).
/// `progress` gets the number of bytes of the dump's files read so far, as stored. Fails at the first error, with file, line and
/// object; [`Error::Damaged`] if the dump is not as its table of contents says.
pub async fn load(
    loading: &Loading<'_>,
    session: &mut Session,
    done: Option<&Progress>,
    progress: &mut dyn FnMut(u64),
) -> Result<()> {
    let mut entries = entry::Entries::begin(loading, session, done).await?;
    if loading.is_plain() {
        plain::load(loading, &mut entries, progress).await?;
    } else {
        directory::load(loading, &mut entries, progress).await?;
    }
    entries.end().await
}

impl Loading<'_> {
    /// One file of text; else a directory.
    fn is_plain(&self) -> bool {
        self.base.metadata.dump.starts_with("dump.sql")
    }

    /// Whether an entry is wanted.
    fn takes(&self, entry: &Listed) -> bool {
        self.part.is_none_or(|part| part.takes_entry(entry))
    }

    /// A file of the base.
    fn file(&self, name: &str) -> String {
        let directory = self.base.directory();
        self.chain.file(&format!("{directory}/{name}"))
    }

    fn missing(&self, file: &str) -> Error {
        Error::Damaged {
            message: format!("\"{}\" is missing", self.storage.place(file)),
            hint: "Take the base from another copy of the archive, or use an older base."
                .to_owned(),
        }
    }

    fn unreadable<'a>(&'a self, file: &'a str) -> impl Fn(io::Error) -> Error + 'a {
        |error| match error.kind() {
            io::ErrorKind::InvalidData
            | io::ErrorKind::InvalidInput
            | io::ErrorKind::UnexpectedEof => {
                let place = self.storage.place(file);
                archive::Error::damaged(Path::new(&place), 0, error.to_string()).into()
            }
            _ => storage::failed("read", &*self.storage, file)(error).into(),
        }
    }
}

/// The content of a file is not what pg_dump writes.
fn odd(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}
