//! Pieces of SQL text.

/// A string constant, as parsed with standard_conforming_strings on.
pub fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// `DO` with a PL/pgSQL body, in dollar quotes that do not occur in it.
pub fn do_block(body: &str) -> String {
    let mut tag = "$do$".to_owned();
    while body.contains(&tag) {
        tag.insert(1, 'x');
    }
    format!("DO {tag}{body}{tag}")
}

/// A name in quotes, whether necessary or not.
pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The name that quote_ident has quoted, or left unquoted.
pub fn unquoted(name: &str) -> String {
    match name
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
    {
        Some(inner) => inner.replace("\"\"", "\""),
        None => name.to_owned(),
    }
}

/// `schema.name` of results of quote_ident.
pub fn qualified(schema: &str, name: &str) -> String {
    format!("{schema}.{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back() {
        for name in ["a", "A b", "a\"b", "\"", "é", ""] {
            assert_eq!(unquoted(&quoted(name)), name);
        }
        assert_eq!(unquoted("plain"), "plain");
        assert_eq!(literal("it's \\n"), "'it''s \\n'");
        assert_eq!(do_block("BEGIN END"), "DO $do$BEGIN END$do$");
        assert_eq!(do_block("'$do$'"), "DO $xdo$'$do$'$xdo$");
    }
}
