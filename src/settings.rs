//! Every setting of the extension: its name, unit, default, range and a typed getter.
//!
//! Nothing else in the project reads a `pg_incrbackup.*` value. The settings are registered in `_PG_init`,
//! whether the library was preloaded or loaded on demand (as an output plugin, for example). A setting that
//! needs a restart can only be defined as PGC_POSTMASTER if the library is preloaded.

mod base;
mod choices;
mod drills;
mod offsite;
mod succession;
mod synchronous;

use std::ffi::CString;
use std::path::PathBuf;
use std::time::Duration;

use pgrx::guc::{GucContext, GucFlags, GucRegistry, GucSetting};

pub use self::base::{
    base_format, base_jobs, base_schedule, base_spread, base_workers, bin_directory, databases,
    dump_conninfo, retention,
};
pub use self::choices::{
    BaseFormat, Confirm, KeylessTables, LagAction, OnChainBreak, OnLogError, OnTimeout, Reader,
    TakeOver,
};
pub use self::drills::{
    drill_conninfo, drill_directory, drill_max_age, drill_schedule, drill_timeout,
};
pub use self::offsite::{archive_command, confirm, offsite, Offsite};
pub use self::succession::{take_over, take_over_delay};
pub use self::synchronous::{synchronous, synchronous_on_timeout, synchronous_timeout};
use crate::pg;

type Text = GucSetting<Option<CString>>;

/// Maximum of `pg_incrbackup.max_databases`.
pub const MOST_DATABASES: usize = 10_000;

/// In minutes.
const DAY: i32 = 24 * 60;

static DIRECTORY: Text = Text::new(Some(c""));
static PLUGIN: Text = Text::new(Some(c"pg_incrbackup"));
static READER: GucSetting<Reader> = GucSetting::<Reader>::new(Reader::Stream);
static ROTATE_SIZE: GucSetting<i32> = GucSetting::<i32>::new(64 * 1024);
static ROTATE_INTERVAL: GucSetting<i32> = GucSetting::<i32>::new(3600);
static FSYNC_INTERVAL: GucSetting<i32> = GucSetting::<i32>::new(0);
static MAX_DATABASES: GucSetting<i32> = GucSetting::<i32>::new(128);
static DECODING_WORK_MEM: GucSetting<i32> = GucSetting::<i32>::new(0);
static COPY_THRESHOLD: GucSetting<i32> = GucSetting::<i32>::new(32);
static OLD_VALUES: GucSetting<bool> = GucSetting::<bool>::new(false);
static FAILOVER: GucSetting<bool> = GucSetting::<bool>::new(true);
static RECORD_WHO: GucSetting<bool> = GucSetting::<bool>::new(false);
static LAG_CRITICAL: GucSetting<i32> = GucSetting::<i32>::new(1024);
static LAG_EMERGENCY: GucSetting<i32> = GucSetting::<i32>::new(10 * 1024);
static AGE_EMERGENCY: GucSetting<i32> = GucSetting::<i32>::new(24 * 3600);
static LAG_ACTION: GucSetting<LagAction> = GucSetting::<LagAction>::new(LagAction::None);
static LAG_ACTION_DELAY: GucSetting<i32> = GucSetting::<i32>::new(600);
static ON_CHAIN_BREAK: GucSetting<OnChainBreak> =
    GucSetting::<OnChainBreak>::new(OnChainBreak::Stop);
static REPLICA_IDENTITY: GucSetting<KeylessTables> =
    GucSetting::<KeylessTables>::new(KeylessTables::Full);
static ON_LOG_ERROR: GucSetting<OnLogError> = GucSetting::<OnLogError>::new(OnLogError::Warn);

/// Registers every setting and reserves the prefix. Called once, from `_PG_init`.
pub fn init() {
    define_capture();
    base::define();
    offsite::define();
    drills::define();
    succession::define();
    synchronous::define();
    define_health();
    pg::server::guc::reserve_prefix(c"pg_incrbackup");
}

