//! `--squash`: between two schema changes, of each row only the net effect of its changes is applied.
//!
//! Changes of rows are collected by table and key, and applied as sets: at a schema change, at the end, and when they take
//! too much memory. Then the transaction of the target is committed with the place that the replay has reached, which is
//! the end of a transaction of the source: at each commit the target is a state that the source had.
//!
//! What is not collected is executed as it is, behind what is collected of its table: changes of tables without a key,
//! those of partitions by their root, large values, and what the parser does not know. Tables are independent of each
//! other: foreign keys and triggers do not act in a replay.
//!
//! | room | what it does |
//! | --- | --- |
//! | [`net`] | the net effect, by key |
//! | [`table`] | what is collected of a table |
//! | [`template`] | lines of one form, which are read fast |
//! | [`many`] | many lines at once, of forms that are known |
//! | [`definition`] | its columns and keys, by the catalog |
//! | [`apply`], [`statements`], [`copies`] | how the target takes it |

mod apply;
mod copies;
mod definition;
mod key;
mod many;
mod net;
mod statements;
mod table;
mod template;

use std::collections::HashMap;

use archive_query::history::statement::{self, truncated};

use super::large::LARGE;
use super::Replay;
use crate::error::{Error, Result};
use crate::quote::shown;
use definition::Definition;
use net::Place;
use table::{Collected, Table, Taken};

/// What is collected takes this much memory at most, in bytes, unless PG_INCRBACKUP_MEMORY says otherwise.
const MOST: usize = 256 << 20;
/// A transaction of the target is committed after so many bytes that were executed as they are.
const MOST_AS_THEY_ARE: usize = 64 << 20;

/// Lines that say nothing about rows of tables.
const APART: [&[u8]; 8] = [
    b"SELECT pg_catalog.setval(",
    b"SELECT pg_catalog.lo_",
    b"SET LOCAL ROLE ",
    b"ALTER LARGE OBJECT ",
    b"GRANT ",
    b"REVOKE ",
    b"COMMENT ON LARGE OBJECT ",
    b"SECURITY LABEL ",
];

/// How much memory what is collected may take, in bytes.
pub fn most() -> Result<usize> {
    let Ok(text) = std::env::var("PG_INCRBACKUP_MEMORY") else {
        return Ok(MOST);
    };
    text.parse().map_err(|_| {
        let message = format!("PG_INCRBACKUP_MEMORY is \"{text}\", which is no number of bytes");
        Error::wrong_use(message, "")
    })
}

/// What is collected.
#[derive(Default)]
pub struct Squash {
    tables: Vec<Table>,
    by_name: HashMap<Vec<u8>, usize>,
    /// The one of the last change: most are of the same.
    last: usize,
    bytes: usize,
    /// It was applied at this limit since the last commit.
    is_due: bool,
    most: usize,
    /// Of what was executed as it is since the last commit.
    as_they_are: usize,
    /// The segments that rows are of, since something is collected.
    files: Vec<String>,
    /// An UPDATE of a column that is GENERATED ALWAYS AS IDENTITY follows, and its end.
    is_switched: bool,
    encoding: String,
}

impl Squash {
    /// Nothing yet; it is applied when it takes `most` bytes ([`most`]).
    pub fn new(most: usize) -> Squash {
        Squash {
            most,
            ..Squash::default()
        }
    }

    /// A transaction of the target has done enough.
    pub fn is_full(&self) -> bool {
        self.is_due || self.as_they_are >= MOST_AS_THEY_ARE
    }

    fn find(&mut self, name: &[u8]) -> Option<usize> {
        if self
            .tables
            .get(self.last)
            .is_some_and(|last| last.name == name)
        {
            return Some(self.last);
        }
        let found = self.by_name.get(name).copied();
        self.last = found.unwrap_or(self.last);
        found
    }

    fn place(&mut self, file: &str, line: u64) -> Place {
        if self.files.last().is_none_or(|last| last != file) {
            self.files.push(file.to_owned());
        }
        Place {
            file: u32::try_from(self.files.len() - 1).unwrap_or(u32::MAX),
            line,
        }
    }
}

