//! One row change as one SQL statement on one line.
//!
//! The dialect is decoder_raw's: `INSERT INTO s.t (a, b) VALUES (1, 2);`, `UPDATE s.t SET a = 1, b = 3 WHERE
//! a = 1;`, `DELETE FROM s.t WHERE a = 1;`. Every UPDATE and DELETE identifies exactly one row, also among
//! duplicates in a table without a key.
//!
//! Of a table with REPLICA IDENTITY FULL the old row is known. If the table has a key, an UPDATE only has the key and
//! what it changed, and a DELETE has the key first and then the rest of the row, each value once, so that the files
//! keep what was deleted: in its WHERE what compares alike at restore, and the others in a comment.

use pgrx::pg_sys;

use super::literal::{self, Place};
use super::relations::{written_columns, TableSql};
use super::was;
use crate::pg::decoding::column_type::Equality;
use crate::pg::decoding::relation::{Column, Identity};
use crate::pg::decoding::value::{push_hex, Form, Row};
use archive::literal::push_escaped;

/// PostgreSQL's lexer doubles its buffer for a literal, up to less than 1 GB (scan.l, addlit).
const LONGEST_LITERAL: usize = (1 << 29) - 1;

/// A statement, or a row of COPY, is stored in one allocation of less than 1 GB (MaxAllocSize in memutils.h),
/// and so is our output when it is read by `pg_logical_slot_get_changes`.
const LONGEST_LINE: usize = (1 << 30) - (1 << 16);

/// A comment does not have values of more bytes than this: making one of them takes several times its size in memory.
const LONGEST_SHOWN: usize = 4 << 20;

/// Behind a comparison of texts, which has the column's collation.
const EXACTLY: &[u8] = b" COLLATE pg_catalog.\"C\"";

/// Buffers that are reused from row to row.
const KEPT_ROOM: usize = 16 << 20;

/// The current line, and space for a value's text.
#[derive(Default)]
pub struct Line {
    pub sql: Vec<u8>,
    /// PostgreSQL could not read the line; it ends somewhere.
    pub is_too_long: bool,
}

impl Line {
    /// Starts a new line.
    pub fn clear(&mut self) {
        self.sql.clear();
        self.sql.shrink_to(KEPT_ROOM);
        self.is_too_long = false;
    }

    /// Ends a statement of this length as it was before a comment replaced its last byte.
    pub fn cut_old_values(&mut self, length: usize) {
        self.sql.truncate(length - 1);
        self.sql.push(b';');
        self.is_too_long = false;
    }

    /// Appends a value's text by `push`, unless it, or the line, is too long.
    fn push_text(
        &mut self,
        column: &Column,
        value: pg_sys::Datum,
        longest: usize,
        push: impl FnOnce(&mut Vec<u8>, &[u8]),
    ) {
        let sql = &mut self.sql;
        self.is_too_long = self.is_too_long
            || sql.len() > LONGEST_LINE
            || column.kind.output.with_text(value, |text| {
                let fits = text.len() <= longest;
                if fits {
                    push(sql, text);
                }
                fits && sql.len() <= LONGEST_LINE
            }) != Some(true);
    }

    /// The same of a value in hexadecimal digits: `before` them, with `\x` escaped, and behind them.
    fn push_hex(
        &mut self,
        column: &Column,
        value: pg_sys::Datum,
        longest: usize,
        (before, after): (&[u8], &[u8]),
    ) {
        let sql = &mut self.sql;
        self.is_too_long = self.is_too_long
            || sql.len() > LONGEST_LINE
            || column.kind.output.with_bytes(value, |bytes| {
                let fits = 2 * bytes.len() + 2 <= longest;
                if fits {
                    sql.extend_from_slice(before);
                    push_hex(bytes, sql);
                    sql.extend_from_slice(after);
                }
                fits && sql.len() <= LONGEST_LINE
            }) != Some(true);
    }

    fn push(&mut self, sql: &[u8]) -> &mut Self {
        self.sql.extend_from_slice(sql);
        self
    }

