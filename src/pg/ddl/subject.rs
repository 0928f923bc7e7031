//! The objects of a statement: whether they are temporary, ours, or neither.
//!
//! Looks names up without locking them: with a lock taken here before the statement takes its own, stronger
//! one, two sessions that alter the same table would deadlock.

use std::ffi::c_char;

use pgrx::prelude::*;

use super::named::{address, schema_of};
use super::node::{bytes, is_a, items, names, relation_name, Sql};
use super::over_ours::depends_on_ours;
use super::place::{
    creation_place, default_creation_place, member_place, relation_place, schema_place, Place,
};
use super::statement::Statement;
use super::temporary::{depends_on_temporary, has_temporary_schema};

/// One object that a statement names.
#[derive(Clone, Debug)]
pub struct Target {
    pub place: Place,
    /// Its qualified and quoted name, for relations that exist.
    pub name: Option<Sql>,
    /// The relation, if it is one that exists.
    pub relation: pg_sys::Oid,
}

impl Target {
    fn of(place: Place) -> Self {
        Self {
            place,
            name: None,
            relation: pg_sys::InvalidOid,
        }
    }
}

/// The objects that `statement` names, each looked up.
pub fn targets(statement: &Statement) -> Vec<Target> {
    // SAFETY: the tree is valid while the statement is; each cast follows the node's tag.
    unsafe { targets_of(statement) }
}

macro_rules! node {
    ($statement:expr, $type:ident, $tag:ident) => {
        match $statement.as_a::<pg_sys::$type>(pg_sys::NodeTag::$tag) {
            Some(node) => node,
            None => return Vec::new(),
        }
    };
}

unsafe fn targets_of(statement: &Statement) -> Vec<Target> {
    use pg_sys::NodeTag::*;
    // SAFETY: see `targets`.
    unsafe {
        match statement.node_tag() {
            T_CreateStmt => vec![created(node!(statement, CreateStmt, T_CreateStmt).relation)],
            T_CreateForeignTableStmt => {
                let table = node!(statement, CreateForeignTableStmt, T_CreateForeignTableStmt);
                vec![created(table.base.relation)]
            }
            T_CreateSeqStmt => vec![created(
                node!(statement, CreateSeqStmt, T_CreateSeqStmt).sequence,
            )],
            T_ViewStmt => vec![created(node!(statement, ViewStmt, T_ViewStmt).view)],
            T_CompositeTypeStmt => {
                vec![created(
                    node!(statement, CompositeTypeStmt, T_CompositeTypeStmt).typevar,
                )]
            }
            T_CreateEnumStmt => made(node!(statement, CreateEnumStmt, T_CreateEnumStmt).typeName),
            T_CreateRangeStmt => {
                made(node!(statement, CreateRangeStmt, T_CreateRangeStmt).typeName)
            }
            T_CreateDomainStmt => {
                made(node!(statement, CreateDomainStmt, T_CreateDomainStmt).domainname)
            }
            T_DefineStmt => made(node!(statement, DefineStmt, T_DefineStmt).defnames),
            T_CreateFunctionStmt => {
                made(node!(statement, CreateFunctionStmt, T_CreateFunctionStmt).funcname)
            }
            T_CreateTableAsStmt => {
                let into = node!(statement, CreateTableAsStmt, T_CreateTableAsStmt).into;
                vec![created((*into).rel)]
            }
            T_IndexStmt => vec![existing(node!(statement, IndexStmt, T_IndexStmt).relation)],
            T_AlterTableStmt => vec![existing(
                node!(statement, AlterTableStmt, T_AlterTableStmt).relation,
            )],
            T_AlterSeqStmt => vec![existing(
                node!(statement, AlterSeqStmt, T_AlterSeqStmt).sequence,
            )],
            T_RuleStmt => vec![existing(node!(statement, RuleStmt, T_RuleStmt).relation)],
            T_CreateTrigStmt => vec![existing(
                node!(statement, CreateTrigStmt, T_CreateTrigStmt).relation,
            )],
            T_CreatePolicyStmt => vec![existing(
                node!(statement, CreatePolicyStmt, T_CreatePolicyStmt).table,
            )],
            T_AlterPolicyStmt => vec![existing(
                node!(statement, AlterPolicyStmt, T_AlterPolicyStmt).table,
            )],
            T_RefreshMatViewStmt => {
                vec![existing(
                    node!(statement, RefreshMatViewStmt, T_RefreshMatViewStmt).relation,
                )]
            }
            T_ClusterStmt => vec![existing(
                node!(statement, ClusterStmt, T_ClusterStmt).relation,
            )],
            T_CreateStatsStmt => {
                let stats = node!(statement, CreateStatsStmt, T_CreateStatsStmt);
                ranges(stats.relations)
            }
            T_TruncateStmt => ranges(node!(statement, TruncateStmt, T_TruncateStmt).relations),
            T_AlterDomainStmt => {
                vec![type_list(
                    node!(statement, AlterDomainStmt, T_AlterDomainStmt).typeName,
                )]
            }
            T_AlterEnumStmt => vec![type_list(
                node!(statement, AlterEnumStmt, T_AlterEnumStmt).typeName,
            )],
            T_AlterTypeStmt => vec![type_list(
                node!(statement, AlterTypeStmt, T_AlterTypeStmt).typeName,
            )],
            T_AlterEventTrigStmt => {
                let alter = node!(statement, AlterEventTrigStmt, T_AlterEventTrigStmt);
                vec![single(
                    pg_sys::ObjectType::OBJECT_EVENT_TRIGGER,
                    alter.trigname,
                )]
            }
            T_AlterStatsStmt => made(node!(statement, AlterStatsStmt, T_AlterStatsStmt).defnames),
            T_AlterFunctionStmt => {
                let function = node!(statement, AlterFunctionStmt, T_AlterFunctionStmt);
                vec![object(function.objtype, function.func.cast())]
            }
            _ => shared_targets(statement),
        }
    }
}

