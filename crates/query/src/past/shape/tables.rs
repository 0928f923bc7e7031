//! All tables at a place of the files, by OID: names, columns, parents. Effects are followed from the base on.
//!
//! All are followed, whichever are wanted: a column comes from a parent, and a name is looked up. What of it is not
//! understood is noted with its table, and is an error only where that is wanted.

use std::collections::{BTreeMap, BTreeSet};

use archive::segment::Effect;

use super::alteration::{self, Alteration, Altered};
use super::definition::{self, Definition};
use super::{Column, Shape};
use crate::history::ddl::TableName;
use crate::history::literal::names_of;
use crate::past::quoting::written;

/// OID of pg_class.
const PG_CLASS: u32 = 1259;
/// The OID of the schema public as initdb makes it (pg_namespace.dat); a dump does not list it.
const PUBLIC: u32 = 2200;

/// A table.
#[derive(Debug, Clone)]
pub struct Table {
    pub name: TableName,
    pub shape: Shape,
    /// The partitioned table, or those from which it inherits.
    pub parents: BTreeSet<u32>,
    pub is_partition: bool,
    pub is_partitioned: bool,
    /// Its rows are elsewhere.
    pub is_foreign: bool,
    /// Its rows are not in the files.
    pub is_unlogged: bool,
    /// Why its columns are not known.
    pub unknown: Option<String>,
}

/// What a schema change means for the rows of a table.
#[derive(Debug, Clone, PartialEq)]
pub enum Consequence {
    /// Another set of columns, or other names: the rows stay as they are.
    Reshaped,
    /// All rows are gone; those of a rewritten table follow.
    Emptied,
    Dropped,
    /// The column has another type, and no row was rewritten.
    Typed {
        number: u32,
        from: Vec<u8>,
        to: Vec<u8>,
    },
    /// The column was generated, and its values are rows' own from here on.
    Kept {
        number: u32,
    },
    /// It was made, or became or ceased to be a partition.
    Moved,
}

/// All tables.
#[derive(Debug, Clone, Default)]
pub struct Tables {
    pub all: BTreeMap<u32, Table>,
    children: BTreeMap<u32, BTreeSet<u32>>,
    schemas: BTreeMap<u32, Vec<u8>>,
}

impl Tables {
    pub fn new() -> Tables {
        let mut tables = Tables::default();
        tables.schemas.insert(PUBLIC, b"public".to_vec());
        tables
    }

    /// A schema of the base.
    pub fn add_schema(&mut self, oid: u32, name: &[u8]) {
        self.schemas.insert(oid, name.to_vec());
    }

    /// The table of this name.
    pub fn named(&self, name: &TableName) -> Option<u32> {
        let mut all = self.all.iter();
        all.find(|(_, table)| table.name == *name)
            .map(|(oid, _)| *oid)
    }

    /// A table that is made by this statement.
    pub fn create(&mut self, oid: u32, name: TableName, is_foreign: bool, statement: &[u8]) {
        let read = definition::read(statement);
        let mut table = Table {
            name,
            shape: Shape::default(),
            parents: BTreeSet::new(),
            is_partition: false,
            is_partitioned: false,
            is_foreign,
            is_unlogged: false,
            unknown: None,
        };
        match read {
            None => table.unknown = Some("its definition was not understood".to_owned()),
            Some(definition) => self.fill(&mut table, definition),
        }
        for parent in &table.parents {
            self.children.entry(*parent).or_default().insert(oid);
        }
        self.all.insert(oid, table);
    }

    fn fill(&self, table: &mut Table, definition: Definition) {
        table.is_partitioned = definition.is_partitioned;
        table.is_unlogged = definition.is_unlogged;
        if definition.is_typed {
            table.unknown = Some("its columns are those of a type (CREATE TABLE OF)".to_owned());
        }
        let mut columns: Vec<Column> = Vec::new();
        for name in &definition.inherits {
            let parent = self
                .named(name)
                .and_then(|oid| Some((oid, self.all.get(&oid)?)));
            let Some((oid, parent)) = parent else {
                table.unknown = Some("a table from which it inherits is not known".to_owned());
                continue;
            };
            table.unknown = table.unknown.take().or_else(|| parent.unknown.clone());
            table.parents.insert(oid);
            for column in &parent.shape.columns {
                match columns.iter_mut().find(|it| it.name == column.name) {
                    Some(there) => there.inherited += 1,
                    None => columns.push(Column {
                        is_local: false,
                        inherited: 1,
                        ..column.clone()
                    }),
                }
            }
        }
        for own in definition.columns {
            match columns.iter_mut().find(|it| it.name == own.name) {
                Some(there) => {
                    (there.is_local, there.is_generated) = (true, own.is_generated);
                }
                None => columns.push(own),
            }
        }
        table.shape = Shape::renumbered(columns);
    }

