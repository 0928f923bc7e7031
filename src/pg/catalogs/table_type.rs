//! The table whose row type an argument has, and whether the caller may read all of it.

use std::ffi::CStr;

use pgrx::prelude::*;

use crate::pg::compat;
use crate::pg::decoding::relation::OpenRelation;
use crate::pg::failure::Failure;
use crate::pg::text::quote;

/// A column as it is now.
pub struct TableColumn {
    /// Its position in the row, from 0.
    pub index: usize,
    pub name: Vec<u8>,
    /// As `format_type()` shows it, with its modifier.
    pub of_type: Vec<u8>,
    /// Stored or virtual.
    pub is_generated: bool,
}

/// The table of a row type. 42809 for any other type, and for relations that have no rows of their own.
pub fn table_of(row_type: pg_sys::Oid) -> Result<pg_sys::Oid, Failure> {
    // SAFETY: catalog look-ups by OID.
    let (table, kind, persistence) = unsafe {
        let table = pg_sys::get_typ_typrelid(row_type);
        let kind = pg_sys::get_rel_relkind(table) as u8;
        (table, kind, persistence_of(table))
    };
    let wrong = |message: &str| {
        Err(Failure::new(
            PgSqlErrorCode::ERRCODE_WRONG_OBJECT_TYPE,
            message,
        ))
    };
    match (kind, persistence) {
        (b'r' | b'p', _) if table.to_u32() < pg_sys::FirstNormalObjectId => {
            wrong("rows of system catalogs are not in the files")
        }
        (b'r' | b'p', b'p') => Ok(table),
        (b'r' | b'p', _) => wrong("rows of unlogged and temporary tables are not in the files"),
        _ => {
            wrong("the first argument must be of a table's row type").map_err(|failure: Failure| {
                failure.hint("Write it as NULL::public.orders, with the table's name as a type.")
            })
        }
    }
}

fn persistence_of(table: pg_sys::Oid) -> u8 {
    // SAFETY: a look-up by OID, which answers 0 where there is none: an error only for a relation that is not there.
    unsafe {
        if pg_sys::get_rel_relkind(table) == 0 {
            return 0;
        }
        pg_sys::get_rel_persistence(table) as u8
    }
}

/// 42501 unless the current user may SELECT every column of the table, and sees all of its rows. `name`: as shown.
pub fn ensure_may_read_all(table: pg_sys::Oid) -> Result<(), Failure> {
    let select = pg_sys::ACL_SELECT as pg_sys::AclMode;
    // SAFETY: catalog look-ups by OID.
    let (may, is_restricted, name) = unsafe {
        let user = pg_sys::GetUserId();
        let every = pg_sys::AclMaskHow::ACLMASK_ALL;
        let ok = pg_sys::AclResult::ACLCHECK_OK;
        let may = pg_sys::pg_class_aclcheck(table, user, select) == ok
            || pg_sys::pg_attribute_aclcheck_all(table, user, select, every) == ok;
        let rls = pg_sys::check_enable_rls(table, pg_sys::InvalidOid, true);
        let is_restricted = rls == pg_sys::CheckEnableRlsResult::RLS_ENABLED as i32;
        (may, is_restricted, name_of(table))
    };
    let denied =
        |message: String| Failure::new(PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE, message);
    if !may {
        return Err(denied(format!("permission denied for table {name}"))
            .hint("SELECT on all of its columns is required."));
    }
    if is_restricted {
        return Err(denied(format!("row-level security of table {name} applies to the current user"))
            .detail("Its policies are about the rows of now, and their expressions about other tables of now.")
            .hint("Call it as the table's owner, or as a role with BYPASSRLS."));
    }
    Ok(())
}

fn name_of(table: pg_sys::Oid) -> String {
    // SAFETY: a look-up by OID; the copy that it answers is read at once.
    unsafe {
        let name = pg_sys::get_rel_name(table);
        if name.is_null() {
            return table.to_u32().to_string();
        }
        let name = quote::identifier(CStr::from_ptr(name).to_bytes());
        String::from_utf8_lossy(&name).into_owned()
    }
}

/// Runs `read` with the table open and locked as a reader locks it, to the end of the transaction.
pub fn with_locked_table<R>(
    table: pg_sys::Oid,
    read: impl FnOnce(OpenRelation) -> Result<R, Failure>,
) -> Result<R, Failure> {
    // SAFETY: an error in between ends the transaction, whose resource owner closes the table.
    unsafe {
        let relation = pg_sys::table_open(table, pg_sys::AccessShareLock as i32);
        let result = read(OpenRelation::new(relation));
        pg_sys::table_close(relation, pg_sys::NoLock as i32);
        result
    }
}

/// The transactions that wrote what the catalog has of the table's columns, dropped ones too, if they are not long past.
pub fn writers_of_columns(table: OpenRelation) -> Vec<pg_sys::TransactionId> {
    const FROZEN: u32 = pg_sys::HEAP_XMIN_COMMITTED | pg_sys::HEAP_XMIN_INVALID;
    let cache = pg_sys::SysCacheIdentifier::ATTNUM as i32;
    // SAFETY: the descriptor belongs to an open relation; the header of a cached row is read before it is released.
    let writer = |number: i16| unsafe {
        let row = pg_sys::SearchSysCache2(cache, table.oid().into(), number.into());
        if row.is_null() {
            return None;
        }
        let header = &*(*row).t_data;
        let is_past = u32::from(header.t_infomask) & FROZEN == FROZEN;
        let xmin = header.t_choice.t_heap.t_xmin;
        pg_sys::ReleaseSysCache(row);
        (!is_past).then_some(xmin)
    };
    // SAFETY: as above.
    let count = unsafe { (*table.tuple_descriptor()).natts } as i16;
    (1..=count).filter_map(writer).collect()
}

/// True for the running transaction and those within it.
pub fn is_of_this_transaction(xid: pg_sys::TransactionId) -> bool {
    // SAFETY: a plain call inside a transaction.
    unsafe { pg_sys::TransactionIdIsCurrentTransactionId(xid) }
}

/// In the order in which transactions get their IDs, across a wraparound.
pub fn precedes(xid: pg_sys::TransactionId, other: pg_sys::TransactionId) -> bool {
    // SAFETY: a plain computation.
    unsafe { pg_sys::TransactionIdPrecedes(xid, other) }
}

/// The columns of an open table.
pub fn columns(table: OpenRelation) -> Vec<TableColumn> {
    let descriptor = table.tuple_descriptor();
    // SAFETY: the descriptor belongs to an open relation, and each index is below natts; the text is copied at once.
    unsafe {
        let count = (*descriptor).natts as usize;
        let attributes = (0..count).map(|index| (index, compat::attribute(descriptor, index)));
        attributes
            .filter(|(_, attribute)| !attribute.attisdropped)
            .map(|(index, attribute)| {
                let (oid, modifier) = (attribute.atttypid, attribute.atttypmod);
                let of_type = pg_sys::format_type_with_typemod(oid, modifier);
                TableColumn {
                    index,
                    name: CStr::from_ptr(attribute.attname.data.as_ptr())
                        .to_bytes()
                        .to_vec(),
                    of_type: CStr::from_ptr(of_type).to_bytes().to_vec(),
                    is_generated: attribute.attgenerated != 0,
                }
            })
            .collect()
    }
}
