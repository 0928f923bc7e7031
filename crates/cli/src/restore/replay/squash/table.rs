//! The changes of one table that are collected: the first ones as they are, and many as their net effect.

use std::collections::HashMap;
use std::rc::Rc;

use archive::literal::push_escaped;
use archive_query::history::literal::Value;
use archive_query::history::statement::{Operation, Pair, Statement};

use super::definition::{Column, Definition, Key};
use super::net::{Columns, Net, Place};

/// So many changes of a table are executed as they are: temporary tables would take longer.
const FEW: usize = 64;
/// Sets of columns that are known of a table.
const MOST_SHAPES: usize = 1000;

/// A change, and where it is from.
pub type Line = (Place, Vec<u8>);

/// What is collected.
#[derive(Debug)]
pub enum Collected {
    /// In their order.
    Few(Vec<Line>),
    Net(Net),
}

impl Collected {
    fn bytes(&self) -> usize {
        match self {
            Collected::Few(lines) => lines.iter().map(|(_, text)| text.len()).sum(),
            Collected::Net(net) => net.bytes(),
        }
    }

    fn is_empty(&self) -> bool {
        match self {
            Collected::Few(lines) => lines.is_empty(),
            Collected::Net(net) => net.is_empty(),
        }
    }
}

/// What became of a change.
#[derive(Debug)]
pub enum Taken {
    Collected,
    /// It is executed as it is, behind what is collected of its table.
    Not(Vec<u8>),
}

/// A table, or another relation.
#[derive(Debug)]
pub struct Table {
    /// As lines have it.
    pub name: Vec<u8>,
    pub definition: Definition,
    /// By which of its keys rows are followed.
    pub key: usize,
    collected: Collected,
    /// Bytes of the above, about.
    pub bytes: usize,
    /// The columns that lines set, by their numbers in the order of the line; and the last one of these.
    shapes: HashMap<Vec<usize>, Rc<Columns>>,
    last: Rc<Columns>,
    /// The columns of its INSERTs.
    inserted: Option<Rc<Columns>>,
    old: Vec<u8>,
    new: Vec<u8>,
}

/// A change that cannot be collected.
struct Unknown;

impl Table {
    pub fn new(name: Vec<u8>, definition: Definition) -> Table {
        Table {
            name,
            definition,
            key: 0,
            collected: Collected::Few(Vec::new()),
            bytes: 0,
            shapes: HashMap::new(),
            last: Rc::default(),
            inserted: None,
            old: Vec::new(),
            new: Vec::new(),
        }
    }

    pub fn is_partition(&self) -> bool {
        matches!(
            self.definition,
            Definition::Table {
                is_partition: true,
                ..
            }
        )
    }

    pub fn is_empty(&self) -> bool {
        self.collected.is_empty()
    }

    /// Changes in their order, which may be few.
    pub fn has_few(&self) -> bool {
        matches!(self.collected, Collected::Few(_)) && !self.is_empty()
    }

    /// Takes out what is collected.
    pub fn take(&mut self) -> Collected {
        self.bytes = 0;
        self.inserted = None;
        std::mem::replace(&mut self.collected, Collected::Few(Vec::new()))
    }

    /// Takes a change, or gives it back.
    pub fn add(&mut self, operation: Operation, place: Place, text: Vec<u8>) -> Taken {
        let Definition::Table { .. } = self.definition else {
            return Taken::Not(text);
        };
        match &mut self.collected {
            Collected::Few(lines) if lines.len() < FEW => {
                self.bytes += text.len();
                lines.push((place, text));
                Taken::Collected
            }
            Collected::Few(_) => {
                if let Err(Unknown) = self.condense() {
                    return Taken::Not(text);
                }
                self.follow(operation, place, text)
            }
            Collected::Net(_) => self.follow(operation, place, text),
        }
    }

    fn follow(&mut self, operation: Operation, place: Place, text: Vec<u8>) -> Taken {
        let taken = match self.read(operation, &text) {
            Ok(sets) => self.put(operation, sets, text, place),
            Err(Unknown) => Taken::Not(text),
        };
        self.bytes = self.collected.bytes();
        taken
    }

    /// From changes to their net effect, by a key that all of them have.
    fn condense(&mut self) -> Result<(), Unknown> {
        let Collected::Few(lines) =
            std::mem::replace(&mut self.collected, Collected::Few(Vec::new()))
        else {
            return Ok(());
        };
        let Definition::Table { keys, .. } = &self.definition else {
            return Err(Unknown);
        };
        for key in 0..keys.len() {
            (self.key, self.inserted) = (key, None);
            self.collected = Collected::Net(Net::default());
            let mut lines = lines.iter();
            let is_known = lines.all(|(place, text)| {
                let operation = archive_query::history::statement::head(text);
                operation.is_some_and(|(operation, _)| {
                    let sets = self.read(operation, text);
                    sets.is_ok_and(|sets| {
                        let taken = self.put(operation, sets, text.clone(), *place);
                        matches!(taken, Taken::Collected)
                    })
                })
            });
            if is_known {
                self.bytes = self.collected.bytes();
                return Ok(());
            }
        }
        self.collected = Collected::Few(lines);
        Err(Unknown)
    }

