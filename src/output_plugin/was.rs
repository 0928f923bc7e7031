//! Old values as a comment in a statement: ` /* was a = 1, b = 'x' */`.
//!
//! The server nests such comments, and psql does: neither their begin nor their end may be in a name or in a value. There
//! an escape stands between slash and asterisk, so that the text still denotes the same.

/// Before the first column.
pub const BEGIN: &[u8] = archive::segment::grammar::WAS_BEGIN;
/// Behind the last value.
pub const END: &[u8] = archive::segment::grammar::WAS_END;

/// Appends a name as SQL has it, `quoted` where it must be.
pub fn push_name(out: &mut Vec<u8>, quoted: &[u8]) {
    if !ends_or_begins_comment(quoted) {
        return out.extend_from_slice(quoted);
    }
    // Without quotes it could not have a slash.
    let (inside, is_unicode) = match quoted.strip_prefix(b"U&") {
        Some(inside) => (inside, true),
        None => (quoted, false),
    };
    out.extend_from_slice(b"U&");
    for byte in inside {
        match byte {
            b'/' => out.extend_from_slice(b"\\002F"),
            b'\\' if !is_unicode => out.extend_from_slice(b"\\\\"),
            byte => out.push(*byte),
        }
    }
}

/// Makes the literal from `start` on to the end one that may be in a comment.
pub fn mask(out: &mut Vec<u8>, start: usize) {
    if !ends_or_begins_comment(&out[start..]) {
        return;
    }
    // Only one in quotes has such a text.
    let literal = out.split_off(start);
    if literal.starts_with(b"'") {
        out.push(b'E');
    }
    for byte in literal {
        if matches!(byte, b'/' | b'*') {
            out.push(b'\\');
        }
        out.push(byte);
    }
}

fn ends_or_begins_comment(text: &[u8]) -> bool {
    memchr::memchr_iter(b'*', text)
        .any(|at| text.get(at + 1) == Some(&b'/') || at > 0 && text[at - 1] == b'/')
}

#[cfg(any(test, feature = "pg_test"))]
#[pgrx::pg_schema]
mod tests {
    use super::*;
    use archive_query::history::literal::{name_of, Value};
    use archive_query::history::scanner::Words;
    use pgrx::prelude::*;

    #[pg_test]
    fn what_is_in_a_comment_denotes_the_same_and_does_not_end_it() {
        for text in [
            "*/",
            "/*",
            "/*/ \\ '",
            "a */ b\n\\/*",
            "**//**//",
            "/",
            "plain",
        ] {
            let mut literal = Vec::new();
            archive::literal::push_literal(&mut literal, text.as_bytes());
            mask(&mut literal, 0);
            assert!(!ends_or_begins_comment(&literal), "{text}");
            let read = Words::new(&literal).literal();
            assert_eq!(read, Some(Value::text(text)), "{text}");
            let mut name = Vec::new();
            let quoted = crate::pg::text::quote::identifier(text.as_bytes());
            push_name(&mut name, &quoted);
            assert!(!ends_or_begins_comment(&name), "{text}");
            assert_eq!(&*name_of(&name), text.as_bytes(), "{text}");
        }
    }
}
