//! What depends on what in the scratch database, and what of it belongs to a part: by pg_depend, as DROP and pg_dump do.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use effects::key::{catalog, Key, FIRST_NORMAL_OID};

use super::chosen::Relation;
use crate::connection::Session;
use crate::error::Result;

/// The schema public.
pub const PUBLIC: Key = Key::new(catalog::NAMESPACE, 2200);
/// pg_amop and pg_amproc: an operator class depends on more by them.
const OF_FAMILIES: [u32; 2] = [2602, 2603];

/// What belongs to a relation: indexes, owned sequences, constraints, defaults, rules, triggers, policies, statistics,
/// its row type.
const OF_RELATIONS: [u32; 8] = [
    catalog::CLASS,
    catalog::CONSTRAINT,
    catalog::ATTRDEF,
    catalog::REWRITE,
    catalog::TRIGGER,
    catalog::POLICY,
    catalog::STATISTIC_EXT,
    catalog::TYPE,
];

/// Dependencies of a part on its whole (catalog/dependency.h).
const OF_PARTS: [&str; 4] = ["a", "i", "P", "S"];

/// A row of pg_depend.
#[derive(Debug, Clone)]
struct Edge {
    to: Key,
    kind: String,
}

/// A foreign key.
#[derive(Debug, Clone)]
struct ForeignKey {
    oid: u32,
    table: u32,
    refers_to: u32,
    /// `constraint on table`, and the table that it refers to.
    name: String,
    to_name: String,
}

/// The dependencies of a database.
#[derive(Debug, Default)]
pub struct Graph {
    from: HashMap<Key, Vec<Edge>>,
    onto: HashMap<Key, Vec<(Key, String)>>,
    /// pg_class.relkind by OID.
    kinds: HashMap<u32, String>,
    foreign_keys: Vec<ForeignKey>,
}

/// What a part consists of.
#[derive(Debug, Default)]
pub struct Members {
    /// Its relations and what belongs to them.
    pub own: BTreeSet<Key>,
    /// What they need, and what is in its schemas beside relations.
    pub others: BTreeSet<Key>,
    pub extensions: BTreeSet<u32>,
    /// What is left out, and why.
    pub left_out: Vec<String>,
}

impl Graph {
    pub async fn read(session: &Session) -> Result<Graph> {
        let mut graph = Graph::default();
        let depend =
            "SELECT classid, objid, refclassid, refobjid, deptype::text FROM pg_catalog.pg_depend WHERE objid >= 16384";
        for row in session.client.query_typed(depend, &[]).await? {
            let from = Key::new(row.try_get(0)?, row.try_get(1)?);
            let to = Key::new(row.try_get(2)?, row.try_get(3)?);
            let kind: String = row.try_get(4)?;
            graph.onto.entry(to).or_default().push((from, kind.clone()));
            graph.from.entry(from).or_default().push(Edge { to, kind });
        }
        let kinds = "SELECT oid, relkind::text FROM pg_catalog.pg_class WHERE oid >= 16384";
        for row in session.client.query_typed(kinds, &[]).await? {
            graph.kinds.insert(row.try_get(0)?, row.try_get(1)?);
        }
        let keys = "SELECT oid, conrelid, confrelid, pg_catalog.format('%I on %s', conname, conrelid::pg_catalog.regclass), \
            confrelid::pg_catalog.regclass::text FROM pg_catalog.pg_constraint WHERE contype = 'f' ORDER BY 4, 5";
        for row in session.client.query_typed(keys, &[]).await? {
            graph.foreign_keys.push(ForeignKey {
                oid: row.try_get(0)?,
                table: row.try_get(1)?,
                refers_to: row.try_get(2)?,
                name: row.try_get(3)?,
                to_name: row.try_get(4)?,
            });
        }
        Ok(graph)
    }

