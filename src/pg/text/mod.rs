//! Text of SQL functions in databases of any encoding.
//!
//! pgrx treats every text as UTF-8. Results of SQL functions and their arguments are converted here; queries
//! return text as `convert_to(…, 'UTF8')`.

pub mod quote;

use pgrx::callconv::{Arg, ArgAbi, BoxRet, FcInfo};
use pgrx::datum::Datum;
use pgrx::prelude::*;

/// A `text` in the database's own encoding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerText(pub Vec<u8>);

impl ServerText {
    /// Converts from UTF-8. Raises an error (22P05) if the database's encoding has no such character.
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

    /// Without the last character if that is incomplete. The bytes are in the database's encoding.
    pub fn clipped(bytes: Vec<u8>) -> ServerText {
        let text = std::ffi::CString::new(bytes).unwrap_or_default();
        let length = text.as_bytes().len() as i32;
        // SAFETY: it is a C string of that length; the result is not above it.
        let whole = unsafe { pg_sys::pg_mbcliplen(text.as_ptr(), length, length) };
        ServerText(text.as_bytes()[..whole as usize].to_vec())
    }

    /// Converts to UTF-8.
    pub fn to_utf8(&self) -> String {
        // SAFETY: the bytes are a valid text of the database's encoding, of the given length; the result
        // is the argument itself or a NUL-terminated copy.
        let converted = unsafe {
            let start = self.0.as_ptr().cast();
            let length = self.0.len() as i32;
            let converted = pg_sys::pg_server_to_any(start, length, pg_sys::pg_enc::PG_UTF8 as i32);
            if std::ptr::eq(converted, start) {
                self.0.clone()
            } else {
                std::ffi::CStr::from_ptr(converted).to_bytes().to_vec()
            }
        };
        // SQL_ASCII is not converted.
        String::from_utf8_lossy(&converted).into_owned()
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

// SAFETY: SQL gives a text; `text` and `bytea` are laid out alike.
unsafe impl<'fcx> ArgAbi<'fcx> for ServerText {
    unsafe fn unbox_arg_unchecked(arg: Arg<'_, 'fcx>) -> Self {
        // SAFETY: as above. A null does not come here but as an Option's.
        let bytes = unsafe { arg.unbox_arg_using_from_datum::<&[u8]>() };
        ServerText(bytes.unwrap_or_default().to_vec())
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
