//! String literals of a segment: on one line, and the same under any setting.

use memchr::{memchr3, memchr3_iter, memchr_iter};

/// Appends a string literal: `'…'`, or `E'…'` if it contains a backslash or a line end.
pub fn push_literal(out: &mut Vec<u8>, text: &[u8]) {
    if memchr3(b'\\', b'\n', b'\r', text).is_some() {
        out.push(b'E');
    }
    out.push(b'\'');
    push_escaped(out, text, b'\'', b"''");
    out.push(b'\'');
}

/// Appends `text`, in which backslashes and line ends are escaped with a backslash, and `other` is
/// replaced.
pub fn push_escaped(out: &mut Vec<u8>, text: &[u8], other: u8, replacement: &[u8]) {
    let mut start = 0;
    for end in memchr_iter(other, text) {
        push_without_line_ends(out, &text[start..end]);
        out.extend_from_slice(replacement);
        start = end + 1;
    }
    push_without_line_ends(out, &text[start..]);
}

fn push_without_line_ends(out: &mut Vec<u8>, text: &[u8]) {
    let mut start = 0;
    for end in memchr3_iter(b'\\', b'\n', b'\r', text) {
        out.extend_from_slice(&text[start..end]);
        out.extend_from_slice(match text[end] {
            b'\n' => b"\\n",
            b'\r' => b"\\r",
            _ => b"\\\\",
        });
        start = end + 1;
    }
    out.extend_from_slice(&text[start..]);
}
