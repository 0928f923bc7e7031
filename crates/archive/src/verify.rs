//! Checks that an archive is unchanged: checksums, order, continuity, and that names, headers, footers and
//! manifest agree. Reads every byte; changes nothing.
//!
//! A problem is a result, not an error: errors are for what could not be checked at all. Capture may be
//! running: a file that was closed since the directory was read is not a problem.

mod chain;
mod copy;
mod directories;
mod expired;
mod segments;

pub use directories::Sealed;

use std::path::Path;

use crate::archiving::{Notes, ARCHIVED_JSONL};
use crate::error::Result;
use crate::layout::database::RESTORE_FILES;
use crate::layout::names::{chain_name, parse_chain_name};
use crate::layout::DatabaseDir;
use crate::lock::Lock;
use crate::pause::Pause;
use crate::storage::{self, Directory, Storage};

use chain::ChainCheck;

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Relative to the database's directory.
    pub file: String,
    pub problem: String,
    /// The segment itself may be sound: what precedes it is missing, or not as it was when this one was begun.
    pub is_about_predecessor: bool,
    /// Not wrong in a copy that archive_command makes: it has files before their line in the manifest, maybe only a part of a
    /// base, and keeps what retention has removed in the archive itself; whoever looks after it removes what is oldest.
    pub is_usual_in_copy: bool,
}

impl Problem {
    fn of(file: impl Into<String>, problem: impl Into<String>) -> Problem {
        Problem {
            file: file.into(),
            problem: problem.into(),
            is_about_predecessor: false,
            is_usual_in_copy: false,
        }
    }
}

/// Checks a directory on this machine, from which retention removes nothing in the meantime; see [`files`].
pub fn verify(database: &DatabaseDir, pause: Pause) -> Result<Vec<Problem>> {
    let _lock = Lock::shared(database, pause)?;
    files(&Directory::at(database.path()), pause)
}

/// Checks everything of a database; no problem means that all of it can be restored. Expired files are not
/// checked.
pub fn files(storage: &dyn Storage, pause: Pause) -> Result<Vec<Problem>> {
    let mut problems = Vec::new();
    let names = storage.list("")?.into_iter();
    let directories = names.filter(|item| item.is_directory);
    let mut numbers: Vec<u32> = directories
        .filter_map(|item| {
            parse_chain_name(&item.name).filter(|number| chain_name(*number) == item.name)
        })
        .collect();
    numbers.sort_unstable();
    for number in numbers {
        problems.append(&mut ChainCheck::problems_of(storage, number, pause));
    }
    problems.extend(restore_files(storage));
    problems.extend(notes(storage));
    Ok(problems)
}

/// A restore executes the script with the privileges of a superuser.
fn restore_files(storage: &dyn Storage) -> Vec<Problem> {
    let is_ours = |name: &str, content: &str| {
        let read = storage::read(storage, name);
        read.is_ok_and(|bytes| bytes.is_some_and(|bytes| bytes == content.as_bytes()))
    };
    let why = "differs from what this version writes; capture rewrites it when it starts";
    let files = RESTORE_FILES.into_iter();
    files
        .filter(|(name, content)| !is_ours(name, content))
        .map(|(name, _)| Problem::of(name, why))
        .collect()
}

/// What archive_command has archived.
fn notes(storage: &dyn Storage) -> Option<Problem> {
    let place = storage.place(ARCHIVED_JSONL);
    let parsed = storage::read(storage, ARCHIVED_JSONL)
        .and_then(|bytes| Notes::parse(&bytes.unwrap_or_default(), Path::new(&place)));
    let error = parsed.err()?;
    Some(Problem::of(ARCHIVED_JSONL, error.to_string()))
}
