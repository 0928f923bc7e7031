//! The columns of tables, and how schema changes alter them.
//!
//! | file | what it holds |
//! | --- | --- |
//! | [`definition`] | the columns of a CREATE TABLE, as pg_dump and the output plugin word it |
//! | [`alteration`] | what an ALTER TABLE of the output plugin does to columns, names and parents |
//! | [`tables`] | all tables at a place of the files |

pub mod alteration;
pub mod definition;
pub mod tables;

use crate::history::Value;

/// A column of a table.
#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    /// Its own through all changes; not PostgreSQL's attnum.
    pub number: u32,
    /// Unquoted, in the database's encoding.
    pub name: Vec<u8>,
    /// As format_type writes it.
    pub type_: Vec<u8>,
    /// Its values are computed, and not in the files.
    pub is_generated: bool,
    /// The value in rows that are older than the column.
    pub missing: Value<'static>,
    /// It stays when the table from which it is inherited loses it.
    pub is_local: bool,
    /// From how many tables it is inherited.
    pub inherited: u32,
}

/// The columns of a table, in their order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Shape {
    pub columns: Vec<Column>,
    next: u32,
}

impl Shape {
    /// The column of this name.
    pub fn column(&self, name: &[u8]) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    pub fn column_mut(&mut self, name: &[u8]) -> Option<&mut Column> {
        self.columns.iter_mut().find(|column| column.name == name)
    }

    /// The columns whose values are in the files.
    pub fn stored(&self) -> impl Iterator<Item = &Column> {
        self.columns.iter().filter(|column| !column.is_generated)
    }

    /// Appends a column, and gives it a number.
    pub fn add(&mut self, column: Column) {
        let number = self.next;
        self.next += 1;
        self.columns.push(Column { number, ..column });
    }

    /// The same columns, with numbers of their own.
    pub fn renumbered(columns: impl IntoIterator<Item = Column>) -> Shape {
        let mut shape = Shape::default();
        for column in columns {
            shape.add(column);
        }
        shape
    }
}
