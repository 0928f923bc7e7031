//! The columns of a table, by the statement that makes it: as pg_dump words it in a base, with all names in quotes, and as
//! the output plugin does.
//!
//! No SQL is parsed beyond where a column's type ends: defaults and constraints are passed over as a whole.

use super::Column;
use crate::history::ddl::TableName;
use crate::history::literal::{name_of, names_of};
use crate::history::scanner::{end_of_quoted, Words};
use crate::history::Value;
use crate::past::quoting::written;

/// What a CREATE TABLE says.
#[derive(Debug, PartialEq)]
pub struct Definition {
    /// Its own columns: all of them but those that are only inherited.
    pub columns: Vec<Column>,
    /// The tables from which it inherits.
    pub inherits: Vec<TableName>,
    pub is_partitioned: bool,
    pub is_unlogged: bool,
    /// Its columns are those of a type.
    pub is_typed: bool,
}

/// Of `schema.name`.
pub fn table_name(written: &[u8]) -> Option<TableName> {
    let [schema, table] = names_of(written).try_into().ok()?;
    Some(TableName { schema, table })
}

/// The first statement of the text that makes a table. `None` if there is none, or if it is not as expected.
pub fn read(text: &[u8]) -> Option<Definition> {
    let mut words = Words::new(&text[start(text)?..]);
    words.expect(b"CREATE ")?;
    let is_unlogged = words.pass(b"UNLOGGED ");
    words.pass(b"FOREIGN ");
    words.expect(b"TABLE ")?;
    words.qualified()?;
    let is_typed = words.pass(b" OF ");
    if is_typed {
        words.qualified()?;
    }
    let mut columns = Vec::new();
    if words.pass(b" (") {
        let (items, rest) = items(words.rest())?;
        for item in items.into_iter().filter(|_| !is_typed) {
            columns.extend(column(item)?);
        }
        words = Words::new(rest);
    }
    let rest = words.rest().trim_ascii_start();
    let mut inherits = Vec::new();
    let mut words = Words::new(rest);
    if words.pass(b"INHERITS (") {
        loop {
            inherits.push(table_name(words.qualified()?)?);
            if !words.pass(b", ") {
                break;
            }
        }
        words.expect(b")")?;
    }
    let is_partitioned = words
        .rest()
        .trim_ascii_start()
        .starts_with(b"PARTITION BY ");
    Some(Definition {
        columns,
        inherits,
        is_partitioned,
        is_unlogged,
        is_typed,
    })
}

/// Where it begins: at a line's beginning.
fn start(text: &[u8]) -> Option<usize> {
    let kinds: [&[u8]; 3] = [
        b"CREATE TABLE ",
        b"CREATE UNLOGGED TABLE ",
        b"CREATE FOREIGN TABLE ",
    ];
    let mut at = 0;
    loop {
        if kinds.iter().any(|kind| text[at..].starts_with(kind)) {
            return Some(at);
        }
        at += memchr::memchr(b'\n', &text[at..])? + 1;
    }
}

/// The parts of a list that has been opened, and what is behind its end.
fn items(text: &[u8]) -> Option<(Vec<&[u8]>, &[u8])> {
    let (mut all, mut depth, mut at, mut begin) = (Vec::new(), 0, 0, 0);
    loop {
        match text.get(at)? {
            b'(' | b'[' => depth += 1,
            b')' if depth == 0 => {
                let last = text[begin..at].trim_ascii();
                all.extend((!last.is_empty()).then_some(last));
                return Some((all, &text[at + 1..]));
            }
            b')' | b']' => depth -= 1,
            b',' if depth == 0 => {
                all.push(text[begin..at].trim_ascii());
                begin = at + 1;
            }
            _ => {}
        }
        at = next(text, at)?;
    }
}

/// Behind the literal, the quoted name, or the byte at this place.
fn next(text: &[u8], at: usize) -> Option<usize> {
    let rest = &text[at..];
    match rest[0] {
        b'\'' => {
            let before = |back: usize| at.checked_sub(back).map(|at| text[at]);
            let is_name = |byte: u8| {
                byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$') || byte >= 0x80
            };
            let escapes = matches!(before(1), Some(b'E' | b'e')) && !before(2).is_some_and(is_name);
            Some(at + end_of_quoted(&rest[1..], b'\'', escapes)? + 2)
        }
        b'"' => Some(at + end_of_quoted(&rest[1..], b'"', false)? + 2),
        _ => Some(at + 1),
    }
}

/// A column; nothing for a constraint of the table. `None` where it is neither.
pub fn column(item: &[u8]) -> Option<Option<Column>> {
    const OF_TABLES: [&[u8]; 8] = [
        b"CONSTRAINT ",
        b"CHECK ",
        b"PRIMARY KEY",
        b"UNIQUE ",
        b"EXCLUDE ",
        b"FOREIGN KEY",
        b"LIKE ",
        // Of an inherited column, from 18 on.
        b"NOT NULL ",
    ];
    if OF_TABLES.iter().any(|word| item.starts_with(word)) {
        return Some(None);
    }
    let mut words = Words::new(item);
    let name = name_of(words.identifier()?).into_owned();
    words.expect(b" ")?;
    let rest = words.rest();
    let length = type_length(rest);
    let (type_, words) = (rest[..length].trim_ascii(), &rest[length..]);
    Some(Some(Column {
        number: 0,
        name,
        type_: plain_type(type_),
        is_generated: is_generated(words),
        missing: Value::Null,
        is_local: true,
        inherited: 0,
    }))
}

