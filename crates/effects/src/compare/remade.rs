//! Which keys refer to the same object: objects dropped with another one, and re-created ones.

use std::collections::{HashMap, HashSet};

use super::{Comparison, Pair};
use crate::class::Model;
use crate::key::Key;

/// The new key of a re-created object, and the keys, before and after, of the object of which it is a part.
type Remade = (Key, Option<(Key, Key)>);

/// What a re-created object has in common with the one that it replaces.
fn name_of_its_kind(model: &Model) -> Option<String> {
    let name = model.occupies()?;
    Some(format!("{} {name}", model.class()))
}

impl Comparison<'_> {
    pub(super) fn find_aliases(&mut self) {
        for (key, pair) in &self.pairs {
            for alias in pair.states().flat_map(Model::aliases) {
                self.aliases.insert(alias, *key);
            }
        }
        // An object without a statement of its own is dropped with the other one.
        let gone: Vec<Key> = self
            .pairs
            .iter()
            .filter(|(_, pair)| pair.after.is_none())
            .map(|(key, _)| *key)
            .collect();
        let set: HashSet<Key> = gone.iter().copied().collect();
        for key in gone {
            let with = self.pairs[&key]
                .before
                .map(Model::dropped_with)
                .unwrap_or_default();
            if let Some(other) = with
                .into_iter()
                .find(|other| set.contains(other) && *other != key)
            {
                self.aliases.insert(key, other);
            }
            let along = self.pairs[&key].before.map(Model::takes_along);
            for other in along.unwrap_or_default() {
                if set.contains(&other) {
                    self.aliases.insert(other, key);
                }
            }
        }
    }

    /// A re-created object with the same name is the same object, under its new key.
    pub(super) fn join_remade(&mut self) {
        let gone: HashMap<String, Key> = self
            .pairs
            .iter()
            .filter(|(_, pair)| pair.after.is_none())
            .filter_map(|(key, pair)| Some((name_of_its_kind(pair.before?)?, *key)))
            .collect();
        let new: Vec<(String, Key)> = self
            .pairs
            .iter()
            .filter(|(_, pair)| pair.before.is_none())
            .filter_map(|(key, pair)| Some((name_of_its_kind(pair.after?)?, *key)))
            .collect();
        let mut remade: HashMap<Key, Remade> = HashMap::new();
        for (name, key) in new {
            let Some(&old) = gone.get(&name) else {
                continue;
            };
            let states = self.pairs[&old].before.zip(self.pairs[&key].after);
            if let Some((before, after)) =
                states.filter(|(before, after)| before.is_remade_as(after))
            {
                let whole = before.completes().zip(after.completes());
                remade.insert(old, (key, whole.filter(|(was, is)| was != is)));
            }
        }
        // A part of an object that was replaced is replaced itself.
        loop {
            let is_other = |(_, (_, whole)): &(&Key, &Remade)| {
                whole.is_some_and(|(was, is)| remade.get(&was).map(|(key, _)| *key) != Some(is))
            };
            let Some(old) = remade.iter().find(is_other).map(|(old, _)| *old) else {
                break;
            };
            remade.remove(&old);
        }
        for (old, (key, _)) in remade {
            let (before, after) = (self.pairs[&old].before, self.pairs[&key].after);
            self.pairs.remove(&old);
            self.pairs.insert(key, Pair { before, after });
            self.aliases.insert(old, key);
        }
    }

    /// An index, a constraint or statistics that ALTER COLUMN … TYPE drops and re-creates with the same name:
    /// it does so at replay as well.
    pub(super) fn leave_out_rebuilt(&mut self) {
        let rebuilds = |key: &Key| {
            self.pairs
                .get(key)
                .is_some_and(|pair| match (pair.before, pair.after) {
                    (Some(before), Some(after)) => before.rebuilds_dependents(after),
                    _ => false,
                })
        };
        let mut new: HashMap<String, Key> = HashMap::new();
        for (key, pair) in &self.pairs {
            if let (None, Some(after)) = (pair.before, pair.after) {
                if after.rebuilt_with().iter().any(rebuilds) {
                    new.extend(name_of_its_kind(after).map(|name| (name, *key)));
                }
            }
        }
        let mut rebuilt = Vec::new();
        for (key, pair) in &self.pairs {
            if let (Some(before), None) = (pair.before, pair.after) {
                if let Some(other) = name_of_its_kind(before).and_then(|name| new.get(&name)) {
                    rebuilt.push((*key, *other, before.dropped_with()));
                }
            }
        }
        for (old, new, with) in rebuilt {
            let (before, after) = (self.pairs[&old].before, self.pairs[&new].after);
            self.pairs.remove(&old);
            self.pairs.remove(&new);
            let makes = before.zip(after).and_then(|(b, a)| b.makes_by_change(a));
            if makes.is_some() {
                self.pairs.insert(new, Pair { before, after });
                self.aliases.insert(old, new);
                continue;
            }
            for key in [old, new] {
                if let Some(table) = with.first() {
                    self.aliases.insert(key, *table);
                }
            }
        }
    }
}