    /// What belongs to these relations, with everything else of these schemas, and what all of it needs. Without what is made
    /// after rows, neither that nor what only it needs, the functions of triggers for example.
    pub fn members(
        &self,
        relations: &BTreeSet<u32>,
        schemas: &BTreeSet<u32>,
        with_post_data: bool,
    ) -> Members {
        let mut members = Members::default();
        let is_out = |key: &ForeignKey| {
            relations.contains(&key.table) && !relations.contains(&key.refers_to)
        };
        let out: Vec<&ForeignKey> = self.foreign_keys.iter().filter(|key| is_out(key)).collect();
        let excluded: BTreeSet<Key> = out
            .iter()
            .map(|key| Key::new(catalog::CONSTRAINT, key.oid))
            .collect();
        let why = |key: &&ForeignKey| {
            let (name, to) = (&key.name, &key.to_name);
            format!("foreign key {name}: {to} is not in the part")
        };
        members.left_out = out.iter().map(why).collect();
        let mut of_relations: Vec<Key> = relations
            .iter()
            .map(|oid| Key::new(catalog::CLASS, *oid))
            .collect();
        while let Some(key) = of_relations.pop() {
            if !members.own.insert(key) {
                continue;
            }
            for (part, kind) in self.onto.get(&key).into_iter().flatten() {
                let is_part = OF_PARTS.contains(&kind.as_str())
                    && OF_RELATIONS.contains(&part.class)
                    && !excluded.contains(part)
                    && (with_post_data || !self.is_after_rows(*part))
                    && !self.is_relation(*part)
                    && self.is_only_of(*part, relations);
                if is_part {
                    of_relations.push(*part);
                }
            }
        }
        let mut needed: Vec<Key> = schemas
            .iter()
            .flat_map(|oid| self.in_schema(*oid))
            .collect();
        for key in &members.own {
            needed.extend(self.needs(*key));
        }
        self.add_needed(needed, &mut members);
        members
    }

    fn add_needed(&self, mut needed: Vec<Key>, members: &mut Members) {
        while let Some(key) = needed.pop() {
            let is_initial = key.oid < FIRST_NORMAL_OID && key != PUBLIC;
            if is_initial || members.own.contains(&key) {
                continue;
            }
            if key.class == catalog::EXTENSION {
                if members.extensions.insert(key.oid) {
                    // It may need another one.
                    let others = self.needs(key).into_iter();
                    needed.extend(others.filter(|other| other.class == catalog::EXTENSION));
                }
                continue;
            }
            if let Some(extension) = self.extension_of(key) {
                needed.push(extension);
                continue;
            }
            if members.others.insert(key) {
                needed.extend(self.needs(key));
                needed.extend(self.parts_of_needed(key));
            }
        }
    }

    /// What is in a schema beside relations.
    fn in_schema(&self, oid: u32) -> Vec<Key> {
        let schema = Key::new(catalog::NAMESPACE, oid);
        let all = self.onto.get(&schema).into_iter().flatten();
        let all = all.map(|(key, _)| *key);
        all.filter(|key| !self.is_relation(*key) && !self.is_sequence(*key) && !self.is_index(*key))
            .chain([schema])
            .collect()
    }

    fn needs(&self, key: Key) -> Vec<Key> {
        let edges = self.from.get(&key).into_iter().flatten();
        edges.map(|edge| edge.to).collect()
    }

    fn extension_of(&self, key: Key) -> Option<Key> {
        let mut edges = self.from.get(&key).into_iter().flatten();
        let member = edges.find(|edge| edge.kind == "e");
        member.map(|edge| edge.to)
    }

    /// Without which it would not be what it is: a table's defaults and identities, a view's query, a type's constraints.
    fn parts_of_needed(&self, key: Key) -> Vec<Key> {
        let parts = self.onto.get(&key).into_iter().flatten();
        let parts = parts.filter(|(part, kind)| match part.class {
            catalog::ATTRDEF | catalog::TYPE | catalog::REWRITE => {
                OF_PARTS.contains(&kind.as_str())
            }
            catalog::CLASS if key.class == catalog::TYPE => kind == "i",
            catalog::CLASS => kind == "i" && self.is_sequence(*part),
            catalog::CONSTRAINT => key.class == catalog::TYPE && OF_PARTS.contains(&kind.as_str()),
            class => OF_FAMILIES.contains(&class) && key.class == catalog::OPCLASS,
        });
        parts.map(|(part, _)| *part).collect()
    }

