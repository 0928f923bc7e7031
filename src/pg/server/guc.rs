//! Settings with check hooks, which PostgreSQL calls as C functions.

use std::ffi::{c_char, c_int, c_void, CStr, CString};
use std::str::FromStr;

use pgrx::guc::{GucContext, GucFlags, GucRegistry, GucSetting};
use pgrx::prelude::*;

/// A setting that is an absolute path, in UTF-8 since SQL functions show what is below it, or empty.
pub fn define_path(
    name: &'static CStr,
    short: &'static CStr,
    long: &'static CStr,
    setting: &'static GucSetting<Option<CString>>,
) {
    define_checked(name, short, long, setting, Some(check_path));
}

/// A setting in cron's form or empty.
pub fn define_schedule(
    name: &'static CStr,
    short: &'static CStr,
    long: &'static CStr,
    setting: &'static GucSetting<Option<CString>>,
) {
    define_checked(name, short, long, setting, Some(check_schedule));
}

/// A setting that says how closed segments are stored.
pub fn define_compression(
    name: &'static CStr,
    short: &'static CStr,
    long: &'static CStr,
    setting: &'static GucSetting<Option<CString>>,
) {
    define_checked(name, short, long, setting, Some(check_compression));
}

/// A setting that is a command for a shell with `%p` and `%f`, or empty.
pub fn define_command(
    name: &'static CStr,
    short: &'static CStr,
    long: &'static CStr,
    setting: &'static GucSetting<Option<CString>>,
) {
    define_checked(name, short, long, setting, Some(check_command));
}

/// A setting that is a list of databases, or empty.
pub fn define_databases(
    name: &'static CStr,
    short: &'static CStr,
    long: &'static CStr,
    setting: &'static GucSetting<Option<CString>>,
) {
    define_checked(name, short, long, setting, Some(check_databases));
}

/// Whether 0 is one of the values of a setting of [`define_span`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Zero {
    Allowed,
    Refused,
}

/// A time in minutes that is meant to be an hour or longer: a number without a unit is refused where somebody may have
/// meant days. -1 is allowed if it is not below `min`.
pub fn define_span(
    name: &'static CStr,
    short: &'static CStr,
    long: &'static CStr,
    setting: &'static GucSetting<i32>,
    min: i32,
    zero: Zero,
) {
    let check: pg_sys::GucIntCheckHook = match zero {
        Zero::Allowed => Some(check_span_or_zero),
        Zero::Refused => Some(check_span),
    };
    let (context, unit) = (GucContext::Sighup, GucFlags::UNIT_MIN);
    // SAFETY: the check hooks below are guarded and follow guc.h's signature.
    unsafe {
        GucRegistry::define_int_guc_with_hooks(
            name,
            short,
            long,
            setting,
            min,
            i32::MAX,
            context,
            unit,
            check,
            None,
            None,
        )
    }
}

/// A setting that holds connection parameters, in libpq's keyword=value form, without a password; or empty.
pub fn define_conninfo(
    name: &'static CStr,
    short: &'static CStr,
    long: &'static CStr,
    setting: &'static GucSetting<Option<CString>>,
) {
    define_checked(name, short, long, setting, Some(check_conninfo));
}

/// A setting that is any text in UTF-8.
pub fn define_text(
    name: &'static CStr,
    short: &'static CStr,
    long: &'static CStr,
    setting: &'static GucSetting<Option<CString>>,
) {
    define_checked(name, short, long, setting, Some(check_text));
}

/// Makes PostgreSQL refuse settings of this prefix that nobody defined.
pub fn reserve_prefix(prefix: &'static CStr) {
    // SAFETY: the string is static and NUL-terminated.
    unsafe { pg_sys::MarkGUCPrefixReserved(prefix.as_ptr()) }
}

