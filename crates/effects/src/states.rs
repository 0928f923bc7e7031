//! The states of objects at one moment, read through whoever can run a query.

use std::collections::HashMap;
use std::fmt::Display;

use crate::class::{self, Class, Model, ReadBy};
use crate::key::Key;
use crate::script::Unhandled;
use crate::tuples::Tuples;

/// Objects that are read at once. Functions that give a definition lock its table: the lock table has room
/// for max_locks_per_transaction (64) times max_connections (100) of them, for all sessions.
pub const PORTION: usize = 500;

type ByTuples = fn(&mut dyn Tuples, u32) -> Result<Option<Model>, String>;

/// Who can run the classes' queries at the moment in question.
pub trait Source {
    type Error: Display;
    /// Rows of a query with two columns, an OID and a text; `$1` are `oids`.
    fn read(
        &mut self,
        query: &'static str,
        oids: &[u32],
    ) -> Result<Vec<(u32, String)>, Self::Error>;

    /// Runs `look` with rows of the catalogs at hand, and gives back whatever it has taken. It may run again, where
    /// a lock was not to be had.
    fn with_tuples<R>(
        &mut self,
        look: impl FnMut(&mut dyn Tuples) -> Result<R, String>,
    ) -> Result<R, Self::Error>;

    /// The letter of an object's kind ([`class::kinds_of`]), where it is known without a query.
    fn kind(&self, _key: Key) -> Option<char> {
        None
    }
}

/// Objects at one moment. What is in neither map does not exist, or is nobody's business (temporary, TOAST).
#[derive(Debug, Clone, Default)]
pub struct States {
    pub models: HashMap<Key, Model>,
    /// Objects whose state is not known, and why.
    pub unknown: HashMap<Key, Unhandled>,
}

impl States {
    pub fn get(&self, key: Key) -> Option<&Model> {
        self.models.get(&key)
    }
}

/// Reads the objects that `keys` mean.
pub fn read<S: Source>(source: &mut S, keys: &[Key]) -> States {
    let mut by_catalog: HashMap<u32, Vec<u32>> = HashMap::new();
    for key in keys {
        by_catalog.entry(key.class).or_default().push(key.oid);
    }
    let mut reading = Reading {
        source,
        states: States::default(),
    };
    for (catalog, mut oids) in by_catalog {
        oids.sort_unstable();
        oids.dedup();
        reading.catalog(catalog, &oids);
    }
    reading.states
}

struct Reading<'a, S> {
    source: &'a mut S,
    states: States,
}

impl<S: Source> Reading<'_, S> {
    fn catalog(&mut self, catalog: u32, oids: &[u32]) {
        let classes: Vec<&Class> = class::CLASSES
            .iter()
            .filter(|class| class.catalog == catalog)
            .collect();
        let name = || class::catalog_name(catalog);
        if classes.is_empty() {
            return self.unknown(catalog, oids, &name(), "is not known");
        }
        let Some(query) = class::kinds_of(catalog) else {
            return self.class(classes[0], oids);
        };
        let mut by_kind: HashMap<String, Vec<u32>> = HashMap::new();
        let mut asked = Vec::new();
        for oid in oids {
            match self.source.kind(Key::new(catalog, *oid)) {
                Some(kind) => by_kind.entry(kind.to_string()).or_default().push(*oid),
                None => asked.push(*oid),
            }
        }
        if !asked.is_empty() {
            match self.source.read(query, &asked) {
                Ok(rows) => rows
                    .into_iter()
                    .for_each(|(oid, kind)| by_kind.entry(kind).or_default().push(oid)),
                Err(error) => return self.unknown(catalog, &asked, &name(), &error.to_string()),
            }
        }
        for (kind, oids) in by_kind {
            let is_of_kind =
                |class: &&&Class| class.kinds.is_empty() || class.kinds.contains(&kind.as_str());
            match classes.iter().find(is_of_kind) {
                Some(class) => self.class(class, &oids),
                None => self.unknown(catalog, &oids, &name(), &format!("kind {kind}")),
            }
        }
    }

    /// Where the query fails for many, it is asked for each: one of them is the reason.
    fn class(&mut self, class: &Class, oids: &[u32]) {
        let (query, read) = match class.read_by {
            ReadBy::Query { query, read } => (query, read),
            ReadBy::Tuples(read) => return self.by_tuples(class, oids, read),
        };
        match self.source.read(query, oids) {
            Ok(rows) => {
                for (oid, json) in rows {
                    let key = Key::new(class.catalog, oid);
                    match read(&json) {
                        Ok(model) => {
                            self.states.models.insert(key, model);
                        }
                        Err(error) => {
                            let why = Unhandled::new(class.name, error.to_string());
                            self.states.unknown.insert(key, why);
                        }
                    }
                }
            }
            Err(_) if oids.len() > 1 => oids.iter().for_each(|oid| self.class(class, &[*oid])),
            Err(error) => self.unknown(class.catalog, oids, class.name, &error.to_string()),
        }
    }

    /// A portion at a time: definitions lock tables.
    fn by_tuples(&mut self, class: &Class, oids: &[u32], read: ByTuples) {
        for portion in oids.chunks(PORTION) {
            let found = self.source.with_tuples(|tuples| {
                let one = |oid: &u32| read(tuples, *oid).map(|model| (*oid, model));
                portion.iter().map(one).collect::<Result<Vec<_>, String>>()
            });
            match found {
                Ok(found) => {
                    let there = found.into_iter();
                    let there = there.filter_map(|(oid, model)| Some((oid, model?)));
                    let models = there.map(|(oid, model)| (Key::new(class.catalog, oid), model));
                    self.states.models.extend(models);
                }
                Err(_) if portion.len() > 1 => {
                    portion
                        .iter()
                        .for_each(|oid| self.by_tuples(class, &[*oid], read));
                }
                Err(error) => self.unknown(class.catalog, portion, class.name, &error.to_string()),
            }
        }
    }

    fn unknown(&mut self, catalog: u32, oids: &[u32], class: &str, why: &str) {
        for oid in oids {
            let key = Key::new(catalog, *oid);
            self.states.unknown.insert(key, Unhandled::new(class, why));
        }
    }
}
