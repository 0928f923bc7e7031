//! The table ddl_history: finding it, and writing its rows by heap inserts and updates.
//!
//! A heap insert needs no privileges of the user who runs the statement, fires no trigger (including ours
//! that refuses everybody else) and is decoded like any other row.

use std::cell::Cell;
use std::num::NonZeroUsize;

use pgrx::prelude::*;
use pgrx::IntoDatum;

use super::node::c_string;
use crate::pg::types::timestamp;

/// OIDs of the table, of replica_identity_set and of their schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistoryTable {
    pub table: pg_sys::Oid,
    identities: Option<pg_sys::Oid>,
    schema: pg_sys::Oid,
}

#[derive(Clone, Copy)]
enum Known {
    /// The catalogs have changed since the last look-up.
    Stale,
    /// Being looked up.
    Looking,
    Absent,
    Present(HistoryTable),
}

/// The TID of a row: changes with every update.
#[derive(Clone, Copy, Debug)]
pub struct RowPlace(pg_sys::ItemPointerData);

/// One value of a row, in the database's encoding.
pub enum Value<'a> {
    Number(i64),
    TransactionId,
    Now,
    Text(&'a [u8]),
    Json(&'a [u8]),
    Flag(bool),
    /// Of type "char".
    Char(u8),
    Null,
}

thread_local! {
    static KNOWN: Cell<Known> = const { Cell::new(Known::Stale) };
}

thread_local! {
    /// The transaction that wrote last, and the number of ids it has used.
    static USED: Cell<(u64, i64)> = const { Cell::new((0, 0)) };
}

/// Ids that one transaction can use.
const IDS_OF_A_TRANSACTION: i64 = 1_000_000;

/// A new id: the transaction's id and a number within it. (A sequence would change the result of the user's
/// `lastval()`.)
pub fn next_id() -> i64 {
    // SAFETY: inside a transaction that may write.
    let transaction = unsafe { pg_sys::GetTopFullTransactionId() }.value;
    let used = match USED.get() {
        (last, used) if last == transaction => used + 1,
        _ => 1,
    };
    if used >= IDS_OF_A_TRANSACTION {
        pgrx::error!("one transaction cannot record more than {IDS_OF_A_TRANSACTION} objects");
    }
    USED.set((transaction, used));
    transaction as i64 * IDS_OF_A_TRANSACTION + used
}

/// Starts to track when the extension is created and dropped. Once, from `_PG_init`.
pub fn watch() {
    // SAFETY: the callback is guarded and lives as long as the library.
    unsafe {
        pg_sys::CacheRegisterRelcacheCallback(Some(on_relation), pg_sys::Datum::null());
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn on_relation(_argument: pg_sys::Datum, relation: pg_sys::Oid) {
    KNOWN.set(match KNOWN.get() {
        // Changes of other relations do not affect ours.
        Known::Present(history) if relation != pg_sys::InvalidOid && relation != history.table => {
            Known::Present(history)
        }
        _ => Known::Stale,
    });
}

/// The table, if this extension is installed in the current database. Cheap: the catalogs are only read after
/// something in them has changed.
pub fn find() -> Option<HistoryTable> {
    match KNOWN.get() {
        Known::Present(history) => return Some(history),
        Known::Absent => return None,
        Known::Stale | Known::Looking => {}
    }
    // Reading the catalogs may itself process invalidations, which take precedence; after an error the next
    // caller looks again.
    KNOWN.set(Known::Looking);
    let found = look_up();
    if let Known::Looking = KNOWN.get() {
        KNOWN.set(found.map_or(Known::Absent, Known::Present));
    }
    found
}

fn look_up() -> Option<HistoryTable> {
    let extension = crate::pg::catalogs::extension::own_oid()?;
    let schema = super::catalog::extension_schema(extension)?;
    let table = relation_in(schema, c"ddl_history")?;
    Some(HistoryTable {
        table,
        identities: relation_in(schema, c"replica_identity_set"),
        schema,
    })
}

fn relation_in(schema: pg_sys::Oid, name: &std::ffi::CStr) -> Option<pg_sys::Oid> {
    // SAFETY: a catalog look-up; the name is NUL-terminated.
    let oid = unsafe { pg_sys::get_relname_relid(name.as_ptr(), schema) };
    (oid != pg_sys::InvalidOid).then_some(oid)
}

impl HistoryTable {
    /// False if the table's columns were changed.
    pub fn has_columns(&self, columns: usize) -> bool {
        let found = crate::pg::decoding::relation::with_relation(self.table, |relation| {
            // SAFETY: the descriptor is valid while the relation is open.
            unsafe { (*relation.tuple_descriptor()).natts as usize }
        });
        found == Some(columns)
    }

    /// True for this table and the extension's other one.
    pub fn is_ours(&self, relation: pg_sys::Oid) -> bool {
        relation == self.table || self.identities == Some(relation)
    }

    /// The table of tables whose replica identity we have set.
    pub fn identities(&self) -> Option<pg_sys::Oid> {
        self.identities
    }

    /// The extension's schema.
    pub fn schema_name(&self) -> Option<Vec<u8>> {
        // SAFETY: a look-up that answers NULL for what does not exist.
        unsafe { super::node::bytes(pg_sys::get_namespace_name(self.schema)) }
    }

    /// Takes the lock that a base backup's fence waits for; it is held until the transaction ends.
    pub fn lock(&self) {
        // SAFETY: locks by OID; raises when the wait is cancelled or times out.
        unsafe { pg_sys::LockRelationOid(self.table, pg_sys::RowExclusiveLock as i32) }
    }

    /// The same lock for a statement that commits internally. An error releases it.
    pub fn lock_for_session(&self) {
        let mut id = self.lock_id();
        // SAFETY: as above; the id is copied.
        unsafe { pg_sys::LockRelationIdForSession(&mut id, pg_sys::RowExclusiveLock as i32) }
    }

    pub fn unlock_for_session(&self) {
        let mut id = self.lock_id();
        // SAFETY: releases what `lock_for_session` took.
        unsafe { pg_sys::UnlockRelationIdForSession(&mut id, pg_sys::RowExclusiveLock as i32) }
    }

    fn lock_id(&self) -> pg_sys::LockRelId {
        pg_sys::LockRelId {
            relId: self.table,
            dbId: crate::pg::server::my_database(),
        }
    }

    /// Adds a row and makes it visible to the following commands.
    pub fn insert(&self, row: &[Value<'_>]) -> RowPlace {
        write(self.table, row, |relation, tuple| {
            // SAFETY: a tuple formed for this relation.
            unsafe { pg_sys::CatalogTupleInsert(relation, tuple) }
        })
    }

    /// Updates the row. `None` if the table no longer exists.
    pub fn update(&self, place: RowPlace, row: &[Value<'_>]) -> Option<RowPlace> {
        find().filter(|history| history == self)?;
        Some(write(self.table, row, move |relation, tuple| {
            let mut old = place.0;
            // SAFETY: the place is that of a row of ours, written in this transaction.
            unsafe { pg_sys::CatalogTupleUpdate(relation, &mut old, tuple) }
        }))
    }
}

/// Removes the rows that were written before a time, in microseconds since 1970, and returns their number. If
/// the table is locked by another process (or VACUUM), nothing is removed until the next time. Needs a
/// transaction.
pub fn prune(before: i64) -> u64 {
    let Some(HistoryTable { table, .. }) = find() else {
        return 0;
    };
    let mut removed = 0;
    // SAFETY: the table is locked, against another removal too; only rows that the snapshot sees are
    // removed, and nobody changes a row but the transaction that wrote it.
    unsafe {
        let one_at_a_time = pg_sys::ShareUpdateExclusiveLock as i32;
        let written_at = pg_sys::get_attnum(table, c"executed_at".as_ptr());
        let written_at = usize::try_from(written_at).ok().and_then(NonZeroUsize::new);
        let Some(written_at) = written_at else {
            return 0;
        };
        if !pg_sys::ConditionalLockRelationOid(table, one_at_a_time) {
            return 0;
        }
        let relation = pg_sys::table_open(table, pg_sys::RowExclusiveLock as i32);
        let snapshot = pg_sys::RegisterSnapshot(pg_sys::GetTransactionSnapshot());
        let (none, no_keys) = (pg_sys::InvalidOid, std::ptr::null_mut());
        let scan = pg_sys::systable_beginscan(relation, none, false, snapshot, 0, no_keys);
        loop {
            pgrx::check_for_interrupts!();
            let tuple = pg_sys::systable_getnext(scan);
            if tuple.is_null() {
                break;
            }
            let value = pgrx::heap_getattr_raw(tuple, written_at, (*relation).rd_att);
            let is_old =
                value.is_some_and(|at| timestamp::to_unix_micros(at.value() as i64) < before);
            // A statement that is still running changes its own row at its end.
            let writer = (*(*tuple).t_data).t_choice.t_heap.t_xmin;
            if is_old && !pg_sys::TransactionIdIsCurrentTransactionId(writer) {
                pg_sys::simple_heap_delete(relation, &mut (*tuple).t_self);
                removed += 1;
            }
        }
        pg_sys::systable_endscan(scan);
        pg_sys::UnregisterSnapshot(snapshot);
        pg_sys::table_close(relation, pg_sys::NoLock as i32);
    }
    removed
}

/// Writes one row of `table` and increments the command counter, so that the next command sees it.
pub fn write(
    table: pg_sys::Oid,
    row: &[Value<'_>],
    store: impl FnOnce(pg_sys::Relation, pg_sys::HeapTuple),
) -> RowPlace {
    // SAFETY: the relation is locked and stays so; values and nulls are as long as its row type
    // (checked); a snapshot is needed to write long values out of line.
    unsafe {
        let relation = pg_sys::table_open(table, pg_sys::RowExclusiveLock as i32);
        if (*(*relation).rd_att).natts as usize != row.len() {
            pgrx::error!(
                "table {} has an unexpected number of columns",
                table.to_u32()
            );
        }
        let pushed = !pg_sys::ActiveSnapshotSet();
        if pushed {
            pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot());
        }
        let mut values: Vec<_> = row.iter().map(datum).collect();
        let mut nulls: Vec<_> = row
            .iter()
            .map(|value| matches!(value, Value::Null))
            .collect();
        let tuple =
            pg_sys::heap_form_tuple((*relation).rd_att, values.as_mut_ptr(), nulls.as_mut_ptr());
        store(relation, tuple);
        let place = RowPlace((*tuple).t_self);
        pg_sys::heap_freetuple(tuple);
        if pushed {
            pg_sys::PopActiveSnapshot();
        }
        pg_sys::table_close(relation, pg_sys::NoLock as i32);
        pg_sys::CommandCounterIncrement();
        place
    }
}

fn datum(value: &Value<'_>) -> pg_sys::Datum {
    // SAFETY: plain calls that palloc their answers.
    unsafe {
        match value {
            Value::Number(number) => number.into_datum().unwrap_or(pg_sys::Datum::null()),
            Value::TransactionId => {
                pg_sys::Datum::from(pg_sys::GetTopFullTransactionId().value as usize)
            }
            Value::Now => pg_sys::Datum::from(pg_sys::GetCurrentTimestamp() as usize),
            Value::Text(text) => pg_sys::Datum::from(pg_sys::cstring_to_text_with_len(
                text.as_ptr().cast(),
                text.len() as i32,
            )),
            // An object without members, as in nearly every session.
            Value::Json(b"{}") => empty_object(),
            Value::Json(text) => {
                let text = c_string(text);
                pgrx::direct_function_call_as_datum(
                    pg_sys::jsonb_in,
                    &[Some(pg_sys::Datum::from(text.as_ptr()))],
                )
                .unwrap_or(pg_sys::Datum::null())
            }
            Value::Flag(flag) => pg_sys::Datum::from(*flag),
            Value::Char(char) => pg_sys::Datum::from(*char as i8),
            Value::Null => pg_sys::Datum::null(),
        }
    }
}

/// The result of jsonb_in for `{}` (utils/jsonb.h): a header without members.
unsafe fn empty_object() -> pg_sys::Datum {
    const LENGTH: i32 = 2 * size_of::<u32>() as i32;
    // SAFETY: as long as is written.
    unsafe {
        let object = pg_sys::palloc(LENGTH as usize).cast::<pg_sys::varlena>();
        pgrx::set_varsize_4b(object, LENGTH);
        *object.cast::<u32>().add(1) = pg_sys::JB_FOBJECT;
        pg_sys::Datum::from(object)
    }
}
