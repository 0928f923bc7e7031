//! The columns of views and materialized views, which are determined by the query, and their properties.

use serde::Deserialize;

use crate::acl::{Acl, Grant};
use crate::common::{comment_on, labels};
use crate::options::{changes, Options};
use crate::renames::in_order;
use crate::script::{same_rest, Script, Unhandled};

/// An array of [`Column`]s of the relation `c`. Empty values are omitted from `rest`, so that new columns of
/// pg_attribute in a later version are ignored while they are empty.
#[macro_export]
macro_rules! view_columns {
    () => {
        concat!(
            "(SELECT pg_catalog.json_agg(pg_catalog.json_build_object(\
             'name', pg_catalog.quote_ident(a.attname), \
             'type', pg_catalog.concat_ws(' ', a.atttypid::pg_catalog.int8, a.atttypmod, a.attcollation::pg_catalog.int8), \
             'default', (SELECT pg_catalog.pg_get_expr(d.adbin, d.adrelid) FROM pg_catalog.pg_attrdef d \
                WHERE d.adrelid = a.attrelid AND d.adnum = a.attnum), \
             'acl', ", $crate::grants!("a.attacl"), ", \
             'comment', (SELECT x.description FROM pg_catalog.pg_description x \
                WHERE x.objoid = a.attrelid AND x.classoid = 1259 AND x.objsubid = a.attnum), \
             'labels', (SELECT pg_catalog.json_agg(pg_catalog.json_build_array(x.provider, x.label) ORDER BY x.provider) \
                FROM pg_catalog.pg_seclabel x WHERE x.objoid = a.attrelid AND x.classoid = 1259 AND x.objsubid = a.attnum), \
             'storage', CASE a.attstorage WHEN 'p' THEN 'PLAIN' WHEN 'e' THEN 'EXTERNAL' WHEN 'm' THEN 'MAIN' ELSE 'EXTENDED' END, \
             'is_usual_storage', a.attstorage = t.typstorage, \
             'compression', CASE a.attcompression WHEN 'p' THEN 'pglz' WHEN 'l' THEN 'lz4' END, \
             'statistics', NULLIF((pg_catalog.to_jsonb(a) ->> 'attstattarget')::pg_catalog.int4, -1), \
             'options', ", $crate::column_options!(), ", \
             'rest', ", $crate::rest!("a", "attrelid,attname,atttypid,atttypmod,attcollation,attacl,attlen,attnum,\
             attndims,attbyval,attalign,attstorage,attcompression,attstattarget,attoptions,atthasdef,attcacheoff"), "\
             ) ORDER BY a.attnum) FROM pg_catalog.pg_attribute a LEFT JOIN pg_catalog.pg_type t ON t.oid = a.atttypid \
             WHERE a.attrelid = c.oid AND a.attnum > 0)"
        )
    };
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Column {
    /// Quoted.
    pub name: String,
    /// OIDs of type and collation, and the modifier: CREATE OR REPLACE VIEW cannot change them.
    #[serde(rename = "type")]
    pub data_type: String,
    pub default: Option<String>,
    pub acl: Option<Vec<Grant>>,
    pub comment: Option<String>,
    pub labels: Option<Vec<(String, String)>>,
    pub storage: String,
    /// Whether it is that of the type.
    pub is_usual_storage: bool,
    pub compression: Option<String>,
    pub statistics: Option<i32>,
    pub options: Options,
    pub rest: serde_json::Value,
}

impl Column {
    pub fn ensure_plain(&self, class: &str) -> Result<(), Unhandled> {
        same_rest(
            class,
            &serde_json::json!({ "attislocal": true }),
            &self.rest,
        )
    }

    /// Comment and labels; `relation` is qualified.
    pub fn describe(&self, before: Option<&Column>, relation: &str, script: &mut Script) {
        let what = format!("COLUMN {relation}.{}", self.name);
        if before.and_then(|before| before.comment.as_ref()) != self.comment.as_ref() {
            script.push("comment", comment_on(&what, self.comment.as_deref()));
        }
        labels(
            before.and_then(|before| before.labels.as_deref()),
            self.labels.as_deref(),
            &what,
            script,
        );
    }

    /// Its default, which an INSERT into the view uses.
    pub fn set_default(&self, before: Option<&Column>, relation: &str, script: &mut Script) {
        if before.and_then(|before| before.default.as_ref()) == self.default.as_ref() {
            return;
        }
        let what = format!("ALTER VIEW {relation} ALTER COLUMN {}", self.name);
        match &self.default {
            Some(default) => script.push("alter", format!("{what} SET DEFAULT {default}")),
            None => script.push("alter", format!("{what} DROP DEFAULT")),
        }
    }

    /// If a materialized view's column differs from its type and its query.
    pub fn set_storage(&self, before: Option<&Column>, relation: &str, script: &mut Script) {
        let what = format!(
            "ALTER MATERIALIZED VIEW {relation} ALTER COLUMN {}",
            self.name
        );
        let is_other_storage = match before {
            Some(before) => before.storage != self.storage,
            None => !self.is_usual_storage,
        };
        if is_other_storage {
            script.push("alter", format!("{what} SET STORAGE {}", self.storage));
        }
        if before.and_then(|before| before.compression.as_ref()) != self.compression.as_ref() {
            let method = self.compression.as_deref().unwrap_or("default");
            script.push("alter", format!("{what} SET COMPRESSION {method}"));
        }
        if before.and_then(|before| before.statistics) != self.statistics {
            let target = self.statistics.unwrap_or(-1);
            script.push("alter", format!("{what} SET STATISTICS {target}"));
        }
        let old = before.and_then(|before| before.options.as_deref());
        let new = self.options.as_deref().unwrap_or_default();
        for clause in changes(old.unwrap_or_default(), new) {
            script.push("alter", format!("{what} {clause}"));
        }
    }
}

/// Columns in both states get their new names, using an intermediate name if names are exchanged.
pub fn rename(
    kind: &str,
    relation: &str,
    before: &[Column],
    after: &[Column],
    script: &mut Script,
) {
    let pairs = before.iter().zip(after);
    let pairs = pairs.map(|(old, new)| (old.name.clone(), new.name.clone()));
    let has = |name: &str| before.iter().chain(after).any(|column| column.name == name);
    let between = |_: &str| {
        let mut names = (0..).map(|number| format!("column_{number}"));
        names.find(|name| !has(name)).unwrap_or_default()
    };
    for (old, new) in in_order(pairs.collect(), between) {
        let sql = format!("ALTER {kind} {relation} RENAME COLUMN {old} TO {new}");
        script.push("rename", sql);
    }
}

/// Columns, and their view's owner.
pub type Owned<'a> = (&'a [Column], &'a str);

/// The privileges of columns, after those of the whole view ([`crate::Object::finish_parts`]).
pub fn grant(before: Option<Owned<'_>>, after: Owned<'_>, relation: &str, script: &mut Script) {
    let on = format!("TABLE {relation}");
    let (columns, owner) = after;
    for (position, column) in columns.iter().enumerate() {
        let old = before.and_then(|(old, from)| Some((old.get(position)?.acl.as_deref()?, from)));
        let was = old.map_or_else(Vec::new, |(acl, from)| Acl(acl).with_owner(from, owner));
        let now = Acl(column.acl.as_deref().unwrap_or_default());
        Acl(&was).become_of_column(now, &column.name, &on, script);
    }
}