    /// What an object is a part of: the table of a constraint, the relation of a row type.
    pub fn whole_of(&self, part: Key) -> Option<Key> {
        let edges = self.from.get(&part).into_iter().flatten();
        let mut wholes = edges.filter(|edge| OF_PARTS.contains(&edge.kind.as_str()));
        wholes.next().map(|edge| edge.to)
    }

    /// No other table of the tree has it, one whose partition or parent is left out.
    fn is_only_of(&self, part: Key, relations: &BTreeSet<u32>) -> bool {
        let edges = self.from.get(&part).into_iter().flatten();
        let mut wholes = edges.filter(|edge| OF_PARTS.contains(&edge.kind.as_str()));
        wholes.all(|edge| !self.is_relation(edge.to) || relations.contains(&edge.to.oid))
    }

    fn is_of_kind(&self, key: Key, kinds: &[&str]) -> bool {
        let kind = self
            .kinds
            .get(&key.oid)
            .filter(|_| key.class == catalog::CLASS);
        kind.is_some_and(|kind| kinds.contains(&kind.as_str()))
    }

    fn is_relation(&self, key: Key) -> bool {
        self.is_of_kind(key, &["r", "p", "f", "v", "m"])
    }

    pub fn is_sequence(&self, key: Key) -> bool {
        self.is_of_kind(key, &["S"])
    }

    fn is_after_rows(&self, key: Key) -> bool {
        let after = [catalog::TRIGGER, catalog::POLICY, catalog::STATISTIC_EXT];
        after.contains(&key.class) || self.is_index(key)
    }

    fn is_index(&self, key: Key) -> bool {
        self.is_of_kind(key, &["i", "I"])
    }

    /// Whether a sequence belongs to a column.
    pub fn is_owned(&self, key: Key) -> bool {
        let mut edges = self.from.get(&key).into_iter().flatten();
        edges.any(|edge| edge.to.class == catalog::CLASS && matches!(edge.kind.as_str(), "a" | "i"))
    }

    /// Tables that foreign keys refer to before those that refer to them, as far as there is no circle.
    pub fn referenced_first(&self, relations: &[Relation]) -> Vec<Relation> {
        let mut left: Vec<&Relation> = relations.iter().collect();
        let mut sorted = Vec::new();
        while !left.is_empty() {
            let waits = |it: &&&Relation| {
                let of_it = |key: &&ForeignKey| {
                    key.table == it.oid || key.table == it.root && it.root != it.oid
                };
                let mut keys = self.foreign_keys.iter().filter(of_it);
                keys.any(|key| {
                    let is_other = key.refers_to != it.oid && key.refers_to != it.root;
                    let is_left = |other: &&Relation| {
                        other.oid == key.refers_to || other.root == key.refers_to
                    };
                    is_other && left.iter().any(is_left)
                })
            };
            let next = left.iter().position(|it| !waits(&it)).unwrap_or(0);
            sorted.push(left.remove(next).clone());
        }
        sorted
    }

    /// Functions that triggers of the part call.
    pub fn functions_of_triggers(&self, members: &Members) -> Vec<Key> {
        let own = members.own.iter();
        let triggers = own.filter(|key| key.class == catalog::TRIGGER);
        let needs = triggers.flat_map(|key| self.needs(*key));
        needs.filter(|key| key.class == catalog::PROC).collect()
    }

    /// Relations that are needed, but not chosen: they come without rows.
    pub fn needed_relations(&self, members: &Members) -> Vec<u32> {
        let others = members.others.iter();
        let relations = others.filter(|key| self.is_relation(**key) || self.is_sequence(**key));
        relations.map(|key| key.oid).collect()
    }
}

/// Partitions by the tables above them.
pub async fn partitions(session: &Session) -> Result<BTreeMap<u32, u32>> {
    let query = "SELECT inhrelid, inhparent FROM pg_catalog.pg_inherits JOIN pg_catalog.pg_class ON oid = inhrelid \
        WHERE relispartition AND relkind IN ('r', 'p', 'f')";
    let rows = session.client.query_typed(query, &[]).await?;
    let pairs = rows
        .iter()
        .map(|row| Ok((row.try_get(0)?, row.try_get(1)?)));
    pairs.collect()
}

#[cfg(test)]
#[path = "graph_tests.rs"]
mod tests;
