//! Text of SQL functions in databases of any encoding.
//!
//! pgrx takes every text for UTF-8. What goes out of a SQL function is converted here; what comes in
//! is asked for as `convert_to(…, 'UTF8')`.

use pgrx::callconv::{BoxRet, FcInfo};
use pgrx::datum::Datum;
use pgrx::prelude::*;

/// A `text` in the database's own encoding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerText(pub Vec<u8>);

impl ServerText {
    /// Converts from UTF-8. Raises (22P05) where the database's encoding has no such character.
    pub fn from_utf8(text: &str) -> ServerText {
        // SAFETY: the bytes are valid UTF-8 of the given length; the result is the argument itself or
        // a NUL-terminated copy.
        unsafe {
            let start = text.as_ptr().cast();
            let length = text.len() as i32;
            let converted = pg_sys::pg_any_to_server(start, length, pg_sys::pg_enc::PG_UTF8 as i32);
            if std::ptr::eq(converted, start) {
                return ServerText(text.as_bytes().to_vec());
            }
            ServerText(std::ffi::CStr::from_ptr(converted).to_bytes().to_vec())
        }
    }
}

impl From<&str> for ServerText {
    fn from(text: &str) -> Self {
        ServerText::from_utf8(text)
    }
}

impl From<String> for ServerText {
    fn from(text: String) -> Self {
        ServerText::from_utf8(&text)
    }
}

impl_sql_translatable!(ServerText, "text");

impl IntoDatum for ServerText {
    fn into_datum(self) -> Option<pg_sys::Datum> {
        // `text` and `bytea` are laid out alike.
        self.0.into_datum()
    }

    fn type_oid() -> pg_sys::Oid {
        pg_sys::TEXTOID
    }
}

// SAFETY: the datum is a complete text value in the current memory context.
unsafe impl BoxRet for ServerText {
    unsafe fn box_into<'fcx>(self, fcinfo: &mut FcInfo<'fcx>) -> Datum<'fcx> {
        match self.into_datum() {
            // SAFETY: as above.
            Some(datum) => unsafe { fcinfo.return_raw_datum(datum) },
            None => fcinfo.return_null(),
        }
    }
}
