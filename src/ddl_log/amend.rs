//! Values that a statement fixed when it ran, and that its text would fix anew when replayed.

use pgrx::prelude::*;

use crate::pg::ddl_catalog::{is_immutable_default, with_bytes};
use crate::pg::ddl_identity::{with_descendants, OwnPrivileges};
use crate::pg::ddl_node::Sql;
use crate::pg::quote;
use crate::pg::session::OutputSettings;

/// The value that existing rows have of a column added with a default that is not rewritten into
/// them (pg_attribute.attmissingval), as text.
const MISSING_VALUES: &str = "SELECT bytes(n.nspname), bytes(c.relname), bytes(a.attname), \
     bytes((a.attmissingval::pg_catalog.text::pg_catalog.text[])[1]), bytes(d.adbin::pg_catalog.text) \
     FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid \
     JOIN pg_namespace n ON n.oid = c.relnamespace \
     JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum \
     WHERE a.attrelid = ANY ($1) AND a.atthasmissing AND c.relkind = 'r' \
     AND a.attmissingval IS NOT NULL ORDER BY n.nspname, c.relname, a.attnum";

/// What is to be run after an ALTER TABLE … ADD COLUMN so that the rows that existed have the values
/// that `now()` and its like had then; empty where there is nothing to fix.
pub fn fixed_values(tables: &[pg_sys::Oid], added_columns: &[Sql]) -> Sql {
    let mut sql = Vec::new();
    if added_columns.is_empty() {
        return sql;
    }
    let tables: Vec<pg_sys::Oid> = tables.iter().flat_map(|t| with_descendants(*t)).collect();
    let own = OwnPrivileges::enter();
    let mut output = OutputSettings::default();
    output.enter();
    let read = Spi::connect_mut(|client| {
        let mut rows = client.update(&with_bytes(MISSING_VALUES), None, &[tables.into()])?;
        while rows.next().is_some() {
            let text = |place| Ok::<_, spi::Error>(rows.get::<Vec<u8>>(place)?.unwrap_or_default());
            let column = text(3)?;
            if !added_columns.contains(&column) || is_immutable_default(&text(5)?) {
                continue;
            }
            sql.extend_from_slice(b"\n; UPDATE ONLY ");
            sql.extend_from_slice(&quote::qualified(&text(1)?, &text(2)?));
            sql.extend_from_slice(&[b" SET ", &quote::identifier(&column)[..], b" = "].concat());
            sql.extend_from_slice(&quote::literal(&text(4)?));
        }
        Ok::<_, spi::Error>(())
    });
    output.leave();
    own.leave();
    read.unwrap_or_else(|error| pgrx::error!("{error}"));
    sql
}
