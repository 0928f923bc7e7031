//! `pg_incrbackup restore`: prepare, plan, execute.
//!
//! | room | what it does |
//! | --- | --- |
//! | [`plan`] | chooses and checks chain, base and segments |
//! | [`target`] | the database, and the roles and tablespaces that it needs |
//! | [`base`] | loads a base |
//! | [`replay`] | applies the transactions that the base does not contain |
//! | [`compare`] | the source, to be compared with |
//! | [`counts`] | the rows of each table, by the files and in the end |
//! | [`deferred`] | what could not be made when its turn came |
//! | [`progress`] | what of it is done, in the target: a restore that was killed goes on |
//! | [`rights`] | what is wanted of an archive, and what the role may make of it |
//! | [`part`] | tables and schemas instead of the whole |
//! | [`follow`] | a copy that is kept at the end of the archive |
//! | [`report`] | the plan, and what was done, in words and as JSON |

mod base;
mod compare;
mod counts;
mod deferred;
pub mod follow;
pub mod part;
pub mod plan;
mod progress;
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
use counts::Counts;
use deferred::Deferred;
use plan::{Moment, Plan, Wish};
use progress::sql::keep;
use progress::{Identity, Left, Progress, Stage};
use replay::{Quiet, Reader, Replay, Ways, With};
use report::Report;
use rights::left_out::LeftOut;
use rights::Rights;
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
        Some(target) => Some(Found::look(target, output).await?),
        None => None,
    };
    if let Some(found) = &found {
        ensure_permitted(options, &found.role)?;
    }
    let compared = compared(options, found.as_ref()).await?;
    let (plan, identity) = prepare(options, &source, found.as_ref(), compared.as_ref()).await?;
    let report = Report::new(output, &source, Arc::clone(&plan)).squashing(options.squash);
    report.plan();
    report.left(found.as_ref().and_then(Found::left));
    let Some(found) = found else {
        return Ok(report.dry_run());
    };
    ensure_extensions(options, &source, &plan, &found).await?;
    report.versions(found.session().version);
    let metadata = &plan.base.metadata;
    let rights = Rights::of(&options.rights, &found.role, found.session(), metadata).await?;
    let rights = Rc::new(rights);
    if !options.dry_run {
        let begun = Begun { identity, compared };
        return execute(options, &source, &plan, found, begun, report, rights).await;
    }
    if let Some(mut session) = found.session_in_it(&rights).await? {
        let loading = loading(options, &source, &plan, &rights, &[]);
        foresee(loading, &plan, &mut session, &report, options).await?;
    } else if rights.is_guarded() {
        report.warn(
            "what this server refuses is only known in a database that exists: create it, empty, for \
             a dry run that says so",
        );
    }
    Ok(report.dry_run())
}

/// Roles and tablespaces are a superuser's.
fn ensure_permitted(options: &Restore, role: &rights::Role) -> Result<()> {
    if options.squash && !role.is_superuser && !role.may_be_replica {
        let message = format!(
            "--squash applies changes of tables in another order than the source, and the role \"{}\" of --target may not \
             set session_replication_role",
            role.name
        );
        let hint = "Connect as a superuser, or leave --squash out.";
        return Err(Error::failed(message, hint));
    }
    if options.compare.is_some() && !role.is_superuser {
        let message = format!(
            "--compare reads all large objects, and the role \"{}\" of --target is not a superuser",
            role.name
        );
        return Err(Error::failed(
            message,
            "Connect as a superuser, or leave --compare out.",
        ));
    }
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

/// Names the extensions that the server does not offer, with what depends on them, before anything is made.
async fn ensure_extensions(
    options: &Restore,
    source: &Source,
    plan: &Arc<Plan>,
    found: &Found,
) -> Result<()> {
    let missing = found.missing_extensions(&plan.base.metadata).await?;
    if missing.is_empty() {
        return Ok(());
    }
    let loading = loading(options, source, plan, &Rc::default(), &[]);
    Err(rights::extensions::missing(&loading, plan, &missing).await?)
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
    let rights = Rc::clone(&loading.rights);
    let left_out = rights::rehearsal::foresee(loading, plan, session).await?;
    if rights.is_out_of_locks() {
        report.warn(
            "the schema needs more locks in one transaction than this server has room for (max_locks_per_transaction): \
             more may be refused than could be found out; it is listed at the end",
        );
    }
    report.will_leave_out(&left_out, &options.rights.left_out);
    if left_out.is_empty() {
        return Ok(());
    }
    LeftOut::ensure_writable(&options.rights.left_out)
}

/// What is to be loaded, and how.
fn loading<'a>(
    options: &Restore,
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
        part: plan.part.as_ref(),
        on_error: options.on_error,
        sessions: &[],
    }
}

