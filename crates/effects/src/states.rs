//! The states of objects at one time, read through a [`Source`].

use std::collections::HashMap;
use std::fmt::Display;

use crate::class::{self, ByTuples, Class, KindByTuples, Kinds, Model, ReadBy};
use crate::key::Key;
use crate::script::Unhandled;
use crate::tuples::Tuples;

/// Number of objects that are read at once. Functions that return a definition lock its table: the lock table
/// has space for max_locks_per_transaction (64) times max_connections (100) locks, for all sessions.
pub const PORTION: usize = 500;

/// Runs the classes' queries as of the time in question.
pub trait Source {
    type Error: Display;
    /// Rows of a query with two columns, an OID and a text; `$1` are `oids`.
    fn read(
        &mut self,
        query: &'static str,
        oids: &[u32],
    ) -> Result<Vec<(u32, String)>, Self::Error>;

    /// Runs `look`, for this many objects, with access to catalog rows, and releases everything that it has
    /// acquired. It may run again if a lock could not be acquired.
    fn with_tuples<R>(
        &mut self,
        objects: usize,
        look: impl FnMut(&mut dyn Tuples) -> Result<R, String>,
    ) -> Result<R, Self::Error>;

    /// The letter of an object's kind ([`class::kinds_of`]), if it is known without a query.
    fn kind(&self, _key: Key) -> Option<char> {
        None
    }
}

/// Objects at one time. An object in neither map does not exist, or is not captured (temporary, TOAST).
#[derive(Debug, Clone, Default)]
pub struct States {
    pub models: HashMap<Key, Model>,
    /// Objects whose state is unknown, and why.
    pub unknown: HashMap<Key, Unhandled>,
}

impl States {
    pub fn get(&self, key: Key) -> Option<&Model> {
        self.models.get(&key)
    }
}

/// Reads the objects with these keys.
pub fn read<S: Source>(source: &mut S, keys: &[Key]) -> States {
    let mut by_catalog: HashMap<u32, Vec<u32>> = HashMap::new();
    for key in keys {
        by_catalog.entry(key.class).or_default().push(key.oid);
    }
    let mut reading = Reading {
        source,
        asked: Vec::new(),
        states: States::default(),
    };
    for (catalog, mut oids) in by_catalog {
        oids.sort_unstable();
        oids.dedup();
        reading.catalog(catalog, &oids);
    }
    reading.look();
    reading.states
}

struct Reading<'a, S> {
    source: &'a mut S,
    /// Objects that are read from catalog rows: with as few calls as possible.
    asked: Vec<Asked>,
    states: States,
}

#[derive(Clone, Copy)]
struct Asked {
    catalog: u32,
    oid: u32,
    by: AskedBy,
}

#[derive(Clone, Copy)]
enum AskedBy {
    Class(&'static Class, ByTuples),
    /// Its class is not known yet.
    Kind(KindByTuples),
}

enum Found {
    Model(Option<Model>),
    OfKind(String),
}

impl Asked {
    fn find(&self, tuples: &mut dyn Tuples) -> Result<Found, String> {
        match self.by {
            AskedBy::Class(_, read) => read(tuples, self.oid).map(Found::Model),
            AskedBy::Kind(kind) => {
                let Some(kind) = kind(tuples, self.oid)? else {
                    return Ok(Found::Model(None));
                };
                match class_of(self.catalog, &kind).map(|class| class.read_by) {
                    Some(ReadBy::Tuples(read)) => read(tuples, self.oid).map(Found::Model),
                    _ => Ok(Found::OfKind(kind)),
                }
            }
        }
    }
}

/// The class of a catalog's objects of this kind.
fn class_of(catalog: u32, kind: &str) -> Option<&'static Class> {
    let mut classes = class::CLASSES
        .iter()
        .filter(|class| class.catalog == catalog);
    classes.find(|class| class.kinds.is_empty() || class.kinds.contains(&kind))
}