    fn push_value(&mut self, column: &Column, row: &Row, place: Place) {
        let Some(value) = row.get(column.index) else {
            self.push(b"null");
            return;
        };
        let form = column.kind.output.form;
        if form == Form::Hex {
            return self.push_hex(column, value, LONGEST_LITERAL, (b"E'\\\\x", b"'"));
        }
        self.push_text(column, value, LONGEST_LITERAL, |sql, text| {
            literal::push(sql, form, text, place)
        });
    }
}

/// Appends an INSERT.
pub fn push_insert(line: &mut Line, table: &TableSql, row: &Row) {
    line.push(&table.insert_head);
    if !table.has_columns() {
        return;
    }
    for (nth, column) in written_columns(&table.description.columns).enumerate() {
        if nth > 0 {
            line.push(b", ");
        }
        line.push_value(column, row, Place::Value);
    }
    line.push(b");");
}

/// Appends one row of a COPY block, without its line end.
pub fn push_copy_row(line: &mut Line, table: &TableSql, row: &Row) {
    for (nth, column) in written_columns(&table.description.columns).enumerate() {
        if nth > 0 {
            line.push(b"\t");
        }
        let Some(value) = row.get(column.index) else {
            line.push(b"\\N");
            continue;
        };
        if column.kind.output.form == Form::Hex {
            line.push_hex(column, value, LONGEST_LINE, (b"\\\\x", b""));
            continue;
        }
        // The escapes of COPY's text format (PostgreSQL documentation, COPY, "File Formats").
        line.push_text(column, value, LONGEST_LINE, |sql, text| {
            push_escaped(sql, text, b'\t', b"\\t")
        });
    }
}

/// The result of an UPDATE.
#[derive(Debug, PartialEq, Eq)]
pub enum Update {
    Written,
    /// It changed nothing.
    Empty,
    /// It sets these columns, which are GENERATED ALWAYS AS IDENTITY, and needs [`identity_switch`].
    AlwaysIdentity(Vec<Vec<u8>>),
}

/// Appends an UPDATE. `old` contains the key (or the whole row) if it is in the WAL.
pub fn push_update(line: &mut Line, table: &TableSql, old: Option<&Row>, new: &Row) -> Update {
    let start = line.sql.len();
    line.push(b"UPDATE ")
        .push(table.only_target())
        .push(b" SET ");
    let is_full = table.identity() == Identity::Full;
    let mut always = Vec::new();
    let mut separator: &[u8] = b"";
    for column in written_columns(&table.description.columns) {
        if new
            .get(column.index)
            .is_some_and(|value| column.is_unchanged_toast(value))
        {
            continue;
        }
        // decoder_raw's dialect sets the key too; unchanged columns are omitted if the complete old row is
        // available, and if setting them would be an error.
        let may_be_left_out = is_full || column.is_identity_always;
        if may_be_left_out && is_known_same(column, is_full, old, new) {
            continue;
        }
        line.push(separator).push(&column.quoted).push(b" = ");
        line.push_value(column, new, Place::Value);
        separator = b", ";
        if column.is_identity_always {
            always.push(column.quoted.to_vec());
        }
    }
    if separator.is_empty() {
        line.sql.truncate(start);
        return Update::Empty;
    }
    push_where(line, table, old.unwrap_or(new), false);
    if always.is_empty() {
        Update::Written
    } else {
        Update::AlwaysIdentity(always)
    }
}

/// Adds the old values of what the UPDATE at the end of the line changed, unless its WHERE has them, as a comment in
/// front of the semicolon: the line still ends with the statement, as all who read it expect. False if the line would be
/// too long, and must be cut.
pub fn push_old_values(line: &mut Line, table: &TableSql, old: &Row, new: &Row) -> bool {
    if table.identity() != Identity::Full || !has_key(table, old) {
        return true;
    }
    let is_changed = |column: &&Column| {
        let is_unchanged = |value: &pg_sys::Datum| column.is_unchanged_toast(*value);
        let is_same = new.get(column.index).as_ref().is_some_and(is_unchanged)
            || is_known_same(column, true, Some(old), new);
        !column.is_key && !is_same && !old.is_unwritten(column.index)
    };
    let columns = written_columns(&table.description.columns).filter(is_changed);
    push_comment(line, columns, old)
}

