//! Code that may have been written by somebody other than the caller: checks of domains, expressions of generated columns.

use std::ffi::CStr;

use pgrx::prelude::*;

use super::session::set_at_level;
use crate::pg::compat;
use crate::pg::decoding::relation::OpenRelation;
use crate::pg::failure::Failure;

/// Those of a segment (`archive::segment::SETTINGS`) on which it depends how the text of a value is read.
const INPUT_SETTINGS: [(&CStr, &CStr); 6] = [
    (c"DateStyle", c"ISO, MDY"),
    (c"IntervalStyle", c"postgres"),
    (c"TimeZone", c"UTC"),
    (c"lc_monetary", c"C"),
    (c"xmloption", c"content"),
    (c"array_nulls", c"on"),
];

/// The privileges of a table's owner, in a security-restricted operation, as in ANALYZE for functions of indexes, which also
/// takes back the settings that such code changes. An error restores the caller's with the abort of the transaction.
pub(in crate::pg) struct Untrusted {
    role: pg_sys::Oid,
    context: i32,
    settings: i32,
}

impl Untrusted {
    pub fn enter(owner: pg_sys::Oid) -> Self {
        let (mut role, mut context) = (pg_sys::InvalidOid, 0);
        // SAFETY: plain calls inside a transaction.
        let settings = unsafe {
            pg_sys::GetUserIdAndSecContext(&mut role, &mut context);
            let restricted = context | pg_sys::SECURITY_RESTRICTED_OPERATION as i32;
            pg_sys::SetUserIdAndSecContext(owner, restricted);
            pg_sys::NewGUCNestLevel()
        };
        Self {
            role,
            context,
            settings,
        }
    }

    /// Values are read as they were written to the files, whatever the caller's settings are.
    pub fn set_for_files(&self) {
        for (name, value) in INPUT_SETTINGS {
            // SAFETY: inside a transaction; `enter` has opened a level.
            unsafe { set_at_level(name, value, pg_sys::GucContext::PGC_USERSET) }
        }
    }

    pub fn leave(self) {
        // SAFETY: gives back what `enter` found.
        unsafe {
            pg_sys::AtEOXact_GUC(false, self.settings);
            pg_sys::SetUserIdAndSecContext(self.role, self.context);
        }
    }
}

/// 55000 if code of the table's owner would run where the caller could lead it to objects of the caller's own.
///
/// Relations and types of the session's temporary schema are found before all others, also by code that sets its search_path
/// (PostgreSQL documentation, "Writing SECURITY DEFINER Functions Safely"), and such code may write. ANALYZE, which runs it
/// alike, is the owner's own. `runs_code`: whether it runs at all. A restricted operation makes no temporary objects itself.
pub(in crate::pg) fn ensure_not_led_astray(
    owner: pg_sys::Oid,
    runs_code: impl FnOnce() -> bool,
) -> Result<(), Failure> {
    // SAFETY: reads this session's state, and catalog look-ups by OID.
    let has_temporary = unsafe {
        let (mut schema, mut toast) = (pg_sys::InvalidOid, pg_sys::InvalidOid);
        pg_sys::GetTempNamespaceState(&mut schema, &mut toast);
        schema != pg_sys::InvalidOid
    };
    if !has_temporary || is_all_of_the_owners(owner) || !runs_code() {
        return Ok(());
    }
    let code = PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;
    let message =
        "code of the table's owner is not run in a session that has had temporary objects";
    Err(Failure::new(code, message)
        .detail("Domains with constraints and generated columns have such code.")
        .hint("Call it in a new session."))
}

/// Whoever may have made temporary objects of this session, or led it here, has the owner's rights anyway.
fn is_all_of_the_owners(owner: pg_sys::Oid) -> bool {
    // SAFETY: reads this session's state, and catalog look-ups by OID.
    unsafe {
        [
            pg_sys::GetUserId(),
            pg_sys::GetOuterUserId(),
            pg_sys::GetSessionUserId(),
        ]
        .into_iter()
        .all(|role| pg_sys::has_privs_of_role(role, owner))
    }
}

/// True if making a row of the table runs anything but input functions of types.
pub(in crate::pg) fn rows_run_code(table: OpenRelation) -> bool {
    // SAFETY: the descriptor belongs to an open relation.
    unsafe { attributes_run_code(table.tuple_descriptor()) }
}

/// # Safety
/// The descriptor is valid during the call.
unsafe fn attributes_run_code(descriptor: pg_sys::TupleDesc) -> bool {
    // SAFETY: each index is below natts.
    unsafe {
        let count = (*descriptor).natts as usize;
        let mut attributes = (0..count).map(|index| compat::attribute(descriptor, index));
        attributes.any(|attribute| {
            !attribute.attisdropped
                && (attribute.attgenerated != 0 || input_runs_code(attribute.atttypid))
        })
    }
}

/// True if a domain with constraints is in values of the type.
pub(in crate::pg) fn input_runs_code(type_oid: pg_sys::Oid) -> bool {
    // SAFETY: catalog look-ups by OID; the descriptor is a copy in the current memory context.
    unsafe {
        let inner = match pg_sys::get_typtype(type_oid) as u8 {
            b'd' if pg_sys::DomainHasConstraints(type_oid) => return true,
            b'd' => pg_sys::getBaseType(type_oid),
            b'c' => return attributes_run_code(pg_sys::lookup_rowtype_tupdesc_copy(type_oid, -1)),
            b'r' => pg_sys::get_range_subtype(type_oid),
            b'm' => pg_sys::get_multirange_range(type_oid),
            _ => pg_sys::get_element_type(type_oid),
        };
        inner != pg_sys::InvalidOid && input_runs_code(inner)
    }
}