/// What ends a type.
const BEHIND_TYPES: [&[u8]; 12] = [
    b"COLLATE ",
    b"DEFAULT ",
    b"GENERATED ",
    b"CONSTRAINT ",
    b"NOT ",
    b"NULL",
    b"OPTIONS ",
    b"CHECK ",
    b"PRIMARY ",
    b"UNIQUE",
    b"REFERENCES ",
    b"USING ",
];

/// How long the type is at the beginning of the text.
pub fn type_length(text: &[u8]) -> usize {
    let (mut at, mut depth) = (0, 0);
    while at < text.len() {
        match text[at] {
            b'(' => depth += 1,
            b')' => depth -= 1,
            b' ' if depth == 0 => {
                let rest = &text[at + 1..];
                if BEHIND_TYPES.iter().any(|word| rest.starts_with(word)) {
                    return at;
                }
            }
            _ => {}
        }
        at = next(text, at).unwrap_or(text.len());
    }
    text.len()
}

/// Not an identity, and not only the word in a default.
fn is_generated(words: &[u8]) -> bool {
    let mut at = 0;
    while at < words.len() {
        if words[at..].starts_with(b" GENERATED ALWAYS AS (") {
            return true;
        }
        at = next(words, at).unwrap_or(words.len());
    }
    false
}

/// A type as format_type writes it, without quotes that are not necessary.
pub fn plain_type(text: &[u8]) -> Vec<u8> {
    let mut words = Words::new(text);
    let (quoted, rest) = match words.qualified() {
        Some(name) if name.contains(&b'"') => (name, words.rest()),
        _ => return text.to_vec(),
    };
    let names = names_of(quoted);
    let name = match &names[..] {
        // PostgreSQL's own: "char" is not char.
        [own] if own == b"char" => b"\"char\"".to_vec(),
        [own] if own == b"json" => own.clone(),
        [own] => written(own),
        parts => parts
            .iter()
            .map(|part| written(part))
            .collect::<Vec<_>>()
            .join(&b'.'),
    };
    [&name[..], rest].concat()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Vec<String> {
        let definition = read(text.as_bytes()).unwrap();
        let one = |column: &Column| {
            let generated = if column.is_generated {
                " generated"
            } else {
                ""
            };
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            format!("{}: {}{generated}", text(&column.name), text(&column.type_))
        };
        definition.columns.iter().map(one).collect()
    }

    #[test]
    fn columns_are_read_by_either_wording() {
        let dump = "SET default_tablespace = '';\n\nCREATE TABLE \"public\".\"t\" (\n    \"id\" integer NOT NULL,\n    \
            \"a, (b\" \"public\".\"Mood\"[] DEFAULT '{\"x\"}'::\"public\".\"Mood\"[],\n    \"n\" numeric(10,2) DEFAULT 0,\n    \
            \"ts\" timestamp(3) with time zone,\n    \"j\" \"jsonb\" NOT NULL,\n    \"c\" \"char\",\n    \
            \"g\" integer GENERATED ALWAYS AS ((\"id\" * 2)) STORED,\n    \"i\" bigint GENERATED ALWAYS AS IDENTITY,\n    \
            \"d\" \"text\" COLLATE \"C\" DEFAULT ' GENERATED ALWAYS AS ('::\"text\",\n    NOT NULL \"q\",\n    \
            CONSTRAINT \"k\" CHECK ((\"id\" > 0))\n)\nINHERITS (\"public\".\"p\", \"a b\".\"q\");\n\n\nALTER TABLE \"public\".\"t\" OWNER TO \"x\";\n";
        assert_eq!(
            shown(dump),
            [
                "id: integer",
                "a, (b: public.\"Mood\"[]",
                "n: numeric(10,2)",
                "ts: timestamp(3) with time zone",
                "j: jsonb",
                "c: \"char\"",
                "g: integer generated",
                "i: bigint",
                "d: text"
            ]
        );
        let definition = read(dump.as_bytes()).unwrap();
        let inherits: Vec<&[u8]> = definition.inherits.iter().map(|it| &it.table[..]).collect();
        assert_eq!(inherits, [&b"p"[..], b"q"]);
        assert!(!definition.is_partitioned && !definition.is_typed);
        let effect = "CREATE UNLOGGED TABLE public.t (id integer CONSTRAINT t_id_not_null NOT NULL, v interval day to second(3), \
            w character varying(9) COLLATE pg_catalog.\"C\", x bit varying(5) DEFAULT B'1'::\"bit\", \
            e text DEFAULT E'a\\'b, (c') PARTITION BY RANGE (id) WITH (fillfactor=70)";
        assert_eq!(
            shown(effect),
            [
                "id: integer",
                "v: interval day to second(3)",
                "w: character varying(9)",
                "x: bit varying(5)",
                "e: text"
            ]
        );
        assert!(read(effect.as_bytes()).unwrap().is_partitioned);
    }

    #[test]
    fn tables_without_columns_and_of_types_are_known() {
        assert_eq!(shown("CREATE TABLE public.t ()"), Vec::<String>::new());
        let dump = "CREATE TABLE \"public\".\"t\" (\n)\nPARTITION BY LIST (\"a\");\n";
        assert!(shown(dump).is_empty() && read(dump.as_bytes()).unwrap().is_partitioned);
        assert!(read(b"CREATE TABLE public.t OF public.k").unwrap().is_typed);
        assert!(read(b"CREATE VIEW public.t AS SELECT 1").is_none());
        assert!(read(b"CREATE TABLE public.t (a integer").is_none());
    }
}
