//! The shape of a row change: its text with a parameter for each value.
//!
//! Statements of one shape are parsed and planned once. Only values at places that are known are replaced: those of
//! VALUES and SET, and those behind ` = ` in WHERE. The server takes a parameter there for a value of the column's
//! type, as it takes a literal.

use std::ops::Range;

use archive::segment::grammar::WAS_BEGIN;
use archive_query::history::literal::unescape;
use archive_query::history::scanner::end_of_quoted;
use memchr::memmem;

/// A statement longer than this is executed as it is.
const LONGEST: usize = 8192;
/// The protocol's limit is above a table's number of columns, twice.
const MOST_VALUES: usize = 4000;

const VALUES: &[u8] = b" VALUES (";

/// A value in the line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    Null,
    /// Its text as it is there.
    Plain(Range<usize>),
    /// Between quotes; true if backslashes escape.
    Quoted(Range<usize>, bool),
}

/// The text with `$1`, `$2`, … and the values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    pub text: Vec<u8>,
    /// Where each parameter is in it.
    pub places: Vec<Range<usize>>,
    pub values: Vec<Value>,
}

/// The shape of a line; `None` for one that is executed as it is. Old values in a comment are no part of it.
pub fn of(line: &[u8]) -> Option<Shape> {
    let has_comment = line.starts_with(b"UPDATE ") || line.starts_with(b"DELETE FROM ");
    if has_comment && memmem::find(line, WAS_BEGIN).is_some() {
        if let Some(end) = find_outside(line, WAS_BEGIN) {
            if end >= LONGEST {
                return None;
            }
            return of_statement(&[&line[..end], b";"].concat());
        }
    }
    if line.len() > LONGEST {
        return None;
    }
    of_statement(line)
}

fn of_statement(line: &[u8]) -> Option<Shape> {
    let is_insert = line.starts_with(b"INSERT INTO ");
    if !is_insert && !line.starts_with(b"UPDATE ") && !line.starts_with(b"DELETE FROM ") {
        return None;
    }
    let mut walk = Walk::new(line);
    let is_known = if is_insert {
        walk.insert()
    } else {
        walk.change()
    };
    is_known?;
    walk.shape.text.extend_from_slice(&line[walk.copied..]);
    let count = walk.shape.values.len();
    (1..=MOST_VALUES).contains(&count).then_some(walk.shape)
}

/// Where ` VALUES (` begins in an INSERT of any length, and its values.
pub fn values_of_insert(line: &[u8]) -> Option<(usize, Vec<Value>)> {
    let mut walk = Walk::new(line);
    walk.pass_to(VALUES)?;
    let at = walk.at - VALUES.len();
    let mut values = Vec::new();
    loop {
        values.push(walk.literal()?);
        match walk.rest() {
            b");" => return Some((at, values)),
            rest if rest.starts_with(b", ") => walk.at += 2,
            _ => return None,
        }
    }
}

/// Where this text begins, outside of names and literals.
pub fn find_outside(line: &[u8], text: &[u8]) -> Option<usize> {
    let mut walk = Walk::new(line);
    walk.pass_to(text)?;
    Some(walk.at - text.len())
}

/// The literal that begins at this byte, and where it ends.
pub fn literal_at(line: &[u8], at: usize) -> Option<(Value, usize)> {
    let mut walk = Walk::new(line);
    walk.at = at;
    let value = walk.literal()?;
    Some((value, walk.at))
}

/// The bytes of a value, as the type's output function wrote them.
pub fn bytes_of(line: &[u8], value: &Value) -> Option<Vec<u8>> {
    match value {
        Value::Null => None,
        Value::Plain(range) => Some(line[range.clone()].to_vec()),
        Value::Quoted(range, escapes) => {
            Some(unescape(&line[range.clone()], *escapes).into_owned())
        }
    }
}

struct Walk<'a> {
    line: &'a [u8],
    at: usize,
    /// Up to here the text is in the shape.
    copied: usize,
    shape: Shape,
}