impl<S: Source> Reading<'_, S> {
    fn catalog(&mut self, catalog: u32, oids: &[u32]) {
        let name = || class::catalog_name(catalog);
        let Some(first) = class::CLASSES.iter().find(|class| class.catalog == catalog) else {
            return self.unknown(catalog, oids, &name(), "is unknown");
        };
        let Some(kinds) = class::kinds_of(catalog) else {
            return self.class(first, oids);
        };
        let mut by_kind: HashMap<String, Vec<u32>> = HashMap::new();
        let mut others = Vec::new();
        for oid in oids {
            match self.source.kind(Key::new(catalog, *oid)) {
                Some(kind) => by_kind.entry(kind.to_string()).or_default().push(*oid),
                None => others.push(*oid),
            }
        }
        match kinds {
            _ if others.is_empty() => {}
            Kinds::Tuples(kind) => self.asked.extend(others.into_iter().map(|oid| Asked {
                catalog,
                oid,
                by: AskedBy::Kind(kind),
            })),
            Kinds::Query(query) => match self.source.read(query, &others) {
                Ok(rows) => rows
                    .into_iter()
                    .for_each(|(oid, kind)| by_kind.entry(kind).or_default().push(oid)),
                Err(error) => return self.unknown(catalog, &others, &name(), &error.to_string()),
            },
        }
        for (kind, oids) in by_kind {
            self.kind(catalog, &kind, &oids);
        }
    }

    fn kind(&mut self, catalog: u32, kind: &str, oids: &[u32]) {
        match class_of(catalog, kind) {
            Some(class) => self.class(class, oids),
            None => {
                let name = class::catalog_name(catalog);
                self.unknown(catalog, oids, &name, &format!("kind {kind}"));
            }
        }
    }

    /// If the query fails for many, it is run for each: one of them is the reason.
    fn class(&mut self, class: &'static Class, oids: &[u32]) {
        let (query, read) = match class.read_by {
            ReadBy::Query { query, read } => (query, read),
            ReadBy::Tuples(read) => {
                return self.asked.extend(oids.iter().map(|oid| Asked {
                    catalog: class.catalog,
                    oid: *oid,
                    by: AskedBy::Class(class, read),
                }));
            }
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

    /// In portions: definitions lock tables. Then by queries for those of which this turned out to be
    /// necessary.
    fn look(&mut self) {
        let asked = std::mem::take(&mut self.asked);
        let mut by_kind: HashMap<(u32, String), Vec<u32>> = HashMap::new();
        for portion in asked.chunks(PORTION) {
            self.portion(portion, &mut by_kind);
        }
        for ((catalog, kind), oids) in by_kind {
            self.kind(catalog, &kind, &oids);
        }
    }

    fn portion(&mut self, portion: &[Asked], by_kind: &mut HashMap<(u32, String), Vec<u32>>) {
        let found = self.source.with_tuples(portion.len(), |tuples| {
            let found = portion.iter().map(|asked| asked.find(tuples));
            found.collect::<Result<Vec<_>, String>>()
        });
        match found {
            Ok(found) => {
                for (asked, found) in portion.iter().zip(found) {
                    let (catalog, oid) = (asked.catalog, asked.oid);
                    match found {
                        Found::Model(None) => {}
                        Found::Model(Some(model)) => {
                            let key = Key::new(catalog, oid);
                            self.states.models.insert(key, model);
                        }
                        Found::OfKind(kind) => {
                            by_kind.entry((catalog, kind)).or_default().push(oid)
                        }
                    }
                }
            }
            Err(_) if portion.len() > 1 => {
                portion.chunks(1).for_each(|one| self.portion(one, by_kind));
            }
            Err(error) => {
                for asked in portion {
                    let class = self.name_of_class(asked);
                    self.unknown(asked.catalog, &[asked.oid], &class, &error.to_string());
                }
            }
        }
    }

    fn name_of_class(&mut self, asked: &Asked) -> String {
        let class = match asked.by {
            AskedBy::Class(class, _) => Some(class),
            AskedBy::Kind(kind) => {
                let kind = self.source.with_tuples(1, |tuples| kind(tuples, asked.oid));
                let kind = kind.ok().flatten();
                kind.and_then(|kind| class_of(asked.catalog, &kind))
            }
        };
        class.map_or_else(
            || class::catalog_name(asked.catalog),
            |class| class.name.to_owned(),
        )
    }

    fn unknown(&mut self, catalog: u32, oids: &[u32], class: &str, why: &str) {
        for oid in oids {
            let key = Key::new(catalog, *oid);
            self.states.unknown.insert(key, Unhandled::new(class, why));
        }
    }
}
