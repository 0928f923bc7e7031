//! Standbys: on one, what waits for its promotion; on their primary, whether capture waits for one.

use super::{Level, Row};
use crate::pg::decoding::slot;
use crate::pg::failure::Failure;
use crate::pg::server::{self, query};
use crate::settings;
use crate::status::{DatabaseStatus, LONG_STANDBY_WAIT};

/// Of a database on a standby: nothing is wrong with it, and its slot says what a promotion brings. `slot` is `None` if this
/// server has none of the database.
pub fn tell_role(row: &mut Row, slot: Option<&slot::Facts>) {
    let mut note = |text: &str| row.reasons.push(text.to_owned());
    match slot {
        Some(slot) => {
            note("this server is a standby: capture runs on the primary");
            match (slot.wal_status.as_deref(), slot.is_synced) {
                (Some("lost"), _) => note(
                    "the copy of its slot has been invalidated here: capture cannot go on after a promotion, unless it is synchronized again before",
                ),
                (_, Some(true)) => {
                    note("its slot is synchronized: after a promotion capture goes on here");
                }
                _ => {}
            }
        }
        None => {
            note("this server is a standby and has no slot of this database");
            let has_failover_slots = server::VERSION_NUM >= 170_000 && settings::failover();
            if has_failover_slots {
                note("if it is backed up on the primary, capture cannot go on here after a promotion before the slot is synchronized: incr_check() shows what is missing for that");
            }
        }
    }
}

/// Reports a standby that keeps the files back.
pub fn judge_wait(row: &mut Row, entry: &DatabaseStatus) {
    let Some((waited, awaited)) = entry.waits_for_standby() else {
        return;
    };
    if waited >= LONG_STANDBY_WAIT.as_micros() as i64 {
        let seconds = waited / 1_000_000;
        row.because(
            Level::Warning,
            format!(
                "capture has waited for {seconds} s for {awaited}: what is committed since is not in the files before every \
                 standby of synchronized_standby_slots has it"
            ),
        );
    }
}

/// Notes on a primary whose standbys capture does not wait for that the files may run ahead of them. Needs a transaction.
pub fn tell_if_not_awaited(row: &mut Row) -> Result<(), Failure> {
    const QUERY: &str = "SELECT pg_catalog.current_setting('synchronized_standby_slots') = '' AND EXISTS \
        (SELECT FROM pg_catalog.pg_stat_get_wal_senders() AS w JOIN pg_catalog.pg_replication_slots AS s ON s.active_pid = w.pid \
          WHERE s.slot_type = 'physical' AND NOT s.temporary)";
    if server::VERSION_NUM < 170_000 || !settings::failover() {
        return Ok(());
    }
    if query::one::<bool>(QUERY, &[])?.unwrap_or(false) {
        let note = "synchronized_standby_slots is empty: the files may run ahead of the standby that takes over";
        row.reasons.push(note.to_owned());
    }
    Ok(())
}
