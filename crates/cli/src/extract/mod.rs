//! `pg_incrbackup extract`: the rows of one table as of a moment, as CSV, SQL or COPY, without a server.
//!
//! | file | what it does |
//! | --- | --- |
//! | [`format`] | rows as text |
//! | [`describe`] | the table's columns as JSON, for programs |
//! | [`sink`] | standard output, or a file that is complete or not there |

mod describe;
mod format;
pub mod sink;

use std::path::PathBuf;
use std::sync::Arc;

use archive::storage::Storage;
use archive_query::past::{Nobody, Past};
use clap::{ArgGroup, Args, ValueEnum};

use crate::args::{Archive, Until};
use crate::connection::block_on;
use crate::error::{Error, Outcome, Result};
use crate::output::Output;
use crate::past::{self, Prepared};
use crate::restore::part;
use crate::restore::plan::{Moment, Plan, Wish};
use crate::source::counted::Counted;
use crate::source::{self, Source};
use format::Writer;
use sink::Sink;

/// Which table, when, and as what
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("which").required(true).args(["table", "table_oid"])))]
pub struct Extract {
    #[command(flatten, next_help_heading = "The archive")]
    pub archive: Archive,

    #[command(flatten, next_help_heading = "The moment")]
    pub until: Until,

    /// If the archive ends before the requested time or LSN, take its end instead of failing
    #[arg(long, help_heading = "The moment")]
    pub allow_earlier: bool,

    /// The table, as it was called at the moment: orders, sales.orders, '"Odd Name"'
    ///
    /// As psql reads names: letters outside of double quotes are folded to lower case. A partitioned table comes with the rows
    /// of its partitions.
    #[arg(long, help_heading = "The table", value_name = "NAME")]
    pub table: Option<String>,

    /// The table by its OID at the source, whatever it was called
    #[arg(long, help_heading = "The table", value_name = "OID")]
    pub table_oid: Option<u32>,

    /// Go on where changes of the table are lost before the moment; the exit status is 1
    #[arg(long, help_heading = "The table")]
    pub allow_lost: bool,

    /// How rows are written
    #[arg(long, help_heading = "The rows", value_enum, value_name = "FORMAT", default_value_t = Format::Csv)]
    pub format: Format,

    /// The names of the columns in the first line (csv, copy)
    #[arg(long, help_heading = "The rows")]
    pub header: bool,

    /// Into this file, which must not exist; it is there when it is complete
    #[arg(long, short, help_heading = "The rows", value_name = "FILE")]
    pub output: Option<PathBuf>,

    /// First a line of JSON: the columns with types, what they are called at the end of the archive, and the moment
    #[arg(long, help_heading = "The rows")]
    pub describe: bool,
}

/// The formats of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// As COPY … CSV writes it: NULL is empty, an empty text is ""
    Csv,
    /// INSERT statements
    Sql,
    /// As COPY writes it
    Copy,
}

pub fn run(options: &Extract, output: &Output) -> Result<Outcome> {
    let source = source::one(&options.archive)?;
    // Retention removes nothing meanwhile.
    let _hold = source.storage.hold()?;
    let wish = Wish {
        moment: block_on(Moment::of(&options.until, None))?,
        chain: None,
        base: None,
        allow_earlier: options.allow_earlier,
        seen: None,
        is_part: true,
    };
    let find = |plan: &Plan| find(options, &source, plan);
    let mut prepared = past::prepare(&*source.storage, &wish, &find)?;
    let oid = the_table(options, &prepared)?;
    for warning in prepared.plan.warnings.iter().chain(&prepared.plan.remark) {
        output.warning(warning);
    }
    if options.describe {
        past::with_segments_to_the_end(&*source.storage, &mut prepared, &wish)?;
    }
    // Before the work: the file must not exist.
    let mut sink = Sink::open(options.output.as_deref())?;
    let progress = Arc::new(output.progress());
    progress.phase("rows as of the moment", None);
    let counted: Arc<dyn Storage> = Arc::new(Counted::new(
        Arc::clone(&source.storage),
        Arc::clone(&progress),
    ));
    let mut past = prepared.open(&counted, options.allow_lost)?;
    past.advance(&mut Nobody)?;
    let rows = write(options, &prepared, &mut past, oid, &mut sink)?;
    sink.finish()?;
    progress.finish();
    if let Some(file) = &options.output {
        let text = format!("{} in {}", archive::counted(rows, "row"), file.display());
        output.warning(&text);
    }
    let misfits = past.misfits();
    if misfits > 0 {
        output.warning(&format!(
            "{misfits} changes did not fit, behind what is lost"
        ));
    }
    let is_partial = !prepared.plan.lost.is_empty();
    if is_partial {
        output.warning(
            "changes are lost before the moment: the rows may differ from those of the source",
        );
    }
    Ok(Outcome::partial(is_partial))
}

