//! A base is not finished before the standbys of `synchronized_standby_slots` have what is in it (from 17 on, where the slot
//! is a failover slot): a standby that takes over must not lack rows of a base that others restore.

use std::time::{Duration, Instant};

use super::{board, turn};
use crate::pg::decoding::standbys::{self, Standbys};
use crate::pg::server;
use crate::workers;

const POLL: Duration = Duration::from_millis(20);
/// A standby that is there takes less. From here on the wait is shown, the settings are read again, and others have the turn.
const BRIEF: Duration = Duration::from_secs(1);

/// Waits until they have everything up to `lsn`, which need not be flushed. Outside a transaction.
pub fn wait_for(lsn: u64) {
    let database = server::my_database();
    let awaited = Standbys::of(&workers::slot_name(database));
    let mut next_note = Instant::now() + BRIEF;
    let mut is_marked = false;
    while !awaited.have(lsn) {
        if Instant::now() > next_note {
            next_note = Instant::now() + BRIEF;
            turn::give_back(database);
            // On an idle server nothing may follow that would carry the standbys past it.
            if !std::mem::replace(&mut is_marked, true) {
                server::emit_position_mark();
            }
            server::reload_settings();
            board::wait_for(&standbys::awaited(lsn).unwrap_or_default());
        }
        server::wait_a_moment(POLL);
    }
    board::wait_for("");
}
