//! Replication slots: creating one together with its exported snapshot, dropping one, and its properties.
//!
//! Slots are created as by CreateReplicationSlot of PostgreSQL's walsender.c. The slot is ephemeral until
//! everything that belongs to it is durable: if this process exits before, because of an error, a signal or a
//! crash, it leaves no slot behind. Until then [`plugin`] ignores it, so the launcher never sees a slot
//! without its chain.

use std::ffi::{CStr, CString};

use pgrx::pg_sys::ffi::pg_guard_ffi_boundary;
use pgrx::pg_sys::panic::ErrorReportable;
use pgrx::prelude::*;

use super::snapshot;
use crate::pg::compat;
use crate::pg::declared;
use crate::pg::server::{self, guc, session, transaction};

extern "C-unwind" {
    // replication/snapbuild.h
    fn SnapBuildExportSnapshot(builder: *mut pg_sys::SnapBuild) -> *const std::ffi::c_char;
}

/// A slot being created: held by this process, and dropped with it until [`NewSlot::persist`].
pub struct NewSlot {
    /// The slot's start point: every transaction that commits after it is decoded, and none that is visible
    /// to the snapshot.
    pub start_lsn: u64,
    /// The snapshot at exactly that point. It can be imported until [`NewSlot::end_export`].
    pub snapshot: snapshot::Exported,
}

impl NewSlot {
    /// Creates the ephemeral slot `name` and waits until it has its start point, which takes as long as the
    /// oldest transaction of the cluster that has an xid. Outside any transaction; leaves one open, which
    /// exports the snapshot: no queries until [`NewSlot::end_export`]. `failover` has no effect before 17.
    pub fn create(name: &str, plugin: &str, failover: bool) -> NewSlot {
        allow_output_plugin(plugin);
        let name = CString::new(name).unwrap_or_default();
        let plugin = CString::new(plugin).unwrap_or_default();
        let exported = export(&name, &plugin, failover);
        // SAFETY: the slot was made by this process, which still holds it.
        let start_lsn = unsafe { (*pg_sys::MyReplicationSlot).data.confirmed_flush };
        NewSlot {
            start_lsn,
            snapshot: snapshot::Exported::read(&exported, start_lsn),
        }
    }

    /// Makes the slot persistent, and releases it for other processes.
    pub fn persist(&self) {
        // SAFETY: this process holds the slot.
        unsafe {
            pg_sys::ReplicationSlotPersist();
            pg_sys::ReplicationSlotRelease();
        }
    }

    /// Ends the transaction that exports the snapshot. It commits: an abort would also release the fence, a
    /// session-level lock.
    pub fn end_export(&self) {
        transaction::commit();
    }
}

/// Creates the slot, finds its start point and exports the snapshot; returns the snapshot's name.
fn export(name: &CStr, plugin: &CStr, failover: bool) -> String {
    // SAFETY: the order of walsender.c. Decoding reads the catalogs outside a transaction, with a
    // resource owner that lives as long as this process. The last call has no binding of its own,
    // so it is guarded here; nothing with a destructor is alive across it.
    unsafe {
        if pg_sys::CurrentResourceOwner.is_null() {
            pg_sys::CurrentResourceOwner = pg_sys::ResourceOwnerCreate(
                std::ptr::null_mut(),
                c"pg_incrbackup slot creation".as_ptr(),
            );
        }
        pg_sys::CheckLogicalDecodingRequirements();
        compat::create_slot(name, failover);
        let mut routine = declared::waiting_wal_routine();
        let context = pg_sys::CreateInitDecodingContext(
            plugin.as_ptr(),
            std::ptr::null_mut(),
            true,
            pg_sys::InvalidXLogRecPtr.into(),
            &mut routine,
            None,
            None,
            None,
        );
        pg_sys::DecodingContextFindStartpoint(context);
        let builder = (*context).snapshot_builder;
        let exported = pg_guard_ffi_boundary(|| SnapBuildExportSnapshot(builder));
        let exported = CStr::from_ptr(exported).to_string_lossy().into_owned();
        pg_sys::FreeDecodingContext(context);
        exported
    }
}

/// Drops the slot `name`. Raises an error if another process holds it (55006) or if it does not exist
/// (42704).
pub fn drop(name: &str) {
    let name = CString::new(name).unwrap_or_default();
    // SAFETY: the name is NUL-terminated.
    unsafe { pg_sys::ReplicationSlotDrop(name.as_ptr(), true) }
}

