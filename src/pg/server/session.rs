//! Settings of a session: those on which the text of values depends, those that protect our sessions, and
//! those that a worker changes for itself.

use std::cell::Cell;
use std::ffi::{CStr, CString};

use pgrx::prelude::*;

/// The settings that affect output functions, with the values of a segment's header
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

/// Settings of our sessions that must not be inherited. ALTER DATABASE and ALTER ROLE … SET affect background
/// workers, and the owner of a database may use the former: a role with fewer privileges, a search path with
/// operators of theirs, a read-only transaction. (Those of `client_encoding`: see [`be_neutral`].)
const NEUTRAL: [(&CStr, &CStr); 25] = [
    (c"role", c"none"),
    (c"search_path", c"pg_catalog, pg_temp"),
    (c"session_replication_role", c"origin"),
    // Row security does not apply to superusers; if it ever did, a query would fail.
    (c"row_security", c"off"),
    // From 17 on.
    (c"event_triggers", c"off"),
    (c"default_transaction_isolation", c"read committed"),
    (c"default_transaction_read_only", c"off"),
    (c"default_transaction_deferrable", c"off"),
    (c"statement_timeout", c"0"),
    (c"lock_timeout", c"0"),
    // From 17 on.
    (c"transaction_timeout", c"0"),
    (c"idle_in_transaction_session_timeout", c"0"),
    // A caught error would terminate the process.
    (c"exit_on_error", c"off"),
    (c"client_min_messages", c"notice"),
    (c"standard_conforming_strings", c"on"),
    (c"backslash_quote", c"safe_encoding"),
    (c"array_nulls", c"on"),
    (c"transform_null_equals", c"off"),
    (c"quote_all_identifiers", c"off"),
    (c"xmloption", c"content"),
    (c"check_function_bodies", c"on"),
    (c"default_tablespace", c""),
    (c"temp_tablespaces", c""),
    (c"default_table_access_method", c"heap"),
    (c"default_toast_compression", c"pglz"),
];

/// Makes this session, of a worker, run as the bootstrap superuser under these settings, whatever is set for
/// the database and the role. A worker calls this as soon as it is connected, outside a transaction.
pub fn be_neutral() {
    if super::my_database() != pg_sys::InvalidOid {
        // SAFETY: the role of OID 10 always exists and is a superuser; it is the one this process has
        // authenticated as.
        unsafe {
            let superuser = pg_sys::Oid::from(pg_sys::BOOTSTRAP_SUPERUSERID);
            pg_sys::SetSessionAuthorization(superuser, true);
        }
        // textsend() converts to it, which fails for what the other encoding lacks. Without a database there is none to
        // convert from.
        set_text(c"client_encoding", &super::database_encoding());
    }
    for (name, value) in NEUTRAL {
        if super::guc::value(name).is_some() {
            set(name, value);
        }
    }
}

/// Sets them for the whole session. A worker calls this once at start.
pub fn fix_output_settings() {
    for (name, value) in OUTPUT_SETTINGS {
        set(name, value);
    }
    FIXED.set(true);
}

/// Sets one setting for this session, like SET by a superuser.
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

/// Sets one setting until the current transaction ends, like SET LOCAL: also while it commits.
pub fn set_local(name: &CStr, value: &CStr) {
    let context = pg_sys::GucContext::PGC_SUSET;
    // SAFETY: both are NUL-terminated; guc.c copies them.
    unsafe { set_until(name, value, context, pg_sys::GucAction::GUC_ACTION_LOCAL) }
}

/// The same for text created at run time.
pub fn set_text(name: &CStr, value: &str) {
    set(name, &CString::new(value).unwrap_or_default());
}

/// The output settings for one transaction of a session that is not ours (`pg_recvlogical`, a SQL function),
/// restored at its end. An error restores them with the transaction's abort.
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

/// Sets a setting until the current GUC nest level ends.
///
/// # Safety
/// Inside a transaction, after NewGUCNestLevel.
pub(in crate::pg) unsafe fn set_at_level(
    name: &CStr,
    value: &CStr,
    context: pg_sys::GucContext::Type,
) {
    // SAFETY: by the caller's promise.
    unsafe { set_until(name, value, context, pg_sys::GucAction::GUC_ACTION_SAVE) }
}

/// # Safety
/// Inside a transaction.
unsafe fn set_until(
    name: &CStr,
    value: &CStr,
    context: pg_sys::GucContext::Type,
    action: pg_sys::GucAction::Type,
) {
    // SAFETY: by the caller's promise; guc.c copies the strings.
    unsafe {
        pg_sys::set_config_option(
            name.as_ptr(),
            value.as_ptr(),
            context,
            pg_sys::GucSource::PGC_S_SESSION,
            action,
            true,
            0,
            false,
        );
    }
}