    /// A partition of the base.
    pub fn attach(&mut self, parent: u32, child: u32) {
        self.children.entry(parent).or_default().insert(child);
        let Some(table) = self.all.get_mut(&child) else {
            return;
        };
        table.parents = [parent].into();
        table.is_partition = true;
        for column in &mut table.shape.columns {
            (column.is_local, column.inherited) = (false, 1);
        }
    }

    /// The tables below one, at any depth; partitions only, or all that inherit.
    pub fn below(&self, oid: u32, only_partitions: bool) -> Vec<u32> {
        let (mut found, mut next) = (Vec::new(), vec![oid]);
        while let Some(above) = next.pop() {
            for child in self.children.get(&above).into_iter().flatten() {
                let is_partition = self.all.get(child).is_some_and(|it| it.is_partition);
                if (is_partition || !only_partitions) && !found.contains(child) {
                    found.push(*child);
                    next.push(*child);
                }
            }
        }
        found
    }

    /// The partitioned tables above one.
    pub fn above(&self, oid: u32) -> Vec<u32> {
        let mut found = Vec::new();
        let mut next = vec![oid];
        while let Some(at) = next.pop() {
            let table = self.all.get(&at).filter(|table| table.is_partition);
            for parent in table.into_iter().flat_map(|table| &table.parents) {
                if !found.contains(parent) {
                    found.push(*parent);
                    next.push(*parent);
                }
            }
        }
        found
    }

    /// Follows an effect; what it means for rows, by OID. `Err` says what was not understood.
    pub fn follow(
        &mut self,
        effect: &Effect,
        statement: &[u8],
    ) -> Result<Vec<(u32, Consequence)>, String> {
        match effect.class.as_str() {
            "schema" => {
                self.schema(effect);
                Ok(Vec::new())
            }
            "table" | "foreign table" => self.table(effect, statement),
            _ => {
                if effect.verb == "rename" {
                    self.type_renamed(statement);
                }
                Ok(Vec::new())
            }
        }
    }

    fn schema(&mut self, effect: &Effect) {
        let Some(name) = names_of(&effect.identity).pop() else {
            return;
        };
        if effect.verb == "drop" {
            self.schemas.remove(&effect.oid);
            return;
        }
        let old = self.schemas.insert(effect.oid, name.clone());
        let Some(old) = old.filter(|old| *old != name) else {
            return;
        };
        let (before, after) = (
            [&written(&old)[..], b"."].concat(),
            [&written(&name)[..], b"."].concat(),
        );
        for table in self.all.values_mut() {
            if table.name.schema == old {
                table.name.schema.clone_from(&name);
            }
            for column in &mut table.shape.columns {
                if let Some(rest) = column.type_.strip_prefix(&before[..]) {
                    column.type_ = [&after[..], rest].concat();
                }
            }
        }
    }

    /// `ALTER TYPE s.a RENAME TO b`, `ALTER DOMAIN s.a SET SCHEMA t`.
    fn type_renamed(&mut self, statement: &[u8]) {
        let renamed = || {
            let mut words = crate::history::scanner::Words::new(statement);
            words.expect(b"ALTER ")?;
            if !words.pass(b"TYPE ") && !words.pass(b"DOMAIN ") {
                return None;
            }
            let [schema, name] = names_of(words.qualified()?).try_into().ok()?;
            let (mut to_schema, mut to_name) = (schema.clone(), name.clone());
            if words.pass(b" RENAME TO ") {
                to_name = names_of(words.identifier()?).pop()?;
            } else if words.pass(b" SET SCHEMA ") {
                to_schema = names_of(words.identifier()?).pop()?;
            }
            let join =
                |schema: &[u8], name: &[u8]| [&written(schema)[..], b".", &written(name)].concat();
            Some((join(&schema, &name), join(&to_schema, &to_name)))
        };
        let Some((from, to)) = renamed() else {
            return;
        };
        let tables = self.all.values_mut();
        for column in tables.flat_map(|table| &mut table.shape.columns) {
            let rest = column.type_.strip_prefix(&from[..]);
            if let Some(rest) =
                rest.filter(|rest| rest.is_empty() || matches!(rest[0], b'[' | b'('))
            {
                column.type_ = [&to[..], rest].concat();
            }
        }
    }