impl<'a> Walk<'a> {
    fn new(line: &'a [u8]) -> Walk<'a> {
        Walk {
            line,
            at: 0,
            copied: 0,
            shape: Shape {
                text: Vec::new(),
                places: Vec::new(),
                values: Vec::new(),
            },
        }
    }

    fn rest(&self) -> &[u8] {
        &self.line[self.at..]
    }

    /// `(…) VALUES (value, …);`
    fn insert(&mut self) -> Option<()> {
        self.pass_to(VALUES)?;
        loop {
            let value = self.literal()?;
            self.put(value);
            match self.rest() {
                b");" => return Some(()),
                rest if rest.starts_with(b", ") => self.at += 2,
                _ => return None,
            }
        }
    }

    /// Values behind ` = `, up to the end.
    fn change(&mut self) -> Option<()> {
        while self.pass_to(b" = ").is_some() {
            let start = self.at;
            if let Some(value) = self.literal() {
                let rest = self.rest();
                let ends: [&[u8]; 5] = [b", ", b" WHERE ", b" AND ", b" LIMIT ", b";"];
                if ends.iter().any(|end| rest.starts_with(end)) {
                    self.put(value);
                    continue;
                }
            }
            self.at = start;
        }
        // A quote that is left open would have ended the walk early.
        (self.at == self.line.len()).then_some(())
    }

    /// Goes behind this text, outside of names and literals; to the end of the line if it is not there.
    fn pass_to(&mut self, text: &[u8]) -> Option<()> {
        while self.at < self.line.len() {
            let rest = &self.line[self.at..];
            if rest.starts_with(text) {
                self.at += text.len();
                return Some(());
            }
            match rest[0] {
                b'"' => self.at += 1 + memchr::memchr(b'"', &rest[1..])? + 1,
                b'\'' => {
                    let before = &self.line[..self.at];
                    let escapes = before.ends_with(b"E")
                        && !before[..self.at - 1].last().is_some_and(|b| is_name(*b));
                    self.at += 1;
                    let inside = end_of_quoted(&self.line[self.at..], b'\'', escapes)?;
                    self.at += inside + 1;
                }
                _ => {
                    let next = memchr::memchr3(text[0], b'"', b'\'', &rest[1..]);
                    self.at += 1 + next.unwrap_or(rest.len() - 1);
                }
            }
        }
        None
    }

    /// A whole literal, from here.
    fn literal(&mut self) -> Option<Value> {
        let start = self.at;
        let rest = &self.line[start..];
        let (skip, escapes) = match rest {
            [b'\'', ..] => (1, false),
            [b'E', b'\'', ..] => (2, true),
            [b'B', b'\'', ..] => (2, false),
            _ => {
                let ends = |byte: &u8| {
                    matches!(byte, b',' | b')' | b' ' | b';' | b':' | b'(' | b'\'' | b'"')
                };
                let length = rest.iter().position(ends)?;
                let word = &rest[..length];
                let is_number = word
                    .first()
                    .is_some_and(|b| b.is_ascii_digit() || *b == b'-')
                    && word
                        .iter()
                        .all(|b| b.is_ascii_digit() || b"+-.eE".contains(b));
                self.at += length;
                return match word {
                    b"null" | b"NULL" => Some(Value::Null),
                    b"true" | b"false" => Some(Value::Plain(start..self.at)),
                    _ if is_number => Some(Value::Plain(start..self.at)),
                    _ => None,
                };
            }
        };
        let inside = start + skip;
        let end = inside + end_of_quoted(&self.line[inside..], b'\'', escapes)?;
        self.at = end + 1;
        Some(Value::Quoted(inside..end, escapes))
    }

    fn put(&mut self, value: Value) {
        let start = match &value {
            Value::Null => self.at - 4,
            Value::Plain(range) => range.start,
            Value::Quoted(range, _) => {
                // The quote, and a letter in front of it.
                let quote = range.start - 1;
                quote - usize::from(matches!(self.line[quote - 1], b'E' | b'B'))
            }
        };
        self.shape
            .text
            .extend_from_slice(&self.line[self.copied..start]);
        self.shape.values.push(value);
        let (start, number) = (self.shape.text.len(), self.shape.values.len());
        let parameter = format!("${number}");
        self.shape.text.extend_from_slice(parameter.as_bytes());
        self.shape.places.push(start..self.shape.text.len());
        self.copied = self.at;
    }
}

fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$' || byte >= 0x80
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn shown(line: &str) -> (String, Vec<Option<String>>) {
        let shape = of(line.as_bytes()).unwrap_or_else(|| panic!("no shape: {line}"));
        let values = shape.values.iter().map(|value| {
            bytes_of(line.as_bytes(), value).map(|bytes| String::from_utf8(bytes).unwrap())
        });
        (
            String::from_utf8(shape.text.clone()).unwrap(),
            values.collect(),
        )
    }

    fn some(values: &[&str]) -> Vec<Option<String>> {
        let one = |value: &&str| (*value != "NULL").then(|| (*value).to_owned());
        values.iter().map(one).collect()
    }

