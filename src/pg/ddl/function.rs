//! The name of a function that is being created.

use pgrx::pg_sys::NodeTag::T_CreateFunctionStmt;
use pgrx::prelude::*;

use super::catalog::creation_schema;
use super::node::{bytes, items, names, Sql};
use super::statement::Statement;
use crate::pg::text::quote;

/// Kind and identity, as in pg_identify_object, of the function or procedure that a CREATE FUNCTION creates
/// or replaces. `None` if that is not easily determined; raises only errors that the statement itself would
/// raise.
pub fn made_function(statement: &Statement) -> Option<(&'static [u8], Sql)> {
    let create = statement.as_a::<pg_sys::CreateFunctionStmt>(T_CreateFunctionStmt)?;
    // SAFETY: the tree is valid while the statement is; a list of names, one of parameters.
    let (names, parameters) = unsafe {
        let parameters = items::<pg_sys::FunctionParameter>(create.parameters);
        (names(create.funcname), parameters)
    };
    let (schema, name) = match names.as_slice() {
        [name] => (creation_schema()?, name),
        [schema, name] => (schema.clone(), name),
        _ => return None,
    };
    let mut identity = quote::qualified(&schema, name);
    identity.push(b'(');
    let mut separator: &[u8] = b"";
    for parameter in parameters {
        // SAFETY: of the list.
        let parameter = unsafe { &*parameter };
        if is_input(parameter.mode) {
            identity.extend_from_slice(separator);
            // SAFETY: a parameter has a type.
            identity.extend(unsafe { type_name(parameter.argType) }?);
            separator = b",";
        }
    }
    identity.push(b')');
    let kind: &[u8] = if create.is_procedure {
        b"procedure"
    } else {
        b"function"
    };
    Some((kind, identity))
}

fn is_input(mode: pg_sys::FunctionParameterMode::Type) -> bool {
    use pg_sys::FunctionParameterMode::{FUNC_PARAM_OUT, FUNC_PARAM_TABLE};
    !matches!(mode, FUNC_PARAM_OUT | FUNC_PARAM_TABLE)
}

/// # Safety
/// `name` is a valid node.
unsafe fn type_name(name: *mut pg_sys::TypeName) -> Option<Sql> {
    // SAFETY: by the caller's promise; missing is allowed. %TYPE would tell the user twice what it was taken for,
    // and modifiers are read by functions of the type.
    unsafe {
        if (*name).pct_type || !(*name).typmods.is_null() {
            return None;
        }
        let found = pg_sys::LookupTypeNameOid(std::ptr::null_mut(), name, true);
        match found {
            pg_sys::InvalidOid => None,
            found => bytes(pg_sys::format_type_be_qualified(found)),
        }
    }
}
