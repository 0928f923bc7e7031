//! `pg_incrbackup info`: what an archive holds.

pub mod summary;
mod text;

use crate::args::Archive;
use crate::error::{Outcome, Result};
use crate::output::Output;
use crate::source;
use summary::Database;

/// Shows every database that is meant. One that is damaged does not keep the others from being shown.
pub fn run(archive: &Archive, output: &Output) -> Result<Outcome> {
    let mut outcome = Outcome::Done;
    for source in source::all(archive)? {
        match Database::read(&source) {
            Ok(database) => {
                output.answer(&database, text::of);
                if database.is_damaged() {
                    outcome = outcome.max(Outcome::Damaged);
                }
            }
            Err(error) => {
                outcome = outcome.max(Outcome::of(&error));
                output.refused(&source, &error);
            }
        }
    }
    Ok(outcome)
}
