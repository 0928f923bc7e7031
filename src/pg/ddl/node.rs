//! Access to parse trees: lists, strings, names.

use std::ffi::{c_char, CStr, CString};

use pgrx::prelude::*;

use crate::pg::text::quote;

/// SQL text or a name in the database's encoding, which may not be UTF-8.
pub type Sql = Vec<u8>;

/// The elements of a list of pointers; none for NIL.
///
/// # Safety
/// `list` is NIL or a valid list of pointers to `T`.
pub unsafe fn items<T>(list: *mut pg_sys::List) -> Vec<*mut T> {
    if list.is_null() {
        return Vec::new();
    }
    // SAFETY: a List has `length` elements, of which this one's are pointers.
    unsafe {
        (0..(*list).length as usize)
            .map(|place| (*(*list).elements.add(place)).ptr_value.cast())
            .collect()
    }
}

/// The bytes of a C string; none for NULL.
///
/// # Safety
/// `text` is NULL or NUL-terminated.
pub unsafe fn bytes(text: *const c_char) -> Option<Sql> {
    // SAFETY: by the caller's promise.
    (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_bytes().to_vec())
}

/// The names in a list of String nodes.
///
/// # Safety
/// `list` is NIL or a list of String nodes.
pub unsafe fn names(list: *mut pg_sys::List) -> Vec<Sql> {
    // SAFETY: by the caller's promise.
    unsafe {
        items::<pg_sys::String>(list)
            .into_iter()
            .filter_map(|name| bytes((*name).sval))
            .collect()
    }
}

/// True when `node` is of this kind; false for NULL.
///
/// # Safety
/// `node` is NULL or a valid node.
pub unsafe fn is_a(node: *const pg_sys::Node, tag: pg_sys::NodeTag) -> bool {
    // SAFETY: by the caller's promise.
    !node.is_null() && unsafe { (*node).type_ } == tag
}

/// `text` as a C string; bytes past a NUL are dropped.
pub fn c_string(text: &[u8]) -> CString {
    let upto = text
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(text.len());
    CString::new(&text[..upto]).unwrap_or_default()
}

/// Qualified name of a relation; `None` if it does not exist.
pub fn relation_name(relation: pg_sys::Oid) -> Option<Sql> {
    // SAFETY: look-ups by OID that answer NULL for what does not exist.
    unsafe {
        let name = bytes(pg_sys::get_rel_name(relation))?;
        let schema = bytes(pg_sys::get_namespace_name(pg_sys::get_rel_namespace(
            relation,
        )))?;
        Some(quote::qualified(&schema, &name))
    }
}
