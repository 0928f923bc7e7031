//! The names of tables and indexes in statements that wait: while they do, a table may be renamed, or moved.
//!
//! The statements are those of pg_dump and our own: names are qualified, and what is not known is left as it is.

use crate::restore::target::statements::Words;

/// Where the name of a table is, and the name of the index that is made on it.
#[derive(Debug, PartialEq, Eq)]
pub struct TableIn {
    pub start: usize,
    pub end: usize,
    pub index: Option<Vec<u8>>,
}

/// In CREATE INDEX, ALTER TABLE, and COMMENT ON CONSTRAINT.
pub fn table_in(text: &[u8]) -> Option<TableIn> {
    let mut words = Words(text.trim_ascii_start());
    let mut index = None;
    if words.eat("CREATE INDEX ") || words.eat("CREATE UNIQUE INDEX ") {
        index = Some(words.name()?);
        words.eat(" ON ").then_some(())?;
    } else if words.eat("COMMENT ON CONSTRAINT ") {
        words.name()?;
        words.eat(" ON ").then_some(())?;
    } else {
        words.eat("ALTER TABLE ").then_some(())?;
    }
    words.eat("ONLY ");
    let start = text.len() - words.0.len();
    let (_, _, rest) = names(words.0)?;
    let end = text.len() - rest.len();
    Some(TableIn { start, end, index })
}

/// The index in COMMENT ON INDEX and ALTER INDEX: schema, name, and where the schema is.
pub fn index_in(text: &[u8]) -> Option<(Vec<u8>, Vec<u8>, usize, usize)> {
    let mut words = Words(text.trim_ascii_start());
    (words.eat("COMMENT ON INDEX ") || words.eat("ALTER INDEX ")).then_some(())?;
    let start = text.len() - words.0.len();
    let (schema, name, _) = names(words.0)?;
    let end = start + schema_end(words.0)?;
    Some((schema, name, start, end))
}

/// A qualified name, unquoted, and what is behind it.
pub fn names(text: &[u8]) -> Option<(Vec<u8>, Vec<u8>, &[u8])> {
    let end = schema_end(text)?;
    let schema = Words(&text[..end]).name()?;
    let mut words = Words(&text[end + 1..]);
    let name = words.name()?;
    Some((schema, name, words.0))
}

/// Where the point of a qualified name is.
fn schema_end(text: &[u8]) -> Option<usize> {
    let mut is_quoted = false;
    text.iter().position(|byte| {
        is_quoted ^= *byte == b'"';
        *byte == b'.' && !is_quoted
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_found_in_what_makes_indexes_and_constraints() {
        for (text, name) in [
            ("CREATE INDEX i ON public.t USING btree (a)", "public.t"),
            (
                "\nCREATE UNIQUE INDEX \"a ON b\" ON ONLY \"P\".\"t \"\"x\" (a)",
                "\"P\".\"t \"\"x\"",
            ),
            (
                "ALTER TABLE ONLY public.t\n    ADD CONSTRAINT k PRIMARY KEY (a);",
                "public.t",
            ),
            ("ALTER TABLE public.t ADD CHECK (a > 0)", "public.t"),
            ("ALTER TABLE public.\"T\" ADD CHECK (a > 0)", "public.\"T\""),
        ] {
            let found = table_in(text.as_bytes()).unwrap();
            assert_eq!(&text[found.start..found.end], name);
        }
        for text in [
            "COMMENT ON INDEX \"p.\".i IS 'x'",
            "ALTER INDEX \"p.\".\"i\" RENAME TO j",
        ] {
            assert_eq!(table_in(text.as_bytes()), None);
            let (schema, name, start, end) = index_in(text.as_bytes()).unwrap();
            assert_eq!((&schema[..], &name[..]), (&b"p."[..], &b"i"[..]));
            assert_eq!(&text[start..end], "\"p.\"");
        }
    }
}
