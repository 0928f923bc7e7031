//! Which relations of the archive a part is about, before anything is restored.
//!
//! The names of relations are followed from the base, by its table of contents, through the effects in the segments to
//! the moment. The patterns are matched with the names at the moment, and give OIDs, by which a relation is known
//! whatever it was called before; one that was dropped and made again is another one. The rows of more relations than
//! necessary may be wanted here: what of them is the part is decided by the catalogs, when the moment is reached.

use std::collections::{BTreeMap, BTreeSet};

use archive::dump::Listed;
use archive::segment::{Effect, Lost, What};
use archive::storage::Storage;
use archive::time::{iso, Time};
use archive_query::history::literal::names_of;
use effects::key::catalog;

use super::contents::{self, Contents};
use super::filter::NOT_OF_A_PART;
use super::hashed;
use super::selection::Selection;
use crate::error::{Error, Result};
use crate::quote::shown;
use crate::restore::plan::Plan;

/// The OID of the schema public as initdb makes it (pg_namespace.dat); a dump does not list it.
const PUBLIC: u32 = 2200;

/// Of a relation, unquoted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    pub schema: Vec<u8>,
    pub name: Vec<u8>,
}

impl Name {
    /// Of `schema.name` in SQL.
    pub fn read(written: &[u8]) -> Option<Name> {
        let [schema, name] = names_of(written).try_into().ok()?;
        Some(Name { schema, name })
    }

    /// For a message.
    pub fn shown(&self) -> String {
        format!("{}.{}", shown(&self.schema), shown(&self.name))
    }
}

/// What a pattern for tables may match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Table,
    View,
    MaterializedView,
    ForeignTable,
    Sequence,
}

impl Kind {
    /// By its name as a class of effects; that of pg_dump is the same in capitals.
    pub fn of(class: &str) -> Option<Kind> {
        Some(match class {
            "table" => Kind::Table,
            "view" => Kind::View,
            "materialized view" => Kind::MaterializedView,
            "foreign table" => Kind::ForeignTable,
            "sequence" => Kind::Sequence,
            _ => return None,
        })
    }
}

/// A relation as of a time.
#[derive(Debug, Clone)]
struct Relation {
    kind: Kind,
    name: Name,
    /// Partitioned tables, or tables from which it inherits, by OID.
    parents: BTreeSet<u32>,
}

/// All relations as of a time, by OID.
#[derive(Debug, Clone, Default)]
struct Relations {
    all: BTreeMap<u32, Relation>,
    schemas: BTreeMap<u32, Vec<u8>>,
    /// Those that were dropped, and when.
    dropped: Vec<(Relation, Option<Time>, u64)>,
}

/// The relations whose rows are read.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    pub oids: BTreeSet<u32>,
    /// As they are called in the base; others come later.
    pub names: BTreeMap<u32, Name>,
    /// All schemas of the base, by OID.
    pub schemas: BTreeMap<u32, Vec<u8>>,
    /// Those of them that have rows or a position, and no definition of rows: tables and sequences.
    pub with_rows: BTreeSet<u32>,
    /// What each schema that is there at the moment was called since the base, in this order, by OID.
    pub schema_names: BTreeMap<u32, Vec<Vec<u8>>>,
    /// As those that the patterns match are called at the moment.
    pub chosen: Vec<Name>,
    /// Those of them that are tables.
    pub tables: Vec<Name>,
    /// The same, by OID.
    pub chosen_tables: BTreeSet<u32>,
    /// As all of them are called at the moment.
    pub at_end: BTreeSet<Name>,
    /// Definitions alone are wanted.
    pub is_without_rows: bool,
}

impl Wanted {
    /// Finds them. Refuses what cannot be restored in part, and names that match nothing.
    pub fn find(storage: &dyn Storage, plan: &Plan, selection: &Selection) -> Result<Wanted> {
        ensure_effects(plan)?;
        let contents = contents::read(storage, &plan.chain, &plan.base)?;
        let mut hashed: BTreeSet<u32> = contents.hashed.iter().copied().collect();
        let at_base = Relations::of(contents);
        let mut now = at_base.clone();
        let mut schema_names: BTreeMap<u32, Vec<Vec<u8>>> = BTreeMap::new();
        note_schemas(&now.schemas, &mut schema_names);
        let mut parents = Parents::new();
        note_parents(&now.all, &mut parents);
        for change in &plan.needs.changes {
            if plan.applies(change.xid, change.lsn) {
                now.follow(&change.effect, change.at, change.xid);
                if change.effect.class == "schema" {
                    note_schemas(&now.schemas, &mut schema_names);
                }
                note_parents(now.all.get_key_value(&change.effect.oid), &mut parents);
                hashed.extend(change.is_hashed.then_some(change.effect.oid));
            }
        }
        let chosen = now.chosen(selection)?;
        let oids = with_those_below(&chosen, &parents);
        let oids = hashed::with_trees(oids, &hashed, &parents);
        let has_rows = |oid: &&u32| {
            let relations = [&at_base, &now].into_iter();
            let mut kinds = relations.filter_map(|all| all.all.get(oid).map(|it| it.kind));
            kinds.any(|kind| matches!(kind, Kind::Table | Kind::Sequence))
        };
        let name = |oid: &u32| at_base.all.get(oid).map(|it| (*oid, it.name.clone()));
        Ok(Wanted {
            names: oids.iter().filter_map(name).collect(),
            with_rows: oids.iter().filter(has_rows).copied().collect(),
            chosen: chosen.iter().map(|oid| now.all[oid].name.clone()).collect(),
            tables: chosen
                .iter()
                .filter(|oid| now.all[oid].kind == Kind::Table)
                .map(|oid| now.all[oid].name.clone())
                .collect(),
            chosen_tables: chosen
                .iter()
                .filter(|oid| now.all[oid].kind == Kind::Table)
                .copied()
                .collect(),
            at_end: oids
                .iter()
                .filter_map(|oid| now.all.get(oid).map(|it| it.name.clone()))
                .collect(),
            schemas: at_base.schemas,
            schema_names,
            oids,
            is_without_rows: false,
        })
    }

