//! `pg_incrbackup diff`: what differs between two moments.
//!
//! Rows are read from the base up to the first moment, and followed to the second; what became of each is compared, so that a
//! row that was changed and changed back is no difference. See [`archive_query::past`].

mod net;
mod shown;

use std::collections::BTreeSet;

use archive::time::iso;
use archive_query::past::{Nobody, Tables as Definitions};
use archive_query::report::text::readable;
use clap::Args;

use crate::args::Archive;
use crate::error::{Outcome, Result};
use crate::output::Output;
use crate::restore::part::pattern::Pattern;
use crate::shown::line;
use crate::source;
use crate::stretch::moments;
use crate::stretch::rows::{Rows, Tables};
use crate::stretch::touched::{SchemaChange, Touched};
use crate::stretch::{self, Asked, Stretch};
use net::Nets;

/// What is compared
#[derive(Debug, Args)]
pub struct Diff {
    #[command(flatten, next_help_heading = "The archive")]
    pub archive: Archive,

    /// The earlier moment: a time, an LSN, xid:N, mark:NAME, or now
    ///
    /// A moment is the one after the last transaction whose commit time is not after the time ('2026-11-21 14:29', 14:29,
    /// '10 minutes ago'; UTC unless it names an offset), after the one whose commit record ends at the LSN, after transaction
    /// N, after the newest one with the mark; now is the last one in the files. A base at or before it is needed.
    #[arg(value_name = "A")]
    pub earlier: String,

    /// The later moment
    #[arg(value_name = "B")]
    pub later: String,

    /// Within this chain (default: the newest that had begun at A)
    #[arg(long, value_name = "N")]
    pub chain: Option<u32>,

    /// Only the tables that match, by their names at B; may be given more than once
    #[arg(long, value_name = "PATTERN")]
    pub table: Vec<String>,

    /// List the rows, with their old and new values; of an updated one the columns that differ
    #[arg(long)]
    pub rows: bool,

    /// Long values in full length
    #[arg(long)]
    pub full: bool,
}

pub fn run(options: &Diff, output: &Output) -> Result<Outcome> {
    let patterns = options.table.iter().map(|text| Pattern::of_relation(text));
    let patterns: Vec<Pattern> = patterns.collect::<Result<_>>()?;
    let (from, to) = (
        moments::parse(&options.earlier)?,
        moments::parse(&options.later)?,
    );
    let source = source::one(&options.archive)?;
    let storage = &source.storage;
    // Retention removes nothing meanwhile.
    let _hold = storage.hold()?;
    let catalog = stretch::catalog(&**storage, output)?;
    let asked = Asked {
        since: Some(from),
        until: Some(to.clone()),
        chain: options.chain,
        xids: BTreeSet::new(),
    };
    let stretch = Stretch::find(&**storage, &catalog, &asked)?;
    let touched = Touched::read(&**storage, &stretch, &patterns)?;
    let shower = shown::Shower::new(output, options, &patterns);
    if !touched.names.is_empty() {
        let tables = if options.table.is_empty() {
            Tables::Named(&touched.names)
        } else {
            Tables::Matching(&options.table)
        };
        let rows = Rows::open(storage, &stretch, to, &tables)?;
        let mut past = rows.past;
        past.advance_to(stretch.after, &mut Nobody)?;
        let before = past.tables().clone();
        past.mark()?;
        past.advance_to(stretch.upto, &mut Nobody)?;
        let nets = Nets::of(&past, &before)?;
        nets.show(&past, &before, &touched, &shower)?;
    }
    for change in &touched.schema_changes {
        shower.schema_change(change);
    }
    shower.end();
    Ok(Outcome::Done)
}

/// Whether a table was there at the first moment, and is there at the second.
fn presence(before: &Definitions, after: &Definitions, oid: u32) -> (bool, bool) {
    (before.all.contains_key(&oid), after.all.contains_key(&oid))
}

/// The words of a schema change, or what it changed.
fn worded(change: &SchemaChange) -> String {
    match &change.words {
        Some(words) => {
            let role = line(&readable(&words.role));
            format!("{role}: {}", line(&readable(&words.text)))
        }
        None => {
            let (command, object) = &change.commands[0];
            format!("{command} {}", line(&readable(object)))
        }
    }
}

fn time_of(change: &SchemaChange) -> Option<String> {
    change.commit.at.map(iso)
}
