//! Text search dictionaries.

use serde::Deserialize;

use crate::common::Common;
use crate::object::Object;
use crate::renames::named_in_schema;
use crate::script::{no_rest, same_identity, same_rest, Script, Unhandled};

pub const QUERY: &str = concat!(
    "SELECT r.oid, pg_catalog.row_to_json(r)::pg_catalog.text FROM (SELECT d.oid, \
     pg_catalog.quote_ident(n.nspname) AS schema, pg_catalog.quote_ident(d.dictname) AS name, ",
    crate::name_in_schema!("pg_ts_template", "tmplname", "tmplnamespace", "d.dicttemplate"),
    " AS template, d.dictinitoption AS options, ",
    crate::common_columns!("3600", "d.oid", "d.dictowner", "NULL::pg_catalog.aclitem[]", "NULL"),
    ", pg_catalog.to_jsonb(d) - '{oid,dictname,dictnamespace,dictowner,dicttemplate,dictinitoption}'::pg_catalog.text[] AS rest, \
     d.dicttemplate::pg_catalog.int8 AS identity \
     FROM pg_catalog.pg_ts_dict d JOIN pg_catalog.pg_namespace n ON n.oid = d.dictnamespace \
     WHERE d.oid = ANY ($1) AND n.nspname !~ '^pg_temp_') r"
);

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Dictionary {
    pub schema: String,
    pub name: String,
    pub template: Option<String>,
    /// As in the catalog, which has the format of CREATE (serialize_deflist of tsearchcmds.c).
    pub options: Option<String>,
    pub common: Common,
    pub rest: serde_json::Value,
    /// The template's OID, which no command changes.
    pub identity: serde_json::Value,
}

const CLASS: &str = "text search dictionary";

/// The catalog's text in pieces: names, and values as they are written. `None` if it does not have that
/// format.
fn split(text: &str) -> Option<Vec<(&str, &str)>> {
    let mut options = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let name = word(rest, |c| c == ' ')?;
        let value_on = rest[name..].strip_prefix(" = ")?;
        let value = word(value_on, |c| c == ',')?;
        options.push((&rest[..name], &value_on[..value]));
        let behind = &value_on[value..];
        rest = match behind.strip_prefix(", ") {
            Some(next) => next,
            None if behind.is_empty() => "",
            None => return None,
        };
    }
    Some(options)
}

/// The end of a quoted text, or of the text before `ends`.
fn word(text: &str, ends: impl Fn(char) -> bool) -> Option<usize> {
    let is_escaped = text.starts_with('E');
    let start = if text.starts_with("E'") { 1 } else { 0 };
    let quote = match text[start..].chars().next()? {
        quote @ ('\'' | '"') => quote,
        _ => return Some(text.find(ends).unwrap_or(text.len())),
    };
    let mut chars = text[start..].char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        if c == '\\' && is_escaped {
            chars.next();
        } else if c == quote {
            match chars.peek() {
                Some((_, next)) if *next == quote => {
                    chars.next();
                }
                _ => return Some(start + at + 1),
            }
        }
    }
    None
}

/// The options of ALTER: one without a value is removed, one with a value moves to the end.
fn changes(before: &[(&str, &str)], after: &[(&str, &str)]) -> Vec<String> {
    let gone = |(name, _): &&(&str, &str)| !after.iter().any(|(other, _)| other == name);
    let mut list: Vec<String> = before.iter().filter(gone).map(|o| o.0.to_owned()).collect();
    let set = |option: &(&str, &str)| format!("{} = {}", option.0, option.1);
    let kept: Vec<_> = before
        .iter()
        .filter(|option| after.contains(option))
        .collect();
    let is_end = after.iter().zip(&kept).all(|(a, b)| a == *b);
    // Their order is the catalog's.
    let kept = if is_end { kept.len() } else { 0 };
    list.extend(after[kept..].iter().map(set));
    list
}

impl Object for Dictionary {
    named_in_schema!("TEXT SEARCH DICTIONARY", "text search dictionary");

    fn create(&self, script: &mut Script) -> Result<(), Unhandled> {
        no_rest(CLASS, &self.rest)?;
        let Some(template) = &self.template else {
            return Err(Unhandled::new(CLASS, "its template does not exist"));
        };
        let options = self.options.iter().map(|text| format!(", {text}"));
        let options: String = options.collect();
        let sql = format!(
            "CREATE {} {} (TEMPLATE = {template}{options})",
            self.kind(),
            self.target()
        );
        script.push("create", sql);
        Ok(())
    }

    fn alter(&self, to: &Self, script: &mut Script) -> Result<(), Unhandled> {
        same_rest(CLASS, &self.rest, &to.rest)?;
        same_identity(CLASS, &self.identity, &to.identity, "another template")?;
        if self.options != to.options {
            let read = |text: &'_ Option<String>| text.clone().unwrap_or_default();
            let (before, after) = (read(&self.options), read(&to.options));
            let lists = split(&before).zip(split(&after));
            let (before, after) = lists.ok_or_else(|| Unhandled::new(CLASS, "its options"))?;
            let list = changes(&before, &after).join(", ");
            script.push(
                "alter",
                format!("ALTER {} {} ({list})", to.kind(), to.target()),
            );
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn options_are_split_where_they_end() {
        let text = "language = 'it''s, = ', \"Odd = \"\"o\" = E'a\\\\'', b', n = 5, e = ''";
        let all = split(text).unwrap();
        assert_eq!(
            all,
            [
                ("language", "'it''s, = '"),
                ("\"Odd = \"\"o\"", "E'a\\\\'', b'"),
                ("n", "5"),
                ("e", "''")
            ]
        );
        assert_eq!(split("").unwrap(), []);
        assert_eq!(split("a 'x'"), None);
        assert_eq!(split("a = 'x"), None);
    }

    #[test]
    fn a_changed_option_goes_to_the_end() {
        let before = [("a", "1"), ("b", "2"), ("c", "3")];
        assert_eq!(
            changes(&before, &[("a", "1"), ("c", "3"), ("b", "0")]),
            ["b = 0"]
        );
        assert_eq!(
            changes(&before, &[("c", "3"), ("d", "4")]),
            ["a", "b", "d = 4"]
        );
        // Set to the same value.
        assert_eq!(
            changes(&before, &[("b", "2"), ("c", "3"), ("a", "1")]),
            ["b = 2", "c = 3", "a = 1"]
        );
        assert_eq!(changes(&before, &[]), ["a", "b", "c"]);
    }
}