/// True if the WAL proves that the UPDATE did not change the column.
fn is_known_same(column: &Column, is_full: bool, old: Option<&Row>, new: &Row) -> bool {
    match old {
        // No old key in the WAL: the key did not change.
        None => column.is_key,
        Some(old) if is_full || column.is_key => {
            match (old.get(column.index), new.get(column.index)) {
                (Some(old), Some(new)) => column.is_same(old, new),
                (None, None) => true,
                _ => false,
            }
        }
        Some(_) => false,
    }
}

/// Appends a DELETE of the row whose key, or whole image, is `old`.
pub fn push_delete(line: &mut Line, table: &TableSql, old: &Row) {
    line.push(b"DELETE FROM ");
    line.push(table.only_target());
    push_where(line, table, old, true);
    if line.is_too_long || table.identity() != Identity::Full || !has_key(table, old) {
        return;
    }
    let end = line.sql.len();
    let is_shown = |column: &&Column| {
        !column.is_key
            && has_text(column)
            && !old.is_unwritten(column.index)
            && !compares_alike(column, old)
    };
    let columns = written_columns(&table.description.columns).filter(is_shown);
    if !push_comment(line, columns, old) {
        line.cut_old_values(end);
    }
}

/// Adds what these columns have in `old` as a comment in front of the semicolon. False if the line would be too long, and
/// must be cut.
fn push_comment<'a>(line: &mut Line, columns: impl Iterator<Item = &'a Column>, old: &Row) -> bool {
    let end = line.sql.len() - 1;
    let mut before: &[u8] = was::BEGIN;
    for column in columns {
        let size = old
            .get(column.index)
            .map_or(0, |value| column.size_of(value));
        if size > LONGEST_SHOWN {
            continue;
        }
        if before == was::BEGIN {
            line.sql.truncate(end);
        }
        line.push(before);
        was::push_name(&mut line.sql, &column.quoted);
        line.push(b" = ");
        let start = line.sql.len();
        line.push_value(column, old, Place::Value);
        was::mask(&mut line.sql, start);
        before = b", ";
    }
    if before != was::BEGIN {
        line.push(was::END).push(b";");
    }
    !line.is_too_long && line.sql.len() <= LONGEST_LINE
}

/// `is_whole`: with all that is known of the row.
fn push_where(line: &mut Line, table: &TableSql, row: &Row, is_whole: bool) {
    line.push(b" WHERE ");
    if has_key(table, row) {
        push_key(line, table, row);
        if is_whole && table.identity() == Identity::Full {
            push_rest(line, table, row);
        }
    } else {
        push_one_of_the_same(line, table, row);
    }
    line.push(b";");
}

/// A NOT NULL constraint that is NOT VALID (from 18) says nothing of the rows that were there before it.
fn has_key(table: &TableSql, row: &Row) -> bool {
    let mut columns = table.description.columns.iter();
    table.has_key
        && (table.identity() == Identity::Key
            || columns.all(|column| !column.is_key || row.get(column.index).is_some()))
}

/// Each other value behind the key that compares alike. What a restore computes itself is not compared.
fn push_rest(line: &mut Line, table: &TableSql, row: &Row) {
    let columns = written_columns(&table.description.columns);
    for column in columns.filter(|column| !column.is_key && compares_alike(column, row)) {
        line.push(b" AND ");
        push_comparison(line, column, row);
    }
}

/// True if the value is certainly found again at restore. The key finds the row; no other column may miss it: a text is
/// that of the restoring server, a name denotes what it has by now, and a value without text became NULL.
fn compares_alike(column: &Column, row: &Row) -> bool {
    can_compare(column, row) && !column.kind.names_objects && !row.is_unwritten(column.index)
}

fn push_key(line: &mut Line, table: &TableSql, row: &Row) {
    let keys = table
        .description
        .columns
        .iter()
        .filter(|column| column.is_key);
    for (nth, column) in keys.clone().enumerate() {
        if nth > 0 {
            line.push(b" AND ");
        }
        push_comparison(line, column, row);
    }
    // The index may tell apart what the column's collation does not.
    let loose = keys.filter(|column| column.kind.is_loose);
    for column in loose {
        line.push(b" AND ");
        push_text_comparison(line, column, row);
    }
}

