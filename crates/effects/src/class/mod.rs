//! The object classes. To add one: copy the shape of [`schema`], and name it in `classes!` below.
//!
//! | class | catalog | with it | has no wording |
//! | --- | --- | --- | --- |
//! | schema | pg_namespace | | |
//! | function | pg_proc | | another result or other names of arguments |
//! | foreign-data wrapper, server | pg_foreign_data_wrapper, pg_foreign_server | | a server's other type or wrapper |
//! | user mapping | pg_user_mapping | | |
//! | operator | pg_operator | shells, by those that name them | a shell that none names; before 17: MERGES, HASHES later |
//! | operator family | pg_opfamily | pg_amop, pg_amproc that go with no class | |
//! | operator class | pg_opclass | pg_amop, pg_amproc that go with it | |
//! | text search parser, template | pg_ts_parser, pg_ts_template | | |
//! | text search dictionary | pg_ts_dict | | |
//! | text search configuration | pg_ts_config | pg_ts_config_map | a token that its parser does not know |
//! | language | pg_language | | privileges where TRUSTED comes or goes |
//! | access method | pg_am | | |
//! | transform | pg_transform | | |
//! | subscription | pg_subscription | | all but owner and comment |
//! | extension | pg_extension | members come and go with it | all but comment and DROP |
//!
//! What only a direct UPDATE of a catalog changes has no wording anywhere. Which kinds of pg_dump's objects
//! are which class, or none, is listed in `dumped.rs`, a test.

pub mod access_method;
pub mod extension;
pub mod foreign_data_wrapper;
pub mod function;
pub mod language;
pub mod operator;
pub mod operator_family;
pub mod schema;
pub mod server;
pub mod subscription;
pub mod text_search;
pub mod transform;
pub mod user_mapping;

#[cfg(test)]
mod dumped;

use crate::common::Common;
use crate::key::{catalog, Key};
use crate::object::Object;
use crate::script::{Script, Unhandled};

/// What is known of a class before any object of it is.
pub struct Class {
    /// As pg_identify_object calls it, and as health counts it.
    pub name: &'static str,
    pub catalog: u32,
    /// Values of the kind column ([`kinds_of`]) that are of this class; none: all of the catalog.
    pub kinds: &'static [&'static str],
    /// Two columns, oid and json, of the objects of `$1` (oid[]) that exist and are not temporary.
    pub query: &'static str,
    pub read: fn(&str) -> Result<Model, serde_json::Error>,
}

/// Where a catalog holds several classes: a query that tells them apart, oid and kind of `$1` (oid[]).
pub fn kinds_of(catalog: u32) -> Option<&'static str> {
    match catalog {
        catalog::CLASS => Some(
            "SELECT c.oid, c.relkind::pg_catalog.text FROM pg_catalog.pg_class c \
             WHERE c.oid = ANY ($1) AND c.relkind <> 't' AND c.relpersistence <> 't' \
             AND c.relnamespace <> 99 AND c.relrewrite = 0",
        ),
        catalog::TYPE => Some(
            "SELECT t.oid, CASE WHEN t.typisdefined THEN t.typtype::pg_catalog.text ELSE 'shell' END \
             FROM pg_catalog.pg_type t WHERE t.oid = ANY ($1)",
        ),
        catalog::PROC => Some(
            "SELECT p.oid, p.prokind::pg_catalog.text FROM pg_catalog.pg_proc p WHERE p.oid = ANY ($1)",
        ),
        _ => None,
    }
}

