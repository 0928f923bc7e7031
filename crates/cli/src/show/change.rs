//! One change, as a filter and a program see it.

use archive_query::history::literal::{names_of, Value};
use archive_query::history::statement::{self, Operation, Pair, Statement};

/// A row change, from its line.
pub struct RowChange<'a> {
    pub operation: &'static str,
    /// As written.
    pub table: &'a [u8],
    pub new: Vec<Pair<'a>>,
    pub old: Vec<Pair<'a>>,
    /// False for a line that could not be parsed: its values are not known.
    pub is_read: bool,
}

impl<'a> RowChange<'a> {
    /// Of a line; `None` for one that is no row change.
    pub fn of_line(line: &'a [u8]) -> Option<RowChange<'a>> {
        let (operation, table) = statement::head(line)?;
        let parsed = Statement::parse(line);
        let is_read = parsed.is_some();
        let (new, old) = parsed.map_or_else(Default::default, |mut parsed| {
            parsed.old.append(&mut parsed.was);
            (parsed.new, parsed.old)
        });
        Some(RowChange {
            operation: match operation {
                Operation::Insert => "INSERT",
                Operation::Update => "UPDATE",
                Operation::Delete => "DELETE",
            },
            table,
            new,
            old,
            is_read,
        })
    }

    /// Of a row of the COPY block with this first line.
    pub fn of_copy_row(head: &'a [u8], columns: &'a [Vec<u8>], row: &'a [u8]) -> RowChange<'a> {
        let names = columns.iter().map(|name| name.as_slice().into());
        RowChange {
            operation: "INSERT",
            table: statement::copied(head).unwrap_or_default(),
            new: names.zip(statement::copy_values(row)).collect(),
            old: Vec::new(),
            is_read: true,
        }
    }

    fn before(&self, column: &[u8]) -> Option<&Value<'a>> {
        value_in(&self.old, column)
    }

    /// A column that an UPDATE does not set keeps its value.
    fn after(&self, column: &[u8]) -> Option<&Value<'a>> {
        value_in(&self.new, column).or_else(|| self.before(column))
    }

    /// Whether the row has all of these values, before or after; `None` if the line does not tell.
    pub fn has(&self, wanted: &[Wanted]) -> Option<bool> {
        if !self.is_read {
            return None;
        }
        let side = |value: &dyn Fn(&[u8]) -> Option<bool>| {
            let mut is_known = true;
            for wanted in wanted {
                match value(&wanted.column) {
                    Some(true) => {}
                    Some(false) => return Some(false),
                    None => is_known = false,
                }
            }
            is_known.then_some(true)
        };
        let find = |column: &[u8]| wanted.iter().find(|wanted| wanted.column == column);
        let is_in = |column: &[u8], value: Option<&Value<'_>>| {
            let wanted = find(column)?;
            // An INSERT has all columns of its table.
            let absent = (self.operation == "INSERT").then_some(false);
            let is_same = |value| wanted.values.iter().any(|one| one.is_same(value));
            value.map(is_same).or(absent)
        };
        let before = match self.operation {
            "INSERT" => Some(false),
            _ => side(&|column| is_in(column, self.before(column))),
        };
        let after = match self.operation {
            "DELETE" => Some(false),
            _ => side(&|column| is_in(column, self.after(column))),
        };
        match (before, after) {
            (Some(true), _) | (_, Some(true)) => Some(true),
            (Some(false), Some(false)) => Some(false),
            _ => None,
        }
    }
}

/// A column, and the values of which one is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    pub column: Vec<u8>,
    pub values: Vec<Value<'static>>,
}

fn value_in<'v, 'a>(pairs: &'v [Pair<'a>], column: &[u8]) -> Option<&'v Value<'a>> {
    let mut pairs = pairs.iter();
    pairs
        .find(|(name, _)| name.as_ref() == column)
        .map(|(_, value)| value)
}

/// Schema and name of a table, as written.
pub fn schema_and_name(written: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let mut names = names_of(written);
    let name = names.pop().unwrap_or_default();
    (names.pop().unwrap_or_default(), name)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn wanted(pairs: &[(&str, &[&str])]) -> Vec<Wanted> {
        let one = |(column, values): &(&str, &[&str])| Wanted {
            column: column.as_bytes().to_vec(),
            values: values.iter().map(|v| Value::text(v).into_owned()).collect(),
        };
        pairs.iter().map(one).collect()
    }

    #[test]
    fn a_row_is_found_by_its_values_before_and_after() {
        let has = |line: &str, pairs: &[(&str, &[&str])]| {
            RowChange::of_line(line.as_bytes())
                .unwrap()
                .has(&wanted(pairs))
        };
        let update = "UPDATE s.t SET id = 2, a = 'x' WHERE id = 1;";
        assert_eq!(has(update, &[("id", &["1"])]), Some(true));
        assert_eq!(has(update, &[("id", &["3", "2"])]), Some(true));
        assert_eq!(has(update, &[("id", &["3"])]), Some(false));
        assert_eq!(has(update, &[("id", &["2"]), ("a", &["x"])]), Some(true));
        assert_eq!(has(update, &[("id", &["2"]), ("a", &["y"])]), Some(false));
        // What the row was before is not in the line.
        assert_eq!(has(update, &[("a", &["y"])]), None);
        let delete = "DELETE FROM s.t WHERE id = 1;";
        assert_eq!(has(delete, &[("id", &["1"])]), Some(true));
        assert_eq!(has(delete, &[("a", &["x"])]), None);
        assert_eq!(has(delete, &[("a", &["x"]), ("id", &["2"])]), Some(false));
        let insert = "INSERT INTO s.t (id, a) VALUES (1, null);";
        assert_eq!(has(insert, &[("a", &["null"])]), Some(false));
        assert_eq!(has(insert, &[("b", &["1"])]), Some(false));
    }
}
