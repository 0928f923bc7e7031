//! What may be told of each change on the way, with the whole row before and after it.

use archive::segment::Effect;

use super::shape::Shape;
use crate::history::ddl::TableName;
use crate::history::lines::{Transaction, Typed};
use crate::history::Value;

/// The result of what is called; its error ends the advance.
pub type Told = std::result::Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// What happened to a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Inserted,
    Updated,
    Deleted,
    /// With all rows of its table, by TRUNCATE.
    Truncated,
    /// With all rows of its table, which is written anew by ALTER TABLE: the new ones are inserted next.
    Rewritten,
    /// With its table.
    Dropped,
}

/// Where a change is written.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// The segment, as a person calls it.
    pub file: &'a str,
    /// From 1.
    pub line: u64,
}

/// A change of a row.
#[derive(Debug)]
pub struct Change<'a> {
    pub transaction: &'a Transaction,
    pub place: Place<'a>,
    pub oid: u32,
    /// Of this row alone, among those of all tables; it keeps it through UPDATEs.
    pub row: u64,
    /// As the table is called at that place.
    pub name: &'a TableName,
    pub kind: Kind,
    /// The columns at that place: values are those of [`Shape::stored`], in this order.
    pub shape: &'a Shape,
    pub before: Option<&'a [Value<'a>]>,
    pub after: Option<&'a [Value<'a>]>,
}

/// Is told of every change of the tables that are followed, in the order of commits. By default of nothing.
pub trait Observer {
    /// Whether rows are to be told; without, they are not put together.
    fn wants_rows(&self) -> bool {
        true
    }

    /// A transaction begins that is applied.
    fn begin(&mut self, _transaction: &Transaction) -> Told {
        Ok(())
    }

    fn change(&mut self, _change: &Change<'_>) -> Told {
        Ok(())
    }

    /// A schema change, of any object: its statement, and the user's words if they stand before it.
    fn effect(
        &mut self,
        _transaction: &Transaction,
        _place: Place<'_>,
        _effect: &Effect,
        _statement: &[u8],
        _words: Option<&Typed>,
    ) -> Told {
        Ok(())
    }

    /// It is complete.
    fn commit(&mut self, _transaction: &Transaction) -> Told {
        Ok(())
    }
}

/// Nobody is told.
pub struct Nobody;

impl Observer for Nobody {
    fn wants_rows(&self) -> bool {
        false
    }
}
