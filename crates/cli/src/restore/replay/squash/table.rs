//! The changes of one table that are collected: the first ones as they are, and many as their net effect.

use std::collections::HashMap;
use std::rc::Rc;

use archive::literal::push_escaped;
use archive_query::history::literal::Value;
use archive_query::history::statement::{Operation, Pair, Statement};

use super::definition::Definition;
use super::key::is_same;
use super::net::{Columns, Net, Place};
use super::template::{self, Template};

/// So many changes of a table are executed as they are: temporary tables would take longer.
const FEW: usize = 64;
/// Sets of columns that are known of a table.
const MOST_SHAPES: usize = 1000;
/// Forms of lines that are known of a table.
const MOST_TEMPLATES: usize = 6;

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
            Collected::Net(net) => net.len() == 0,
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
    /// Bytes of the above, about, and the number of changes.
    pub bytes: usize,
    pub changes: u64,
    /// The columns that lines set, by their numbers in the order of the line; and the last one of these.
    shapes: HashMap<Vec<usize>, Rc<Columns>>,
    last: Rc<Columns>,
    /// Forms of lines that are known.
    templates: Vec<Template>,
    places: Vec<template::Place>,
    /// Its columns that are not generated.
    written: Columns,
    old: Vec<u8>,
    new: Vec<u8>,
}

/// A change that cannot be collected.
struct Unknown;