/// Statements on an object of any kind.
unsafe fn shared_targets(statement: &Statement) -> Vec<Target> {
    use pg_sys::NodeTag::*;
    // SAFETY: see `targets`.
    unsafe {
        match statement.node_tag() {
            T_RenameStmt => {
                let rename = node!(statement, RenameStmt, T_RenameStmt);
                related(rename.relation, rename.renameType, rename.object)
            }
            T_AlterObjectSchemaStmt => {
                let alter = node!(statement, AlterObjectSchemaStmt, T_AlterObjectSchemaStmt);
                related(alter.relation, alter.objectType, alter.object)
            }
            T_AlterOwnerStmt => {
                let alter = node!(statement, AlterOwnerStmt, T_AlterOwnerStmt);
                related(alter.relation, alter.objectType, alter.object)
            }
            T_AlterObjectDependsStmt => {
                let alter = node!(statement, AlterObjectDependsStmt, T_AlterObjectDependsStmt);
                related(alter.relation, alter.objectType, alter.object)
            }
            T_CommentStmt => {
                let comment = node!(statement, CommentStmt, T_CommentStmt);
                vec![object(comment.objtype, comment.object)]
            }
            T_SecLabelStmt => {
                let label = node!(statement, SecLabelStmt, T_SecLabelStmt);
                vec![object(label.objtype, label.object)]
            }
            T_DropStmt => {
                let drop = node!(statement, DropStmt, T_DropStmt);
                let objects = items::<pg_sys::Node>(drop.objects);
                objects
                    .into_iter()
                    .map(|node| object(drop.removeType, node))
                    .collect()
            }
            T_GrantStmt => {
                let grant = node!(statement, GrantStmt, T_GrantStmt);
                let targets = items::<pg_sys::Node>(grant.objects).into_iter();
                let kind = match grant.targtype {
                    pg_sys::GrantTargetType::ACL_TARGET_ALL_IN_SCHEMA => {
                        pg_sys::ObjectType::OBJECT_SCHEMA
                    }
                    _ => grant.objtype,
                };
                targets.map(|node| object(kind, node)).collect()
            }
            T_AlterDefaultPrivilegesStmt => {
                let schemas = statement.default_privileges_schemas().into_iter();
                schemas
                    .map(|node| object(pg_sys::ObjectType::OBJECT_SCHEMA, node))
                    .collect()
            }
            _ => Vec::new(),
        }
    }
}

unsafe fn related(
    relation: *mut pg_sys::RangeVar,
    kind: pg_sys::ObjectType::Type,
    node: *mut pg_sys::Node,
) -> Vec<Target> {
    // SAFETY: see `targets`.
    unsafe {
        vec![if relation.is_null() {
            object(kind, node)
        } else {
            existing(relation)
        }]
    }
}

