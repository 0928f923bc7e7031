//! Sequences that changed, according to their WAL records.
//!
//! Logical decoding leaves sequences out (up to 18), so the stream reader, which sees every WAL record,
//! records them here. A position is written to the files with the next transaction that commits, under its
//! name in the catalogs at that time. nextval logs 32 values ahead: the recorded position is never behind a
//! value that was used.

use std::cell::RefCell;
use std::collections::HashMap;

use pgrx::prelude::*;

use super::relation::{with_relation, OpenRelation};
use crate::pg::catalogs::extension;
use crate::pg::compat::Locator;
use crate::pg::declared;
use crate::pg::server;
use crate::pg::text::quote;

thread_local! {
    static MOVED: RefCell<HashMap<Locator, Position>> = RefCell::default();
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Position {
    value: i64,
    is_called: bool,
    xid: u32,
}

/// Records the sequence record that the reader has just read, if it is of this database.
///
/// # Safety
/// `reader` must hold a record.
pub unsafe fn note(reader: *mut pg_sys::XLogReaderState) {
    // SAFETY: promised by the caller; the data lives until the next record is read.
    let (rmgr, xid, data) = unsafe {
        let record = (*reader).record;
        let length = (*record).main_data_len as usize;
        let data: &[u8] = if length == 0 {
            &[]
        } else {
            std::slice::from_raw_parts((*record).main_data.cast::<u8>(), length)
        };
        (
            (*record).header.xl_rmid,
            (*record).header.xl_xid.into_inner(),
            data,
        )
    };
    if u32::from(rmgr) != pg_sys::RmgrIds::RM_SEQ_ID {
        return;
    }
    if let Some((locator, value, is_called)) = parse(data) {
        if locator.database == server::my_database() {
            let position = Position {
                value,
                is_called,
                xid,
            };
            MOVED.with_borrow_mut(|moved| moved.insert(locator, position));
        }
    }
}

/// xl_seq_rec of commands/sequence.h: the locator, then the sequence's tuple, whose data is a
/// FormData_pg_sequence_data (last_value, log_cnt, is_called).
fn parse(data: &[u8]) -> Option<(Locator, i64, bool)> {
    let word = |at: usize| Some(u32::from_ne_bytes(data.get(at..at + 4)?.try_into().ok()?));
    let locator = Locator {
        tablespace: pg_sys::Oid::from(word(0)?),
        database: pg_sys::Oid::from(word(4)?),
        file_number: pg_sys::Oid::from(word(8)?),
    };
    let tuple = data.get(12..)?;
    let header_size = *tuple.get(std::mem::offset_of!(pg_sys::HeapTupleHeaderData, t_hoff))?;
    let row = tuple.get(usize::from(header_size)..)?;
    let value = i64::from_ne_bytes(row.get(..8)?.try_into().ok()?);
    Some((locator, value, *row.get(16)? != 0))
}

/// True if positions are waiting to be written.
pub fn any() -> bool {
    MOVED.with_borrow(|moved| !moved.is_empty())
}

/// The positions of all recorded sequences that the current catalogs contain, as statements; the others
/// remain.
pub fn take_resolved() -> Vec<Vec<u8>> {
    take(setval)
}

/// The same as statements that do nothing if there is no sequence of that name.
pub fn take_guarded() -> Vec<Vec<u8>> {
    take(guarded_setval)
}

/// A sequence's schema and name.
type Name = (Vec<u8>, Vec<u8>);

fn take(statement: impl Fn(&Name, i64, bool) -> Vec<u8>) -> Vec<Vec<u8>> {
    let moved = MOVED.with_borrow_mut(std::mem::take);
    let mut lines = Vec::new();
    let mut unresolved = HashMap::new();
    for (locator, position) in moved {
        match declared::relation_of_file(locator) {
            Some(oid) => {
                let name = with_relation(oid, dumped_name).flatten();
                lines.extend(name.map(|name| statement(&name, position.value, position.is_called)));
            }
            None => {
                unresolved.insert(locator, position);
            }
        }
    }
    MOVED.with_borrow_mut(|moved| moved.extend(unresolved));
    lines.sort();
    lines
}

/// Forgets storage that no relation has and whose transaction has ended: a sequence that was dropped,
/// rewritten or never committed.
pub fn forget_unresolved() {
    MOVED.with_borrow_mut(|moved| {
        moved.retain(|locator, position| {
            let xid = pg_sys::TransactionId::from(position.xid);
            declared::relation_of_file(*locator).is_some()
                // SAFETY: reads shared memory.
                || unsafe { pg_sys::TransactionIdIsInProgress(xid) }
        });
    });
}

/// The name of a sequence that a dump includes.
fn dumped_name(sequence: OpenRelation) -> Option<Name> {
    let dumped =
        |owner| !extension::is_ours(owner) && extension::dumps_rows_of(owner, sequence.oid());
    let is_left_out = sequence.extension().is_some_and(|owner| !dumped(owner));
    (sequence.kind() == b'S' && !is_left_out).then(|| (sequence.schema(), sequence.name()))
}

/// `SELECT pg_catalog.setval('s.n', 33, true);`
pub fn setval((schema, name): &Name, value: i64, is_called: bool) -> Vec<u8> {
    let name = quote::literal(&quote::regclass_text(schema, name));
    let rest = format!(", {value}, {is_called});");
    [
        b"SELECT pg_catalog.setval(",
        name.as_slice(),
        rest.as_bytes(),
    ]
    .concat()
}

/// The same, but does nothing if there is no such sequence.
pub fn guarded_setval((schema, name): &Name, value: i64, is_called: bool) -> Vec<u8> {
    let head = format!(
        "SELECT pg_catalog.setval(c.oid::pg_catalog.regclass, {value}, {is_called}) \
         FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace \
         WHERE c.relkind = 'S' AND n.nspname = "
    );
    let (schema, name) = (quote::literal(schema), quote::literal(name));
    [head.as_bytes(), &schema, b" AND c.relname = ", &name, b";"].concat()
}
