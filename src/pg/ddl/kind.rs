//! Kinds of statements by how they name their objects.

use pgrx::prelude::*;

use super::node::{is_a, items};
use super::statement::Statement;

impl Statement {
    /// True if only relations or schemas are looked up by name, in the same way as by the statement itself:
    /// types and signatures, whose look-up can fail in other ways, are not.
    pub fn names_relations_only(&self) -> bool {
        use pg_sys::NodeTag::*;
        match self.node_tag() {
            T_CreateStmt
            | T_AlterTableStmt
            | T_IndexStmt
            | T_ViewStmt
            | T_CreateSeqStmt
            | T_AlterSeqStmt
            | T_CreateFunctionStmt
            | T_CreateTrigStmt
            | T_RuleStmt
            | T_CreatePolicyStmt
            | T_AlterPolicyStmt
            | T_CreateEnumStmt
            | T_CompositeTypeStmt
            | T_CreateTableAsStmt
            | T_RefreshMatViewStmt
            | T_ClusterStmt
            | T_CreateStatsStmt
            | T_TruncateStmt
            | T_CreateForeignTableStmt
            | T_CreateRangeStmt
            | T_CreateDomainStmt
            | T_DefineStmt => true,
            T_CreateSchemaStmt => self
                .as_a::<pg_sys::CreateSchemaStmt>(T_CreateSchemaStmt)
                .is_some_and(|schema| schema.schemaElts.is_null()),
            T_RenameStmt => self
                .as_a::<pg_sys::RenameStmt>(T_RenameStmt)
                .is_some_and(|rename| !rename.relation.is_null()),
            T_AlterObjectSchemaStmt => self
                .as_a::<pg_sys::AlterObjectSchemaStmt>(T_AlterObjectSchemaStmt)
                .is_some_and(|alter| !alter.relation.is_null()),
            T_CommentStmt => self
                .as_a::<pg_sys::CommentStmt>(T_CommentStmt)
                .is_some_and(|comment| is_of_relation(comment.objtype)),
            T_DropStmt => self
                .as_a::<pg_sys::DropStmt>(T_DropStmt)
                .is_some_and(|drop| is_relation(drop.removeType)),
            T_GrantStmt => self.grants_on_relations(),
            _ => false,
        }
    }

    fn grants_on_relations(&self) -> bool {
        use pg_sys::ObjectType::*;
        let grant = self.as_a::<pg_sys::GrantStmt>(pg_sys::NodeTag::T_GrantStmt);
        grant.is_some_and(|grant| {
            // SAFETY: the objects of a valid tree.
            let objects = unsafe { items::<pg_sys::Node>(grant.objects) };
            // SAFETY: as above.
            let is_range = |node: *mut _| unsafe { is_a(node, pg_sys::NodeTag::T_RangeVar) };
            grant.targtype == pg_sys::GrantTargetType::ACL_TARGET_OBJECT
                && matches!(grant.objtype, OBJECT_TABLE | OBJECT_SEQUENCE)
                && objects.into_iter().all(is_range)
        })
    }

    /// True for COMMENT ON TABLE.
    pub fn comments_on_table(&self) -> bool {
        let comment = self.as_a::<pg_sys::CommentStmt>(pg_sys::NodeTag::T_CommentStmt);
        comment.is_some_and(|comment| comment.objtype == pg_sys::ObjectType::OBJECT_TABLE)
    }
}

fn is_relation(kind: pg_sys::ObjectType::Type) -> bool {
    use pg_sys::ObjectType::*;
    matches!(
        kind,
        OBJECT_TABLE | OBJECT_INDEX | OBJECT_SEQUENCE | OBJECT_VIEW | OBJECT_MATVIEW
    )
}

/// A relation, or a part of one.
fn is_of_relation(kind: pg_sys::ObjectType::Type) -> bool {
    use pg_sys::ObjectType::*;
    is_relation(kind)
        || matches!(
            kind,
            OBJECT_COLUMN | OBJECT_TRIGGER | OBJECT_POLICY | OBJECT_TABCONSTRAINT
        )
}