    fn table(
        &mut self,
        effect: &Effect,
        statement: &[u8],
    ) -> Result<Vec<(u32, Consequence)>, String> {
        let oid = effect.oid;
        let named = definition::table_name(&effect.identity).filter(|_| effect.identity_cut == 0);
        match effect.verb.as_str() {
            "drop" => return Ok(self.drop(oid)),
            "create" => {
                let name = named.ok_or("its name was not understood")?;
                self.create(oid, name, effect.class == "foreign table", statement);
                return Ok(vec![(oid, Consequence::Moved)]);
            }
            _ => {}
        }
        let Some(altered) = alteration::read(statement) else {
            if let Some(table) = self.all.get_mut(&oid) {
                table.unknown = Some("a change of it was not understood".to_owned());
            }
            return Err("the change was not understood".to_owned());
        };
        // A name is only followed by what changes it: an identity is that of the end of a statement.
        let is_rename = matches!(effect.verb.as_str(), "rename" | "rewrite");
        if let (Some(table), Some(name), false) = (self.all.get_mut(&oid), named, is_rename) {
            table.name = name;
        }
        self.alter(effect, altered)
    }

    fn drop(&mut self, oid: u32) -> Vec<(u32, Consequence)> {
        let mut gone = self.below(oid, true);
        gone.push(oid);
        for oid in &gone {
            self.leave(*oid, None);
            self.all.remove(oid);
            self.children.remove(oid);
        }
        gone.into_iter()
            .map(|oid| (oid, Consequence::Dropped))
            .collect()
    }

    fn leave(&mut self, oid: u32, parent: Option<u32>) {
        let Some(table) = self.all.get_mut(&oid) else {
            return;
        };
        let is_left = |above: &u32| parent.is_none_or(|parent| parent == *above);
        let left: Vec<u32> = table.parents.iter().copied().filter(is_left).collect();
        for parent in left {
            table.parents.remove(&parent);
            for column in &mut table.shape.columns {
                column.inherited = column.inherited.saturating_sub(1);
                column.is_local |= column.inherited == 0;
            }
            self.children.entry(parent).or_default().remove(&oid);
        }
        table.is_partition &= !table.parents.is_empty();
    }

    /// A parent by its name, or as what the effect needs.
    fn parent(&self, effect: &Effect, name: Option<&TableName>) -> Option<u32> {
        let by_name = name.and_then(|name| self.named(name));
        by_name.or_else(|| {
            let needed = effect.needs.iter().filter(|(class, _)| *class == PG_CLASS);
            let mut needed = needed.map(|(_, oid)| *oid).filter(|oid| *oid != effect.oid);
            needed.find(|oid| self.all.contains_key(oid))
        })
    }

