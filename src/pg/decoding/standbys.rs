//! The standbys that a reader of a failover slot must not overtake (`synchronized_standby_slots`, from 17 on).
//!
//! Walsenders and the SQL functions of logical decoding wait until the standbys that the setting names have received the
//! WAL that they pass on: whatever a reader has, the standby that takes over has, too. Who decodes in his own process has
//! to wait himself. Nothing here waits: the caller asks, and asks again.

use std::ffi::CString;

use pgrx::prelude::*;

use super::slot;
use crate::pg::compat;
use crate::pg::server::guc;

/// The standbys of one slot's reader: none if it is no failover slot.
#[derive(Clone, Copy, Debug)]
pub struct Standbys {
    are_awaited: bool,
}

impl Standbys {
    /// Those of the reader of `slot`, whose failover property nobody changes meanwhile.
    pub fn of(slot: &str) -> Standbys {
        Standbys {
            are_awaited: slot::is_failover(slot),
        }
    }

    /// True if WAL that ends at `lsn` may be decoded. By the setting as it is now; what was true for an LSN remains so.
    pub fn have(self, lsn: u64) -> bool {
        !self.are_awaited || compat::standbys_have(lsn)
    }
}

/// The first of the slots in `synchronized_standby_slots` that has not confirmed `lsn`, and what is wrong with it, for
/// people: `replication slot "x", whose standby is not connected`.
pub fn awaited(lsn: u64) -> Option<String> {
    let list = guc::value(c"synchronized_standby_slots")?;
    // Names of slots have no characters that need quotes, which are allowed all the same.
    let names = list.split(',').map(|name| name.trim().trim_matches('"'));
    let mut names = names.filter(|name| !name.is_empty());
    names.find_map(|name| {
        let name = name.to_ascii_lowercase();
        let problem = problem(&name, lsn)?;
        Some(format!("replication slot \"{name}\", {problem}"))
    })
}

/// As StandbySlotsHaveCaughtup of slot.c has it.
fn problem(name: &str, lsn: u64) -> Option<&'static str> {
    let name = CString::new(name).ok()?;
    // SAFETY: the slot array lives in shared memory for ever; these are aligned words.
    let (data, pid) = unsafe {
        let slot = pg_sys::SearchNamedReplicationSlot(name.as_ptr(), true);
        if slot.is_null() {
            return Some("which does not exist");
        }
        ((*slot).data, (*slot).active_pid)
    };
    if data.database != pg_sys::InvalidOid {
        Some("which is no physical one")
    } else if slot::is_invalidated(&data) {
        Some("which has been invalidated")
    } else if data.restart_lsn >= lsn {
        None
    } else if pid == 0 {
        Some("whose standby is not connected")
    } else {
        Some("whose standby has not received it yet")
    }
}
