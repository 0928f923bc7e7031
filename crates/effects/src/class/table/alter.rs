//! Changes of a table, with its columns identified by number.

use super::column::Settings;
use super::inherit::{ensure_local, leave, Kept};
use super::not_null;
use super::{Column, Expression, Table};
use crate::compare::TEMPORARY;
use crate::object::Object;
use crate::options::{altered, changes, with_toast};
use crate::renames::in_order;
use crate::script::{Script, Unhandled};
use crate::text::{do_block, quoted};

pub fn alter(old: &Table, new: &Table, script: &mut Script) -> Result<(), Unhandled> {
    if new.is_catalog() {
        return Ok(());
    }
    ensure_alterable(old, new)?;
    ensure_none_comes_back(old, new)?;
    let kept = Kept::new(old, new);
    ensure_local(&kept, old, new)?;
    leave(old, new, script)?;
    let mut change = Change::new(old, new, kept);
    change.drop_columns();
    change.rename_columns()?;
    change.table()?;
    for (was, is) in change.pairs() {
        change.set_type(was, is)?;
    }
    for column in new.columns() {
        match old.column(column.number) {
            None => change.add_column(column)?,
            Some(was) => change.alter_column(was, column)?,
        }
    }
    super::create::row_security(Some(old), new, &mut change.script);
    // Before its first statement: rows of a rewritten table follow all of them.
    if change.is_rewritten {
        if old.tablespace_oid != new.tablespace_oid {
            // This is a new file, too: which of them were rewritten is unknown.
            return Err(new.unhandled("its tablespace changed together with a possible rewrite"));
        }
        empty(old, new, new, script)?;
    }
    script.statements.append(&mut change.script.statements);
    Ok(())
}

/// A column that depended on temporary objects is kept after all: no restore has its values.
fn ensure_none_comes_back(old: &Table, new: &Table) -> Result<(), Unhandled> {
    let mut columns = old.columns_left_out.iter();
    match columns.find_map(|number| new.column(*number)) {
        None => Ok(()),
        Some(column) => {
            let what = format!(
                "column {} no longer depends on temporary objects",
                column.name
            );
            Err(Unhandled::new(TEMPORARY, what))
        }
    }
}

/// What precedes a parent's or a type's statement that also affects this table.
pub fn early(old: &Table, new: &Table, script: &mut Script) -> Result<(), Unhandled> {
    let kept = Kept::new(old, new);
    let change = Change::new(old, new, kept);
    for (was, is) in change.pairs() {
        not_null::keep(old, &change.kept, was, is, script);
    }
    if change.is_typed_anew() && change.has_new_file() {
        empty(old, new, old, script)?;
    }
    Ok(())
}

/// Whether ALTER COLUMN … TYPE was executed.
pub fn is_other_type(old: &Column, new: &Column) -> bool {
    old.type_id != new.type_id
}

/// Whether its generation expression was changed.
pub fn is_regenerated(old: &Column, new: &Column) -> bool {
    old.is_generated() && new.is_generated() && tree(old) != tree(new)
}

fn tree(column: &Column) -> Option<&str> {
    column.expression.as_ref().map(|e| e.tree.as_str())
}

fn ensure_alterable(old: &Table, new: &Table) -> Result<(), Unhandled> {
    if old.kind != new.kind {
        return Err(new.unhandled("its kind of relation has changed"));
    }
    if old.partition_tree != new.partition_tree {
        return Err(new.unhandled("its partition key has changed"));
    }
    let server = |table: &Table| table.foreign.as_ref().map(|foreign| foreign.server_oid);
    if server(old) != server(new) {
        return Err(new.unhandled("another server"));
    }
    Ok(())
}

/// A DELETE is refused on a published table without a suitable replica identity, a TRUNCATE on one that a
/// foreign key references.
fn emptied(table: &str) -> String {
    do_block(&format!(
        "BEGIN TRUNCATE ONLY {table}; EXCEPTION WHEN feature_not_supported THEN DELETE FROM ONLY {table}; END"
    ))
}

/// Its rows, and those of child tables, that follow; `named` has the current name.
fn empty(old: &Table, new: &Table, named: &Table, script: &mut Script) -> Result<(), Unhandled> {
    if old.file != new.file {
        script.push("rewrite", emptied(&named.target()));
    }
    for below in new.below.iter().flatten() {
        let was = old.below.iter().flatten().find(|was| was.oid == below.oid);
        if let Some(was) = was.filter(|was| was.file != below.file) {
            if was.name != below.name {
                return Err(new.unhandled("a rewritten child table was renamed"));
            }
            script.push("rewrite", emptied(&below.name));
        }
    }
    Ok(())
}

pub(super) struct Change<'a> {
    pub old: &'a Table,
    pub new: &'a Table,
    pub kept: Kept,
    /// Whether one of its own statements rewrites existing rows.
    pub is_rewritten: bool,
    pub script: Script,
}