    #[test]
    fn values_become_parameters() {
        for (line, text, values) in [
            (
                "INSERT INTO public.a (id, x) VALUES (1, 'it''s');",
                "INSERT INTO public.a (id, x) VALUES ($1, $2);",
                &["1", "it's"][..],
            ),
            (
                "INSERT INTO a (\" VALUES (\", x) OVERRIDING SYSTEM VALUE VALUES (null, E'a\\n\\\\''', B'01', -1.5e-7);",
                "INSERT INTO a (\" VALUES (\", x) OVERRIDING SYSTEM VALUE VALUES ($1, $2, $3, $4);",
                &["NULL", "a\n\\'", "01", "-1.5e-7"],
            ),
            (
                "UPDATE ONLY public.a SET x = 'a = b, c = 1', y = null WHERE id = 1 AND \"a = b\" = true;",
                "UPDATE ONLY public.a SET x = $1, y = $2 WHERE id = $3 AND \"a = b\" = $4;",
                &["a = b, c = 1", "NULL", "1", "true"],
            ),
            (
                "DELETE FROM public.a WHERE id = 'x'::pg_catalog.regclass AND k = 2;",
                "DELETE FROM public.a WHERE id = 'x'::pg_catalog.regclass AND k = $1;",
                &["2"],
            ),
            (
                "DELETE FROM a WHERE ctid = (SELECT ctid FROM a WHERE i = 1 AND n IS NULL AND \
                 pg_catalog.format('%s', j) = pg_catalog.format('%s', coalesce('{}', j)) LIMIT 1);",
                "DELETE FROM a WHERE ctid = (SELECT ctid FROM a WHERE i = $1 AND n IS NULL AND \
                 pg_catalog.format('%s', j) = pg_catalog.format('%s', coalesce('{}', j)) LIMIT 1);",
                &["1"],
            ),
        ] {
            assert_eq!(shown(line), (text.to_owned(), some(values)), "{line}");
        }
    }

    #[test]
    fn old_values_are_no_part_of_a_shape() {
        let line =
            "UPDATE a SET x = ' /* was ', y = 2 WHERE id = 'k' /* was x = 'v', y = E'\\/\\*' */;";
        let text = "UPDATE a SET x = $1, y = $2 WHERE id = $3;";
        assert_eq!(
            shown(line),
            (text.to_owned(), some(&[" /* was ", "2", "k"]))
        );
        let line = "DELETE FROM a WHERE id = 1 AND b = 2 /* was j = '{}' */;";
        let text = "DELETE FROM a WHERE id = $1 AND b = $2;";
        assert_eq!(shown(line), (text.to_owned(), some(&["1", "2"])));
        // However long the comment is.
        let long = format!(
            "UPDATE a SET x = 1 WHERE id = 2 /* was x = '{}' */;",
            "x".repeat(LONGEST)
        );
        let text = "UPDATE a SET x = $1 WHERE id = $2;";
        assert_eq!(shown(&long), (text.to_owned(), some(&["1", "2"])));
    }

    #[test]
    fn what_is_not_known_is_left_alone() {
        for line in [
            "INSERT INTO public.a DEFAULT VALUES;",
            "INSERT INTO public.a (id) VALUES (now());",
            "INSERT INTO public.a (id) VALUES ('a);",
            "INSERT INTO public.a (id) VALUES (1), (2);",
            "DELETE FROM public.a WHERE n IS NULL;",
            "UPDATE public.a SET x = 'a WHERE id = 1;",
            "SELECT pg_catalog.setval('public.s', 33, true);",
            "TRUNCATE public.a;",
        ] {
            assert_eq!(of(line.as_bytes()), None, "{line}");
        }
    }

    #[test]
    fn a_shape_with_its_values_is_the_line_again() {
        // Whatever is in a value, the text around it stays as it was.
        for value in ["$1", "\\", "'", "a = 1, ", ";", "E'", "\u{e4}\n\t", ""] {
            let quoted = value.replace('\'', "''");
            let literal = if value.contains(['\\', '\n', '\t']) {
                let escaped = quoted.replace('\\', "\\\\").replace('\n', "\\n");
                format!("E'{}'", escaped.replace('\t', "\\t"))
            } else {
                format!("'{quoted}'")
            };
            let line = format!("UPDATE t SET a = {literal}, b = {literal} WHERE c = {literal};");
            let (text, values) = shown(&line);
            assert_eq!(text, "UPDATE t SET a = $1, b = $2 WHERE c = $3;", "{line}");
            assert_eq!(values, vec![Some(value.to_owned()); 3], "{line}");
        }
    }
}
