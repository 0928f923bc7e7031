//! A part of a database, as it was: into a new database, or into a running one, beside what is there.
//!
//! ```text
//! archive ─▶ scratch database       all definitions, the rows of the wanted tables; the moment is reached there
//!               │ chosen, graph     the catalogs say what the part is, and what it needs
//!               │ cut, moved        off from tables that are not in it; into another schema
//!               ▼
//!            definitions, rows      read from there
//!               │ one transaction
//!               ▼
//!            target                 all of it at once, or nothing
//! ```
//!
//! The scratch database has the target's name with `.part.restoring`, is on the same server, and goes at the end. (Or it is
//! that of `--scratch`, and is emptied.) So a
//! part is replayed by what replays a whole, over all renames, and is never worded by hand: PostgreSQL itself moves it to
//! another schema, and a definition is that of its catalogs.
//!
//! | room | what it does |
//! | --- | --- |
//! | [`options`], [`pattern`], [`selection`] | what is asked for |
//! | [`contents`], [`wanted`], [`filter`] | which relations, entries and lines of the archive that is |
//! | [`hashed`] | partitions by hash of an enum, whose changes name the root of their tree |
//! | [`chosen`], [`graph`] | what it is in the scratch database |
//! | [`cut`], [`moved`] | what is altered there |
//! | [`catalogs`], [`definitions`] | definitions, by [`effects`] |
//! | [`possible`], [`permitted`], [`trusted`] | what is refused: there already, not the role's to make, a stranger's code |
//! | [`existing`], [`addresses`] | what the target has |
//! | [`keys`], [`missed`], [`missing`] | what a role that is no superuser cannot make in the scratch database, and what of that is missed |
//! | [`carry`], [`transaction`], [`apply`], [`rows`] | into the target |
//! | [`left`] | what a restore leaves on the server when something of it fails |
//! | [`shown`] | in words and as JSON |

mod addresses;
mod apply;
mod carry;
mod catalogs;
mod chosen;
mod contents;
mod cut;
mod definitions;
mod existing;
pub mod filter;
mod graph;
pub mod hashed;
mod keys;
mod left;
mod long;
mod missed;
mod missing;
mod moved;
mod options;
pub mod pattern;
mod permitted;
mod possible;
mod rows;
mod selection;
mod shown;
mod transaction;
mod trusted;
pub mod wanted;

use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use archive::storage::Storage;
use archive::verify::Sealed;
use memchr::memmem;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{ToSql, Type};

use super::report::Report;
use super::target::{Found, Target};
use crate::args::Restore;
use crate::connection::{Raw, Session};
use crate::error::{Error, Outcome, Result};
use crate::output::Output;
use crate::restore::plan::Plan;
use crate::restore::progress::{self, Identity};
use crate::restore::rights::Rights;
use crate::source::{self, Source};
use carry::Over;
pub use keys::{key_without_rows, tell_of_key};
pub use missed::is_key_of_part;
pub use options::{Options, Section};
use selection::Selection;
use shown::Shown;
pub use wanted::Wanted;

/// Which relations of the archive a part is about.
pub fn find(storage: &dyn Storage, plan: &Plan, options: &Options) -> Result<Wanted> {
    Wanted::find(storage, plan, &Selection::of_options(options)?)
}

/// The same of the relation with an OID.
pub fn find_oid(storage: &dyn Storage, plan: &Plan, oid: u32) -> Result<Wanted> {
    Wanted::find(storage, plan, &Selection::of_oid(oid))
}

/// The files of the base that only a part with these relations reads are as their checksums say. The others were checked
/// when the base was chosen.
pub fn ensure_sound(storage: &dyn Storage, plan: &Plan, wanted: &Wanted) -> Result<()> {
    let files = contents::files_of_rows(storage, plan, wanted)?;
    let directory = plan.chain.file(&plan.base.directory());
    let problems = Sealed::files(storage, &directory, &files, &mut || {});
    let Some((file, why)) = problems.first() else {
        return Ok(());
    };
    let place = storage.place(&format!("{directory}/{file}"));
    Err(Error::damaged(format!("\"{place}\" is damaged: {why}")))
}

