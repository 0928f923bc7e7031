//! Parses names and values in a segment's lines.
//!
//! The reverse is done by the output plugin (`pg::quote` and `output_plugin::literal`). A value is returned
//! as the text from its type's output function, so two values compare like their texts, however each was
//! quoted, and wherever it was: beside an operator, in VALUES, or in COPY.

use std::borrow::Cow;

use super::scanner::Words;

/// A value of a row.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Value<'a> {
    Null,
    /// As the type's output function wrote it.
    Text(Cow<'a, [u8]>),
}

impl<'a> Value<'a> {
    /// The same, owning its bytes.
    pub fn into_owned(self) -> Value<'static> {
        match self {
            Value::Null => Value::Null,
            Value::Text(text) => Value::Text(Cow::Owned(text.into_owned())),
        }
    }

    /// A value of this text.
    pub fn text(text: &'a (impl AsRef<[u8]> + ?Sized)) -> Value<'a> {
        Value::Text(Cow::Borrowed(text.as_ref()))
    }

    /// The same value. Numbers are equal if their texts only differ in trailing zeros of the fraction: a key
    /// of 1.0 equals 1.00.
    pub fn is_same(&self, other: &Value<'_>) -> bool {
        match (self, other) {
            (Value::Null, Value::Null) => true,
            (Value::Text(a), Value::Text(b)) => a == b || plain_number(a) == plain_number(b),
            _ => false,
        }
    }
}

/// A number's text without trailing zeros of its fraction; any other text unchanged.
pub fn plain_number(text: &[u8]) -> &[u8] {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let Some(point) = memchr::memchr(b'.', digits) else {
        return text;
    };
    let (whole, fraction) = (&digits[..point], &digits[point + 1..]);
    let is_number = |part: &[u8]| !part.is_empty() && part.iter().all(u8::is_ascii_digit);
    if !is_number(whole) || !is_number(fraction) {
        return text;
    }
    let zeros = fraction.iter().rev().take_while(|d| **d == b'0').count();
    let point = usize::from(zeros == fraction.len());
    &text[..text.len() - zeros - point]
}

/// The text that the inside of a literal denotes; `escapes` for `E'…'`.
pub fn unescape(inside: &[u8], escapes: bool) -> Cow<'_, [u8]> {
    let special = if escapes {
        memchr::memchr2(b'\'', b'\\', inside)
    } else {
        memchr::memchr(b'\'', inside)
    };
    let Some(first) = special else {
        return Cow::Borrowed(inside);
    };
    let mut text = Vec::with_capacity(inside.len());
    text.extend_from_slice(&inside[..first]);
    let mut bytes = inside[first..].iter().copied();
    while let Some(byte) = bytes.next() {
        text.push(match byte {
            b'\'' => {
                bytes.next();
                b'\''
            }
            b'\\' if escapes => unescaped(bytes.next().unwrap_or(b'\\')),
            byte => byte,
        });
    }
    Cow::Owned(text)
}

/// The byte denoted by an escape sequence, in `E'…'` and in COPY.
fn unescaped(byte: u8) -> u8 {
    match byte {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        other => other,
    }
}

/// A field of a COPY row.
pub fn copy_field(field: &[u8]) -> Value<'_> {
    if field == b"\\N" {
        return Value::Null;
    }
    let Some(first) = memchr::memchr(b'\\', field) else {
        return Value::Text(Cow::Borrowed(field));
    };
    let mut text = Vec::with_capacity(field.len());
    text.extend_from_slice(&field[..first]);
    let mut bytes = field[first..].iter().copied();
    while let Some(byte) = bytes.next() {
        text.push(match byte {
            b'\\' => unescaped(bytes.next().unwrap_or(b'\\')),
            byte => byte,
        });
    }
    Value::Text(Cow::Owned(text))
}

