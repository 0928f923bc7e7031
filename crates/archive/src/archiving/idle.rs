//! Whether anything has happened to a database's files since somebody looked, told without reading one of them.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use super::ARCHIVED_JSONL;
use crate::error::{Error, Result};
use crate::flags::FLAGS;
use crate::layout::names::{chain_name, BASE, CHAIN_JSON, GLOBALS, INCREMENTAL, MANIFEST};
use crate::layout::DatabaseDir;
use crate::pins::PINS_JSON;
use crate::time::{self, Time};

/// What is looked at in a chain: a file or a directory that gets another name in it has another time then.
const OF_CHAIN: [&str; 7] = [
    CHAIN_JSON,
    MANIFEST,
    PINS_JSON,
    FLAGS,
    INCREMENTAL,
    BASE,
    GLOBALS,
];

/// A change in the same tick of the file system's clock as the one before leaves no trace.
const TICK: Duration = Duration::from_secs(1);

/// A number that is another one when files have come, gone or been written anew; `None` where that may have
/// happened so lately that the next change could not be told.
///
/// The open segment of a chain that goes on is not among them: until it is closed nobody compresses or archives it.
pub fn state(database: &DatabaseDir) -> Result<Option<u64>> {
    // Before the look: what is suspended in its midst must not take what it saw first for old.
    let now = time::now();
    let mut state = State {
        hasher: DefaultHasher::new(),
        newest: Time::MIN_UTC,
    };
    database.path().hash(&mut state.hasher);
    state.add(database.path())?;
    state.add(&database.path().join(ARCHIVED_JSONL))?;
    for number in database.chain_numbers()? {
        let chain = database.path().join(chain_name(number));
        for name in OF_CHAIN {
            state.add(&chain.join(name))?;
        }
    }
    let is_settled = now - state.newest > chrono::Duration::from_std(TICK).unwrap_or_default();
    Ok(is_settled.then(|| state.hasher.finish()))
}

struct State {
    hasher: DefaultHasher,
    newest: Time,
}

impl State {
    fn add(&mut self, path: &Path) -> Result<()> {
        let found = match fs::symlink_metadata(path) {
            Ok(found) => found,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                0.hash(&mut self.hasher);
                return Ok(());
            }
            Err(error) => return Err(Error::io("look at", path)(error)),
        };
        let facts = (found.ino(), found.size(), found.mtime(), found.mtime_nsec());
        facts.hash(&mut self.hasher);
        let modified = found.modified().map_err(Error::io("look at", path))?;
        self.newest = self.newest.max(Time::from(modified));
        Ok(())
    }
}
