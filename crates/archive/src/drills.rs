//! `drills.jsonl` of a database: what each drill found; and `drill.json`, which is there while one runs.
//!
//! A drill restores the newest chain into a scratch database and compares. Its record is a line of JSON,
//! appended and fsynced. What tells of the scratch database, or of the throwaway server that it is on, is
//! durable before that is made, and goes when it is gone: whoever finds it knows what a drill that died has
//! left behind, and where.

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
    /// What was restored is what the source held.
    Passed,
    /// The archive does not restore, or to something else.
    Failed,
    /// The archive was not put to the test: no room, no connection, no moment to compare.
    NotDone,
    /// It was stopped, or its server was.
    Interrupted,
    /// It took longer than it may.
    TimedOut,
}

impl Outcome {
    /// The word for it.
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
    /// The connection parameters of the server restored to; empty: one of the drill's own (in records of
    /// versions before 0.3.0: the source's).
    pub conninfo: String,
    pub chain: Option<u32>,
    /// The name of the base that the restore began with.
    pub base: Option<String>,
    /// The moment that was compared.
    pub lsn: Option<Lsn>,
    /// Tables compared, and rows of them at the source.
    pub tables: u64,
    pub rows: u64,
    /// What is wrong; empty for one that passed.
    pub problems: Vec<String>,
    /// What the role that restores on a throwaway server can't make, and what needs it.
    #[serde(default)]
    pub left_out: Vec<String>,
    pub tool_version: String,
}

/// A drill that runs, or that died.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begun {
    #[serde(with = "time::json")]
    pub started_at: Time,
    pub database_oid: u32,
    pub conninfo: String,
    /// The throwaway server's place; `None`: it restores to another server.
    #[serde(default)]
    pub throwaway: Option<ThrowawayPlace>,
}

/// Where the files of a throwaway server are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThrowawayPlace {
    /// The drill's own directory, the data directory in it.
    pub directory: PathBuf,
    /// The directory of its socket.
    pub sockets: PathBuf,
}

/// All records, oldest first. A line that a crash tore says nothing.
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

/// Adds a record; durable when this returns.
pub fn append(database: &DatabaseDir, drill: &Drill) -> Result<()> {
    let path = database.path().join(DRILLS_JSONL);
    let mut file = durable::open_for_appending(&path)?;
    let mut line = serde_json::to_vec(drill).expect("plain fields always become JSON");
    line.push(b'\n');
    let mut write = || {
        // What stands behind a line that a crash tore begins on a line of its own.
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

/// Notes that a drill begins; durable when this returns.
pub fn begin(database: &DatabaseDir, begun: &Begun) -> Result<()> {
    let mut json = serde_json::to_vec_pretty(begun).expect("plain fields always become JSON");
    json.push(b'\n');
    durable::remove_if_there(&made_file(database))?;
    durable::write_atomically(&database.path().join(DRILL_JSON), &json)
}

/// The drill that has begun and whose end was not noted.
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

/// Notes that nothing is left of the drill.
pub fn end(database: &DatabaseDir) -> Result<()> {
    durable::remove_if_there(&made_file(database))?;
    durable::remove_if_there(&database.path().join(DRILL_JSON))
}

/// Where `restore.sh` notes the roles and tablespaces that it made: `r` or `t` and an OID each.
pub fn made_file(database: &DatabaseDir) -> PathBuf {
    database.path().join(DRILL_MADE)
}

/// The OIDs of roles (`r`) or tablespaces (`t`) that the drill's restore made.
pub fn made(database: &DatabaseDir, kind: char) -> Vec<u32> {
    let text = fs::read_to_string(made_file(database)).unwrap_or_default();
    let words = text.split_whitespace();
    words
        .filter_map(|word| word.strip_prefix(kind)?.parse().ok())
        .collect()
}

fn is_missing(error: &Error) -> bool {
    error.io_error().map(std::io::Error::kind) == Some(ErrorKind::NotFound)
}