/// What a restore is, and what it is compared with.
struct Begun {
    identity: Identity,
    compared: Option<compare::Source>,
}

/// What the progress of a restore has from its beginning: statements.
fn kept_at_first(options: &Restore, compared: Option<&compare::Source>) -> String {
    let uncounted = options.no_count.then_some("--no-count");
    let kept = [keep("uncounted", &uncounted), keep("source", &compared)];
    kept.join("; ")
}

/// The source of `--compare`, as it is now; as it was for an earlier run that goes on.
async fn compared(options: &Restore, found: Option<&Found>) -> Result<Option<compare::Source>> {
    let Some(conninfo) = &options.compare else {
        return Ok(None);
    };
    match found.and_then(Found::left) {
        Some(Left::Begun(progress)) => progress.kept("source"),
        Some(Left::Complete { .. }) => Ok(None),
        _ => compare::Source::read(conninfo).await.map(Some),
    }
}

/// Chooses, and checks all that will be read.
async fn prepare(
    options: &Restore,
    source: &Source,
    found: Option<&Found>,
    compared: Option<&compare::Source>,
) -> Result<(Arc<Plan>, Identity)> {
    let (catalog, damage) = Catalog::read_sound(&*source.storage)?;
    if let Some((compared, chain)) = compared.zip(catalog.chains.last()) {
        compared.ensure_of(&chain.info)?;
    }
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
            seen: compared.map(compare::Source::seen).transpose()?,
            is_part: options.part.are_given(),
        },
    };
    let mut plan = plan::choose(&*source.storage, &catalog, &wish, damage)?;
    if options.part.are_given() {
        let mut wanted = part::find(&*source.storage, &plan, &options.part)?;
        wanted.is_without_rows = !options.part.has(part::Section::Data);
        part::ensure_sound(&*source.storage, &plan, &wanted)?;
        plan::outline::ensure_checked(&*source.storage, &mut plan, &wanted)?;
        // Only that they are sound was to be known.
        wanted.is_without_rows |= options.dry_run;
        // Rows of other tables are not missed.
        plan.lost.retain(|lost| wanted.misses(&lost.lost));
        plan.part = Some(wanted);
    }
    let database = found.map(Found::final_name).unwrap_or_default();
    let role = found.map(|found| found.role.clone()).unwrap_or_default();
    let identity = Identity::of(options, &plan, &wish.moment, (database, &role));
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
    Begun { identity, compared }: Begun,
    mut report: Report,
    rights: Rc<Rights>,
) -> Result<Outcome> {
    if let Some(Left::Complete { seal, is_partial }) = found.left() {
        identity.ensure_sealed(seal, found.name())?;
        found.finish().await?;
        report.renamed(found.final_name());
        return Ok(Outcome::partial(*is_partial));
    }
    let storage = &source.storage;
    let first = kept_at_first(options, compared.as_ref());
    let mut target = found
        .make(storage, plan, options.globals, identity, &rights, &first)
        .await?;
    report.made(&target);
    let filled = fill(options, source, plan, &mut target, &mut report, &rights).await;
    let (session, quiet) = filled.map_err(|error| target.incomplete(error))?;
    if let Some(compared) = &compared {
        let differences = compared.compare(&session).await;
        let differences = differences.map_err(|error| target.incomplete(error))?;
        report.compared(compared.figures(), differences);
    }
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
    report.left_out(left_out, Some(&options.rights.left_out));
    let outcome = report.outcome(&target);
    let name = target.final_name.clone();
    let is_partial = outcome != Outcome::Done;
    target.finish(session, quiet, is_partial).await?;
    report.done(&name);
    Ok(outcome)
}

/// How many sessions restore.
fn jobs(options: &Restore, plan: &Plan, report: &Report, rights: &Rights) -> usize {
    if options.jobs > 1 && rights.is_limited() {
        report.warn(
            "--jobs is for a superuser: another role is refused what lets sessions work side by side, and one restores",
        );
        return 1;
    }
    // A part is small, and its rows are moved in one transaction.
    match &plan.part {
        Some(_) => 1,
        None => usize::from(options.jobs),
    }
}

