//! Rows as text, in the encoding of the database.

mod copy;
mod csv;
mod sql;

use archive_query::history::Value;
use archive_query::past::quoting::{written, written_table};
use archive_query::past::{Column, Table};

use super::Format;

/// Writes the rows of a table.
pub struct Writer {
    format: Format,
    names: Vec<Vec<u8>>,
    sql: sql::Inserts,
}

impl Writer {
    /// With the columns whose values are in the rows.
    pub fn of(format: Format, table: &Table, encoding: &str) -> Writer {
        let columns: Vec<&Column> = table.shape.stored().collect();
        Writer {
            format,
            names: columns.iter().map(|column| column.name.clone()).collect(),
            sql: sql::Inserts::new(&written_table(&table.name), &columns, encoding),
        }
    }

    /// What is in front of the rows; of names only where `header` asks for them.
    pub fn push_head(&self, out: &mut Vec<u8>, header: bool) {
        let names = || -> Vec<Value<'_>> { self.names.iter().map(Value::text).collect() };
        match self.format {
            Format::Csv if header => csv::push_row(out, &names()),
            Format::Copy if header => copy::push_row(out, &names()),
            Format::Csv | Format::Copy => {}
            Format::Sql => self.sql.push_head(out),
        }
    }

    /// A row, with the end of its line.
    pub fn push_row(&self, out: &mut Vec<u8>, values: &[Value<'_>]) {
        match self.format {
            Format::Csv => csv::push_row(out, values),
            Format::Copy => copy::push_row(out, values),
            Format::Sql => self.sql.push_row(out, values),
        }
    }
}

/// `(a, "B")`.
fn list(columns: &[&Column]) -> Vec<u8> {
    let names: Vec<Vec<u8>> = columns.iter().map(|column| written(&column.name)).collect();
    [&b"("[..], &names.join(&b", "[..]), b")"].concat()
}
