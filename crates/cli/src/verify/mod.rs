//! `pg_incrbackup verify`: whether every file is as it was written, and what it costs where one is not.

mod cost;

use archive::counted;
use std::sync::Arc;

use archive::layout::DatabaseDir;
use archive::lock::Lock;
use archive::owner::OWNER_JSON;
use archive::Problem;
use archive_query::catalog::Catalog;
use serde::Serialize;

use crate::args::Archive;
use crate::error::{Outcome, Result};
use crate::output::Output;
use crate::shown::{count, line, size};
use crate::source::counted::{extent, Counted};
use crate::source::{self, Source};
use cost::{Cost, Costs};

/// What was found in a database's archive.
#[derive(Debug, Serialize)]
struct Report {
    database: String,
    place: String,
    is_sound: bool,
    /// Of its chains.
    files: usize,
    bytes: u64,
    problems: Vec<Found>,
    notes: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Found {
    file: String,
    problems: Vec<String>,
    /// The file itself is sound: what precedes it is missing, or not as it was.
    is_about_predecessor: bool,
    cost: Cost,
}

/// Checks every database that is meant; one that cannot be read does not keep the others from being checked.
pub fn run(archive: &Archive, output: &Output) -> Result<Outcome> {
    let mut outcome = Outcome::Done;
    for source in source::all(archive)? {
        match check(&source, output) {
            Ok(report) => {
                output.answer(&report, text);
                if !report.is_sound {
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

fn check(source: &Source, output: &Output) -> Result<Report> {
    // Retention on this machine removes nothing meanwhile. A copy on a file system without locks needs none.
    let directory = source.directory.as_deref().and_then(DatabaseDir::at);
    let _lock = directory
        .map(|directory| Lock::shared(&directory, &mut || {}))
        .transpose()?;
    let extent = extent(&*source.storage)?;
    let progress = Arc::new(output.progress());
    progress.phase(&format!("verify {}", source.name), Some(extent.checked));
    let counted = Counted::new(Arc::clone(&source.storage), Arc::clone(&progress));
    let problems = archive::verify::files(&counted, &mut || {});
    progress.finish();
    let (catalog, _) = Catalog::read_sound(&*source.storage)?;
    let is_copy = source.directory.is_some() && source.storage.size(OWNER_JSON)?.is_none();
    let is_note = |problem: &Problem| {
        (is_copy && problem.is_usual_in_copy) || is_of_another_version(problem, &catalog)
    };
    let (notes, problems): (Vec<Problem>, Vec<Problem>) = problems?.into_iter().partition(is_note);
    Ok(Report {
        database: source.name.clone(),
        place: source.storage.place(""),
        is_sound: problems.is_empty(),
        files: extent.files,
        bytes: extent.bytes,
        problems: with_costs(&catalog, problems),
        notes: in_words(&notes),
    })
}

/// The script and its text are those of the version that wrote the archive: where that is another one, they differ.
fn is_of_another_version(problem: &Problem, catalog: &Catalog) -> bool {
    let mut bases = catalog.chains.iter().flat_map(|chain| &chain.bases);
    let newest = bases
        .next_back()
        .map(|base| base.metadata.tool_version.as_str());
    !problem.file.contains('/')
        && (problem.file == "restore.sh" || problem.file == "README.txt")
        && newest != Some(env!("CARGO_PKG_VERSION"))
}

/// One for each, but for what may be thousands in a copy.
fn in_words(notes: &[Problem]) -> Vec<String> {
    let mut kinds: Vec<(&str, Vec<&str>)> = Vec::new();
    for note in notes {
        match kinds
            .iter_mut()
            .find(|(problem, _)| *problem == note.problem)
        {
            Some((_, files)) => files.push(&note.file),
            None => kinds.push((&note.problem, vec![&note.file])),
        }
    }
    let said = |(problem, files): &(&str, Vec<&str>)| match files.as_slice() {
        [first, .., last] => {
            let files = counted(count(files.len() as u64), "file");
            format!("{files}, {first} to {last}: {problem}")
        }
        files => format!("{}: {problem}", files.concat()),
    };
    kinds.iter().map(said).collect()
}

/// By file, each with its cost.
fn with_costs(catalog: &Catalog, problems: Vec<Problem>) -> Vec<Found> {
    let costs = Costs::new(catalog, &problems);
    let mut found: Vec<Found> = Vec::new();
    for problem in problems {
        if found.last().is_none_or(|last| last.file != problem.file) {
            found.push(Found {
                cost: costs.of_predecessor(&problem.file),
                file: problem.file,
                problems: Vec::new(),
                is_about_predecessor: true,
            });
        }
        let of_file = found.last_mut().expect("one was just added, or was there");
        of_file.problems.push(problem.problem);
        if of_file.is_about_predecessor && !problem.is_about_predecessor {
            of_file.is_about_predecessor = false;
            of_file.cost = costs.of(&of_file.file);
        }
    }
    found
}

fn text(report: &Report) -> String {
    let head = format!("{}  ({})", line(&report.database), line(&report.place));
    let read = format!(
        "{}, {}",
        counted(count(report.files as u64), "file"),
        size(report.bytes)
    );
    let mut text = if report.is_sound {
        format!("{head}\n  sound: {read}\n")
    } else {
        let own = report
            .problems
            .iter()
            .filter(|found| !found.is_about_predecessor);
        let damaged = count(own.count().max(1) as u64);
        format!("{head}\n  DAMAGED: {damaged} of {read}\n")
    };
    for found in &report.problems {
        text.push_str(&format!("  {}\n", line(&found.file)));
        for problem in &found.problems {
            text.push_str(&format!("    {}\n", line(problem)));
        }
        text.push_str(&format!("    costs {}\n", line(&found.cost.text)));
    }
    for note in &report.notes {
        text.push_str(&format!("  note: {}\n", line(note)));
    }
    text
}
