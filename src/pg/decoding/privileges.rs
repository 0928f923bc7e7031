//! The roles in a value of aclitem or aclitem[]: if one of them is missing, PostgreSQL cannot read its text
//! (aclitemin).

use std::ffi::CStr;

use pgrx::prelude::*;

/// Their names as in the text: for a dropped role its OID, which is parsed like any other name.
///
/// # Safety
/// `value` must be a value of `type_oid`, one of these two types.
pub unsafe fn roles_in(value: pg_sys::Datum, type_oid: pg_sys::Oid) -> Vec<Vec<u8>> {
    let items = if type_oid == pg_sys::ACLITEMOID {
        vec![value]
    } else {
        // SAFETY: promised by the caller.
        unsafe { elements(value) }
    };
    let mut roles = Vec::new();
    for item in items {
        // SAFETY: an element that is not NULL points to an AclItem (utils/acl.h).
        let item = unsafe { &*item.cast_mut_ptr::<pg_sys::AclItem>() };
        roles.extend([item.ai_grantee, item.ai_grantor]);
    }
    roles.sort_unstable_by_key(|role| role.to_u32());
    roles.dedup();
    // 0 is PUBLIC, which has no name.
    roles.retain(|role| *role != pg_sys::InvalidOid);
    roles.into_iter().map(text_of).collect()
}

/// # Safety
/// `array` must be an aclitem[].
unsafe fn elements(array: pg_sys::Datum) -> Vec<pg_sys::Datum> {
    let (mut length, mut by_value, mut align) = (0, false, 0);
    let (mut items, mut nulls, mut count) = (std::ptr::null_mut(), std::ptr::null_mut(), 0);
    // SAFETY: promised by the caller; what the array is taken apart into has `count` places.
    unsafe {
        let element = pg_sys::ACLITEMOID;
        pg_sys::get_typlenbyvalalign(element, &mut length, &mut by_value, &mut align);
        let array = pg_sys::pg_detoast_datum(array.cast_mut_ptr());
        pg_sys::deconstruct_array(
            array.cast(),
            element,
            length.into(),
            by_value,
            align,
            &mut items,
            &mut nulls,
            &mut count,
        );
        (0..count as usize)
            .filter(|&nth| !*nulls.add(nth))
            .map(|nth| *items.add(nth))
            .collect()
    }
}

fn text_of(role: pg_sys::Oid) -> Vec<u8> {
    // SAFETY: a look-up; missing is allowed; the copy is NUL-terminated.
    unsafe {
        let name = pg_sys::GetUserNameFromId(role, true);
        if name.is_null() {
            role.to_u32().to_string().into_bytes()
        } else {
            CStr::from_ptr(name).to_bytes().to_vec()
        }
    }
}
