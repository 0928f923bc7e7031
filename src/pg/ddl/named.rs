//! The object with a name of any kind, without a lock on it.

use pgrx::prelude::*;

use super::node::{is_a, names};

/// Catalogs without a constant in the bindings (catalog/pg_conversion.h, pg_ts_*.h,
/// pg_statistic_ext.h).
const CONVERSION: u32 = 2607;
const TEXT_SEARCH_PARSER: u32 = 3601;
const TEXT_SEARCH_DICTIONARY: u32 = 3600;
const TEXT_SEARCH_TEMPLATE: u32 = 3764;
const TEXT_SEARCH_CONFIGURATION: u32 = 3602;
const EXTENDED_STATISTICS: u32 = 3381;

/// Catalog and OID of the object that `node` names as in COMMENT, DROP and similar statements (parser/gram.y,
/// object_type_*); `None` if it is missing, or of a kind without schema.
///
/// # Safety
/// A node of a valid tree, of the kind's make.
pub(in crate::pg) unsafe fn address(
    kind: pg_sys::ObjectType::Type,
    node: *mut pg_sys::Node,
) -> Option<(pg_sys::Oid, pg_sys::Oid)> {
    use pg_sys::ObjectType::*;
    // SAFETY: by the caller's promise; missing is allowed everywhere.
    let (class, object) = unsafe {
        match kind {
            OBJECT_FUNCTION | OBJECT_PROCEDURE | OBJECT_ROUTINE | OBJECT_AGGREGATE => (
                pg_sys::ProcedureRelationId,
                pg_sys::LookupFuncWithArgs(kind, node.cast(), true),
            ),
            OBJECT_OPERATOR => (
                pg_sys::OperatorRelationId,
                pg_sys::LookupOperWithArgs(node.cast(), true),
            ),
            OBJECT_TYPE | OBJECT_DOMAIN => (pg_sys::TypeRelationId, type_oid(node)),
            _ if is_a(node, pg_sys::NodeTag::T_List) => listed(kind, node.cast())?,
            _ => return None,
        }
    };
    (object != pg_sys::InvalidOid).then_some((class, object))
}

/// # Safety
/// A TypeName or a list of names.
unsafe fn type_oid(node: *mut pg_sys::Node) -> pg_sys::Oid {
    // SAFETY: by the caller's promise; missing is allowed.
    unsafe {
        let name = if is_a(node, pg_sys::NodeTag::T_List) {
            pg_sys::makeTypeNameFromNameList(node.cast())
        } else {
            node.cast()
        };
        pg_sys::LookupTypeNameOid(std::ptr::null_mut(), name, true)
    }
}

/// # Safety
/// A list of names of the kind's make.
unsafe fn listed(
    kind: pg_sys::ObjectType::Type,
    list: *mut pg_sys::List,
) -> Option<(pg_sys::Oid, pg_sys::Oid)> {
    use pg_sys::ObjectType::*;
    // SAFETY: by the caller's promise; missing is allowed.
    Some(unsafe {
        match kind {
            OBJECT_COLLATION => (
                pg_sys::CollationRelationId,
                pg_sys::get_collation_oid(list, true),
            ),
            OBJECT_CONVERSION => (CONVERSION.into(), pg_sys::get_conversion_oid(list, true)),
            OBJECT_STATISTIC_EXT => (
                EXTENDED_STATISTICS.into(),
                pg_sys::get_statistics_object_oid(list, true),
            ),
            OBJECT_TSPARSER => (
                TEXT_SEARCH_PARSER.into(),
                pg_sys::get_ts_parser_oid(list, true),
            ),
            OBJECT_TSDICTIONARY => (
                TEXT_SEARCH_DICTIONARY.into(),
                pg_sys::get_ts_dict_oid(list, true),
            ),
            OBJECT_TSTEMPLATE => (
                TEXT_SEARCH_TEMPLATE.into(),
                pg_sys::get_ts_template_oid(list, true),
            ),
            OBJECT_TSCONFIGURATION => (
                TEXT_SEARCH_CONFIGURATION.into(),
                pg_sys::get_ts_config_oid(list, true),
            ),
            OBJECT_OPCLASS | OBJECT_OPFAMILY => in_access_method(kind, list)?,
            _ => return None,
        }
    })
}

/// Operator classes and families: the first name is that of their access method.
///
/// # Safety
/// A list of names.
unsafe fn in_access_method(
    kind: pg_sys::ObjectType::Type,
    list: *mut pg_sys::List,
) -> Option<(pg_sys::Oid, pg_sys::Oid)> {
    // SAFETY: by the caller's promise; missing is allowed.
    unsafe {
        let method = names(list).into_iter().next()?;
        let method = super::node::c_string(&method);
        let method = pg_sys::get_am_oid(method.as_ptr(), true);
        if method == pg_sys::InvalidOid {
            return None;
        }
        let name = pg_sys::list_copy_tail(list, 1);
        Some(if kind == pg_sys::ObjectType::OBJECT_OPCLASS {
            (
                pg_sys::OperatorClassRelationId,
                pg_sys::get_opclass_oid(method, name, true),
            )
        } else {
            (
                pg_sys::OperatorFamilyRelationId,
                pg_sys::get_opfamily_oid(method, name, true),
            )
        })
    }
}

/// The schema of an object, or none.
pub(in crate::pg) fn schema_of(class: pg_sys::Oid, object: pg_sys::Oid) -> pg_sys::Oid {
    let address = pg_sys::ObjectAddress {
        classId: class,
        objectId: object,
        objectSubId: 0,
    };
    // SAFETY: a look-up of an object that exists.
    unsafe { pg_sys::get_object_namespace(&address) }
}