unsafe fn ranges(list: *mut pg_sys::List) -> Vec<Target> {
    // SAFETY: see `targets`; CREATE STATISTICS may list other nodes than RangeVars.
    unsafe {
        let is_range = |node: &*mut pg_sys::Node| is_a(*node, pg_sys::NodeTag::T_RangeVar);
        let nodes = items::<pg_sys::Node>(list).into_iter().filter(is_range);
        nodes.map(|node| existing(node.cast())).collect()
    }
}

/// A relation that the statement creates: temporary if it is declared so or if its schema is.
unsafe fn created(range: *mut pg_sys::RangeVar) -> Target {
    // SAFETY: see `targets`.
    unsafe {
        if (*range).relpersistence as u8 == pg_sys::RELPERSISTENCE_TEMP {
            return Target::of(Place::Temporary);
        }
        Target::of(creation_place((*range).schemaname))
    }
}

unsafe fn made(list: *mut pg_sys::List) -> Vec<Target> {
    // SAFETY: see `targets`.
    let names = unsafe { names(list) };
    let schema = names
        .len()
        .checked_sub(2)
        .map(|place| names[place].as_slice());
    vec![Target::of(
        schema.map_or_else(default_creation_place, schema_place),
    )]
}

/// A relation that the statement expects to exist.
unsafe fn existing(range: *mut pg_sys::RangeVar) -> Target {
    if range.is_null() {
        return Target::of(Place::Unknown);
    }
    // SAFETY: see `targets`; no lock, missing allowed.
    unsafe {
        let relation = pg_sys::RangeVarGetRelidExtended(
            range,
            pg_sys::NoLock as i32,
            pg_sys::RVROption::RVR_MISSING_OK,
            None,
            std::ptr::null_mut(),
        );
        Target {
            place: relation_place(relation),
            name: relation_name(relation),
            relation,
        }
    }
}

/// An object named as in COMMENT, DROP and similar statements (parser/gram.y, object_type_*).
unsafe fn object(kind: pg_sys::ObjectType::Type, node: *mut pg_sys::Node) -> Target {
    use pg_sys::NodeTag::*;
    // SAFETY: see `targets`.
    unsafe {
        if node.is_null() {
            return Target::of(Place::Unknown);
        }
        match (*node).type_ {
            T_RangeVar => existing(node.cast()),
            T_List => listed(kind, node.cast()),
            T_TypeName => of_type(node.cast()),
            T_ObjectWithArgs => function(kind, node.cast()),
            T_String => single(kind, (*node.cast::<pg_sys::String>()).sval),
            _ => Target::of(Place::Unknown),
        }
    }
}

unsafe fn single(kind: pg_sys::ObjectType::Type, name: *const c_char) -> Target {
    use pg_sys::ObjectType::*;
    // SAFETY: NULL or NUL-terminated.
    let name = unsafe { bytes(name) }.unwrap_or_default();
    Target::of(match kind {
        OBJECT_SCHEMA => schema_place(&name),
        OBJECT_EXTENSION if name == b"pg_incrbackup" => Place::Ours,
        OBJECT_EVENT_TRIGGER if name.starts_with(b"0_pg_incrbackup_") => Place::Ours,
        _ => Place::Permanent,
    })
}

unsafe fn listed(kind: pg_sys::ObjectType::Type, list: *mut pg_sys::List) -> Target {
    use pg_sys::ObjectType::*;
    // SAFETY: see `targets`; the lists hold Strings for these kinds.
    unsafe {
        match kind {
            OBJECT_TABLE | OBJECT_INDEX | OBJECT_SEQUENCE | OBJECT_VIEW | OBJECT_MATVIEW
            | OBJECT_FOREIGN_TABLE => named_relation(list, 0),
            OBJECT_COLUMN | OBJECT_TRIGGER | OBJECT_RULE | OBJECT_POLICY | OBJECT_TABCONSTRAINT => {
                named_relation(list, 1)
            }
            OBJECT_DOMCONSTRAINT => match items::<pg_sys::Node>(list).first() {
                Some(first) if is_a(*first, pg_sys::NodeTag::T_TypeName) => of_type(first.cast()),
                _ => Target::of(Place::Unknown),
            },
            OBJECT_TYPE | OBJECT_DOMAIN => type_list(list),
            // Casts and transforms name types.
            OBJECT_CAST | OBJECT_TRANSFORM => {
                let nodes = items::<pg_sys::Node>(list).into_iter();
                let types = nodes.filter(|node| is_a(*node, pg_sys::NodeTag::T_TypeName));
                let mut places = types.map(|node| of_type(node.cast()).place);
                let is_temporary = places.any(|place| place == Place::Temporary);
                Target::of(if is_temporary {
                    Place::Temporary
                } else {
                    Place::Permanent
                })
            }
            _ => named(kind, list.cast(), &names(list)),
        }
    }
}

