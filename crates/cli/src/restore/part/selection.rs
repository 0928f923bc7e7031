//! What the options of a part choose among names.

use std::collections::BTreeSet;

use super::options::Options;
use super::pattern::Pattern;
use super::wanted::Name;
use crate::error::Result;

/// The patterns of the command line.
#[derive(Debug, Clone)]
pub struct Selection {
    tables: Vec<Pattern>,
    schemas: Vec<Pattern>,
    not_tables: Vec<Pattern>,
    not_schemas: Vec<Pattern>,
    is_strict: bool,
    /// One relation alone, by its OID, and the same as text.
    oid: Option<(u32, String)>,
}

/// What they choose.
#[derive(Debug, Default)]
pub struct Matched<'a> {
    pub chosen: BTreeSet<u32>,
    /// A pattern that must match something, and does not.
    pub missing: Option<&'a str>,
    /// A name without its schema, and those that it means.
    pub ambiguous: Option<(&'a str, Vec<String>)>,
}

impl Selection {
    pub fn of_options(options: &Options) -> Result<Selection> {
        let relations = |texts: &[String]| -> Result<Vec<Pattern>> {
            texts
                .iter()
                .map(|text| Pattern::of_relation(text))
                .collect()
        };
        let schemas = |texts: &[String]| -> Result<Vec<Pattern>> {
            texts.iter().map(|text| Pattern::of_schema(text)).collect()
        };
        Ok(Selection {
            tables: relations(&options.table)?,
            schemas: schemas(&options.schema)?,
            not_tables: relations(&options.exclude_table)?,
            not_schemas: schemas(&options.exclude_schema)?,
            is_strict: options.strict_names,
            oid: None,
        })
    }

    /// The relation with this OID at the source.
    pub fn of_oid(oid: u32) -> Selection {
        Selection {
            tables: Vec::new(),
            schemas: Vec::new(),
            not_tables: Vec::new(),
            not_schemas: Vec::new(),
            is_strict: false,
            oid: Some((oid, format!("OID {oid}"))),
        }
    }

    /// Whether a relation is chosen, by its names.
    pub fn has(&self, name: &Name) -> bool {
        let is_match = |pattern: &Pattern| pattern.is_match(&name.schema, &name.name);
        let is_named = self.tables.iter().any(is_match);
        let is_out = self.not_tables.iter().any(is_match);
        !is_out && (is_named || self.has_schema(&name.schema)) && !self.is_out(&name.schema)
    }

    /// Whether a pattern without wildcards means a relation.
    pub fn names(&self, name: &Name) -> bool {
        let is_it =
            |pattern: &Pattern| pattern.is_one && pattern.is_match(&name.schema, &name.name);
        self.tables.iter().any(is_it) && self.has(name)
    }

    /// Whether a schema is chosen as a whole.
    pub fn has_schema(&self, schema: &[u8]) -> bool {
        let is_match = |pattern: &Pattern| pattern.is_match_of_schema(schema);
        let is_all = self.tables.is_empty() && self.schemas.is_empty();
        (is_all || self.schemas.iter().any(is_match)) && !self.is_out(schema)
    }

    /// Whether a partition is left out although its table is not.
    pub fn excludes(&self, name: &Name) -> bool {
        let is_match = |pattern: &Pattern| pattern.is_match(&name.schema, &name.name);
        self.not_tables.iter().any(is_match) || self.is_out(&name.schema)
    }

    fn is_out(&self, schema: &[u8]) -> bool {
        let is_match = |pattern: &Pattern| pattern.is_match_of_schema(schema);
        self.not_schemas.iter().any(is_match)
    }