    /// Whether a relation whose name is so written at the moment is one whose rows are read.
    pub fn has_at_end(&self, written: &[u8]) -> bool {
        let is_one = |name: Name| self.at_end.contains(&name);
        !self.is_without_rows && Name::read(written).is_some_and(is_one)
    }

    /// Whether this is a relation that is wanted: OID of its catalog, and its own.
    pub fn has_key(&self, key: Option<(u32, u32)>) -> bool {
        key.is_some_and(|(class, oid)| class == catalog::CLASS && self.oids.contains(&oid))
    }

    /// All names since the base of the schema that is called so at the moment.
    pub fn names_of_schema(&self, name: &[u8]) -> Vec<Vec<u8>> {
        let is_it = |names: &&Vec<Vec<u8>>| names.last().is_some_and(|last| last == name);
        let found = self.schema_names.values().find(is_it);
        found.map_or_else(|| vec![name.to_vec()], Vec::clone)
    }

    /// Whether something that is lost concerns the part. Definitions always may.
    pub fn misses(&self, lost: &Lost) -> bool {
        let is_of_other = lost.oid != 0 && !self.oids.contains(&lost.oid);
        !(lost.what == What::Rows && is_of_other)
    }

    /// Whether an entry of a dump is restored.
    pub fn takes_entry(&self, entry: &Listed) -> bool {
        let is_rows = matches!(&entry.kind[..], b"TABLE DATA" | b"MATERIALIZED VIEW DATA");
        if is_rows {
            return !self.is_without_rows && self.oids.contains(&entry.oid);
        }
        let kind = String::from_utf8_lossy(&entry.kind).to_lowercase();
        let of_whole = |text: &str| NOT_OF_A_PART.iter().any(|class| text.starts_with(class));
        // COMMENT, ACL and SECURITY LABEL name their object's kind.
        let tag = String::from_utf8_lossy(&entry.name).to_lowercase();
        let is_word = matches!(&entry.kind[..], b"COMMENT" | b"ACL" | b"SECURITY LABEL");
        !(of_whole(&kind) || is_word && of_whole(&tag))
    }
}

/// Schema changes that only a parser of SQL could follow are refused.
fn ensure_effects(plan: &Plan) -> Result<()> {
    let Some(file) = &plan.needs.text_only else {
        return Ok(());
    };
    let message = format!(
        "{file} has schema changes as text (of a version before 0.3.0, or with decoder_raw): no part can be restored from it"
    );
    let hint =
        "Choose a moment after a newer base, or restore everything and copy the part from there.";
    Err(Error::failed(message, hint))
}

/// Parents at any time, by OID.
pub type Parents = BTreeMap<u32, BTreeSet<u32>>;

/// Names that are new. Of a schema that was dropped there are none.
fn note_schemas(now: &BTreeMap<u32, Vec<u8>>, names: &mut BTreeMap<u32, Vec<Vec<u8>>>) {
    names.retain(|oid, _| now.contains_key(oid));
    for (oid, name) in now {
        let names = names.entry(*oid).or_default();
        if names.last() != Some(name) {
            names.push(name.clone());
        }
    }
}

fn note_parents<'r>(
    relations: impl IntoIterator<Item = (&'r u32, &'r Relation)>,
    parents: &mut Parents,
) {
    for (oid, relation) in relations {
        parents.entry(*oid).or_default().extend(&relation.parents);
    }
}

/// Partitions at any time, at any depth.
pub fn with_those_below(chosen: &BTreeSet<u32>, parents: &Parents) -> BTreeSet<u32> {
    let mut all = chosen.clone();
    loop {
        let is_below = |above: &BTreeSet<u32>| above.iter().any(|oid| all.contains(oid));
        let more: Vec<u32> = parents
            .iter()
            .filter(|(oid, above)| !all.contains(oid) && is_below(above))
            .map(|(oid, _)| *oid)
            .collect();
        if more.is_empty() {
            return all;
        }
        all.extend(more);
    }
}

