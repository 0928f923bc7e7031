//! Which transactions are taken back, and what of them cannot be.

use std::collections::{BTreeMap, BTreeSet};

use archive::segment::DdlBlock;
use archive::storage::Storage;
use archive::Lsn;
use archive_query::catalog::Segment;
use archive_query::history::statement::{self, Operation, Statement};

use crate::error::{Error, Result};
use crate::restore::part::pattern::Pattern;
use crate::restore::part::wanted::Name;
use crate::shown::line;
use crate::stretch::reading::{Commit, Piece, Reading};
use crate::stretch::touched::{is_of_whole_row, names_table};
use crate::stretch::Stretch;

/// Statements about large objects, as the output plugin writes them.
const OF_LARGE_OBJECTS: [&[u8]; 3] = [
    b"SELECT pg_catalog.lo",
    b"ALTER LARGE OBJECT ",
    b"COMMENT ON LARGE OBJECT ",
];

/// Names of columns.
pub type Columns = Vec<Vec<u8>>;

/// The transactions that are taken back.
#[derive(Debug, Default)]
pub struct Wanted {
    /// In commit order.
    pub commits: Vec<Commit>,
    /// Tables whose rows they change, as they are called at that place.
    pub names: BTreeSet<Name>,
    /// The columns by which rows are found, from a commit on; none where these are all.
    pub keys: BTreeMap<Name, Vec<(Lsn, Option<Columns>)>>,
    /// How many rows of chosen tables are changed, by statements and rows of COPY.
    pub changes: u64,
    /// Whether the open COPY is of a chosen table.
    is_copied: bool,
    /// What is not taken back with the rows, in words.
    pub notes: BTreeSet<String>,
}

/// What is chosen by the command line.
pub struct Choice<'a> {
    /// None: all of the stretch.
    pub xids: &'a BTreeSet<u64>,
    /// None: all tables.
    pub patterns: &'a [Pattern],
}

impl Choice<'_> {
    /// Whether changes of a table are taken back.
    pub fn has_table(&self, name: &Name) -> bool {
        let is_match = |pattern: &Pattern| pattern.is_match(&name.schema, &name.name);
        self.patterns.is_empty() || self.patterns.iter().any(is_match)
    }
}

impl Wanted {
    /// Reads the stretch. What cannot be taken back as a whole is refused with the way that does it.
    pub fn find(storage: &dyn Storage, stretch: &Stretch, choice: &Choice<'_>) -> Result<Wanted> {
        let skips = |_: &Segment| false;
        let mut reading = Reading::new(storage, stretch, &skips);
        let mut wanted = Wanted::default();
        let mut missing = choice.xids.clone();
        let mut open: Option<(Commit, bool)> = None;
        // Tables as written that were met before: whether they are chosen, and their key is known.
        let mut known: BTreeMap<Vec<u8>, (bool, bool)> = BTreeMap::new();
        while let Some(piece) = reading.next_piece()? {
            match piece {
                Piece::Begin(commit) => {
                    let is_chosen = choice.xids.is_empty() || missing.remove(&commit.xid);
                    open = is_chosen.then_some((commit, false));
                    // A name may be another table's by now.
                    known
                        .values_mut()
                        .for_each(|(_, is_key_known)| *is_key_known = false);
                }
                Piece::End => {
                    if let Some((commit, true)) = open.take() {
                        wanted.commits.push(commit);
                    }
                    if !choice.xids.is_empty() && missing.is_empty() {
                        reading.stop();
                    }
                }
                piece => {
                    let Some((commit, has_rows)) = &mut open else {
                        continue;
                    };
                    *has_rows |=
                        wanted.take(choice, &mut known, *commit, &piece, reading.text())?;
                }
            }
        }
        match missing.first() {
            None => Ok(wanted),
            Some(xid) => {
                let message = format!("transaction {xid} is not in chain-{}", stretch.chain.number);
                let hint = "SELECT incr_flush() writes the latest commits to the files; pg_incrbackup show lists them.";
                Err(Error::no_such_moment(message, hint))
            }
        }
    }

