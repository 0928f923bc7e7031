//! `drills.jsonl` of a database: the results of drills; and `drill.json`, which exists while one is running.
//!
//! A drill restores the newest chain into a scratch database and compares. Its record is a line of JSON,
//! appended and fsynced. The note about the scratch database, or the throwaway server that contains it, is
//! durable before that is created, and removed afterwards: it identifies the leftovers of a drill that
//! crashed.

use std::fs;
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::durable;
use crate::error::{Error, Result};
use crate::layout::DatabaseDir;
use crate::lsn::Lsn;
use crate::time::{self, Time};

const DRILLS_JSONL: &str = "drills.jsonl";
const DRILL_JSON: &str = "drill.json";
const DRILL_MADE: &str = "drill.made";

/// How a drill ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The restored database is the same as the source.
    Passed,
    /// The archive does not restore, or the restored database differs.
    Failed,
    /// The drill could not run: no space, no connection, no suitable snapshot.
    NotDone,
    /// It or its server was stopped.
    Interrupted,
    /// It exceeded its time limit.
    TimedOut,
}

impl Outcome {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Passed => "passed",
            Outcome::Failed => "failed",
            Outcome::NotDone => "not done",
            Outcome::Interrupted => "interrupted",
            Outcome::TimedOut => "timed out",
        }
    }
}

/// One drill.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drill {
    pub outcome: Outcome,
    #[serde(with = "time::json")]
    pub started_at: Time,
    pub duration_ms: u64,
    /// The connection parameters of the target server; empty: a throwaway server (in records of versions
    /// before 0.3.0: the source's server).
    pub conninfo: String,
    pub chain: Option<u32>,
    /// The name of the restored base.
    pub base: Option<String>,
    /// The LSN that was compared.
    pub lsn: Option<Lsn>,
    /// Number of tables compared, and of their rows at the source.
    pub tables: u64,
    pub rows: u64,
    /// What is wrong; empty if it passed.
    pub problems: Vec<String>,
    /// What the restoring role on a throwaway server cannot create, and what needs it.
    #[serde(default)]
    pub left_out: Vec<String>,
    pub tool_version: String,
}

/// A drill that is running, or that crashed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begun {
    #[serde(with = "time::json")]
    pub started_at: Time,
    pub database_oid: u32,
    pub conninfo: String,
    /// The system identifier of that server; `None` in notes of versions before 0.4.0, and for a throwaway server.
    #[serde(default)]
    pub server: Option<String>,
    /// The throwaway server's place; `None`: it restores to another server.
    #[serde(default)]
    pub throwaway: Option<ThrowawayPlace>,
}

/// The location of a throwaway server's files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThrowawayPlace {
    /// The drill's own directory, which contains the data directory.
    pub directory: PathBuf,
    /// The directory of its socket.
    pub sockets: PathBuf,
}

/// All records, oldest first. A torn line is ignored.
pub fn read(database: &DatabaseDir) -> Result<Vec<Drill>> {
    let bytes = match durable::read(&database.path().join(DRILLS_JSONL)) {
        Err(error) if is_missing(&error) => return Ok(Vec::new()),
        read => read?,
    };
    let lines = bytes.split(|byte| *byte == b'\n');
    Ok(lines
        .filter_map(|line| serde_json::from_slice(line).ok())
        .collect())
}

/// Appends a record; durable when this returns.
pub fn append(database: &DatabaseDir, drill: &Drill) -> Result<()> {
    let path = database.path().join(DRILLS_JSONL);
    let mut file = durable::open_for_appending(&path)?;
    let mut line = serde_json::to_vec(drill).expect("plain fields always become JSON");
    line.push(b'\n');
    let mut write = || {
        // After a torn line, the record begins on a new line.
        if file.seek(SeekFrom::End(0))? > 0 {
            let mut last = [0];
            file.seek(SeekFrom::End(-1))?;
            file.read_exact(&mut last)?;
            if last != *b"\n" {
                line.insert(0, b'\n');
            }
        }
        file.write_all(&line)?;
        file.sync_all()
    };
    write().map_err(Error::io("write", &path))?;
    durable::fsync_parent(&path)
}

/// Records that a drill starts; durable when this returns.
pub fn begin(database: &DatabaseDir, begun: &Begun) -> Result<()> {
    let mut json = serde_json::to_vec_pretty(begun).expect("plain fields always become JSON");
    json.push(b'\n');
    durable::remove_if_there(&made_file(database))?;
    durable::write_atomically(&database.path().join(DRILL_JSON), &json)
}

/// The drill that has started and whose end was not recorded.
pub fn begun(database: &DatabaseDir) -> Result<Option<Begun>> {
    let path = database.path().join(DRILL_JSON);
    match durable::read(&path) {
        Err(error) if is_missing(&error) => Ok(None),
        Err(error) => Err(error),
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|error| Error::damaged(&path, 0, error.to_string())),
    }
}

/// Records that the drill has no leftovers.
pub fn end(database: &DatabaseDir) -> Result<()> {
    durable::remove_if_there(&made_file(database))?;
    durable::remove_if_there(&database.path().join(DRILL_JSON))
}

/// Notes the roles (`r` and an OID) and tablespaces (`t`) that the drill's restore has created; durable when this returns.
pub fn note_made(database: &DatabaseDir, ids: &[String]) -> Result<()> {
    durable::write_atomically(&made_file(database), ids.join(" ").as_bytes())
}

fn made_file(database: &DatabaseDir) -> PathBuf {
    database.path().join(DRILL_MADE)
}

/// What the drill's restore has created, as it was noted.
pub fn made_ids(database: &DatabaseDir) -> Vec<String> {
    let text = fs::read_to_string(made_file(database)).unwrap_or_default();
    text.split_whitespace().map(str::to_owned).collect()
}

/// The OIDs of roles (`r`) or tablespaces (`t`) of it.
pub fn made(database: &DatabaseDir, kind: char) -> Vec<u32> {
    let ids = made_ids(database).into_iter();
    ids.filter_map(|id| id.strip_prefix(kind)?.parse().ok())
        .collect()
}

fn is_missing(error: &Error) -> bool {
    error.io_error().map(std::io::Error::kind) == Some(ErrorKind::NotFound)
}
