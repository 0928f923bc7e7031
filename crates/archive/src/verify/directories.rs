//! Problems inside a base or a set of globals.

use std::path::Path;

use crate::base;
use crate::error::Result;
use crate::globals::{self, Facts};
use crate::layout::names::METADATA_JSON;
use crate::layout::{BaseName, ChainDir, GlobalsName};
use crate::lsn::Lsn;
use crate::metadata::Metadata;
use crate::pause::Pause;
use crate::sealed;

/// Problems inside a base, by file.
pub fn base_problems(chain: &ChainDir, name: BaseName, pause: Pause) -> Vec<(String, String)> {
    let lsn = |metadata: &Path| Metadata::read(metadata).map(|metadata| metadata.lsn);
    problems(&base::path_of(chain, name), name.lsn, lsn, pause)
}

/// Problems inside a set of globals, by file.
pub fn globals_problems(
    chain: &ChainDir,
    name: GlobalsName,
    pause: Pause,
) -> Vec<(String, String)> {
    let lsn = |metadata: &Path| Facts::read(metadata).map(|facts| facts.lsn);
    problems(&globals::path_of(chain, name), name.lsn, lsn, pause)
}

fn problems(
    path: &Path,
    lsn_of_name: Lsn,
    lsn_of_metadata: impl FnOnce(&Path) -> Result<Lsn>,
    pause: Pause,
) -> Vec<(String, String)> {
    let mut problems = sealed::problems(path, pause);
    let why = match lsn_of_metadata(&path.join(METADATA_JSON)) {
        Ok(lsn) if lsn == lsn_of_name => return problems,
        Ok(_) => "its LSN does not match the directory name".to_owned(),
        Err(error) => error.to_string(),
    };
    problems.push((METADATA_JSON.to_owned(), why));
    problems
}
