//! Lines of one form: the text between their values is the same. A line of a form that is known is read by comparing that
//! text, and only the values of its key are looked at; this is what most lines are.
//!
//! A form is made from a line that the parser has read ([`Statement`]), which decides what is what: here is only the place
//! of each value. What does not match is read by the parser again.

use std::ops::Range;
use std::rc::Rc;

use archive::literal::push_escaped;
use archive::segment::grammar::{WAS_BEGIN, WAS_END};
use archive_query::history::literal::unescape;
use archive_query::history::scanner::{end_of_quoted, Words};
use archive_query::history::statement::Operation;

use super::key::is_same;
use super::net::Columns;

/// A form.
#[derive(Debug)]
pub struct Template {
    /// The text before each value, and behind the last one, without the end of the line.
    pieces: Vec<Piece>,
    tail: Vec<u8>,
    pub operation: Operation,
    pub sets: Rc<Columns>,
    /// Which values are those of the key before, and after.
    old: Vec<usize>,
    new: Vec<usize>,
}

/// A text that lines have between two values. Most are short: these are compared as a number.
#[derive(Debug)]
struct Piece {
    text: Vec<u8>,
    /// Its first bytes, and which bits of a number they are.
    start: u64,
    mask: u64,
}

impl Piece {
    fn of(text: &[u8]) -> Piece {
        let (mut start, mut mask) = ([0; 8], [0; 8]);
        for (nth, byte) in text.iter().take(8).enumerate() {
            (start[nth], mask[nth]) = (*byte, 0xff);
        }
        Piece {
            text: text.to_vec(),
            start: u64::from_le_bytes(start),
            mask: u64::from_le_bytes(mask),
        }
    }

    /// Whether `line` begins with it.
    fn begins(&self, line: &[u8]) -> bool {
        if let Some(first) = line.first_chunk::<8>() {
            let is_it = u64::from_le_bytes(*first) & self.mask == self.start;
            if !is_it || self.text.len() <= 8 {
                return is_it;
            }
        }
        let start = line.get(..self.text.len());
        start.is_some_and(|start| is_same(start, &self.text))
    }
}

/// A value in a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    Bare(Range<usize>),
    /// Between quotes; true if backslashes escape.
    Quoted(Range<usize>, bool),
}

impl Template {
    /// The form of a line. `old` and `new` are places of the key among its values: those that it sets, then those of WHERE.
    /// None if it has values that are written otherwise.
    pub fn of(
        line: &[u8],
        operation: Operation,
        sets: &Rc<Columns>,
        count: usize,
        (old, new): (Vec<usize>, Vec<usize>),
    ) -> Option<Template> {
        let values = values(line, operation)?;
        if values.len() != count {
            return None;
        }
        let mut pieces = Vec::new();
        let mut end = 0;
        for value in &values {
            pieces.push(Piece::of(&line[end..value.start]));
            end = value.end;
        }
        let rest = &line[end..];
        let comment = memchr::memmem::find(rest, WAS_BEGIN);
        let tail = &rest[..comment.unwrap_or(rest.len() - 1)];
        let template = Template {
            pieces,
            tail: tail.to_vec(),
            operation,
            sets: Rc::clone(sets),
            old,
            new,
        };
        // It must read the line as the parser has.
        let mut places = Vec::new();
        template.reads(line, &mut places).then_some(template)
    }

    /// Whether a line is of this form; the places of its values.
    pub fn reads(&self, line: &[u8], places: &mut Vec<Place>) -> bool {
        places.clear();
        let mut at = 0;
        for piece in &self.pieces {
            if !piece.begins(&line[at..]) {
                return false;
            }
            at += piece.text.len();
            let Some((place, end)) = literal(line, at) else {
                return false;
            };
            places.push(place);
            at = end;
        }
        // What an UPDATE has changed may stand behind it in a comment, other values in each line.
        let rest = &line[at..];
        let tail = rest.get(..self.tail.len());
        tail.is_some_and(|tail| is_same(tail, &self.tail)) && is_end(&rest[self.tail.len()..])
    }

    /// The key before and after as fields of a COPY row; none if a value of it is NULL. What is not in the line as it is
    /// there is put into `rooms`.
    pub fn keys<'k>(
        &self,
        line: &'k [u8],
        places: &[Place],
        rooms: (&'k mut Vec<u8>, &'k mut Vec<u8>),
    ) -> Option<(&'k [u8], &'k [u8])> {
        let old = key(line, places, &self.old, rooms.0)?;
        Some((old, key(line, places, &self.new, rooms.1)?))
    }
}