macro_rules! classes {
    ($($variant:ident, $model:ty, $name:literal, $catalog:expr, $kinds:expr, $query:expr;)*) => {
        /// An object of any class.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Model {
            $($variant(Box<$model>),)*
        }

        /// All of them.
        pub static CLASSES: &[Class] = &[
            $(Class {
                name: $name,
                catalog: $catalog,
                kinds: $kinds,
                query: $query,
                read: |json| serde_json::from_str(json).map(|model| Model::$variant(Box::new(model))),
            },)*
        ];

        impl Model {
            pub fn class(&self) -> &'static str {
                match self { $(Model::$variant(_) => $name,)* }
            }
            pub fn common(&self) -> &Common {
                match self { $(Model::$variant(model) => model.common(),)* }
            }
            pub fn target(&self) -> String {
                match self { $(Model::$variant(model) => model.target(),)* }
            }
            pub fn occupies(&self) -> Option<String> {
                match self { $(Model::$variant(model) => model.occupies(),)* }
            }
            pub fn aliases(&self) -> Vec<Key> {
                match self { $(Model::$variant(model) => model.aliases(),)* }
            }
            pub fn dropped_with(&self) -> Vec<Key> {
                match self { $(Model::$variant(model) => model.dropped_with(),)* }
            }
            pub fn made_with(&self) -> Option<Key> {
                match self { $(Model::$variant(model) => model.made_with(),)* }
            }
            pub fn rebuilds_dependents(&self, to: &Model) -> bool {
                match (self, to) {
                    $((Model::$variant(model), Model::$variant(to)) => model.rebuilds_dependents(to),)*
                    #[allow(unreachable_patterns)]
                    _ => false,
                }
            }
            pub fn late_needs(&self) -> Vec<Key> {
                match self { $(Model::$variant(model) => model.late_needs(),)* }
            }
            pub fn remove_script(&self, script: &mut Script) {
                match self { $(Model::$variant(model) => model.remove(script),)* }
            }
            /// CREATE, unless something else makes it, and all that is common.
            pub fn create_script(&self, is_made: bool, others: &[String], script: &mut Script) -> Result<(), Unhandled> {
                match self { $(Model::$variant(model) => {
                    if !is_made {
                        model.create(script)?;
                    }
                    crate::common::finish(None, &**model, others, script);
                    Ok(())
                })* }
            }
            pub fn rename_script(&self, to: &Model, script: &mut Script) -> Result<(), Unhandled> {
                match (self, to) {
                    $((Model::$variant(model), Model::$variant(to)) => model.rename(to, script),)*
                    _ => Err(Unhandled::new(self.class(), format!("becomes a {}", to.class()))),
                }
            }
            /// What is class's own, and all that is common.
            pub fn alter_script(&self, to: &Model, others: &[String], script: &mut Script) -> Result<(), Unhandled> {
                match (self, to) {
                    $((Model::$variant(model), Model::$variant(to)) => {
                        model.alter(to, script)?;
                        crate::common::finish(Some(&**model), &**to, others, script);
                        Ok(())
                    })*
                    _ => Err(Unhandled::new(self.class(), format!("becomes a {}", to.class()))),
                }
            }
            pub fn late_script(&self, before: Option<&Model>, script: &mut Script) -> Result<(), Unhandled> {
                match (self, before) {
                    $((Model::$variant(model), Some(Model::$variant(before))) => model.late(Some(before), script),)*
                    $((Model::$variant(model), None) => model.late(None, script),)*
                    _ => Err(Unhandled::new(self.class(), "was of another class")),
                }
            }
        }
    };
}

classes! {
    Schema, schema::Schema, "schema", catalog::NAMESPACE, &[], schema::QUERY;
    Function, function::Function, "function", catalog::PROC, &["f", "p", "w"], function::QUERY;
    ForeignDataWrapper, foreign_data_wrapper::ForeignDataWrapper, "foreign-data wrapper", catalog::FOREIGN_DATA_WRAPPER, &[], foreign_data_wrapper::QUERY;
    Server, server::Server, "server", catalog::FOREIGN_SERVER, &[], server::QUERY;
    UserMapping, user_mapping::UserMapping, "user mapping", catalog::USER_MAPPING, &[], user_mapping::QUERY;
    Operator, operator::Operator, "operator", catalog::OPERATOR, &[], operator::QUERY;
    OperatorFamily, operator_family::OperatorFamily, "operator family", catalog::OPFAMILY, &[], operator_family::FAMILIES;
    OperatorClass, operator_family::OperatorClass, "operator class", catalog::OPCLASS, &[], operator_family::CLASSES;
    TextSearchParser, text_search::parser::Functions, "text search parser", catalog::TS_PARSER, &[], text_search::parser::PARSERS;
    TextSearchTemplate, text_search::parser::Functions, "text search template", catalog::TS_TEMPLATE, &[], text_search::parser::TEMPLATES;
    TextSearchDictionary, text_search::dictionary::Dictionary, "text search dictionary", catalog::TS_DICT, &[], text_search::dictionary::QUERY;
    TextSearchConfiguration, text_search::configuration::Configuration, "text search configuration", catalog::TS_CONFIG, &[], text_search::configuration::QUERY;
    Language, language::Language, "language", catalog::LANGUAGE, &[], language::QUERY;
    AccessMethod, access_method::AccessMethod, "access method", catalog::AM, &[], access_method::QUERY;
    Transform, transform::Transform, "transform", catalog::TRANSFORM, &[], transform::QUERY;
    Subscription, subscription::Subscription, "subscription", catalog::SUBSCRIPTION, &[], subscription::QUERY;
    Extension, extension::Extension, "extension", catalog::EXTENSION, &[], extension::QUERY;
}
