//! Converts rows of decoder_raw to frames, as our own plugin writes them.
//!
//! decoder_raw does not write which transaction its statements belong to before the COMMIT, so a
//! transaction's statements are collected here (on disk if there are many). Its lines for ddl_history are
//! converted to the DDL itself; its TRUNCATE lines are dropped, since ddl_history contains them, and so are
//! the lines for the other tables of our extension, which a restored database does not have.

use std::io::{Read, Seek, SeekFrom, Write};
use std::rc::Rc;

use archive::lsn::Lsn;
use archive::segment::{Lost, What};
use pgrx::bgworkers::BackgroundWorker;
use pgrx::prelude::*;
use pgrx::spi::{self, SpiHeapTupleData};
use tempfile::SpooledTempFile;

use super::error::{CaptureError, Result};
use super::foreign_sql::{self, Line, OwnTables, Table};
use super::journal::Journal;
use crate::output_plugin::ddl_history::{Statement, FLAG, LEFT_OUT, LOST};
use crate::output_plugin::frame;
use crate::pg::decoding::commit_time;
use crate::pg::types::xid;
use crate::settings;

/// Size of the statements of one transaction kept in memory; beyond, they are in an unlinked temporary file.
const MOST_IN_MEMORY: usize = 16 * 1024 * 1024;

