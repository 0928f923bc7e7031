//! A utility statement in the hook: its command tag, its text, and the properties of its parse tree that
//! determine how it is recorded.

use std::ffi::{c_char, CStr};

use pgrx::prelude::*;

use super::node::{bytes, is_a, items, Sql};

/// A utility statement about to run. Only valid inside the hook's first half: PostgreSQL may modify the tree
/// while it runs the statement.
pub struct Statement {
    pub(in crate::pg) node: *mut pg_sys::Node,
    source: *const c_char,
    location: i32,
    length: i32,
    context: pg_sys::ProcessUtilityContext::Type,
}

impl Statement {
    /// # Safety
    /// The pointers are those of a ProcessUtility call and outlive the value.
    pub unsafe fn new(
        planned: *mut pg_sys::PlannedStmt,
        source: *const c_char,
        context: pg_sys::ProcessUtilityContext::Type,
    ) -> Self {
        // SAFETY: by the caller's promise.
        unsafe {
            Self {
                node: (*planned).utilityStmt,
                source,
                location: (*planned).stmt_location,
                length: (*planned).stmt_len,
                context,
            }
        }
    }

    pub fn node_tag(&self) -> pg_sys::NodeTag {
        // SAFETY: a valid node, see `new`.
        unsafe { (*self.node).type_ }
    }

