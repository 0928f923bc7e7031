//! `pg_incrbackup restore`: prepare, plan, execute.
//!
//! | room | what it does |
//! | --- | --- |
//! | [`plan`] | chooses and checks chain, base and segments |
//! | [`target`] | the database, and the roles and tablespaces that it needs |
//! | [`base`] | loads a base |
//! | [`replay`] | applies the transactions that the base does not contain |
//! | [`part`] | tables and schemas instead of the whole |
//! | [`report`] | the plan, and what was done, in words and as JSON |

mod base;
pub mod part;
pub mod plan;
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
use replay::{Replay, Views};
use report::Report;
use target::{Found, Target};

pub fn run(options: &Restore, output: &Output) -> Result<Outcome> {
    block_on(restore(options, output))
}

async fn restore(options: &Restore, output: &Output) -> Result<Outcome> {
    if options.part.are_given() {
        return part::restore(options, output).await;
    }
    let source = source::one(&options.archive)?;
    // Retention removes nothing meanwhile.
    let _hold = source.storage.hold()?;
    let found = match &options.target {
        Some(target) => Some(Found::look(target).await?),
        None => None,
    };
    let plan = prepare(options, &source, found.as_ref()).await?;
    let report = Report::new(output, &source, Arc::clone(&plan));
    report.plan();
    if let Some(found) = &found {
        found.ensure_extensions(&plan.base.metadata).await?;
    }
    match found.filter(|_| !options.dry_run) {
        Some(found) => execute(options, &source, &plan, found, report).await,
        None => Ok(report.dry_run()),
    }
}

/// Chooses, and checks all that will be read.
async fn prepare(options: &Restore, source: &Source, found: Option<&Found>) -> Result<Arc<Plan>> {
    let (catalog, damage) = Catalog::read_sound(&*source.storage)?;
    let wish = Wish {
        moment: Moment::of(&options.until, found.map(Found::session)).await?,
        chain: options.chain,
        base: options.base,
        allow_earlier: options.allow_earlier,
    };
    let mut plan = plan::choose(&*source.storage, &catalog, &wish, damage)?;
    if options.part.are_given() {
        let wanted = part::find(&*source.storage, &plan, &options.part)?;
        // Rows of other tables are not missed.
        plan.lost.retain(|lost| wanted.misses(&lost.lost));
        plan.part = Some(wanted);
    }
    Ok(Arc::new(plan))
}

async fn execute(
    options: &Restore,
    source: &Source,
    plan: &Arc<Plan>,
    found: Found,
    mut report: Report,
) -> Result<Outcome> {
    let mut target = found.make(&source.storage, plan, options.globals).await?;
    report.made(&target);
    let filled = fill(options, source, plan, &mut target, &mut report).await;
    let session = filled.map_err(|error| target.incomplete(error))?;
    report.dropped(target.drop_empty_tablespaces(&session).await?);
    let outcome = report.outcome(&target);
    let name = target.final_name.clone();
    target.finish(session).await?;
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
) -> Result<Session> {
    let mut session = target.session().await?;
    let skip_checks = names_of(&session, options, plan).await?;
    let loading = Loading {
        storage: Arc::clone(&source.storage),
        chain: &plan.chain,
        base: &plan.base,
        skip_checks: &skip_checks,
        part: plan.part.as_ref(),
    };
    report.begin("base", plan.figures.base_bytes);
    let loaded = base::load(&loading, &mut session, &mut |bytes| report.read(bytes, "")).await?;
    report.end();
    target.sets.prepare(&session).await?;
    target.sets.apply_base(&session).await?;
    report.begin("changes", plan.figures.segment_bytes);
    let checks = Checks::prepare(&session, skip_checks).await?;
    let storage = Arc::clone(&source.storage);
    let views = Views::new(loaded.to_refresh);
    let replay = Replay::new(
        &mut session,
        storage,
        Arc::clone(plan),
        views,
        checks,
        &mut target.sets,
    );
    let done = replay
        .run(&mut |bytes, file| report.read(bytes, file))
        .await?;
    let warnings = target.keep_warnings(session.warnings());
    for warning in warnings.iter().filter(|text| part::is_of(plan, text)) {
        report.warn(warning);
    }
    report.applied(done);
    Ok(session)
}

/// The names of `--skip-check`, in the encoding of the database.
async fn names_of(session: &Session, options: &Restore, plan: &Plan) -> Result<Vec<Vec<u8>>> {
    let encoding = &plan.base.metadata.source.encoding;
    target::encoding::encoded(session, &options.skip_check, encoding).await
}
