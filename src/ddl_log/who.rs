//! Recording of who made a transaction (`pg_incrbackup.record_who`), right before it commits.

use crate::pg::decoding::who;
use crate::pg::server;
use crate::{settings, workers};

/// Called before a commit and before a PREPARE TRANSACTION. A transaction of a worker of ours is nobody's.
pub fn record() {
    let is_wanted = settings::record_who()
        && who::has_written()
        && u32::from(server::my_database()) != 0
        && u32::from(workers::served_database()) == 0;
    if !is_wanted {
        return;
    }
    if let Some(session) = who::this_session() {
        who::emit(&session);
    }
}