impl<'a> Change<'a> {
    fn new(old: &'a Table, new: &'a Table, kept: Kept) -> Change<'a> {
        Change {
            old,
            new,
            kept,
            is_rewritten: false,
            script: Script::default(),
        }
    }

    /// Whether ALTER TYPE … ALTER ATTRIBUTE … TYPE has changed a column's type, which is written with the
    /// type.
    fn is_typed_anew(&self) -> bool {
        let pairs = self.pairs();
        self.kept.is_typed && pairs.iter().any(|(old, new)| is_other_type(old, new))
    }

    pub fn say(&mut self, sql: String) {
        self.script.push("alter", sql);
    }

    /// Columns in both states.
    fn pairs(&self) -> Vec<(&'a Column, &'a Column)> {
        let columns = self.new.columns().iter();
        columns
            .filter_map(|new| Some((self.old.column(new.number)?, new)))
            .collect()
    }

    /// Whether the file of any table with its rows has changed.
    pub fn has_new_file(&self) -> bool {
        let mut below = self.new.below.iter().flatten();
        self.old.file != self.new.file || below.any(|table| self.has_new_file_below(table.oid))
    }

    /// The same for one of the child tables.
    pub fn has_new_file_below(&self, table: u32) -> bool {
        let file = |whole: &Table| {
            let mut below = whole.below.iter().flatten();
            below.find(|is| is.oid == table).map(|is| is.file)
        };
        file(self.old).is_some_and(|was| file(self.new) != Some(was))
    }

    fn drop_columns(&mut self) {
        let is_gone = |column: &&Column| self.new.column(column.number).is_none();
        let is_said = |column: &Column| {
            self.kept.is_given(column) && (!column.is_local || self.kept.is_typed)
        };
        let mut gone: Vec<&Column> = self
            .old
            .columns()
            .iter()
            .filter(is_gone)
            .filter(|column| !is_said(column))
            .collect();
        // Columns generated from others are dropped first.
        gone.sort_by_key(|column| !column.is_generated());
        for column in gone {
            let alter = if self.old.gives_to_children(self.new, &column.name) {
                self.new.alter_only()
            } else {
                self.new.alter_all()
            };
            let sql = format!("{alter} DROP COLUMN {}", column.name);
            self.say(sql);
        }
    }

    fn rename_columns(&mut self) -> Result<(), Unhandled> {
        let (mut own, mut others) = (Vec::new(), Vec::new());
        for (old, new) in self.pairs() {
            let is_said = self.kept.is_typed || !self.kept.above(old, new).is_empty();
            let list = if is_said { &mut others } else { &mut own };
            list.push((old.name.clone(), new.name.clone()));
        }
        // A column from a parent is created before this table releases the name.
        for column in self.new.columns() {
            let is_new = self.old.column(column.number).is_none();
            if is_new
                && self.kept.is_given(column)
                && own.iter().any(|(old, _)| *old == column.name)
            {
                return Err(self
                    .new
                    .unhandled("a parent's column takes the name of one of its own columns"));
            }
        }
        let taken: Vec<&str> = self
            .old
            .columns()
            .iter()
            .chain(self.new.columns())
            .map(|column| column.name.as_str())
            .collect();
        let free = |_: &str| {
            let names = (1..).map(|n| quoted(&format!("between names {n}")));
            let mut names = names.filter(|name| !taken.contains(&name.as_str()));
            names.next().unwrap_or_default()
        };
        for (from, to) in in_order(own, free) {
            let sql = format!("{} RENAME COLUMN {from} TO {to}", self.new.alter_all());
            self.script.push("rename", sql);
        }
        Ok(())
    }

    /// Changes other than those of columns.
    fn table(&mut self) -> Result<(), Unhandled> {
        let (old, new) = (self.old, self.new);
        let (alter, only) = (new.alter_all(), new.alter_only());
        let of = |table: &'a Table| table.of_type.as_ref().map(|of| of.oid);
        match (&old.of_type, &new.of_type) {
            (Some(_), None) => self.say(format!("{alter} NOT OF")),
            (_, Some(is)) if of(old) != of(new) => self.say(format!("{alter} OF {}", is.name)),
            _ => {}
        }
        if old.persistence != new.persistence {
            let word = match new.persistence.as_str() {
                "p" => "LOGGED",
                "u" => "UNLOGGED",
                other => return Err(new.unhandled(format!("persistence {other}"))),
            };
            self.is_rewritten |= old.file != new.file;
            self.say(format!("{alter} SET {word}"));
        }
        if old.method_oid != new.method_oid {
            self.is_rewritten |= old.file != new.file;
            let method = new.method.as_deref().unwrap_or("DEFAULT");
            self.say(format!("{only} SET ACCESS METHOD {method}"));
        }
        if old.tablespace_oid != new.tablespace_oid {
            let tablespace = new.tablespace.as_deref().unwrap_or("pg_default");
            self.say(format!("{only} SET TABLESPACE {tablespace}"));
        }
        let [was, is] = [old, new].map(|table| with_toast(&table.options, &table.toast_options));
        match super::parameters::unknown_to_alter(new) {
            Some(update) if was != is => self.say(update),
            _ => changes(&was, &is)
                .iter()
                .for_each(|clause| self.say(format!("{only} {clause}"))),
        }
        if let (Some(was), Some(is)) = (&old.foreign, &new.foreign) {
            let changes = altered(was.options.as_deref(), is.options.as_deref());
            if !changes.is_empty() {
                self.say(format!("{alter}{changes}"));
            }
        }
        Ok(())
    }

    /// ALTER COLUMN … TYPE, without the user's expression.
    fn set_type(&mut self, old: &Column, new: &Column) -> Result<(), Unhandled> {
        // One to the same type re-creates constraints of child tables, with other names.
        let is_said = is_other_type(old, new)
            || (self.new.below.is_some() && not_null::is_recreated(old, new));
        if !is_said || self.kept.is_typed || !self.kept.above(old, new).is_empty() {
            return Ok(());
        }
        let alter = format!("{} ALTER COLUMN {}", self.new.alter_all(), new.name);
        let to = format!("{alter} TYPE {}{}", new.type_, new.collate());
        if !is_other_type(old, new) {
            self.say(to);
            return Ok(());
        }
        // Without any rows every change is possible; the first one always works.
        let is_rewritten = self.has_new_file() || (self.new.file == 0 && self.new.below.is_none());
        self.is_rewritten |= is_rewritten;
        if old.is_generated() {
            self.say(to);
            return Ok(());
        }
        if old.expression.is_some() || (self.new.below.is_some() && new.identity.is_empty()) {
            self.say(format!("{alter} DROP DEFAULT"));
        }
        let using = match (is_rewritten, new.type_id.0) {
            // A foreign table accepts no USING: so the type's own cast was sufficient.
            _ if self.new.is_foreign() || self.new.has_foreign_below => String::new(),
            (true, _) => format!(" USING NULL::{}", new.type_),
            // Between these, values are unchanged if the user's time zone was UTC.
            (false, TIMESTAMP | TIMESTAMPTZ) if old.type_id.0 != new.type_id.0 => {
                match old.type_id.0 {
                    TIMESTAMP | TIMESTAMPTZ => format!(" USING {} AT TIME ZONE 'UTC'", new.name),
                    _ => format!(" USING {}::{}", new.name, new.type_),
                }
            }
            (false, _) => format!(" USING {}::{}", new.name, new.type_),
        };
        self.say(format!("{to}{using}"));
        Ok(())
    }

    pub fn default(&mut self, column: &Column) {
        let alter = format!("{} ALTER COLUMN {}", self.new.alter_only(), column.name);
        self.say(match column.default() {
            Some(default) => format!("{alter} SET DEFAULT {default}"),
            None => format!("{alter} DROP DEFAULT"),
        });
    }

    fn alter_column(&mut self, old: &Column, new: &Column) -> Result<(), Unhandled> {
        self.expression(old, new)?;
        not_null::alter(self.new, &self.kept, old, new, &mut self.script)?;
        if !is_other_type(old, new) {
            Settings::of(old).become_(self.new, new, &mut self.script)?;
        } else {
            let fresh = Settings {
                storage: &new.type_storage,
                compression: "",
                ..Settings::of(old)
            };
            fresh.become_(self.new, new, &mut self.script)?;
        }
        let changes = altered(
            old.foreign_options.as_deref(),
            new.foreign_options.as_deref(),
        );
        if !changes.is_empty() {
            let (alter, name) = (self.new.alter_only(), &new.name);
            self.say(format!("{alter} ALTER COLUMN {name}{changes}"));
        }
        Ok(())
    }

    fn expression(&mut self, old: &Column, new: &Column) -> Result<(), Unhandled> {
        let alter = format!("{} ALTER COLUMN {}", self.new.alter_all(), new.name);
        let above = self.kept.above(old, new);
        match (old.generated.as_str(), new.generated.as_str()) {
            ("", "") => {
                let is_typed_anew = is_other_type(old, new) && new.expression.is_some();
                if is_typed_anew || tree(old) != tree(new) {
                    self.default(new);
                }
            }
            (_, "") => {
                let is_said = |(was, is): &(&super::Above, &super::Above)| {
                    !was.generated.is_empty() && is.generated.is_empty()
                };
                if !above.iter().any(is_said) {
                    self.say(format!("{alter} DROP EXPRESSION"));
                }
                if new.default().is_some() {
                    self.default(new);
                }
            }
            (was, is) if was == is => {
                let (true, Some(expression)) = (is_regenerated(old, new), &new.expression) else {
                    return Ok(());
                };
                let text = |e: &Option<Expression>| e.as_ref().map(|e| e.text.clone());
                let is_said = above
                    .iter()
                    .any(|(_, is)| text(&is.expression) == text(&new.expression));
                // Before 17 only a type change can have changed it.
                if is_said || (self.new.version < 170_000 && is_other_type(old, new)) {
                    return Ok(());
                }
                self.is_rewritten |= self.has_new_file();
                self.say(format!("{alter} SET EXPRESSION AS ({})", expression.text));
            }
            _ => return Err(self.new.unhandled(
                "a column was changed to a generated one, or its kind of generation has changed",
            )),
        }
        Ok(())
    }
}

/// OIDs of types (catalog/pg_type.dat).
const TIMESTAMP: u32 = 1114;
const TIMESTAMPTZ: u32 = 1184;
