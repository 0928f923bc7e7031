//! The table's columns at the moment, as the program describes them, beside those of now.

use pgrx::prelude::*;
use serde::Deserialize;

use super::answer::unexpected;
use crate::pg::catalogs::table_type::{self, TableColumn};
use crate::pg::decoding::relation::OpenRelation;
use crate::pg::failure::Failure;
use crate::pg::text::ServerText;

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
        let then = &written.nth(place).expect("it was found there").of_type;
        let now = ServerText(column.of_type.clone()).to_utf8();
        if *then == now {
            return Ok(Some(place));
        }
        let code = PgSqlErrorCode::ERRCODE_DATATYPE_MISMATCH;
        let message = format!("column \"{name}\" had another type then: {then} instead of {now}");
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
