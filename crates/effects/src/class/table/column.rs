//! One column: its definition, its settings, its NOT NULL, its stored missing value.

use super::{Column, Table};
use crate::common::{comment_on, labels};
use crate::options::{changes, Setting};
use crate::script::{Script, Unhandled};

/// The properties of a column after its definition, before any ALTER.
pub struct Settings<'a> {
    pub storage: &'a str,
    pub compression: &'a str,
    pub statistics: i32,
    pub options: &'a [Setting],
    pub comment: Option<&'a str>,
    pub labels: Option<&'a [(String, String)]>,
}

impl<'a> Settings<'a> {
    /// For a newly created column of this type.
    pub fn new(column: &'a Column) -> Settings<'a> {
        Settings {
            storage: &column.type_storage,
            compression: "",
            statistics: -1,
            options: &[],
            comment: None,
            labels: None,
        }
    }

    pub fn of(column: &'a Column) -> Settings<'a> {
        Settings {
            storage: &column.storage,
            compression: &column.compression,
            statistics: column.statistics,
            options: column.options.as_deref().unwrap_or_default(),
            comment: column.comment.as_deref(),
            labels: column.labels.as_deref(),
        }
    }

    /// Statements that change them to those of `to`.
    pub fn become_(self, table: &Table, to: &Column, script: &mut Script) -> Result<(), Unhandled> {
        let alter = format!("{} ALTER COLUMN {}", table.alter_only(), to.name);
        if self.storage != to.storage {
            let word = match to.storage.as_str() {
                "p" => "PLAIN",
                "e" => "EXTERNAL",
                "m" => "MAIN",
                "x" => "EXTENDED",
                other => return Err(table.unhandled(format!("storage {other}"))),
            };
            script.push("alter", format!("{alter} SET STORAGE {word}"));
        }
        if self.compression != to.compression {
            let word = match to.compression.as_str() {
                "" => "default",
                "p" => "pglz",
                "l" => "lz4",
                other => return Err(table.unhandled(format!("compression {other}"))),
            };
            script.push("alter", format!("{alter} SET COMPRESSION {word}"));
        }
        if self.statistics != to.statistics {
            let sql = format!("{alter} SET STATISTICS {}", to.statistics);
            script.push("alter", sql);
        }
        for clause in changes(self.options, to.options.as_deref().unwrap_or_default()) {
            script.push("alter", format!("{alter} {clause}"));
        }
        let name = format!("{}.{}", super::Object::target(table), to.name);
        if self.comment != to.comment.as_deref() {
            let what = format!("COLUMN {name}");
            script.push("comment", comment_on(&what, to.comment.as_deref()));
        }
        let what = format!("COLUMN {name}");
        labels(self.labels, to.labels.as_deref(), &what, script);
        Ok(())
    }
}

impl Column {
    /// `name type`, with the collation if it is not the type's.
    pub fn typed(&self) -> String {
        let collate = self.collate();
        format!("{} {}{collate}", self.name, self.type_)
    }

    pub fn collate(&self) -> String {
        self.collation
            .as_ref()
            .map_or_else(String::new, |name| format!(" COLLATE {name}"))
    }

    pub fn is_generated(&self) -> bool {
        !self.generated.is_empty()
    }

    /// Its default, if it is not generated.
    pub fn default(&self) -> Option<&str> {
        let expression = self.expression.as_ref().filter(|_| !self.is_generated())?;
        Some(&expression.text)
    }

    /// ` GENERATED ALWAYS AS (…) STORED` or nothing.
    pub fn generation(&self, table: &Table) -> Result<String, Unhandled> {
        let word = match self.generated.as_str() {
            "" => return Ok(String::new()),
            "s" => "STORED",
            "v" => "VIRTUAL",
            other => return Err(table.unhandled(format!("generated {other}"))),
        };
        let Some(expression) = &self.expression else {
            return Err(table.unhandled("a generated column without an expression"));
        };
        Ok(format!(" GENERATED ALWAYS AS ({}) {word}", expression.text))
    }

    /// ` CONSTRAINT n NOT NULL` for its definition, or nothing: one that is not valid is added afterwards.
    pub fn not_null(&self) -> String {
        match &self.constraint {
            Some(constraint) if !constraint.is_valid => String::new(),
            Some(constraint) => {
                let inherit = if constraint.no_inherit {
                    " NO INHERIT"
                } else {
                    ""
                };
                format!(" CONSTRAINT {} NOT NULL{inherit}", constraint.name)
            }
            None if self.not_null => " NOT NULL".to_owned(),
            None => String::new(),
        }
    }
}

/// The text of the one element of an array in array_out's format.
pub fn element(array: &str) -> Option<String> {
    let inner = array.strip_prefix('{')?.strip_suffix('}')?;
    match inner.strip_prefix('"') {
        None => Some(inner.to_owned()).filter(|text| !text.is_empty()),
        Some(quoted) => {
            let quoted = quoted.strip_suffix('"')?;
            let mut text = String::with_capacity(quoted.len());
            let mut chars = quoted.chars();
            while let Some(c) = chars.next() {
                match c {
                    '\\' => text.push(chars.next()?),
                    // There is a second element.
                    '"' => return None,
                    c => text.push(c),
                }
            }
            Some(text)
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_element_is_read_whatever_the_delimiter() {
        let read = |text: &str| element(text).unwrap();
        assert_eq!(read("{5}"), "5");
        assert_eq!(read("{(1,1),(0,0)}"), "(1,1),(0,0)");
        assert_eq!(read(r#"{"a b"}"#), "a b");
        assert_eq!(read(r#"{"{1,2}"}"#), "{1,2}");
        assert_eq!(read(r#"{"a\"b\\c"}"#), "a\"b\\c");
        assert_eq!(read(r#"{""}"#), "");
        assert_eq!(read(r#"{"NULL"}"#), "NULL");
        assert_eq!(element("{}"), None);
        assert_eq!(element(r#"{"a","b"}"#), None);
        assert_eq!(element("[1:1]={1}"), None);
    }
}