/// Makes the slot `name` a failover slot, or no longer one, where it differs: one that an older version has made, or made
/// before the setting was changed. Raises an error if it cannot be acquired. If another process holds it this does
/// nothing: acquiring it for its own sake is refused, too, and this would wait.
pub fn set_failover(name: &str, failover: bool) {
    let Ok(name) = CString::new(name) else {
        return;
    };
    // SAFETY: the slot array lives in shared memory for ever; these are aligned words.
    let differs = unsafe {
        let slot = pg_sys::SearchNamedReplicationSlot(name.as_ptr(), true);
        let is_free = !slot.is_null() && (*slot).active_pid == 0;
        is_free && compat::is_failover_slot(&(*slot).data) == Some(!failover)
    };
    if differs {
        compat::alter_slot(&name, failover);
    }
}

/// Whether the slot `name` is a failover slot.
pub fn is_failover(name: &str) -> bool {
    find(name).and_then(|data| compat::is_failover_slot(&data)) == Some(true)
}

/// Databases with a logical slot that this server has made as a failover slot, that no process holds, and that is not kept in
/// step with one of a primary: on a standby, what is left of the time when it was the primary (a standby can make no failover
/// slot). Each of them may have several. None before 17. Without a transaction.
pub fn own_failover_slots() -> Vec<(String, pg_sys::Oid)> {
    let mut found = Vec::new();
    // SAFETY: the slot array lives in shared memory for ever. Nothing is locked: what changes meanwhile is judged anew when
    // the slot is acquired, and each name ends within its field.
    unsafe {
        let slots = (&raw const (*pg_sys::ReplicationSlotCtl).replication_slots)
            .cast::<pg_sys::ReplicationSlot>();
        for at in 0..pg_sys::max_replication_slots as usize {
            let slot = slots.add(at);
            let is_free = (*slot).in_use && (*slot).active_pid == 0;
            let data = &raw const (*slot).data;
            let is_own = compat::is_failover_slot(&*data) == Some(true)
                && compat::is_synced_slot(&*data) == Some(false);
            if is_free && is_own && (*data).database != pg_sys::InvalidOid {
                let name = CStr::from_ptr((*data).name.data.as_ptr());
                found.push((name.to_string_lossy().into_owned(), (*data).database));
            }
        }
    }
    found
}

/// Lets this session use `plugin` if the server has the setting output_plugin_libraries (from the minor
/// releases of August 2026 on): every other plugin is refused with 42501. A superuser may extend it in a
/// session, as an unquoted list of exact names; on other servers this does nothing.
pub fn allow_output_plugin(plugin: &str) {
    const SETTING: &CStr = c"output_plugin_libraries";
    let Some(allowed) = guc::value(SETTING) else {
        return;
    };
    if !allowed.split(',').any(|name| name.trim() == plugin) {
        let separator = if allowed.trim().is_empty() { "" } else { ", " };
        session::set_text(SETTING, &format!("{allowed}{separator}{plugin}"));
    }
}

/// The persistent data of the slot `name`, copied, if its creation is finished; read without a transaction.
/// An ephemeral slot belongs to a running incr_setup(), which has not made its chain durable yet.
fn find(name: &str) -> Option<pg_sys::ReplicationSlotPersistentData> {
    let name = CString::new(name).unwrap_or_default();
    // SAFETY: the slot array lives in shared memory for ever. What is used of the copy are aligned words,
    // and the plugin's name, which never changes once a slot is persistent.
    let data = unsafe {
        let slot = pg_sys::SearchNamedReplicationSlot(name.as_ptr(), true);
        (!slot.is_null()).then(|| (*slot).data)
    };
    data.filter(|data| data.persistency == pg_sys::ReplicationSlotPersistency::RS_PERSISTENT)
}

/// Plugin of the slot `name`, if that is a logical one of `database`: other users may have given any name to
/// any slot.
pub fn plugin(name: &str, database: pg_sys::Oid) -> Option<String> {
    let data = find(name).filter(|data| data.database == database)?;
    // SAFETY: NUL-terminated.
    let plugin = unsafe { CStr::from_ptr(data.plugin.data.as_ptr()) };
    Some(plugin.to_string_lossy().into_owned())
}

/// The position of a slot.
#[derive(Clone, Copy, Debug)]
pub struct Position {
    /// The server retains WAL from here on.
    pub restart_lsn: u64,
    pub confirmed_lsn: u64,
    /// Nothing can be read from it any more.
    pub is_invalidated: bool,
    /// What is missing then, as far as that is known.
    pub why_invalidated: &'static str,
}

