//! Long values, shortened for people.

use std::borrow::Cow;

use archive_query::history::scanner::end_of_quoted;

/// A value with more bytes than this is shortened …
const LONGEST: usize = 200;
/// … to so many.
const KEPT: usize = 100;
/// The same of a statement that is not of one row.
const LONGEST_STATEMENT: usize = 8000;
const KEPT_STATEMENT: usize = 4000;

/// A line with each long literal shortened.
pub fn line(line: &[u8]) -> Cow<'_, [u8]> {
    if line.len() <= LONGEST {
        return Cow::Borrowed(line);
    }
    let mut out = Vec::new();
    let mut at = 0;
    while let Some(found) = memchr::memchr2(b'\'', b'"', &line[at..]) {
        let start = at + found + 1;
        let quote = line[start - 1];
        let escapes = quote == b'\'' && is_escaping(&line[..start - 1]);
        let end = end_of_quoted(&line[start..], quote, escapes);
        let end = end.map_or(line.len(), |end| start + end);
        out.extend_from_slice(&line[at..start]);
        push_short(&mut out, &line[start..end], LONGEST, KEPT);
        at = end;
        if at < line.len() {
            out.push(quote);
            at += 1;
        }
    }
    out.extend_from_slice(&line[at..]);
    Cow::Owned(out)
}

/// A row of COPY with each long field shortened.
pub fn copy_row(row: &[u8]) -> Cow<'_, [u8]> {
    if row.len() <= LONGEST {
        return Cow::Borrowed(row);
    }
    let mut out = Vec::new();
    for (nth, field) in row.split(|byte| *byte == b'\t').enumerate() {
        if nth > 0 {
            out.push(b'\t');
        }
        push_short(&mut out, field, LONGEST, KEPT);
    }
    Cow::Owned(out)
}

/// A statement of any kind.
pub fn statement(text: &[u8]) -> Cow<'_, [u8]> {
    if text.len() <= LONGEST_STATEMENT {
        return Cow::Borrowed(text);
    }
    let mut out = Vec::new();
    push_short(&mut out, text, LONGEST_STATEMENT, KEPT_STATEMENT);
    Cow::Owned(out)
}

fn push_short(out: &mut Vec<u8>, text: &[u8], longest: usize, kept: usize) {
    if text.len() <= longest {
        out.extend_from_slice(text);
        return;
    }
    let mut end = kept;
    // Not within a character of UTF-8, nor behind half an escape.
    while end > 0 && (text[end] & 0xc0 == 0x80 || matches!(text[end - 1], b'\\' | b'\'')) {
        end -= 1;
    }
    out.extend_from_slice(&text[..end]);
    out.extend_from_slice(format!("... ({} more bytes)", text.len() - end).as_bytes());
}

/// Whether a literal that begins here is `E'…'`.
fn is_escaping(before: &[u8]) -> bool {
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_' || *byte >= 0x80;
    match before {
        [.., one, b'E'] => !is_name(one),
        [b'E'] => true,
        _ => false,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn text(line: &[u8]) -> String {
        String::from_utf8(line.to_vec()).unwrap()
    }

    #[test]
    fn only_long_values_are_shortened() {
        let long = "x".repeat(300);
        let given = format!("INSERT INTO t (a, b) VALUES ('{long}', 'it''s', E'{long}\\'', 5);");
        let kept = "x".repeat(100);
        let expected = format!(
            "INSERT INTO t (a, b) VALUES ('{kept}... (200 more bytes)', 'it''s', \
             E'{kept}... (202 more bytes)', 5);"
        );
        assert_eq!(text(&line(given.as_bytes())), expected);
        let short = "INSERT INTO t (a) VALUES ('a');";
        assert_eq!(text(&line(short.as_bytes())), short);
        let row = format!("1\t{long}\tc");
        assert_eq!(
            text(&copy_row(row.as_bytes())),
            format!("1\t{kept}... (200 more bytes)\tc")
        );
    }

    #[test]
    fn no_character_and_no_escape_is_cut() {
        let long = "x".repeat(99) + &"\u{e4}".repeat(200);
        let shown = text(&line(format!("SELECT '{long}'").as_bytes()));
        assert!(
            shown.starts_with(&format!("SELECT '{}...", "x".repeat(99))),
            "{shown}"
        );
        let long = "''".repeat(200);
        assert!(text(&line(format!("SELECT '{long}'").as_bytes())).ends_with("more bytes)'"));
        // A line that does not end as it should is shown too.
        let torn = format!("SELECT '{}", "x".repeat(500));
        assert!(text(&line(torn.as_bytes())).ends_with("more bytes)"));
    }
}