fn define_capture() {
    pg::server::guc::define_path(
        c"pg_incrbackup.directory",
        c"Sets the root directory of the archive.",
        c"An absolute path outside the data directory. Empty disables capture. The directory is created with \
        mode 0700, its files with 0600.",
        &DIRECTORY,
    );
    GucRegistry::define_int_guc(
        c"pg_incrbackup.max_databases",
        c"Sets the maximum number of databases of the cluster that are backed up.",
        c"Each needs a few kilobytes of shared memory.",
        &MAX_DATABASES,
        1,
        MOST_DATABASES as i32,
        if pg::server::is_preloading() {
            GucContext::Postmaster
        } else {
            GucContext::Sighup
        },
        GucFlags::default(),
    );
    pg::server::guc::define_text(
        c"pg_incrbackup.plugin",
        c"Sets the output plugin of slots created by incr_setup().",
        c"pg_incrbackup, or decoder_raw where its library is installed. A slot keeps the plugin it was created with.",
        &PLUGIN,
    );
    GucRegistry::define_enum_guc(
        c"pg_incrbackup.reader",
        c"Selects how a capture worker reads its slot.",
        c"stream decodes in the worker's own process; poll calls pg_logical_slot_peek_changes.",
        &READER,
        GucContext::Sighup,
        GucFlags::default(),
    );
    GucRegistry::define_bool_guc(
        c"pg_incrbackup.failover",
        c"Makes the slots failover slots, which standbys with sync_replication_slots keep in step.",
        c"From PostgreSQL 17 on. Capture then waits for the standbys of synchronized_standby_slots.",
        &FAILOVER,
        GucContext::Sighup,
        GucFlags::default(),
    );
    int(
        c"pg_incrbackup.rotate_size",
        c"Sets the size at which a segment is closed.",
        c"A segment is closed at the first transaction end past this size.",
        &ROTATE_SIZE,
        (64, i32::MAX),
        GucFlags::UNIT_KB,
    );
    int(
        c"pg_incrbackup.rotate_interval",
        c"Sets the age at which a segment is closed.",
        c"A segment that is not empty is closed at the first transaction end past this age. 0: by size only.",
        &ROTATE_INTERVAL,
        (0, 30 * 24 * 3600),
        GucFlags::UNIT_S,
    );
    int(
        c"pg_incrbackup.fsync_interval",
        c"Sets the minimum time between two fsyncs of the open segment.",
        c"0: fsync whenever the worker has caught up, at latest each second or 16 MB.",
        &FSYNC_INTERVAL,
        (0, 60_000),
        GucFlags::UNIT_MS,
    );
    int(
        c"pg_incrbackup.decoding_work_mem",
        c"Sets logical_decoding_work_mem of the capture worker.",
        c"0: the server's own value. Transactions larger than this are spilled to disk until they commit.",
        &DECODING_WORK_MEM,
        (0, i32::MAX),
        GucFlags::UNIT_KB,
    );
    int(
        c"pg_incrbackup.copy_threshold",
        c"Sets the number of rows after which a run of INSERTs is written as a COPY block.",
        c"Counts rows inserted into one table without a change to another in between. 0: never.",
        &COPY_THRESHOLD,
        (0, i32::MAX),
        GucFlags::default(),
    );
    GucRegistry::define_bool_guc(
        c"pg_incrbackup.old_values",
        c"Adds the old values of what an UPDATE changed to its line.",
        c"As a comment, for tables with REPLICA IDENTITY FULL and a key.",
        &OLD_VALUES,
        GucContext::Sighup,
        GucFlags::default(),
    );
    GucRegistry::define_bool_guc(
        c"pg_incrbackup.record_who",
        c"Records the role, application name and client address of each transaction that changes something.",
        c"In the WAL, and from there in the segments. Only superusers can change it.",
        &RECORD_WHO,
        GucContext::Suset,
        GucFlags::default(),
    );
    GucRegistry::define_enum_guc(
        c"pg_incrbackup.replica_identity",
        c"Selects how UPDATE and DELETE on tables without a key are handled.",
        c"full: a suitable unique index or REPLICA IDENTITY FULL is set; error: they fail; warn: health \
        reports the table.",
        &REPLICA_IDENTITY,
        GucContext::Sighup,
        GucFlags::default(),
    );
    GucRegistry::define_enum_guc(
        c"pg_incrbackup.on_log_error",
        c"Selects what happens to a statement whose DDL cannot be recorded.",
        c"warn: it continues, and effects that are not visible in the catalogs are lost until the base backup \
        that follows; error: it fails.",
        &ON_LOG_ERROR,
        GucContext::Suset,
        GucFlags::default(),
    );
}

fn define_health() {
    int(
        c"pg_incrbackup.lag_critical",
        c"Sets the amount of WAL held by the slot at which incr_slot_health() reports critical.",
        c"Counts from the slot's restart_lsn to the server's current position.",
        &LAG_CRITICAL,
        (1, i32::MAX),
        GucFlags::UNIT_MB,
    );
    int(
        c"pg_incrbackup.lag_emergency",
        c"Sets the amount of WAL held by the slot at which incr_slot_health() reports emergency.",
        c"Counts from the slot's restart_lsn to the server's current position.",
        &LAG_EMERGENCY,
        (1, i32::MAX),
        GucFlags::UNIT_MB,
    );
    int(
        c"pg_incrbackup.age_emergency",
        c"Sets the age of the oldest commit not yet on disk at which incr_slot_health() reports emergency.",
        c"Zero when capture has caught up.",
        &AGE_EMERGENCY,
        (1, i32::MAX),
        GucFlags::UNIT_S,
    );
    GucRegistry::define_enum_guc(
        c"pg_incrbackup.lag_action",
        c"Selects what happens to a slot that endangers the server's disk.",
        c"drop_slot: it is dropped, which ends the chain, when it holds more WAL than lag_emergency and capture has not advanced for lag_action_delay.",
        &LAG_ACTION,
        GucContext::Sighup,
        GucFlags::default(),
    );
    int(
        c"pg_incrbackup.lag_action_delay",
        c"Sets how long capture must have made no progress before lag_action takes effect.",
        c"Counts from the last advance of the slot or of the worker's read position, and from the server's start.",
        &LAG_ACTION_DELAY,
        (1, 7 * 24 * 3600),
        GucFlags::UNIT_S,
    );
    GucRegistry::define_enum_guc(
        c"pg_incrbackup.on_chain_break",
        c"Selects what happens when WAL or files were lost, or the server was reset to an earlier state.",
        c"stop: capture waits for incr_setup(new_chain => true); rebase: a new slot, chain and base backup \
        are created immediately.",
        &ON_CHAIN_BREAK,
        GucContext::Sighup,
        GucFlags::default(),
    );
}

