//! The common properties of all classes, from catalog rows.

use super::Common;
use crate::acl::Grant;
use crate::catalog_row;
use crate::key::{catalog, Key};
use crate::options::Setting;
use crate::text::qualified;
use crate::tuples::{row, rows, Tuples};

catalog_row! {
    Depend, "pg_depend" 2608, 2673 ("classid", "objid");
    objsubid: i32, refclassid: u32, refobjid: u32, refobjsubid: i32, deptype: String,
}

catalog_row! {
    Depender, "pg_depend" 2608, 2674 ("refclassid", "refobjid");
    classid: u32, objid: u32, deptype: String,
}

catalog_row! {
    Rule, "pg_rewrite" 2618, 2693 ("ev_class");
    oid: u32, rulename: String,
}

catalog_row! {
    Default, "pg_attrdef" 2604, 2656 ("adrelid");
    oid: u32, adnum: i32,
}

catalog_row! {
    Description, "pg_description" 2609, 2675 ("objoid", "classoid");
    objsubid: i32, description: String,
}

catalog_row! {
    Label, "pg_seclabel" 3596, 3597 ("objoid", "classoid");
    objsubid: i32, provider: String, label: String,
}

catalog_row! {
    Extension, "pg_extension" 3079, 3080 ("oid");
    extname: String,
}

catalog_row! {
    Namespace, "pg_namespace" 2615, 2685 ("oid");
    nspname: String,
}

catalog_row! {
    Tablespace, "pg_tablespace" 1213, 2697 ("oid");
    spcname: String,
}

catalog_row! {
    Relation, "pg_class" 1259, 2662 ("oid");
    relname: String, relnamespace: u32, relkind: String, relpersistence: String, relispartition: bool,
    relowner: u32, reltablespace: u32, reloptions: Option<Vec<String>>,
}

catalog_row! {
    Inherits, "pg_inherits" 2611, 2680 ("inhrelid" then "inhseqno");
    inhparent: u32, inhdetachpending: bool,
}

catalog_row! {
    Collation, "pg_collation" 3456, 3085 ("oid");
    collname: String, collnamespace: u32,
}

/// pg_amop and pg_amproc.
const OPERATORS_OF_FAMILY: u32 = 2602;
const FUNCTIONS_OF_FAMILY: u32 = 2603;

/// Comments and security labels of an object and its columns, which have numbers above 0.
pub struct Words {
    comments: Vec<Description>,
    labels: Vec<Label>,
}

impl Words {
    pub fn of(tuples: &mut dyn Tuples, key: Key) -> Result<Words, String> {
        let mut labels: Vec<Label> = rows(tuples, &[key.oid, key.class])?;
        labels.sort_by(|a, b| a.provider.cmp(&b.provider));
        Ok(Words {
            comments: rows(tuples, &[key.oid, key.class])?,
            labels,
        })
    }

    pub fn comment(&self, part: i32) -> Option<String> {
        let found = self.comments.iter().find(|row| row.objsubid == part)?;
        Some(found.description.clone())
    }

    pub fn labels(&self, part: i32) -> Option<Vec<(String, String)>> {
        let own = self.labels.iter().filter(|row| row.objsubid == part);
        let own: Vec<_> = own
            .map(|row| (row.provider.clone(), row.label.clone()))
            .collect();
        (!own.is_empty()).then_some(own)
    }
}

/// The owner of an object, its privileges, and its kind as a letter for acldefault.
pub struct Owned {
    pub owner: u32,
    pub acl: Option<Vec<Grant>>,
    pub kind: char,
}

/// For an object whose parts (catalog and OID) have dependencies as well.
pub fn common(
    tuples: &mut dyn Tuples,
    key: Key,
    owned: Option<Owned>,
    words: &Words,
    parts: &[Key],
) -> Result<Common, String> {
    let own: Vec<Depend> = rows(tuples, &[key.class, key.oid])?;
    common_of(tuples, &own, owned, words, parts)
}

