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
use crate::connection::block_on;
use crate::error::{Outcome, Result};
use crate::output::Output;
use crate::source;
use plan::{Moment, Wish};

pub fn run(options: &Restore, output: &Output) -> Result<Outcome> {
    block_on(restore(options, output))
}

async fn restore(options: &Restore, _output: &Output) -> Result<Outcome> {
    let source = source::one(&options.archive)?;
    let catalog = Catalog::read(&*source.storage)?;
    let wish = Wish {
        moment: Moment::of(&options.until, None).await?,
        chain: options.chain,
        base: options.base,
        allow_earlier: options.allow_earlier,
    };
    let _plan = plan::choose(&*source.storage, &catalog, &wish)?;
    Ok(Outcome::Done)
}
