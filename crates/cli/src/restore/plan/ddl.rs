//! A schema change by its structure: `DROP TABLE public.orders`.

use archive::segment::Effect;
use archive_query::history::statement::truncated;

use crate::error::{Error, Result};

/// Verbs of effects that are not an `ALTER` of something.
const OTHER_VERBS: [&str; 3] = ["create", "drop", "refresh"];

/// What is looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ddl {
    /// In lower case: `drop`, `create`, `alter` for any other change, `truncate`.
    verb: String,
    /// In lower case, as in effects: `table`, `materialized view`; empty for `truncate`.
    class: String,
    /// As in effects, or without its schema.
    identity: String,
}

impl Ddl {
    /// Parses `VERB CLASS NAME`, or `TRUNCATE [TABLE] NAME`.
    pub fn parse(text: &str) -> Result<Ddl> {
        let is_noise = |word: &str| {
            let noise = [
                "if",
                "not",
                "exists",
                "concurrently",
                "cascade",
                "restrict",
                "only",
            ];
            noise.contains(&word.to_lowercase().as_str())
        };
        let words = text.trim().trim_end_matches(';').split_whitespace();
        let words: Vec<&str> = words.filter(|word| !is_noise(word)).collect();
        let (verb, rest) = match words.split_first() {
            Some((verb, rest)) => (verb.to_lowercase(), rest),
            None => return Err(not_one(text)),
        };
        // A class is words without quotes, dots and brackets; a name may have blanks within its quotes.
        let is_of_class = |word: &&&str| {
            word.chars().all(|c| c.is_ascii_alphabetic() || c == '-') && !word.is_empty()
        };
        let mut count = rest.iter().take_while(is_of_class).count();
        count = count.min(rest.len().saturating_sub(1));
        let class = rest[..count].join(" ").to_lowercase();
        let identity = folded(&rest[count..].join(" "));
        let is_truncate = verb == "truncate";
        let is_known = matches!(verb.as_str(), "drop" | "create" | "alter" | "truncate");
        if !is_known || identity.is_empty() || (class.is_empty() && !is_truncate) {
            return Err(not_one(text));
        }
        Ok(Ddl {
            class: if is_truncate { String::new() } else { class },
            verb,
            identity,
        })
    }

    /// Whether an effect is one.
    pub fn is(&self, effect: &Effect) -> bool {
        let verb = match self.verb.as_str() {
            "alter" => !OTHER_VERBS.contains(&effect.verb.as_str()),
            verb => effect.verb == verb,
        };
        verb && effect.class == self.class && self.names(&effect.identity)
    }

    /// Whether an effect makes the object that is to be altered: what is done to it in the same transaction is a part of
    /// that.
    pub fn is_of_new(&self, effect: &Effect) -> bool {
        let is_made = effect.verb == "create" && effect.class == self.class;
        self.verb == "alter" && is_made && self.names(&effect.identity)
    }

    /// Whether a line truncates the table.
    pub fn is_truncate_in(&self, line: &[u8]) -> bool {
        self.verb == "truncate"
            && truncated(line).is_some_and(|tables| tables.iter().any(|table| self.names(table)))
    }

    fn names(&self, identity: &[u8]) -> bool {
        let wanted = self.identity.as_bytes();
        identity == wanted
            || identity
                .strip_suffix(wanted)
                .is_some_and(|schema| schema.ends_with(b"."))
    }

    /// As it was given.
    pub fn words(&self) -> String {
        let class = if self.class.is_empty() {
            "table"
        } else {
            &self.class
        };
        format!("{} {} {}", self.verb, class, self.identity)
    }
}

/// A name as PostgreSQL reads it: in lower case where it is not quoted.
fn folded(name: &str) -> String {
    let parts = name.split('"').enumerate();
    let folded: Vec<String> = parts
        .map(|(nth, part)| match nth % 2 {
            0 => part.to_lowercase(),
            _ => part.to_owned(),
        })
        .collect();
    folded.join("\"")
}

fn not_one(text: &str) -> Error {
    let message = format!(
        "\"{}\" is not a schema change",
        super::moment::printable(text)
    );
    let hint = "For example 'DROP TABLE public.orders', 'ALTER TABLE orders', 'TRUNCATE orders', \
                'DROP FUNCTION public.f(integer)'.";
    Error::wrong_use(message, hint)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_parsed() {
        for (text, verb, class, identity) in [
            (
                "DROP TABLE public.orders;",
                "drop",
                "table",
                "public.orders",
            ),
            (
                "drop materialized view mv",
                "drop",
                "materialized view",
                "mv",
            ),
            (
                "ALTER TABLE \"My Schema\".\"a b\"",
                "alter",
                "table",
                "\"My Schema\".\"a b\"",
            ),
            (
                "drop table if exists Orders cascade",
                "drop",
                "table",
                "orders",
            ),
            (
                "DROP INDEX CONCURRENTLY \"Od D\".I",
                "drop",
                "index",
                "\"Od D\".i",
            ),
            ("TRUNCATE TABLE t", "truncate", "", "t"),
            ("TRUNCATE public.t", "truncate", "", "public.t"),
            (
                "DROP FUNCTION public.f(integer, text)",
                "drop",
                "function",
                "public.f(integer, text)",
            ),
        ] {
            let parsed = Ddl::parse(text).unwrap();
            let found = (
                parsed.verb.as_str(),
                parsed.class.as_str(),
                parsed.identity.as_str(),
            );
            assert_eq!(found, (verb, class, identity), "{text}");
        }
        for text in ["", "DROP", "DROP TABLE", "SELECT 1", "DROP public.t"] {
            assert!(Ddl::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_truncate_is_found_by_any_of_its_tables() {
        let ddl = Ddl::parse("TRUNCATE orders").unwrap();
        assert!(ddl.is_truncate_in(b"TRUNCATE ONLY public.x, ONLY public.orders;"));
        assert!(!ddl.is_truncate_in(b"TRUNCATE public.reorders;"));
        assert!(!ddl.is_truncate_in(b"DELETE FROM public.orders WHERE id = 1;"));
    }
}
