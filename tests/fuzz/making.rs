//! The making of one statement: its dice, what there is to work on, and names for what it makes.

use super::avoid;
use super::catalog::{Catalog, Relation};
use super::dice::Dice;

/// Everything that a kind of statement is made from.
pub struct Making<'a> {
    pub dice: Dice,
    pub catalog: &'a Catalog,
    /// The round's.
    pub seed: u64,
    /// PostgreSQL's major version.
    pub version: u32,
    /// Unique among all statements of the session, usable in a name.
    pub mark: String,
    /// How many names were made.
    pub names: usize,
    /// The schema that an unqualified name means, if any.
    pub path: Option<String>,
}

/// How often objects of the shared schema are taken, in percent, where there are any.
const SHARED: usize = 15;

impl Making<'_> {
    /// Whether a base backup may be made in the middle of the round.
    pub fn may_dump(&self) -> bool {
        self.seed.is_multiple_of(2) || !avoid::BASES_WITH_CHILDREN_OR_LIKE
    }

    /// Whether a partitioned table may have an identity column: before 17 none had one.
    pub fn may_identify_partitions(&self) -> bool {
        self.version >= 17 && !(self.may_dump() && avoid::BASES_WITH_PARTITIONED_IDENTITY)
    }

    /// Whether a table may be made LIKE another, or a partition leave its parent: both keep the names
    /// of the other's constraints.
    pub fn may_copy(&self) -> bool {
        self.version < 18 || self.may_inherit()
    }

    /// Whether statements may be made that others' open transactions turn into flags: a round with such
    /// a flag is not compared, so only some rounds have them.
    pub fn may_be_flagged(&self) -> bool {
        self.seed.is_multiple_of(5)
    }

    /// Whether a table may have children that are not its partitions.
    pub fn may_inherit(&self) -> bool {
        !self.seed.is_multiple_of(2) || !avoid::BASES_WITH_CHILDREN_OR_LIKE
    }

    /// A name for a new object, now and then one that must be quoted.
    pub fn new_name(&mut self, prefix: &str) -> String {
        self.names += 1;
        let name = format!("{prefix}{}_{}", self.mark, self.names);
        match self.dice.below(12) {
            0 => format!("\"{} it's\"", name.to_uppercase()),
            1 => format!("\"{name} \"\"odd\"\" \\ ä\""),
            _ => name,
        }
    }

    /// A schema of the session's own, or rarely the shared one.
    pub fn schema(&mut self) -> String {
        if self.dice.percent(5) {
            return "shared".into();
        }
        self.own_schema()
    }

    pub fn own_schema(&mut self) -> String {
        let schema = self.dice.of(&self.catalog.schemas);
        schema.cloned().unwrap_or_else(|| "shared".into())
    }

    /// A qualified name for a new object.
    pub fn new_in_schema(&mut self, prefix: &str) -> String {
        let (schema, name) = (self.schema(), self.new_name(prefix));
        self.say(&schema, &name)
    }

    /// Qualified, or bare where the search path finds it.
    pub fn say(&mut self, schema: &str, name: &str) -> String {
        if self.path.as_deref() == Some(schema) && self.dice.percent(70) {
            name.to_string()
        } else {
            format!("{schema}.{name}")
        }
    }

    pub fn name_of(&mut self, relation: &Relation) -> String {
        self.say(&relation.schema, &relation.name)
    }

    /// One of the relations that fit; from the session's own schemas, or sometimes the shared one.
    pub fn relation(&mut self, fits: impl Fn(&Relation) -> bool) -> Option<Relation> {
        let is_shared = self.dice.percent(SHARED);
        let of = |shared: bool| -> Vec<&Relation> {
            let all = self.catalog.relations.iter();
            all.filter(|r| r.is_shared() == shared && fits(r)).collect()
        };
        let mut candidates = of(is_shared);
        if candidates.is_empty() {
            candidates = of(!is_shared);
        }
        self.dice.of(&candidates).map(|found| (*found).clone())
    }

    /// A table, partitioned or not.
    pub fn table(&mut self) -> Option<Relation> {
        self.relation(Relation::is_table)
    }

    /// A table of the session's own that ALTER may change as it likes: not the one code writes to.
    pub fn own_table(&mut self, fits: impl Fn(&Relation) -> bool) -> Option<Relation> {
        let is_sturdy = |r: &Relation| r.is_table() && !r.is_shared() && r.name != "log" && fits(r);
        self.relation(is_sturdy)
    }
}
