//! The object classes. To add one, copy the structure of [`schema`], and add it to `classes!` below, which is
//! the list of all. The table shows what some of them include besides their own row and which changes of them
//! are unhandled; for the others see their files:
//!
//! | class | catalog | with it | has no wording |
//! | --- | --- | --- | --- |
//! | schema | pg_namespace | | |
//! | database | pg_database, its own | pg_db_role_setting, pg_shdescription, pg_shseclabel | |
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
//! Direct updates of a catalog are unhandled everywhere. The mapping of pg_dump's kinds of objects to classes
//! is in `dumped.rs`, a test.

pub mod access_method;
pub mod aggregate;
pub mod base_type;
pub mod cast;
pub mod collation;
pub mod composite;
pub mod constraint;
pub mod conversion;
pub mod database;
pub mod default_privileges;
pub mod domain;
pub mod enum_type;
pub mod event_trigger;
pub mod extension;
pub mod foreign_data_wrapper;
pub mod function;
pub mod index;
pub mod language;
pub mod materialized_view;
pub mod multirange;
pub mod operator;
pub mod operator_family;
pub mod policy;
pub mod publication;
pub mod range;
pub mod rule;
pub mod schema;
pub mod sequence;
pub mod server;
pub mod statistics;
pub mod subscription;
pub mod table;
pub mod text_search;
pub mod transform;
pub mod trigger;
pub mod user_mapping;
pub mod view;
pub mod view_column;

#[cfg(test)]
mod dumped;

use crate::catalog_row;
use crate::common::Common;
use crate::key::{catalog, Key};
use crate::object::Object;
use crate::script::{Script, Unhandled};
use crate::tuples::{row, Tuples};

/// Properties of a class.
pub struct Class {
    /// As in pg_identify_object, and as counted by health.
    pub name: &'static str,
    pub catalog: u32,
    /// Values of the kind column ([`kinds_of`]) in this class; empty: the whole catalog.
    pub kinds: &'static [&'static str],
    pub read_by: ReadBy,
}

/// How an object's state is read.
#[derive(Clone, Copy)]
pub enum ReadBy {
    /// Two columns, oid and json, of the objects of `$1` (oid[]) that exist and are not temporary.
    Query {
        query: &'static str,
        read: fn(&str) -> Result<Model, serde_json::Error>,
    },
    /// Reads an object by its OID, if it exists and is not temporary.
    Tuples(ByTuples),
}

