//! Parses the line of one row change: the table, and its values.
//!
//! Parses the dialect of the output plugin (`output_plugin::row_sql`), which is decoder_raw's with a longer
//! WHERE. Anything unexpected results in `None`: the caller treats such a line as one that may concern any
//! row.

use archive::segment::grammar::{WAS_BEGIN, WAS_END};

use super::literal::{copy_field, name_of, Value};
use super::scanner::Words;

/// The operation of a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    Insert,
    Update,
    Delete,
}

/// A column's name and a value of it.
pub type Pair<'a> = (std::borrow::Cow<'a, [u8]>, Value<'a>);

/// A row change.
#[derive(Debug, PartialEq, Eq)]
pub struct Statement<'a> {
    /// The values of an INSERT, or of SET in an UPDATE.
    pub new: Vec<Pair<'a>>,
    /// The values by which an UPDATE or DELETE identifies the row. Of a table with REPLICA IDENTITY FULL, a DELETE has
    /// the whole row here (without generated columns), and so has an UPDATE where the table had no key.
    pub old: Vec<Pair<'a>>,
    /// Other values that the row had before an UPDATE, where the line shows them (`pg_incrbackup.old_values`): of what the
    /// UPDATE changed.
    pub was: Vec<Pair<'a>>,
}

/// The operation and the table, as written, of a line that changes one row.
pub fn head(line: &[u8]) -> Option<(Operation, &[u8])> {
    let mut words = Words::new(line);
    let operation = pass_head(&mut words)?;
    Some((operation, words.qualified()?))
}

fn pass_head(words: &mut Words<'_>) -> Option<Operation> {
    let operation = if words.pass(b"INSERT INTO ") {
        return Some(Operation::Insert);
    } else if words.pass(b"UPDATE ") {
        Operation::Update
    } else if words.pass(b"DELETE FROM ") {
        Operation::Delete
    } else {
        return None;
    };
    words.pass(b"ONLY ");
    Some(operation)
}

/// The tables of a TRUNCATE line, as written.
pub fn truncated(line: &[u8]) -> Option<Vec<&[u8]>> {
    let mut words = Words::new(line);
    words.expect(b"TRUNCATE ")?;
    words.pass(b"TABLE ");
    let mut tables = Vec::new();
    loop {
        words.pass(b"ONLY ");
        tables.push(words.qualified()?);
        if !words.pass(b", ") {
            return Some(tables);
        }
    }
}

/// The table of a COPY block's first line, as written.
pub fn copied(line: &[u8]) -> Option<&[u8]> {
    let mut words = Words::new(line);
    words.expect(b"COPY ")?;
    words.qualified()
}

/// The columns of a COPY block's first line.
pub fn copy_columns(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut words = Words::new(line);
    words.expect(b"COPY ")?;
    words.qualified()?;
    let columns = columns(&mut words)?;
    Some(
        columns
            .into_iter()
            .map(|c| name_of(c).into_owned())
            .collect(),
    )
}

/// The values of a COPY row.
pub fn copy_values(row: &[u8]) -> impl Iterator<Item = Value<'_>> {
    row.split(|byte| *byte == b'\t').map(copy_field)
}

fn columns<'a>(words: &mut Words<'a>) -> Option<Vec<&'a [u8]>> {
    words.expect(b" (")?;
    let mut columns = Vec::new();
    loop {
        columns.push(words.identifier()?);
        if !words.pass(b", ") {
            break;
        }
    }
    words.expect(b")")?;
    Some(columns)
}

impl<'a> Statement<'a> {
    /// Parses a line that [`head`] accepts.
    pub fn parse(line: &'a [u8]) -> Option<Statement<'a>> {
        let mut words = Words::new(line);
        let operation = pass_head(&mut words)?;
        words.qualified()?;
        let mut statement = Statement {
            new: Vec::new(),
            old: Vec::new(),
            was: Vec::new(),
        };
        match operation {
            Operation::Insert => statement.new = inserted(&mut words)?,
            Operation::Update => {
                statement.new = set(&mut words)?;
                (statement.old, statement.was) = sought(&mut words)?;
            }
            Operation::Delete => (statement.old, statement.was) = sought(&mut words)?,
        }
        Some(statement)
    }

    /// The row's previous value.
    pub fn before(&self, column: &[u8]) -> Option<&Value<'a>> {
        find(&self.old, column).or_else(|| find(&self.was, column))
    }

    /// The row's new value; a column that an UPDATE does not set keeps its value.
    pub fn after(&self, column: &[u8]) -> Option<&Value<'a>> {
        find(&self.new, column).or_else(|| self.before(column))
    }
}

