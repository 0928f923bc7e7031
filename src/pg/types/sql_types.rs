//! Types of SQL functions that pgrx does not have: `regclass`, `xid8`, and `jsonb` as it is stored.

use pgrx::callconv::{Arg, ArgAbi, BoxRet, FcInfo};
use pgrx::datum::{Datum, DatumWithOid};
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