/// A plugin's options, as names and values.
type Options = Vec<(&'static str, String)>;

/// The options that a reader gives the slot's plugin, and the converter of its rows if it is not our own.
pub fn plugin_options(plugin_name: &str) -> Result<(Options, Option<Translator>)> {
    if plugin_name == "pg_incrbackup" {
        let copy_threshold = settings::copy_threshold().to_string();
        let old_values = if settings::old_values() { "on" } else { "off" };
        let options = vec![
            ("framing", "on".to_owned()),
            ("copy_threshold", copy_threshold),
            ("old_values", old_values.to_owned()),
        ];
        return Ok((options, None));
    }
    let options = vec![("include_transaction", "on".to_owned())];
    Ok((options, Some(Translator::new(Rc::new(own_tables()?)))))
}

/// Collects the open transaction's frames until its COMMIT.
pub struct Translator {
    own: Rc<OwnTables>,
    frames: SpooledTempFile,
    count: u64,
    held: Option<Statement>,
    /// The CREATE EXTENSION whose script's rows are left out.
    bracket: Option<i64>,
}

impl Translator {
    fn new(own: Rc<OwnTables>) -> Self {
        let frames = SpooledTempFile::new(MOST_IN_MEMORY);
        Self {
            own,
            frames,
            count: 0,
            held: None,
            bracket: None,
        }
    }

    /// Accepts a row in the format of `pg::decoding::direct::send_foreign`.
    pub fn accept_message(&mut self, message: &[u8], journal: &mut Journal) -> Result<()> {
        let (Some(lsn), Some(xid)) = (message.first_chunk::<8>(), message.get(8..12)) else {
            return Err(CaptureError::Plugin("message, which is too short"));
        };
        let xid = xid.iter().fold(0, |xid, byte| xid << 8 | u32::from(*byte));
        self.accept(Lsn(u64::from_be_bytes(*lsn)), xid, &message[12..], journal)
    }

    /// Accepts one row with its LSN and transaction.
    pub fn accept(&mut self, lsn: Lsn, xid: u32, row: &[u8], journal: &mut Journal) -> Result<()> {
        match foreign_sql::read(row, &self.own)? {
            Line::Begin => {
                self.start_over();
                Ok(())
            }
            Line::Commit => self.commit(lsn, xid, journal),
            Line::Truncate => Ok(()),
            Line::StatementInserted(statement) => self.insert(statement),
            Line::StatementUpdated(statement) => self.amend(statement),
            Line::Ignored => Ok(()),
            Line::Change(_) if self.bracket.is_some() => Ok(()),
            Line::Change(sql) => {
                self.release_held()?;
                self.push(&[b"S", sql.as_slice()].concat())
            }
        }
    }

    fn start_over(&mut self) -> Self {
        let fresh = Self::new(Rc::clone(&self.own));
        std::mem::replace(self, fresh)
    }

    fn insert(&mut self, statement: Statement) -> Result<()> {
        if !statement.replay {
            return Ok(());
        }
        self.release_held()?;
        let note = |tag: &[u8]| [tag, statement.text.as_slice()].concat();
        match statement.command.as_str() {
            FLAG => return self.push(&note(b"f")),
            LEFT_OUT => return self.push(&note(b"L")),
            LOST => {
                let mut frame = Vec::new();
                frame::push_lost(&mut frame, &Lost::anything(What::Schema), &statement.text);
                return self.push(&frame);
            }
            _ => {}
        }
        if let Some(mark) = statement.mark() {
            let mut frame = Vec::new();
            frame::push_mark(&mut frame, &mark);
            return self.push(&frame);
        }
        if statement.brackets_rows() {
            self.bracket = Some(statement.id);
        }
        self.held = Some(statement);
        Ok(())
    }

    fn amend(&mut self, statement: Statement) -> Result<()> {
        if self.bracket == Some(statement.id) {
            self.bracket = None;
        }
        if self
            .held
            .as_ref()
            .is_some_and(|held| held.id == statement.id)
        {
            self.held = Some(statement).filter(|statement| statement.replay);
        }
        Ok(())
    }

    fn release_held(&mut self) -> Result<()> {
        let Some(statement) = self.held.take() else {
            return Ok(());
        };
        let mut frame = Vec::new();
        for fact in statement.role_facts() {
            frame::push_fact(&mut frame, &fact);
            self.push(&frame)?;
            frame.clear();
        }
        statement.push_frame(&mut frame);
        self.push(&frame)
    }

    fn push(&mut self, frame: &[u8]) -> Result<()> {
        let length = (frame.len() as u64).to_be_bytes();
        self.count += 1;
        self.frames
            .write_all(&length)
            .and_then(|()| self.frames.write_all(frame))
            .map_err(spill)
    }

    /// Writes the complete transaction to the journal.
    fn commit(&mut self, lsn: Lsn, xid: u32, journal: &mut Journal) -> Result<()> {
        self.release_held()?;
        let mut taken = self.start_over();
        if taken.count == 0 {
            return Ok(());
        }
        let mut frame = Vec::new();
        frame::push_begin(
            &mut frame,
            xid::full(xid.into()),
            lsn.0,
            commit_time::of(xid),
            None,
        );
        journal.accept(&frame)?;
        taken.frames.seek(SeekFrom::Start(0)).map_err(spill)?;
        for _ in 0..taken.count {
            let mut length = [0; 8];
            taken.frames.read_exact(&mut length).map_err(spill)?;
            frame.resize(u64::from_be_bytes(length) as usize, 0);
            taken.frames.read_exact(&mut frame).map_err(spill)?;
            journal.accept(&frame)?;
        }
        journal.accept(b"C")
    }
}

fn spill(source: std::io::Error) -> CaptureError {
    let action = "store a transaction in a temporary file";
    CaptureError::System { action, source }
}

/// The tables of our extension in this database; none if it is not installed.
fn own_tables() -> Result<OwnTables> {
    const QUERY: &str = "SELECT pg_catalog.textsend(n.nspname::pg_catalog.text), \
            pg_catalog.textsend(c.relname::pg_catalog.text) \
        FROM pg_catalog.pg_extension AS e \
        JOIN pg_catalog.pg_depend AS d ON d.refclassid = e.tableoid AND d.refobjid = e.oid AND d.deptype = 'e' \
        JOIN pg_catalog.pg_class AS c ON d.classid = c.tableoid AND c.oid = d.objid AND c.relkind = 'r' \
        JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace \
        WHERE e.extname = 'pg_incrbackup'";
    let tables: Vec<Table> = BackgroundWorker::transaction(|| {
        Spi::connect(|client| {
            let rows = client.select(QUERY, None, &[])?;
            let name = |row: &SpiHeapTupleData<'_>, column| row.get::<Vec<u8>>(column);
            rows.map(|row| {
                let (schema, table) = (name(&row, 1)?, name(&row, 2)?);
                Ok((schema.unwrap_or_default(), table.unwrap_or_default()))
            })
            .collect::<spi::Result<_>>()
        })
    })?;
    let (mut history, others): (Vec<Table>, Vec<Table>) = tables
        .into_iter()
        .partition(|(_, name)| name == b"ddl_history");
    Ok(OwnTables {
        history: history.pop(),
        others,
    })
}