/// Base and changes.
async fn fill(
    options: &Restore,
    source: &Source,
    plan: &Arc<Plan>,
    target: &mut Target,
    report: &mut Report,
    rights: &Rc<Rights>,
) -> Result<(Session, Quiet)> {
    // Most of the segments is not of a part, and passing over it takes as long as making the definitions. (A whole has work
    // for both sides from the beginning.)
    let reader = match &plan.part {
        Some(_) => Some(Reader::start(
            Arc::clone(&source.storage),
            Arc::clone(plan),
            &target.progress.place,
        )?),
        None => None,
    };
    let loaded = load(options, source, plan, target, report, rights).await?;
    let (mut session, checks) = (loaded.session, loaded.checks);
    // Sets of net changes are applied by one session: there is little left to divide.
    let jobs = if options.squash { 1 } else { loaded.jobs };
    // Lanes of an earlier run that have ended at different places are as many as then until they are at the same one.
    let count = jobs.max(replay::lanes_of(&target.progress)?);
    let encoding = &plan.base.metadata.source.encoding;
    let beside = target.beside(count.max(1) - 1, encoding, rights).await?;
    report.begin("changes", plan.figures.segment_bytes);
    let storage = Arc::clone(&source.storage);
    let with = With {
        checks,
        globals: &mut target.sets,
        rights: Rc::clone(rights),
        deferred: Deferred::new(options.on_error, target.progress.kept("deferred")?),
        counts: Counts::new(target.progress.kept("uncounted")?),
        reader,
        ways: Ways {
            squashes: options.squash.then(replay::most_squashed).transpose()?,
            jobs,
            beside,
        },
    };
    let replay = Replay::new(&mut session, storage, Arc::clone(plan), with);
    let mut tell = |bytes, file: &str| report.read(bytes, file);
    let (mut done, quiet) = replay.run(&target.progress, &mut tell).await?;
    let warnings = target.keep_warnings(std::mem::take(&mut done.warnings));
    for warning in warnings.iter().filter(|text| part::is_of(plan, text)) {
        report.warn(warning);
    }
    report.applied(done);
    Ok((session, quiet))
}

/// A target that has the base.
struct Loaded {
    session: Session,
    checks: Checks,
    /// How many sessions may work at once.
    jobs: usize,
}

/// The base, if it is not there yet, and what the session needs for the changes.
async fn load(
    options: &Restore,
    source: &Source,
    plan: &Arc<Plan>,
    target: &mut Target,
    report: &mut Report,
    rights: &Rc<Rights>,
) -> Result<Loaded> {
    let mut session = target.session().await?;
    target.ensure_unchanged(&session).await?;
    target.number_sets(&session).await?;
    let skip_checks = names_of(&session, options, plan).await?;
    let loading = loading(options, source, plan, rights, &skip_checks);
    // The database is empty still. (A scratch database is a rehearsal itself.)
    let is_whole = plan.part.is_none();
    if is_whole && target.progress.stage < Stage::Changes && target.progress.pieces == 0 {
        let mut asking = target.another_session().await?;
        foresee(loading.clone(), plan, &mut asking, report, options).await?;
    }
    base::prepare(&mut session, &plan.base.metadata.source.encoding, rights).await?;
    // Functions of ours are made before there are event triggers, which may fire always.
    target.sets.prepare(&session).await?;
    let checks = Checks::prepare(&session, skip_checks.clone()).await?;
    let jobs = jobs(options, plan, report, rights);
    if target.progress.stage < Stage::Changes {
        report.begin("base", plan.figures.base_bytes);
        let mut tell = |bytes| report.read(bytes, "");
        let encoding = &plan.base.metadata.source.encoding;
        let count = if jobs > 1 { jobs } else { 0 };
        let sessions = target.beside(count, encoding, rights).await?;
        let loading = Loading {
            sessions: &sessions,
            ..loading
        };
        base::load(&loading, &mut session, Some(&target.progress), &mut tell).await?;
        let loaded = Progress::read(&session).await?;
        let gone = || Error::failed("the progress of the restore has gone", "");
        target.progress = loaded.ok_or_else(gone)?;
        report.end();
    }
    target.progress.set(&session).await?;
    if target.progress.is_set_due {
        let count = usize::try_from(target.progress.sets).unwrap_or(usize::MAX);
        target.sets.apply_properties(&session, count).await?;
    }
    Ok(Loaded {
        session,
        checks,
        jobs,
    })
}

/// The names of `--skip-check`, in the encoding of the database.
async fn names_of(session: &Session, options: &Restore, plan: &Plan) -> Result<Vec<Vec<u8>>> {
    let encoding = &plan.base.metadata.source.encoding;
    target::encoding::encoded(session, &options.skip_check, encoding).await
}
