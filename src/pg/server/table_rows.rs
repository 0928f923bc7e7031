//! Rows of a table as the result of a function that returns SETOF its row type, made of texts.
//!
//! They go into a tuplestore, which spills to disk beyond work_mem, as PostgreSQL's own functions do. Generated columns are
//! computed by the table's own expressions. Code of others (domains, these expressions) runs with the rights of the table's
//! owner, as in ANALYZE.

use std::ffi::CStr;

use pgrx::pg_sys::ffi::pg_guard_ffi_boundary;
use pgrx::prelude::*;

use super::untrusted::{self, Untrusted};
use crate::pg::compat;
use crate::pg::decoding::relation::OpenRelation;
use crate::pg::failure::Failure;

/// How a column gets its values.
enum Source {
    /// It has none: it was dropped, or is NULL in each row.
    Null,
    Text(Box<Input>),
    Computed(*mut pg_sys::ExprState),
}

/// The input function of a column.
struct Input {
    /// Which of the texts.
    text: usize,
    function: pg_sys::FmgrInfo,
    parameter: pg_sys::Oid,
    modifier: i32,
}

/// The rows so far.
pub struct TableRows {
    store: *mut pg_sys::Tuplestorestate,
    descriptor: pg_sys::TupleDesc,
    slot: *mut pg_sys::TupleTableSlot,
    executor: *mut pg_sys::EState,
    context: *mut pg_sys::ExprContext,
    sources: Vec<Source>,
    untrusted: Untrusted,
}

/// The type of the call's first argument.
pub fn type_of_argument(call: pg_sys::FunctionCallInfo) -> pg_sys::Oid {
    // SAFETY: the call of a running SQL function.
    unsafe { pg_sys::get_fn_expr_argtype((*call).flinfo, 0) }
}

impl TableRows {
    /// Begins the result of `call`, the running function's. `texts`: for each attribute of the table which of the texts
    /// of a row has its value, if one has.
    pub fn begin(
        call: pg_sys::FunctionCallInfo,
        table: OpenRelation,
        texts: &[Option<usize>],
    ) -> Result<TableRows, Failure> {
        untrusted::ensure_not_led_astray(table.owner(), || untrusted::rows_run_code(table))?;
        // SAFETY: the result of a set-returning function has this type (execnodes.h); what outlives the call is in the
        // query's memory, and the rest in the executor's, which is freed at the end or with the failed call's memory.
        unsafe {
            let result = (*call).resultinfo.cast::<pg_sys::ReturnSetInfo>();
            ensure_takes_a_set(result)?;
            let memory = (*(*result).econtext).ecxt_per_query_memory;
            let before = pg_sys::MemoryContextSwitchTo(memory);
            let descriptor = pg_sys::CreateTupleDescCopy(table.tuple_descriptor());
            let random = (*result).allowedModes
                & pg_sys::SetFunctionReturnMode::SFRM_Materialize_Random as i32
                != 0;
            let store = pg_sys::tuplestore_begin_heap(random, false, pg_sys::work_mem);
            (*result).returnMode = pg_sys::SetFunctionReturnMode::SFRM_Materialize;
            (*result).setResult = store;
            (*result).setDesc = descriptor;
            pg_sys::MemoryContextSwitchTo(before);
            let executor = pg_sys::CreateExecutorState();
            let context = pg_sys::CreateExprContext(executor);
            let slot =
                pg_sys::MakeSingleTupleTableSlot(descriptor, &raw const pg_sys::TTSOpsVirtual);
            (*slot).tts_tableOid = table.oid();
            (*context).ecxt_scantuple = slot;
            // Preparing an expression may evaluate parts of it.
            let untrusted = Untrusted::enter(table.owner());
            untrusted.set_for_files();
            let count = (*descriptor).natts as usize;
            let sources = (0..count)
                .map(|index| source(table, index, texts.get(index).copied().flatten(), executor));
            Ok(TableRows {
                store,
                descriptor,
                slot,
                executor,
                context,
                sources: sources.collect(),
                untrusted,
            })
        }
    }