    fn alter(
        &mut self,
        effect: &Effect,
        altered: Altered,
    ) -> Result<Vec<(u32, Consequence)>, String> {
        let oid = effect.oid;
        let is_only = altered.is_only;
        let moved = || Ok(vec![(oid, Consequence::Moved)]);
        match altered.what {
            Alteration::Nothing => Ok(Vec::new()),
            Alteration::AddColumn(column) => Ok(self.add_column(oid, column, is_only)),
            Alteration::DropColumn(name) => Ok(self.drop_column(oid, &name, is_only)),
            Alteration::RenameColumn { from, to } => Ok(self.each(oid, is_only, |shape| {
                shape.column_mut(&from)?.name.clone_from(&to);
                Some(Consequence::Reshaped)
            })),
            Alteration::Type { column, type_ } => Ok(self.each(oid, is_only, |shape| {
                let column = shape.column_mut(&column)?;
                let from = std::mem::replace(&mut column.type_, type_.clone());
                let (number, to) = (column.number, type_.clone());
                (!column.is_generated && from != to).then_some(Consequence::Typed {
                    number,
                    from,
                    to,
                })
            })),
            Alteration::DropExpression(name) => Ok(self.each(oid, is_only, |shape| {
                let column = shape.column_mut(&name)?;
                let was_generated = std::mem::take(&mut column.is_generated);
                let number = column.number;
                was_generated.then_some(Consequence::Kept { number })
            })),
            Alteration::Rename(name) => {
                if let Some(table) = self.all.get_mut(&oid) {
                    table.name.table = name;
                }
                Ok(Vec::new())
            }
            Alteration::SetSchema(name) => {
                if let Some(table) = self.all.get_mut(&oid) {
                    table.name.schema = name;
                }
                Ok(Vec::new())
            }
            Alteration::Attach(child) => {
                let parent = self.parent(effect, altered.target.as_ref());
                let child = self.named(&child).unwrap_or(oid);
                let parent = parent.ok_or("its partitioned table is not known")?;
                self.attach(parent, child);
                Ok(vec![(child, Consequence::Moved)])
            }
            Alteration::Inherit(name) => {
                let parent = self.parent(effect, Some(&name));
                let parent = parent.ok_or("the table from which it inherits is not known")?;
                self.children.entry(parent).or_default().insert(oid);
                if let Some(table) = self.all.get_mut(&oid) {
                    table.parents.insert(parent);
                }
                self.count_inherited(oid, parent);
                moved()
            }
            Alteration::Detach(child) => {
                let child = self.named(&child).unwrap_or(oid);
                self.leave(child, None);
                Ok(vec![(child, Consequence::Moved)])
            }
            Alteration::NoInherit(name) => {
                let parent = self.parent(effect, Some(&name));
                self.leave(oid, parent);
                moved()
            }
            Alteration::OfType => {
                if let Some(table) = self.all.get_mut(&oid) {
                    table.unknown = Some("its columns were made those of a type".to_owned());
                }
                Ok(Vec::new())
            }
            Alteration::Unlogged | Alteration::Logged => {
                if let Some(table) = self.all.get_mut(&oid) {
                    table.is_unlogged = altered.what == Alteration::Unlogged;
                }
                Ok(Vec::new())
            }
            Alteration::Empty(name) => {
                let emptied = self.named(&name).or_else(|| {
                    let is_own = definition::table_name(&effect.identity) == Some(name);
                    is_own.then_some(oid)
                });
                let emptied = emptied.ok_or("the table that it empties is not known")?;
                Ok(vec![(emptied, Consequence::Emptied)])
            }
        }
    }

    fn count_inherited(&mut self, child: u32, parent: u32) {
        let Some(above) = self.all.get(&parent).map(|parent| parent.shape.clone()) else {
            return;
        };
        let Some(table) = self.all.get_mut(&child) else {
            return;
        };
        for column in &mut table.shape.columns {
            column.inherited += u32::from(above.column(&column.name).is_some());
        }
    }

    /// Alters a table, and those below it.
    fn each(
        &mut self,
        oid: u32,
        is_only: bool,
        mut alter: impl FnMut(&mut Shape) -> Option<Consequence>,
    ) -> Vec<(u32, Consequence)> {
        let mut all = vec![oid];
        if !is_only {
            all.extend(self.below(oid, false));
        }
        let mut found = Vec::new();
        for oid in all {
            let shape = self.all.get_mut(&oid).map(|table| &mut table.shape);
            found.extend(shape.and_then(&mut alter).map(|what| (oid, what)));
        }
        found
    }

    fn add_column(&mut self, oid: u32, column: Column, is_only: bool) -> Vec<(u32, Consequence)> {
        let mut is_first = true;
        self.each(oid, is_only, |shape| {
            let is_own = std::mem::take(&mut is_first);
            match shape.column_mut(&column.name) {
                Some(there) => {
                    there.inherited += u32::from(!is_own);
                    there.is_local |= is_own;
                    None
                }
                None => {
                    shape.add(Column {
                        is_local: is_own,
                        inherited: u32::from(!is_own),
                        ..column.clone()
                    });
                    Some(Consequence::Reshaped)
                }
            }
        })
    }

    /// Below, a column goes with the last table from which it comes, unless it is local.
    fn drop_column(&mut self, oid: u32, name: &[u8], is_only: bool) -> Vec<(u32, Consequence)> {
        let mut changed = Vec::new();
        let mut next = vec![oid];
        while let Some(at) = next.pop() {
            let Some(table) = self.all.get_mut(&at) else {
                continue;
            };
            let Some(column) = table.shape.column_mut(name) else {
                continue;
            };
            if at != oid {
                column.inherited = column.inherited.saturating_sub(1);
                let stays = column.inherited > 0 || column.is_local || is_only;
                if stays {
                    column.is_local |= column.inherited == 0;
                    continue;
                }
            }
            table.shape.columns.retain(|column| column.name != name);
            changed.push((at, Consequence::Reshaped));
            next.extend(self.children.get(&at).into_iter().flatten());
        }
        changed
    }
}
