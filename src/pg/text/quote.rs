//! Names and literals as SQL, each on one line whatever bytes they contain.

use std::ffi::{CStr, CString};

use archive::literal::push_literal;
use pgrx::prelude::*;

/// A name, quoted if necessary. A raw newline would violate the rule of one line per change, so such a name
/// is written as `U&"…\000a…"`.
pub fn identifier(name: &[u8]) -> Vec<u8> {
    if name.iter().any(|byte| matches!(byte, b'\n' | b'\r')) {
        return unicode_identifier(name);
    }
    let name = CString::new(name).unwrap_or_default();
    // SAFETY: returns its argument or a palloc'd copy.
    unsafe { CStr::from_ptr(pg_sys::quote_identifier(name.as_ptr())) }
        .to_bytes()
        .to_vec()
}

/// `schema.name`, each part quoted where SQL needs it.
pub fn qualified(schema: &[u8], name: &[u8]) -> Vec<u8> {
    [
        identifier(schema).as_slice(),
        b".",
        identifier(name).as_slice(),
    ]
    .concat()
}

/// A string literal: `'…'`, or `E'…'` if it contains a backslash or a line end.
pub fn literal(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 2);
    push_literal(&mut out, text);
    out
}

/// `schema.name` as the text of a `regclass`, which does not support `U&"…"`: for use inside a literal.
pub fn regclass_text(schema: &[u8], name: &[u8]) -> Vec<u8> {
    [
        in_quotes(schema).as_slice(),
        b".",
        in_quotes(name).as_slice(),
    ]
    .concat()
}

/// A name in double quotes if necessary, with newlines unchanged.
fn in_quotes(name: &[u8]) -> Vec<u8> {
    if !name.iter().any(|byte| matches!(byte, b'\n' | b'\r')) {
        return identifier(name);
    }
    let mut out = vec![b'"'];
    for &byte in name {
        out.push(byte);
        if byte == b'"' {
            out.push(byte);
        }
    }
    out.push(b'"');
    out
}

fn unicode_identifier(name: &[u8]) -> Vec<u8> {
    let mut out = b"U&\"".to_vec();
    for &byte in name {
        match byte {
            b'"' => out.extend_from_slice(b"\"\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\000a"),
            b'\r' => out.extend_from_slice(b"\\000d"),
            other => out.push(other),
        }
    }
    out.push(b'"');
    out
}

/// `$do$…$do$`, with a tag that the text does not contain.
pub fn dollar_quoted(text: &[u8]) -> Vec<u8> {
    let mut tag = b"$do$".to_vec();
    while text.windows(tag.len()).any(|part| part == tag) {
        tag.insert(1, b'_');
    }
    [&tag[..], text, &tag].concat()
}
