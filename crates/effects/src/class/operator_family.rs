//! Operator families and operator classes, and their members, which are rows of pg_amop and pg_amproc: each
//! belongs to a family, and is dropped with it or with a class of it (pg_depend), as decided by the access
//! method (amadjustmembers). A class's own members are created with it; all others are added and dropped by
//! ALTER OPERATOR FAMILY.

use serde::Deserialize;

use crate::common::Common;
use crate::key::Key;
use crate::object::Object;
use crate::renames::named_in_schema;
use crate::script::{no_rest, same_identity, same_rest, Script, Unhandled};
use crate::text::qualified;

/// Members of the object `$class`/`$oid`, and their dependencies except itself.
macro_rules! members {
    ($class:literal, $oid:literal, $family:literal) => {
        concat!(
            "(SELECT pg_catalog.json_agg(pg_catalog.json_build_object('place', m.place, 'text', m.text, 'key', m.key) \
             ORDER BY m.row) FROM (SELECT a.oid AS row, \
             pg_catalog.concat_ws('/', 'o', a.amopstrategy, a.amoplefttype, a.amoprighttype, a.amopopr, a.amopsortfamily) AS key, pg_catalog.format('OPERATOR %s (%s, %s)', a.amopstrategy, \
             pg_catalog.format_type(a.amoplefttype, NULL), pg_catalog.format_type(a.amoprighttype, NULL)) AS place, \
             pg_catalog.concat(pg_catalog.format('OPERATOR %s ', a.amopstrategy), ",
            crate::operator_name!("a.amopopr"),
            ", pg_catalog.format('(%s, %s)', pg_catalog.format_type(a.amoplefttype, NULL), \
             pg_catalog.format_type(a.amoprighttype, NULL)), ' FOR ORDER BY ' OPERATOR(pg_catalog.||) ",
            crate::name_in_schema!("pg_opfamily", "opfname", "opfnamespace", "a.amopsortfamily"),
            ") AS text FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_amop a ON a.oid = d.objid \
             WHERE d.refclassid = ", $class, " AND d.refobjid = ", $oid, " AND d.classid = 2602 AND a.amopfamily = ", $family, " \
             AND d.deptype IN ('a', 'i') \
             UNION ALL SELECT a.oid, \
             pg_catalog.concat_ws('/', 'p', a.amprocnum, a.amproclefttype, a.amprocrighttype, a.amproc::pg_catalog.oid), pg_catalog.format('FUNCTION %s (%s, %s)', a.amprocnum, \
             pg_catalog.format_type(a.amproclefttype, NULL), pg_catalog.format_type(a.amprocrighttype, NULL)), \
             pg_catalog.concat(pg_catalog.format('FUNCTION %s (%s, %s) ', a.amprocnum, \
             pg_catalog.format_type(a.amproclefttype, NULL), pg_catalog.format_type(a.amprocrighttype, NULL)), ",
            crate::function_signature!("a.amproc"),
            ") FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_amproc a ON a.oid = d.objid \
             WHERE d.refclassid = ", $class, " AND d.refobjid = ", $oid, " AND d.classid = 2603 AND a.amprocfamily = ", $family, " \
             AND d.deptype IN ('a', 'i')) m) AS members, \
             (SELECT pg_catalog.jsonb_agg(DISTINCT pg_catalog.jsonb_build_array(x.refclassid::pg_catalog.int8, x.refobjid::pg_catalog.int8)) \
             FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_depend x ON x.classid = d.classid AND x.objid = d.objid \
             WHERE d.refclassid = ", $class, " AND d.refobjid = ", $oid, " AND d.classid IN (2602, 2603) AND d.deptype IN ('a', 'i') \
             AND (x.refclassid, x.refobjid) IS DISTINCT FROM (d.refclassid, d.refobjid)) AS member_needs"
        )
    };
}

pub const FAMILIES: &str = concat!(
    "SELECT r.oid, pg_catalog.row_to_json(r)::pg_catalog.text FROM (SELECT f.oid, \
     pg_catalog.quote_ident(n.nspname) AS schema, pg_catalog.quote_ident(f.opfname) AS name, \
     pg_catalog.quote_ident(am.amname) AS method, ",
    members!("2753", "f.oid", "f.oid"),
    ", ",
    crate::common_columns!("2753", "f.oid", "f.opfowner", "NULL::pg_catalog.aclitem[]", "NULL"),
    ", pg_catalog.to_jsonb(f) - '{oid,opfname,opfnamespace,opfowner,opfmethod}'::pg_catalog.text[] AS rest, \
     f.opfmethod::pg_catalog.int8 AS identity \
     FROM pg_catalog.pg_opfamily f JOIN pg_catalog.pg_namespace n ON n.oid = f.opfnamespace \
     JOIN pg_catalog.pg_am am ON am.oid = f.opfmethod \
     WHERE f.oid = ANY ($1) AND n.nspname !~ '^pg_temp_') r"
);

