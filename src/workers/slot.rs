//! The slot that marks a database as backed up.

use pgrx::prelude::*;

use crate::pg::decoding::slot;
use crate::settings;

/// Its name.
pub fn slot_name(database: pg_sys::Oid) -> String {
    format!("pg_incrbackup_{}", database.to_u32())
}

/// The output plugin of the slot that marks this database as backed up. A role with REPLICATION may create a
/// slot with that name: ours is a logical one of this very database, with a plugin that we can read.
pub fn slot_plugin(database: pg_sys::Oid) -> Option<String> {
    slot::plugin(&slot_name(database), database).filter(|plugin| is_our_plugin(plugin))
}

/// True for a database that is backed up.
pub fn has_slot(database: pg_sys::Oid) -> bool {
    slot_plugin(database).is_some()
}

/// True for a plugin with which a chain of ours may have been started.
pub fn is_our_plugin(plugin: &str) -> bool {
    ["pg_incrbackup", "decoder_raw"].contains(&plugin) || plugin == settings::plugin()
}
