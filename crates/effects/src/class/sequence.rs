//! Sequences: independent ones, those owned by a column (OWNED BY), and those of identity columns, with the
//! identity itself (`ALTER TABLE … ALTER COLUMN … ADD GENERATED`), whose options are theirs.
//!
//! The owner and the schema of a sequence owned by a column are its table's. A sequence's value is not in the
//! catalogs; it is captured separately.

use serde::Deserialize;
use serde_json::json;

use crate::common::Common;
use crate::key::{catalog, Key};
use crate::object::Object;
use crate::renames::give_name;
use crate::script::{same_rest, Script, Unhandled};
use crate::text::{literal, qualified};

/// `column` is the column that owns it.
pub const QUERY: &str = concat!(
    "SELECT r.oid, pg_catalog.row_to_json(r)::pg_catalog.text FROM (SELECT c.oid, \
     n.oid::pg_catalog.int8 AS namespace, pg_catalog.quote_ident(n.nspname) AS schema, pg_catalog.quote_ident(c.relname) AS name, \
     c.relpersistence = 'u' AS is_unlogged, \
     (SELECT pg_catalog.json_build_object('table', d.refobjid::pg_catalog.int8, 'number', d.refobjsubid, \
        'schema', pg_catalog.quote_ident(tn.nspname), 'table_name', pg_catalog.quote_ident(t.relname), \
        'name', pg_catalog.quote_ident(a.attname), 'type', pg_catalog.format_type(a.atttypid, NULL), 'is_unlogged', t.relpersistence = 'u', \
        'is_foreign', t.relkind = 'f', \
        'identity', CASE d.deptype WHEN 'i' THEN a.attidentity::pg_catalog.text END) \
      FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_class t ON t.oid = d.refobjid \
      JOIN pg_catalog.pg_namespace tn ON tn.oid = t.relnamespace \
      JOIN pg_catalog.pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid \
      WHERE d.classid = 1259 AND d.objid = c.oid AND d.objsubid = 0 AND d.refclassid = 1259 \
      AND d.refobjsubid > 0 AND d.deptype IN ('a', 'i') LIMIT 1) AS column, \
     pg_catalog.json_build_object('type', pg_catalog.format_type(s.seqtypid, NULL), 'start', s.seqstart, \
        'increment', s.seqincrement, 'max', s.seqmax, 'min', s.seqmin, 'cache', s.seqcache, 'cycle', s.seqcycle) AS options, ",
    crate::common_columns!("1259", "c.oid", "c.relowner", "c.relacl", "'s'"),
    ", (pg_catalog.to_jsonb(c) || pg_catalog.to_jsonb(s)) \
     - '{seqrelid,seqtypid,seqstart,seqincrement,seqmax,seqmin,seqcache,seqcycle,oid,relname,relnamespace,relowner,relacl,relfilenode,relpages,reltuples,relallvisible,relallfrozen,\
     relpersistence,relkind,relfrozenxid,relminmxid,relrewrite}'::pg_catalog.text[] AS rest \
     FROM pg_catalog.pg_class c JOIN pg_catalog.pg_sequence s ON s.seqrelid = c.oid \
     JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
     WHERE c.oid = ANY ($1) AND c.relkind = 'S' AND c.relpersistence <> 't') r"
);

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(from = "Row")]
pub struct Sequence {
    pub namespace: u32,
    pub schema: String,
    pub name: String,
    pub is_unlogged: bool,
    pub column: Option<Column>,
    pub options: Options,
    /// Without its owning table, unless it belongs to an identity: the table's default needs it.
    pub common: Common,
    pub rest: serde_json::Value,
}

/// The column that owns a sequence.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Column {
    pub table: u32,
    pub number: i32,
    pub schema: String,
    pub table_name: String,
    pub name: String,
    #[serde(rename = "type")]
    pub type_: String,
    /// Of the table.
    pub is_unlogged: bool,
    pub is_foreign: bool,
    /// The letter of pg_attribute.attidentity for an identity's sequence.
    pub identity: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Options {
    #[serde(rename = "type")]
    pub type_: String,
    pub start: i64,
    pub increment: i64,
    pub max: i64,
    pub min: i64,
    pub cache: i64,
    pub cycle: bool,
}

#[derive(Deserialize)]
struct Row {
    namespace: u32,
    schema: String,
    name: String,
    is_unlogged: bool,
    column: Option<Column>,
    options: Options,
    common: Common,
    rest: serde_json::Value,
}

impl From<Row> for Sequence {
    fn from(row: Row) -> Sequence {
        let mut common = row.common;
        if let (Some(column), Some(needs)) = (&row.column, &mut common.needs) {
            if column.identity.is_none() {
                needs.retain(|need| *need != column.table_key());
            }
        }
        Sequence {
            namespace: row.namespace,
            schema: row.schema,
            name: row.name,
            is_unlogged: row.is_unlogged,
            column: row.column,
            options: row.options,
            common,
            rest: row.rest,
        }
    }
}

