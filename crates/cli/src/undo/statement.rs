//! The statement that takes one row change back, guarded by the state that the change left.
//!
//! | undone | statement | does nothing if |
//! | --- | --- | --- |
//! | INSERT | DELETE | a value of the row is another one |
//! | UPDATE | UPDATE of the columns that it changed | one of these columns has another value |
//! | DELETE | INSERT … ON CONFLICT DO NOTHING | a row with a unique value of it is there |
//!
//! Values are compared by their texts, as the files have them: every type has one, and an equality operator may be missing
//! (json, point) or take different values for the same. Beside that, columns of common types are compared by their operator, for
//! which an index may be used. All names and operators are qualified: the session's search_path is the user's.

use archive::literal::push_literal;
use archive_query::history::Value;

/// A column with values in the files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// As SQL has it, quoted if necessary.
    pub name: Vec<u8>,
    /// As format_type writes it; only its being one of [`COMMON`] matters.
    pub type_: Vec<u8>,
}

/// A table whose rows are changed back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// `schema.name`, quoted if necessary.
    pub name: Vec<u8>,
    pub columns: Vec<Column>,
    /// Its rows are in its partitions.
    pub is_partitioned: bool,
}

/// What a change made of a row: its values, in the order of the columns.
#[derive(Debug, Clone, Copy)]
pub enum Change<'a> {
    Insert(&'a [Value<'static>]),
    /// Before, after, and the places of the columns that identify the row; without them all do.
    Update(
        &'a [Value<'static>],
        &'a [Value<'static>],
        Option<&'a [usize]>,
    ),
    Delete(&'a [Value<'static>]),
}

/// Types of PostgreSQL's own whose equality holds for equal texts, by how format_type begins their names.
const COMMON: [&[u8]; 14] = [
    b"smallint",
    b"integer",
    b"bigint",
    b"oid",
    b"boolean",
    b"text",
    b"character",
    b"uuid",
    b"numeric",
    b"date",
    b"time",
    b"bytea",
    b"double precision",
    b"real",
];

/// The statement, on one line, without a semicolon. `None` where the change left the row as it was.
pub fn taking_back(table: &Table, change: Change<'_>) -> Option<Vec<u8>> {
    match change {
        Change::Insert(new) => Some(delete(table, new)),
        Change::Update(old, new, key) => update(table, old, new, key),
        Change::Delete(old) => Some(insert(table, old)),
    }
}

/// `ONLY` for what is not partitioned: rows of tables that inherit from it are others.
fn push_target(out: &mut Vec<u8>, table: &Table) {
    if !table.is_partitioned {
        out.extend_from_slice(b"ONLY ");
    }
    out.extend_from_slice(&table.name);
}