pub const CLASSES: &str = concat!(
    "SELECT r.oid, pg_catalog.row_to_json(r)::pg_catalog.text FROM (SELECT c.oid, \
     pg_catalog.quote_ident(n.nspname) AS schema, pg_catalog.quote_ident(c.opcname) AS name, \
     pg_catalog.quote_ident(am.amname) AS method, c.opcdefault AS is_default, \
     pg_catalog.format_type(c.opcintype, NULL) AS type, \
     CASE WHEN c.opckeytype <> 0 THEN pg_catalog.format_type(c.opckeytype, NULL) END AS storage, ",
    crate::name_in_schema!("pg_opfamily", "opfname", "opfnamespace", "c.opcfamily"),
    " AS family, ",
    members!("2616", "c.oid", "c.opcfamily"),
    ", ",
    crate::common_columns!("2616", "c.oid", "c.opcowner", "NULL::pg_catalog.aclitem[]", "NULL"),
    ", pg_catalog.to_jsonb(c) - '{oid,opcname,opcnamespace,opcowner,opcmethod,opcfamily,opcintype,opckeytype,\
     opcdefault}'::pg_catalog.text[] AS rest, \
     pg_catalog.json_build_array(c.opcmethod, c.opcfamily, c.opcintype, c.opckeytype, c.opcdefault) AS identity \
     FROM pg_catalog.pg_opclass c JOIN pg_catalog.pg_namespace n ON n.oid = c.opcnamespace \
     JOIN pg_catalog.pg_am am ON am.oid = c.opcmethod \
     WHERE c.oid = ANY ($1) AND n.nspname !~ '^pg_temp_') r"
);

/// An operator or a support function of a family.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Member {
    /// Its description in DROP: `OPERATOR 1 (integer, integer)`.
    pub place: String,
    /// Its description in CREATE OPERATOR CLASS and ADD.
    pub text: String,
    /// Its identity by OIDs: names of types and functions can change.
    pub key: String,
}

/// Statements that change one list of members to another.
fn alter_members(
    before: &[Member],
    after: &[Member],
    family: &str,
    method: &str,
    script: &mut Script,
) {
    let is_in = |list: &[Member], member: &Member| list.iter().any(|other| other.key == member.key);
    for (word, verb, list) in [
        (
            "DROP",
            "alter",
            lacking(before, |m| is_in(after, m), |m| m.place.clone()),
        ),
        (
            "ADD",
            "alter",
            lacking(after, |m| is_in(before, m), |m| m.text.clone()),
        ),
    ] {
        if !list.is_empty() {
            let sql = format!(
                "ALTER OPERATOR FAMILY {family} USING {method} {word} {}",
                list.join(", ")
            );
            script.push(verb, sql);
        }
    }
}

fn lacking(
    list: &[Member],
    is_there: impl Fn(&Member) -> bool,
    word: impl Fn(&Member) -> String,
) -> Vec<String> {
    list.iter()
        .filter(|member| !is_there(member))
        .map(word)
        .collect()
}

/// The dependencies of members are those of the object.
fn with_members(mut common: Common, needs: Option<Vec<Key>>) -> Common {
    let all = common.needs.get_or_insert_with(Vec::new);
    all.extend(needs.unwrap_or_default());
    all.sort_unstable();
    all.dedup();
    common
}

#[derive(Deserialize)]
struct FamilyRow {
    schema: String,
    name: String,
    method: String,
    members: Option<Vec<Member>>,
    member_needs: Option<Vec<Key>>,
    common: Common,
    rest: serde_json::Value,
    identity: serde_json::Value,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(from = "FamilyRow")]
pub struct OperatorFamily {
    pub schema: String,
    pub name: String,
    /// The access method.
    pub method: String,
    /// Those that do not belong to a class.
    pub members: Vec<Member>,
    pub common: Common,
    pub rest: serde_json::Value,
    /// What no command changes.
    pub identity: serde_json::Value,
}