    /// The command tag, as in `CREATE TABLE`.
    pub fn tag(&self) -> &'static str {
        // SAFETY: a valid utility node; the names are static ASCII strings.
        unsafe {
            let tag = pg_sys::CreateCommandTag(self.node);
            CStr::from_ptr(pg_sys::GetCommandTagName(tag))
                .to_str()
                .unwrap_or("???")
        }
    }

    /// True for a part of another statement that PostgreSQL executes itself.
    pub fn is_part_of_another(&self) -> bool {
        self.context == pg_sys::ProcessUtilityContext::PROCESS_UTILITY_SUBCOMMAND
    }

    /// True for a statement that may change the dependencies of an existing object.
    pub fn replaces(&self) -> bool {
        use pg_sys::NodeTag::*;
        match self.node_tag() {
            T_ViewStmt => self
                .as_a::<pg_sys::ViewStmt>(T_ViewStmt)
                .is_some_and(|s| s.replace),
            T_CreateFunctionStmt => self
                .as_a::<pg_sys::CreateFunctionStmt>(T_CreateFunctionStmt)
                .is_some_and(|s| s.replace),
            T_CreateTrigStmt => self
                .as_a::<pg_sys::CreateTrigStmt>(T_CreateTrigStmt)
                .is_some_and(|s| s.replace),
            T_RuleStmt => self
                .as_a::<pg_sys::RuleStmt>(T_RuleStmt)
                .is_some_and(|s| s.replace),
            T_AlterPolicyStmt => true,
            _ => false,
        }
    }

    /// True if PostgreSQL refuses statements that are not allowed in a transaction block, a function or a DO.
    pub fn is_in_transaction_block(&self) -> bool {
        let is_top_level = self.context == pg_sys::ProcessUtilityContext::PROCESS_UTILITY_TOPLEVEL;
        // SAFETY: reads this process's transaction state.
        unsafe { pg_sys::IsInTransactionBlock(is_top_level) }
    }

    /// False for a statement that is not from a query string of its own: its text may be the complete string
    /// of the client.
    pub fn has_place(&self) -> bool {
        self.location >= 0
    }

    /// The part of the query string that is the statement: with preceding white space and comments, and
    /// possibly a semicolon.
    pub fn source(&self) -> Sql {
        if self.source.is_null() {
            return Vec::new();
        }
        // SAFETY: the source is NUL-terminated.
        let source = unsafe { CStr::from_ptr(self.source) }.to_bytes();
        // An offset below zero is unknown, a length of zero means "to the end" (nodes/parsenodes.h, RawStmt).
        // The caller of a statement may have constructed it, so both may belong to another text.
        let rest = source
            .get(self.location.max(0) as usize..)
            .unwrap_or_default();
        match self.length {
            length if length > 0 => rest[..rest.len().min(length as usize)].to_vec(),
            _ => rest.to_vec(),
        }
    }

    /// True for statements that the parser analyzes in place: their text cannot be compared with the tree.
    pub fn is_analyzed(&self) -> bool {
        use pg_sys::NodeTag::{T_CreateTableAsStmt, T_DeclareCursorStmt, T_ExplainStmt};
        matches!(
            self.node_tag(),
            T_CreateTableAsStmt | T_DeclareCursorStmt | T_ExplainStmt
        )
    }

    fn is(&self, tag: pg_sys::NodeTag) -> bool {
        self.node_tag() == tag
    }

    /// The node as the type in its tag.
    pub(in crate::pg) fn as_a<T>(&self, tag: pg_sys::NodeTag) -> Option<&T> {
        // SAFETY: a node's tag tells its type; the tree is valid while `self` is.
        self.is(tag).then(|| unsafe { &*self.node.cast::<T>() })
    }

    /// True for forms that commit internally: CONCURRENTLY and DETACH … FINALIZE.
    pub fn commits_by_itself(&self) -> bool {
        if let Some(index) = self.as_a::<pg_sys::IndexStmt>(pg_sys::NodeTag::T_IndexStmt) {
            return index.concurrent;
        }
        if let Some(drop) = self.as_a::<pg_sys::DropStmt>(pg_sys::NodeTag::T_DropStmt) {
            return drop.concurrent;
        }
        self.alter_commands().into_iter().any(|command| {
            // SAFETY: a command of this statement's tree; DETACH's definition is a PartitionCmd.
            unsafe {
                (*command).subtype == pg_sys::AlterTableType::AT_DetachPartitionFinalize
                    || ((*command).subtype == pg_sys::AlterTableType::AT_DetachPartition
                        && (*(*command).def.cast::<pg_sys::PartitionCmd>()).concurrent)
            }
        })
    }

    pub(in crate::pg) fn alter_commands(&self) -> Vec<*mut pg_sys::AlterTableCmd> {
        let alter = self.as_a::<pg_sys::AlterTableStmt>(pg_sys::NodeTag::T_AlterTableStmt);
        // SAFETY: the list holds AlterTableCmd nodes.
        alter.map_or_else(Vec::new, |alter| unsafe { items(alter.cmds) })
    }

    /// True for an ALTER TABLE that adds a column with a default that is not constant.
    pub fn adds_computed_columns(&self) -> bool {
        self.alter_commands().into_iter().any(|command| {
            // SAFETY: a command of this statement's tree; AT_AddColumn's definition is a ColumnDef, whose
            // constraints are Constraint nodes.
            unsafe {
                if (*command).subtype != pg_sys::AlterTableType::AT_AddColumn
                    || !is_a((*command).def, pg_sys::NodeTag::T_ColumnDef)
                {
                    return false;
                }
                let column = &*(*command).def.cast::<pg_sys::ColumnDef>();
                let constraints = items::<pg_sys::Constraint>(column.constraints).into_iter();
                let defaults = constraints
                    .filter(|it| (**it).contype == pg_sys::ConstrType::CONSTR_DEFAULT)
                    .map(|it| (*it).raw_expr);
                defaults
                    .chain([column.raw_default])
                    .any(|default| !default.is_null() && !is_a(default, pg_sys::NodeTag::T_A_Const))
            }
        })
    }

    /// True for an ALTER TABLE that only adds columns without defaults and constraints: it creates no other
    /// object, changes no key, and existing rows have NULL there.
    pub fn adds_plain_columns(&self) -> bool {
        let commands = self.alter_commands();
        // SAFETY: commands of this statement's tree; AT_AddColumn's definition is a ColumnDef.
        let is_plain = |command: &*mut pg_sys::AlterTableCmd| unsafe {
            let command = &**command;
            if command.subtype != pg_sys::AlterTableType::AT_AddColumn
                || command.missing_ok
                || !is_a(command.def, pg_sys::NodeTag::T_ColumnDef)
            {
                return false;
            }
            let column = &*command.def.cast::<pg_sys::ColumnDef>();
            column.constraints.is_null()
                && column.raw_default.is_null()
                && is_plain_type(column.typeName)
        };
        !commands.is_empty() && commands.iter().all(is_plain)
    }

    /// True for an ALTER TABLE with OPTIONS of a foreign table or of its columns.
    pub fn sets_foreign_options(&self) -> bool {
        use pg_sys::AlterTableType as kind;
        self.alter_commands().into_iter().any(|command| {
            // SAFETY: a command of this statement's tree; AT_AddColumn's definition is a ColumnDef.
            unsafe {
                let subtype = (*command).subtype;
                let adds_with_options = || {
                    is_a((*command).def, pg_sys::NodeTag::T_ColumnDef)
                        && !(*(*command).def.cast::<pg_sys::ColumnDef>())
                            .fdwoptions
                            .is_null()
                };
                subtype == kind::AT_GenericOptions
                    || subtype == kind::AT_AlterColumnGenericOptions
                    || subtype == kind::AT_AddColumn && adds_with_options()
            }
        })
    }

    /// True if an ALTER TABLE contains REPLICA IDENTITY itself.
    pub fn sets_replica_identity(&self) -> bool {
        self.alter_commands().into_iter().any(|command| {
            // SAFETY: a command of this statement's tree.
            unsafe { (*command).subtype == pg_sys::AlterTableType::AT_ReplicaIdentity }
        })
    }

    /// The name in CREATE/ALTER EXTENSION, or those of DROP EXTENSION.
    pub fn extensions(&self) -> Vec<Sql> {
        use pg_sys::NodeTag::*;
        // SAFETY: names of a valid tree; DROP EXTENSION lists String nodes.
        unsafe {
            let one = |name: *mut c_char| bytes(name).into_iter().collect();
            if let Some(create) = self.as_a::<pg_sys::CreateExtensionStmt>(T_CreateExtensionStmt) {
                return one(create.extname);
            }
            if let Some(alter) = self.as_a::<pg_sys::AlterExtensionStmt>(T_AlterExtensionStmt) {
                return one(alter.extname);
            }
            if let Some(alter) =
                self.as_a::<pg_sys::AlterExtensionContentsStmt>(T_AlterExtensionContentsStmt)
            {
                return one(alter.extname);
            }
            match self.as_a::<pg_sys::DropStmt>(T_DropStmt) {
                Some(drop) if drop.removeType == pg_sys::ObjectType::OBJECT_EXTENSION => {
                    super::node::names(drop.objects)
                }
                _ => Vec::new(),
            }
        }
    }

    /// The table that ATTACH PARTITION attaches.
    pub(in crate::pg) fn attached(&self) -> Option<*mut pg_sys::PartitionCmd> {
        let mut commands = self.alter_commands().into_iter();
        commands.find_map(|command| {
            // SAFETY: a command of this statement's tree; ATTACH's definition is a PartitionCmd.
            unsafe {
                ((*command).subtype == pg_sys::AlterTableType::AT_AttachPartition)
                    .then(|| (*command).def.cast())
            }
        })
    }

    /// True for an ALTER INDEX … ATTACH PARTITION of an invalid index.
    pub fn attaches_unfinished(&self) -> bool {
        // SAFETY: a RangeVar of a valid tree.
        let attached = self
            .attached()
            .and_then(|command| unsafe { super::touched::relation_of((*command).name) });
        attached.is_some_and(super::index::is_unfinished)
    }

    /// True for a form that does nothing if its object is missing, or exists: the rest of its text may not
    /// have been checked.
    pub fn may_do_nothing(&self) -> bool {
        use pg_sys::NodeTag::*;
        match self.node_tag() {
            T_DropStmt => self
                .drop_options()
                .is_some_and(|(missing_ok, _)| missing_ok),
            T_AlterTableStmt => self
                .as_a::<pg_sys::AlterTableStmt>(T_AlterTableStmt)
                .is_some_and(|alter| alter.missing_ok),
            T_CreateStmt => self
                .as_a::<pg_sys::CreateStmt>(T_CreateStmt)
                .is_some_and(|create| create.if_not_exists),
            T_CreateForeignTableStmt => self
                .as_a::<pg_sys::CreateForeignTableStmt>(T_CreateForeignTableStmt)
                .is_some_and(|create| create.base.if_not_exists),
            T_IndexStmt => self
                .as_a::<pg_sys::IndexStmt>(T_IndexStmt)
                .is_some_and(|create| create.if_not_exists),
            _ => false,
        }
    }

    /// The schemas of an ALTER DEFAULT PRIVILEGES IN SCHEMA, as String nodes.
    pub(in crate::pg) fn default_privileges_schemas(&self) -> Vec<*mut pg_sys::Node> {
        use pg_sys::NodeTag::{T_AlterDefaultPrivilegesStmt as TAG, T_List};
        let alter = self.as_a::<pg_sys::AlterDefaultPrivilegesStmt>(TAG);
        let options = alter.map_or(std::ptr::null_mut(), |alter| alter.options);
        // SAFETY: a list of DefElems of a valid tree; that of this name holds a list of Strings.
        unsafe {
            let options = items::<pg_sys::DefElem>(options).into_iter();
            let mut lists = options
                .filter(|option| bytes((**option).defname).as_deref() == Some(b"schemas"))
                .map(|option| (*option).arg)
                .filter(|list| is_a(*list, T_List));
            lists
                .next()
                .map_or_else(Vec::new, |list| items(list.cast()))
        }
    }

    /// IF EXISTS and CASCADE of a DROP.
    pub fn drop_options(&self) -> Option<(bool, bool)> {
        let drop = self.as_a::<pg_sys::DropStmt>(pg_sys::NodeTag::T_DropStmt)?;
        Some((
            drop.missing_ok,
            drop.behavior == pg_sys::DropBehavior::DROP_CASCADE,
        ))
    }

    /// The index that CLUSTER … USING names.
    pub fn clustered_index(&self) -> Option<Sql> {
        let cluster = self.as_a::<pg_sys::ClusterStmt>(pg_sys::NodeTag::T_ClusterStmt)?;
        // SAFETY: a name of a valid tree.
        unsafe { bytes(cluster.indexname) }
    }

    pub fn is_commit_prepared(&self) -> bool {
        self.as_a::<pg_sys::TransactionStmt>(pg_sys::NodeTag::T_TransactionStmt)
            .is_some_and(|transaction| {
                transaction.kind == pg_sys::TransactionStmtKind::TRANS_STMT_COMMIT_PREPARED
            })
    }

    /// The role that CREATE ROLE creates.
    pub fn made_role(&self) -> Option<Sql> {
        let create = self.as_a::<pg_sys::CreateRoleStmt>(pg_sys::NodeTag::T_CreateRoleStmt)?;
        // SAFETY: a name of a valid tree.
        unsafe { bytes(create.role) }
    }

    /// The roles that DROP ROLE names.
    pub fn dropped_roles(&self) -> Vec<Sql> {
        use super::roles::names_in;
        // SAFETY: a list of RoleSpecs of a valid tree.
        self.as_a::<pg_sys::DropRoleStmt>(pg_sys::NodeTag::T_DropRoleStmt)
            .map_or_else(Vec::new, |drop| unsafe { names_in(items(drop.roles)) })
    }

    /// The tablespace that CREATE TABLESPACE creates.
    pub fn made_tablespace(&self) -> Option<Sql> {
        let create =
            self.as_a::<pg_sys::CreateTableSpaceStmt>(pg_sys::NodeTag::T_CreateTableSpaceStmt)?;
        // SAFETY: a name of a valid tree.
        unsafe { bytes(create.tablespacename) }
    }

    /// Both names of a role or a tablespace that is renamed.
    pub fn renamed_in_cluster(&self) -> Option<(Sql, Sql)> {
        use pg_sys::ObjectType::{OBJECT_ROLE, OBJECT_TABLESPACE};
        let rename = self.as_a::<pg_sys::RenameStmt>(pg_sys::NodeTag::T_RenameStmt)?;
        if !matches!(rename.renameType, OBJECT_ROLE | OBJECT_TABLESPACE) {
            return None;
        }
        // SAFETY: names of a valid tree.
        unsafe { bytes(rename.subname).zip(bytes(rename.newname)) }
    }

    /// True if the statement concerns a whole database, a tablespace or a role, which are not in the stream,
    /// or a large object, which is, but not by this text; its tag (COMMENT, GRANT, ALTER …) does not show it.
    pub fn is_written_without_text(&self) -> bool {
        use pg_sys::ObjectType::*;
        let Some(object) = self.object_type() else {
            return false;
        };
        matches!(
            object,
            OBJECT_DATABASE | OBJECT_TABLESPACE | OBJECT_ROLE | OBJECT_LARGEOBJECT
        ) || is_parameter_acl(object)
    }

    fn object_type(&self) -> Option<pg_sys::ObjectType::Type> {
        use pg_sys::NodeTag::*;
        match self.node_tag() {
            T_CommentStmt => self
                .as_a::<pg_sys::CommentStmt>(T_CommentStmt)
                .map(|s| s.objtype),
            T_SecLabelStmt => self
                .as_a::<pg_sys::SecLabelStmt>(T_SecLabelStmt)
                .map(|s| s.objtype),
            T_GrantStmt => self
                .as_a::<pg_sys::GrantStmt>(T_GrantStmt)
                .map(|s| s.objtype),
            T_RenameStmt => self
                .as_a::<pg_sys::RenameStmt>(T_RenameStmt)
                .map(|s| s.renameType),
            T_AlterOwnerStmt => self
                .as_a::<pg_sys::AlterOwnerStmt>(T_AlterOwnerStmt)
                .map(|s| s.objectType),
            _ => None,
        }
    }
}

/// False for a domain, which may have a default, and for serial (parser/parse_utilcmd.c).
///
/// # Safety
/// `name` is NULL or valid.
unsafe fn is_plain_type(name: *mut pg_sys::TypeName) -> bool {
    const SERIAL: [&[u8]; 6] = [
        b"smallserial",
        b"serial2",
        b"serial",
        b"serial4",
        b"bigserial",
        b"serial8",
    ];
    // SAFETY: by the caller's promise; a look-up for which missing is allowed.
    unsafe {
        if name.is_null() {
            return false;
        }
        let names = super::node::names((*name).names);
        if matches!(names.as_slice(), [name] if SERIAL.contains(&name.as_slice())) {
            return false;
        }
        let oid = pg_sys::LookupTypeNameOid(std::ptr::null_mut(), name, true);
        oid != pg_sys::InvalidOid && pg_sys::getBaseType(oid) == oid
    }
}

fn is_parameter_acl(object: pg_sys::ObjectType::Type) -> bool {
    object == pg_sys::ObjectType::OBJECT_PARAMETER_ACL
}
