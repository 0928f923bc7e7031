//! The schema changes of the segments in a transaction that is rolled back: what will the role be refused?

use std::sync::Arc;

use archive::segment::{DdlBlock, Effect};
use archive::storage::Storage;

use super::item::What;
use super::permitted::{attempt, About};
use super::reader::Reader;
use crate::connection::Session;
use crate::error::Result;
use crate::restore::plan::Plan;
use crate::restore::progress::Place;
use crate::restore::rights::Rights;

/// Executes them in the open transaction of `session`; what is refused is in `rights`.
pub async fn rehearse(
    session: &Session,
    rights: &Rights,
    storage: &Arc<dyn Storage>,
    plan: &Arc<Plan>,
) -> Result<()> {
    let mut reader = Reader::start(Arc::clone(storage), Arc::clone(plan), &Place::default())?;
    while let Some(batch) = reader.batches.recv().await {
        for item in batch?.items {
            match item.what {
                What::Effect(effect, text) if effect.verb != "refresh" => {
                    let block = DdlBlock::read(&text);
                    if let Some(change) = rights.effect(&effect, &block) {
                        let about = About::effect(&effect);
                        attempt(session, rights, &about, &change, true).await?;
                    }
                }
                What::Ddl { command, text, .. } if command != "REWRITE" => {
                    let block = DdlBlock::read(&text);
                    if let Some(change) = rights.typed(&command, &block) {
                        let about = About::command(&command);
                        attempt(session, rights, &about, &change, true).await?;
                    }
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// Shows each effect that will be applied to `visit`.
pub async fn visit(
    storage: &Arc<dyn Storage>,
    plan: &Arc<Plan>,
    visit: &mut dyn FnMut(&Effect, &[u8]),
) -> Result<()> {
    let mut reader = Reader::start(Arc::clone(storage), Arc::clone(plan), &Place::default())?;
    while let Some(batch) = reader.batches.recv().await {
        for item in batch?.items {
            if let What::Effect(effect, text) = item.what {
                visit(&effect, DdlBlock::read(&text).statement);
            }
        }
    }
    Ok(())
}