impl Table {
    pub fn new(name: Vec<u8>, definition: Definition) -> Table {
        let written = match &definition {
            Definition::Table { columns, .. } => Columns::written(columns),
            _ => Columns::default(),
        };
        Table {
            name,
            definition,
            key: 0,
            collected: Collected::Few(Vec::new()),
            bytes: 0,
            changes: 0,
            shapes: HashMap::new(),
            last: Rc::default(),
            templates: Vec::new(),
            places: Vec::new(),
            written,
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
        (self.bytes, self.changes) = (0, 0);
        std::mem::replace(&mut self.collected, Collected::Few(Vec::new()))
    }

    /// Takes a change, or gives it back.
    pub fn add(&mut self, operation: Operation, place: Place, text: Vec<u8>) -> Taken {
        let Definition::Table { .. } = self.definition else {
            return Taken::Not(text);
        };
        let taken = match &mut self.collected {
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
        };
        self.changes += u64::from(matches!(taken, Taken::Collected));
        taken
    }

    /// The next lines are read by the parser.
    #[cfg(test)]
    pub fn forget_forms(&mut self) {
        self.templates.clear();
    }

    fn follow(&mut self, operation: Operation, place: Place, text: Vec<u8>) -> Taken {
        let taken = match self.read_and_put(operation, place, &text) {
            Ok(()) => Taken::Collected,
            Err(Unknown) => Taken::Not(text),
        };
        self.bytes = self.collected.bytes();
        taken
    }

    /// Takes a change of a form that is known, where changes are collected as their net effect: what it does, or none if it
    /// is to be given to [`Self::add`].
    pub fn add_known(&mut self, place: Place, text: &[u8]) -> Option<Operation> {
        let operation = self.put_known(place, text)?.ok()?;
        self.bytes = self.collected.bytes();
        self.changes += 1;
        Some(operation)
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
            self.key = key;
            self.templates.clear();
            self.collected = Collected::Net(Net::default());
            let mut lines = lines.iter();
            let is_known = lines.all(|(place, text)| {
                let operation = archive_query::history::statement::head(text);
                operation.is_some_and(|(operation, _)| {
                    self.read_and_put(operation, *place, text).is_ok()
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

    /// Adds a change to the net effect.
    fn read_and_put(
        &mut self,
        operation: Operation,
        place: Place,
        text: &[u8],
    ) -> Result<(), Unknown> {
        if let Some(known) = self.put_known(place, text) {
            return known.map(drop);
        }
        let sets = self.parse(operation, text)?;
        let Collected::Net(net) = &mut self.collected else {
            return Err(Unknown);
        };
        let columns = (&sets, &self.written);
        put(net, operation, columns, (&self.old, &self.new), text, place)
    }

    /// The same of a change of a form that is known, and what it does; none if its form is not.
    fn put_known(&mut self, place: Place, text: &[u8]) -> Option<Result<Operation, Unknown>> {
        let Collected::Net(net) = &mut self.collected else {
            return None;
        };
        let places = &mut self.places;
        let mut templates = self.templates.iter();
        let nth = templates.position(|template| template.reads(text, places))?;
        let template = &self.templates[nth];
        let Some(keys) = template.keys(text, places, (&mut self.old, &mut self.new)) else {
            return Some(Err(Unknown));
        };
        let operation = template.operation;
        let columns = (&template.sets, &self.written);
        let is_put = put(net, operation, columns, keys, text, place);
        // The next line is likely to be of the same form.
        if nth > 0 {
            self.templates.swap(nth, nth - 1);
        }
        Some(is_put.map(|()| operation))
    }

    /// The columns that a line of another form sets; its keys are in `old` and `new` then.
    fn parse(&mut self, operation: Operation, text: &[u8]) -> Result<Rc<Columns>, Unknown> {
        let statement = Statement::parse(text).ok_or(Unknown)?;
        let Definition::Table { columns, keys, .. } = &self.definition else {
            return Err(Unknown);
        };
        let (key, set) = (&keys[self.key], statement.new.len());
        let old = |column: usize| find(&statement.old, &columns[column].name);
        let new = |column: usize| find(&statement.new, &columns[column].name);
        let (mut old_places, mut new_places) = (Vec::new(), Vec::new());
        self.old.clear();
        self.new.clear();
        for part in &key.columns {
            let (old, new) = (old(part.column), new(part.column));
            if operation != Operation::Insert {
                let (nth, value) = old.ok_or(Unknown)?;
                old_places.push(set + nth);
                push_part(&mut self.old, value, old_places.len() > 1)?;
            }
            if operation != Operation::Delete {
                // An UPDATE may leave it out.
                let unchanged = old.map(|(nth, value)| (set + nth, value));
                let (nth, value) = new.or(unchanged).ok_or(Unknown)?;
                new_places.push(nth);
                push_part(&mut self.new, value, new_places.len() > 1)?;
            }
        }
        let sets = match operation {
            Operation::Delete => Rc::default(),
            _ => self.shape(&statement.new)?,
        };
        let count = set + statement.old.len();
        let places = (old_places, new_places);
        if let Some(template) = Template::of(text, operation, &sets, count, places) {
            self.templates.truncate(MOST_TEMPLATES - 1);
            self.templates.push(template);
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
}

/// Adds a change to the net effect; not if it is for the server to refuse, or to say what becomes of it. `sets` are the
/// columns that it sets, of those that are `written`.
fn put(
    net: &mut Net,
    operation: Operation,
    (sets, written): (&Rc<Columns>, &Columns),
    (old, new): (&[u8], &[u8]),
    text: &[u8],
    place: Place,
) -> Result<(), Unknown> {
    match operation {
        Operation::Insert => {
            // Else what becomes of the row depends on defaults.
            if !sets.covers(written) || net.has(new) {
                return Err(Unknown);
            }
            net.insert(new, sets, text, place);
        }
        Operation::Update => {
            if !is_same(old, new) && net.has(new) {
                return Err(Unknown);
            }
            net.update((old, new), sets, text, place);
        }
        Operation::Delete => net.delete(old, place),
    }
    Ok(())
}

/// A column's value, and which of the values it is.
fn find<'v, 'a>(pairs: &'v [Pair<'a>], name: &[u8]) -> Option<(usize, &'v Value<'a>)> {
    let mut pairs = pairs.iter().enumerate();
    let found = pairs.find(|(_, (column, _))| **column == *name);
    found.map(|(nth, (_, value))| (nth, value))
}

/// Appends a value of a key as a field of a COPY row.
fn push_part(out: &mut Vec<u8>, value: &Value<'_>, has_one: bool) -> Result<(), Unknown> {
    let Value::Text(text) = value else {
        return Err(Unknown);
    };
    if has_one {
        out.push(b'\t');
    }
    push_escaped(out, text, b'\t', b"\\t");
    Ok(())
}

/// Appends a value as a field of a COPY row.
pub fn push_field(out: &mut Vec<u8>, value: Option<&Value<'_>>) {
    match value {
        Some(Value::Text(text)) => push_escaped(out, text, b'\t', b"\\t"),
        Some(Value::Null) | None => out.extend_from_slice(b"\\N"),
    }
}
