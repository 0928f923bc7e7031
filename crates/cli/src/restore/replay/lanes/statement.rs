//! A row change, read for the values of its key: its table, and which value each column has.

use super::super::shape::{self, Value};

/// A value's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// `$1` of a shape.
    Parameter(usize),
    Literal(Value),
}

/// INSERT, UPDATE or DELETE of one row.
#[derive(Debug, PartialEq, Eq)]
pub struct Statement<'t> {
    /// As it is written, without ONLY.
    pub table: &'t [u8],
    /// What the columns become; names are not quoted.
    sets: Vec<(Vec<u8>, Part)>,
    /// By what the row is found.
    finds: Vec<(Vec<u8>, Part)>,
    is_insert: bool,
}

impl Statement<'_> {
    /// The value of a column before the change, or after it.
    pub fn value_of(&self, column: &[u8], of_new: bool) -> Option<&Part> {
        let find = |list: &'_ [(Vec<u8>, Part)]| list.iter().position(|(name, _)| name == column);
        let is_set = of_new || self.is_insert;
        if let Some(at) = find(&self.sets).filter(|_| is_set) {
            return Some(&self.sets[at].1);
        }
        find(&self.finds).map(|at| &self.finds[at].1)
    }
}

/// A statement, or the text of a shape; `None` for one that is not as the output plugin writes row changes.
pub fn parse(text: &[u8]) -> Option<Statement<'_>> {
    let mut read = Read { text, at: 0 };
    if read.takes(b"INSERT INTO ") {
        return read.insert();
    }
    let is_update = read.takes(b"UPDATE ");
    if !is_update && !read.takes(b"DELETE FROM ") {
        return None;
    }
    read.takes(b"ONLY ");
    let table = read.table()?;
    let mut sets = Vec::new();
    if is_update {
        read.expects(b" SET ")?;
        loop {
            let name = read.name()?;
            read.expects(b" = ")?;
            sets.push((name, read.value()?));
            if !read.takes(b", ") {
                break;
            }
        }
    }
    read.expects(b" WHERE ")?;
    // Of a row that is found by all its values: `ctid = (SELECT ctid FROM table WHERE …`.
    if read.takes(b"ctid = (SELECT ctid FROM ") {
        read.takes(b"ONLY ");
        read.table()?;
        read.expects(b" WHERE ")?;
    }
    let mut finds = Vec::new();
    loop {
        let begun = read.at;
        if let Some(found) = read.comparison() {
            finds.push(found);
        } else {
            read.at = begun;
        }
        match shape::find_outside(&text[read.at..], b" AND ") {
            Some(at) => read.at += at + 5,
            None => break,
        }
    }
    Some(Statement {
        table,
        sets,
        finds,
        is_insert: false,
    })
}

/// `COPY table (column, …) FROM stdin;`: the table as it is written, and the columns' names.
pub fn parse_copy(text: &[u8]) -> Option<(&[u8], Vec<Vec<u8>>)> {
    let mut read = Read { text, at: 0 };
    read.expects(b"COPY ")?;
    let table = read.table()?;
    let columns = read.columns()?;
    read.expects(b" FROM stdin;")?;
    (read.at == text.len()).then_some((table, columns))
}

/// What a field of COPY denotes; not for NULL.
pub fn field(field: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(field.len());
    let mut bytes = field.iter().copied();
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            text.push(byte);
            continue;
        }
        // PostgreSQL's documentation of COPY, "Text Format"; the archive has no numeric escapes.
        text.push(match bytes.next().unwrap_or(b'\\') {
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'v' => 11,
            other => other,
        });
    }
    text
}

struct Read<'t> {
    text: &'t [u8],
    at: usize,
}