/// The name that an identifier in a segment denotes (unquoted names are in lower case).
pub fn name_of(identifier: &[u8]) -> Cow<'_, [u8]> {
    let (quoted, is_unicode) = match identifier.strip_prefix(b"U&") {
        Some(quoted) if quoted.starts_with(b"\"") => (quoted, true),
        _ => (identifier, false),
    };
    let inside = quoted
        .strip_prefix(b"\"")
        .and_then(|quoted| quoted.strip_suffix(b"\""));
    let Some(inside) = inside else {
        return Cow::Borrowed(identifier);
    };
    if !is_unicode && memchr::memchr(b'"', inside).is_none() {
        return Cow::Borrowed(inside);
    }
    let mut name = Vec::with_capacity(inside.len());
    let mut rest = inside;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        match byte {
            b'"' => rest = rest.strip_prefix(b"\"").unwrap_or(rest),
            b'\\' if is_unicode => {
                if let Some(tail) = rest.strip_prefix(b"\\") {
                    rest = tail;
                } else {
                    let code = rest.get(..4).and_then(|c| std::str::from_utf8(c).ok());
                    let code = code.and_then(|code| u8::from_str_radix(code, 16).ok());
                    if let Some(code) = code {
                        rest = &rest[4..];
                        name.push(code);
                        continue;
                    }
                }
            }
            _ => {}
        }
        name.push(byte);
    }
    Cow::Owned(name)
}

/// The names that `schema.name` denotes.
pub fn names_of(qualified: &[u8]) -> Vec<Vec<u8>> {
    let mut words = Words::new(qualified);
    let mut names = Vec::new();
    while let Some(identifier) = words.identifier() {
        names.push(name_of(identifier).into_owned());
        words.pass(b".");
    }
    names
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn literal(text: &str) -> Value<'static> {
        let mut words = Words::new(text.as_bytes());
        let value = words.literal().unwrap().into_owned();
        assert_eq!(words.rest(), b", x", "{text}");
        value
    }

    #[test]
    fn literals_come_back_as_the_text_that_they_were() {
        for (written, text) in [
            ("42, x", "42"),
            ("'-9223372036854775808', x", "-9223372036854775808"),
            ("'it''s, (one)', x", "it's, (one)"),
            ("E'a''b\\nc\\\\, \\\\', x", "a'b\nc\\, \\"),
            ("B'0101', x", "0101"),
            ("'', x", ""),
            ("true, x", "true"),
        ] {
            assert_eq!(literal(written), Value::text(text), "{written}");
        }
        assert_eq!(literal("null, x"), Value::Null);
        assert_eq!(literal("'null', x"), Value::text("null"));
        for torn in ["'a", "E'a\\'", "E'a\\", ""] {
            assert_eq!(Words::new(torn.as_bytes()).literal(), None, "{torn}");
        }
    }

    #[test]
    fn fields_of_copy_come_back() {
        assert_eq!(copy_field(b"\\N"), Value::Null);
        assert_eq!(copy_field(b"a\\tb\\nc\\\\N"), Value::text("a\tb\nc\\N"));
        assert_eq!(copy_field(b""), Value::text(""));
    }

    #[test]
    fn names_come_back() {
        assert_eq!(
            names_of(b"public.\"My \"\"table\"\".x\""),
            [b"public".to_vec(), b"My \"table\".x".to_vec()]
        );
        assert_eq!(
            names_of(b"U&\"a\\000ab\\\\c\".t"),
            [b"a\nb\\c".to_vec(), b"t".to_vec()]
        );
    }

    #[test]
    fn numbers_are_the_same_whatever_zeros_end_them() {
        for (a, b) in [("1.0", "1"), ("-1.50", "-1.5"), ("0.00", "0")] {
            assert!(Value::text(a).is_same(&Value::text(b)), "{a} {b}");
        }
        for (a, b) in [
            ("10", "1"),
            ("1.0.0", "1.0"),
            ("a.0", "a"),
            ("1.", "1"),
            (".0", ""),
        ] {
            assert!(!Value::text(a).is_same(&Value::text(b)), "{a} {b}");
        }
    }
}