/// The table, and those of its tree, by the plan.
fn find(options: &Extract, source: &Source, plan: &Plan) -> Result<part::Wanted> {
    let storage = &*source.storage;
    match (&options.table, options.table_oid) {
        (_, Some(oid)) => part::find_oid(storage, plan, oid),
        (Some(name), None) => {
            let options = part::Options {
                table: vec![name.clone()],
                ..part::Options::default()
            };
            part::find(storage, plan, &options)
        }
        (None, None) => Err(Error::wrong_use(
            "no table is named",
            "--table NAME or --table-oid OID.",
        )),
    }
}

/// The one table that is meant.
fn the_table(options: &Extract, prepared: &Prepared) -> Result<u32> {
    let wanted = &prepared.wanted;
    let mut tables = wanted.chosen_tables.iter();
    match (tables.next(), tables.next()) {
        (Some(oid), None) => Ok(*oid),
        (Some(_), Some(_)) => {
            let names: Vec<String> = wanted.tables.iter().map(|name| name.shown()).collect();
            let message = format!("there are several tables: {}", names.join(", "));
            Err(Error::wrong_use(
                message,
                "extract is for one; name it, with its schema.",
            ))
        }
        (None, _) => {
            let name = options.table.clone().unwrap_or_default();
            let message = format!("{name} is no table: the files have rows of tables alone");
            let hint = "restore --table restores views, sequences and others, with what they need.";
            Err(Error::wrong_use(message, hint))
        }
    }
}

/// The rows, and what describes them; how many there are.
fn write(
    options: &Extract,
    prepared: &Prepared,
    past: &mut Past,
    oid: u32,
    sink: &mut Sink,
) -> Result<u64> {
    let Some(table) = past.tables().all.get(&oid).cloned() else {
        let message = format!("table {oid} is not there at the moment");
        return Err(Error::failed(message, ""));
    };
    if table.is_foreign {
        return Err(Error::failed(
            "the rows of a foreign table are not in the archive",
            "",
        ));
    }
    let facts = &prepared.plan.base.metadata.source;
    let writer = Writer::of(options.format, &table, &facts.encoding);
    if !options.describe {
        return rows(options, past, oid, &writer, sink);
    }
    // What the columns are called later is only known when the rows are gone: so these wait in a file without a name.
    let mut waiting = Sink::waiting()?;
    let count = rows(options, past, oid, &writer, &mut waiting)?;
    let moment = past::lsn_of(&prepared.plan, past.last().map(|last| last.commit_lsn));
    past.follow_columns()?;
    sink.write(&describe::line(
        &prepared.plan,
        past,
        (oid, &table),
        moment,
    )?)?;
    waiting.copy_to(sink)?;
    Ok(count)
}

fn rows(options: &Extract, past: &Past, oid: u32, writer: &Writer, sink: &mut Sink) -> Result<u64> {
    let (mut line, mut count) = (Vec::new(), 0);
    writer.push_head(&mut line, options.header);
    sink.write(&line)?;
    past.rows(oid, &mut |values| {
        line.clear();
        writer.push_row(&mut line, values);
        count += 1;
        Ok(sink.write(&line)?)
    })?;
    Ok(count)
}
