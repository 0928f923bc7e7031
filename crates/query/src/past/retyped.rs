//! Schema changes that give values other texts without a change of their rows.

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
