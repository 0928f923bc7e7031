//! `pg_incrbackup info`: what an archive holds.

mod summary;
mod text;

use crate::args::Archive;
use crate::error::{Error, Outcome, Result};
use crate::output::Output;
use crate::source::{self, Source};
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
                refused(&source, &error, output);
            }
        }
    }
    Ok(outcome)
}

/// A program that reads the answers finds the database among them.
fn refused(source: &Source, error: &Error, output: &Output) {
    if output.is_json() {
        let answer = serde_json::json!({
            "database": source.name,
            "place": source.storage.place(""),
            "error": error.to_string(),
        });
        output.answer(&answer, ToString::to_string);
    }
    output.error(error);
}
