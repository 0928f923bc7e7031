//! `pg_incrbackup undo`: takes back what transactions have done to rows.
//!
//! What a row was before is in the files: rows are read from the base up to the first of the transactions, and followed from
//! there to the end ([`archive_query::past`]), so it is also known who has changed them later. What is undone of a row is taken back
//! by one statement, guarded by the state that the last of the changes left, the last one first.
//!
//! | room | what it does |
//! | --- | --- |
//! | [`options`] | the command line |
//! | [`wanted`] | which transactions, and what of them cannot be taken back |
//! | [`collect`] | their changes, with the whole rows |
//! | [`undone`] | what is undone of a row, and of which rows together |
//! | [`statement`] | the statement that takes one back |
//! | [`machine`] | what the server does with all of them |
//! | [`script`] | all of them for psql |
//! | [`apply`] | all of them in a database |

mod apply;
mod collect;
mod machine;
mod options;
mod script;
mod statement;
mod undone;
mod wanted;

use std::io::{self, BufWriter, Write};

use archive_query::past::Nobody;
use serde_json::json;

use crate::connection::block_on;
use crate::error::{Error, Outcome, Result};
use crate::extract::sink::Sink;
use crate::output::Output;
use crate::restore::part::pattern::Pattern;
use crate::restore::plan::Moment;
use crate::shown::count;
use crate::source;
use crate::stretch::rows::{Rows, Tables};
use crate::stretch::{self, Asked, Stretch};
use apply::{Done, How};
use collect::{Collect, Former};
pub use options::Undo;
use script::Units;
use statement::Step;
use undone::Undone;
use wanted::{Choice, Wanted};

pub fn run(options: &Undo, output: &Output) -> Result<Outcome> {
    let since = options.since.moment()?;
    if options.xid.is_empty() && since.is_none() {
        let message = "--table alone would take back all changes that the archive has";
        let hint = "Name the transactions with --xid, or the moment after which changes are taken back with --since-time, \
                    --since-lsn, --since-xid or --since-mark.";
        return Err(Error::wrong_use(message, hint));
    }
    let patterns = options.table.iter().map(|text| Pattern::of_relation(text));
    let patterns: Vec<Pattern> = patterns.collect::<Result<_>>()?;
    let source = source::one(&options.archive)?;
    let storage = &source.storage;
    // Retention removes nothing meanwhile.
    let _hold = storage.hold()?;
    let catalog = stretch::catalog(&**storage, output)?;
    let asked = Asked {
        since,
        until: options.until.moment()?,
        chain: options.chain,
        xids: options.xid.iter().copied().collect(),
    };
    let mut stretch = Stretch::find(&**storage, &catalog, &asked)?;
    if asked.xids.is_empty() {
        stretch.notes.iter().for_each(|note| output.warning(note));
    }
    let choice = Choice {
        xids: &asked.xids,
        patterns: &patterns,
    };
    let wanted = Wanted::find(&**storage, &stretch, &choice)?;
    wanted.notes.iter().for_each(|note| output.warning(note));
    let Some(before) = wanted.before() else {
        let nothing = json!({ "undone": 0, "conflicts": 0 });
        output.answer(&nothing, |_| {
            "there are no changes of rows to take back".to_owned()
        });
        return Ok(Outcome::Done);
    };
    stretch.after = before;
    let names = Tables::Named(&wanted.names);
    let rows = Rows::open(storage, &stretch, Moment::Newest, &names)?;
    let encoding = rows.encoding;
    let mut past = rows.past;
    past.advance_to(before, &mut Nobody)?;
    let mut collect = Collect::new(&wanted, &choice);
    past.advance(&mut collect)?;
    collect.ensure_as_now(past.tables())?;
    if collect.taken != wanted.changes {
        let message = format!(
            "{} of {} changes were not found again: a table was called otherwise at the base, then, and at the end",
            wanted.changes.abs_diff(collect.taken),
            wanted.changes
        );
        let hint = "Name tables with --table, or restore --table makes a table as it was beside the live one.";
        return Err(Error::failed(message, hint));
    }
    collect.count_alike(&past)?;
    let Collect {
        undone,
        tables,
        moves,
        ..
    } = collect;
    let units = undone::units(&undone, &moves, &tables, past.tables());
    let with_step = |nth: usize| Some((&undone[nth], undone[nth].step(&tables)?));
    let units = units
        .into_iter()
        .map(|unit| unit.into_iter().filter_map(with_step).collect());
    let units: Vec<Vec<(&Undone, Step)>> = units.filter(|unit: &Vec<_>| !unit.is_empty()).collect();
    write_script(options, &units, &tables, &encoding)?;
    let Some(target) = &options.target else {
        return Ok(Outcome::Done);
    };
    let how = How {
        encoding: &encoding,
        is_applied: options.apply,
        is_strict: options.strict,
        has_triggers: !options.no_triggers,
    };
    let done = block_on(apply::run(target, &units, &tables, &how))?;
    Ok(report(output, &done, &tables, &how))
}

/// To the file, or to standard output where nothing else is asked for.
fn write_script(
    options: &Undo,
    units: &Units<'_>,
    tables: &[Former],
    encoding: &str,
) -> Result<()> {
    let has_triggers = !options.no_triggers;
    let failed = |place: String| {
        move |error: io::Error| Error::failed(format!("could not write {place}: {error}"), "")
    };
    if let Some(path) = &options.output {
        let mut sink = Sink::open(Some(path))?;
        let mut script = Vec::new();
        script::write(&mut script, units, tables, encoding, has_triggers)
            .map_err(failed("the script".to_owned()))?;
        sink.write(&script)?;
        return sink.finish();
    }
    if options.target.is_none() {
        let mut out = BufWriter::new(io::stdout());
        let written = script::write(&mut out, units, tables, encoding, has_triggers);
        match written.and_then(|()| out.flush()) {
            // A reader that has seen enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            written => written.map_err(failed("the script".to_owned()))?,
        }
    }
    Ok(())
}

fn report(output: &Output, done: &Done, tables: &[Former], how: &How<'_>) -> Outcome {
    done.warnings.iter().for_each(|text| output.warning(text));
    for conflict in &done.conflicts {
        let answer = json!({ "conflict": conflict });
        output.answer(&answer, |_| {
            format!("left as it is: {}", crate::shown::line(conflict))
        });
    }
    for (former, [inserted, updated, deleted]) in tables.iter().zip(&done.counts) {
        let answer = json!({
            "table": former.shown(), "deleted": inserted, "changed_back": updated, "inserted": deleted,
            "is_kept": done.is_kept,
        });
        output.answer(&answer, |_| {
            let words = [
                (deleted, "inserted again"),
                (updated, "changed back"),
                (inserted, "deleted again"),
            ];
            let words = words.iter().filter(|(number, _)| **number > 0);
            let said: Vec<String> = words
                .map(|(number, word)| format!("{} {word}", count(**number)))
                .collect();
            let said = if said.is_empty() {
                "nothing".to_owned()
            } else {
                said.join(", ")
            };
            format!("{}: {said}", former.shown())
        });
    }
    let conflicts = done.conflicts.len() as u64;
    let answer = json!({ "is_kept": done.is_kept, "conflicts": conflicts });
    output.answer(&answer, |_| {
        if done.is_kept {
            "taken back".to_owned()
        } else if how.is_applied {
            "nothing was taken back, because of --strict".to_owned()
        } else {
            "tried, and rolled back: --apply does it".to_owned()
        }
    });
    Outcome::partial(conflicts > 0)
}
