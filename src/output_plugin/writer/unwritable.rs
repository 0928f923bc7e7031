//! Rows that could not be written as text, completely or in part: each leaves a flag with its table, its key
//! and the reason, and no value stops the stream.

use pgrx::prelude::*;

use super::super::relations::{written_columns, TableSql};
use super::Writer;
use crate::passing::raise_if_passing;
use crate::pg::decoding::callbacks::Change;
use crate::pg::decoding::invalidation;
use crate::pg::decoding::row_guard::guarded;
use crate::pg::decoding::value::Row;
use crate::pg::failure::Failure;

/// Maximum number of bytes of a key's value in a flag.
const LONGEST_KEY: usize = 100;

/// A value that cannot be output as text.
struct Unwritable {
    position: usize,
    column: String,
    /// NULL can be written instead.
    may_be_null: bool,
    reason: String,
}

impl Writer<'_> {
    /// The row could not be written as text. If this is because of values that may be NULL, NULL is written
    /// instead, so that later changes find the row; otherwise it is left out.
    pub(super) fn write_the_rest(
        &mut self,
        table: &mut TableSql,
        relation: pg_sys::Oid,
        change: &Change<'_>,
        failure: &Failure,
    ) {
        raise_if_passing(failure);
        // Caches of its output functions may be in an inconsistent state.
        invalidation::note_everything();
        let (old, new) = change.rows();
        let mut unwritable = values_without_text(table, old);
        unwritable.extend(values_without_text(table, new));
        if unwritable.is_empty() || !unwritable.iter().all(|value| value.may_be_null) {
            return self.leave_out(table, relation, change, &failure.in_full());
        }
        let row = named(table, change);
        let mut positions: Vec<usize> = Vec::new();
        for value in &unwritable {
            if !positions.contains(&value.position) {
                positions.push(value.position);
                let (column, reason) = (&value.column, &value.reason);
                self.flag(&format!(
                    "{row}: column {column} could not be output as text, NULL is written instead: {reason}"
                ));
            }
        }
        let [old, new] = [old, new].map(|row| row.map(|row| row.without(&positions)));
        let rest = match (change, &new) {
            (Change::Insert { .. }, Some(new)) => Change::Insert { new },
            (Change::Update { .. }, Some(new)) => Change::Update {
                old: old.as_ref(),
                new,
            },
            _ => Change::Delete { old: old.as_ref() },
        };
        if let Err(failure) = self.write_change(table, relation, &rest) {
            raise_if_passing(&failure);
            self.leave_out(table, relation, change, &failure.in_full());
        }
    }

    fn leave_out(
        &mut self,
        table: &mut TableSql,
        relation: pg_sys::Oid,
        change: &Change<'_>,
        reason: &str,
    ) {
        let row = named(table, change);
        let name = table.target.clone();
        self.lose_rows(relation, &name, &format!("{row} is left out: {reason}"));
    }

    /// A row whose text PostgreSQL could not read.
    pub(super) fn flag_long_row(
        &mut self,
        table: &mut TableSql,
        relation: pg_sys::Oid,
        change: &Change<'_>,
    ) {
        let reason = "no server can read a row of 1 GB of text, or a literal of 512 MB";
        self.leave_out(table, relation, change, reason);
    }
}

fn values_without_text(table: &mut TableSql, row: Option<&Row>) -> Vec<Unwritable> {
    let Some(row) = row else { return Vec::new() };
    let mut found = Vec::new();
    for column in written_columns(&table.description.columns) {
        let value = row.get(column.index);
        let Some(value) = value.filter(|value| !column.is_unchanged_toast(*value)) else {
            continue;
        };
        let output = &column.kind.output;
        if let Err(failure) = guarded(|| output.with_text(value, |_| ())) {
            raise_if_passing(&failure);
            found.push(Unwritable {
                position: column.index,
                column: String::from_utf8_lossy(&column.quoted).into_owned(),
                may_be_null: !column.is_key && !column.may_refuse_null(),
                reason: failure.in_full(),
            });
        }
    }
    found
}

/// `INSERT on public.t (id = 1)`: with the key if there is one and it can be written.
fn named(table: &mut TableSql, change: &Change<'_>) -> String {
    let (old, new) = change.rows();
    let mut key = Vec::new();
    if let Some(row) = old.or(new) {
        let columns = table.description.columns.iter();
        for column in columns.filter(|column| column.is_key) {
            let Some(value) = row.get(column.index) else {
                continue;
            };
            let mut text = Vec::new();
            let output = &column.kind.output;
            if !matches!(guarded(|| output.push_text(value, &mut text)), Ok(true)) {
                text = b"?".to_vec();
            }
            text.truncate(LONGEST_KEY);
            let (name, text) = (&column.quoted, String::from_utf8_lossy(&text));
            key.push(format!("{} = {text}", String::from_utf8_lossy(name)));
        }
    }
    let name = String::from_utf8_lossy(&table.target);
    if key.is_empty() {
        format!("{} on {name}", change.verb())
    } else {
        format!("{} on {name} ({})", change.verb(), key.join(", "))
    }
}