/// Restores a part.
pub async fn restore(options: &Restore, output: &Output) -> Result<Outcome> {
    options.part.ensure_sensible()?;
    options.part.ensure_rows_for(&options.skip_check)?;
    if options.globals {
        let message = "--globals is for a whole database";
        return Err(Error::wrong_use(
            message,
            "Roles that a part needs and that are missing are made NOLOGIN.",
        ));
    }
    if options.squash {
        let message = "--squash is for a whole database";
        return Err(Error::wrong_use(
            message,
            "Of a part only its own changes are applied.",
        ));
    }
    if options.compare.is_some() {
        let message = "--compare is for a whole database";
        return Err(Error::wrong_use(
            message,
            "The rows of a part are counted and compared with the files.",
        ));
    }
    let source = source::one(&options.archive)?;
    // Retention removes nothing meanwhile.
    let _hold = source.storage.hold()?;
    let scratch = options.part.scratch.as_deref();
    let found = match &options.target {
        Some(target) => Some(Found::look_for_part(target, scratch, output).await?),
        None => None,
    };
    let (plan, identity) = super::prepare(options, &source, found.as_ref(), None).await?;
    let report = Report::new(output, &source, Arc::clone(&plan));
    report.plan();
    let shown = Shown::new(output, &options.part);
    shown.chosen(&plan);
    if let Some(found) = &found {
        if found.role.is_superuser {
            super::ensure_extensions(options, &source, &plan, found).await?;
        }
        possible::ensure_possible(found, &plan, &options.part).await?;
    }
    let Some(found) = found else {
        return Ok(report.dry_run());
    };
    let metadata = &plan.base.metadata;
    let rights = Rights::of(&options.rights, &found.role, found.session(), metadata).await?;
    let (plan, found) = (&plan, &found);
    let work = Work {
        options,
        source: &source,
        plan,
        found,
        rights: Rc::new(rights),
    };
    execute(&work, identity, report, &shown).await
}

/// What is to be done.
struct Work<'a> {
    options: &'a Restore,
    source: &'a Source,
    plan: &'a Arc<Plan>,
    found: &'a Found,
    /// What of it is wanted: in the scratch database, and so in what is carried over from there.
    rights: Rc<Rights>,
}

/// Restores into the scratch database, and carries over. The scratch database goes whatever happens. For a dry run there are
/// no rows in it, and what would be carried over is told.
async fn execute(
    work: &Work<'_>,
    identity: Identity,
    mut report: Report,
    shown: &Shown,
) -> Result<Outcome> {
    let Work {
        options,
        source,
        plan,
        found,
        rights,
    } = work;
    let named = options.part.scratch.as_deref();
    // Nobody else restores a part there meanwhile, nor drops the scratch database of this one.
    progress::lock(found.session(), &found.scratch_name(named)).await?;
    let facts = &plan.base.metadata.source;
    let (scratch, held) = found.scratch(named, facts).await?;
    let name = scratch.final_name().to_owned();
    let first = super::kept_at_first(options, None);
    let made = scratch
        .make(
            &source.storage,
            plan,
            options.globals,
            identity,
            rights,
            &first,
        )
        .await;
    let mut scratch_target = match made {
        Ok(target) => target,
        Err(error) => {
            let ids = left::made_in(&held).await;
            let ended = found.end_scratch(&name, held).await;
            let kept = found.drop_unused(&ids).await;
            let error = unchanged(found, &name, error);
            return Err(left::behind(error, &name, &ended, &kept));
        }
    };
    let done = fill_and_carry(work, (&name, &mut scratch_target), &mut report, shown).await;
    let ended = found.end_scratch(&name, held).await;
    let kept = found.drop_unused(&scratch_target.made.ids).await;
    let over = match done {
        Ok(over) => over,
        Err(error) => {
            let error = unchanged(found, &name, error);
            return Err(left::behind(error, &name, &ended, &kept));
        }
    };
    // From here on all is done, and stays.
    let warnings = &mut scratch_target.warnings;
    match kept {
        Ok(kept) => kept
            .iter()
            .for_each(|what| shown.note(&format!("created {what}, which the part needs"))),
        Err(error) => warnings.push(left::warning("roles that it made may be left", &error)),
    }
    if let Err(error) = ended {
        let what = format!("the scratch database \"{name}\" is left");
        warnings.push(left::warning(&what, &error));
    }
    scratch_target.warnings.extend(over.odd);
    if options.dry_run {
        for text in &scratch_target.warnings {
            report.warn(text);
        }
        return Ok(report.dry_run());
    }
    let missed = over.missed;
    let mut file = left_out_file(options);
    if let Some(path) = file.filter(|_| !missed.is_empty()) {
        if let Err(error) = missed.write(path, &facts.encoding) {
            let what = "the SQL of what is left out is not there";
            scratch_target.warnings.push(left::warning(what, &error));
            file = None;
        }
    }
    scratch_target.warnings.extend(rights.take_notes());
    report.left_out(missed, file);
    let outcome = report.outcome(&scratch_target);
    report.done(found.final_name());
    Ok(outcome)
}