fn int(
    name: &'static std::ffi::CStr,
    short: &'static std::ffi::CStr,
    long: &'static std::ffi::CStr,
    setting: &'static GucSetting<i32>,
    (min, max): (i32, i32),
    unit: GucFlags,
) {
    GucRegistry::define_int_guc(
        name,
        short,
        long,
        setting,
        min,
        max,
        GucContext::Sighup,
        unit,
    );
}

fn text(setting: &'static Text) -> String {
    setting
        .get()
        .map(|value| value.to_string_lossy().into_owned())
        .unwrap_or_default()
}

fn bytes(setting: &'static Text) -> Vec<u8> {
    setting.get().map(CString::into_bytes).unwrap_or_default()
}

fn path(setting: &'static Text) -> Option<PathBuf> {
    use std::os::unix::ffi::OsStringExt;
    let bytes = bytes(setting);
    (!bytes.is_empty()).then(|| PathBuf::from(std::ffi::OsString::from_vec(bytes)))
}

/// Settings that a capture worker reads when it starts; if one of these changes, it is restarted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AtStart {
    directory: Option<PathBuf>,
    reader: Reader,
    decoding_work_mem_kb: Option<i32>,
    copy_threshold: u32,
    old_values: bool,
    failover: bool,
    confirm: Confirm,
}

/// The current values of [`AtStart`].
pub fn at_start() -> AtStart {
    AtStart {
        directory: directory(),
        reader: reader(),
        decoding_work_mem_kb: decoding_work_mem_kb(),
        copy_threshold: copy_threshold(),
        old_values: old_values(),
        failover: failover(),
        confirm: confirm(),
    }
}

/// Root of the archive; `None` disables capture.
pub fn directory() -> Option<PathBuf> {
    path(&DIRECTORY)
}

/// Output plugin for new slots.
pub fn plugin() -> String {
    text(&PLUGIN)
}

pub fn reader() -> Reader {
    READER.get()
}

/// Whether slots are failover slots, on servers that know them (17 and later).
pub fn failover() -> bool {
    FAILOVER.get()
}

/// Bytes after which a segment is closed.
pub fn rotate_size() -> u64 {
    ROTATE_SIZE.get() as u64 * 1024
}

/// Age after which a segment is closed; `None`: by size only.
pub fn rotate_interval() -> Option<Duration> {
    match ROTATE_INTERVAL.get() {
        0 => None,
        seconds => Some(Duration::from_secs(seconds as u64)),
    }
}

/// Minimum time between two fsyncs; zero: whenever caught up.
pub fn fsync_interval() -> Duration {
    Duration::from_millis(FSYNC_INTERVAL.get() as u64)
}

/// Maximum number of databases that are backed up.
pub fn max_databases() -> usize {
    usize::try_from(MAX_DATABASES.get()).unwrap_or_default()
}

/// `logical_decoding_work_mem` for the worker in kB; `None`: the server's own.
pub fn decoding_work_mem_kb() -> Option<i32> {
    Some(DECODING_WORK_MEM.get()).filter(|kb| *kb > 0)
}

/// Number of rows after which a run of INSERTs is written as COPY; zero: never.
pub fn copy_threshold() -> u32 {
    COPY_THRESHOLD.get() as u32
}

/// Whether UPDATEs show the old values of what they changed.
pub fn old_values() -> bool {
    OLD_VALUES.get()
}

/// Whether transactions of this session record who made them.
pub fn record_who() -> bool {
    RECORD_WHO.get()
}

/// Bytes of WAL held at which health is critical.
pub fn lag_critical() -> u64 {
    LAG_CRITICAL.get() as u64 * 1024 * 1024
}

/// Bytes of WAL held at which health is emergency.
pub fn lag_emergency() -> u64 {
    LAG_EMERGENCY.get() as u64 * 1024 * 1024
}

pub fn age_emergency() -> Duration {
    Duration::from_secs(AGE_EMERGENCY.get() as u64)
}

pub fn lag_action() -> LagAction {
    LAG_ACTION.get()
}

pub fn lag_action_delay() -> Duration {
    Duration::from_secs(LAG_ACTION_DELAY.get() as u64)
}

pub fn on_chain_break() -> OnChainBreak {
    ON_CHAIN_BREAK.get()
}

pub fn keyless_tables() -> KeylessTables {
    REPLICA_IDENTITY.get()
}

pub fn on_log_error() -> OnLogError {
    ON_LOG_ERROR.get()
}
