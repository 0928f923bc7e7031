//! Facts about this session and its catalogs for the recording of DDL: the role that runs the statement, the
//! search path and settings, and the names of objects and types.

use std::ffi::CStr;

use pgrx::prelude::*;

use super::node::{bytes, c_string, items, Sql};
use crate::pg::catalogs::extension;
use crate::pg::text::quote;

/// Attribute numbers of pg_extension (catalog/pg_extension.h).
const ANUM_EXTENSION_NAMESPACE: std::num::NonZeroUsize =
    std::num::NonZeroUsize::new(4).expect("not zero");

/// True if DDL can be recorded at all: not in recovery, not in a parallel worker, not while an extension's
/// script runs, not during pg_upgrade; nor in a read-only transaction, in which the statement will fail
/// anyway.
pub fn can_record() -> bool {
    // SAFETY: plain globals and this process's transaction state.
    unsafe {
        pg_sys::IsTransactionState()
            && !pg_sys::creating_extension
            && !pg_sys::IsBinaryUpgrade
            && !pg_sys::XactReadOnly
            && !pg_sys::IsInParallelMode()
            && !pg_sys::RecoveryInProgress()
    }
}

pub fn is_creating_extension() -> bool {
    // SAFETY: a plain global of this process.
    unsafe { pg_sys::creating_extension }
}

/// The current subtransaction level; 1 is the transaction itself.
pub fn nest_level() -> i32 {
    // SAFETY: reads this process's transaction state.
    unsafe { pg_sys::GetCurrentTransactionNestLevel() }
}

/// Name of the current role, and whether it is a superuser.
pub fn current_role() -> (Sql, bool) {
    // SAFETY: look-ups of this session's own role.
    unsafe {
        let role = pg_sys::GetUserId();
        let name = bytes(pg_sys::GetUserNameFromId(role, true)).unwrap_or_default();
        (name, pg_sys::superuser_arg(role))
    }
}

extern "C-unwind" {
    // utils/xml.h and commands/tablespace.h
    static xmloption: std::ffi::c_int;
    static default_tablespace: *const std::ffi::c_char;
}

/// True for a setting that certainly has the value of a segment's header (`archive::segment::SETTINGS`):
/// look-ups by name in guc.c are slow.
pub fn is_usual(name: &str) -> bool {
    // SAFETY: variables of this process; strings are NULL or NUL-terminated.
    unsafe {
        let is = |value: *const std::ffi::c_char, usual: &CStr| {
            !value.is_null() && CStr::from_ptr(value) == usual
        };
        match name {
            "TimeZone" => {
                let zone = pg_sys::session_timezone;
                let is_zone = |name| is(pg_sys::pg_get_timezone_name(zone), name);
                !zone.is_null()
                    && [c"UTC", c"Etc/UTC", c"GMT", c"Etc/GMT"]
                        .into_iter()
                        .any(is_zone)
            }
            "xmloption" => xmloption == pg_sys::XmlOptionType::XMLOPTION_CONTENT as i32,
            "array_nulls" => pg_sys::Array_nulls,
            "transform_null_equals" => !pg_sys::Transform_null_equals,
            "default_tablespace" => is(default_tablespace, c""),
            "default_table_access_method" => is(pg_sys::default_table_access_method, c"heap"),
            _ => false,
        }
    }
}

/// The current value of standard_conforming_strings.
pub fn conforms_strings() -> bool {
    // SAFETY: a variable of this process.
    unsafe { pg_sys::standard_conforming_strings }
}

/// The session's search path, as set.
pub fn search_path() -> Sql {
    // SAFETY: a variable of this process.
    unsafe { bytes(pg_sys::namespace_search_path) }.unwrap_or_default()
}

/// The schema of an extension.
pub fn extension_schema(extension: pg_sys::Oid) -> Option<pg_sys::Oid> {
    let read = |value: pg_sys::Datum| Some(pg_sys::Oid::from(value.value() as u32));
    extension::attribute(extension, ANUM_EXTENSION_NAMESPACE, read)
}

/// A type with its modifier, always qualified.
pub fn type_name(oid: pg_sys::Oid, modifier: i32) -> Sql {
    let flags = pg_sys::FORMAT_TYPE_TYPEMOD_GIVEN | pg_sys::FORMAT_TYPE_FORCE_QUALIFY;
    // SAFETY: raises for an unknown type; the answer is palloc'd.
    unsafe { bytes(pg_sys::format_type_extended(oid, modifier, flags as u16)) }.unwrap_or_default()
}