/// The position of the slot `name`.
pub fn position(name: &str) -> Option<Position> {
    let data = find(name)?;
    Some(Position {
        restart_lsn: data.restart_lsn,
        confirmed_lsn: data.confirmed_flush,
        is_invalidated: is_invalidated(&data) || data.restart_lsn == 0,
        why_invalidated: why_invalidated(&data),
    })
}

/// From where on the slot `name` reads WAL, and the oldest transaction whose deleted rows of catalogs it needs.
#[cfg(feature = "pg15")]
pub(super) fn needs(name: &str) -> Option<(u64, pg_sys::TransactionId)> {
    find(name).map(|data| (data.restart_lsn, data.catalog_xmin))
}

const WAL_REMOVED: &str = "WAL that it needs has been removed (max_slot_wal_keep_size)";

#[cfg(feature = "pg15")]
fn why_invalidated(_data: &pg_sys::ReplicationSlotPersistentData) -> &'static str {
    WAL_REMOVED
}

#[cfg(not(feature = "pg15"))]
fn why_invalidated(data: &pg_sys::ReplicationSlotPersistentData) -> &'static str {
    use pg_sys::ReplicationSlotInvalidationCause as Cause;
    match data.invalidated {
        Cause::RS_INVAL_HORIZON => {
            "rows of catalogs that it needs have been removed, while this server was a standby"
        }
        Cause::RS_INVAL_WAL_LEVEL => "wal_level was too low on the primary",
        #[cfg(feature = "pg18")]
        Cause::RS_INVAL_IDLE_TIMEOUT => "it was idle for longer than idle_replication_slot_timeout",
        _ => WAL_REMOVED,
    }
}

/// True if the server has removed what the slot needs.
pub(super) fn is_invalidated(data: &pg_sys::ReplicationSlotPersistentData) -> bool {
    #[cfg(feature = "pg15")]
    return data.invalidated_at != 0;
    #[cfg(not(feature = "pg15"))]
    return data.invalidated != pg_sys::ReplicationSlotInvalidationCause::RS_INVAL_NONE;
}

/// The properties of a slot in pg_replication_slots.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    pub name: String,
    pub plugin: Option<String>,
    /// OID of its database.
    pub database: pg_sys::Oid,
    pub active_pid: Option<i32>,
    pub restart_lsn: u64,
    pub confirmed_lsn: u64,
    pub wal_status: Option<String>,
    pub safe_wal_size: Option<i64>,
    /// Kept in step with a slot of the primary; `None` before 17.
    pub is_synced: Option<bool>,
}

/// Properties of the slot `name`; `None` if there is no such slot. Needs a transaction.
pub fn facts(name: &str) -> Option<Facts> {
    all().into_iter().find(|slot| slot.name == name)
}

/// Properties of every logical slot of the cluster. Needs a transaction.
pub fn all() -> Vec<Facts> {
    // Before 17 pg_replication_slots has no such column.
    let is_synced = match server::VERSION_NUM {
        170_000.. => "synced",
        _ => "NULL::pg_catalog.bool",
    };
    let query = format!(
        "SELECT slot_name::text, plugin::text, datoid, active_pid, \
        (restart_lsn - '0/0'::pg_catalog.pg_lsn)::int8, \
        (confirmed_flush_lsn - '0/0'::pg_catalog.pg_lsn)::int8, wal_status::text, safe_wal_size, {is_synced} \
        FROM pg_catalog.pg_replication_slots WHERE slot_type = 'logical' ORDER BY slot_name"
    );
    Spi::connect(|client| {
        let rows = client.select(&query, None, &[])?;
        rows.map(|row| {
            Ok(Facts {
                name: row.get::<String>(1)?.unwrap_or_default(),
                plugin: row.get(2)?,
                database: row.get(3)?.unwrap_or(pg_sys::InvalidOid),
                active_pid: row.get(4)?,
                restart_lsn: row.get::<i64>(5)?.unwrap_or(0) as u64,
                confirmed_lsn: row.get::<i64>(6)?.unwrap_or(0) as u64,
                wal_status: row.get(7)?,
                safe_wal_size: row.get(8)?,
                is_synced: row.get(9)?,
            })
        })
        .collect::<Result<Vec<_>, pgrx::spi::Error>>()
    })
    .unwrap_or_report()
}