/// The same if its rows of pg_depend have been read already.
pub fn common_of(
    tuples: &mut dyn Tuples,
    own: &[Depend],
    owned: Option<Owned>,
    words: &Words,
    parts: &[Key],
) -> Result<Common, String> {
    let mut common = Common {
        comment: words.comment(0),
        labels: words.labels(0),
        ..Common::default()
    };
    if let Some(Owned { owner, acl, kind }) = owned {
        common.owner = tuples.role(owner)?;
        common.acl = acl;
        common.default_acl = Some(tuples.default_privileges(kind, owner)?);
    }
    let mut goes_with = Vec::new();
    for depend in own {
        let is_member = depend.deptype == "e" && depend.objsubid == 0;
        let goes = depend.deptype == "x" && depend.refclassid == catalog::EXTENSION;
        if !is_member && !goes {
            continue;
        }
        let Some(Extension { extname }) = row(tuples, &[depend.refobjid])? else {
            continue;
        };
        let name = tuples.quoted(&extname);
        if is_member {
            common.extension = Some(name);
        } else {
            goes_with.push((extname, name));
        }
    }
    if !goes_with.is_empty() {
        goes_with.sort();
        common.goes_with = Some(goes_with.into_iter().map(|(_, name)| name).collect());
    }
    let mut needs = needs_among(own);
    for part in parts {
        needs.extend(needs_among(&rows(tuples, &[part.class, part.oid])?));
    }
    needs.sort_unstable();
    needs.dedup();
    common.needs = (!needs.is_empty()).then_some(needs);
    Ok(common)
}

/// The dependencies of an object, without its parts: a table is kept when a column is dropped, and so are
/// dependents of the table. A view's dependencies are those of its rule; an operator class is dropped with
/// its operators and functions.
pub fn needs(tuples: &mut dyn Tuples, key: Key) -> Result<Vec<Key>, String> {
    let mut depends: Vec<Depend> = rows(tuples, &[key.class, key.oid])?;
    depends.retain(|depend| key.class != catalog::CLASS || depend.objsubid == 0);
    depends.extend(depends_of_view(tuples, key)?);
    if key.class == catalog::OPCLASS {
        for part in rows::<Depender>(tuples, &[key.class, key.oid])? {
            let is_member = matches!(part.classid, OPERATORS_OF_FAMILY | FUNCTIONS_OF_FAMILY);
            if is_member && part.deptype == "i" {
                depends.extend(rows::<Depend>(tuples, &[part.classid, part.objid])?);
            }
        }
    }
    Ok(needs_among(&depends))
}

/// The dependencies of a view's rule; empty for other objects.
fn depends_of_view(tuples: &mut dyn Tuples, key: Key) -> Result<Vec<Depend>, String> {
    let is_relation = key.class == catalog::CLASS;
    let is_view = |found: &Relation| matches!(found.relkind.as_str(), "v" | "m");
    if !is_relation || !relation(tuples, key.oid)?.as_ref().is_some_and(is_view) {
        return Ok(Vec::new());
    }
    let rules: Vec<Rule> = rows(tuples, &[key.oid])?;
    let rule = rules.iter().find(|rule| rule.rulename == "_RETURN");
    match rule {
        Some(rule) => rows(tuples, &[catalog::REWRITE, rule.oid]),
        None => Ok(Vec::new()),
    }
}

/// The numbers of the columns of `table` on which an object (not a table) depends.
pub fn columns_under(tuples: &mut dyn Tuples, key: Key, table: u32) -> Result<Vec<i32>, String> {
    let mut depends: Vec<Depend> = rows(tuples, &[key.class, key.oid])?;
    depends.extend(depends_of_view(tuples, key)?);
    let of_table = depends.iter().filter(|depend| is_need(depend));
    let of_table =
        of_table.filter(|depend| (depend.refclassid, depend.refobjid) == (catalog::CLASS, table));
    Ok(of_table.map(|depend| depend.refobjsubid).collect())
}

