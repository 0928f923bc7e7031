//! `owner.json`: the one server that writes below a database's directory. Which one it becomes is decided in
//! [`crate::claim`].

use std::fmt;
use std::io::ErrorKind;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::durable;
use crate::error::{Error, Result};
use crate::time::{self, Time};

pub const OWNER_JSON: &str = "owner.json";

/// What distinguishes a server from its copies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    pub system_identifier: u64,
    pub timeline: u32,
    pub host: String,
    pub data_directory: String,
}

/// The contents of `owner.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    #[serde(flatten)]
    pub identity: Identity,
    pub database_oid: u32,
    #[serde(with = "time::json")]
    pub since: Time,
    /// The chain that its slot writes; a newer one is not its own.
    pub chain: Option<u32>,
    /// The name of the directory that this is in: of a copy beside it, it is another's.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub directory: Option<String>,
    /// If it was told to go on in the chain of another server: that one's timeline. What the files have of it, or of an
    /// earlier one, behind the point at which the owner's history left it may be set apart.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub went_on_from: Option<u32>,
}

impl Owner {
    /// True if what is behind the end of `timeline` may be set apart.
    pub fn may_set_apart(&self, timeline: u32) -> bool {
        self.went_on_from.is_some_and(|from| timeline <= from)
    }

    /// True where this was written for `database`, not for one that it is a copy of.
    pub fn is_of(&self, database: &Path) -> bool {
        self.directory.is_some() && self.directory == name_of(database)
    }
}

impl Identity {
    /// The differences of `self` from `other`, as text; empty if there are none.
    pub(crate) fn differences(&self, other: &Identity) -> String {
        let pairs = [
            (
                "system identifier",
                self.system_identifier.to_string(),
                other.system_identifier.to_string(),
            ),
            (
                "timeline",
                self.timeline.to_string(),
                other.timeline.to_string(),
            ),
            ("host", self.host.clone(), other.host.clone()),
            (
                "data directory",
                self.data_directory.clone(),
                other.data_directory.clone(),
            ),
        ];
        let differing = pairs.into_iter().filter(|(_, mine, others)| mine != others);
        let words = differing.map(|(what, mine, others)| format!("{what} {mine}, not {others}"));
        words.collect::<Vec<_>>().join("; ")
    }

    /// True if `successor` is a server of the same cluster on a later timeline, and this one is on the timeline that it was
    /// asked about.
    pub(crate) fn is_left_by(&self, timeline: u32, successor: &Identity) -> bool {
        self.system_identifier == successor.system_identifier
            && self.timeline == timeline
            && self.timeline < successor.timeline
    }

    pub(crate) fn is_but_for_timeline(&self, other: &Identity) -> bool {
        let timeline = self.timeline;
        Identity {
            timeline,
            ..other.clone()
        } == *self
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the server with data directory \"{}\" on host \"{}\" (system identifier {}, timeline {})",
            self.data_directory, self.host, self.system_identifier, self.timeline
        )
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, since {}", self.identity, time::iso(self.since))
    }
}

/// The owner of a database's directory; `None` if it was written by a version without owners.
pub fn read(database: &Path) -> Result<Option<Owner>> {
    let path = database.join(OWNER_JSON);
    let bytes = match durable::read(&path) {
        Err(Error::Io { source, .. }) if source.kind() == ErrorKind::NotFound => return Ok(None),
        read => read?,
    };
    parse(&bytes, &path).map(Some)
}

/// The content of `owner.json`; `path` is for the error.
pub fn parse(bytes: &[u8], path: &Path) -> Result<Owner> {
    serde_json::from_slice(bytes).map_err(|error| Error::damaged(path, 0, error.to_string()))
}

/// Records in `owner.json`, if it exists, that the owner's slot writes chain `number` from now on.
pub(crate) fn note_chain(database: &Path, number: u32) -> Result<()> {
    let Some(owner) = read(database)? else {
        return Ok(());
    };
    let chain = Some(number);
    write(database, &Owner { chain, ..owner })
}

/// Notes in `owner.json`, where there is one, that the directory has another name.
pub(crate) fn note_directory(database: &Path) -> Result<()> {
    let Some(owner) = read(database)? else {
        return Ok(());
    };
    let directory = name_of(database);
    write(database, &Owner { directory, ..owner })
}

/// Names that we give are plain ASCII; by any other a copy is not told from what it is of.
pub(crate) fn name_of(database: &Path) -> Option<String> {
    let name = database.file_name().and_then(|name| name.to_str());
    name.map(str::to_owned)
}

/// Replaces `owner.json`.
pub(crate) fn write(database: &Path, owner: &Owner) -> Result<()> {
    let mut text = serde_json::to_vec_pretty(owner).expect("plain fields always become JSON");
    text.push(b'\n');
    durable::write_atomically(&database.join(OWNER_JSON), &text)
}