    /// Whether it is a change of rows that is taken back.
    fn take(
        &mut self,
        choice: &Choice<'_>,
        known: &mut BTreeMap<Vec<u8>, (bool, bool)>,
        commit: Commit,
        piece: &Piece,
        text: &[u8],
    ) -> Result<bool> {
        let xid = commit.xid;
        match piece {
            Piece::Effect(effect) if is_about(choice, text) => {
                let object = line(&String::from_utf8_lossy(&effect.identity));
                let what = format!("{} {object}", effect.command());
                if choice.xids.is_empty() {
                    self.notes
                        .insert(format!("transaction {xid}: {what} is not taken back"));
                    return Ok(false);
                }
                Err(of_schema(xid, &what))
            }
            Piece::Ddl { command, .. } if is_about(choice, text) => {
                if choice.xids.is_empty() && command != "REWRITE" {
                    self.notes
                        .insert(format!("transaction {xid}: {command} is not taken back"));
                    return Ok(false);
                }
                Err(of_schema(xid, command))
            }
            Piece::Flag {
                reason,
                lost: Some(_),
            } => {
                let reason = line(&String::from_utf8_lossy(reason));
                let message = format!("changes of transaction {xid} are lost: {reason}");
                Err(Error::failed(
                    message,
                    "What is not in the files cannot be taken back.",
                ))
            }
            Piece::Copy => {
                let table = statement::copied(text);
                self.is_copied = table.is_some_and(|table| self.note(choice, known, table).0);
                Ok(self.is_copied)
            }
            Piece::CopyRow => {
                self.changes += u64::from(self.is_copied);
                Ok(false)
            }
            Piece::Statement => self.statement(choice, known, commit, text),
            _ => Ok(false),
        }
    }

    fn statement(
        &mut self,
        choice: &Choice<'_>,
        known: &mut BTreeMap<Vec<u8>, (bool, bool)>,
        commit: Commit,
        text: &[u8],
    ) -> Result<bool> {
        let xid = commit.xid;
        if let Some((operation, table)) = statement::head(text) {
            let (is_chosen, is_key_known) = self.note(choice, known, table);
            self.changes += u64::from(is_chosen);
            if is_chosen && operation != Operation::Insert && !is_key_known {
                if let Some((name, parsed)) = Name::read(table).zip(Statement::parse(text)) {
                    let columns = parsed.old.iter().map(|(column, _)| column.to_vec());
                    let key = (!is_of_whole_row(text)).then(|| columns.collect());
                    let there = self.keys.entry(name).or_default();
                    if there.last().is_none_or(|(_, last)| *last != key) {
                        there.push((commit.lsn, key));
                    }
                    known.insert(table.to_vec(), (true, true));
                }
            }
            return Ok(is_chosen);
        }
        let truncated = statement::truncated(text).unwrap_or_default();
        let is_chosen =
            |table: &&&[u8]| Name::read(table).is_some_and(|name| choice.has_table(&name));
        if let Some(table) = truncated.iter().find(is_chosen) {
            let table = line(&String::from_utf8_lossy(table));
            let message = format!(
                "transaction {xid} has truncated {table}: TRUNCATE is not taken back row by row"
            );
            let hint = format!(
                "pg_incrbackup restore --table '{table}' --into-schema before --before-xid {xid} makes the table as it was \
                 before, beside the live one."
            );
            return Err(Error::failed(message, hint));
        }
        if OF_LARGE_OBJECTS.iter().any(|start| text.starts_with(start))
            && choice.patterns.is_empty()
        {
            let message =
                format!("transaction {xid} has changed large objects, which are not taken back");
            let hint = "With --table only the rows of tables are taken back.";
            return Err(Error::failed(message, hint));
        }
        Ok(false)
    }

    /// Whether changes of the table are taken back, and whether its key is known.
    fn note(
        &mut self,
        choice: &Choice<'_>,
        known: &mut BTreeMap<Vec<u8>, (bool, bool)>,
        table: &[u8],
    ) -> (bool, bool) {
        if let Some(known) = known.get(table) {
            return *known;
        }
        let name = Name::read(table).filter(|name| choice.has_table(name));
        let is_chosen = name.is_some();
        self.names.extend(name);
        known.insert(table.to_vec(), (is_chosen, false));
        (is_chosen, false)
    }

    /// The LSN before the first of them.
    pub fn before(&self) -> Option<Lsn> {
        let first = self.commits.first()?;
        Some(Lsn(first.lsn.0 - 1))
    }
}

/// Whether a schema change is about a table that is chosen; `text` is its block.
fn is_about(choice: &Choice<'_>, text: &[u8]) -> bool {
    names_table(choice.patterns, DdlBlock::read(text).statement)
}

fn of_schema(xid: u64, what: &str) -> Error {
    let message = format!(
        "transaction {xid} has changed the schema ({what}), which is not taken back row by row"
    );
    let hint = format!(
        "pg_incrbackup restore --before-xid {xid} makes the database as it was before, and with --table a part of it beside \
         the live one; undo --table NAME takes back only the rows of tables whose definition it has not changed."
    );
    Error::failed(message, hint)
}
