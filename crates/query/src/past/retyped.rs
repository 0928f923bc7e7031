//! Schema changes that give values other texts without a change of their rows.

use archive::segment::Effect;

use super::apply::At;
use super::base::text::Reading;
use super::error::Result;
use super::types::Retyped;
use super::{quoting, shown, Column, Past};
use crate::history::literal::names_of;
use crate::history::scanner::{tokens, Token};
use crate::history::Value;

impl Past {
    /// A type's values have other texts.
    pub(super) fn retype(&mut self, at: At<'_>, retyped: &Retyped) -> Result<()> {
        let (Retyped::Label { type_, .. } | Retyped::Attributes { type_ }) = retyped;
        for nth in 0..self.live.len() {
            if self.live[nth].count() == 0 {
                continue;
            }
            let columns = self.live[nth].shape.stored();
            let uses = columns.filter(|column| self.types.uses(&column.type_, type_));
            let uses: Vec<(u32, Vec<u8>)> = uses
                .map(|column| (column.number, column.type_.clone()))
                .collect();
            for (number, column_type) in uses {
                let Retyped::Label { from, to, .. } = retyped else {
                    let why =
                        "the texts of values of this type have changed, and are not in the files";
                    return Err(at.not_followed(why));
                };
                if column_type != *type_ {
                    let why = "the texts of values that contain this label have changed, and are not in the files";
                    return Err(at.not_followed(why));
                }
                self.live[nth].rewrite(&mut self.store, number, &|text| {
                    if text == &from[..] {
                        to.clone()
                    } else {
                        text.to_vec()
                    }
                })?;
            }
        }
        Ok(())
    }

    /// Follows the columns alone, and notes those of wanted tables whose values have other texts from here on: their type has
    /// other attributes or labels, or is another type.
    pub(super) fn follow_column_types(&mut self, effect: &Effect, statement: &[u8]) {
        if let Some(Retyped::Label { type_, .. } | Retyped::Attributes { type_ }) =
            self.types.follow(statement)
        {
            for (oid, column) in self.wanted_columns() {
                if self.types.uses(&column.type_, &type_) {
                    self.retyped.insert((oid, column.number));
                }
            }
        }
        let before = self.wanted_columns();
        // What is not understood is noted with its table.
        let _ = self.tables.follow(effect, statement);
        for (oid, column) in before {
            let shape = self.tables.all.get(&oid).map(|table| &table.shape);
            let mut columns = shape.into_iter().flat_map(|shape| &shape.columns);
            let after = columns.find(|it| it.number == column.number);
            // PostgreSQL's own types stay what they are.
            let is_own = |type_: &[u8]| memchr::memchr(b'.', type_).is_none();
            if after.is_some_and(|it| it.type_ != column.type_) && !is_own(&column.type_) {
                self.retyped.insert((oid, column.number));
            }
        }
    }

    fn wanted_columns(&self) -> Vec<(u32, Column)> {
        let tables = self.wanted.iter();
        let tables = tables.filter_map(|oid| Some((*oid, self.tables.all.get(oid)?)));
        tables
            .flat_map(|(oid, table)| table.shape.columns.iter().map(move |it| (oid, it.clone())))
            .collect()
    }

    /// Whether [`Self::follow_columns`] has found that the texts of a column's type are others since then.
    pub fn is_retyped(&self, oid: u32, number: u32) -> bool {
        self.retyped.contains(&(oid, number))
    }

    /// A value of a reg… type is the name of an object: not of one that this renames or drops.
    pub(super) fn ensure_no_names(&self, at: At<'_>, is_schema: bool) -> Result<()> {
        let is_name = |column: &Column| Reading::of(&column.type_) == Reading::Names;
        let mut names: Option<Vec<Vec<u8>>> = None;
        for live in self.live.iter().filter(|live| live.count() > 0) {
            let columns: Vec<usize> = live
                .shape
                .stored()
                .enumerate()
                .filter_map(|(at, column)| is_name(column).then_some(at))
                .collect();
            if columns.is_empty() {
                continue;
            }
            let names = names.get_or_insert_with(|| named_in(at.text));
            let (mut from, mut row) = (0, Vec::new());
            while let Some(number) = live.next_row(&self.store, from, &mut row)? {
                from = number + 1;
                let values = live.read(&row);
                let is_it = |at: &usize| match &values[*at] {
                    Value::Null => false,
                    Value::Text(text) => {
                        let parts = names_of(text);
                        let parts = if is_schema {
                            &parts[..]
                        } else {
                            &parts[parts.len().saturating_sub(1)..]
                        };
                        parts.iter().any(|part| names.contains(part))
                    }
                };
                if columns.iter().any(is_it) {
                    let table = shown(&quoting::written_table(&live.name));
                    let why = format!(
                        "a row of {table} has the name of an object in it that was given another one, or dropped"
                    );
                    return Err(at.not_followed(why));
                }
            }
        }
        Ok(())
    }
}

/// All names in a statement.
fn named_in(statement: &[u8]) -> Vec<Vec<u8>> {
    let tokens = tokens(statement).into_iter();
    tokens
        .filter_map(|token| match token {
            Token::Name(name) => Some(name),
            Token::Symbol(_) => None,
        })
        .collect()
}

/// How texts change with the type where no row is rewritten.
pub(super) enum TextChange {
    None,
    By(fn(&[u8]) -> Vec<u8>),
}

/// `None` where that is not known.
pub(super) fn text_change(from: &[u8], to: &[u8]) -> Option<TextChange> {
    let name = |type_: &[u8]| {
        let type_ = String::from_utf8_lossy(type_).into_owned();
        match (type_.find('('), type_.find(')')) {
            (Some(start), Some(end)) if start < end => {
                format!("{}{}", &type_[..start], &type_[end + 1..])
            }
            _ => type_,
        }
    };
    let (from, to) = (name(from), name(to));
    const STRINGS: [&str; 2] = ["text", "character varying"];
    const ZONED: &str = "timestamp with time zone";
    const PLAIN: &str = "timestamp without time zone";
    let element = |name: &str| name.strip_suffix("[]").unwrap_or(name).to_owned();
    let are_strings = STRINGS.contains(&&*element(&from)) && STRINGS.contains(&&*element(&to));
    if from == to || are_strings && from.ends_with("[]") == to.ends_with("[]") {
        return Some(TextChange::None);
    }
    // Without a rewrite only if the time zone was UTC.
    match (&*from, &*to) {
        (PLAIN, ZONED) => Some(TextChange::By(|text| {
            if text.ends_with(b"infinity") {
                return text.to_vec();
            }
            match text.strip_suffix(b" BC") {
                Some(text) => [text, b"+00 BC"].concat(),
                None => [text, b"+00"].concat(),
            }
        })),
        (ZONED, PLAIN) => Some(TextChange::By(|text| {
            match (text.strip_suffix(b"+00"), text.strip_suffix(b"+00 BC")) {
                (Some(text), _) => text.to_vec(),
                (None, Some(text)) => [text, b" BC"].concat(),
                (None, None) => text.to_vec(),
            }
        })),
        ("bit varying", "bit varying") => Some(TextChange::None),
        _ => None,
    }
}
