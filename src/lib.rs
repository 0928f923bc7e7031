//! pg_incrbackup: writes a live database to a directory of plain SQL, continuously.
//!
//! This file lists the modules and calls their `init()` in order; each module's own file describes it.
//! Dependencies: archive <- pg (all unsafe code) <- features <- api.

mod api;
mod as_of;
mod automatic_setup;
mod backup;
mod capture;
mod cluster_changes;
mod ddl_log;
mod drill;
mod effects;
mod figures;
mod health;
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
mod row_history;
mod sequences;
mod settings;
mod status;
mod synchronous;
mod workers;

use pgrx::prelude::*;

::pgrx::pg_module_magic!(name, version);

/// Called when the library is loaded: by the postmaster if it is preloaded (everything), or by a process that
/// needs the output plugin or a function (settings only).
#[allow(non_snake_case)]
#[pg_guard]
pub extern "C-unwind" fn _PG_init() {
    pg::failure::hide_backtraces();
    settings::init();
    output_plugin::init();
    if pg::server::is_preloading() {
        status::init(settings::max_databases());
        launcher::init();
        ddl_log::init();
        synchronous::init();
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
