//! How one row is taken back: how it is found, in the state that the changes left, and what is done with it.
//!
//! | undone | done | if it is found by |
//! | --- | --- | --- |
//! | INSERT | DELETE | all of its values, and nothing in columns that came later |
//! | UPDATE | UPDATE of the columns that it changed | its key and these columns, or all |
//! | DELETE | INSERT | as many rows with these values as the files have |
//!
//! Values are compared by their texts, as the files have them: every type has one, and an equality operator may be missing
//! (json, point) or take different values for the same. Beside that, columns of common types are compared by their operator, for
//! which an index may be used. All names and operators are qualified: the session's search_path is the user's.

use archive::literal::push_literal;
use archive_query::history::literal::name_of;
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
    /// Columns that came later, each with the value that rows of before have in it.
    pub added: Vec<(Column, Value<'static>)>,
}

/// What takes a change back; each text on one line, without a semicolon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// `DELETE FROM t`, `UPDATE t SET …` of the row that is found, or an INSERT.
    pub act: Vec<u8>,
    /// Where the row is, which is locked; two rows are an error. None for an INSERT.
    pub find: Option<Vec<u8>>,
    /// How many rows with these values there are. For an INSERT.
    pub alike: Option<Vec<u8>>,
    /// The columns that are changed, as they are called; none for a DELETE or INSERT.
    pub changed: Vec<Vec<u8>>,
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

/// `None` where the change left the row as it was.
pub fn taking_back(table: &Table, change: Change<'_>) -> Option<Step> {
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

fn delete(table: &Table, new: &[Value<'_>]) -> Step {
    let mut act = b"DELETE FROM ".to_vec();
    push_target(&mut act, table);
    let added = table.added.iter().map(|(column, value)| (column, value));
    let guards: Vec<_> = table.columns.iter().zip(new).chain(added).collect();
    Step {
        act,
        find: Some(finding(table, &guards, 1)),
        alike: None,
        changed: Vec::new(),
    }
}

fn update(
    table: &Table,
    old: &[Value<'_>],
    new: &[Value<'_>],
    key: Option<&[usize]>,
) -> Option<Step> {
    let changed: Vec<usize> = (0..new.len())
        .filter(|nth| old[*nth] != new[*nth])
        .collect();
    if changed.is_empty() {
        return None;
    }
    let mut act = b"UPDATE ".to_vec();
    push_target(&mut act, table);
    for (at, nth) in changed.iter().enumerate() {
        act.extend_from_slice(if at == 0 { b" SET " } else { b", " });
        act.extend_from_slice(&table.columns[*nth].name);
        act.extend_from_slice(b" = ");
        push_value(&mut act, &old[*nth]);
    }
    let (places, most) = match key {
        Some(key) => {
            let others = changed.iter().filter(|nth| !key.contains(nth));
            (key.iter().chain(others).copied().collect(), 2)
        }
        // Any of those that are the same.
        None => ((0..new.len()).collect::<Vec<usize>>(), 1),
    };
    let guards: Vec<_> = places
        .iter()
        .map(|nth| (&table.columns[*nth], &new[*nth]))
        .collect();
    let name = |nth: &usize| name_of(&table.columns[*nth].name).into_owned();
    Some(Step {
        act,
        find: Some(finding(table, &guards, most)),
        alike: None,
        changed: changed.iter().map(name).collect(),
    })
}

fn insert(table: &Table, old: &[Value<'_>]) -> Step {
    let mut act = [b"INSERT INTO ", &table.name[..]].concat();
    for (nth, column) in table.columns.iter().enumerate() {
        act.extend_from_slice(if nth == 0 { b" (" } else { b", " });
        act.extend_from_slice(&column.name);
    }
    if table.columns.is_empty() {
        act.extend_from_slice(b" DEFAULT VALUES");
    } else {
        // Without identity columns it has no meaning.
        act.extend_from_slice(b") OVERRIDING SYSTEM VALUE VALUES (");
        for (nth, value) in old.iter().enumerate() {
            if nth > 0 {
                act.extend_from_slice(b", ");
            }
            push_value(&mut act, value);
        }
        act.push(b')');
    }
    let mut alike = b"SELECT pg_catalog.count(*) FROM ".to_vec();
    push_target(&mut alike, table);
    let guards: Vec<_> = table.columns.iter().zip(old).collect();
    push_guards(&mut alike, &guards);
    Step {
        act,
        find: None,
        alike: Some(alike),
        changed: Vec::new(),
    }
}

/// Locks the row. Where another session has changed it meanwhile, the server looks at its values again.
fn finding(table: &Table, guards: &[(&Column, &Value<'_>)], most: u8) -> Vec<u8> {
    let mut out = b"SELECT tableoid, ctid FROM ".to_vec();
    push_target(&mut out, table);
    push_guards(&mut out, guards);
    out.extend_from_slice(format!(" LIMIT {most} FOR UPDATE").as_bytes());
    out
}

fn push_guards(out: &mut Vec<u8>, guards: &[(&Column, &Value<'_>)]) {
    for (at, (column, value)) in guards.iter().enumerate() {
        out.extend_from_slice(if at == 0 { b" WHERE " } else { b" AND " });
        push_guard(out, column, value);
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
            added: Vec::new(),
        }
    }

    fn row(values: [Option<&str>; 2]) -> Vec<Value<'static>> {
        let one =
            |value: Option<&str>| value.map_or(Value::Null, |text| Value::text(text).into_owned());
        values.map(one).to_vec()
    }

    fn step(table: &Table, change: Change<'_>) -> [String; 2] {
        let step = taking_back(table, change).unwrap();
        let where_ = step.find.or(step.alike).unwrap();
        [step.act, where_].map(|text| String::from_utf8(text).unwrap())
    }

    const ID: &str =
        "id OPERATOR(pg_catalog.=) '5' AND pg_catalog.format('%s', id) COLLATE pg_catalog.\"C\" \
        OPERATOR(pg_catalog.=) pg_catalog.format('%s', coalesce('5', id))";

    #[test]
    fn each_change_is_taken_back_where_it_left_the_row() {
        let (old, new) = (row([Some("5"), Some("a\nb")]), row([Some("5"), None]));
        let table = table();
        let [act, alike] = step(&table, Change::Delete(&old));
        assert_eq!(
            act,
            "INSERT INTO public.t (id, j) OVERRIDING SYSTEM VALUE VALUES ('5', E'a\\nb')"
        );
        assert!(alike.starts_with("SELECT pg_catalog.count(*) FROM ONLY public.t WHERE id "));
        let found = format!(
            "SELECT tableoid, ctid FROM ONLY public.t WHERE {ID} AND j IS NOT DISTINCT FROM NULL LIMIT"
        );
        let [act, find] = step(&table, Change::Insert(&new));
        assert_eq!(act, "DELETE FROM ONLY public.t");
        assert_eq!(find, format!("{found} 1 FOR UPDATE"));
        let [act, find] = step(&table, Change::Update(&old, &new, Some(&[0])));
        assert_eq!(act, "UPDATE ONLY public.t SET j = E'a\\nb'");
        assert_eq!(find, format!("{found} 2 FOR UPDATE"));
        assert_eq!(taking_back(&table, Change::Update(&old, &old, None)), None);
        let later = Table {
            is_partitioned: true,
            added: vec![(table.columns[1].clone(), Value::text("x").into_owned())],
            ..table
        };
        let [act, find] = step(&later, Change::Insert(&new));
        assert_eq!(act, "DELETE FROM public.t");
        assert!(find.contains(", coalesce('x', j))"), "{find}");
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