impl Replay<'_> {
    /// Takes a line; one that is to be executed as it is comes back.
    pub(super) async fn squashed(&mut self, line: u64, text: Vec<u8>) -> Result<Option<Vec<u8>>> {
        let Some(squash) = self.squash.as_mut().filter(|_| self.lenient.is_none()) else {
            return Ok(Some(text));
        };
        let Some((operation, name)) = statement::head(&text) else {
            self.before_other(&text).await?;
            return Ok(Some(text));
        };
        let at = match squash.find(name) {
            Some(at) => at,
            None => {
                let name = name.to_vec();
                self.define(name).await?
            }
        };
        let Some(squash) = &mut self.squash else {
            return Ok(Some(text));
        };
        let taken = match &squash.tables[at].definition {
            Definition::Root => {
                squash.as_they_are += text.len();
                self.unsquash_partitions().await?;
                return Ok(Some(text));
            }
            Definition::Table { .. } if text.len() < LARGE && !squash.is_switched => {
                let place = squash.place(&self.file, line);
                let table = &mut squash.tables[at];
                let before = table.bytes;
                let taken = table.add(operation, place, text);
                squash.bytes = (squash.bytes + table.bytes).saturating_sub(before);
                taken
            }
            _ => Taken::Not(text),
        };
        match taken {
            Taken::Collected if squash.bytes >= squash.most => {
                // The transaction of the source goes on, and that of the target until it ends.
                squash.is_due = true;
                self.unsquash().await.map(|()| None)
            }
            Taken::Collected => Ok(None),
            Taken::Not(text) => {
                squash.as_they_are += text.len();
                self.unsquash_table(at).await?;
                Ok(Some(text))
            }
        }
    }

    /// A table of which there was nothing so far.
    async fn define(&mut self, name: Vec<u8>) -> Result<usize> {
        self.settle().await?;
        let definition = Definition::read(self.session, &name).await?;
        let Some(squash) = &mut self.squash else {
            return Ok(0);
        };
        squash.tables.push(Table::new(name.clone(), definition));
        squash.last = squash.tables.len() - 1;
        squash.by_name.insert(name, squash.last);
        Ok(squash.last)
    }

    /// A line that is not the change of one row.
    async fn before_other(&mut self, text: &[u8]) -> Result<()> {
        if APART.iter().any(|start| text.starts_with(start)) {
            return Ok(());
        }
        if text.starts_with(b"TRUNCATE ") {
            return self.before_truncate(text).await;
        }
        self.unsquash().await?;
        if let Some(squash) = self
            .squash
            .as_mut()
            .filter(|_| text.starts_with(b"ALTER TABLE "))
        {
            squash.is_switched = text.ends_with(b" SET GENERATED BY DEFAULT;");
        }
        Ok(())
    }

    /// What is collected of a table is nothing when it is emptied.
    async fn before_truncate(&mut self, text: &[u8]) -> Result<()> {
        let only = memchr::memmem::find_iter(text, b"ONLY ").count();
        let tables = truncated(text).unwrap_or_default();
        let is_plain = text.ends_with(b";") && !text.ends_with(b" CASCADE;");
        // ONLY may be in a name; a table without it takes others with it.
        if !is_plain || tables.is_empty() || only != tables.len() {
            return self.unsquash().await;
        }
        if let Some(squash) = &mut self.squash {
            for name in tables {
                if let Some(at) = squash.find(name) {
                    squash.bytes = squash.bytes.saturating_sub(squash.tables[at].bytes);
                    drop(squash.tables[at].take());
                }
            }
        }
        Ok(())
    }

    /// Rows of a COPY block are collected, too, where others of its table are; else it is executed as it is.
    pub(super) async fn squashes_copy(&mut self, text: &[u8]) -> Result<bool> {
        let Some(squash) = &mut self.squash else {
            return Ok(false);
        };
        let Some(name) = statement::copied(text) else {
            self.unsquash().await?;
            return Ok(false);
        };
        let at = match squash.find(name) {
            Some(at) => at,
            None => {
                let name = name.to_vec();
                self.define(name).await?
            }
        };
        let table = self
            .squash
            .as_ref()
            .and_then(|squash| squash.tables.get(at));
        let is_collected = table.is_some_and(|table| !table.is_empty());
        if table.is_some_and(|table| matches!(table.definition, Definition::Root)) {
            self.unsquash_partitions().await?;
        }
        Ok(is_collected)
    }

    /// Bytes that were executed as they are.
    pub(super) fn pass_by(&mut self, bytes: usize) {
        if let Some(squash) = &mut self.squash {
            squash.as_they_are += bytes;
        }
    }

    /// Whether the segment that begins is in the encoding of those before it: what is collected may stay.
    pub(super) async fn goes_on_squashing(&mut self, encoding: &str) -> Result<bool> {
        let Some(squash) = &mut self.squash else {
            return Ok(false);
        };
        if squash.encoding != encoding || self.lanes.is_some() {
            encoding.clone_into(&mut squash.encoding);
            return Ok(false);
        }
        // Lines that are executed one by one have their answer while their segment is at hand.
        for at in 0..squash.tables.len() {
            let has_few = |squash: &Squash| squash.tables[at].has_few();
            if self.squash.as_ref().is_some_and(has_few) {
                self.unsquash_table(at).await?;
            }
        }
        self.settle().await?;
        Ok(true)
    }

    /// Applies all that is collected.
    pub(super) async fn unsquash(&mut self) -> Result<()> {
        self.unsquash_those(|_| true).await?;
        if let Some(squash) = &mut self.squash {
            squash.files.clear();
        }
        Ok(())
    }

    /// The same before a schema change, which may change any table.
    pub(super) async fn end_squash(&mut self) -> Result<()> {
        self.unsquash().await?;
        if let Some(squash) = &mut self.squash {
            squash.tables.clear();
            squash.by_name.clear();
            // It may have left settings that the next segment sets again.
            squash.encoding.clear();
        }
        Ok(())
    }

    /// The transaction of the target ends.
    pub(super) fn squash_is_committed(&mut self) {
        if let Some(squash) = &mut self.squash {
            (squash.as_they_are, squash.is_due) = (0, false);
        }
    }

    async fn unsquash_partitions(&mut self) -> Result<()> {
        self.unsquash_those(Table::is_partition).await
    }

    async fn unsquash_those(&mut self, which: impl Fn(&Table) -> bool) -> Result<()> {
        let count = self.squash.as_ref().map_or(0, |squash| squash.tables.len());
        for at in 0..count {
            if self
                .squash
                .as_ref()
                .is_some_and(|squash| which(&squash.tables[at]))
            {
                self.unsquash_table(at).await?;
            }
        }
        Ok(())
    }

    /// Applies what is collected of a table.
    async fn unsquash_table(&mut self, at: usize) -> Result<()> {
        let Some(squash) = &mut self.squash else {
            return Ok(());
        };
        let table = &mut squash.tables[at];
        if table.is_empty() {
            return Ok(());
        }
        squash.bytes = squash.bytes.saturating_sub(table.bytes);
        let changes = table.changes;
        let net = match table.take() {
            Collected::Net(net) => {
                let (all, rows) = self.done.squashed.unwrap_or_default();
                self.done.squashed = Some((all + changes, rows + net.len() as u64));
                net
            }
            Collected::Few(lines) => {
                for (place, text) in lines {
                    let sent = self.rows.send(place.line, text).await;
                    sent.map_err(|failed| self.failed(failed))?;
                }
                return Ok(());
            }
        };
        self.settle().await?;
        let Some(squash) = &self.squash else {
            return Ok(());
        };
        let table = &squash.tables[at];
        let Definition::Table { columns, keys, .. } = &table.definition else {
            return Ok(());
        };
        let into = apply::Into {
            session: self.session,
            name: &table.name,
            columns,
            key: &keys[table.key],
        };
        let applied = into.apply(net).await;
        applied.map_err(|failed| self.failed_squashed(at, failed))
    }

    fn failed_squashed(&self, at: usize, failed: apply::Failed) -> Error {
        let (file, table) = self
            .squash
            .as_ref()
            .map_or_else(Default::default, |squash| {
                let file = squash.files.get(failed.place.file as usize);
                (
                    file.cloned().unwrap_or_default(),
                    shown(&squash.tables[at].name),
                )
            });
        let (place, line) = (self.storage.place(&file), failed.place.line);
        match failed.wrong {
            apply::Wrong::Refused(error) => {
                let message =
                    format!("{place}:{line}: changes of {table} from this line on: {error}");
                error.with_message(message)
            }
            apply::Wrong::Missed => super::hit(&format!("{place}:{line}"), 0),
        }
    }
}