    /// Chooses among relations, each with a number.
    pub fn of(&self, names: &[(u32, &Name)], schemas: &[&[u8]]) -> Matched<'_> {
        let mut matched = Matched::default();
        if let Some((oid, text)) = &self.oid {
            let is_there = names.iter().any(|(number, _)| number == oid);
            matched.chosen.extend(is_there.then_some(*oid));
            matched.missing = (!is_there).then_some(text);
            return matched;
        }
        let must = |pattern: &&Pattern| pattern.is_one || self.is_strict;
        let of_tables = self.tables.iter().map(|pattern| (pattern, true));
        let of_others = self.not_tables.iter().map(|pattern| (pattern, false));
        for (pattern, is_chosen) in of_tables.chain(of_others) {
            let of_pattern = |(_, name): &&(u32, &Name)| pattern.is_match(&name.schema, &name.name);
            let found: Vec<String> = names
                .iter()
                .filter(of_pattern)
                .map(|(_, name)| name.shown())
                .collect();
            if found.is_empty() && must(&pattern) {
                matched.missing.get_or_insert(&pattern.text);
            }
            if found.len() > 1 && is_chosen && pattern.is_one && !pattern.has_schema() {
                matched.ambiguous.get_or_insert((&pattern.text, found));
            }
        }
        for pattern in self.schemas.iter().chain(&self.not_schemas).filter(must) {
            if !schemas.iter().any(|name| pattern.is_match_of_schema(name)) {
                matched.missing.get_or_insert(&pattern.text);
            }
        }
        let chosen = names.iter().filter(|(_, name)| self.has(name));
        matched.chosen = chosen.map(|(number, _)| *number).collect();
        let has_schema = schemas.iter().any(|name| self.has_schema(name));
        if matched.chosen.is_empty() && !has_schema {
            let first = self.tables.iter().chain(&self.schemas).next();
            matched.missing = matched.missing.or(first.map(|pattern| &pattern.text[..]));
        }
        matched
    }

    /// Whether the pattern of this text matches a relation.
    pub fn is_match_of(&self, text: &str, name: &Name) -> bool {
        let mut all = self.tables.iter().chain(&self.not_tables);
        all.any(|pattern| pattern.text == text && pattern.is_match(&name.schema, &name.name))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        let (schema, name) = text.split_once('.').unwrap();
        Name {
            schema: schema.into(),
            name: name.into(),
        }
    }

    fn selection(table: &[&str], schema: &[&str], not_table: &[&str]) -> Selection {
        let all = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        let options = Options {
            table: all(table),
            schema: all(schema),
            exclude_table: all(not_table),
            ..Options::default()
        };
        Selection::of_options(&options).unwrap()
    }

    fn chosen(selection: &Selection) -> Vec<&'static str> {
        const ALL: [&str; 5] = ["a.orders", "a.items", "b.orders", "b.notes", "public.x"];
        let chosen = ALL.iter().filter(|text| selection.has(&name(text)));
        chosen.copied().collect()
    }

    #[test]
    fn tables_and_schemas_add_up_and_exclusions_count_last() {
        let of = |t: &[&str], s: &[&str], n: &[&str]| chosen(&selection(t, s, n));
        assert_eq!(of(&["a.orders"], &[], &[]), ["a.orders"]);
        assert_eq!(of(&["x"], &["b"], &[]), ["b.orders", "b.notes", "public.x"]);
        assert_eq!(of(&[], &["b"], &["*.notes"]), ["b.orders"]);
        assert_eq!(
            of(&[], &[], &["orders"]),
            ["a.items", "b.notes", "public.x"]
        );
    }

    #[test]
    fn a_name_must_match_and_mean_one() {
        let names = [name("a.orders"), name("b.orders")];
        let names = [(1, &names[0]), (2, &names[1])];
        let schemas: [&[u8]; 2] = [b"a", b"b"];
        let table = |text| selection(&[text], &[], &[]);
        let of = |s: &Selection| {
            let matched = s.of(&names, &schemas);
            (
                matched.missing.map(str::to_owned),
                matched.ambiguous.is_some(),
                matched.chosen.len(),
            )
        };
        assert_eq!(of(&table("a.orders")), (None, false, 1));
        assert_eq!(of(&table("orders")), (None, true, 2));
        assert_eq!(of(&table("order*")), (None, false, 2));
        assert_eq!(of(&table("nobody")), (Some("nobody".to_owned()), false, 0));
        assert_eq!(
            of(&table("nobody*")),
            (Some("nobody*".to_owned()), false, 0)
        );
        assert_eq!(of(&selection(&["a.*", "c*"], &[], &[])), (None, false, 1));
        assert_eq!(
            of(&selection(&["a.*"], &["c"], &[])),
            (Some("c".to_owned()), false, 1)
        );
    }
}
