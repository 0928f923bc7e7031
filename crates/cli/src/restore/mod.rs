//! `pg_incrbackup restore`: prepare, plan, execute.
//!
//! | room | what it does |
//! | --- | --- |
//! | [`plan`] | chooses and checks chain, base and segments |
//! | [`target`] | the database, and the roles and tablespaces that it needs |
//! | [`base`] | loads a base |
//! | [`replay`] | applies the transactions that the base does not contain |
//! | [`rights`] | what is wanted of an archive, and what the role may make of it |
//! | [`report`] | the plan, and what was done, in words and as JSON |

mod base;
pub mod plan;
mod replay;
mod report;
pub mod rights;
mod target;

use std::rc::Rc;
use std::sync::Arc;

use archive_query::catalog::Catalog;

use crate::args::Restore;
use crate::connection::{block_on, Session};
use crate::error::{Error, Outcome, Result};
use crate::output::Output;
use crate::source::{self, Source};
use base::checks::Checks;
use base::Loading;
use plan::{Moment, Plan, Wish};
use replay::{Replay, Views};
use report::Report;
use rights::left_out::LeftOut;
use rights::Rights;
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
    if let Some(found) = &found {
        ensure_permitted(options, &found.role)?;
    }
    let plan = prepare(options, &source, found.as_ref()).await?;
    let report = Report::new(output, &source, Arc::clone(&plan));
    report.plan();
    let Some(found) = found else {
        return Ok(report.dry_run());
    };
    let missing = found.missing_extensions(&plan.base.metadata).await?;
    if !missing.is_empty() {
        let loading = loading(&source, &plan, &Rc::default(), &[]);
        return Err(rights::extensions::missing(&loading, &plan, &missing).await?);
    }
    report.versions(found.session().version);
    let metadata = &plan.base.metadata;
    let rights = Rights::of(&options.rights, &found.role, found.session(), metadata).await?;
    let rights = Rc::new(rights);
    if !options.dry_run {
        return execute(options, &source, &plan, found, report, rights).await;
    }
    if let Some(mut session) = found.session_in_it(&rights).await? {
        let loading = loading(&source, &plan, &rights, &[]);
        foresee(loading, &plan, &mut session, &report, options).await?;
    } else if rights.is_guarded() {
        report.warn(
            "what this server does not let the role make is only known in a database that exists: create it, empty, for \
             a dry run that says so",
        );
    }
    Ok(report.dry_run())
}

/// Roles and tablespaces are a superuser's.
fn ensure_permitted(options: &Restore, role: &rights::Role) -> Result<()> {
    if role.is_superuser || !options.globals {
        return Ok(());
    }
    let message = format!(
        "--globals makes roles and tablespaces, and the role \"{}\" of --target is not a superuser",
        role.name
    );
    Err(Error::failed(
        message,
        "Connect as a superuser, or leave --globals out.",
    ))
}

/// Tells what the role will be refused, before the first row.
async fn foresee(
    loading: Loading<'_>,
    plan: &Arc<Plan>,
    session: &mut Session,
    report: &Report,
    options: &Restore,
) -> Result<()> {
    if !loading.rights.is_guarded() {
        return Ok(());
    }
    let left_out = rights::rehearsal::foresee(loading, plan, session).await?;
    report.will_leave_out(&left_out, &options.rights.left_out);
    if left_out.is_empty() {
        return Ok(());
    }
    LeftOut::ensure_writable(&options.rights.left_out)
}

/// What is to be loaded, and how.
fn loading<'a>(
    source: &Source,
    plan: &'a Plan,
    rights: &Rc<Rights>,
    skip_checks: &'a [Vec<u8>],
) -> Loading<'a> {
    Loading {
        storage: Arc::clone(&source.storage),
        chain: &plan.chain,
        base: &plan.base,
        skip_checks,
        rights: Rc::clone(rights),
        is_rehearsal: false,
        sets_keys_aside: rights.is_no_replica() && !plan.segments.is_empty(),
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
    let plan = plan::choose(&*source.storage, &catalog, &wish, damage)?;
    Ok(Arc::new(plan))
}

async fn execute(
    options: &Restore,
    source: &Source,
    plan: &Arc<Plan>,
    found: Found,
    mut report: Report,
    rights: Rc<Rights>,
) -> Result<Outcome> {
    let made = found.make(&source.storage, plan, options.globals, &rights);
    let mut target = made.await?;
    report.made(&target);
    let filled = fill(options, source, plan, &mut target, &mut report, &rights).await;
    let session = filled.map_err(|error| target.incomplete(error))?;
    report.dropped(target.drop_empty_tablespaces(&session).await?);
    let mut left_out = rights.take_left_out();
    left_out.rename_database(&target.name, &target.final_name);
    if !left_out.is_empty() {
        left_out.write(
            &options.rights.left_out,
            &plan.base.metadata.source.encoding,
        )?;
    }
    target.warnings.extend(rights.take_notes());
    report.left_out(left_out, &options.rights.left_out);
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
    rights: &Rc<Rights>,
) -> Result<Session> {
    let mut session = target.session().await?;
    let skip_checks = names_of(&session, options, plan).await?;
    let loading = loading(source, plan, rights, &skip_checks);
    let mut asking = target.session().await?;
    foresee(loading.clone(), plan, &mut asking, report, options).await?;
    drop(asking);
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
        Rc::clone(rights),
    );
    let done = replay
        .run(loaded.keys, &mut |bytes, file| report.read(bytes, file))
        .await?;
    for warning in target.keep_warnings(session.warnings()) {
        report.warn(&warning);
    }
    report.applied(done);
    Ok(session)
}

/// The names of `--skip-check`, in the encoding of the database.
async fn names_of(session: &Session, options: &Restore, plan: &Plan) -> Result<Vec<Vec<u8>>> {
    let encoding = &plan.base.metadata.source.encoding;
    target::encoding::encoded(session, &options.skip_check, encoding).await
}
