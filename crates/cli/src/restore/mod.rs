//! `pg_incrbackup restore`: prepare, plan, execute.
//!
//! | room | what it does |
//! | --- | --- |
//! | [`plan`] | chooses and checks chain, base and segments |
//! | [`base`] | loads a base |
//! | [`target`] | the database that is made, roles and tablespaces |
//! | [`replay`] | applies the transactions that the base does not contain |

// The target that calls them follows.
#![allow(dead_code)]

pub mod base;
pub mod plan;
pub mod replay;
pub mod target;

use archive_query::catalog::Catalog;

use crate::args::Restore;
use std::sync::Arc;

use crate::connection::{block_on, Session};
use crate::error::{Outcome, Result};
use crate::output::Output;
use crate::source;
use plan::{Moment, Wish};

pub fn run(options: &Restore, output: &Output) -> Result<Outcome> {
    block_on(restore(options, output))
}

async fn restore(options: &Restore, output: &Output) -> Result<Outcome> {
    let source = source::one(&options.archive)?;
    let catalog = Catalog::read(&*source.storage)?;
    let mut session = match &options.target {
        Some(target) => Some(Session::open(target, None).await?),
        None => None,
    };
    let wish = Wish {
        moment: Moment::of(&options.until, session.as_ref()).await?,
        chain: options.chain,
        base: options.base,
        allow_earlier: options.allow_earlier,
    };
    let plan = Arc::new(plan::choose(&*source.storage, &catalog, &wish)?);
    let t = std::time::Instant::now();
    eprintln!(
        "base {} segments {} upto {}",
        plan.base.name,
        plan.segments.len(),
        plan.upto
    );
    let Some(session) = session.as_mut().filter(|_| !options.dry_run) else {
        return Ok(Outcome::Done);
    };
    let loading = base::Loading {
        storage: Arc::clone(&source.storage),
        chain: &plan.chain,
        base: &plan.base,
        skip_checks: &[],
    };
    let loaded = base::load(&loading, session, &mut |_| {}).await?;
    eprintln!("base loaded {:?}", t.elapsed());
    let checks = base::checks::Checks::prepare(session, Vec::new()).await?;
    let views = replay::Views::default();
    let _ = loaded;
    let mut globals = NoGlobals;
    let replay = replay::Replay::new(
        session,
        Arc::clone(&source.storage),
        Arc::clone(&plan),
        views,
        checks,
        &mut globals,
    );
    let done = replay.run(&mut |_, _| {}).await?;
    eprintln!("{done:?} {:?}", t.elapsed());
    let _ = output;
    Ok(Outcome::Done)
}

struct NoGlobals;
impl replay::effects::Globals for NoGlobals {
    fn apply<'f>(&'f mut self, _: &'f Session, _: usize) -> replay::effects::Boxed<'f, ()> {
        Box::pin(async { Ok(()) })
    }
    fn follow<'f>(
        &'f mut self,
        _: &'f Session,
        _: &'f archive::segment::ClusterFact,
    ) -> replay::effects::Boxed<'f, ()> {
        Box::pin(async { Ok(()) })
    }
    fn own<'f>(
        &'f mut self,
        session: &'f Session,
        statement: &'f [u8],
    ) -> replay::effects::Boxed<'f, ()> {
        Box::pin(async move { session.statement(statement).await.map(drop) })
    }
}
