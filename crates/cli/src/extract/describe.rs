//! The table in one line of JSON, for a program that reads the rows.

use archive::time::iso;
use archive::Lsn;
use archive_query::past::{Past, Table};
use serde_json::json;

use crate::error::{Error, Result};
use crate::restore::plan::Plan;

/// `table` is as of the moment, and `past` at the end of the files. Names are text: those that are not valid in UTF-8 are
/// refused.
pub fn line(plan: &Plan, past: &Past, (oid, table): (u32, &Table), lsn: Lsn) -> Result<Vec<u8>> {
    let later = past.tables().all.get(&oid);
    let later = later.filter(|later| later.unknown.is_none());
    let mut columns = Vec::new();
    for column in &table.shape.columns {
        let mut there = later.into_iter().flat_map(|later| &later.shape.columns);
        let current = there.find(|it| it.number == column.number);
        columns.push(json!({
            "name": text(&column.name)?,
            "current": current.map(|column| text(&column.name)).transpose()?,
            "type": text(&column.type_)?,
            "generated": column.is_generated,
            "retyped": past.is_retyped(oid, column.number),
        }));
    }
    let moment = past
        .last()
        .and_then(|last| last.commit_time)
        .unwrap_or(plan.base.metadata.taken_at);
    let line = json!({
        "oid": oid,
        "schema": text(&table.name.schema)?,
        "table": text(&table.name.table)?,
        "columns": columns,
        "encoding": plan.base.metadata.source.encoding,
        "moment": iso(moment),
        "lsn": lsn.to_string(),
    });
    let mut line = line.to_string().into_bytes();
    line.push(b'\n');
    Ok(line)
}

/// A name of the archive is in the database's encoding.
fn text(name: &[u8]) -> Result<&str> {
    std::str::from_utf8(name).map_err(|_| {
        let message = format!(
            "\"{}\" is not valid in UTF-8",
            String::from_utf8_lossy(name)
        );
        Error::failed(message, "--describe is for databases whose names are.")
    })
}
