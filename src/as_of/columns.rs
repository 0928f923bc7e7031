//! The table's columns at the moment, as the program describes them, beside those of now.

use pgrx::datum::DatumWithOid;
use pgrx::prelude::*;
use serde::Deserialize;

use super::answer::unexpected;
use super::Flush;
use crate::pg::catalogs::table_type::{self, TableColumn};
use crate::pg::decoding::relation::OpenRelation;
use crate::pg::failure::Failure;
use crate::pg::server::{self, query};
use crate::pg::text::ServerText;
use crate::workers;

/// The first line of the program's output.
#[derive(Debug, Deserialize)]
struct Description {
    columns: Vec<Column>,
}

#[derive(Debug, Deserialize)]
struct Column {
    /// Its name at the moment.
    name: String,
    /// Its name now; none if it was dropped since.
    current: Option<String>,
    /// As `format_type()` shows it.
    #[serde(rename = "type")]
    of_type: String,
    /// Its values are not in the rows.
    #[serde(default)]
    generated: bool,
    /// Values of its type have been written otherwise since.
    #[serde(default)]
    retyped: bool,
}

/// For each attribute of the table, which of a row's texts has its value. An error says what of the table has changed so
/// that the rows of then are none of now's; a notice what they lack or have in addition.
pub fn compare(table: OpenRelation, line: &[u8]) -> Result<Vec<Option<usize>>, Failure> {
    // Names in another encoding than UTF-8 are converted, if the program has not done so.
    let line = match std::str::from_utf8(line) {
        Ok(line) => line.to_owned(),
        Err(_) => ServerText(line.to_vec()).to_utf8(),
    };
    let described: Description = serde_json::from_str(&line)
        .map_err(|error| unexpected("its first line").detail(error.to_string()))?;
    let now = table_type::columns(table);
    ensure_known(&described, &now)?;
    let mut wanted = vec![None; now.last().map_or(0, |last| last.index + 1)];
    for column in &now {
        wanted[column.index] = text_of(&described, column)?;
    }
    let gone = described
        .columns
        .iter()
        .filter(|column| column.current.is_none());
    let gone: Vec<&str> = gone.map(|column| column.name.as_str()).collect();
    if !gone.is_empty() {
        let message = format!(
            "columns that were dropped since then are left out: {}",
            gone.join(", ")
        );
        let code = PgSqlErrorCode::ERRCODE_SUCCESSFUL_COMPLETION;
        Failure::new(code, message).log(PgLogLevel::NOTICE);
    }
    Ok(wanted)
}

/// The columns are found by their names: the files must have the table's latest changes. Those of this transaction they cannot
/// have; others may not be in them yet, and are waited for. Until the lock is given back, there are no more.
pub fn ensure_in_files(table: OpenRelation, flush: Flush<'_>) -> Result<(), Failure> {
    let writers = table_type::writers_of_columns(table);
    if writers
        .iter()
        .copied()
        .any(table_type::is_of_this_transaction)
    {
        let code = PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;
        let message = "this transaction has changed the table's columns";
        return Err(Failure::new(code, message)
            .detail("The files do not have what is not committed.")
            .hint("Call incr_as_of() in another transaction than the change."));
    }
    // Whatever the slot needs no catalog rows of is in the files.
    let slot = ServerText::from_utf8(&workers::slot_name(server::my_database()));
    let needed = query::one::<i64>(NEEDED, &[DatumWithOid::from(slot)])?;
    let Some(needed) = needed else { return Ok(()) };
    let needed = pg_sys::TransactionId::from(needed as u32);
    if writers
        .into_iter()
        .any(|xid| !table_type::precedes(xid, needed))
    {
        flush()?;
    }
    Ok(())
}

/// The oldest transaction whose changes of the catalogs are to be decoded yet. None without a slot.
const NEEDED: &str =
    "SELECT max(catalog_xmin::text::int8) FROM pg_replication_slots WHERE slot_name = $1::name";

fn name_of(column: &TableColumn) -> String {
    ServerText(column.name.clone()).to_utf8()
}

/// What the files do not know yet, or no more, would be taken for a column without values, or left out.
fn ensure_known(described: &Description, now: &[TableColumn]) -> Result<(), Failure> {
    let names: Vec<String> = now.iter().map(name_of).collect();
    let current = described.columns.iter().filter_map(|c| c.current.as_ref());
    match current.into_iter().find(|name| !names.contains(name)) {
        None => Ok(()),
        Some(name) => {
            let code = PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;
            let message = format!("the files do not have the latest change of column \"{name}\"");
            Err(Failure::new(code, message).hint(
                "Run SELECT incr_flush(), in another transaction than the change, and try again.",
            ))
        }
    }
}

/// Which text has the values of a column of now. None if it did not exist then, or is computed.
fn text_of(described: &Description, column: &TableColumn) -> Result<Option<usize>, Failure> {
    let name = name_of(column);
    let mut written = described.columns.iter().filter(|c| !c.generated);
    let is_it = |then: &Column| then.current.as_ref() == Some(&name);
    if column.is_generated {
        return Ok(None);
    }
    if let Some(place) = written.clone().position(is_it) {
        let found = written.nth(place).expect("it was found there");
        let then = &found.of_type;
        let now = ServerText(column.of_type.clone()).to_utf8();
        if *then == now && !found.retyped {
            return Ok(Some(place));
        }
        let code = PgSqlErrorCode::ERRCODE_DATATYPE_MISMATCH;
        let message = if found.retyped {
            format!("column \"{name}\" had a type then that has changed since: {then}")
        } else {
            format!("column \"{name}\" had another type then: {then} instead of {now}")
        };
        return Err(Failure::new(code, message).hint(
            "`pg_incrbackup extract`, or a restore of this table, has the rows as they were.",
        ));
    }
    if described.columns.iter().any(is_it) {
        let code = PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED;
        let message =
            format!("column \"{name}\" was generated then: its values are not in the files");
        return Err(Failure::new(code, message).hint("A restore of this table computes them."));
    }
    Ok(None)
}
