//! Prerequisites of a backup, before incr_setup() changes anything. A failure names all that is missing.

use prerequisites::{State, PATRONI};

use super::prerequisites::{ensure_complete, rows};
use crate::pg::failure::Failure;
use crate::preflight::{ensure_not_in_recovery, ensure_preloaded, ensure_room};
use crate::{place, settings};

/// What was found.
pub struct Checked {
    /// As text.
    pub found: String,
    /// Whether Patroni seems to run the server.
    pub is_run_by_patroni: bool,
}

/// Checks all of them.
pub fn check(database: pgrx::pg_sys::Oid) -> Result<Checked, Failure> {
    ensure_not_in_recovery()?;
    let rows = rows()?;
    ensure_complete(&rows)?;
    // What the list cannot know: the memory that the library was given at the server's start.
    ensure_preloaded()?;
    ensure_room(database)?;
    // Not created yet: where its file system is not mounted, a slot says that there was an archive.
    place::existing_root()?;
    let directory = settings::directory().unwrap_or_default();
    let pg_dump = rows.iter().find(|row| row.name == "pg_dump");
    let warnings = rows.iter().filter(|row| row.state == State::Warning);
    let warnings = match warnings.count() {
        0 => String::new(),
        1 => "; 1 warning: SELECT * FROM incr_check()".to_owned(),
        many => format!("; {many} warnings: SELECT * FROM incr_check()"),
    };
    let found = format!(
        "directory \"{}\", {}{warnings}",
        directory.display(),
        pg_dump.map_or("", |row| row.found.as_str())
    );
    Ok(Checked {
        found,
        is_run_by_patroni: rows.iter().any(|row| row.name == PATRONI),
    })
}
