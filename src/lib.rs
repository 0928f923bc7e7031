//! pg_incrbackup: a live database becomes a directory of plain SQL, continuously.
//!
//! This file lists the rooms and calls their `init()` in order; each room's own file says what it
//! does. Direction of use: archive <- pg (the FFI fence) <- features <- api.

mod api;
mod backup;
mod capture;
mod cluster_changes;
mod ddl_log;
mod drill;
mod effects;
mod figures;
mod health;
mod history;
mod indexing;
mod launcher;
mod lost_extension;
mod offsite;
mod output_plugin;
mod passing;
mod pg;
mod place;
mod preflight;
mod replica_identity;
mod sequences;
mod settings;
mod status;
mod workers;

use pgrx::prelude::*;

::pgrx::pg_module_magic!(name, version);

/// Called when the library is loaded: by the postmaster when it is preloaded (everything), or by
/// one process that needs the output plugin or a function (settings only).
#[allow(non_snake_case)]
#[pg_guard]
pub extern "C-unwind" fn _PG_init() {
    settings::init();
    output_plugin::init();
    if pg::server::is_preloading() {
        pg::server::shared::init(settings::max_databases());
        launcher::init();
        ddl_log::init();
    }
}

#[cfg(test)]
pub mod pg_test {
    pub fn setup(_options: Vec<&str>) {}

    #[must_use]
    pub fn postgresql_conf_options() -> Vec<&'static str> {
        vec![
            "shared_preload_libraries = 'pg_incrbackup'",
            "wal_level = logical",
        ]
    }
}
