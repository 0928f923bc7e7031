//! What a statement of the output plugin does to a table: its columns, its name, its parents.
//!
//! The plugin's ALTER TABLE statements are few (crates/effects, class table); those that concern neither are [`Alteration::Nothing`].

use super::definition::{column, plain_type, table_name, type_length};
use super::Column;
use crate::history::ddl::TableName;
use crate::history::literal::name_of;
use crate::history::scanner::Words;
use crate::history::Value;

/// One change of a table.
#[derive(Debug, PartialEq)]
pub enum Alteration {
    Nothing,
    /// With the value in older rows.
    AddColumn(Column),
    DropColumn(Vec<u8>),
    RenameColumn {
        from: Vec<u8>,
        to: Vec<u8>,
    },
    Type {
        column: Vec<u8>,
        type_: Vec<u8>,
    },
    /// A generated column is one like others from here on; its values stay.
    DropExpression(Vec<u8>),
    Rename(Vec<u8>),
    SetSchema(Vec<u8>),
    /// This partition becomes one.
    Attach(TableName),
    Detach(TableName),
    Inherit(TableName),
    NoInherit(TableName),
    /// Its columns become those of a type, or of none.
    OfType,
    /// Its rows are not in the files from here on.
    Unlogged,
    /// They are again: all of them follow.
    Logged,
    /// Its rows are gone; new ones may follow.
    Empty(TableName),
}

/// A statement, and whether it is about the table alone.
#[derive(Debug, PartialEq)]
pub struct Altered {
    /// The table that it names.
    pub target: Option<TableName>,
    pub is_only: bool,
    pub what: Alteration,
}

/// Reads a statement. `None` if it is an ALTER TABLE of an unexpected form.
pub fn read(statement: &[u8]) -> Option<Altered> {
    let statement = statement.trim_ascii();
    let statement = statement.strip_suffix(b";").unwrap_or(statement);
    let mut words = Words::new(statement);
    if words.pass(b"DO ") {
        return emptied(statement).map(Altered::alone);
    }
    if !words.pass(b"ALTER TABLE ") && !words.pass(b"ALTER FOREIGN TABLE ") {
        return Some(Altered::alone(Alteration::Nothing));
    }
    let is_only = words.pass(b"ONLY ");
    let target = table_name(words.qualified()?);
    words.expect(b" ")?;
    let what = clause(&mut words)?;
    Some(Altered {
        target,
        is_only,
        what,
    })
}

impl Altered {
    fn alone(what: Alteration) -> Altered {
        Altered {
            target: None,
            is_only: true,
            what,
        }
    }
}

fn clause(words: &mut Words<'_>) -> Option<Alteration> {
    Some(if words.pass(b"ADD COLUMN ") {
        Alteration::AddColumn(added(words.rest())?)
    } else if words.pass(b"DROP COLUMN ") {
        Alteration::DropColumn(name(words)?)
    } else if words.pass(b"RENAME COLUMN ") {
        let from = name(words)?;
        words.expect(b" TO ")?;
        let to = name(words)?;
        Alteration::RenameColumn { from, to }
    } else if words.pass(b"RENAME TO ") {
        Alteration::Rename(name(words)?)
    } else if words.pass(b"SET SCHEMA ") {
        Alteration::SetSchema(name(words)?)
    } else if words.pass(b"ALTER COLUMN ") {
        of_column(words)?
    } else if words.pass(b"ATTACH PARTITION ") {
        Alteration::Attach(table_name(words.qualified()?)?)
    } else if words.pass(b"DETACH PARTITION ") {
        Alteration::Detach(table_name(words.qualified()?)?)
    } else if words.pass(b"INHERIT ") {
        Alteration::Inherit(table_name(words.qualified()?)?)
    } else if words.pass(b"NO INHERIT ") {
        Alteration::NoInherit(table_name(words.qualified()?)?)
    } else if words.pass(b"SET UNLOGGED") {
        Alteration::Unlogged
    } else if words.pass(b"SET LOGGED") {
        Alteration::Logged
    } else if words.pass(b"OF ") || words.pass(b"NOT OF") {
        Alteration::OfType
    } else {
        Alteration::Nothing
    })
}

fn name(words: &mut Words<'_>) -> Option<Vec<u8>> {
    Some(name_of(words.identifier()?).into_owned())
}

fn of_column(words: &mut Words<'_>) -> Option<Alteration> {
    let column = name(words)?;
    words.expect(b" ")?;
    if words.pass(b"TYPE ") {
        let rest = words.rest();
        let type_ = plain_type(rest[..type_length(rest)].trim_ascii());
        return Some(Alteration::Type { column, type_ });
    }
    if words.pass(b"DROP EXPRESSION") {
        return Some(Alteration::DropExpression(column));
    }
    Some(Alteration::Nothing)
}

