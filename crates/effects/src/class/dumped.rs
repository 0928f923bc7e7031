//! Every kind of object that pg_dump knows has a class here, or a reason not to.

use super::CLASSES;
use crate::key::catalog;

enum Is {
    /// A class: the catalog, and the kind in it if there are several.
    Class(u32, &'static str),
    /// A part of another object's class, or not part of the schema.
    Folded(&'static str),
}
use Is::{Class, Folded};

/// DumpableObjectType of pg_dump.h, PostgreSQL 18.
const DUMPED: &[(&str, Is)] = &[
    ("DO_NAMESPACE", Class(catalog::NAMESPACE, "")),
    ("DO_EXTENSION", Class(catalog::EXTENSION, "")),
    ("DO_TYPE", Class(catalog::TYPE, "b")),
    ("DO_SHELL_TYPE", Class(catalog::TYPE, "shell")),
    ("DO_FUNC", Class(catalog::PROC, "f")),
    ("DO_AGG", Class(catalog::PROC, "a")),
    ("DO_OPERATOR", Class(catalog::OPERATOR, "")),
    ("DO_ACCESS_METHOD", Class(catalog::AM, "")),
    ("DO_OPCLASS", Class(catalog::OPCLASS, "")),
    ("DO_OPFAMILY", Class(catalog::OPFAMILY, "")),
    ("DO_COLLATION", Class(catalog::COLLATION, "")),
    ("DO_CONVERSION", Class(catalog::CONVERSION, "")),
    ("DO_TABLE", Class(catalog::CLASS, "r")),
    ("DO_TABLE_ATTACH", Folded("the partition's table says it")),
    ("DO_ATTRDEF", Folded("the table's column has it")),
    ("DO_INDEX", Class(catalog::CLASS, "i")),
    ("DO_INDEX_ATTACH", Folded("the index says it")),
    ("DO_STATSEXT", Class(catalog::STATISTIC_EXT, "")),
    ("DO_RULE", Class(catalog::REWRITE, "")),
    ("DO_TRIGGER", Class(catalog::TRIGGER, "")),
    ("DO_CONSTRAINT", Class(catalog::CONSTRAINT, "")),
    ("DO_FK_CONSTRAINT", Class(catalog::CONSTRAINT, "")),
    ("DO_PROCLANG", Class(catalog::LANGUAGE, "")),
    ("DO_CAST", Class(catalog::CAST, "")),
    ("DO_TABLE_DATA", Folded("rows are decoded")),
    (
        "DO_SEQUENCE_SET",
        Folded("values of sequences are decoded, or come with a base"),
    ),
    (
        "DO_DUMMY_TYPE",
        Folded("row and array types, made with their tables and types"),
    ),
    ("DO_TSPARSER", Class(catalog::TS_PARSER, "")),
    ("DO_TSDICT", Class(catalog::TS_DICT, "")),
    ("DO_TSTEMPLATE", Class(catalog::TS_TEMPLATE, "")),
    ("DO_TSCONFIG", Class(catalog::TS_CONFIG, "")),
    ("DO_FDW", Class(catalog::FOREIGN_DATA_WRAPPER, "")),
    // pg_dump writes its user mappings with it; they are a separate class here.
    ("DO_FOREIGN_SERVER", Class(catalog::FOREIGN_SERVER, "")),
    ("DO_FOREIGN_SERVER", Class(catalog::USER_MAPPING, "")),
    ("DO_DEFAULT_ACL", Class(catalog::DEFAULT_ACL, "")),
    ("DO_TRANSFORM", Class(catalog::TRANSFORM, "")),
    (
        "DO_LARGE_OBJECT",
        Folded("large objects have a path of their own"),
    ),
    (
        "DO_LARGE_OBJECT_DATA",
        Folded("large objects have a path of their own"),
    ),
    (
        "DO_PRE_DATA_BOUNDARY",
        Folded("no object: the order of a dump"),
    ),
    (
        "DO_POST_DATA_BOUNDARY",
        Folded("no object: the order of a dump"),
    ),
    ("DO_EVENT_TRIGGER", Class(catalog::EVENT_TRIGGER, "")),
    (
        "DO_REFRESH_MATVIEW",
        Folded("populated ones are refreshed at the end of a restore"),
    ),
    ("DO_POLICY", Class(catalog::POLICY, "")),
    ("DO_PUBLICATION", Class(catalog::PUBLICATION, "")),
    (
        "DO_PUBLICATION_REL",
        Folded("the publication has its tables"),
    ),
    (
        "DO_PUBLICATION_TABLE_IN_SCHEMA",
        Folded("the publication has its schemas"),
    ),
    (
        "DO_REL_STATS",
        Folded("statistics are no definition: ANALYZE makes them"),
    ),
    ("DO_SUBSCRIPTION", Class(catalog::SUBSCRIPTION, "")),
    (
        "DO_SUBSCRIPTION_REL",
        Folded("how far a subscription has come is its worker's"),
    ),
];

/// Kinds that are not implemented yet. To be emptied.
const NOT_YET: &[&str] = &[
    "DO_TYPE",
    "DO_SHELL_TYPE",
    "DO_AGG",
    "DO_COLLATION",
    "DO_CONVERSION",
    "DO_TABLE",
    "DO_INDEX",
    "DO_STATSEXT",
    "DO_RULE",
    "DO_TRIGGER",
    "DO_CONSTRAINT",
    "DO_FK_CONSTRAINT",
    "DO_CAST",
    "DO_DEFAULT_ACL",
    "DO_EVENT_TRIGGER",
    "DO_POLICY",
    "DO_PUBLICATION",
];

#[test]
fn each_kind_of_object_that_pg_dump_knows_has_a_class_or_a_reason() {
    let has = |catalog: u32, kind: &str| {
        CLASSES.iter().any(|class| {
            let kinds = class.kinds;
            class.catalog == catalog
                && (kind.is_empty() || kinds.is_empty() || kinds.contains(&kind))
        })
    };
    for (name, is) in DUMPED {
        match is {
            Class(catalog, kind) => assert!(
                has(*catalog, kind) || NOT_YET.contains(name),
                "{name} has no class"
            ),
            Folded(reason) => assert!(!reason.is_empty(), "{name}"),
        }
    }
}

#[test]
fn each_class_has_a_name_and_a_query_of_its_own() {
    for (n, class) in CLASSES.iter().enumerate() {
        let others = &CLASSES[..n];
        assert!(
            others.iter().all(|other| other.name != class.name),
            "{}",
            class.name
        );
        let query = |class: &super::Class| match class.read_by {
            super::ReadBy::Query { query, .. } => Some(query),
            super::ReadBy::Tuples(_) => None,
        };
        let Some(own) = query(class) else { continue };
        let is_own = others.iter().all(|other| query(other) != Some(own));
        assert!(is_own && own.contains("($1)"), "{}", class.name);
    }
}