    /// Adds a row. `texts`: NUL-terminated, in the database's encoding, which is checked here; `None` for NULL.
    pub fn put(&mut self, texts: &[Option<&CStr>]) {
        // SAFETY: the slot has room for each attribute; values live in the row's memory, which is reset when the row has
        // been copied; the function pointer is the executor's own, whose errors the guard turns into ours.
        unsafe {
            let row_memory = (*self.context).ecxt_per_tuple_memory;
            let before = pg_sys::MemoryContextSwitchTo(row_memory);
            pg_sys::ExecClearTuple(self.slot);
            let (values, nulls) = ((*self.slot).tts_values, (*self.slot).tts_isnull);
            for (index, source) in self.sources.iter_mut().enumerate() {
                let value = match source {
                    Source::Text(input) => input.read(texts.get(input.text).copied().flatten()),
                    _ => None,
                };
                *nulls.add(index) = value.is_none();
                *values.add(index) = value.unwrap_or(pg_sys::Datum::null());
            }
            pg_sys::ExecStoreVirtualTuple(self.slot);
            // Such an expression does not use generated columns.
            for (index, source) in self.sources.iter().enumerate() {
                if let Source::Computed(expression) = source {
                    let (expression, context) = (*expression, self.context);
                    let mut is_null = false;
                    let evaluate = (*expression).evalfunc.expect("it was prepared");
                    let value =
                        pg_guard_ffi_boundary(|| evaluate(expression, context, &raw mut is_null));
                    *values.add(index) = value;
                    *nulls.add(index) = is_null;
                }
            }
            pg_sys::tuplestore_putvalues(self.store, self.descriptor, values, nulls);
            pg_sys::MemoryContextSwitchTo(before);
            pg_sys::MemoryContextReset(row_memory);
        }
    }

    /// The result is complete.
    pub fn end(self) {
        self.untrusted.leave();
        // SAFETY: made by `begin`; the store and its descriptor stay with the result.
        unsafe {
            pg_sys::ExecDropSingleTupleTableSlot(self.slot);
            pg_sys::FreeExecutorState(self.executor);
        }
    }
}

impl Input {
    /// # Safety
    /// The current memory context is that of the row.
    unsafe fn read(&mut self, text: Option<&CStr>) -> Option<pg_sys::Datum> {
        // SAFETY: the text is NUL-terminated; an input function may write to its copy. One that is not strict is called
        // for NULL too, and answers NULL or an error: a domain may refuse it.
        unsafe {
            let mut copy = std::ptr::null_mut();
            if let Some(text) = text {
                let length = text.to_bytes().len() as i32;
                pg_sys::pg_verifymbstr(text.as_ptr(), length, false);
                copy = pg_sys::pstrdup(text.as_ptr());
            }
            let function = &mut self.function;
            let value = pg_sys::InputFunctionCall(function, copy, self.parameter, self.modifier);
            text.map(|_| value)
        }
    }
}

/// # Safety
/// `result` is that of a running function.
unsafe fn ensure_takes_a_set(result: *mut pg_sys::ReturnSetInfo) -> Result<(), Failure> {
    // SAFETY: any node has a tag, and this one the modes if it is of that type.
    let takes = unsafe {
        !result.is_null()
            && (*result).type_ == pg_sys::NodeTag::T_ReturnSetInfo
            && (*result).allowedModes & pg_sys::SetFunctionReturnMode::SFRM_Materialize as i32 != 0
    };
    if takes {
        return Ok(());
    }
    let message = "set-valued function called in context that cannot accept a set";
    Err(Failure::new(
        PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
        message,
    ))
}

/// # Safety
/// `index` is below the table's number of attributes, and `executor` outlives what is returned.
unsafe fn source(
    table: OpenRelation,
    index: usize,
    text: Option<usize>,
    executor: *mut pg_sys::EState,
) -> Source {
    // SAFETY: as promised; look-ups by OID fill what they are given. The function is looked up in the executor's memory.
    unsafe {
        let attribute = compat::attribute(table.tuple_descriptor(), index);
        if attribute.attisdropped {
            return Source::Null;
        }
        if attribute.attgenerated != 0 {
            let expression = pg_sys::build_column_default(table.as_ptr(), index as i32 + 1);
            if expression.is_null() {
                return Source::Null;
            }
            let prepared = pg_sys::ExecPrepareExpr(expression.cast(), executor);
            return Source::Computed(prepared);
        }
        let Some(text) = text else {
            return Source::Null;
        };
        let mut function = pg_sys::InvalidOid;
        let mut input = Box::new(Input {
            text,
            function: pg_sys::FmgrInfo::default(),
            parameter: pg_sys::InvalidOid,
            modifier: attribute.atttypmod,
        });
        pg_sys::getTypeInputInfo(attribute.atttypid, &mut function, &mut input.parameter);
        pg_sys::fmgr_info_cxt(function, &mut input.function, (*executor).es_query_cxt);
        Source::Text(input)
    }
}
