//! Names in SQL.

/// An identifier, quoted whatever it is, so that it can be nothing else.
pub fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quote_in_a_name_is_doubled() {
        assert_eq!(identifier("a\"b c"), "\"a\"\"b c\"");
    }
}