fn key<'k>(
    line: &'k [u8],
    places: &[Place],
    key: &[usize],
    room: &'k mut Vec<u8>,
) -> Option<&'k [u8]> {
    if let [place] = key {
        if let Place::Bare(range) = &places[*place] {
            let word = &line[range.clone()];
            return (!is_null(word)).then_some(word);
        }
    }
    room.clear();
    push_key(line, places, key, room).then_some(room)
}

fn is_null(word: &[u8]) -> bool {
    word.len() == 4 && word.eq_ignore_ascii_case(b"null")
}

fn push_key(line: &[u8], places: &[Place], key: &[usize], out: &mut Vec<u8>) -> bool {
    for (nth, place) in key.iter().enumerate() {
        if nth > 0 {
            out.push(b'\t');
        }
        match &places[*place] {
            Place::Bare(range) => {
                let word = &line[range.clone()];
                if is_null(word) {
                    return false;
                }
                out.extend_from_slice(word);
            }
            Place::Quoted(range, escapes) => {
                let text = unescape(&line[range.clone()], *escapes);
                push_escaped(out, &text, b'\t', b"\\t");
            }
        }
    }
    true
}

/// The bytes of a value without quotes.
const IS_BARE: [bool; 256] = {
    let (mut is_bare, mut byte) = ([false; 256], 0_u8);
    while byte < 128 {
        is_bare[byte as usize] = byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
        byte += 1;
    }
    is_bare
};

/// A literal at a place, as [`Words::literal`] reads it, and where it ends.
fn literal(line: &[u8], at: usize) -> Option<(Place, usize)> {
    let (inside, escapes) = match line.get(at..)? {
        [b'\'', ..] => (at + 1, false),
        [b'E', b'\'', ..] => (at + 2, true),
        [b'B', b'\'', ..] => (at + 2, false),
        rest => {
            let is_in = |byte: &u8| IS_BARE[usize::from(*byte)];
            let length = rest.iter().take_while(|byte| is_in(byte)).count();
            let end = at + length;
            return (length > 0).then_some((Place::Bare(at..end), end));
        }
    };
    let end = inside + end_of_quoted(&line[inside..], b'\'', escapes)?;
    Some((Place::Quoted(inside..end, escapes), end + 1))
}

/// Where the values of a line are; none if one is not a literal.
fn values(line: &[u8], operation: Operation) -> Option<Vec<Range<usize>>> {
    let mut found = Vec::new();
    let mut words = Words::new(line);
    let mut value = |words: &mut Words<'_>| {
        let start = line.len() - words.rest().len();
        words.literal()?;
        found.push(start..line.len() - words.rest().len());
        Some(())
    };
    match operation {
        Operation::Insert => {
            words.expect(b"INSERT INTO ")?;
            words.qualified()?;
            words.expect(b" (")?;
            words.identifier()?;
            while words.pass(b", ") {
                words.identifier()?;
            }
            words.expect(b")")?;
            words.pass(b" OVERRIDING SYSTEM VALUE");
            words.expect(b" VALUES (")?;
            value(&mut words)?;
            while words.pass(b", ") {
                value(&mut words)?;
            }
            return (words.rest() == b");").then_some(found);
        }
        Operation::Update => words.expect(b"UPDATE ")?,
        Operation::Delete => words.expect(b"DELETE FROM ")?,
    }
    words.pass(b"ONLY ");
    words.qualified()?;
    if operation == Operation::Update {
        words.expect(b" SET ")?;
        loop {
            words.identifier()?;
            words.expect(b" = ")?;
            value(&mut words)?;
            if !words.pass(b", ") {
                break;
            }
        }
    }
    words.expect(b" WHERE ")?;
    loop {
        words.identifier()?;
        words.expect(b" ")?;
        let end = if words.pass(b"OPERATOR(") {
            memchr::memmem::find(words.rest(), b") ")? + 2
        } else {
            memchr::memchr(b' ', words.rest())? + 1
        };
        let operator = &words.rest()[..end];
        // `IS NULL` and what is behind it.
        if operator == b"IS " {
            return None;
        }
        words = Words::new(&words.rest()[end..]);
        value(&mut words)?;
        words.pass_cast();
        if !words.pass(b" AND ") {
            break;
        }
    }
    is_end(words.rest()).then_some(found)
}