/// An object of another kind: temporary by the name of its schema, or by its dependencies.
unsafe fn named(kind: pg_sys::ObjectType::Type, node: *mut pg_sys::Node, names: &[Sql]) -> Target {
    let is_temporary = |name: &Sql| schema_place(name) == Place::Temporary;
    if names.iter().rev().skip(1).any(is_temporary) {
        return Target::of(Place::Temporary);
    }
    if !has_temporary_schema() {
        return Target::of(Place::Permanent);
    }
    // SAFETY: see `targets`.
    let Some((class, object)) = (unsafe { address(kind, node) }) else {
        return Target::of(Place::Unknown);
    };
    // SAFETY: a look-up of this process's state.
    let is_temporary = unsafe { pg_sys::isAnyTempNamespace(schema_of(class, object)) }
        || depends_on_temporary(class, object);
    Target::of(if is_temporary {
        Place::Temporary
    } else {
        Place::Permanent
    })
}

/// The relation denoted by a list of names, without its last `dropped` elements.
unsafe fn named_relation(list: *mut pg_sys::List, dropped: i32) -> Target {
    // SAFETY: see `targets`; the copy keeps the statement's own list as it is.
    unsafe {
        let length = (*list).length - dropped;
        if length < 1 {
            // COMMENT ON RULE in its old form names no relation.
            return Target::of(Place::Unknown);
        }
        let copy = pg_sys::list_truncate(pg_sys::list_copy(list), length);
        existing(pg_sys::makeRangeVarFromNameList(copy))
    }
}

unsafe fn type_list(list: *mut pg_sys::List) -> Target {
    // SAFETY: see `targets`.
    unsafe { of_type(pg_sys::makeTypeNameFromNameList(list)) }
}

unsafe fn of_type(name: *mut pg_sys::TypeName) -> Target {
    // SAFETY: see `targets`; missing allowed.
    unsafe {
        let oid = pg_sys::LookupTypeNameOid(std::ptr::null_mut(), name, true);
        if oid == pg_sys::InvalidOid {
            return Target::of(Place::Unknown);
        }
        let tuple = pg_sys::SearchSysCache1(
            pg_sys::SysCacheIdentifier::TYPEOID as i32,
            pg_sys::Datum::from(oid),
        );
        if tuple.is_null() {
            return Target::of(Place::Unknown);
        }
        let row = pg_sys::heap_tuple_get_struct::<pg_sys::FormData_pg_type>(tuple);
        let schema = (*row).typnamespace;
        pg_sys::ReleaseSysCache(tuple);
        let is_temporary =
            pg_sys::isAnyTempNamespace(schema) || depends_on_temporary(pg_sys::TypeRelationId, oid);
        Target::of(if is_temporary {
            Place::Temporary
        } else {
            Place::Permanent
        })
    }
}

/// Functions are temporary by the name of their schema, or by their dependencies; ours if they are members.
unsafe fn function(kind: pg_sys::ObjectType::Type, node: *mut pg_sys::ObjectWithArgs) -> Target {
    use pg_sys::ObjectType::*;
    // SAFETY: see `targets`.
    unsafe {
        let target = named(kind, node.cast(), &names((*node).objname));
        // Operators come here too, and are not looked up as functions.
        let is_routine = matches!(
            kind,
            OBJECT_FUNCTION | OBJECT_PROCEDURE | OBJECT_ROUTINE | OBJECT_AGGREGATE
        );
        if target.place == Place::Temporary || !is_routine {
            return target;
        }
        match address(kind, node.cast()) {
            Some((class, function))
                if depends_on_ours(class, function)
                    || member_place(class, function) == Place::Ours =>
            {
                Target::of(Place::Ours)
            }
            _ => target,
        }
    }
}
