//! What the role will be refused, asked of the server before the first row: the definitions of the base, and the schema
//! changes after it, in a transaction that is rolled back.
//!
//! What a rehearsal cannot show (a label of an enum that is used in the transaction that made it) it passes over: the
//! restore tries everything again, and lists what it has left out in fact.

use std::sync::Arc;

use super::left_out::LeftOut;
use crate::connection::Session;
use crate::error::Result;
use crate::restore::base::{self, Loading};
use crate::restore::plan::Plan;
use crate::restore::replay::rehearsal::rehearse;

/// In a session of its own, in the empty database.
pub async fn foresee(
    loading: Loading<'_>,
    plan: &Arc<Plan>,
    session: &mut Session,
) -> Result<LeftOut> {
    let rights = std::rc::Rc::clone(&loading.rights);
    let loading = Loading {
        is_rehearsal: true,
        ..loading
    };
    let client = Arc::clone(&session.client);
    // Rows are not there, so nothing takes long; an empty database has nobody to wait for.
    let encoding = &loading.base.metadata.source.encoding;
    base::prepare(session, encoding, &rights).await?;
    client.batch_execute("BEGIN").await?;
    base::load(&loading, session, None, &mut |_| {}).await?;
    rehearse(session, &rights, &loading.storage, plan).await?;
    client.batch_execute("ROLLBACK").await?;
    Ok(rights.take_left_out())
}
