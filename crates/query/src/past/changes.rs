//! What became of rows between a mark and a later place.

use super::error::Result;
use super::shape::Shape;
use super::watch::Told;
use super::Past;
use crate::history::ddl::TableName;
use crate::history::Value;

/// What became of one row: an instance that keeps its identity through UPDATEs, whatever they change.
#[derive(Debug)]
pub struct Net<'a> {
    pub oid: u32,
    /// The table's name at the end, or its last one.
    pub name: &'a TableName,
    /// The columns at the mark, and at the end.
    pub shapes: (&'a Shape, &'a Shape),
    /// The row at the mark; `None` if it was inserted later.
    pub before: Option<&'a [Value<'a>]>,
    /// The row at the end; `None` if it was deleted.
    pub after: Option<&'a [Value<'a>]>,
}

impl Past {
    /// Each row that was touched since the mark and was there before or after, table by table. A row that is as it was at the
    /// mark comes too, with both states. The rows of a table that ALTER TABLE has written anew are others than before.
    pub fn changes(&self, take: &mut dyn FnMut(&Net<'_>) -> Told) -> Result<()> {
        let empty = Shape::default();
        for live in &self.live {
            let shape_before = live.marked().map_or(&empty, |(_, shape)| shape);
            let (mut from, mut former, mut row) = (0, Vec::new(), Vec::new());
            while let Some(number) = live.next_former(&self.store, from, &mut former)? {
                from = number + 1;
                let was_there = !former.is_empty();
                let is_there = live.get(&self.store, number, &mut row)?;
                if !was_there && !is_there {
                    continue;
                }
                let before = was_there.then(|| live.read_former(&former, shape_before));
                let after = is_there.then(|| live.read(&row));
                take(&Net {
                    oid: live.oid,
                    name: &live.name,
                    shapes: (shape_before, &live.shape),
                    before: before.as_deref(),
                    after: after.as_deref(),
                })?;
            }
        }
        Ok(())
    }
}