/// Where the SQL of what is left out goes. With --into-schema nowhere: its names are those of the live relations.
fn left_out_file(options: &Restore) -> Option<&Path> {
    let is_moved = options.part.into_schema.is_some();
    (!is_moved).then_some(&options.rights.left_out)
}

/// The scratch database reaches the moment, and the part goes over.
async fn fill_and_carry(
    work: &Work<'_>,
    (name, scratch): (&str, &mut Target),
    report: &mut Report,
    shown: &Shown,
) -> Result<Over> {
    let Work {
        options,
        source,
        plan,
        found,
        rights,
    } = work;
    let (session, _) = super::fill(options, source, plan, scratch, report, rights).await?;
    // The scratch database is not gone on with, and its catalogs are those of the source.
    session.client.batch_execute(&progress::sql::end()).await?;
    let whereto = carry::Whereto {
        found,
        rights,
        scratch_name: name,
        is_dry_run: options.dry_run,
        left_out: left_out_file(options),
    };
    let over = carry::over(session, plan, &whereto, &options.part, shown).await?;
    if let Some(known) = &over.known {
        report.only_failed(|sql| known.has_sql(sql));
    }
    Ok(over)
}

/// An error before the end: the target is as it was.
fn unchanged(found: &Found, scratch: &str, error: Error) -> Error {
    const NOTHING: &str = "Nothing was changed";
    if error.hint().contains(NOTHING) || error.hint().contains(left::UNKNOWN) {
        return error;
    }
    let hint = format!("{NOTHING} in \"{}\".", found.final_name());
    let hint = match error.hint() {
        "" => hint,
        // What the scratch database's own machinery says of a database that is left.
        other if other.contains(&format!("\"{scratch}\"")) => hint,
        other => format!("{other} {hint}"),
    };
    error.with_hint(hint)
}

/// Executes an effect on a constraint in the scratch database. A foreign key to a table whose rows are not wanted is
/// contradicted by the rows that are: it is there all the same, so that later changes of it find it.
pub async fn constraint(session: &Session, statement: &[u8]) -> Result<()> {
    if memmem::find(statement, b" FOREIGN KEY ").is_some() {
        let call = "SELECT pg_temp.incr_foreign_key($1)";
        let text: [(&(dyn ToSql + Sync), Type); 1] = [(&Raw(statement), Type::TEXT)];
        session.client.query_typed(call, &text).await?;
        return Ok(());
    }
    if memmem::find(statement, b" VALIDATE CONSTRAINT ").is_none() {
        session.statement(statement).await?;
        return Ok(());
    }
    session.client.batch_execute("SAVEPOINT part").await?;
    let validated = session.statement(statement).await;
    let end = match &validated {
        Ok(_) => "RELEASE SAVEPOINT part",
        Err(Error::Server(error)) if error.code() == Some(&SqlState::FOREIGN_KEY_VIOLATION) => {
            "ROLLBACK TO SAVEPOINT part; RELEASE SAVEPOINT part"
        }
        Err(_) => return validated.map(|_| ()),
    };
    session.client.batch_execute(end).await?;
    Ok(())
}

/// Whether a warning of the restore is one of the plan: in a scratch database it is no news that rows of tables that are
/// not wanted are missing.
pub fn is_of(plan: &Plan, warning: &str) -> bool {
    plan.part.is_none() || !warning.contains("rows contradict a foreign key")
}