/// A new column; what it says of a default is the value in older rows, as a literal.
fn added(item: &[u8]) -> Option<Column> {
    let column = column(item)??;
    let mut words = Words::new(item);
    words.identifier()?;
    words.expect(b" ")?;
    let mut rest = &words.rest()[type_length(words.rest())..];
    let mut words = Words::new(rest);
    if words.pass(b" OPTIONS ") {
        // Of a foreign table, whose rows are elsewhere.
        return Some(column);
    }
    if words.pass(b" COLLATE ") {
        words.qualified()?;
        rest = words.rest();
    }
    let mut words = Words::new(rest);
    let missing = if words.pass(b" DEFAULT ") {
        words.literal()?.into_owned()
    } else {
        Value::Null
    };
    Some(Column { missing, ..column })
}

/// `DO $do$BEGIN TRUNCATE ONLY t; EXCEPTION WHEN … END$do$`: the rows of a table that is rewritten follow.
fn emptied(statement: &[u8]) -> Option<Alteration> {
    const TRUNCATE: &[u8] = b"BEGIN TRUNCATE ONLY ";
    let Some(at) = memchr::memmem::find(statement, TRUNCATE) else {
        return Some(Alteration::Nothing);
    };
    let mut words = Words::new(&statement[at + TRUNCATE.len()..]);
    let table = table_name(words.qualified()?)?;
    words
        .pass(b"; EXCEPTION WHEN ")
        .then_some(Alteration::Empty(table))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn what(statement: &str) -> Alteration {
        read(statement.as_bytes()).unwrap().what
    }

    fn added(statement: &str) -> (String, String, Value<'static>, bool) {
        let Alteration::AddColumn(column) = what(statement) else {
            panic!("{statement}");
        };
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (
            text(column.name),
            text(column.type_),
            column.missing,
            column.is_generated,
        )
    }

    #[test]
    fn columns_are_added_with_the_value_of_older_rows() {
        assert_eq!(
            added("ALTER TABLE public.t ADD COLUMN \"A b\" numeric(10,2) DEFAULT '1.50' NOT NULL"),
            (
                "A b".into(),
                "numeric(10,2)".into(),
                Value::text("1.50").into_owned(),
                false
            )
        );
        assert_eq!(
            added(
                "ALTER TABLE public.t ADD COLUMN c text COLLATE pg_catalog.\"C\" DEFAULT 'it''s'"
            ),
            (
                "c".into(),
                "text".into(),
                Value::text("it's").into_owned(),
                false
            )
        );
        assert_eq!(
            added(
                "ALTER TABLE public.t ADD COLUMN g integer GENERATED ALWAYS AS ((id * 2)) STORED"
            ),
            ("g".into(), "integer".into(), Value::Null, true)
        );
        assert_eq!(
            added("ALTER TABLE public.t ADD COLUMN n integer"),
            ("n".into(), "integer".into(), Value::Null, false)
        );
    }

    #[test]
    fn other_changes_are_read() {
        let table = |schema: &str, table: &str| TableName {
            schema: schema.into(),
            table: table.into(),
        };
        for (statement, expected) in [
            ("ALTER TABLE public.t DROP COLUMN \"a\"\"b\"", Alteration::DropColumn(b"a\"b".to_vec())),
            (
                "ALTER TABLE public.t RENAME COLUMN a TO \"B\"",
                Alteration::RenameColumn { from: b"a".to_vec(), to: b"B".to_vec() },
            ),
            ("ALTER TABLE public.t RENAME TO u", Alteration::Rename(b"u".to_vec())),
            ("ALTER TABLE public.t SET SCHEMA s", Alteration::SetSchema(b"s".to_vec())),
            (
                "ALTER TABLE public.t ALTER COLUMN a TYPE bigint USING NULL::bigint",
                Alteration::Type { column: b"a".to_vec(), type_: b"bigint".to_vec() },
            ),
            (
                "ALTER TABLE public.t ALTER COLUMN a TYPE character varying(5) COLLATE pg_catalog.\"C\" USING a::character varying(5)",
                Alteration::Type { column: b"a".to_vec(), type_: b"character varying(5)".to_vec() },
            ),
            ("ALTER TABLE public.t ALTER COLUMN a DROP EXPRESSION", Alteration::DropExpression(b"a".to_vec())),
            ("ALTER TABLE public.t ALTER COLUMN a SET DEFAULT 'DROP EXPRESSION'", Alteration::Nothing),
            ("ALTER TABLE public.t ADD CONSTRAINT c CHECK ((a > 0))", Alteration::Nothing),
            ("ALTER TABLE ONLY public.p ATTACH PARTITION s.c FOR VALUES IN (1)", Alteration::Attach(table("s", "c"))),
            ("ALTER TABLE ONLY public.p DETACH PARTITION s.c", Alteration::Detach(table("s", "c"))),
            ("ALTER TABLE public.c INHERIT public.p", Alteration::Inherit(table("public", "p"))),
            (
                "DO $do$BEGIN TRUNCATE ONLY public.t; EXCEPTION WHEN feature_not_supported THEN DELETE FROM ONLY public.t; END$do$",
                Alteration::Empty(table("public", "t")),
            ),
            ("ALTER TABLE public.t SET UNLOGGED", Alteration::Unlogged),
            ("COMMENT ON TABLE public.t IS 'x'", Alteration::Nothing),
        ] {
            assert_eq!(what(statement), expected, "{statement}");
        }
    }
}
