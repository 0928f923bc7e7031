//! Names and texts in SQL, as bytes: those of an archive are in the encoding of its database.
//!
//! No server encoding has `"`, `'` or `\` as the second byte of a character.

use std::borrow::Cow;

use archive_query::history::literal::names_of;

/// A name in double quotes, whether necessary or not.
pub fn ident(name: &[u8]) -> Vec<u8> {
    enclosed(name, b'"')
}

/// [`ident`] of a text.
pub fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A name as SQL has it, of one or more parts, as functions read it that take a name (to_regclass): they know no
/// `U&"…"`, which a line of a segment has for a name with a line end.
pub fn readable(written: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memmem::find(written, b"U&\"").is_none() {
        return Cow::Borrowed(written);
    }
    let parts: Vec<Vec<u8>> = names_of(written).iter().map(|name| ident(name)).collect();
    Cow::Owned(parts.join(&b'.'))
}

/// A string constant, as read with standard_conforming_strings on.
pub fn literal(text: &[u8]) -> Vec<u8> {
    enclosed(text, b'\'')
}

/// An array in PostgreSQL's text form.
pub fn array<T: AsRef<[u8]>>(items: &[T]) -> Vec<u8> {
    let mut out = vec![b'{'];
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        out.push(b'"');
        for byte in item.as_ref() {
            if matches!(byte, b'"' | b'\\') {
                out.push(b'\\');
            }
            out.push(*byte);
        }
        out.push(b'"');
    }
    out.push(b'}');
    out
}

/// A name in a message: what a terminal would act on is replaced.
pub fn shown(name: &[u8]) -> String {
    let text = String::from_utf8_lossy(name);
    text.replace(|c: char| c.is_control(), "?")
}

fn enclosed(text: &[u8], mark: u8) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 2);
    out.push(mark);
    for byte in text {
        if *byte == mark {
            out.push(mark);
        }
        out.push(*byte);
    }
    out.push(mark);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_within_is_doubled_and_nothing_else_is_changed() {
        assert_eq!(ident(b"a\"b\\'\n;$x$\xe4"), b"\"a\"\"b\\'\n;$x$\xe4\"");
        assert_eq!(literal(b"it's \\\"\n"), b"'it''s \\\"\n'");
        assert_eq!(ident(b""), b"\"\"");
    }

    #[test]
    fn an_array_keeps_every_item_apart() {
        let items: [&[u8]; 4] = [b"a", b"", b"b,\"}\\", b"NULL"];
        assert_eq!(array(&items), b"{\"a\",\"\",\"b,\\\"}\\\\\",\"NULL\"}");
        assert_eq!(array::<&[u8]>(&[]), b"{}");
    }

    #[test]
    fn a_message_holds_nothing_for_a_terminal() {
        assert_eq!(shown(b"a\x1b[2J\nb"), "a?[2J?b");
    }
}
