//! The objects that a statement names, by their schema and name.

use super::tokens::{tokens, Kind, Token};

/// Schema and name, not quoted.
pub type Name = (Vec<u8>, Vec<u8>);

/// Qualified names in their order, outside of strings and bodies. (pg_dump and we qualify every one; the first one is what
/// a statement is about, or its table.)
pub fn names(text: &[u8]) -> Vec<Name> {
    let tokens = tokens(text).unwrap_or_default();
    let qualified = tokens.windows(3).enumerate().filter(|(at, three)| {
        // Of a.b.c the first two.
        let is_within = *at > 0 && tokens[at - 1].is_mark(b'.');
        three[1].is_mark(b'.') && !is_within
    });
    let name = qualified.filter_map(|(at, three)| {
        let last = three[2].name(text).or_else(|| operator(&tokens[at + 2..]));
        three[0].name(text).zip(last)
    });
    name.collect()
}

/// The name of an operator, which is at the beginning.
fn operator(tokens: &[Token]) -> Option<Vec<u8>> {
    const MARKS: &[u8] = b"+-*/<>=~!@#%^&|`?";
    let mut name = Vec::new();
    let mut end = tokens.first()?.place.start;
    for token in tokens {
        match token.kind {
            Kind::Mark(mark) if MARKS.contains(&mark) && token.place.start == end => {
                name.push(mark);
                end = token.place.end;
            }
            _ => break,
        }
    }
    (!name.is_empty()).then_some(name)
}

/// The schema that a statement is about: `ALTER SCHEMA s OWNER TO …`, `GRANT … ON SCHEMA s TO …`.
pub fn schema(text: &[u8]) -> Option<Vec<u8>> {
    let tokens = tokens(text)?;
    let at = tokens.iter().position(|token| token.is(text, "SCHEMA"))?;
    tokens.get(at + 1)?.name(text)
}

/// Whether it makes something that pg_dump has in post-data, or says something of it.
pub fn is_post_data(text: &[u8]) -> bool {
    const KINDS: [&str; 6] = [
        "INDEX",
        "TRIGGER",
        "RULE",
        "POLICY",
        "STATISTICS",
        "CONSTRAINT",
    ];
    let tokens = tokens(text).unwrap_or_default();
    let is_of_name = |at: usize| {
        let before = at.checked_sub(1).and_then(|at| tokens.get(at));
        before.is_some_and(|token| token.is_mark(b'.'))
    };
    // CREATE UNIQUE INDEX, COMMENT ON INDEX, ALTER TABLE ONLY a.b ADD CONSTRAINT.
    let first = tokens.iter().enumerate().take(9);
    let mut words = first.filter(|(at, token)| token.depth == 0 && !is_of_name(*at));
    words.any(|(_, token)| KINDS.iter().any(|kind| token.is(text, kind)))
}

/// Whether it makes a view, which has no rows of its own, or says something of it.
pub fn is_view(text: &[u8]) -> bool {
    let tokens = tokens(text).unwrap_or_default();
    let mut words = tokens.iter().take(4);
    // CREATE OR REPLACE VIEW, ALTER MATERIALIZED VIEW.
    words.any(|token| token.is(text, "VIEW"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(text: &str) -> Vec<String> {
        let names = names(text.as_bytes()).into_iter();
        let shown = |(schema, name): Name| {
            let (schema, name) = (
                String::from_utf8_lossy(&schema),
                String::from_utf8_lossy(&name),
            );
            format!("{schema}/{name}")
        };
        names.map(shown).collect()
    }

    #[test]
    fn what_a_statement_is_about_comes_first() {
        for (text, expected) in [
            (
                "ALTER TABLE ONLY public.\"T t\" OWNER TO bob;",
                &["public/T t"][..],
            ),
            ("COMMENT ON COLUMN a.b.c IS 'x.y'", &["a/b"]),
            (
                "CREATE TRIGGER t BEFORE INSERT ON a.b FOR EACH ROW EXECUTE FUNCTION c.d()",
                &["a/b", "c/d"],
            ),
            (
                "CREATE FUNCTION a.f() RETURNS int LANGUAGE sql AS $$SELECT b.c$$",
                &["a/f"],
            ),
            ("GRANT USAGE ON SCHEMA a TO b", &[]),
            (
                "CREATE OPERATOR a.## (FUNCTION = a.f, COMMUTATOR = OPERATOR(\"b c\".-|-))",
                &["a/##", "a/f", "b c/-|-"],
            ),
            ("ALTER OPERATOR a.@ (NONE, a.t) OWNER TO b", &["a/@", "a/t"]),
        ] {
            assert_eq!(named(text), expected, "{text}");
        }
        assert_eq!(
            schema(b"GRANT USAGE ON SCHEMA \"a b\" TO c"),
            Some(b"a b".to_vec())
        );
        assert_eq!(schema(b"ALTER TABLE a.b OWNER TO c"), None);
    }

    #[test]
    fn a_view_is_told_from_a_table() {
        for text in [
            "CREATE OR REPLACE VIEW a.b AS SELECT",
            "ALTER MATERIALIZED VIEW a.b RENAME TO c",
        ] {
            assert!(is_view(text.as_bytes()), "{text}");
        }
        for text in [
            "CREATE TABLE a.\"VIEW\" ()",
            "ALTER TABLE ONLY a.b ADD COLUMN c int",
        ] {
            assert!(!is_view(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn sections_are_those_of_pg_dump() {
        for text in [
            "CREATE UNIQUE INDEX i ON a.b USING btree (c)",
            "ALTER TABLE ONLY a.b\n    ADD CONSTRAINT k PRIMARY KEY (c)",
            "COMMENT ON TRIGGER t ON a.b IS 'x'",
        ] {
            assert!(is_post_data(text.as_bytes()), "{text}");
        }
        for text in [
            "ALTER TABLE a.b OWNER TO c",
            "CREATE TABLE a.rule (c int, CONSTRAINT k CHECK (c > 0))",
        ] {
            assert!(!is_post_data(text.as_bytes()), "{text}");
        }
    }
}