/// `ctid = (SELECT … LIMIT 1)`: one row among duplicates. Plain comparisons come first, so that an index can
/// be used; if they cannot distinguish two values, their texts are compared too. A virtual column has no
/// value in the WAL.
fn push_one_of_the_same(line: &mut Line, table: &TableSql, row: &Row) {
    line.push(if table.is_via_root {
        b"(tableoid, ctid) = (SELECT tableoid, ctid FROM "
    } else {
        b"ctid = (SELECT ctid FROM "
    });
    line.push(table.only_target());
    let mut word: &[u8] = b" WHERE ";
    let columns = &table.description.columns;
    for column in columns.iter().filter(|column| can_compare(column, row)) {
        line.push(word);
        push_comparison(line, column, row);
        word = b" AND ";
    }
    for column in columns.iter().filter(|column| needs_text(column, row)) {
        line.push(word);
        push_text_comparison(line, column, row);
        word = b" AND ";
    }
    line.push(b" LIMIT 1)");
}

/// Not for composites: ALTER TYPE can remove an equality that the type had, without an invalidation of the
/// tables that use it; and IS NULL would be true for a row of NULLs.
fn can_compare(column: &Column, row: &Row) -> bool {
    let is_null = row.get(column.index).is_none();
    has_text(column) && !column.kind.holds_rows && (is_null || column.kind.equality.is_some())
}

/// True if [`can_compare`] cannot distinguish some values.
fn needs_text(column: &Column, row: &Row) -> bool {
    let is_image = |equality: &Equality| equality.is_image;
    let is_exact =
        row.get(column.index).is_none() || column.kind.equality.as_ref().is_some_and(is_image);
    has_text(column) && (column.kind.holds_rows || !is_exact)
}

fn has_text(column: &Column) -> bool {
    !column.is_virtual && !column.kind.has_no_input
}

/// Both texts come from the type's output function in the restoring server (a cast to text may be
/// user-defined); coalesce gives the literal the column's type, whatever its name is. Not by image: a stored
/// composite keeps the attributes that its type had when it was stored, and no literal has the same image
/// after ALTER TYPE. Not as one row: a base may have the columns in another order.
fn push_text_comparison(line: &mut Line, column: &Column, row: &Row) {
    if row.get(column.index).is_none() {
        line.push(&column.quoted)
            .push(b" IS NOT DISTINCT FROM NULL");
        return;
    }
    line.push(b"pg_catalog.format('%s', ").push(&column.quoted);
    line.push(b") = pg_catalog.format('%s', coalesce(");
    line.push_value(column, row, Place::Comparison);
    line.push(b", ").push(&column.quoted).push(b"))");
    if column.kind.is_loose {
        line.push(EXACTLY);
    }
}

fn push_comparison(line: &mut Line, column: &Column, row: &Row) {
    line.push(&column.quoted);
    if row.get(column.index).is_none() {
        line.push(b" IS NULL");
        return;
    }
    // A key's index has an equality; a type without a default one comes here only by a key.
    let operator = match &column.kind.equality {
        Some(equality) => equality.operator.as_slice(),
        None => b"=",
    };
    line.push(b" ").push(operator).push(b" ");
    line.push_value(column, row, Place::Comparison);
    if let Some(equality) = &column.kind.equality {
        line.push(&equality.cast);
    }
}

/// The statements around an UPDATE that sets GENERATED ALWAYS identity columns: SQL only allows that while
/// they are GENERATED BY DEFAULT.
pub fn identity_switch(table: &TableSql, columns: &[Vec<u8>], generated: &str) -> Vec<u8> {
    let mut out = b"ALTER TABLE ".to_vec();
    out.extend_from_slice(table.identity_target());
    for (nth, column) in columns.iter().enumerate() {
        out.extend_from_slice(if nth > 0 {
            b", ALTER COLUMN "
        } else {
            b" ALTER COLUMN "
        });
        out.extend_from_slice(column);
        out.extend_from_slice(format!(" SET GENERATED {generated}").as_bytes());
    }
    out.push(b';');
    out
}

/// True if the SQL can identify the row: by an old key, or the complete old row.
pub fn can_find(table: &TableSql, old: Option<&Row>, is_update: bool) -> bool {
    match table.identity() {
        // An UPDATE that did not change the key has no old row in the WAL: the new one has the key.
        Identity::Key => old.is_some() || is_update,
        Identity::Full => old.is_some(),
        Identity::Nothing => false,
    }
}