fn define_checked(
    name: &'static CStr,
    short: &'static CStr,
    long: &'static CStr,
    setting: &'static GucSetting<Option<CString>>,
    check: pg_sys::GucStringCheckHook,
) {
    let (context, flags) = (GucContext::Sighup, GucFlags::SUPERUSER_ONLY);
    // SAFETY: the check hooks below are guarded and follow guc.h's signature.
    unsafe {
        GucRegistry::define_string_guc_with_hooks(
            name, short, long, setting, context, flags, check, None, None,
        )
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn check_path(
    value: *mut *mut c_char,
    _extra: *mut *mut c_void,
    _source: pg_sys::GucSource::Type,
) -> bool {
    // SAFETY: guc.c hands over a pointer to a NUL-terminated string.
    let path = unsafe { CStr::from_ptr(*value) };
    if path.count_bytes() > LONGEST_PATH {
        return refuse(c"The path is longer than 700 bytes.");
    }
    if !path.is_empty() && !path.to_bytes().starts_with(b"/") {
        return refuse(c"The path must be absolute.");
    }
    ensure_utf8(
        path,
        c"Give the directory a name in UTF-8, or of ASCII characters alone.",
    )
}

/// The names of what is below it, at most some 300 bytes, go with it to the board and into messages.
const LONGEST_PATH: usize = 700;

#[pg_guard]
unsafe extern "C-unwind" fn check_text(
    value: *mut *mut c_char,
    _extra: *mut *mut c_void,
    _source: pg_sys::GucSource::Type,
) -> bool {
    // SAFETY: guc.c hands over a pointer to a NUL-terminated string.
    ensure_utf8(unsafe { CStr::from_ptr(*value) }, c"Write it in UTF-8.")
}

/// Refuses what would be shown, stored or handed on as something else than it is.
fn ensure_utf8(value: &CStr, hint: &CStr) -> bool {
    value.to_str().is_ok() || refuse_with_hint(c"It is not valid UTF-8.", hint)
}

#[pg_guard]
unsafe extern "C-unwind" fn check_schedule(
    value: *mut *mut c_char,
    _extra: *mut *mut c_void,
    _source: pg_sys::GucSource::Type,
) -> bool {
    // SAFETY: guc.c hands over a pointer to a NUL-terminated string.
    let schedule = unsafe { CStr::from_ptr(*value) }.to_string_lossy();
    schedule.trim().is_empty()
        || croner::Cron::from_str(schedule.trim()).is_ok()
        || refuse_with_hint(
            c"The schedule needs cron's five fields: minute, hour, day of month, month, day of week.",
            c"For example, '0 2 * * *' is 02:00 UTC every day; an empty string disables the schedule.",
        )
}

#[pg_guard]
unsafe extern "C-unwind" fn check_compression(
    value: *mut *mut c_char,
    _extra: *mut *mut c_void,
    _source: pg_sys::GucSource::Type,
) -> bool {
    // SAFETY: guc.c hands over a pointer to a NUL-terminated string.
    let text = unsafe { CStr::from_ptr(*value) }.to_string_lossy();
    let refused = archive::compression::Compression::from_str(&text).err();
    let Some(why) = refused.and_then(|why| CString::new(why).ok()) else {
        return true;
    };
    refuse_with_hint(
        &why,
        c"Use 'none', 'gzip' or 'zstd', optionally with a level, as in 'zstd:3'.",
    )
}

#[pg_guard]
unsafe extern "C-unwind" fn check_databases(
    value: *mut *mut c_char,
    _extra: *mut *mut c_void,
    _source: pg_sys::GucSource::Type,
) -> bool {
    // SAFETY: guc.c hands over a pointer to a NUL-terminated string.
    let list = unsafe { CStr::from_ptr(*value) };
    let Ok(text) = list.to_str() else {
        return ensure_utf8(list, c"Use a name with * in place of other characters.");
    };
    let refused = archive::selection::Selection::from_str(text).err();
    let Some(why) = refused.and_then(|why| CString::new(why).ok()) else {
        return true;
    };
    refuse_with_hint(
        &why,
        c"Write names separated by commas, as in 'shop, tenant_*', or '*, !scratch' for every database but one. Names with commas, spaces or quotes need double quotes.",
    )
}

#[pg_guard]
unsafe extern "C-unwind" fn check_span(
    value: *mut c_int,
    _extra: *mut *mut c_void,
    _source: pg_sys::GucSource::Type,
) -> bool {
    // SAFETY: guc.c hands over a pointer to the new value.
    is_span(unsafe { *value }, Zero::Refused)
}

#[pg_guard]
unsafe extern "C-unwind" fn check_span_or_zero(
    value: *mut c_int,
    _extra: *mut *mut c_void,
    _source: pg_sys::GucSource::Type,
) -> bool {
    // SAFETY: guc.c hands over a pointer to the new value.
    is_span(unsafe { *value }, Zero::Allowed)
}

/// False, and the detail is set, for less than an hour.
fn is_span(minutes: i32, zero: Zero) -> bool {
    if !(0..60).contains(&minutes) || minutes == 0 && zero == Zero::Allowed {
        return true;
    }
    let detail = CString::new(format!("{minutes} minutes are less than an hour."));
    refuse_with_hint(
        &detail.unwrap_or_default(),
        c"A number without a unit counts minutes: write '7d' for seven days, '12h' for twelve hours.",
    )
}

#[pg_guard]
unsafe extern "C-unwind" fn check_command(
    value: *mut *mut c_char,
    _extra: *mut *mut c_void,
    _source: pg_sys::GucSource::Type,
) -> bool {
    // SAFETY: guc.c hands over a pointer to a NUL-terminated string.
    let command = unsafe { CStr::from_ptr(*value) }.to_bytes();
    archive::archiving::is_command(command)
        || refuse_with_hint(
            c"Only p, f or % may follow a %.",
            c"%p is the path of the file, %f its name in the archive, %% a percent sign.",
        )
}

#[pg_guard]
unsafe extern "C-unwind" fn check_conninfo(
    value: *mut *mut c_char,
    _extra: *mut *mut c_void,
    _source: pg_sys::GucSource::Type,
) -> bool {
    // SAFETY: guc.c hands over a pointer to a NUL-terminated string.
    let conninfo = unsafe { CStr::from_ptr(*value) };
    let hint = c"Use UTF-8, or put other values into a service file: 'service=...'.";
    let Ok(conninfo) = conninfo.to_str() else {
        return ensure_utf8(conninfo, hint);
    };
    if conninfo.contains("password") {
        return refuse_with_hint(
            c"It must not contain a password: command-line arguments are visible to every user of the machine.",
            c"Put it into ~/.pgpass of the server's operating system user (or passfile=...), or into a service file.",
        );
    }
    conninfo.is_empty()
        || !conninfo.contains("://") && conninfo.contains('=')
        || refuse_with_hint(
            c"It takes parameters of the form keyword=value.",
            c"Write them as in 'host=/run/postgresql port=5433'. The database is the one that is backed up.",
        )
}

/// Sets the detail of the message that guc.c writes for a refused value.
fn refuse(detail: &CStr) -> bool {
    // SAFETY: guc.c frees nothing of this string: it copies it with pstrdup into error context.
    unsafe { pg_sys::GUC_check_errdetail_string = pg_sys::pstrdup(detail.as_ptr()) };
    false
}

fn refuse_with_hint(detail: &CStr, hint: &CStr) -> bool {
    // SAFETY: as for the detail.
    unsafe { pg_sys::GUC_check_errhint_string = pg_sys::pstrdup(hint.as_ptr()) };
    refuse(detail)
}

/// Value of a setting of this server, or `None` where the server does not know it.
pub fn value(name: &CStr) -> Option<String> {
    bytes(name).map(|value| String::from_utf8_lossy(&value).into_owned())
}

/// The same as the very bytes, for what may be in any encoding.
pub fn bytes(name: &CStr) -> Option<Vec<u8>> {
    // SAFETY: a missing setting is allowed; the value is copied before anything can change it.
    unsafe {
        let value = pg_sys::GetConfigOption(name.as_ptr(), true, false);
        (!value.is_null()).then(|| CStr::from_ptr(value).to_bytes().to_vec())
    }
}
