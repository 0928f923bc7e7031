//! A new column: added with the value of older rows, or created by a parent or a type.

use super::alter::Change;
use super::column::{element, Settings};
use super::{not_null, Column, Expression};
use crate::options::created;
use crate::script::Unhandled;
use crate::text::literal;

impl Change<'_> {
    pub fn add_column(&mut self, column: &Column) -> Result<(), Unhandled> {
        let new = self.new;
        let is_given = self.kept.is_given(column);
        if is_given {
            self.given(column)?;
        } else {
            self.added(column)?;
        }
        Settings::new(column).become_(new, column, &mut self.script)?;
        not_null::comment_not_null(new, column, None, &mut self.script);
        Ok(())
    }

    /// ADD COLUMN with the value of older rows, then its own default.
    fn added(&mut self, column: &Column) -> Result<(), Unhandled> {
        let new = self.new;
        let missing = self.missing(column)?;
        // NOT NULL without a default: rows had one that depended on temporary objects.
        let computes = column.expression.is_some()
            || column.not_null
            || !column.identity.is_empty()
            || column.is_domain;
        if missing.is_none() && computes && column.generated != "v" && self.has_new_file() {
            self.is_rewritten = true;
        }
        let options = created(column.foreign_options.as_deref());
        let default = missing
            .as_deref()
            .map_or_else(String::new, |text| format!(" DEFAULT {}", literal(text)));
        self.say(format!(
            "{} ADD COLUMN {} {}{options}{}{default}{}{}",
            new.alter_all(),
            column.name,
            column.type_,
            column.collate(),
            column.generation(new)?,
            column.not_null(),
        ));
        if missing.is_some() || column.default().is_some() {
            self.default(column);
        }
        not_null::invalid_not_null(new, column, &mut self.script);
        Ok(())
    }

    /// The text of the value in rows that are older than the column: here, or in child tables. The rows of a
    /// table that is being rewritten follow: it may have lost the text already, while another table has not
    /// yet.
    fn missing(&self, column: &Column) -> Result<Option<String>, Unhandled> {
        let below = self
            .new
            .missing_below
            .as_ref()
            .and_then(|map| map.get(&column.name));
        let has_old_rows = self.new.kind == "r" && self.old.file == self.new.file;
        let own = has_old_rows.then_some(&column.missing);
        let others = below.into_iter().flatten();
        let others = others.filter(|(table, _)| !self.has_new_file_below(*table));
        let others = others.map(|(_, value)| value);
        let mut all: Vec<&Option<String>> = own.into_iter().chain(others).collect();
        all.sort();
        all.dedup();
        if own.is_some_and(Option::is_some) && below.is_none() && self.new.below.is_some() {
            return Err(self
                .new
                .unhandled("older rows of child tables have other values"));
        }
        match all.as_slice() {
            [] | [None] => Ok(None),
            [Some(array)] => match element(array) {
                Some(text) => Ok(Some(text)),
                None => Err(self.new.unhandled("the value in older rows is unknown")),
            },
            _ => Err(self
                .new
                .unhandled("older rows of child tables have other values")),
        }
    }

    /// A column that was created by a parent's statement, or the type's.
    fn given(&mut self, column: &Column) -> Result<(), Unhandled> {
        let new = self.new;
        let above: Vec<_> = column
            .above
            .iter()
            .flatten()
            .filter(|above| self.kept.has(above.table))
            .collect();
        let text = |expression: &Option<Expression>| expression.as_ref().map(|e| e.text.clone());
        if column.is_generated() {
            if above
                .iter()
                .all(|above| text(&above.expression) != text(&column.expression))
            {
                return Err(new.unhandled("an inherited column with another generation expression"));
            }
        } else {
            let below = new
                .missing_below
                .as_ref()
                .is_some_and(|map| map.contains_key(&column.name));
            if column.default().is_some() || column.missing.is_some() || below {
                self.default(column);
            }
        }
        let (alter, name) = (new.alter_only(), &column.name);
        match &column.constraint {
            Some(constraint) if constraint.is_local => {
                not_null::add_not_null(new, column, constraint, &mut self.script);
            }
            Some(constraint) => {
                not_null::ensure_inherited_name(new, column, constraint, above.into_iter())?;
            }
            None if column.not_null && above.iter().all(|above| !above.not_null) => {
                self.say(format!("{alter} ALTER COLUMN {name} SET NOT NULL"));
            }
            None => {}
        }
        Ok(())
    }
}