/// By the numbers of a table's columns: what drops the column when it is dropped. A default is dropped
/// separately; a generation expression is an internal part of its column (StoreAttrDefault).
pub fn needs_of_columns(tuples: &mut dyn Tuples, table: u32) -> Result<Vec<(i32, Key)>, String> {
    let own: Vec<Depend> = rows(tuples, &[catalog::CLASS, table])?;
    let own = own
        .iter()
        .filter(|depend| is_need(depend) && depend.objsubid > 0);
    let of = |depend: &Depend| Key::new(depend.refclassid, depend.refobjid);
    let mut found: Vec<(i32, Key)> = own.map(|depend| (depend.objsubid, of(depend))).collect();
    for default in rows::<Default>(tuples, &[table])? {
        let depends: Vec<Depend> = rows(tuples, &[catalog::ATTRDEF, default.oid])?;
        if depends.iter().any(|depend| depend.deptype == "i") {
            let needs = needs_among(&depends).into_iter();
            found.extend(needs.map(|need| (default.adnum, need)));
        }
    }
    Ok(found)
}

fn is_need(depend: &Depend) -> bool {
    matches!(depend.deptype.as_str(), "n" | "a" | "i" | "P" | "S")
}

fn needs_among(depends: &[Depend]) -> Vec<Key> {
    let needs = depends.iter().filter(|depend| is_need(depend));
    needs
        .map(|depend| Key::new(depend.refclassid, depend.refobjid))
        .collect()
}

/// Options as in the catalogs, `name=value` each (pg_options_to_table).
pub fn settings(tuples: &mut dyn Tuples, options: Option<Vec<String>>) -> Option<Vec<Setting>> {
    let options = options.filter(|options| !options.is_empty())?;
    let mut one = |option: String| match option.split_once('=') {
        Some((name, value)) => (tuples.quoted(name), Some(value.to_owned())),
        None => (tuples.quoted(&option), None),
    };
    Some(options.into_iter().map(&mut one).collect())
}

/// A schema's name, quoted.
pub fn schema(tuples: &mut dyn Tuples, oid: u32) -> Result<Option<String>, String> {
    let found: Option<Namespace> = row(tuples, &[oid])?;
    Ok(found.map(|found| tuples.quoted(&found.nspname)))
}

/// The qualified name of a collation.
pub fn collation(tuples: &mut dyn Tuples, oid: u32) -> Result<Option<String>, String> {
    let Some(found) = row::<Collation>(tuples, &[oid])? else {
        return Ok(None);
    };
    let schema = schema(tuples, found.collnamespace)?.unwrap_or_default();
    Ok(Some(qualified(&schema, &tuples.quoted(&found.collname))))
}

pub fn relation(tuples: &mut dyn Tuples, oid: u32) -> Result<Option<Relation>, String> {
    row(tuples, &[oid])
}

/// `schema.name`, each quoted if necessary.
pub fn qualified_relation(tuples: &mut dyn Tuples, found: &Relation) -> Result<String, String> {
    let schema = schema(tuples, found.relnamespace)?.unwrap_or_default();
    Ok(qualified(&schema, &tuples.quoted(&found.relname)))
}

/// A tablespace's name, quoted; `None` for the database's.
pub fn tablespace(tuples: &mut dyn Tuples, oid: u32) -> Result<Option<String>, String> {
    if oid == 0 {
        return Ok(None);
    }
    let found: Option<Tablespace> = row(tuples, &[oid])?;
    Ok(found.map(|found| tuples.quoted(&found.spcname)))
}

/// The same for a relation with a known OID; `None` if it does not exist.
pub fn relation_name(tuples: &mut dyn Tuples, oid: u32) -> Result<Option<String>, String> {
    match relation(tuples, oid)? {
        Some(found) => qualified_relation(tuples, &found).map(Some),
        None => Ok(None),
    }
}

/// Its owner, quoted.
pub fn owner(tuples: &mut dyn Tuples, found: &Relation) -> Result<String, String> {
    Ok(tuples.role(found.relowner)?.unwrap_or_default())
}
