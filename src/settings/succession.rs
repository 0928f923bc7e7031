//! What a promoted server does with the archive of its former primary.

use std::time::Duration;

use pgrx::guc::{GucContext, GucFlags, GucRegistry, GucSetting};

use super::{int, TakeOver};

static TAKE_OVER: GucSetting<TakeOver> = GucSetting::<TakeOver>::new(TakeOver::Off);
static TAKE_OVER_DELAY: GucSetting<i32> = GucSetting::<i32>::new(30);

pub fn define() {
    GucRegistry::define_enum_guc(
        c"pg_incrbackup.take_over",
        c"Selects whether a promoted server takes over the archive of its former primary by itself.",
        c"off: only incr_setup(take_over => true) does; on_promotion: it goes on in the chain if it has the slot, its \
        history contains the owner's timeline, and no process of the owner has held its lock for take_over_delay. Only \
        where no copy of the server is ever promoted with the same directory.",
        &TAKE_OVER,
        GucContext::Sighup,
        GucFlags::default(),
    );
    int(
        c"pg_incrbackup.take_over_delay",
        c"Sets how long the lock of the archive's owner must have been free before a promoted server takes over.",
        c"It is looked at each second, and the time begins anew whenever a process of the owner holds it.",
        &TAKE_OVER_DELAY,
        (0, 3600),
        GucFlags::UNIT_S,
    );
}

/// Whether a promoted server takes over by itself.
pub fn take_over() -> TakeOver {
    TAKE_OVER.get()
}

/// For how long the owner's lock must have been free.
pub fn take_over_delay() -> Duration {
    Duration::from_secs(TAKE_OVER_DELAY.get() as u64)
}