/// The COLLATE clause of a column: `None` if it is the type's own.
pub fn explicit_collation(collation: pg_sys::Oid, type_oid: pg_sys::Oid) -> Option<Sql> {
    // SAFETY: catalog look-ups by OID.
    unsafe {
        if collation == pg_sys::InvalidOid || collation == pg_sys::get_typcollation(type_oid) {
            return None;
        }
        let row = pg_sys::SearchSysCache1(
            pg_sys::SysCacheIdentifier::COLLOID as i32,
            pg_sys::Datum::from(collation),
        );
        if row.is_null() {
            return None;
        }
        let form = pg_sys::heap_tuple_get_struct::<pg_sys::FormData_pg_collation>(row);
        let schema = (*form).collnamespace;
        let name = CStr::from_ptr((*form).collname.data.as_ptr())
            .to_bytes()
            .to_vec();
        pg_sys::ReleaseSysCache(row);
        let schema = bytes(pg_sys::get_namespace_name(schema))?;
        Some(quote::qualified(&schema, &name))
    }
}

/// The schema in which an unqualified name is created: the first existing one of the search path, without the
/// implicit ones.
pub fn creation_namespace() -> Option<pg_sys::Oid> {
    // SAFETY: answers a list of OIDs.
    unsafe {
        let path = pg_sys::fetch_search_path(false);
        (!path.is_null() && (*path).length > 0).then(|| (*(*path).elements).oid_value)
    }
}

/// Name of [`creation_namespace`].
pub fn creation_schema() -> Option<Sql> {
    // SAFETY: a look-up that answers NULL for what does not exist.
    creation_namespace().and_then(|schema| unsafe { bytes(pg_sys::get_namespace_name(schema)) })
}

/// OID of a database, `None` if there is none.
pub fn database_oid(name: &[u8]) -> Option<pg_sys::Oid> {
    let name = c_string(name);
    // SAFETY: missing is allowed.
    let oid = unsafe { pg_sys::get_database_oid(name.as_ptr(), true) };
    (oid != pg_sys::InvalidOid).then_some(oid)
}

/// True if the current role may drop or rename this database, or is a superuser.
pub fn may_own_database(database: pg_sys::Oid) -> bool {
    // SAFETY: catalog look-ups by OID.
    unsafe {
        #[cfg(feature = "pg15")]
        return pg_sys::pg_database_ownercheck(database, pg_sys::GetUserId());
        #[cfg(not(feature = "pg15"))]
        return pg_sys::object_ownercheck(
            pg_sys::DatabaseRelationId,
            database,
            pg_sys::GetUserId(),
        );
    }
}

/// The options of a statement as name and value; the name includes its namespace.
///
/// # Safety
/// `list` is NIL or a list of DefElem nodes.
pub unsafe fn options(list: *mut pg_sys::List) -> Vec<(Sql, Option<Sql>)> {
    // SAFETY: by the caller's promise.
    unsafe {
        let mut found = Vec::new();
        for option in items::<pg_sys::DefElem>(list) {
            let name = quote::identifier(&bytes((*option).defname).unwrap_or_default());
            let name = match bytes((*option).defnamespace) {
                Some(space) => [&quote::identifier(&space)[..], b".", &name].concat(),
                None => name,
            };
            let has_value = !(*option).arg.is_null();
            let value = has_value
                .then(|| bytes(pg_sys::defGetString(option)))
                .flatten();
            found.push((name, value));
        }
        found
    }
}

/// A query in which `bytes(x)` is replaced by an expression for the bytes of the text `x` in the database's
/// encoding, which a Rust string may not be able to represent.
pub fn with_bytes(query: &str) -> String {
    let mut out = String::with_capacity(query.len() * 2);
    let mut rest = query;
    while let Some(place) = rest.find("bytes(") {
        let inside = place + "bytes(".len();
        let end = inside + closing(&rest[inside..]);
        out.push_str(&rest[..place]);
        out.push_str("pg_catalog.convert_to((");
        out.push_str(&rest[inside..end]);
        out.push_str(")::pg_catalog.text, pg_catalog.getdatabaseencoding()::pg_catalog.name)");
        rest = &rest[end + 1..];
    }
    out.push_str(rest);
    out
}

/// The end of the parenthesis that is open before `text`.
fn closing(text: &str) -> usize {
    let mut depth = 0;
    for (place, character) in text.char_indices() {
        match character {
            '(' => depth += 1,
            ')' if depth == 0 => return place,
            ')' => depth -= 1,
            _ => {}
        }
    }
    text.len().saturating_sub(1)
}
