//! The bounds of a partition: their expressions are computed when the statement runs, and kept as
//! constants.

use std::ffi::c_void;

use pgrx::pg_sys::ffi::pg_guard_ffi_boundary;
use pgrx::prelude::*;

use super::ddl_node::{is_a, items};
use super::ddl_statement::Statement;
use super::ddl_touched::{raw_walker, relation_of};

/// Bounds whose text need not say the same again.
#[derive(Clone, Copy, Debug)]
pub struct ComputedBound {
    /// The partition where it exists already (ATTACH PARTITION).
    pub partition: Option<pg_sys::Oid>,
    /// Byte offset in the query string, behind FOR VALUES.
    pub location: i32,
}

/// The bounds that `statement` gives, unless they are nothing but constants.
pub fn computed_bound(statement: &Statement) -> Option<ComputedBound> {
    use pg_sys::NodeTag::*;
    // SAFETY: the tree is valid while the statement is; each cast follows the node's tag.
    unsafe {
        let (bound, partition) = match statement.node_tag() {
            T_CreateStmt => (
                statement
                    .as_a::<pg_sys::CreateStmt>(T_CreateStmt)?
                    .partbound,
                None,
            ),
            T_AlterTableStmt => {
                let attach = statement.attached()?;
                ((*attach).bound, relation_of((*attach).name))
            }
            _ => return None,
        };
        if bound.is_null() || (*bound).is_default {
            return None;
        }
        let lists = [
            (*bound).listdatums,
            (*bound).lowerdatums,
            (*bound).upperdatums,
        ];
        let mut values = lists
            .into_iter()
            .flat_map(|list| items::<pg_sys::Node>(list));
        let is_computed = values
            .any(|value| pg_guard_ffi_boundary(|| find_computed(value, std::ptr::null_mut())));
        is_computed.then_some(ComputedBound {
            partition,
            location: (*bound).location,
        })
    }
}

/// A function call or a string (which may be 'now'); numbers and NULL say themselves.
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
