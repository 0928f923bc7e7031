//! The information for event triggers, by calling PostgreSQL's functions in C: a query would take longer than
//! everything else in recording a statement.

use std::ffi::c_int;

use pgrx::prelude::*;

use super::node::{relation_name, Sql};

/// An object that a command created or altered.
pub struct Command {
    pub class: pg_sys::Oid,
    pub object: pg_sys::Oid,
    pub object_type: Option<Sql>,
    pub identity: Option<Sql>,
    pub is_in_extension: bool,
    /// In the session's temporary schema.
    pub is_temporary: bool,
}

/// An object that a command dropped.
pub struct Dropped {
    pub object: pg_sys::Oid,
    pub object_type: Option<Sql>,
    pub identity: Option<Sql>,
    /// Named by the command, or dropped as an ordinary dependent of such an object.
    pub is_original_or_normal: bool,
    /// Dropped as an ordinary dependent of such an object.
    pub is_normal: bool,
    pub is_temporary: bool,
    /// Schema and name of its table, if it is a part of one; of itself for a relation.
    pub address: Option<(Sql, Sql)>,
}

/// What the command has created or altered. Only in a function on ddl_command_end.
pub fn commands() -> Vec<Command> {
    // SAFETY: the function is the one of this OID; it checks where it is called. The columns are those
    // of pg_proc.dat.
    unsafe {
        rows(
            pg_sys::F_PG_EVENT_TRIGGER_DDL_COMMANDS,
            pg_sys::pg_event_trigger_ddl_commands,
            |row| Command {
                class: row.oid(0),
                object: row.oid(1),
                object_type: row.text(4),
                is_temporary: row.text(5).is_some_and(|schema| schema == b"pg_temp"),
                identity: row.text(6),
                is_in_extension: row.flag(7),
            },
        )
    }
}

/// What the command has dropped. Only in a function on sql_drop.
pub fn dropped() -> Vec<Dropped> {
    // SAFETY: as in `commands`.
    unsafe {
        rows(
            pg_sys::F_PG_EVENT_TRIGGER_DROPPED_OBJECTS,
            pg_sys::pg_event_trigger_dropped_objects,
            |row| Dropped {
                object: row.oid(1),
                is_original_or_normal: row.flag(3) || row.flag(4),
                is_normal: row.flag(4),
                is_temporary: row.flag(5),
                object_type: row.text(6),
                identity: row.text(9),
                address: row.first_two_texts(10),
            },
        )
    }
}

/// Name of the table that is about to be rewritten, and whether it is temporary. Only in a function
/// on table_rewrite.
pub fn rewritten() -> Option<(Sql, bool)> {
    // SAFETY: the function looks at nothing of its call; it checks where it is called.
    let table = unsafe {
        let mut call = pg_sys::FunctionCallInfoBaseData::default();
        pg_sys::pg_event_trigger_table_rewrite_oid(&raw mut call)
    };
    let table = pg_sys::Oid::from(table.value() as u32);
    // SAFETY: a look-up by OID of a table that exists.
    let persistence = unsafe { pg_sys::get_rel_persistence(table) } as u8;
    let is_temporary = persistence == pg_sys::RELPERSISTENCE_TEMP;
    Some((relation_name(table)?, is_temporary))
}

type SetFunction = unsafe fn(pg_sys::FunctionCallInfo) -> pg_sys::Datum;

/// Calls a set-returning function without arguments that materializes its result. Everything that PostgreSQL
/// allocates is in the current memory context.
///
/// # Safety
/// `oid` is that of `function`, which is as said; `read` asks for columns of the types that it has.
unsafe fn rows<T>(oid: u32, function: SetFunction, read: impl Fn(&ResultRow) -> T) -> Vec<T> {
    // SAFETY: by the caller's promise; all that is passed outlives the call. The slot's row is read
    // before the next one is fetched. An error leaves everything to the memory context.
    unsafe {
        let mut info = pg_sys::FmgrInfo::default();
        pg_sys::fmgr_info(oid.into(), &raw mut info);
        let mut context = pg_sys::ExprContext {
            type_: pg_sys::NodeTag::T_ExprContext,
            ecxt_per_query_memory: pg_sys::CurrentMemoryContext,
            ..Default::default()
        };
        let mut result = pg_sys::ReturnSetInfo {
            type_: pg_sys::NodeTag::T_ReturnSetInfo,
            econtext: &raw mut context,
            allowedModes: pg_sys::SetFunctionReturnMode::SFRM_Materialize as c_int,
            ..Default::default()
        };
        let mut call = pg_sys::FunctionCallInfoBaseData {
            flinfo: &raw mut info,
            resultinfo: (&raw mut result).cast(),
            ..Default::default()
        };
        function(&raw mut call);
        if result.setResult.is_null() {
            return Vec::new();
        }
        let slot =
            pg_sys::MakeSingleTupleTableSlot(result.setDesc, &raw const pg_sys::TTSOpsMinimalTuple);
        let mut found = Vec::new();
        while pg_sys::tuplestore_gettupleslot(result.setResult, true, false, slot) {
            pg_sys::slot_getsomeattrs_int(slot, (*result.setDesc).natts);
            found.push(read(&ResultRow(slot)));
        }
        pg_sys::ExecDropSingleTupleTableSlot(slot);
        pg_sys::tuplestore_end(result.setResult);
        found
    }
}

/// A row whose columns are read; they are counted from 0.
struct ResultRow(*mut pg_sys::TupleTableSlot);

impl ResultRow {
    fn value(&self, column: usize) -> Option<pg_sys::Datum> {
        // SAFETY: all columns of the slot have been read, and there are more than are asked for.
        unsafe {
            let is_null = *(*self.0).tts_isnull.add(column);
            (!is_null).then(|| *(*self.0).tts_values.add(column))
        }
    }

    fn oid(&self, column: usize) -> pg_sys::Oid {
        let value = self.value(column);
        value.map_or(pg_sys::InvalidOid, |v| pg_sys::Oid::from(v.value() as u32))
    }

    fn flag(&self, column: usize) -> bool {
        self.value(column).is_some_and(|value| value.value() != 0)
    }

    fn text(&self, column: usize) -> Option<Sql> {
        // SAFETY: a text.
        self.value(column).map(|value| unsafe { text(value) })
    }

    /// The first two elements of a text[].
    fn first_two_texts(&self, column: usize) -> Option<(Sql, Sql)> {
        let value = self.value(column)?;
        // SAFETY: an array of texts, taken apart into the current memory context.
        unsafe {
            let array = pg_sys::pg_detoast_datum(value.cast_mut_ptr());
            let (mut values, mut nulls, mut count) =
                (std::ptr::null_mut(), std::ptr::null_mut(), 0);
            pg_sys::deconstruct_array(
                array.cast(),
                pg_sys::TEXTOID,
                -1,
                false,
                pg_sys::TYPALIGN_INT as std::ffi::c_char,
                &mut values,
                &mut nulls,
                &mut count,
            );
            let element = |place| (!*nulls.add(place)).then(|| text(*values.add(place)));
            if count < 2 {
                return None;
            }
            element(0).zip(element(1))
        }
    }
}

/// # Safety
/// `value` is a text.
unsafe fn text(value: pg_sys::Datum) -> Sql {
    // SAFETY: by the caller's promise; the bytes are copied.
    unsafe {
        let text = pg_sys::pg_detoast_datum_packed(value.cast_mut_ptr());
        let length = pgrx::varsize_any_exhdr(text);
        std::slice::from_raw_parts(pgrx::vardata_any(text).cast(), length).to_vec()
    }
}
