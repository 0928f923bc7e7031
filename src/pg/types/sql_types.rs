//! Types of SQL functions that pgrx does not have: `regclass`, `xid8`, and `jsonb` as it is stored or from its text.

use std::ffi::CString;

use pgrx::callconv::{Arg, ArgAbi, BoxRet, FcInfo};
use pgrx::datum::{Datum, DatumWithOid};
use pgrx::direct_function_call_as_datum;
use pgrx::prelude::*;

/// A `regclass`.
#[derive(Clone, Copy, Debug)]
pub struct RegClass(pub pg_sys::Oid);

impl_sql_translatable!(RegClass, "regclass");

// SAFETY: SQL gives a regclass, which is passed as its OID.
unsafe impl<'fcx> ArgAbi<'fcx> for RegClass {
    unsafe fn unbox_arg_unchecked(arg: Arg<'_, 'fcx>) -> Self {
        // SAFETY: as above. A null does not come here: the functions are strict in it.
        let oid = unsafe { arg.unbox_arg_using_from_datum::<pg_sys::Oid>() };
        RegClass(oid.unwrap_or(pg_sys::InvalidOid))
    }
}

/// A `jsonb` argument that is passed to a query: numbers keep all their digits.
#[derive(Clone, Copy, Debug)]
pub struct StoredJsonb(pg_sys::Datum);

impl_sql_translatable!(StoredJsonb, "jsonb");

impl StoredJsonb {
    /// As an argument of a query.
    pub fn argument(&self) -> DatumWithOid<'_> {
        // SAFETY: the datum is a jsonb that lives as long as the call.
        unsafe { DatumWithOid::new(self.0, pg_sys::JSONBOID) }
    }
}

/// The argument's datum, whatever it is.
struct AnyDatum(pg_sys::Datum);

impl FromDatum for AnyDatum {
    unsafe fn from_polymorphic_datum(
        datum: pg_sys::Datum,
        is_null: bool,
        _: pg_sys::Oid,
    ) -> Option<Self> {
        (!is_null).then_some(AnyDatum(datum))
    }
}

// SAFETY: SQL gives a jsonb; the datum lives as long as the call.
unsafe impl<'fcx> ArgAbi<'fcx> for StoredJsonb {
    unsafe fn unbox_arg_unchecked(arg: Arg<'_, 'fcx>) -> Self {
        // SAFETY: as above. A null does not come here: the functions are strict in it.
        let datum = unsafe { arg.unbox_arg_using_from_datum::<AnyDatum>() };
        StoredJsonb(datum.map_or(pg_sys::Datum::null(), |any| any.0))
    }
}

/// A `jsonb`, from its text in the database's encoding.
#[derive(Clone, Debug)]
pub struct JsonbText(Vec<u8>);

impl JsonbText {
    /// A longer text may not fit into a `jsonb`, whose parts have less than 256 MB together.
    const LONGEST: usize = 200 * 1024 * 1024;

    /// `None` if it is too long.
    pub fn of(text: Vec<u8>) -> Option<JsonbText> {
        (text.len() <= Self::LONGEST).then_some(JsonbText(text))
    }
}

impl_sql_translatable!(JsonbText, "jsonb");

impl IntoDatum for JsonbText {
    /// Raises an error if it is not JSON.
    fn into_datum(self) -> Option<pg_sys::Datum> {
        let text = CString::new(self.0).ok()?;
        // SAFETY: jsonb_in reads a C string, which lives until it has returned, and returns a datum of the current
        // memory context.
        unsafe { direct_function_call_as_datum(pg_sys::jsonb_in, &[Some(text.as_ptr().into())]) }
    }

    fn type_oid() -> pg_sys::Oid {
        pg_sys::JSONBOID
    }
}

// SAFETY: the datum is a complete jsonb in the current memory context.
unsafe impl BoxRet for JsonbText {
    unsafe fn box_into<'fcx>(self, fcinfo: &mut FcInfo<'fcx>) -> Datum<'fcx> {
        match self.into_datum() {
            // SAFETY: as above.
            Some(datum) => unsafe { fcinfo.return_raw_datum(datum) },
            None => fcinfo.return_null(),
        }
    }
}

/// An `xid8`: a transaction id that never wraps around.
#[derive(Clone, Copy, Debug)]
pub struct Xid8(pub u64);

impl_sql_translatable!(Xid8, "xid8");

impl IntoDatum for Xid8 {
    fn into_datum(self) -> Option<pg_sys::Datum> {
        Some(pg_sys::Datum::from(self.0))
    }

    fn type_oid() -> pg_sys::Oid {
        pg_sys::XID8OID
    }
}

// SAFETY: xid8 is passed by value, as its 64 bits.
unsafe impl BoxRet for Xid8 {
    unsafe fn box_into<'fcx>(self, fcinfo: &mut FcInfo<'fcx>) -> Datum<'fcx> {
        // SAFETY: the datum is a complete value of the declared type.
        unsafe { fcinfo.return_raw_datum(pg_sys::Datum::from(self.0)) }
    }
}