    /// The columns that a line sets; its keys are in `old` and `new` then.
    fn read(&mut self, operation: Operation, text: &[u8]) -> Result<Rc<Columns>, Unknown> {
        let statement = Statement::parse(text).ok_or(Unknown)?;
        let Definition::Table { columns, keys, .. } = &self.definition else {
            return Err(Unknown);
        };
        let key = &keys[self.key];
        (self.old.clear(), self.new.clear());
        match operation {
            Operation::Insert => {
                if !push_key(&mut self.new, key, columns, |name| {
                    find(&statement.new, name)
                }) {
                    return Err(Unknown);
                }
            }
            Operation::Delete => {
                if !push_key(&mut self.old, key, columns, |name| {
                    find(&statement.old, name)
                }) {
                    return Err(Unknown);
                }
                return Ok(Rc::default());
            }
            Operation::Update => {
                let old = |name: &[u8]| find(&statement.old, name);
                let new = |name: &[u8]| find(&statement.new, name).or_else(|| old(name));
                if !push_key(&mut self.old, key, columns, old)
                    || !push_key(&mut self.new, key, columns, new)
                {
                    return Err(Unknown);
                }
            }
        }
        let sets = self.shape(&statement.new)?;
        if operation == Operation::Insert && statement.new.is_empty() {
            return Err(Unknown);
        }
        Ok(sets)
    }

    /// The set of these columns, the same for all lines that set the same.
    fn shape(&mut self, pairs: &[Pair<'_>]) -> Result<Rc<Columns>, Unknown> {
        let Definition::Table { columns, .. } = &self.definition else {
            return Err(Unknown);
        };
        let last = &self.last.order;
        let is_last = last.len() == pairs.len()
            && last
                .iter()
                .zip(pairs)
                .all(|(number, (name, _))| columns[*number].name == **name);
        if is_last {
            return Ok(Rc::clone(&self.last));
        }
        let number = |(name, _): &Pair<'_>| {
            let number = columns.iter().position(|column| column.name == **name);
            number.filter(|number| !columns[*number].is_generated)
        };
        let order: Option<Vec<usize>> = pairs.iter().map(number).collect();
        let order = order.ok_or(Unknown)?;
        let known = self.shapes.get(&order).map(Rc::clone);
        self.last = known.unwrap_or_else(|| {
            // Lines that leave unchanged columns out have many of them.
            if self.shapes.len() >= MOST_SHAPES {
                self.shapes.clear();
            }
            let sets = Rc::new(Columns::of(order.clone()));
            self.shapes.insert(order, Rc::clone(&sets));
            sets
        });
        Ok(Rc::clone(&self.last))
    }

    fn put(
        &mut self,
        operation: Operation,
        sets: Rc<Columns>,
        text: Vec<u8>,
        place: Place,
    ) -> Taken {
        let Collected::Net(net) = &mut self.collected else {
            return Taken::Not(text);
        };
        // What contradicts the lines before it is for the server to refuse.
        match operation {
            Operation::Insert => {
                let inserted = self.inserted.get_or_insert_with(|| Rc::clone(&sets));
                if inserted.order != sets.order || net.has(&self.new) {
                    return Taken::Not(text);
                }
                net.insert(&self.new, &sets, text, place);
            }
            Operation::Update => {
                if self.new != self.old && net.has(&self.new) {
                    return Taken::Not(text);
                }
                net.update((&self.old, &self.new), &sets, text, place);
            }
            Operation::Delete => net.delete(&self.old, place),
        }
        Taken::Collected
    }
}

fn find<'v, 'a>(pairs: &'v [Pair<'a>], name: &[u8]) -> Option<&'v Value<'a>> {
    let pair = pairs.iter().find(|(column, _)| **column == *name);
    pair.map(|(_, value)| value)
}

/// Appends the values of a key as fields of a COPY row; false if one is missing, or NULL.
fn push_key<'v, 'a: 'v>(
    out: &mut Vec<u8>,
    key: &Key,
    columns: &[Column],
    value: impl Fn(&[u8]) -> Option<&'v Value<'a>>,
) -> bool {
    for (nth, part) in key.columns.iter().enumerate() {
        let Some(Value::Text(text)) = value(&columns[part.column].name) else {
            return false;
        };
        if nth > 0 {
            out.push(b'\t');
        }
        push_escaped(out, text, b'\t', b"\\t");
    }
    true
}

/// Appends a value as a field of a COPY row.
pub fn push_field(out: &mut Vec<u8>, value: Option<&Value<'_>>) {
    match value {
        Some(Value::Text(text)) => push_escaped(out, text, b'\t', b"\\t"),
        Some(Value::Null) | None => out.extend_from_slice(b"\\N"),
    }
}
