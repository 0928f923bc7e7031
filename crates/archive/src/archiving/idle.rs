//! Whether a database's files have changed since the last pass, without reading any of them.

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

/// The parts of a chain that are checked: renaming a file into a directory changes the directory's time.
const OF_CHAIN: [&str; 7] = [
    CHAIN_JSON,
    MANIFEST,
    PINS_JSON,
    FLAGS,
    INCREMENTAL,
    BASE,
    GLOBALS,
];

/// A change in the same tick of the file system's clock as the previous one cannot be detected.
const TICK: Duration = Duration::from_secs(1);

/// A hash that changes when files were added, removed or rewritten; `None` if that may have happened so
/// recently that the next change could not be detected.
///
/// The open segment of a chain that has not ended is not included: it is neither compressed nor archived
/// before it is closed.
pub fn state(database: &DatabaseDir) -> Result<Option<u64>> {
    // Read first: if the process is suspended meanwhile, its first observations must not be regarded as old.
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
            Err(error) => return Err(Error::io("stat", path)(error)),
        };
        let facts = (found.ino(), found.size(), found.mtime(), found.mtime_nsec());
        facts.hash(&mut self.hasher);
        let modified = found.modified().map_err(Error::io("stat", path))?;
        self.newest = self.newest.max(Time::from(modified));
        Ok(())
    }
}
