//! DDL in the stream: every statement that changes the schema is written to ddl_history, in the same
//! transaction and before it takes effect, so that decoding finds it at its place.

mod amend;
mod canonical;
mod cluster;
mod frames;
mod history;
mod hook;
mod left_out;
mod objects;
mod plain;
mod plan;
mod reset;
mod secrets;
mod session;
mod stand_ins;
mod statement_text;
mod synthesize;
mod table_as_made;
mod ways;

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

pub use hook::record_own;

/// Puts the hooks in place. Only while shared_preload_libraries is processed.
pub fn init() {
    hook::init();
}
