//! A row's key as a user gives it, and as in the segments: parsed by the column's input function, written by
//! its output function under the settings of a segment.

use std::ffi::CString;

use pgrx::prelude::*;

use crate::pg::decoding::column_type::Types;
use crate::pg::decoding::relation::{with_relation, Column, Identity};
use crate::pg::decoding::value::in_context;
use crate::pg::failure::Failure;
use crate::pg::server::session::OutputSettings;
use crate::pg::server::untrusted::{self, Untrusted};

/// A column of the table in question.
pub struct KeyColumn {
    pub name: Vec<u8>,
    /// UPDATE and DELETE statements identify rows by it: it is of the replica identity, or of the key of a table with
    /// FULL.
    pub is_identity: bool,
    pub is_primary: bool,
    /// Segments contain its values.
    pub is_written: bool,
    /// Its values may start with a brace (arrays, json, …).
    pub has_braces: bool,
}

/// How the segments identify a table's rows.
pub struct KeyTable {
    pub columns: Vec<KeyColumn>,
    pub identity: Identity,
}

/// Looks up a table; `None` if there is none.
pub fn describe(table: pg_sys::Oid) -> Option<KeyTable> {
    with_relation(table, |relation| {
        // SAFETY: a context is current; what is put there goes with the call.
        let memory = unsafe { pg_sys::CurrentMemoryContext };
        let mut types = Types::new(memory);
        let description = relation.describe(&mut types);
        let primary = primary_key(table);
        let columns = description.columns.iter().map(|column| KeyColumn {
            name: column.name().to_vec(),
            is_identity: column.is_key,
            is_primary: primary.contains(&column.index),
            is_written: !column.is_generated && !column.kind.has_no_input,
            has_braces: has_braces(table, column),
        });
        let columns = columns.collect();
        let identity = description.identity;
        drop(description);
        types.release();
        KeyTable { columns, identity }
    })
}

/// The text of a value in the segments. Raises an error if it is not valid for the column.
/// 55000 if code of the table's owner would have to be led by the caller's temporary objects.
pub fn written_text(
    table: pg_sys::Oid,
    column: &[u8],
    text: &[u8],
) -> Result<Option<Vec<u8>>, Failure> {
    let written = with_relation(table, |relation| {
        // SAFETY: a context is current; what is put there goes with the call.
        let memory = unsafe { pg_sys::CurrentMemoryContext };
        let description = relation.describe(&mut Types::new(memory));
        let mut columns = description.columns.iter();
        let column = columns.find(|found| found.name() == column);
        let Some((column, text)) = column.zip(CString::new(text).ok()) else {
            return Ok(None);
        };
        let (type_oid, typmod) = type_of(table, column.index);
        let (mut function, mut parameter) = (pg_sys::InvalidOid, pg_sys::InvalidOid);
        // A domain's constraints are code of its owner.
        let runs_code = || untrusted::input_runs_code(type_oid);
        untrusted::ensure_not_led_astray(relation.owner(), runs_code)?;
        let untrusted = Untrusted::enter(relation.owner());
        // SAFETY: the input function of the column's type, called as COPY calls it; it may keep the
        // text, which lives as long as the call.
        let value = unsafe {
            pg_sys::getTypeInputInfo(type_oid, &mut function, &mut parameter);
            let text = pg_sys::pstrdup(text.as_ptr());
            pg_sys::OidInputFunctionCall(function, text, parameter, typmod)
        };
        untrusted.leave();
        let mut out = Vec::new();
        let mut settings = OutputSettings::default();
        settings.enter();
        let is_whole = in_context(memory, || column.kind.output.push_text(value, &mut out));
        settings.leave();
        Ok(is_whole.then_some(out))
    });
    written.unwrap_or(Ok(None))
}

fn type_of(table: pg_sys::Oid, index: usize) -> (pg_sys::Oid, i32) {
    let (mut type_oid, mut typmod) = (pg_sys::InvalidOid, -1);
    let mut collation = pg_sys::InvalidOid;
    // SAFETY: a look-up of an existing column, which fills what it is given.
    unsafe {
        let number = index as i16 + 1;
        pg_sys::get_atttypetypmodcoll(table, number, &mut type_oid, &mut typmod, &mut collation);
    }
    (type_oid, typmod)
}

fn has_braces(table: pg_sys::Oid, column: &Column) -> bool {
    let (type_oid, _) = type_of(table, column.index);
    // SAFETY: look-ups by OID.
    unsafe {
        let base = pg_sys::getBaseType(type_oid);
        matches!(base, pg_sys::JSONOID | pg_sys::JSONBOID)
            || pg_sys::get_element_type(base) != pg_sys::InvalidOid
            || pg_sys::get_typtype(base) as u8 == b'm'
    }
}

/// Positions (from 0) of the primary key's columns.
fn primary_key(table: pg_sys::Oid) -> Vec<usize> {
    with_relation(table, |relation| {
        let pointer = relation.as_ptr();
        let kind = pg_sys::IndexAttrBitmapKind::INDEX_ATTR_BITMAP_PRIMARY_KEY;
        // SAFETY: the relation is open; the bitmap is a copy in the current memory context.
        let bitmap = unsafe { pg_sys::RelationGetIndexAttrBitmap(pointer, kind) };
        let mut positions = Vec::new();
        let mut member = -1;
        loop {
            // SAFETY: a bitmap, or NULL for an empty one.
            member = unsafe { pg_sys::bms_next_member(bitmap, member) };
            if member < 0 {
                return positions;
            }
            // System columns come first in such bitmaps (FirstLowInvalidHeapAttributeNumber).
            let number = member + pg_sys::FirstLowInvalidHeapAttributeNumber;
            positions.extend(usize::try_from(number - 1));
        }
    })
    .unwrap_or_default()
}