impl Column {
    fn table_key(&self) -> Key {
        Key::new(catalog::CLASS, self.table)
    }

    /// Independent of their current names.
    fn is_same(&self, other: &Column) -> bool {
        (self.table, self.number) == (other.table, other.number)
    }

    /// `ALTER TABLE t ALTER COLUMN c`.
    fn alter(&self) -> String {
        let foreign = if self.is_foreign { "FOREIGN " } else { "" };
        let table = qualified(&self.schema, &self.table_name);
        format!("ALTER {foreign}TABLE {table} ALTER COLUMN {}", self.name)
    }
}

/// The words of pg_attribute.attidentity.
fn generated(identity: &str) -> Result<&'static str, Unhandled> {
    match identity {
        "a" => Ok("ALWAYS"),
        "d" => Ok("BY DEFAULT"),
        // Its column has been changed in the catalogs directly.
        _ => Err(Unhandled::new("sequence", "of a column without identity")),
    }
}

impl Options {
    /// All options of CREATE SEQUENCE, except the type, which a new identity has from its column.
    fn list(&self) -> String {
        format!(
            "START WITH {} INCREMENT BY {} MINVALUE {} MAXVALUE {} CACHE {} {}CYCLE",
            self.start,
            self.increment,
            self.min,
            self.max,
            self.cache,
            if self.cycle { "" } else { "NO " },
        )
    }

    /// The clauses for the differences of `to`. With a new type, bounds equal to those of the old one would
    /// change.
    fn changes(&self, to: &Options) -> Vec<String> {
        let mut clauses = Vec::new();
        let is_other_type = self.type_ != to.type_;
        if is_other_type {
            clauses.push(format!("AS {}", to.type_));
        }
        let mut number = |word: &str, from: i64, to: i64, is_said: bool| {
            if from != to || is_said {
                clauses.push(format!("{word} {to}"));
            }
        };
        number("START WITH", self.start, to.start, false);
        number("INCREMENT BY", self.increment, to.increment, false);
        number("MINVALUE", self.min, to.min, is_other_type);
        number("MAXVALUE", self.max, to.max, is_other_type);
        number("CACHE", self.cache, to.cache, false);
        if self.cycle != to.cycle {
            clauses.push(if to.cycle { "CYCLE" } else { "NO CYCLE" }.to_owned());
        }
        clauses
    }
}

impl Sequence {
    fn identity(&self) -> Option<(&Column, &str)> {
        let column = self.column.as_ref()?;
        Some((column, column.identity.as_deref()?))
    }

    fn is_of_same_column(&self, other: &Sequence) -> bool {
        match (&self.column, &other.column) {
            (Some(a), Some(b)) => a.is_same(b),
            (None, None) => true,
            _ => false,
        }
    }

    fn set_owner(&self, script: &mut Script) {
        if let Some(owner) = &self.common.owner {
            let sql = format!("ALTER SEQUENCE {} OWNER TO {owner}", self.target());
            script.push_with_roles("owner", sql, &[owner]);
        }
    }

    /// New bounds, where the value at replay may differ: values are captured separately, and one outside
    /// would make the statement fail.
    fn set_bounds_first(&self, to: &Sequence, clauses: &mut Vec<String>, script: &mut Script) {
        let (old, new) = (&self.options, &to.options);
        if new.min <= old.min && new.max >= old.max {
            return;
        }
        let (low, high) = (old.min.max(new.min), old.max.min(new.max));
        if low > high {
            clauses.push(format!("RESTART WITH {}", new.start));
            return;
        }
        let target = to.target();
        let value = format!("LEAST(GREATEST(last_value, {low}), {high})");
        script.push(
            "alter",
            format!(
                "SELECT pg_catalog.setval({}, {value}, is_called) FROM {target}",
                literal(&target)
            ),
        );
    }
}

impl Object for Sequence {
    fn common(&self) -> &Common {
        &self.common
    }