fn delete(table: &Table, new: &[Value<'_>]) -> Vec<u8> {
    let mut out = b"DELETE FROM ".to_vec();
    push_target(&mut out, table);
    let all: Vec<usize> = (0..new.len()).collect();
    push_one_of_the_same(&mut out, table, new, &all);
    out
}

fn update(
    table: &Table,
    old: &[Value<'_>],
    new: &[Value<'_>],
    key: Option<&[usize]>,
) -> Option<Vec<u8>> {
    let changed: Vec<usize> = (0..new.len())
        .filter(|nth| old[*nth] != new[*nth])
        .collect();
    if changed.is_empty() {
        return None;
    }
    let mut out = b"UPDATE ".to_vec();
    push_target(&mut out, table);
    for (at, nth) in changed.iter().enumerate() {
        out.extend_from_slice(if at == 0 { b" SET " } else { b", " });
        out.extend_from_slice(&table.columns[*nth].name);
        out.extend_from_slice(b" = ");
        push_value(&mut out, &old[*nth]);
    }
    match key {
        Some(key) => {
            let mut guards = key.to_vec();
            guards.extend(changed.iter().filter(|nth| !key.contains(nth)));
            out.extend_from_slice(b" WHERE ");
            push_guards(&mut out, table, new, &guards);
        }
        None => {
            let all: Vec<usize> = (0..new.len()).collect();
            push_one_of_the_same(&mut out, table, new, &all);
        }
    }
    Some(out)
}

fn insert(table: &Table, old: &[Value<'_>]) -> Vec<u8> {
    let mut out = b"INSERT INTO ".to_vec();
    out.extend_from_slice(&table.name);
    for (nth, column) in table.columns.iter().enumerate() {
        out.extend_from_slice(if nth == 0 { b" (" } else { b", " });
        out.extend_from_slice(&column.name);
    }
    // Without identity columns it has no meaning.
    out.extend_from_slice(b") OVERRIDING SYSTEM VALUE VALUES (");
    for (nth, value) in old.iter().enumerate() {
        if nth > 0 {
            out.extend_from_slice(b", ");
        }
        push_value(&mut out, value);
    }
    out.extend_from_slice(b") ON CONFLICT DO NOTHING");
    out
}

/// One row among those that are the same.
fn push_one_of_the_same(out: &mut Vec<u8>, table: &Table, row: &[Value<'_>], columns: &[usize]) {
    out.extend_from_slice(if table.is_partitioned {
        b" WHERE (tableoid, ctid) OPERATOR(pg_catalog.=) (SELECT tableoid, ctid FROM "
    } else {
        b" WHERE ctid OPERATOR(pg_catalog.=) (SELECT ctid FROM "
    });
    push_target(out, table);
    if !columns.is_empty() {
        out.extend_from_slice(b" WHERE ");
    }
    push_guards(out, table, row, columns);
    out.extend_from_slice(b" LIMIT 1)");
}

fn push_guards(out: &mut Vec<u8>, table: &Table, row: &[Value<'_>], columns: &[usize]) {
    for (at, nth) in columns.iter().enumerate() {
        if at > 0 {
            out.extend_from_slice(b" AND ");
        }
        push_guard(out, &table.columns[*nth], &row[*nth]);
    }
}

/// Whether a column has a value: exactly this text.
fn push_guard(out: &mut Vec<u8>, column: &Column, value: &Value<'_>) {
    let name = &column.name[..];
    let Value::Text(text) = value else {
        out.extend_from_slice(&[name, b" IS NOT DISTINCT FROM NULL"].concat());
        return;
    };
    if is_common(&column.type_) {
        out.extend_from_slice(&[name, b" OPERATOR(pg_catalog.=) "].concat());
        push_literal(out, text);
        out.extend_from_slice(b" AND ");
    } else if text.is_empty() {
        // The text of NULL is empty, too.
        out.extend_from_slice(&[name, b" IS DISTINCT FROM NULL AND "].concat());
    }
    out.extend_from_slice(&[b"pg_catalog.format('%s', ", name].concat());
    out.extend_from_slice(
        b") COLLATE pg_catalog.\"C\" OPERATOR(pg_catalog.=) pg_catalog.format('%s', coalesce(",
    );
    push_literal(out, text);
    out.extend_from_slice(&[b", ", name, b"))"].concat());
}

fn is_common(type_: &[u8]) -> bool {
    let is_of = |name: &&[u8]| {
        let rest = type_.strip_prefix(*name);
        rest.is_some_and(|rest| !matches!(rest.first(), Some(b'a'..=b'z' | b'0'..=b'9' | b'_')))
    };
    // `timestamp` is not `time`, but both are common.
    let is_time = type_.starts_with(b"timestamp");
    !type_.ends_with(b"]") && (is_time || COMMON.iter().any(is_of))
}

fn push_value(out: &mut Vec<u8>, value: &Value<'_>) {
    match value {
        Value::Null => out.extend_from_slice(b"NULL"),
        Value::Text(text) => push_literal(out, text),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn table() -> Table {
        let column = |name: &str, type_: &str| Column {
            name: name.as_bytes().to_vec(),
            type_: type_.as_bytes().to_vec(),
        };
        Table {
            name: b"public.t".to_vec(),
            columns: vec![column("id", "integer"), column("j", "json")],
            is_partitioned: false,
        }
    }

    fn row(values: [Option<&str>; 2]) -> Vec<Value<'static>> {
        let one =
            |value: Option<&str>| value.map_or(Value::Null, |text| Value::text(text).into_owned());
        values.map(one).to_vec()
    }

    fn text(table: &Table, change: Change<'_>) -> String {
        String::from_utf8(taking_back(table, change).unwrap()).unwrap()
    }

    const ID: &str =
        "id OPERATOR(pg_catalog.=) '5' AND pg_catalog.format('%s', id) COLLATE pg_catalog.\"C\" \
        OPERATOR(pg_catalog.=) pg_catalog.format('%s', coalesce('5', id))";

    #[test]
    fn each_change_is_taken_back_where_it_left_the_row() {
        let (old, new) = (row([Some("5"), Some("a\nb")]), row([Some("5"), None]));
        let table = table();
        assert_eq!(
            text(&table, Change::Delete(&old)),
            "INSERT INTO public.t (id, j) OVERRIDING SYSTEM VALUE VALUES ('5', E'a\\nb') ON CONFLICT DO NOTHING"
        );
        assert_eq!(
            text(&table, Change::Insert(&new)),
            format!(
                "DELETE FROM ONLY public.t WHERE ctid OPERATOR(pg_catalog.=) (SELECT ctid FROM ONLY public.t WHERE {ID} \
                 AND j IS NOT DISTINCT FROM NULL LIMIT 1)"
            )
        );
        assert_eq!(
            text(&table, Change::Update(&old, &new, Some(&[0]))),
            format!(
                "UPDATE ONLY public.t SET j = E'a\\nb' WHERE {ID} AND j IS NOT DISTINCT FROM NULL"
            )
        );
        assert!(text(&table, Change::Update(&old, &new, None)).contains("(SELECT ctid FROM ONLY"));
        assert_eq!(taking_back(&table, Change::Update(&old, &old, None)), None);
        let partitioned = Table {
            is_partitioned: true,
            ..table
        };
        let there = text(&partitioned, Change::Insert(&new));
        assert!(
            there.starts_with("DELETE FROM public.t WHERE (tableoid, ctid) "),
            "{there}"
        );
    }

    #[test]
    fn types_are_told_by_their_names() {
        for name in [
            "integer",
            "numeric(10,2)",
            "character varying(20)",
            "text",
            "timestamp(3) with time zone",
            "date",
        ] {
            assert!(is_common(name.as_bytes()), "{name}");
        }
        for name in [
            "json",
            "integer[]",
            "public.text",
            "datemultirange",
            "daterange",
            "point",
            "citext",
            "oidvector",
        ] {
            assert!(!is_common(name.as_bytes()), "{name}");
        }
    }
}
