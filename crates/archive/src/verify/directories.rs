//! What is wrong inside a directory that was published as a whole.

use crate::base::{self, METADATA_JSON};
use crate::globals::{self, Facts};
use crate::layout::{BaseName, ChainDir, GlobalsName};
use crate::metadata::Metadata;
use crate::sealed;

/// What is wrong inside a base, by file.
pub fn base_problems(chain: &ChainDir, name: BaseName) -> Vec<(String, String)> {
    let path = base::path_of(chain, name);
    let mut problems = sealed::problems(&path);
    match Metadata::read(&path.join(METADATA_JSON)) {
        Ok(metadata) if metadata.lsn == name.lsn => {}
        Ok(_) => problems.push(other_lsn()),
        Err(error) => problems.push((METADATA_JSON.to_owned(), error.to_string())),
    }
    problems
}

/// What is wrong inside a set of globals, by file.
pub fn globals_problems(chain: &ChainDir, name: GlobalsName) -> Vec<(String, String)> {
    let path = globals::path_of(chain, name);
    let mut problems = sealed::problems(&path);
    match Facts::read(&path.join(METADATA_JSON)) {
        Ok(facts) if facts.lsn == name.lsn => {}
        Ok(_) => problems.push(other_lsn()),
        Err(error) => problems.push((METADATA_JSON.to_owned(), error.to_string())),
    }
    problems
}

fn other_lsn() -> (String, String) {
    let why = "its lsn is not the directory's";
    (METADATA_JSON.to_owned(), why.to_owned())
}
