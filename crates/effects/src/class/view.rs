//! Views.

use serde::Deserialize;

use super::view_column::{self, Column};
use crate::common::Common;
use crate::key::{catalog, Key};
use crate::object::Object;
use crate::options::{changes, with, Options};
use crate::script::{same_rest, Script, Unhandled};
use crate::text::qualified;

/// Common columns of views and materialized views, of the relation `c`. Without its rule (incomplete) it has
/// no definition. `tree` shows whether the query has changed, independent of renamed objects.
#[macro_export]
macro_rules! view_query {
    ($columns:expr, $known:literal, $kind:literal) => {
        concat!(
            "SELECT r.oid, pg_catalog.row_to_json(r)::pg_catalog.text FROM (SELECT c.oid, \
             c.relnamespace::pg_catalog.int8 AS namespace, pg_catalog.quote_ident(n.nspname) AS schema, \
             pg_catalog.quote_ident(c.relname) AS name, w.oid::pg_catalog.int8 AS rule, w.tree, \
             CASE WHEN w.oid IS NOT NULL THEN pg_catalog.pg_get_viewdef(c.oid) END AS definition, \
             ty.oid::pg_catalog.int8 AS row_type, ty.typarray::pg_catalog.int8 AS array_type, \
             (SELECT pg_catalog.json_agg(d.oid::pg_catalog.int8) FROM pg_catalog.pg_attrdef d WHERE d.adrelid = c.oid) AS defaults, ",
            $crate::options!("c.reloptions"), " AS options, ",
            $crate::view_columns!(), " AS columns, ", $columns,
            $crate::common_columns!("1259", "c.oid", "c.relowner", "c.relacl", "'r'", $crate::needs_of_parts!(
                "SELECT 1259::pg_catalog.oid, c.oid \
                 UNION ALL SELECT 2618, v.oid FROM pg_catalog.pg_rewrite v WHERE v.ev_class = c.oid AND v.rulename = '_RETURN' \
                 UNION ALL SELECT 2604, d.oid FROM pg_catalog.pg_attrdef d WHERE d.adrelid = c.oid")),
            ", ", $crate::rest!("c", concat!("oid,relname,relnamespace,relkind,reltype,relowner,relacl,reloptions,\
             relnatts,relhasrules,relhastriggers,relhassubclass,relhasindex,relfilenode,relpages,reltuples,relallvisible,\
             relallfrozen,reltoastrelid,relfrozenxid,relminmxid", $known)), " AS rest \
             FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
             LEFT JOIN pg_catalog.pg_type ty ON ty.oid = c.reltype \
             LEFT JOIN (SELECT w.oid, w.ev_class, pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(\
             w.ev_action::pg_catalog.text, pg_catalog.getdatabaseencoding())), 'hex') AS tree \
             FROM pg_catalog.pg_rewrite w WHERE w.rulename = '_RETURN') w ON w.ev_class = c.oid \
             WHERE c.oid = ANY ($1) AND c.relkind = '", $kind, "' AND c.relpersistence <> 't' AND c.relrewrite = 0 \
             AND n.nspname !~ '^pg_(toast|temp|toast_temp)(_|$)') r"
        )
    };
}

pub const QUERY: &str = crate::view_query!("", "", "v");

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct View {
    /// The OID of its schema.
    pub namespace: u32,
    pub schema: String,
    pub name: String,
    /// The OID of its rule; `None` if it is incomplete.
    pub rule: Option<u32>,
    pub tree: Option<String>,
    pub definition: Option<String>,
    pub row_type: Option<u32>,
    pub array_type: Option<u32>,
    /// OIDs in pg_attrdef.
    pub defaults: Option<Vec<u32>>,
    pub options: Options,
    pub columns: Option<Vec<Column>>,
    pub common: Common,
    pub rest: serde_json::Value,
}

impl View {
    pub fn columns(&self) -> &[Column] {
        self.columns.as_deref().unwrap_or_default()
    }

    /// The query, without a semicolon.
    pub fn definition(&self, class: &str) -> Result<&str, Unhandled> {
        let definition = self.definition.as_deref().map(str::trim);
        definition
            .map(|text| text.strip_suffix(';').unwrap_or(text))
            .ok_or_else(|| Unhandled::new(class, "has no query yet"))
    }

