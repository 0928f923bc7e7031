//! The states of objects at one moment, read through whoever can run a query.

use std::collections::HashMap;

use crate::class::{self, Model};
use crate::key::Key;
use crate::script::Unhandled;

/// Who can run the classes' queries at the moment in question.
pub trait Source {
    type Error;
    /// Rows of a query with two columns, an OID and a text; `$1` are `oids`.
    fn read(
        &mut self,
        query: &'static str,
        oids: &[u32],
    ) -> Result<Vec<(u32, String)>, Self::Error>;
}

/// Objects that exist. What is not here does not exist, or is nobody's business (temporary, TOAST).
#[derive(Debug, Clone, Default)]
pub struct States(pub HashMap<Key, Model>);

impl States {
    pub fn get(&self, key: Key) -> Option<&Model> {
        self.0.get(&key)
    }
}

/// Why states could not be read.
#[derive(Debug)]
pub enum ReadError<E> {
    /// The query failed.
    Query(E),
    /// What it gave, or what it did not, is not understood.
    Unhandled(Unhandled),
}

/// Reads the objects that `keys` mean. Those of a class that nobody knows are `Unhandled`.
pub fn read<S: Source>(source: &mut S, keys: &[Key]) -> Result<States, ReadError<S::Error>> {
    let mut by_catalog: HashMap<u32, Vec<u32>> = HashMap::new();
    for key in keys {
        by_catalog.entry(key.class).or_default().push(key.oid);
    }
    let mut states = States::default();
    for (catalog, mut oids) in by_catalog {
        oids.sort_unstable();
        oids.dedup();
        let classes: Vec<_> = class::CLASSES
            .iter()
            .filter(|class| class.catalog == catalog)
            .collect();
        if classes.is_empty() {
            let name = format!("catalog {catalog}");
            return Err(ReadError::Unhandled(Unhandled::new(name, "is not known")));
        }
        let by_kind = match class::kinds_of(catalog) {
            Some(query) => {
                let mut by_kind: HashMap<String, Vec<u32>> = HashMap::new();
                for (oid, kind) in source.read(query, &oids).map_err(ReadError::Query)? {
                    by_kind.entry(kind).or_default().push(oid);
                }
                by_kind
            }
            None => HashMap::from([(String::new(), oids)]),
        };
        for (kind, oids) in by_kind {
            let known = classes
                .iter()
                .find(|class| class.kinds.is_empty() || class.kinds.contains(&kind.as_str()));
            let Some(class) = known else {
                let name = format!("catalog {catalog}");
                return Err(ReadError::Unhandled(Unhandled::new(
                    name,
                    format!("kind {kind}"),
                )));
            };
            for (oid, json) in source.read(class.query, &oids).map_err(ReadError::Query)? {
                let model = (class.read)(&json).map_err(|error| {
                    ReadError::Unhandled(Unhandled::new(class.name, error.to_string()))
                })?;
                states.0.insert(Key::new(catalog, oid), model);
            }
        }
    }
    Ok(states)
}
