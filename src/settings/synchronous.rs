//! Settings of commits that wait until they are in the files.
//!
//! Who may turn the wait off for a transaction may also shorten it: the first two belong to the session, as
//! synchronous_commit and lock_timeout do. What becomes of a commit that is not durable in time is a promise of the
//! DBA's, which no user can take back unseen: by shortening the wait he gets the WARNING earlier, and no more.

use std::time::Duration;

use pgrx::guc::{GucContext, GucFlags, GucRegistry, GucSetting};

use super::OnTimeout;

static SYNCHRONOUS: GucSetting<bool> = GucSetting::<bool>::new(false);
static TIMEOUT: GucSetting<i32> = GucSetting::<i32>::new(10_000);
static ON_TIMEOUT: GucSetting<OnTimeout> = GucSetting::<OnTimeout>::new(OnTimeout::Warn);

pub(super) fn define() {
    GucRegistry::define_bool_guc(
        c"pg_incrbackup.synchronous",
        c"Makes COMMIT return only when the transaction is in the files, fsynced.",
        c"The value at COMMIT counts. In a database that is not backed up it has no effect.",
        &SYNCHRONOUS,
        GucContext::Userset,
        GucFlags::default(),
    );
    GucRegistry::define_int_guc(
        c"pg_incrbackup.synchronous_timeout",
        c"Sets the time after which a COMMIT that waits for the files gives a WARNING.",
        c"synchronous_on_timeout says what follows. 0: never.",
        &TIMEOUT,
        0,
        i32::MAX,
        GucContext::Userset,
        GucFlags::UNIT_MS,
    );
    GucRegistry::define_enum_guc(
        c"pg_incrbackup.synchronous_on_timeout",
        c"Selects what happens to a COMMIT that is not in the files in time.",
        c"warn: it returns; wait: it goes on waiting until it is, or until the query is canceled. Only superusers can \
        change it.",
        &ON_TIMEOUT,
        GucContext::Suset,
        GucFlags::default(),
    );
}

/// Whether a commit waits until it is in the files.
pub fn synchronous() -> bool {
    SYNCHRONOUS.get()
}

/// How long; `None`: as long as it takes.
pub fn synchronous_timeout() -> Option<Duration> {
    Some(TIMEOUT.get())
        .filter(|millis| *millis > 0)
        .map(|millis| Duration::from_millis(millis as u64))
}

pub fn synchronous_on_timeout() -> OnTimeout {
    ON_TIMEOUT.get()
}
