//! Enum types. A label is identified by the OID of its pg_enum row, so that a renamed one is recognized.

use serde::Deserialize;
use serde_json::json;

use crate::common::Common;
use crate::key::{catalog, Key};
use crate::object::Object;
use crate::plain::ensure_plain;
use crate::renames::{self, named_in_schema};
use crate::script::{same_rest, Script, Unhandled};
use crate::text::literal;

pub const QUERY: &str = concat!(
    "SELECT r.oid, pg_catalog.row_to_json(r)::pg_catalog.text FROM (SELECT t.oid, \
     pg_catalog.quote_ident(n.nspname) AS schema, pg_catalog.quote_ident(t.typname) AS name, \
     t.typarray::pg_catalog.int8 AS array_type, \
     (SELECT pg_catalog.json_agg(pg_catalog.json_build_object('oid', e.oid::pg_catalog.int8, 'text', e.enumlabel) \
        ORDER BY e.enumsortorder) FROM pg_catalog.pg_enum e WHERE e.enumtypid = t.oid) AS labels, ",
    crate::common_columns!("1247", "t.oid", "t.typowner", "t.typacl", "'T'"),
    ", pg_catalog.to_jsonb(t) - '{oid,typname,typnamespace,typowner,typacl,typarray}'::pg_catalog.text[] AS rest \
     FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace \
     WHERE t.oid = ANY ($1) AND n.nspname !~ '^pg_temp_') r"
);

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Enum {
    pub schema: String,
    pub name: String,
    pub array_type: u32,
    /// In sort order; empty if the type has no labels.
    pub labels: Option<Vec<Label>>,
    pub common: Common,
    pub rest: serde_json::Value,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Label {
    pub oid: u32,
    pub text: String,
}

impl Enum {
    fn labels(&self) -> &[Label] {
        self.labels.as_deref().unwrap_or_default()
    }

    /// Labels that exist before and after have the same order, and none was removed: otherwise somebody has
    /// updated the catalog directly.
    fn ensure_kept(&self, to: &Self) -> Result<(), Unhandled> {
        let kept = to
            .labels()
            .iter()
            .map(|label| label.oid)
            .filter(|oid| self.labels().iter().any(|label| label.oid == *oid));
        if kept.eq(self.labels().iter().map(|label| label.oid)) {
            return Ok(());
        }
        Err(Unhandled::new("enum", "labels were removed or reordered"))
    }

    fn rename_labels(&self, to: &Self, script: &mut Script) {
        let new_text = |label: &Label| {
            let new = to.labels().iter().find(|new| new.oid == label.oid);
            new.map(|new| (label.text.clone(), new.text.clone()))
        };
        let pairs = self.labels().iter().filter_map(new_text).collect();
        // A label has at most 63 bytes.
        let between = |_: &str| {
            let has = |text: &String| {
                let all = self.labels().iter().chain(to.labels());
                all.into_iter().any(|label| label.text == *text)
            };
            (0u32..)
                .map(|number| format!("label {number}"))
                .find(|text| !has(text))
                .unwrap_or_default()
        };
        for (old, new) in renames::in_order(pairs, between) {
            let (old, new) = (literal(&old), literal(&new));
            script.push(
                "alter",
                format!("ALTER TYPE {} RENAME VALUE {old} TO {new}", to.target()),
            );
        }
    }

    fn add_labels(&self, to: &Self, script: &mut Script) {
        let is_old = |label: &&Label| self.labels().iter().any(|old| old.oid == label.oid);
        let mut previous: Option<&Label> = None;
        for label in to.labels() {
            if !is_old(&label) {
                let place = match (previous, to.labels().iter().find(is_old)) {
                    (Some(previous), _) => format!(" AFTER {}", literal(&previous.text)),
                    (None, Some(first)) => format!(" BEFORE {}", literal(&first.text)),
                    (None, None) => String::new(),
                };
                let (target, text) = (to.target(), literal(&label.text));
                script.push(
                    "alter",
                    format!("ALTER TYPE {target} ADD VALUE {text}{place}"),
                );
            }
            previous = Some(label);
        }
    }
}

impl Object for Enum {
    named_in_schema!("TYPE", "r");

    fn create(&self, script: &mut Script) -> Result<(), Unhandled> {
        let usual = [
            ("typlen", json!(4)),
            ("typbyval", json!(true)),
            ("typtype", json!("e")),
            ("typcategory", json!("E")),
            ("typisdefined", json!(true)),
            ("typdelim", json!(",")),
            ("typinput", json!("enum_in")),
            ("typoutput", json!("enum_out")),
            ("typreceive", json!("enum_recv")),
            ("typsend", json!("enum_send")),
            ("typalign", json!("i")),
            ("typstorage", json!("p")),
            ("typtypmod", json!(-1)),
        ];
        ensure_plain("enum", &self.rest, &usual)?;
        let labels: Vec<String> = self
            .labels()
            .iter()
            .map(|label| literal(&label.text))
            .collect();
        let labels = labels.join(", ");
        script.push(
            "create",
            format!("CREATE TYPE {} AS ENUM ({labels})", self.target()),
        );
        Ok(())
    }

    fn alter(&self, to: &Self, script: &mut Script) -> Result<(), Unhandled> {
        same_rest("enum", &self.rest, &to.rest)?;
        self.ensure_kept(to)?;
        self.rename_labels(to, script);
        self.add_labels(to, script);
        Ok(())
    }

    fn aliases(&self) -> Vec<Key> {
        vec![Key::new(catalog::TYPE, self.array_type)]
    }

    fn gets_default_privileges(&self) -> bool {
        true
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn labelled(labels: &[(u32, &str)]) -> Enum {
        let label = |(oid, text): &(u32, &str)| json!({"oid": oid, "text": text});
        let labels: Vec<_> = labels.iter().map(label).collect();
        serde_json::from_value(json!({
            "schema": "s", "name": "e", "array_type": 1, "labels": labels, "common": {}, "rest": {}
        }))
        .unwrap()
    }

    fn altered(from: &[(u32, &str)], to: &[(u32, &str)]) -> Result<Vec<String>, Unhandled> {
        let mut script = Script::default();
        labelled(from).alter(&labelled(to), &mut script)?;
        let tail = |sql: &str| sql.replace("ALTER TYPE s.e ", "");
        Ok(script.statements.iter().map(|s| tail(&s.sql)).collect())
    }

    #[test]
    fn labels_are_renamed_then_added_where_they_belong() {
        let from = [(1, "a"), (2, "b")];
        let to = [(5, "x"), (6, "y"), (1, "c"), (7, "a"), (2, "b"), (8, "z")];
        let sql = altered(&from, &to).unwrap();
        assert_eq!(
            sql,
            [
                "RENAME VALUE 'a' TO 'c'",
                "ADD VALUE 'x' BEFORE 'c'",
                "ADD VALUE 'y' AFTER 'x'",
                "ADD VALUE 'a' AFTER 'c'",
                "ADD VALUE 'z' AFTER 'b'"
            ]
        );
        assert_eq!(altered(&[], &[(1, "a")]).unwrap(), ["ADD VALUE 'a'"]);
    }

    #[test]
    fn a_label_that_is_gone_or_moved_is_not_understood() {
        assert!(altered(&[(1, "a"), (2, "b")], &[(2, "b")]).is_err());
        assert!(altered(&[(1, "a"), (2, "b")], &[(2, "b"), (1, "a")]).is_err());
    }
}
