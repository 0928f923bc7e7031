//! A row as bytes.
//!
//! A layout says which columns the values are of, by number; rows keep theirs when columns come and go. After its number, a
//! value is its length and one more, then its bytes; 0 is null. Numbers are in groups of seven bits.

use std::borrow::Cow;

use super::shape::Shape;
use crate::history::Value;

/// The layouts of a table: the numbers of the columns.
#[derive(Debug, Default)]
pub struct Layouts {
    all: Vec<Vec<u32>>,
    /// That of rows that are written now.
    current: usize,
}

impl Layouts {
    /// Rows have the stored columns of this shape from now on.
    pub fn follow(&mut self, shape: &Shape) {
        let numbers: Vec<u32> = shape.stored().map(|column| column.number).collect();
        self.current = match self.all.iter().position(|layout| *layout == numbers) {
            Some(there) => there,
            None => {
                self.all.push(numbers);
                self.all.len() - 1
            }
        };
    }

    /// Writes the values of all stored columns, in the order of the current layout.
    pub fn write<'v>(&self, values: impl IntoIterator<Item = &'v Value<'v>>, row: &mut Vec<u8>) {
        row.clear();
        push_number(row, self.current);
        for value in values {
            match value {
                Value::Null => push_number(row, 0),
                Value::Text(text) => {
                    push_number(row, text.len() + 1);
                    row.extend_from_slice(text);
                }
            }
        }
    }

    /// The values of a row for the stored columns of `shape`, in their order.
    pub fn read<'r>(&self, row: &'r [u8], shape: &'r Shape) -> Vec<Value<'r>> {
        let mut at = 0;
        let layout = take_number(row, &mut at);
        let mut fields = Vec::with_capacity(shape.columns.len());
        while at < row.len() {
            fields.push(match take_number(row, &mut at) {
                0 => Value::Null,
                more => {
                    let text = &row[at..at + more - 1];
                    at += more - 1;
                    Value::Text(Cow::Borrowed(text))
                }
            });
        }
        let numbers = &self.all[layout];
        let is_as_now = shape.stored().map(|column| &column.number).eq(numbers);
        if is_as_now {
            return fields;
        }
        let value = |column: &'r super::shape::Column| match numbers
            .iter()
            .position(|number| *number == column.number)
        {
            Some(at) => fields[at].clone(),
            None => borrowed(&column.missing),
        };
        shape.stored().map(value).collect()
    }
}

/// The same, without its bytes.
pub fn borrowed<'v>(value: &'v Value<'_>) -> Value<'v> {
    match value {
        Value::Null => Value::Null,
        Value::Text(text) => Value::Text(Cow::Borrowed(text)),
    }
}

fn push_number(out: &mut Vec<u8>, mut number: usize) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Of a row that was written here.
fn take_number(row: &[u8], at: &mut usize) -> usize {
    let (mut number, mut shift) = (0, 0);
    while let Some(byte) = row.get(*at) {
        *at += 1;
        number |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            break;
        }
        shift += 7;
    }
    number
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::past::shape::Column;

    fn column(name: &str, missing: Value<'static>) -> Column {
        Column {
            number: 0,
            name: name.into(),
            type_: b"text".to_vec(),
            is_generated: false,
            missing,
            is_local: true,
            inherited: 0,
        }
    }

    #[test]
    fn rows_outlive_changes_of_columns() {
        let mut shape = Shape::renumbered(["a", "b"].map(|name| column(name, Value::Null)));
        let mut layouts = Layouts::default();
        layouts.follow(&shape);
        let long = vec![b'x'; 300];
        let mut row = Vec::new();
        layouts.write(&[Value::text(&long), Value::Null], &mut row);
        assert_eq!(
            layouts.read(&row, &shape),
            [Value::text(&long), Value::Null]
        );
        shape.add(column("c", Value::text("new").into_owned()));
        shape.columns.remove(1);
        layouts.follow(&shape);
        assert_eq!(
            layouts.read(&row, &shape),
            [Value::text(&long), Value::text("new")]
        );
        let mut empty = Vec::new();
        layouts.write(&[Value::text(""), Value::Null], &mut empty);
        assert_eq!(layouts.read(&empty, &shape), [Value::text(""), Value::Null]);
        // A column of the same name is another one.
        shape.columns.remove(1);
        shape.add(column("c", Value::Null));
        assert_eq!(layouts.read(&empty, &shape), [Value::text(""), Value::Null]);
    }
}