    fn kind(&self) -> &'static str {
        "SEQUENCE"
    }

    fn target(&self) -> String {
        qualified(&self.schema, &self.name)
    }

    fn occupies(&self) -> Option<String> {
        Some(format!("r {}", self.target()))
    }

    fn create(&self, script: &mut Script) -> Result<(), Unhandled> {
        let plain = json!({
            "relam": self.rest.get("relam"), "reltype": "0", "reloftype": "0", "relchecks": 0, "relnatts": 3,
            "reloptions": null, "relpartbound": null, "relhasindex": false, "relhasrules": false,
            "relisshared": false, "relreplident": "n", "reltablespace": "0", "reltoastrelid": "0",
            "relhassubclass": false, "relhastriggers": false, "relispartition": false,
            "relispopulated": true, "relrowsecurity": false, "relforcerowsecurity": false,
        });
        same_rest("sequence", &plain, &self.rest)?;
        if let Some((column, identity)) = self.identity() {
            let (target, list) = (self.target(), self.options.list());
            let has_type_of_column = column.type_ == self.options.type_;
            let options = if has_type_of_column {
                list.as_str()
            } else {
                ""
            };
            script.push(
                "create",
                format!(
                    "{} ADD GENERATED {} AS IDENTITY (SEQUENCE NAME {target} {options})",
                    column.alter(),
                    generated(identity)?,
                ),
            );
            // CREATE TABLE … LIKE INCLUDING IDENTITY creates one of bigint for any column.
            if !has_type_of_column {
                let type_ = &self.options.type_;
                let sql = format!("ALTER SEQUENCE {target} AS {type_} {list} RESTART");
                script.push("alter", sql);
            }
            return Ok(());
        }
        script.push(
            "create",
            format!(
                "CREATE {}SEQUENCE {} AS {} {}",
                if self.is_unlogged { "UNLOGGED " } else { "" },
                self.target(),
                self.options.type_,
                self.options.list()
            ),
        );
        if !self.has_owner_of_its_own() {
            self.set_owner(script);
        }
        Ok(())
    }

    fn rename(&self, to: &Self, script: &mut Script) -> Result<(), Unhandled> {
        give_name(self, &self.name, &to.name, script);
        let moves_with_table = self.column.is_some() && self.is_of_same_column(to);
        if self.namespace != to.namespace && !moves_with_table {
            let target = qualified(&self.schema, &to.name);
            script.push(
                "rename",
                format!("ALTER SEQUENCE {target} SET SCHEMA {}", to.schema),
            );
        }
        Ok(())
    }

    fn early(&self, after: Option<&Self>, script: &mut Script) -> Result<(), Unhandled> {
        let Some(column) = &self.column else {
            return Ok(());
        };
        if after.is_some_and(|after| self.is_of_same_column(after)) {
            return Ok(());
        }
        script.push(
            "alter",
            if column.identity.is_some() {
                format!("{} DROP IDENTITY", column.alter())
            } else {
                format!("ALTER SEQUENCE {} OWNED BY NONE", self.target())
            },
        );
        Ok(())
    }

    fn alter(&self, to: &Self, script: &mut Script) -> Result<(), Unhandled> {
        same_rest("sequence", &self.rest, &to.rest)?;
        match (self.identity(), to.identity()) {
            (None, None) => {}
            (Some((old, was)), Some((new, is))) if old.is_same(new) => {
                if was != is {
                    script.push(
                        "alter",
                        format!("{} SET GENERATED {}", new.alter(), generated(is)?),
                    );
                }
            }
            _ => {
                return Err(Unhandled::new(
                    "sequence",
                    "it was detached from an identity column, or attached to another one",
                ));
            }
        }
        if self.options != to.options {
            let mut clauses = self.options.changes(&to.options);
            self.set_bounds_first(to, &mut clauses, script);
            script.push(
                "alter",
                format!("ALTER SEQUENCE {} {}", to.target(), clauses.join(" ")),
            );
        }
        // It gets the owner of the table before it is owned by the column.
        if to.column.is_some()
            && !self.is_of_same_column(to)
            && self.common.owner != to.common.owner
        {
            to.set_owner(script);
        }
        Ok(())
    }

    fn remove(&self, script: &mut Script) {
        // Detached from its column early.
        if self.identity().is_none() {
            script.push("drop", format!("DROP SEQUENCE {}", self.target()));
        }
    }

    fn late(&self, before: Option<&Self>, script: &mut Script) -> Result<(), Unhandled> {
        // ALTER TABLE … SET UNLOGGED includes it; that of a new identity has its table's persistence.
        let was_unlogged = match (before, self.identity()) {
            (Some(before), _) => before.is_unlogged,
            (None, Some((column, _))) => column.is_unlogged,
            (None, None) => self.is_unlogged,
        };
        if was_unlogged != self.is_unlogged {
            let word = if self.is_unlogged {
                "UNLOGGED"
            } else {
                "LOGGED"
            };
            script.push(
                "alter",
                format!("ALTER SEQUENCE {} SET {word}", self.target()),
            );
        }
        let Some(column) = self.column.as_ref().filter(|c| c.identity.is_none()) else {
            return Ok(());
        };
        if !before.is_some_and(|before| before.is_of_same_column(self)) {
            let table = qualified(&column.schema, &column.table_name);
            script.push(
                "alter",
                format!(
                    "ALTER SEQUENCE {} OWNED BY {table}.{}",
                    self.target(),
                    column.name
                ),
            );
        }
        Ok(())
    }

    fn is_recreated_as(&self, to: &Self) -> bool {
        self.column.is_none() && to.identity().is_some()
    }

    fn late_needs(&self) -> Vec<Key> {
        self.column.iter().map(Column::table_key).collect()
    }

    fn dropped_with(&self) -> Vec<Key> {
        self.late_needs()
    }

    fn has_owner_of_its_own(&self) -> bool {
        self.column.is_none()
    }

    fn gets_default_privileges(&self) -> bool {
        true
    }
}
