//! The objects that a statement concerns, as far as known before it runs.

use pgrx::pg_sys::NodeTag::{
    T_AlterTableStmt, T_CommentStmt, T_CreateFunctionStmt, T_CreateStmt, T_GrantStmt, T_IndexStmt,
};

use super::ddl_history::Object;
use crate::pg::ddl::function::made_function;
use crate::pg::ddl::place::Place;
use crate::pg::ddl::statement::Statement;
use crate::pg::ddl::subject::{targets, Target};
use crate::pg::ddl::touched::{
    created_relation, is_plain_table, is_table, made_index, touched_tables,
};
use crate::pg::text::quote;
use crate::replica_identity::Touched;

pub struct Subject<'a> {
    pub statement: &'a Statement,
    targets: Vec<Target>,
}

impl<'a> Subject<'a> {
    /// Looks up everything that the statement names; raises an error if that fails (a type's modifier, a
    /// signature).
    pub fn of(statement: &'a Statement) -> Self {
        Self {
            statement,
            targets: targets(statement),
        }
    }

    /// Looks up relations and schemas only, like the statement itself: raises no error that it does not raise
    /// itself.
    pub fn relations(statement: &'a Statement) -> Self {
        let targets = if statement.names_relations_only() {
            targets(statement)
        } else {
            Vec::new()
        };
        Self { statement, targets }
    }

    /// Everything that it names is temporary, or belongs to this extension.
    pub fn is_left_out(&self) -> bool {
        !self.targets.is_empty() && self.targets.iter().all(is_left_out)
    }

    /// The same for a part of it.
    pub fn is_left_out_in_part(&self) -> bool {
        self.targets.iter().any(is_left_out)
    }

    /// The permanent relations.
    pub fn relations_named(&self) -> Vec<Object> {
        let kept = self.targets.iter().filter(|target| !is_left_out(target));
        let named = kept.filter_map(|target| target.name.clone());
        named.map(Object::table).collect()
    }

    /// True if event triggers report no object: GRANT and REVOKE.
    pub fn is_reported_without_object(&self) -> bool {
        self.statement.node_tag() == T_GrantStmt
    }

    /// True if event triggers can report only the expected object, and no replica identity can change: a
    /// comment on a table, a function, an index of a table without partitions.
    pub fn is_about_one_alone(&self) -> bool {
        match self.statement.node_tag() {
            T_CommentStmt => self.statement.comments_on_table(),
            T_CreateFunctionStmt => true,
            T_IndexStmt => {
                let is_new =
                    !self.statement.may_do_nothing() && !self.statement.commits_by_itself();
                is_new
                    && self
                        .first()
                        .is_some_and(|target| is_plain_table(target.relation))
            }
            _ => false,
        }
    }

    /// The existing relation that it concerns, if any.
    pub fn first(&self) -> Option<&Target> {
        self.targets.first()
    }

    /// True if the text shows everything that the statement does to its one table, so that nothing needs to
    /// be checked afterwards.
    pub fn is_known(&self) -> bool {
        let target = self.targets.first();
        target.is_some_and(|target| is_table(target.relation))
            && self.statement.adds_plain_columns()
    }

    /// The first object that will be recorded for the statement, if it is easily determined.
    pub fn expected(&self) -> Option<Object> {
        let statement = self.statement;
        let name = match statement.node_tag() {
            T_CreateStmt => {
                created_relation(statement).map(|(schema, name)| quote::qualified(&schema, &name))
            }
            T_AlterTableStmt => {
                let target = self.first().filter(|target| is_table(target.relation));
                target.and_then(|target| target.name.clone())
            }
            // Nothing is reported for these, see `hook::complete`.
            T_GrantStmt => return self.relations_named().into_iter().next(),
            T_CommentStmt => {
                let target = self.first().filter(|_| statement.comments_on_table());
                target.and_then(|target| target.name.clone())
            }
            T_CreateFunctionStmt => {
                let (object_type, identity) = made_function(statement)?;
                return Some(Object {
                    object_type: object_type.to_vec(),
                    identity,
                });
            }
            T_IndexStmt => {
                let identity = made_index(statement, self.first()?.relation)?;
                let object_type = b"index".to_vec();
                return Some(Object {
                    object_type,
                    identity,
                });
            }
            _ => None,
        };
        name.map(Object::table)
    }

    /// Its possible effects on replica identities.
    pub fn touched(&self) -> Touched {
        Touched {
            tables: touched_tables(self.statement, &self.targets),
            created: created_relation(self.statement),
            identity_is_set: self.statement.sets_replica_identity(),
            ..Touched::default()
        }
    }
}

fn is_left_out(target: &Target) -> bool {
    matches!(
        target.place,
        Place::Temporary | Place::Ours | Place::Invalid
    )
}
