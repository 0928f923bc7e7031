//! Settings of the session: those that give a value one text for ever, and those that a worker
//! changes for itself.

use std::cell::Cell;
use std::ffi::{CStr, CString};

use pgrx::prelude::*;

/// The settings that output functions look at, with the values of a segment's header
/// (`archive::segment::SETTINGS`).
const OUTPUT_SETTINGS: [(&CStr, &CStr); 7] = [
    (c"DateStyle", c"ISO, MDY"),
    (c"IntervalStyle", c"postgres"),
    (c"TimeZone", c"UTC"),
    (c"extra_float_digits", c"3"),
    (c"bytea_output", c"hex"),
    (c"lc_monetary", c"C"),
    (c"search_path", c""),
];

thread_local! {
    static FIXED: Cell<bool> = const { Cell::new(false) };
}

/// Sets them for the whole session. A worker does this once at start.
pub fn fix_output_settings() {
    for (name, value) in OUTPUT_SETTINGS {
        set(name, value);
    }
    FIXED.set(true);
}

/// Sets one setting for this session, as a superuser's SET would.
pub fn set(name: &CStr, value: &CStr) {
    // SAFETY: both are NUL-terminated; guc.c copies them.
    unsafe {
        pg_sys::SetConfigOption(
            name.as_ptr(),
            value.as_ptr(),
            pg_sys::GucContext::PGC_SUSET,
            pg_sys::GucSource::PGC_S_SESSION,
        );
    }
}

/// The same for text that is made at run time.
pub fn set_text(name: &CStr, value: &str) {
    set(name, &CString::new(value).unwrap_or_default());
}

/// The output settings around one transaction of a session that is not ours (`pg_recvlogical`, a
/// SQL function), given back at its end. An error gives them back with the transaction's abort.
#[derive(Default)]
pub struct OutputSettings {
    nest_level: Option<i32>,
}

impl OutputSettings {
    pub fn enter(&mut self) {
        if FIXED.get() {
            return;
        }
        // SAFETY: within a transaction, as every decoding callback is; guc.c copies the strings.
        unsafe {
            self.nest_level = Some(pg_sys::NewGUCNestLevel());
            for (name, value) in OUTPUT_SETTINGS {
                set_at_level(name, value, pg_sys::GucContext::PGC_USERSET);
            }
        }
    }

    pub fn leave(&mut self) {
        if let Some(level) = self.nest_level.take() {
            // SAFETY: the level was opened by `enter` in the same transaction.
            unsafe { pg_sys::AtEOXact_GUC(true, level) }
        }
    }
}

/// Sets until the nest level that was opened last is left.
///
/// # Safety
/// Inside a transaction, after NewGUCNestLevel.
pub(super) unsafe fn set_at_level(name: &CStr, value: &CStr, context: pg_sys::GucContext::Type) {
    // SAFETY: by the caller's promise; guc.c copies the strings.
    unsafe {
        pg_sys::set_config_option(
            name.as_ptr(),
            value.as_ptr(),
            context,
            pg_sys::GucSource::PGC_S_SESSION,
            pg_sys::GucAction::GUC_ACTION_SAVE,
            true,
            0,
            false,
        );
    }
}
