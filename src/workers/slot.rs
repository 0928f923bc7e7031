//! The slot that makes a database a backed-up one.

use pgrx::prelude::*;

use crate::pg::decoding::slot;
use crate::settings;

/// Its name.
pub fn slot_name(database: pg_sys::Oid) -> String {
    format!("pg_incrbackup_{}", database.to_u32())
}

/// The output plugin of the slot that makes this database a backed-up one. Whoever has REPLICATION may give
/// a slot of theirs that name: ours is a logical one of this very database, on a plugin that we read.
pub fn slot_plugin(database: pg_sys::Oid) -> Option<String> {
    slot::plugin(&slot_name(database), database).filter(|plugin| is_our_plugin(plugin))
}

/// True for a database that is backed up.
pub fn has_slot(database: pg_sys::Oid) -> bool {
    slot_plugin(database).is_some()
}

/// True for a plugin that a chain of ours may have been begun with.
pub fn is_our_plugin(plugin: &str) -> bool {
    ["pg_incrbackup", "decoder_raw"].contains(&plugin) || plugin == settings::plugin()
}
