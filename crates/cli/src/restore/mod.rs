//! `pg_incrbackup restore`: prepare, plan, execute.
//!
//! | room | what it does |
//! | --- | --- |
//! | [`plan`] | chooses and checks chain, base and segments |
//! | [`target`] | the database, and the roles and tablespaces that it needs |
//! | [`base`] | loads a base |
//! | [`replay`] | applies the transactions that the base does not contain |
//! | [`progress`] | what of it is done, in the target: a restore that was killed goes on |
//! | [`report`] | the plan, and what was done, in words and as JSON |

mod base;
pub mod plan;
mod progress;
mod replay;
mod report;
mod target;

use std::sync::Arc;

use archive_query::catalog::Catalog;

use crate::args::Restore;
use crate::connection::{block_on, Session};
use crate::error::{Outcome, Result};
use crate::output::Output;
use crate::source::{self, Source};
use base::checks::Checks;
use base::Loading;
use plan::{Moment, Plan, Wish};
use progress::{Identity, Left, Stage};
use replay::{Quiet, Replay, Views};
use report::Report;
use target::{Found, Target};

pub fn run(options: &Restore, output: &Output) -> Result<Outcome> {
    block_on(restore(options, output))
}

async fn restore(options: &Restore, output: &Output) -> Result<Outcome> {
    let source = source::one(&options.archive)?;
    // Retention removes nothing meanwhile.
    let _hold = source.storage.hold()?;
    let found = match &options.target {
        Some(target) => Some(Found::look(target).await?),
        None => None,
    };
    let (plan, identity) = prepare(options, &source, found.as_ref()).await?;
    let report = Report::new(output, &source, Arc::clone(&plan));
    report.plan();
    report.left(found.as_ref().and_then(Found::left));
    if let Some(found) = &found {
        found.ensure_extensions(&plan.base.metadata).await?;
    }
    match found.filter(|_| !options.dry_run) {
        Some(found) => execute(options, &source, &plan, found, identity, report).await,
        None => Ok(report.dry_run()),
    }
}

/// Chooses, and checks all that will be read.
async fn prepare(
    options: &Restore,
    source: &Source,
    found: Option<&Found>,
) -> Result<(Arc<Plan>, Identity)> {
    let (catalog, damage) = Catalog::read_sound(&*source.storage)?;
    let begun = found.and_then(|found| match found.left() {
        Some(Left::Begun(progress)) => Some((found, &progress.identity)),
        _ => None,
    });
    let wish = match begun {
        Some((found, identity)) => {
            identity.ensure_asked(options, found)?;
            identity.wish(options.allow_earlier)?
        }
        None => Wish {
            moment: Moment::of(&options.until, found.map(Found::session)).await?,
            chain: options.chain,
            base: options.base,
            allow_earlier: options.allow_earlier,
        },
    };
    let plan = plan::choose(&*source.storage, &catalog, &wish, damage)?;
    let database = found.map(Found::final_name).unwrap_or_default();
    let identity = Identity::of(options, &plan, &wish.moment, database);
    if let Some((found, begun)) = begun {
        begun.ensure_same(&identity, found.name())?;
    }
    Ok((Arc::new(plan), identity))
}

async fn execute(
    options: &Restore,
    source: &Source,
    plan: &Arc<Plan>,
    found: Found,
    identity: Identity,
    mut report: Report,
) -> Result<Outcome> {
    if let Some(Left::Complete { seal, is_partial }) = found.left() {
        identity.ensure_sealed(seal, found.name())?;
        found.finish().await?;
        report.renamed(found.final_name());
        return Ok(Outcome::partial(*is_partial));
    }
    let storage = &source.storage;
    let mut target = found.make(storage, plan, options.globals, identity).await?;
    report.made(&target);
    let filled = fill(options, source, plan, &mut target, &mut report).await;
    let (session, quiet) = filled.map_err(|error| target.incomplete(error))?;
    report.dropped(target.drop_empty_tablespaces(&session).await?);
    let outcome = report.outcome(&target);
    let name = target.final_name.clone();
    let is_partial = outcome != Outcome::Done;
    target.finish(session, quiet, is_partial).await?;
    report.done(&name);
    Ok(outcome)
}

/// Base and changes.
async fn fill(
    options: &Restore,
    source: &Source,
    plan: &Arc<Plan>,
    target: &mut Target,
    report: &mut Report,
) -> Result<(Session, Quiet)> {
    let mut session = target.session().await?;
    let skip_checks = names_of(&session, options, plan).await?;
    base::prepare(&mut session, &plan.base.metadata.source.encoding).await?;
    let loading = Loading {
        storage: Arc::clone(&source.storage),
        chain: &plan.chain,
        base: &plan.base,
        skip_checks: &skip_checks,
    };
    if target.progress.stage < Stage::Changes {
        report.begin("base", plan.figures.base_bytes);
        let mut tell = |bytes| report.read(bytes, "");
        let begun = &target.progress;
        target.progress = base::load(&loading, &mut session, begun, &mut tell).await?;
        report.end();
    }
    target.sets.prepare(&session).await?;
    target.progress.set(&session).await?;
    if target.progress.is_set_due {
        let count = usize::try_from(target.progress.sets).unwrap_or(usize::MAX);
        target.sets.apply_properties(&session, count).await?;
    }
    report.begin("changes", plan.figures.segment_bytes);
    let checks = Checks::prepare(&session, skip_checks).await?;
    let storage = Arc::clone(&source.storage);
    let replay = Replay::new(
        &mut session,
        storage,
        Arc::clone(plan),
        Views::default(),
        checks,
        &mut target.sets,
    );
    let mut tell = |bytes, file: &str| report.read(bytes, file);
    let (mut done, quiet) = replay.run(&target.progress, &mut tell).await?;
    for warning in target.keep_warnings(std::mem::take(&mut done.warnings)) {
        report.warn(&warning);
    }
    report.applied(done);
    Ok((session, quiet))
}

/// The names of `--skip-check`, in the encoding of the database.
async fn names_of(session: &Session, options: &Restore, plan: &Plan) -> Result<Vec<Vec<u8>>> {
    let encoding = &plan.base.metadata.source.encoding;
    target::encoding::encoded(session, &options.skip_check, encoding).await
}