fn find<'v, 'a>(pairs: &'v [Pair<'a>], column: &[u8]) -> Option<&'v Value<'a>> {
    pairs
        .iter()
        .find(|(name, _)| name.as_ref() == column)
        .map(|(_, value)| value)
}

fn inserted<'a>(words: &mut Words<'a>) -> Option<Vec<Pair<'a>>> {
    if words.rest() == b" DEFAULT VALUES;" {
        return Some(Vec::new());
    }
    let columns = columns(words)?;
    words.pass(b" OVERRIDING SYSTEM VALUE");
    words.expect(b" VALUES (")?;
    let mut pairs = Vec::with_capacity(columns.len());
    for (nth, column) in columns.into_iter().enumerate() {
        if nth > 0 {
            words.expect(b", ")?;
        }
        pairs.push((name_of(column), words.literal()?));
    }
    (words.rest() == b");").then_some(pairs)
}

fn set<'a>(words: &mut Words<'a>) -> Option<Vec<Pair<'a>>> {
    words.expect(b" SET ")?;
    assignments(words)
}

/// `column = value, …`
fn assignments<'a>(words: &mut Words<'a>) -> Option<Vec<Pair<'a>>> {
    let mut pairs = Vec::new();
    loop {
        let column = words.identifier()?;
        words.expect(b" = ")?;
        pairs.push((name_of(column), words.literal()?));
        if !words.pass(b", ") {
            return Some(pairs);
        }
    }
}

/// The values by which the row is found, and those that it also had.
fn sought<'a>(words: &mut Words<'a>) -> Option<(Vec<Pair<'a>>, Vec<Pair<'a>>)> {
    words.expect(b" WHERE ")?;
    let is_one_of_the_same = if words.pass(b"ctid = (SELECT ctid FROM ") {
        true
    } else {
        words.pass(b"(tableoid, ctid) = (SELECT tableoid, ctid FROM ")
    };
    let mut pairs = Vec::new();
    if is_one_of_the_same {
        words.pass(b"ONLY ");
        words.qualified()?;
        // A table without columns has no WHERE inside.
        if words.rest() == b" LIMIT 1);" {
            return Some((pairs, Vec::new()));
        }
        words.expect(b" WHERE ")?;
    }
    loop {
        let pair = comparison(words)?;
        // The second comparison of a column, of its text, is redundant.
        if find(&pairs, &pair.0).is_none() {
            pairs.push(pair);
        }
        if !words.pass(b" AND ") {
            break;
        }
    }
    let mut was = Vec::new();
    let end: &[u8] = if is_one_of_the_same {
        b" LIMIT 1);"
    } else {
        if words.pass(WAS_BEGIN) {
            was = assignments(words)?;
            words.expect(WAS_END)?;
        }
        b";"
    };
    (words.rest() == end).then_some((pairs, was))
}