    /// Other keys of it: its rule, its row type, the array type of that, defaults.
    pub fn other_keys(&self) -> Vec<Key> {
        let rule = self.rule.map(|oid| Key::new(catalog::REWRITE, oid));
        let types = [self.row_type, self.array_type].into_iter().flatten();
        let defaults = self.defaults.iter().flatten();
        rule.into_iter()
            .chain(
                types
                    .filter(|oid| *oid != 0)
                    .map(|oid| Key::new(catalog::TYPE, oid)),
            )
            .chain(defaults.map(|oid| Key::new(catalog::ATTRDEF, *oid)))
            .collect()
    }

    pub fn move_to(&self, to: &View, kind: &str, script: &mut Script) {
        if self.name != to.name {
            let from = qualified(&self.schema, &self.name);
            script.push(
                "rename",
                format!("ALTER {kind} {from} RENAME TO {}", to.name),
            );
        }
        // A renamed schema is the same schema.
        if self.namespace != to.namespace {
            let from = qualified(&self.schema, &to.name);
            script.push(
                "rename",
                format!("ALTER {kind} {from} SET SCHEMA {}", to.schema),
            );
        }
    }

    pub fn grant_columns(&self, before: Option<&View>, script: &mut Script) {
        let before = before.map(View::owned);
        view_column::grant(before, self.owned(), &self.target(), script);
    }

    fn owned(&self) -> view_column::Owned<'_> {
        let owner = self.common.owner.as_deref().unwrap_or_default();
        (self.columns(), owner)
    }

    fn say_create(&self, word: &str) -> Result<String, Unhandled> {
        Ok(format!(
            "{word} VIEW {}{} AS\n {}",
            self.target(),
            with(self.options.as_deref().unwrap_or_default()),
            self.definition("view")?
        ))
    }
}

impl Object for View {
    fn common(&self) -> &Common {
        &self.common
    }

    fn kind(&self) -> &'static str {
        "VIEW"
    }

    fn target(&self) -> String {
        qualified(&self.schema, &self.name)
    }

    fn occupies(&self) -> Option<String> {
        Some(format!("r {}", self.target()))
    }

    fn create(&self, script: &mut Script) -> Result<(), Unhandled> {
        let plain = serde_json::json!({
            "relpersistence": "p", "relreplident": "n", "relispopulated": true
        });
        same_rest("view", &plain, &self.rest)?;
        script.push("create", self.say_create("CREATE")?);
        for column in self.columns() {
            column.ensure_plain("view")?;
            column.set_default(None, &self.target(), script);
            column.describe(None, &self.target(), script);
        }
        Ok(())
    }

    fn rename(&self, to: &Self, script: &mut Script) -> Result<(), Unhandled> {
        self.move_to(to, "VIEW", script);
        Ok(())
    }

    fn alter(&self, to: &Self, script: &mut Script) -> Result<(), Unhandled> {
        same_rest("view", &self.rest, &to.rest)?;
        let (old, new) = (self.columns(), to.columns());
        let is_kept =
            |(old, new): (&Column, &Column)| old.data_type == new.data_type && old.rest == new.rest;
        if old.len() > new.len() || !old.iter().zip(new).all(is_kept) {
            return Err(Unhandled::new("view", "other columns"));
        }
        let is_replaced = self.tree != to.tree;
        if old.len() < new.len() && !is_replaced {
            return Err(Unhandled::new(
                "view",
                "columns were added without a change of the query",
            ));
        }
        let target = to.target();
        view_column::rename("VIEW", &target, old, new, script);
        if is_replaced {
            // CREATE OR REPLACE sets all options.
            script.push("replace", to.say_create("CREATE OR REPLACE")?);
        } else {
            let [old, new] = [self, to].map(|view| view.options.as_deref().unwrap_or_default());
            for clause in changes(old, new) {
                script.push("alter", format!("ALTER VIEW {target} {clause}"));
            }
        }
        for (position, column) in new.iter().enumerate() {
            let before = old.get(position);
            column.ensure_plain("view")?;
            column.set_default(before, &target, script);
            column.describe(before, &target, script);
        }
        Ok(())
    }

    fn finish_parts(&self, before: Option<&Self>, script: &mut Script) {
        self.grant_columns(before, script);
    }

    fn aliases(&self) -> Vec<Key> {
        self.other_keys()
    }

    fn grant_kind(&self) -> &'static str {
        "TABLE"
    }

    fn gets_default_privileges(&self) -> bool {
        true
    }
}