/// The end of a line, with or without a comment.
fn is_end(rest: &[u8]) -> bool {
    let comment = rest.strip_prefix(WAS_BEGIN);
    rest == b";"
        || comment.is_some_and(|rest| {
            rest.strip_suffix(b";")
                .is_some_and(|rest| rest.ends_with(WAS_END))
        })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use archive_query::history::statement::{head, Statement};

    use super::*;

    /// The form of a line whose first value is its key, before and after.
    fn of(line: &str) -> Option<Template> {
        let (operation, _) = head(line.as_bytes()).unwrap();
        let statement = Statement::parse(line.as_bytes()).unwrap();
        let (new, old) = (statement.new.len(), statement.old.len());
        let keys = match operation {
            Operation::Insert => (vec![], vec![0]),
            Operation::Update => (vec![new], vec![0]),
            Operation::Delete => (vec![0], vec![]),
        };
        let sets = Rc::new(Columns::of((0..new).collect()));
        Template::of(line.as_bytes(), operation, &sets, new + old, keys)
    }

    fn keys(template: &Template, line: &str) -> Option<(String, String)> {
        // Of a line before it.
        let (mut places, mut old, mut new) = (Vec::new(), b"x".to_vec(), b"x".to_vec());
        let line = line.as_bytes();
        if !template.reads(line, &mut places) {
            return None;
        }
        let (old, new) = template.keys(line, &places, (&mut old, &mut new))?;
        let text = |key: &[u8]| String::from_utf8(key.to_vec()).unwrap();
        Some((text(old), text(new)))
    }

    #[test]
    fn a_line_of_the_same_form_is_read() {
        for (one, other, old, new) in [
            (
                "INSERT INTO a (id, \"x (\") VALUES (1, 'y');",
                "INSERT INTO a (id, \"x (\") VALUES (E'it''s\\n', null);",
                "",
                "it's\\n",
            ),
            (
                "UPDATE ONLY a SET id = 1, x = 'y' WHERE id = 1;",
                "UPDATE ONLY a SET id = -2, x = 'a WHERE id = 1;' WHERE id = 'b\t';",
                "b\\t",
                "-2",
            ),
            (
                "UPDATE a SET id = 1, x = 'y' WHERE id = 1;",
                "UPDATE a SET id = 3, x = null WHERE id = 2 /* was x = 'y, WHERE' */;",
                "2",
                "3",
            ),
            (
                "UPDATE a SET id = 1 WHERE id = 'a'::s.t /* was x = 1 */;",
                "UPDATE a SET id = 1 WHERE id = 'b'::s.t;",
                "b",
                "1",
            ),
            (
                "DELETE FROM a WHERE id OPERATOR(ext.=) 'A'::ext.citext AND k = 1.5;",
                "DELETE FROM a WHERE id OPERATOR(ext.=) 'B'::ext.citext AND k = 'NaN';",
                "B",
                "",
            ),
        ] {
            let template = of(one).unwrap();
            let read = keys(&template, other);
            assert_eq!(read, Some((old.to_owned(), new.to_owned())), "{other}");
        }
    }

    #[test]
    fn a_line_of_another_form_is_not() {
        let template = of("UPDATE a SET id = 1, x = 'y' WHERE id = 1;").unwrap();
        for line in [
            "UPDATE a SET id = 1, x = 'y' WHERE id = 1; ",
            "UPDATE a SET id = 1, x = 'y' WHERE id = null;",
            "UPDATE a SET id = 1, x = 'y' WHERE id = 1 AND x = 1;",
            "UPDATE a SET id = 1, y = 'y' WHERE id = 1;",
            "UPDATE a SET id = 1, x = 'y WHERE id = 1;",
            "UPDATE a SET id = 1, x = 'y' WHERE id = 1 /* was x = 1;",
            "UPDATE a SET id = 1",
            "UPDATE b SET id = 1, x = 'y' WHERE id = 1;",
            "UPDATE a SET id = 1, x = 'y' WHERE ix = 1;",
            "UPDATE a SET id = 1, xx = 'y' WHERE id = 1;",
            "",
        ] {
            assert_eq!(keys(&template, line), None, "{line}");
        }
        assert!(of("DELETE FROM a WHERE id = 1 AND x IS NULL;").is_none());
        let whole = "DELETE FROM a WHERE ctid = (SELECT ctid FROM a WHERE id = 1 LIMIT 1);";
        assert!(of(whole).is_none());
    }
}