impl Relations {
    fn of(contents: Contents) -> Relations {
        let mut relations = Relations::default();
        relations.schemas.insert(PUBLIC, b"public".to_vec());
        relations.schemas.extend(contents.schemas);
        let mut by_name = BTreeMap::new();
        for (oid, kind, name) in contents.relations {
            by_name.insert(name.clone(), oid);
            let parents = BTreeSet::new();
            relations.all.insert(
                oid,
                Relation {
                    kind,
                    name,
                    parents,
                },
            );
        }
        for (parent, child) in contents.attached {
            if let (Some(parent), Some(child)) = (by_name.get(&parent), by_name.get(&child)) {
                if let Some(child) = relations.all.get_mut(child) {
                    child.parents.insert(*parent);
                }
            }
        }
        relations
    }

    /// What an effect makes of them.
    fn follow(&mut self, effect: &Effect, at: Option<Time>, xid: u64) {
        if effect.class == "schema" {
            follow_schema(&mut self.schemas, effect, |old, new| {
                let moved = self.all.values_mut().filter(|it| it.name.schema == old);
                moved.for_each(|it| it.name.schema = new.to_vec());
            });
            return;
        }
        let Some(kind) = Kind::of(&effect.class) else {
            return;
        };
        if effect.verb == "drop" {
            return self.drop(effect.oid, at, xid);
        }
        let Some(name) = Name::read(&effect.identity) else {
            return;
        };
        let relation = self.all.entry(effect.oid).or_insert(Relation {
            kind,
            name: name.clone(),
            parents: BTreeSet::new(),
        });
        (relation.kind, relation.name) = (kind, name);
        let of_relations = effect.needs.iter().filter(|(class, _)| *class == 1259);
        let others = of_relations.filter(|(_, oid)| *oid != effect.oid);
        let others: BTreeSet<u32> = others.map(|(_, oid)| *oid).collect();
        match effect.verb.as_str() {
            "attach" | "create" if kind == Kind::Table => relation.parents.extend(others),
            // Which of several does not matter: it only keeps it from going with one that is dropped.
            "detach" => relation
                .parents
                .retain(|oid| !others.is_empty() && !others.contains(oid)),
            _ => {}
        }
    }

    /// Partitions go with their table.
    fn drop(&mut self, oid: u32, at: Option<Time>, xid: u64) {
        let Some(gone) = self.all.remove(&oid) else {
            return;
        };
        if gone.kind == Kind::Table {
            let is_below = |it: &Relation| it.kind == Kind::Table && it.parents.contains(&oid);
            let below = self.all.iter().filter(|(_, it)| is_below(it));
            let below: Vec<u32> = below.map(|(oid, _)| *oid).collect();
            below.into_iter().for_each(|oid| self.drop(oid, at, xid));
        }
        self.dropped.push((gone, at, xid));
    }

    /// The OIDs of those that are chosen.
    fn chosen(&self, selection: &Selection) -> Result<BTreeSet<u32>> {
        let names = self.all.iter().map(|(oid, it)| (*oid, &it.name));
        let schemas: Vec<&[u8]> = self.schemas.values().map(|name| &name[..]).collect();
        let names: Vec<(u32, &Name)> = names.collect();
        let matched = selection.of(&names, &schemas);
        if let Some(missing) = matched.missing {
            return Err(self.no_match(selection, missing));
        }
        if let Some((text, names)) = matched.ambiguous {
            let message = format!("\"{text}\" is in several schemas: {}", names.join(", "));
            return Err(Error::wrong_use(message, "Name the schema, too."));
        }
        Ok(matched.chosen)
    }

    /// A name that is not there at the moment may have been before.
    fn no_match(&self, selection: &Selection, text: &str) -> Error {
        let message = format!("nothing matches \"{text}\" at the requested moment");
        let was = |(gone, at, xid): &(Relation, Option<Time>, u64)| {
            let is_it = selection.is_match_of(text, &gone.name);
            is_it.then(|| (gone.name.shown(), *at, *xid))
        };
        let hint = match self.dropped.iter().rev().find_map(was) {
            Some((name, at, xid)) => {
                let at = at.map_or_else(String::new, |at| format!(" at {}", iso(at)));
                format!("{name} was dropped{at}, by transaction {xid}: --before-xid {xid} is the moment before.")
            }
            None => "Names are those of that moment; letters outside of double quotes are folded to lower case.".to_owned(),
        };
        Error::wrong_use(message, hint)
    }
}

/// A schema's new name is that of all in it: `renamed` gets both.
pub fn follow_schema(
    schemas: &mut BTreeMap<u32, Vec<u8>>,
    effect: &Effect,
    renamed: impl FnOnce(&[u8], &[u8]),
) {
    let Some(name) = names_of(&effect.identity).pop() else {
        return;
    };
    if effect.verb == "drop" {
        schemas.remove(&effect.oid);
        return;
    }
    match schemas.insert(effect.oid, name.clone()) {
        Some(old) if old != name => renamed(&old, &name),
        _ => {}
    }
}