impl From<FamilyRow> for OperatorFamily {
    fn from(row: FamilyRow) -> OperatorFamily {
        OperatorFamily {
            schema: row.schema,
            name: row.name,
            method: row.method,
            members: row.members.unwrap_or_default(),
            common: with_members(row.common, row.member_needs),
            rest: row.rest,
            identity: row.identity,
        }
    }
}

/// Follows the name of a family or a class, which is unique for an access method.
fn using(method: &str) -> String {
    format!(" USING {method}")
}

impl Object for OperatorFamily {
    named_in_schema!("OPERATOR FAMILY", "operator family", |family| using(
        &family.method
    ));

    fn create(&self, script: &mut Script) -> Result<(), Unhandled> {
        no_rest("operator family", &self.rest)?;
        script.push(
            "create",
            format!("CREATE OPERATOR FAMILY {}", self.target()),
        );
        let family = qualified(&self.schema, &self.name);
        alter_members(&[], &self.members, &family, &self.method, script);
        Ok(())
    }

    fn alter(&self, to: &Self, script: &mut Script) -> Result<(), Unhandled> {
        same_rest("operator family", &self.rest, &to.rest)?;
        same_identity(
            "operator family",
            &self.identity,
            &to.identity,
            "its access method has changed",
        )?;
        let family = qualified(&to.schema, &to.name);
        alter_members(&self.members, &to.members, &family, &to.method, script);
        Ok(())
    }
}

#[derive(Deserialize)]
struct ClassRow {
    schema: String,
    name: String,
    method: String,
    is_default: bool,
    r#type: String,
    storage: Option<String>,
    family: Option<String>,
    members: Option<Vec<Member>>,
    member_needs: Option<Vec<Key>>,
    common: Common,
    rest: serde_json::Value,
    identity: serde_json::Value,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(from = "ClassRow")]
pub struct OperatorClass {
    pub schema: String,
    pub name: String,
    /// The access method.
    pub method: String,
    pub is_default: bool,
    pub r#type: String,
    pub storage: Option<String>,
    pub family: Option<String>,
    pub members: Vec<Member>,
    pub common: Common,
    pub rest: serde_json::Value,
    /// What no command changes.
    pub identity: serde_json::Value,
}

impl From<ClassRow> for OperatorClass {
    fn from(row: ClassRow) -> OperatorClass {
        OperatorClass {
            schema: row.schema,
            name: row.name,
            method: row.method,
            is_default: row.is_default,
            r#type: row.r#type,
            storage: row.storage,
            family: row.family,
            members: row.members.unwrap_or_default(),
            common: with_members(row.common, row.member_needs),
            rest: row.rest,
            identity: row.identity,
        }
    }
}

impl OperatorClass {
    fn family(&self) -> Result<&str, Unhandled> {
        let none = || Unhandled::new("operator class", "its operator family does not exist");
        self.family.as_deref().ok_or_else(none)
    }
}

impl Object for OperatorClass {
    named_in_schema!("OPERATOR CLASS", "operator class", |class| using(
        &class.method
    ));

    fn create(&self, script: &mut Script) -> Result<(), Unhandled> {
        no_rest("operator class", &self.rest)?;
        let storage = self.storage.iter().map(|name| format!("STORAGE {name}"));
        let members = self.members.iter().map(|member| member.text.clone());
        let mut items: Vec<String> = storage.chain(members).collect();
        if items.is_empty() {
            // The grammar requires one, and this has no effect (pg_dump's dumpOpclass).
            items.push(format!("STORAGE {}", self.r#type));
        }
        let sql = format!(
            "CREATE OPERATOR CLASS {}{} FOR TYPE {} USING {} FAMILY {} AS {}",
            qualified(&self.schema, &self.name),
            if self.is_default { " DEFAULT" } else { "" },
            self.r#type,
            self.method,
            self.family()?,
            items.join(", ")
        );
        script.push("create", sql);
        Ok(())
    }

    fn alter(&self, to: &Self, script: &mut Script) -> Result<(), Unhandled> {
        same_rest("operator class", &self.rest, &to.rest)?;
        same_identity(
            "operator class",
            &self.identity,
            &to.identity,
            "its type or operator family has changed",
        )?;
        alter_members(&self.members, &to.members, to.family()?, &to.method, script);
        Ok(())
    }
}
