//! A schema change by its structure: `DROP TABLE public.orders`.

use archive::segment::Effect;
use archive_query::history::statement::truncated;

use crate::error::{Error, Result};
use crate::quote::shown;

/// Verbs of effects that are not an `ALTER` of something.
const OTHER_VERBS: [&str; 3] = ["create", "drop", "refresh"];
/// Words of a statement that say nothing about the object.
const NOISE: [&str; 5] = ["if", "not", "exists", "concurrently", "only"];
const BEHAVIORS: [&str; 2] = ["cascade", "restrict"];

/// What is looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ddl {
    /// In lower case: `drop`, `create`, `alter` for any other change, `truncate`.
    verb: String,
    /// Class and identity as in effects, folded: `table public.orders`, or without its schema.
    object: Vec<u8>,
}

impl Ddl {
    /// Parses `VERB CLASS NAME`, or `TRUNCATE [TABLE] NAME`.
    pub fn parse(text: &str) -> Result<Ddl> {
        let mut words = words_of(text.trim().trim_end_matches(';'));
        let last = words.last().map(|word| word.to_lowercase());
        let is_truncate = words
            .first()
            .is_some_and(|verb| verb.eq_ignore_ascii_case("truncate"));
        let least = if is_truncate { 2 } else { 3 };
        if words.len() > least && last.is_some_and(|last| BEHAVIORS.contains(&last.as_str())) {
            words.pop();
        }
        let count = words.len();
        let mut nth = 0;
        words.retain(|word| {
            nth += 1;
            nth == 1 || nth == count || !NOISE.contains(&word.to_lowercase().as_str())
        });
        let (verb, rest) = match words.split_first() {
            Some((verb, rest)) => (verb.to_lowercase(), rest),
            None => return Err(not_one(text)),
        };
        let has_class = rest
            .first()
            .is_some_and(|word| word.eq_ignore_ascii_case("table"));
        let object = match (verb.as_str(), rest) {
            ("drop" | "create" | "alter", [_, _, ..]) => rest.join(" "),
            ("truncate", [_, _]) if has_class => rest.join(" "),
            ("truncate", [name]) if !has_class => format!("table {name}"),
            _ => return Err(not_one(text)),
        };
        Ok(Ddl {
            verb,
            object: folded(object.as_bytes()),
        })
    }

    /// Whether an effect is one.
    pub fn is(&self, effect: &Effect) -> bool {
        let is_verb = match self.verb.as_str() {
            "alter" => !OTHER_VERBS.contains(&effect.verb.as_str()),
            verb => effect.verb == verb,
        };
        is_verb && self.names(&effect.class, &effect.identity)
    }

    /// Whether an effect makes the object that is to be altered: what is done to it in the same transaction is a part of
    /// that.
    pub fn is_of_new(&self, effect: &Effect) -> bool {
        let is_made = self.verb == "alter" && effect.verb == "create";
        is_made && self.names(&effect.class, &effect.identity)
    }

    /// Whether a line truncates the table.
    pub fn is_truncate_in(&self, line: &[u8]) -> bool {
        self.verb == "truncate"
            && truncated(line)
                .is_some_and(|tables| tables.iter().any(|table| self.names("table", table)))
    }

    fn names(&self, class: &str, identity: &[u8]) -> bool {
        let wanted = self.object.strip_prefix(class.as_bytes());
        let Some(wanted) = wanted.and_then(|wanted| wanted.strip_prefix(b" ")) else {
            return false;
        };
        let identity = folded(identity);
        let before = identity.strip_suffix(wanted);
        before.is_some_and(|before| before.is_empty() || before.ends_with(b"."))
    }

    /// As it is looked for.
    pub fn words(&self) -> String {
        format!("{} {}", self.verb, shown(&self.object))
    }
}

/// The words of a text; blanks within double quotes do not end one.
fn words_of(text: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut is_quoted = false;
    for c in text.chars() {
        is_quoted ^= c == '"';
        match words.last_mut() {
            Some(word) if is_quoted || !c.is_whitespace() => word.push(c),
            Some(word) if !word.is_empty() => words.push(String::new()),
            _ => {}
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// In lower case where it is not quoted, as PostgreSQL reads names.
fn folded(text: &[u8]) -> Vec<u8> {
    let mut is_quoted = false;
    let fold = |byte: &u8| {
        is_quoted ^= *byte == b'"';
        if is_quoted {
            *byte
        } else {
            byte.to_ascii_lowercase()
        }
    };
    text.iter().map(fold).collect()
}

fn not_one(text: &str) -> Error {
    let text = super::moment::printable(text);
    let message = format!("\"{text}\" is not a schema change");
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
        for (text, verb, object) in [
            ("DROP TABLE public.orders;", "drop", "table public.orders"),
            ("drop materialized view mv", "drop", "materialized view mv"),
            (
                "ALTER TABLE \"My Schema\".\"do not  touch\"",
                "alter",
                "table \"My Schema\".\"do not  touch\"",
            ),
            (
                "drop table if exists Orders cascade",
                "drop",
                "table orders",
            ),
            (
                "DROP INDEX CONCURRENTLY \"Od D\".I",
                "drop",
                "index \"Od D\".i",
            ),
            ("DROP TABLE cascade", "drop", "table cascade"),
            ("TRUNCATE TABLE t", "truncate", "table t"),
            ("TRUNCATE ONLY public.t", "truncate", "table public.t"),
            (
                "DROP FUNCTION public.f(integer,  text)",
                "drop",
                "function public.f(integer, text)",
            ),
        ] {
            let parsed = Ddl::parse(text).unwrap();
            let object = object.as_bytes().to_vec();
            assert_eq!(
                (parsed.verb.as_str(), parsed.object),
                (verb, object),
                "{text}"
            );
        }
        for text in [
            "",
            "DROP",
            "DROP TABLE",
            "SELECT 1",
            "TRUNCATE TABLE",
            "DROP public.t",
        ] {
            assert!(Ddl::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn objects_are_found_by_class_and_name() {
        for (text, class, identity, is_it) in [
            ("DROP TABLE orders", "table", "public.orders", true),
            ("DROP TABLE orders", "table", "public.reorders", false),
            ("DROP TABLE orders", "view", "public.orders", false),
            ("DROP TABLE \"Orders\"", "table", "public.orders", false),
            (
                "DROP TRIGGER trg ON public.t",
                "trigger",
                "trg ON public.t",
                true,
            ),
            ("DROP CAST (a AS b)", "cast", "(a AS b)", true),
        ] {
            let ddl = Ddl::parse(text).unwrap();
            assert_eq!(
                ddl.names(class, identity.as_bytes()),
                is_it,
                "{text}, {identity}"
            );
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
