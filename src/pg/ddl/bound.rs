//! The bounds of a partition: their expressions are evaluated when the statement runs, and stored as
//! constants.

use std::ffi::c_void;

use pgrx::pg_sys::ffi::pg_guard_ffi_boundary;
use pgrx::prelude::*;

use super::node::{is_a, items};
use super::statement::Statement;
use super::touched::raw_walker;

/// True if `statement` contains bounds that are not just constants, so that the result of their text may
/// differ at replay.
pub fn is_computed(statement: &Statement) -> bool {
    use pg_sys::NodeTag::*;
    // SAFETY: the tree is valid while the statement is; each cast follows the node's tag.
    unsafe {
        let create = || {
            Some(
                statement
                    .as_a::<pg_sys::CreateStmt>(T_CreateStmt)?
                    .partbound,
            )
        };
        let attach = || Some((*statement.attached()?).bound);
        let Some(bound) = create().or_else(attach) else {
            return false;
        };
        if bound.is_null() || (*bound).is_default {
            return false;
        }
        let lists = [
            (*bound).listdatums,
            (*bound).lowerdatums,
            (*bound).upperdatums,
        ];
        let mut values = lists
            .into_iter()
            .flat_map(|list| items::<pg_sys::Node>(list));
        values.any(|value| pg_guard_ffi_boundary(|| find_computed(value, std::ptr::null_mut())))
    }
}

/// A function call or a string (which may be 'now'); numbers and NULL are constant.
#[pg_guard]
unsafe extern "C-unwind" fn find_computed(node: *mut pg_sys::Node, context: *mut c_void) -> bool {
    use pg_sys::NodeTag::*;
    if node.is_null() {
        return false;
    }
    // SAFETY: nodes of a raw tree; the walker goes down itself.
    unsafe {
        is_a(node, T_FuncCall)
            || is_a(node, T_SQLValueFunction)
            || pg_guard_ffi_boundary(|| raw_walker(node, find_computed, context))
    }
}
