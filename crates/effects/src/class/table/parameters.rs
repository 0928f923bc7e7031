//! Storage parameters that ALTER TABLE cannot set.

use super::Table;
use crate::object::Object;
use crate::text::{literal, unquoted};

/// Storage parameters of which one is unknown to ALTER TABLE: a superuser has updated the catalog.
pub fn unknown_to_alter(table: &Table) -> Option<String> {
    let options = table.options.as_deref().unwrap_or_default();
    let is_known = |(name, _): &(String, Option<String>)| {
        name.starts_with("autovacuum_") || KNOWN_OPTIONS.contains(&name.as_str())
    };
    if table.version >= 190_000 || options.iter().all(is_known) {
        return None;
    }
    let option = |(name, value): &(String, Option<String>)| {
        let value = value
            .as_ref()
            .map_or_else(String::new, |value| format!("={value}"));
        literal(&format!("{}{value}", unquoted(name)))
    };
    let list: Vec<String> = options.iter().map(option).collect();
    Some(format!(
        "UPDATE pg_catalog.pg_class SET reloptions = ARRAY[{}] WHERE oid = {}::pg_catalog.regclass",
        list.join(", "),
        literal(&table.target())
    ))
}

/// Those of tables in access/common/reloptions.c up to 18, except autovacuum's.
const KNOWN_OPTIONS: [&str; 8] = [
    "fillfactor",
    "log_autovacuum_min_duration",
    "parallel_workers",
    "toast_tuple_target",
    "user_catalog_table",
    "vacuum_index_cleanup",
    "vacuum_max_eager_freeze_failure_rate",
    "vacuum_truncate",
];
