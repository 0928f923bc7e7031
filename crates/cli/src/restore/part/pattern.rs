//! Patterns of names, as psql and pg_dump read them (patternToSQLRegex of PostgreSQL's fe_utils/string_utils.c).

use regex::bytes::{Regex, RegexBuilder};

use crate::error::{Error, Result};

/// A pattern of `name` or `schema.name`.
#[derive(Debug, Clone)]
pub struct Pattern {
    /// As it was given.
    pub text: String,
    schema: Option<Regex>,
    name: Regex,
    /// It has no wildcard: it means one object.
    pub is_one: bool,
}

/// What is a part of a regular expression outside of double quotes.
const SPECIAL: &str = "|+()[]{}^\\";
/// What a regular expression would read otherwise within them.
const ESCAPED: &str = "|*+?()[]{}.^$\\";

/// A pattern in pieces.
struct Pieces {
    expressions: Vec<String>,
    is_one: bool,
}

impl Pattern {
    /// Of a relation.
    pub fn of_relation(text: &str) -> Result<Pattern> {
        let Pieces {
            mut expressions,
            is_one,
        } = pieces(text)?;
        let name = expressions.pop().unwrap_or_default();
        let schema = expressions.pop();
        if !expressions.is_empty() {
            return Err(not_one(text, "it has too many dots"));
        }
        if name.is_empty() || schema.as_deref() == Some("") {
            return Err(not_one(text, "a name in it is empty"));
        }
        Ok(Pattern {
            text: text.to_owned(),
            schema: schema.map(|schema| compiled(text, &schema)).transpose()?,
            name: compiled(text, &name)?,
            is_one,
        })
    }

    /// Of a schema.
    pub fn of_schema(text: &str) -> Result<Pattern> {
        let pattern = Pattern::of_relation(text)?;
        if pattern.schema.is_some() {
            return Err(not_one(text, "a schema has no dot"));
        }
        Ok(pattern)
    }

    /// Whether it names the schema, too.
    pub fn has_schema(&self) -> bool {
        self.schema.is_some()
    }

    /// Whether a relation's names match.
    pub fn is_match(&self, schema: &[u8], name: &[u8]) -> bool {
        let is_schema = |pattern: &Regex| pattern.is_match(schema);
        self.schema.as_ref().is_none_or(is_schema) && self.name.is_match(name)
    }

    /// Whether a schema's name matches; for one of [`Pattern::of_schema`].
    pub fn is_match_of_schema(&self, schema: &[u8]) -> bool {
        self.name.is_match(schema)
    }
}

fn pieces(text: &str) -> Result<Pieces> {
    let mut expressions = vec![String::new()];
    let (mut is_quoted, mut is_one) = (false, true);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let last = expressions.last_mut().expect("there is always one");
        match c {
            '"' if is_quoted && chars.peek() == Some(&'"') => {
                chars.next();
                last.push('"');
            }
            '"' => is_quoted = !is_quoted,
            // Whether within quotes or not.
            '$' => last.push_str("\\$"),
            _ if is_quoted && ESCAPED.contains(c) => last.extend(['\\', c]),
            _ if is_quoted => last.push(c),
            '*' => {
                is_one = false;
                last.push_str("(?-u:.)*");
            }
            '?' => {
                is_one = false;
                // A character, or a byte of a name in another encoding than UTF-8.
                last.push_str("(?:.|(?-u:.))");
            }
            '.' => expressions.push(String::new()),
            // An array type's name.
            '[' if chars.peek() == Some(&']') => {
                chars.next();
                last.push_str("\\[\\]");
            }
            c => {
                is_one &= !SPECIAL.contains(c);
                last.extend(c.to_lowercase());
            }
        }
    }
    if is_quoted {
        return Err(not_one(text, "a double quote in it has no end"));
    }
    Ok(Pieces {
        expressions,
        is_one,
    })
}

fn compiled(text: &str, expression: &str) -> Result<Regex> {
    let whole = format!("^({expression})$");
    let built = RegexBuilder::new(&whole).dot_matches_new_line(true).build();
    built.map_err(|error| {
        let reason = error.to_string();
        let reason = reason.lines().last().unwrap_or_default();
        not_one(text, reason.trim_start_matches("error: "))
    })
}

fn not_one(text: &str, why: &str) -> Error {
    let shown = crate::quote::shown(text.as_bytes());
    let hint = "For example orders, sales.orders, 'sales.*', '\"Odd Name\"', 'order_(item|note)s'.";
    Error::wrong_use(
        format!("\"{shown}\" is not a pattern of names: {why}"),
        hint,
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn is_match(pattern: &str, schema: &str, name: &str) -> bool {
        let pattern = Pattern::of_relation(pattern).unwrap();
        pattern.is_match(schema.as_bytes(), name.as_bytes())
    }

    #[test]
    fn patterns_match_as_in_psql() {
        for (pattern, schema, name, expected) in [
            ("orders", "public", "orders", true),
            ("Orders", "public", "orders", true),
            ("Orders", "public", "Orders", false),
            ("\"Orders\"", "public", "Orders", true),
            ("orders", "public", "reorders", false),
            ("ord*", "public", "orders", true),
            ("order?", "public", "orders", true),
            ("\"ord*\"", "public", "orders", false),
            ("\"ord*\"", "public", "ord*", true),
            ("s.orders", "public", "orders", false),
            ("s*.orders", "sales", "orders", true),
            ("*.orders", "sales", "orders", true),
            ("\"a.b\"", "public", "a.b", true),
            ("\"a.b\"", "a", "b", false),
            ("\"a\"\"b\"", "public", "a\"b", true),
            ("\"a\nb\"", "public", "a\nb", true),
            ("a*", "public", "a\nb", true),
            ("order_(item|note)s", "public", "order_notes", true),
            ("t[0-9]", "public", "t7", true),
            ("a$b", "public", "a$b", true),
            ("a|b", "public", "b", true),
            ("\u{c4}rger", "public", "\u{e4}rger", true),
            ("\"\u{c4}\"?", "public", "\u{c4}\u{df}", true),
            ("x[]", "public", "x[]", true),
        ] {
            assert_eq!(
                is_match(pattern, schema, name),
                expected,
                "{pattern} {name}"
            );
        }
    }

    #[test]
    fn names_of_other_encodings_are_compared_as_bytes() {
        let pattern = Pattern::of_relation("*").unwrap();
        assert!(pattern.is_match(b"public", b"abc"));
        assert!(pattern.is_match(b"public", b"abc\xe4"));
        let pattern = Pattern::of_relation("abc").unwrap();
        assert!(!pattern.is_match(b"public", b"abc\xe4"));
    }

    #[test]
    fn one_object_is_meant_where_there_is_no_wildcard() {
        for (pattern, is_one) in [
            ("orders", true),
            ("s.\"a*b\"", true),
            ("a$b", true),
            ("x[]", true),
            ("ord*", false),
            ("ord?", false),
            ("a|b", false),
            ("[ab]", false),
        ] {
            let read = Pattern::of_relation(pattern).unwrap();
            assert_eq!(read.is_one, is_one, "{pattern}");
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for pattern in ["", "a.", ".a", "a.b.c", "\"a", "(a", "a.b.c.d"] {
            let error = Pattern::of_relation(pattern).unwrap_err();
            assert!(error.to_string().contains("is not a pattern"), "{pattern}");
        }
        assert!(Pattern::of_schema("a.b").is_err());
        assert!(Pattern::of_schema("a*").unwrap().is_match_of_schema(b"abc"));
    }
}