/// How the objects of a catalog with several classes are distinguished.
pub enum Kinds {
    /// Two columns, oid and kind, of those objects of `$1` (oid[]) that are captured.
    Query(&'static str),
    Tuples(KindByTuples),
}

pub type ByTuples = fn(&mut dyn Tuples, u32) -> Result<Option<Model>, String>;
/// `None` if there is no such object, or if it is not captured.
pub type KindByTuples = fn(&mut dyn Tuples, u32) -> Result<Option<String>, String>;

catalog_row! {
    RelationKind, "pg_class" 1259, 2662 ("oid");
    relkind: String, relpersistence: String, relnamespace: u32, relrewrite: u32,
}

catalog_row! {
    RoutineKind, "pg_proc" 1255, 2690 ("oid");
    prokind: String,
}

/// The OID of pg_toast.
const TOAST_NAMESPACE: u32 = 99;

/// For a catalog with several classes.
pub fn kinds_of(catalog: u32) -> Option<Kinds> {
    match catalog {
        catalog::CLASS => Some(Kinds::Tuples(|tuples, oid| {
            let found = row::<RelationKind>(tuples, &[oid])?.filter(|found| {
                let is_rewrite = found.relrewrite != 0;
                let is_toast = found.relkind == "t" || found.relnamespace == TOAST_NAMESPACE;
                found.relpersistence != "t" && !is_rewrite && !is_toast
            });
            Ok(found.map(|found| found.relkind))
        })),
        // Row types belong to their relations, arrays to their element types: created and dropped with these,
        // and without a statement of their own unless a user adds something.
        catalog::TYPE => Some(Kinds::Query(
            "SELECT t.oid, CASE WHEN NOT t.typisdefined THEN 'shell' WHEN t.is_implied THEN 'implied' \
             ELSE t.typtype::pg_catalog.text END FROM (SELECT t.oid, t.typisdefined, t.typtype, \
             t.typtype = 'c' OR EXISTS (SELECT FROM pg_catalog.pg_type e WHERE e.oid = t.typelem AND e.typarray = t.oid) AS is_implied, \
             EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid = t.typrelid AND c.relkind = 'c') AS is_composite, \
             t.typacl IS NOT NULL OR EXISTS (SELECT FROM pg_catalog.pg_description x WHERE x.objoid = t.oid AND x.classoid = 1247) \
             OR EXISTS (SELECT FROM pg_catalog.pg_seclabel x WHERE x.objoid = t.oid AND x.classoid = 1247) AS has_words \
             FROM pg_catalog.pg_type t WHERE t.oid = ANY ($1)) t \
             WHERE NOT t.is_implied OR (t.has_words AND NOT t.is_composite)",
        )),
        catalog::PROC => Some(Kinds::Tuples(|tuples, oid| {
            Ok(row::<RoutineKind>(tuples, &[oid])?.map(|found| found.prokind))
        })),
        _ => None,
    }
}

/// What to call objects of a catalog without a class, or of an unknown kind.
pub fn catalog_name(oid: u32) -> String {
    let name = match oid {
        catalog::CLASS => "relation",
        catalog::TYPE => "type",
        catalog::PROC => "routine",
        catalog::CONSTRAINT => "constraint",
        catalog::REWRITE => "rule",
        catalog::TRIGGER => "trigger",
        catalog::POLICY => "policy",
        catalog::STATISTIC_EXT => "statistics object",
        catalog::EXTENSION => "extension",
        catalog::SUBSCRIPTION => "subscription",
        catalog::PUBLICATION => "publication",
        2613 => "large object",
        other => return format!("catalog {other}"),
    };
    name.to_owned()
}

macro_rules! classes {
    (@query $query:path, $variant:ident) => {
        ReadBy::Query {
            query: $query,
            read: |json| serde_json::from_str(json).map(|model| Model::$variant(Box::new(model))),
        }
    };
    (@tuples $read:path, $variant:ident) => {
        ReadBy::Tuples($read)
    };
    ($($variant:ident, $model:ty, $name:literal, $catalog:expr, $kinds:expr, $how:ident $what:path;)*) => {
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
                read_by: classes!(@$how $what, $variant),
            },)*
        ];

        impl Model {
            pub fn class(&self) -> &'static str {
                match self { $(Model::$variant(_) => $name,)* }
            }
            pub fn is_table(&self) -> bool {
                matches!(self, Model::Table(_) | Model::ForeignTable(_))
            }
            /// Up to 15, CREATE RULE "_RETURN" converted an empty table to a view.
            fn becomes_view(&self, to: &Model) -> bool {
                matches!((self, to), (Model::Table(_), Model::View(_)))
            }
            pub fn common(&self) -> &Common {
                match self { $(Model::$variant(model) => model.common(),)* }
            }
            pub fn target(&self) -> String {
                match self { $(Model::$variant(model) => model.target(),)* }
            }
            /// Kind and name as in pg_identify_object.
            pub fn described(&self) -> String {
                let kind = match self {
                    Model::Constraint(_) => "table constraint",
                    other => other.class(),
                };
                format!("{kind} {}", self.target().replacen(" ON ", " on ", 1))
            }
            pub fn tablespace(&self) -> Option<&str> {
                match self { $(Model::$variant(model) => model.tablespace(),)* }
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
            pub fn takes_along(&self) -> Vec<Key> {
                match self { $(Model::$variant(model) => model.takes_along(),)* }
            }
            pub fn made_with(&self) -> Option<Key> {
                match self { $(Model::$variant(model) => model.made_with(),)* }
            }
            pub fn rebuilt_with(&self) -> Vec<Key> {
                match self { $(Model::$variant(model) => model.rebuilt_with(),)* }
            }
            pub fn completes(&self) -> Option<Key> {
                match self { $(Model::$variant(model) => model.completes(),)* }
            }
            pub fn needs_whole(&self) -> Option<Key> {
                match self { $(Model::$variant(model) => model.needs_whole(),)* }
            }
            pub fn wanted_by_attach_of(&self) -> Option<Key> {
                match self { $(Model::$variant(model) => model.wanted_by_attach_of(),)* }
            }
            pub fn makes_by_change(&self, to: &Model) -> Option<Key> {
                match (self, to) {
                    $((Model::$variant(model), Model::$variant(to)) => model.makes_by_change(to),)*
                    #[allow(unreachable_patterns)]
                    _ => None,
                }
            }
            pub fn is_remade_as(&self, to: &Model) -> bool {
                match (self, to) {
                    $((Model::$variant(model), Model::$variant(to)) => model.is_remade_as(to),)*
                    #[allow(unreachable_patterns)]
                    _ => false,
                }
            }
            pub fn is_recreated_as(&self, to: &Model) -> bool {
                match (self, to) {
                    $((Model::$variant(model), Model::$variant(to)) => model.is_recreated_as(to),)*
                    #[allow(unreachable_patterns)]
                    _ => false,
                }
            }
            pub fn rebuilds_dependents(&self, to: &Model) -> bool {
                match (self, to) {
                    $((Model::$variant(model), Model::$variant(to)) => model.rebuilds_dependents(to),)*
                    #[allow(unreachable_patterns)]
                    _ => false,
                }
            }
            pub fn is_half_made(&self) -> bool {
                match self { $(Model::$variant(model) => model.is_half_made(),)* }
            }
            /// See [`Object::set_rewritten`].
            pub fn set_rewritten(&mut self, is_rewritten: &dyn Fn(u32) -> bool) {
                match self { $(Model::$variant(model) => model.set_rewritten(is_rewritten),)* }
            }
            pub fn late_needs(&self) -> Vec<Key> {
                match self { $(Model::$variant(model) => model.late_needs(),)* }
            }
            pub fn remove_script(&self, script: &mut Script) {
                match self { $(Model::$variant(model) => model.remove(script),)* }
            }
            /// CREATE, unless another object's statement creates it, and the common properties.
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
            /// The class's own changes, and the common properties.
            pub fn alter_script(&self, to: &Model, others: &[String], script: &mut Script) -> Result<(), Unhandled> {
                match (self, to) {
                    $((Model::$variant(model), Model::$variant(to)) if model.is_recreated_as(to) => {
                        model.remove(script);
                        to.create(script)?;
                        crate::common::finish(None, &**to, others, script);
                        Ok(())
                    })*
                    $((Model::$variant(model), Model::$variant(to)) => {
                        model.alter(to, script)?;
                        crate::common::finish(Some(&**model), &**to, others, script);
                        Ok(())
                    })*
                    _ if self.becomes_view(to) => {
                        self.remove_script(script);
                        to.create_script(false, others, script)
                    }
                    _ => Err(Unhandled::new(self.class(), format!("becomes a {}", to.class()))),
                }
            }
            pub fn early_script(&self, after: Option<&Model>, script: &mut Script) -> Result<(), Unhandled> {
                match (self, after) {
                    $((Model::$variant(model), Some(Model::$variant(after))) => model.early(Some(after), script),)*
                    $((Model::$variant(model), None) => model.early(None, script),)*
                    (_, Some(after)) if self.becomes_view(after) => self.early_script(None, script),
                    _ => Err(Unhandled::new(self.class(), "its class has changed")),
                }
            }
            pub fn late_script(&self, before: Option<&Model>, script: &mut Script) -> Result<(), Unhandled> {
                match (self, before) {
                    $((Model::$variant(model), Some(Model::$variant(before))) => {
                        let before = Some(&**before).filter(|before| !before.is_recreated_as(model));
                        model.late(before, script)
                    })*
                    $((Model::$variant(model), None) => model.late(None, script),)*
                    (_, Some(before)) if before.becomes_view(self) => self.late_script(None, script),
                    _ => Err(Unhandled::new(self.class(), "its class has changed")),
                }
            }
        }
    };
}

