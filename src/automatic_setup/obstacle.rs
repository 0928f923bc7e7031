//! An archive that may not be mounted would say of every database that it was never backed up.

use std::path::Path;

use pgrx::prelude::*;

use crate::pg::catalogs::databases::Database;
use crate::pg::failure::Failure;
use crate::pg::text::ServerText;
use crate::workers::has_slot;
use crate::{place, settings};

/// So many databases are named.
const NAMED: usize = 3;

/// Why no backup is set up automatically: the directory does not exist, or has nothing of any database that is backed up.
/// Where it lacks only some of them, these alone are affected. `None` if there is no such reason.
pub fn find(databases: &[Database]) -> Option<Failure> {
    let directory = settings::directory()?;
    if !directory.is_dir() {
        return Some(no_directory(&directory));
    }
    let backed_up = || databases.iter().filter(|one| has_slot(one.oid));
    let has_no_files = |one: &Database| matches!(place::find(one.oid), Ok(None));
    if backed_up().next().is_none() || !backed_up().all(has_no_files) {
        return None;
    }
    let names: Vec<String> = backed_up()
        .take(NAMED)
        .map(|one| ServerText(one.name.clone()).to_utf8())
        .collect();
    Some(no_files(&directory, &names.join(", ")))
}

fn no_directory(directory: &Path) -> Failure {
    Failure::new(
        PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        format!(
            "pg_incrbackup.directory \"{}\" does not exist",
            directory.display()
        ),
    )
    .hint(
        "Mount it, or create it, owned by the server's user with mode 0700. It is not created automatically, because files \
         may be missing that say what is not to be set up.",
    )
}

fn no_files(directory: &Path, names: &str) -> Failure {
    Failure::new(
        PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        format!(
            "pg_incrbackup.directory \"{}\" has no files of a database that is backed up ({names})",
            directory.display()
        ),
    )
    .hint(
        "Mount the file system that has them. If they are gone, run SELECT * FROM incr_setup(new_chain => true) in one of \
         these databases.",
    )
}
