//! The options that choose a part of a database.

use clap::{Args, ValueEnum};

use crate::error::{Error, Result};

/// A part of the database; into a new or empty database, or into a running one
///
/// In a running database, all of it appears at once, in one transaction, and nothing that is there is altered.
#[derive(Debug, Args, Default)]
#[command(next_help_heading = "A part")]
pub struct Options {
    /// Only the tables that match: 'orders', 'sales.*', '"Odd Name"'; may be given more than once
    ///
    /// A pattern as in psql: * and ? are wildcards, letters are folded to lower case and regular expressions count
    /// outside of double quotes, and a dot divides schema and name. Without a schema, those of all schemas. It matches
    /// tables with their partitions, views, materialized views, foreign tables and sequences, as they were called at the
    /// requested moment. What they need comes along: types, functions, sequences, the schema. A name without wildcards
    /// must match (exit status 2).
    #[arg(long, value_name = "PATTERN")]
    pub table: Vec<String>,

    /// Only the schemas that match, with all that is in them; may be given more than once, also beside --table
    #[arg(long, value_name = "PATTERN")]
    pub schema: Vec<String>,

    /// Not the tables that match; alone: everything else
    #[arg(long, value_name = "PATTERN")]
    pub exclude_table: Vec<String>,

    /// Not the schemas that match; alone: everything else
    #[arg(long, value_name = "PATTERN")]
    pub exclude_schema: Vec<String>,

    /// Patterns with wildcards must match something, too
    #[arg(long)]
    pub strict_names: bool,

    /// Put the relations of the part into this schema, which is made; views, indexes, constraints and defaults follow
    ///
    /// For one table as it was, beside the live one: --table public.orders --into-schema before. The schema must not
    /// exist, or be empty.
    #[arg(long, value_name = "NAME")]
    pub into_schema: Option<String>,

    /// Only definitions, no rows and no sequence positions
    #[arg(long, conflicts_with_all = ["data_only", "section"])]
    pub schema_only: bool,

    /// Only rows, into tables of the same names that exist in the target
    ///
    /// Foreign keys are checked and triggers fire, as with any INSERT. Sequences of the tables are moved forward, never back.
    #[arg(long, conflicts_with_all = ["section", "into_schema"])]
    pub data_only: bool,

    /// Restore into this database first, which is empty, instead of into one that is created and dropped again
    ///
    /// A part is restored into a scratch database on the target's server, and carried over from there. For a role without
    /// CREATEDB, or where extensions are needed that it may not create: it owns the database, which is empty again
    /// afterwards (but for those extensions).
    #[arg(long, value_name = "NAME")]
    pub scratch: Option<String>,

    /// Only this section, as pg_dump divides; may be given more than once
    #[arg(long, value_enum, value_name = "SECTION")]
    pub section: Vec<Section>,
}

/// As in pg_dump.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Section {
    /// Definitions, but those of post-data
    PreData,
    /// Rows and sequence positions
    Data,
    /// Indexes, keys and foreign keys, triggers, rules, policies, statistics objects
    PostData,
}

impl Options {
    /// Whether a part is asked for at all.
    pub fn are_given(&self) -> bool {
        self.chooses() || self.narrows()
    }

    fn chooses(&self) -> bool {
        let lists = [
            &self.table,
            &self.schema,
            &self.exclude_table,
            &self.exclude_schema,
        ];
        lists.iter().any(|list| !list.is_empty())
    }

    fn narrows(&self) -> bool {
        self.strict_names
            || self.into_schema.is_some()
            || self.scratch.is_some()
            || self.schema_only
            || self.data_only
            || !self.section.is_empty()
    }

    /// Options that only make sense with a choice.
    pub fn ensure_sensible(&self) -> Result<()> {
        if self.narrows() && !self.chooses() {
            let message = "the options of a part are given, but no part is chosen";
            let hint = "Choose one with --table or --schema; --schema '*' is everything but what belongs to the database \
                        as a whole (event triggers, publications, subscriptions, default privileges, large objects).";
            return Err(Error::wrong_use(message, hint));
        }
        if self.into_schema.as_deref() == Some("") {
            return Err(Error::wrong_use("--into-schema needs a name", ""));
        }
        let name = self.into_schema.as_deref().unwrap_or_default();
        if name.starts_with("pg_") || name.len() > 63 {
            let message = "--into-schema: a schema cannot have this name";
            let hint = "Names that begin with pg_ are the system's, and longer ones than 63 bytes would be truncated.";
            return Err(Error::wrong_use(message, hint));
        }
        Ok(())
    }

    /// Refuses a CHECK that is to be skipped where no rows are restored that it could refuse.
    pub fn ensure_rows_for(&self, skip_check: &[String]) -> Result<()> {
        if skip_check.is_empty() || self.has(Section::Data) {
            return Ok(());
        }
        let message = "--skip-check loads rows that a CHECK refuses, and no rows are restored";
        let hint = "Without it, the definitions have the constraint as the source has it.";
        Err(Error::wrong_use(message, hint))
    }

    /// Whether a section is wanted.
    pub fn has(&self, section: Section) -> bool {
        if self.schema_only {
            section != Section::Data
        } else if self.data_only {
            section == Section::Data
        } else {
            self.section.is_empty() || self.section.contains(&section)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_are_those_that_are_named_or_all() {
        let all = [Section::PreData, Section::Data, Section::PostData];
        let wanted = |options: Options| all.map(|section| options.has(section));
        assert_eq!(wanted(Options::default()), [true; 3]);
        let schema_only = Options {
            schema_only: true,
            ..Options::default()
        };
        assert_eq!(wanted(schema_only), [true, false, true]);
        let data_only = Options {
            data_only: true,
            ..Options::default()
        };
        assert_eq!(wanted(data_only), [false, true, false]);
        let some = Options {
            section: vec![Section::PostData],
            ..Options::default()
        };
        assert_eq!(wanted(some), [false, false, true]);
    }

    #[test]
    fn what_narrows_nothing_is_wrong_use() {
        let alone = Options {
            schema_only: true,
            ..Options::default()
        };
        assert!(alone.are_given() && alone.ensure_sensible().is_err());
        let part = Options {
            table: vec!["t".to_owned()],
            ..alone
        };
        assert!(part.ensure_sensible().is_ok());
        assert!(!Options::default().are_given());
        for name in ["", "pg_x"] {
            let into = Options {
                table: vec!["t".to_owned()],
                into_schema: Some(name.to_owned()),
                ..Options::default()
            };
            assert!(into.ensure_sensible().is_err(), "{name}");
        }
    }
}