classes! {
    Aggregate, aggregate::Aggregate, "aggregate", catalog::PROC, &["a"], query aggregate::QUERY;
    BaseType, base_type::BaseType, "base type", catalog::TYPE, &["b", "shell"], query base_type::QUERY;
    Cast, cast::Cast, "cast", catalog::CAST, &[], query cast::QUERY;
    Collation, collation::Collation, "collation", catalog::COLLATION, &[], query collation::QUERY;
    Composite, composite::Composite, "composite type", catalog::CLASS, &["c"], query composite::QUERY;
    Conversion, conversion::Conversion, "conversion", catalog::CONVERSION, &[], query conversion::QUERY;
    Domain, domain::Domain, "domain", catalog::TYPE, &["d"], query domain::QUERY;
    Enum, enum_type::Enum, "enum", catalog::TYPE, &["e"], query enum_type::QUERY;
    Function, function::Function, "function", catalog::PROC, &["f", "p", "w"], query function::QUERY;
    Table, table::Table, "table", catalog::CLASS, &["r", "p"], tuples table::read::table;
    ForeignTable, table::Table, "foreign table", catalog::CLASS, &["f"], tuples table::read::foreign_table;
    Sequence, sequence::Sequence, "sequence", catalog::CLASS, &["S"], query sequence::QUERY;
    View, view::View, "view", catalog::CLASS, &["v"], query view::QUERY;
    Rule, rule::Rule, "rule", catalog::REWRITE, &[], query rule::QUERY;
    Trigger, trigger::Trigger, "trigger", catalog::TRIGGER, &[], query trigger::QUERY;
    Policy, policy::Policy, "policy", catalog::POLICY, &[], query policy::QUERY;
    Index, index::Index, "index", catalog::CLASS, &["i", "I"], tuples index::read::index;
    Constraint, constraint::Constraint, "constraint", catalog::CONSTRAINT, &[], tuples constraint::read::constraint;
    Statistics, statistics::Statistics, "statistics object", catalog::STATISTIC_EXT, &[], query statistics::QUERY;
    MaterializedView, materialized_view::MaterializedView, "materialized view", catalog::CLASS, &["m"], query materialized_view::QUERY;
    Database, database::Database, "database", catalog::DATABASE, &[], query database::QUERY;
    EventTrigger, event_trigger::EventTrigger, "event trigger", catalog::EVENT_TRIGGER, &[], query event_trigger::QUERY;
    DefaultPrivileges, default_privileges::DefaultPrivileges, "default privileges", catalog::DEFAULT_ACL, &[], query default_privileges::QUERY;
    Publication, publication::Publication, "publication", catalog::PUBLICATION, &[], query publication::QUERY;
    Multirange, multirange::Multirange, "multirange", catalog::TYPE, &["m"], query multirange::QUERY;
    Range, range::Range, "range", catalog::TYPE, &["r"], query range::QUERY;
    Schema, schema::Schema, "schema", catalog::NAMESPACE, &[], query schema::QUERY;
    ForeignDataWrapper, foreign_data_wrapper::ForeignDataWrapper, "foreign-data wrapper", catalog::FOREIGN_DATA_WRAPPER, &[], query foreign_data_wrapper::QUERY;
    Server, server::Server, "server", catalog::FOREIGN_SERVER, &[], query server::QUERY;
    UserMapping, user_mapping::UserMapping, "user mapping", catalog::USER_MAPPING, &[], query user_mapping::QUERY;
    Operator, operator::Operator, "operator", catalog::OPERATOR, &[], query operator::QUERY;
    OperatorFamily, operator_family::OperatorFamily, "operator family", catalog::OPFAMILY, &[], query operator_family::FAMILIES;
    OperatorClass, operator_family::OperatorClass, "operator class", catalog::OPCLASS, &[], query operator_family::CLASSES;
    TextSearchParser, text_search::parser::Functions, "text search parser", catalog::TS_PARSER, &[], query text_search::parser::PARSERS;
    TextSearchTemplate, text_search::parser::Functions, "text search template", catalog::TS_TEMPLATE, &[], query text_search::parser::TEMPLATES;
    TextSearchDictionary, text_search::dictionary::Dictionary, "text search dictionary", catalog::TS_DICT, &[], query text_search::dictionary::QUERY;
    TextSearchConfiguration, text_search::configuration::Configuration, "text search configuration", catalog::TS_CONFIG, &[], query text_search::configuration::QUERY;
    Language, language::Language, "language", catalog::LANGUAGE, &[], query language::QUERY;
    AccessMethod, access_method::AccessMethod, "access method", catalog::AM, &[], query access_method::QUERY;
    Transform, transform::Transform, "transform", catalog::TRANSFORM, &[], query transform::QUERY;
    Subscription, subscription::Subscription, "subscription", catalog::SUBSCRIPTION, &[], query subscription::QUERY;
    Extension, extension::Extension, "extension", catalog::EXTENSION, &[], query extension::QUERY;
}