fn comparison<'a>(words: &mut Words<'a>) -> Option<Pair<'a>> {
    if words.pass(b"pg_catalog.format('%s', ") {
        let column = words.identifier()?;
        words.expect(b") = pg_catalog.format('%s', coalesce(")?;
        let value = words.literal()?;
        words.expect(b", ")?;
        words.identifier()?;
        words.expect(b"))")?;
        // Where the column's collation is nondeterministic.
        words.pass(b" COLLATE pg_catalog.\"C\"");
        return Some((name_of(column), value));
    }
    let column = name_of(words.identifier()?);
    if words.pass(b" IS NULL") || words.pass(b" IS NOT DISTINCT FROM NULL") {
        return Some((column, Value::Null));
    }
    words.expect(b" ")?;
    if words.pass(b"OPERATOR(") {
        let end = memchr::memmem::find(words.rest(), b") ")?;
        let mut operator = Words::new(&words.rest()[..end]);
        operator.identifier()?;
        *words = Words::new(&words.rest()[end + 2..]);
    } else {
        // Whatever the name of the type's equality operator.
        let end = memchr::memchr(b' ', words.rest())?;
        *words = Words::new(&words.rest()[end + 1..]);
    }
    let value = words.literal()?;
    words.pass_cast();
    Some((column, value))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn shown(pairs: &[Pair<'_>]) -> String {
        let one = |(name, value): &Pair<'_>| {
            let value = match value {
                Value::Null => "NULL".to_owned(),
                Value::Text(text) => format!("<{}>", String::from_utf8_lossy(text)),
            };
            format!("{}={value}", String::from_utf8_lossy(name))
        };
        pairs.iter().map(one).collect::<Vec<_>>().join(" ")
    }

    fn read(line: &str) -> (String, String) {
        let statement = Statement::parse(line.as_bytes()).unwrap();
        (shown(&statement.new), shown(&statement.old))
    }

    #[test]
    fn every_form_of_a_row_change_is_read() {
        for (line, new, old) in [
            (
                "INSERT INTO public.a (id, \"X y\") VALUES (1, E'a\\n(''');",
                Some("id=<1> X y=<a\n('>"),
                "",
            ),
            (
                "INSERT INTO public.a (id, x) OVERRIDING SYSTEM VALUE VALUES (1, null);",
                Some("id=<1> x=NULL"),
                "",
            ),
            ("INSERT INTO public.a DEFAULT VALUES;", Some(""), ""),
            (
                "UPDATE ONLY public.a SET id = 1, x = 'a, b = c WHERE' WHERE id = 1 AND b = '0.1';",
                Some("id=<1> x=<a, b = c WHERE>"),
                "id=<1> b=<0.1>",
            ),
            (
                "DELETE FROM public.a WHERE id = 'x'::pg_catalog.regclass AND \"Y\" IS NULL;",
                Some(""),
                "id=<x> Y=NULL",
            ),
            (
                "DELETE FROM a WHERE id OPERATOR(ext.=) 'A b'::ext.\"ci AND text\" AND k = 2;",
                Some(""),
                "id=<A b> k=<2>",
            ),
            (
                "UPDATE public.a SET x = 2 WHERE ctid = (SELECT ctid FROM public.a WHERE id = 1 AND \
                 n IS NULL AND pg_catalog.format('%s', j) = pg_catalog.format('%s', \
                 coalesce('{\"a\": 1}', j)) AND r IS NOT DISTINCT FROM NULL LIMIT 1);",
                Some("x=<2>"),
                "id=<1> n=NULL j=<{\"a\": 1}> r=NULL",
            ),
            (
                "DELETE FROM p WHERE (tableoid, ctid) = (SELECT tableoid, ctid FROM p WHERE id = 1 LIMIT 1);",
                Some(""),
                "id=<1>",
            ),
            ("DELETE FROM ONLY p WHERE ctid = (SELECT ctid FROM ONLY p LIMIT 1);", Some(""), ""),
        ] {
            let Some(new) = new else {
                assert_eq!(Statement::parse(line.as_bytes()), None, "{line}");
                continue;
            };
            assert_eq!(read(line), (new.to_owned(), old.to_owned()), "{line}");
        }
    }

    #[test]
    fn old_values_in_a_comment_are_read() {
        let line = "UPDATE a SET x = 2, y = '*/' WHERE id = 'k'::s.\"/* was \" /* was x = 1, \"Y \" = E'\\*\\/, b = 1', z = null */;";
        let statement = Statement::parse(line.as_bytes()).unwrap();
        assert_eq!(shown(&statement.old), "id=<k>");
        assert_eq!(shown(&statement.was), "x=<1> Y =<*/, b = 1> z=NULL");
        assert_eq!(statement.before(b"x"), Some(&Value::text("1")));
        assert_eq!(statement.after(b"x"), Some(&Value::text("2")));
    }

    #[test]
    fn what_is_not_understood_is_not_guessed() {
        for line in [
            "UPDATE public.a SET x = 1 WHERE id = 1 /* was x = 2;",
            "UPDATE public.a SET x = 1 WHERE id = 1 /* x = 2 */;",
            "UPDATE public.a SET x = 1 WHERE id = 1 /* was x = 2 */",
            "INSERT INTO public.a (id) VALUES (1, 2);",
            "INSERT INTO public.a (id, x) VALUES (1);",
            "INSERT INTO public.a (id) SELECT 1;",
            "UPDATE public.a SET id = 1;",
            "DELETE FROM public.a;",
            "DELETE FROM public.a WHERE id = 1 OR x = 2;",
            "DELETE FROM public.a WHERE id = 'a",
            "SELECT 1;",
        ] {
            assert_eq!(Statement::parse(line.as_bytes()), None, "{line}");
        }
    }

    #[test]
    fn heads_are_read() {
        assert_eq!(
            head(b"UPDATE ONLY s.\"T t\" SET a = 1 WHERE a = 1;"),
            Some((Operation::Update, &b"s.\"T t\""[..]))
        );
        assert_eq!(
            truncated(b"TRUNCATE ONLY s.a, s.\"b, c\" CASCADE;"),
            Some(vec![&b"s.a"[..], b"s.\"b, c\""])
        );
        assert_eq!(
            copy_columns(b"COPY s.a (id, \"X, y\") FROM stdin;"),
            Some(vec![b"id".to_vec(), b"X, y".to_vec()])
        );
    }
}
