//! `report.html`: one page about a database's archive, to be looked at instead of read.
//!
//! It stands beside `restore.sh`, needs nothing but a browser, runs no script and loads nothing from
//! elsewhere. [`collect`] gathers what it shows ([`facts`]) from the manifests and the segments' indexes,
//! [`page`] makes the HTML, [`charts`] its drawings, [`text`] the texts in them.

pub mod beside;
pub mod charts;
pub mod collect;
pub mod facts;
pub mod page;
pub mod text;

#[cfg(test)]
mod tests;

use std::path::PathBuf;

use archive::durable;
use archive::error::{Error, Result};
use archive::layout::DatabaseDir;
use archive::time::Time;

pub use beside::Section;
pub use facts::Report;

/// The name of the page.
pub const REPORT_HTML: &str = "report.html";

/// Health as somebody else judged it: this crate knows no server.
#[derive(Debug, Clone, Default)]
pub struct Health {
    pub slot: String,
    /// ok, warning, critical or emergency.
    pub level: String,
    pub reasons: Vec<String>,
    /// What is said beside: a name and a value each.
    pub facts: Vec<(String, String)>,
}

/// Writes the page, durably and as a whole; gives its path. `between` is called now and then; what it
/// fails with ends the work.
pub fn write<E: From<Error>>(
    database: &DatabaseDir,
    health: &[Health],
    sections: &[Section],
    now: Time,
    may_write_indexes: bool,
    between: &mut dyn FnMut() -> std::result::Result<(), E>,
) -> std::result::Result<PathBuf, E> {
    let report = collect::collect(database, now, may_write_indexes, between)?;
    let html = page::html(&report, health, sections);
    Ok(put(database, &html)?)
}

fn put(database: &DatabaseDir, html: &str) -> Result<PathBuf> {
    let path = database.path().join(REPORT_HTML);
    durable::write_atomically(&path, html.as_bytes())?;
    Ok(path)
}
