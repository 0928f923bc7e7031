//! Recording of DDL: every statement that changes the schema is written to ddl_history, in the same
//! transaction and before it takes effect, so that decoding finds it at its place.
//!
//! [`words`] is the usual way: the text alone, since our own output plugin reads the effects from the
//! catalogs. [`by_text`] is for the few statements whose text is replayed; [`decoder_raw`] for all, with
//! another plugin.

mod by_text;
mod canonical;
mod cluster;
mod ddl_history;
mod decoder_raw;
mod hook;
pub mod mark;
mod objects;
mod plan;
mod record_mode;
mod reset;
mod running;
mod secrets;
mod session;
mod statement_text;
mod subject;
mod who;
mod words;

use pgrx::prelude::*;

extension_sql_file!("../../sql/ddl_history.sql", name = "ddl_history");
extension_sql_file!(
    "../../sql/ddl_triggers.sql",
    name = "ddl_triggers",
    requires = [
        "ddl_history",
        objects::incr_ddl_command_end,
        objects::incr_sql_drop,
        objects::incr_table_rewrite,
        objects::incr_refuse_write
    ]
);

/// Installs the hooks. Only while shared_preload_libraries is processed.
pub fn init() {
    hook::init();
}
