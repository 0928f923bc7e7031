//! `pg_incrbackup info`: what an archive holds.

use archive_query::catalog::Catalog;
use serde::Serialize;

use crate::args::Archive;
use crate::error::{Outcome, Result};
use crate::output::Output;
use crate::source::{self, Source};

/// One database.
#[derive(Debug, Serialize)]
struct Database {
    database: String,
    place: String,
    chains: usize,
}

pub fn run(archive: &Archive, output: &Output) -> Result<Outcome> {
    for source in source::all(archive)? {
        output.answer(&database(&source)?, text);
    }
    Ok(Outcome::Done)
}

fn database(source: &Source) -> Result<Database> {
    let catalog = Catalog::read(&*source.storage)?;
    Ok(Database {
        database: source.name.clone(),
        place: source.storage.place(""),
        chains: catalog.chains.len(),
    })
}

fn text(database: &Database) -> String {
    format!(
        "{} ({}): {} chains",
        database.database, database.place, database.chains
    )
}
