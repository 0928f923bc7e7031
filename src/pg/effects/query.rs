//! The state of objects, read by a query under the historic snapshot.

use std::cell::RefCell;
use std::ffi::{CStr, CString};
use std::time::Duration;

use pgrx::prelude::*;
use rustc_hash::FxHashMap;

use super::look::{setting, unexpected, without_trace};
use super::server_text;
use crate::pg::decoding::value::Row;
use crate::pg::failure::Failure;

/// Set while a query is planned: a few objects are looked up by their OIDs, whatever the size of the catalogs
/// and their statistics.
const PLANNING: [(&CStr, &CStr); 5] = [
    (c"enable_seqscan", c"off"),
    (c"enable_bitmapscan", c"off"),
    (c"enable_hashjoin", c"off"),
    (c"enable_mergejoin", c"off"),
    (c"jit", c"off"),
];

thread_local! {
    /// By address and length of the text. Never freed: the number of queries in the program is fixed.
    static PLANS: RefCell<FxHashMap<(usize, usize), pg_sys::SPIPlanPtr>> = RefCell::default();
}

/// Runs `query`, whose parameter `$1` is an array of OIDs and whose columns are an OID and a text (or json),
/// and returns its rows; text as in [`server_text`]. It is planned once per process.
///
/// Called in a callback of the output plugin, under settings that make texts canonical (empty `search_path`).
/// Its errors are returned as values, and leave nothing behind: no lock, pin or memory. Waits for locks as
/// long as `patience` allows.
pub fn read(
    query: &'static str,
    oids: &[u32],
    patience: Duration,
) -> Result<Vec<(u32, String)>, Failure> {
    if oids.is_empty() {
        return Ok(Vec::new());
    }
    without_trace(patience, || answered(query, oids))
}

/// Inside the subtransaction, which restores SPI's state after an error.
fn answered(query: &'static str, oids: &[u32]) -> Result<Vec<(u32, String)>, Failure> {
    // SAFETY: inside a subtransaction.
    unsafe {
        connected(pg_sys::SPI_connect())?;
        let plan = plan(query)?;
        let mut arguments = [oid_array(oids)];
        let (values, no_nulls) = (arguments.as_mut_ptr(), std::ptr::null());
        let result = pg_sys::SPI_execute_plan(plan, values, no_nulls, true, 0);
        if result != pg_sys::SPI_OK_SELECT as i32 {
            return Err(unexpected(format!("SPI_execute_plan returned {result}")));
        }
        let rows = rows();
        pg_sys::SPI_finish();
        rows
    }
}

fn connected(result: i32) -> Result<(), Failure> {
    if result == pg_sys::SPI_OK_CONNECT as i32 {
        return Ok(());
    }
    Err(unexpected(format!("SPI_connect returned {result}")))
}

/// The plan of a query; the planner's settings are set where it is made again.
///
/// # Safety
/// Connected to SPI, inside the subtransaction.
unsafe fn plan(query: &'static str) -> Result<pg_sys::SPIPlanPtr, Failure> {
    let key = (query.as_ptr() as usize, query.len());
    let known = PLANS.with_borrow(|plans| plans.get(&key).copied());
    // SAFETY: promised by the caller; plans that are kept live as long as the process.
    unsafe {
        if let Some(plan) = known {
            if !pg_sys::SPI_plan_is_valid(plan) {
                plan_by_index();
            }
            return Ok(plan);
        }
        plan_by_index();
        let text = CString::new(query).map_err(|error| unexpected(error.to_string()))?;
        let mut types = [pg_sys::OIDARRAYOID];
        // One plan for all: considering the OIDs is not worthwhile.
        let options = pg_sys::CURSOR_OPT_GENERIC_PLAN as i32;
        let plan = pg_sys::SPI_prepare_cursor(text.as_ptr(), 1, types.as_mut_ptr(), options);
        if plan.is_null() {
            let result = pg_sys::SPI_result;
            return Err(unexpected(format!("SPI_prepare_cursor returned {result}")));
        }
        pg_sys::SPI_keepplan(plan);
        PLANS.with_borrow_mut(|plans| plans.insert(key, plan));
        Ok(plan)
    }
}

/// # Safety
/// Inside the subtransaction.
unsafe fn plan_by_index() {
    for (name, value) in PLANNING {
        // SAFETY: promised by the caller.
        unsafe { setting(name, value) };
    }
}

fn oid_array(oids: &[u32]) -> pg_sys::Datum {
    let mut values: Vec<pg_sys::Datum> = oids
        .iter()
        .map(|oid| pg_sys::Oid::from(*oid).into())
        .collect();
    let (count, align) = (
        values.len() as i32,
        pg_sys::TYPALIGN_INT as std::ffi::c_char,
    );
    // SAFETY: `count` values of type oid, which is passed by value in four bytes.
    let array = unsafe {
        pg_sys::construct_array(
            values.as_mut_ptr(),
            count,
            pg_sys::OIDOID,
            size_of::<u32>() as i32,
            true,
            align,
        )
    };
    pg_sys::Datum::from(array)
}

/// The rows of the query that SPI has just run.
///
/// # Safety
/// Connected to SPI, after a SELECT.
unsafe fn rows() -> Result<Vec<(u32, String)>, Failure> {
    // SAFETY: SPI's table has `SPI_processed` tuples of its row type, in memory of its own.
    unsafe {
        let (table, count) = (pg_sys::SPI_tuptable, pg_sys::SPI_processed as usize);
        let descriptor = (*table).tupdesc;
        let is_text = |type_oid| matches!(type_oid, pg_sys::TEXTOID | pg_sys::JSONOID);
        if (*descriptor).natts != 2
            || pg_sys::SPI_gettypeid(descriptor, 1) != pg_sys::OIDOID
            || !is_text(pg_sys::SPI_gettypeid(descriptor, 2))
        {
            return Err(unexpected("the columns are not oid and text".into()));
        }
        let mut row = Row::default();
        let mut read = Vec::with_capacity(count);
        for index in 0..count {
            row.deform(*(*table).vals.add(index), descriptor);
            let (Some(oid), Some(text)) = (row.get(0), row.get(1)) else {
                return Err(unexpected("a column is NULL".into()));
            };
            let packed = pg_sys::pg_detoast_datum_packed(text.cast_mut_ptr());
            let data = pgrx::varlena::vardata_any(packed).cast::<u8>();
            let length = pgrx::varlena::varsize_any_exhdr(packed);
            let bytes = std::slice::from_raw_parts(data, length);
            read.push((oid.value() as u32, server_text::from_server_bytes(bytes)?));
        }
        Ok(read)
    }
}