impl<'t> Read<'t> {
    fn rest(&self) -> &'t [u8] {
        &self.text[self.at..]
    }

    fn takes(&mut self, text: &[u8]) -> bool {
        let is_there = self.rest().starts_with(text);
        if is_there {
            self.at += text.len();
        }
        is_there
    }

    fn expects(&mut self, text: &[u8]) -> Option<()> {
        self.takes(text).then_some(())
    }

    /// An identifier: what it names.
    fn name(&mut self) -> Option<Vec<u8>> {
        let rest = self.rest();
        if rest.first() != Some(&b'"') {
            let ends = |byte: &u8| matches!(byte, b' ' | b',' | b')' | b'(' | b'.' | b';' | b'=');
            let length = rest.iter().position(ends)?;
            self.at += length;
            return (length > 0).then(|| rest[..length].to_vec());
        }
        let mut name = Vec::new();
        let mut at = 1;
        loop {
            let end = at + memchr::memchr(b'"', &rest[at..])?;
            name.extend_from_slice(&rest[at..end]);
            if rest.get(end + 1) != Some(&b'"') {
                self.at += end + 1;
                return Some(name);
            }
            name.push(b'"');
            at = end + 2;
        }
    }

    /// `schema.table`, as it is written.
    fn table(&mut self) -> Option<&'t [u8]> {
        let begun = self.at;
        self.name()?;
        self.expects(b".")?;
        self.name()?;
        Some(&self.text[begun..self.at])
    }

    /// ` (column, …)`
    fn columns(&mut self) -> Option<Vec<Vec<u8>>> {
        self.expects(b" (")?;
        let mut columns = vec![self.name()?];
        while self.takes(b", ") {
            columns.push(self.name()?);
        }
        self.expects(b")")?;
        Some(columns)
    }

    fn value(&mut self) -> Option<Part> {
        if self.takes(b"$") {
            let digits = self.rest().iter().take_while(|byte| byte.is_ascii_digit());
            let length = digits.count();
            let number = std::str::from_utf8(&self.rest()[..length]).ok()?;
            self.at += length;
            return number.parse().ok().map(Part::Parameter);
        }
        let (value, end) = shape::literal_at(self.text, self.at)?;
        self.at = end;
        Some(Part::Literal(value))
    }

    fn insert(mut self) -> Option<Statement<'t>> {
        let table = self.table()?;
        let columns = self.columns()?;
        self.takes(b" OVERRIDING SYSTEM VALUE");
        self.expects(b" VALUES (")?;
        let mut sets = Vec::new();
        for (nth, name) in columns.into_iter().enumerate() {
            if nth > 0 {
                self.expects(b", ")?;
            }
            sets.push((name, self.value()?));
        }
        self.expects(b");")?;
        Some(Statement {
            table,
            sets,
            finds: Vec::new(),
            is_insert: true,
        })
    }

    /// `column = value`, which ends there.
    fn comparison(&mut self) -> Option<(Vec<u8>, Part)> {
        let name = self.name()?;
        self.expects(b" = ")?;
        let value = self.value()?;
        let ends: [&[u8]; 3] = [b" AND ", b";", b" LIMIT 1);"];
        let is_end = ends.iter().any(|end| self.rest().starts_with(end));
        is_end.then_some((name, value))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn values(text: &str, column: &str) -> (String, [Option<String>; 2]) {
        let statement = parse(text.as_bytes()).unwrap_or_else(|| panic!("{text}"));
        let value = |of_new| {
            let part = statement.value_of(column.as_bytes(), of_new)?;
            Some(match part {
                Part::Parameter(number) => format!("${number}"),
                Part::Literal(value) => {
                    let bytes = shape::bytes_of(text.as_bytes(), value)?;
                    String::from_utf8(bytes).unwrap()
                }
            })
        };
        let table = String::from_utf8_lossy(statement.table).into_owned();
        (table, [value(false), value(true)])
    }

    #[test]
    fn the_key_before_and_after_a_change_is_found() {
        for (text, column, table, before, after) in [
            ("INSERT INTO public.t (a, b) VALUES (1, 'x');", "a", "public.t", Some("1"), Some("1")),
            (
                "INSERT INTO s.\"T (\" (\"a \"\"b\", c) OVERRIDING SYSTEM VALUE VALUES (E'x\\n', -2);",
                "a \"b",
                "s.\"T (\"",
                Some("x\n"),
                Some("x\n"),
            ),
            ("UPDATE ONLY s.t SET a = 2, b = 'it''s' WHERE a = 1;", "a", "s.t", Some("1"), Some("2")),
            ("UPDATE s.t SET b = ', a = 3' WHERE a = 1 AND c = 'x AND a = 4';", "a", "s.t", Some("1"), Some("1")),
            ("UPDATE s.t SET a = $1, b = $2 WHERE a = $3;", "a", "s.t", Some("$3"), Some("$1")),
            ("DELETE FROM s.t WHERE a = 'x' AND b = 1;", "b", "s.t", Some("1"), Some("1")),
            (
                "DELETE FROM s.t WHERE ctid = (SELECT ctid FROM s.t WHERE b IS NULL AND a = 7 AND \
                 pg_catalog.format('%s', c) = pg_catalog.format('%s', coalesce('{}', c)) LIMIT 1);",
                "a",
                "s.t",
                Some("7"),
                Some("7"),
            ),
            ("DELETE FROM s.t WHERE b = 1;", "a", "s.t", None, None),
            ("INSERT INTO s.t (b) VALUES (1);", "a", "s.t", None, None),
        ] {
            let expected = [before, after].map(|value| value.map(str::to_owned));
            assert_eq!(values(text, column), (table.to_owned(), expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_change_of_a_row_is_not_read() {
        for text in [
            "TRUNCATE s.t;",
            "INSERT INTO s.t DEFAULT VALUES;",
            "INSERT INTO s.t (a, b) VALUES (1);",
            "UPDATE s.t SET a = now() WHERE a = 1;",
            "UPDATE s.t SET a = 1;",
            "ALTER TABLE s.t ALTER COLUMN a SET GENERATED ALWAYS;",
        ] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn a_field_of_copy_is_what_a_literal_is() {
        let (table, columns) = parse_copy(b"COPY s.t (a, \"b, c\") FROM stdin;").unwrap();
        assert_eq!(table, b"s.t");
        assert_eq!(columns, [&b"a"[..], b"b, c"]);
        assert!(parse_copy(b"COPY s.t (a) FROM '/etc/passwd';").is_none());
        for text in ["it's", "''", "a\tb\nc\r\\", "\\N", ""] {
            let mut literal = Vec::new();
            archive::literal::push_literal(&mut literal, text.as_bytes());
            let (value, _) = shape::literal_at(&[&literal[..], b";"].concat(), 0).unwrap();
            let mut copied = Vec::new();
            archive::literal::push_escaped(&mut copied, text.as_bytes(), b'\t', b"\\t");
            assert_eq!(shape::bytes_of(&literal, &value).unwrap(), text.as_bytes());
            assert_eq!(field(&copied), text.as_bytes(), "{text:?}");
        }
    }
}
