//! The ordering constraints.

use std::collections::HashMap;

use super::{Comparison, Pair};
use crate::class::Model;
use crate::key::Key;
use crate::plan::Step;

impl Comparison<'_> {
    pub(super) fn add_order(&mut self) {
        let keys: Vec<Key> = self.pairs.keys().copied().collect();
        let mut occupied: HashMap<String, Key> = HashMap::new();
        for key in &keys {
            let name = self.pairs[key].before.and_then(Model::occupies);
            occupied.extend(name.map(|name| (name, *key)));
        }
        for key in keys {
            let pair = self.pairs[&key];
            self.plan
                .order((Step::Rename, key), (Step::Main, key), true);
            self.plan.order((Step::Main, key), (Step::Late, key), true);
            for need in pair
                .before
                .map(|model| model.common().needs())
                .unwrap_or_default()
            {
                let (need, me) = (self.resolve(*need), self.resolve(key));
                if need == me {
                    continue;
                }
                // Without the dependent, or once it no longer depends on it. They can depend on each other
                // (two views; a view whose rule fills a table with a column of the view's type): the first
                // one that is dropped drops the others.
                self.plan.order((Step::Drop, me), (Step::Drop, need), false);
                self.plan
                    .order((Step::Drop, me), (Step::Rename, need), true);
                self.plan.order((Step::Drop, me), (Step::Main, need), false);
                let still = pair.after.is_some_and(|model| {
                    model
                        .common()
                        .needs()
                        .iter()
                        .any(|n| self.resolve(*n) == need)
                });
                if !still {
                    self.plan.order((Step::Main, key), (Step::Drop, need), true);
                    self.plan
                        .order((Step::Main, key), (Step::Main, need), false);
                }
            }
            let Some(after) = pair.after else { continue };
            for need in after
                .common()
                .needs()
                .iter()
                .copied()
                .chain(after.made_with())
            {
                let need = self.resolve(need);
                if need == key {
                    continue;
                }
                let is_new = self
                    .pairs
                    .get(&need)
                    .is_some_and(|pair| pair.before.is_none());
                self.plan
                    .order((Step::Rename, need), (Step::Main, key), true);
                self.plan
                    .order((Step::Main, need), (Step::Main, key), is_new);
                let is_made_with = after.made_with() == Some(need);
                let Some(before) = pair.before else { continue };
                let had = before.common().needs().iter();
                if is_made_with {
                    // It is renamed with the other, or creates it (ADD CONSTRAINT … USING INDEX).
                    self.plan
                        .order((Step::Rename, need), (Step::Rename, key), true);
                    self.plan
                        .order((Step::Rename, key), (Step::Main, need), true);
                } else if had.into_iter().any(|n| self.resolve(*n) == need) {
                    // Its old name contains the old name of its schema or its table.
                    self.plan
                        .order((Step::Rename, key), (Step::Rename, need), false);
                } else {
                    self.plan
                        .order((Step::Rename, need), (Step::Rename, key), false);
                    self.plan
                        .order((Step::Main, need), (Step::Rename, key), is_new);
                }
            }
            if after.made_with().is_some() {
                let with = after.made_with().map(|other| self.resolve(other));
                if let Some(with) = with.filter(|with| *with != key) {
                    self.plan
                        .order((Step::Late, with), (Step::Main, key), false);
                }
            }
            for need in after.late_needs() {
                let need = self.resolve(need);
                self.plan.order((Step::Main, need), (Step::Late, key), true);
                // A table only waits for dependents that complete it (its replica identity's index).
                let hangs_on_this = self.pairs.get(&need).is_some_and(|pair| {
                    let mut needs = pair.states().flat_map(|model| model.common().needs());
                    needs.any(|need| self.resolve(*need) == key)
                });
                if hangs_on_this {
                    continue;
                }
                // A partition can be attached before its parent is.
                let is_table = |key| {
                    let pair: Option<&Pair<'_>> = self.pairs.get(&key);
                    pair.and_then(|pair| pair.after)
                        .is_some_and(Model::is_table)
                };
                if !(is_table(key) && is_table(need)) {
                    self.plan
                        .order((Step::Late, need), (Step::Late, key), false);
                }
                // Its schema has the old name until then.
                self.plan
                    .order((Step::Rename, key), (Step::Rename, need), false);
                self.plan
                    .order((Step::Rename, need), (Step::Main, key), false);
            }
            if let Some(whole) = after.completes() {
                self.plan
                    .order((Step::Main, whole), (Step::Late, key), true);
                self.plan
                    .order((Step::Late, key), (Step::Late, whole), true);
                // ATTACH PARTITION ignores an index that lacks partitions, and would create another one.
                let whole_state = self.pairs.get(&whole).and_then(|pair| pair.after);
                let made_with = whole_state.and_then(Model::made_with);
                let states = made_with.and_then(|with| self.pairs.get(&with)?.after);
                let table = [whole_state, states]
                    .into_iter()
                    .flatten()
                    .find_map(Model::wanted_by_attach_of);
                if let Some(table) = table {
                    self.plan
                        .order((Step::Late, key), (Step::Late, table), true);
                }
                // A partition's columns are NOT NULL before its parent has a primary key.
                if let Some(table) = after.wanted_by_attach_of() {
                    self.plan
                        .order((Step::Main, table), (Step::Main, whole), false);
                }
            }
            if let Some(whole) = after.needs_whole() {
                self.plan
                    .order((Step::Late, whole), (Step::Main, key), true);
            }
            if let Some(table) = after.wanted_by_attach_of() {
                for made in [Some(key), after.made_with()].into_iter().flatten() {
                    self.plan
                        .order((Step::Main, made), (Step::Late, table), true);
                }
            }
            // The current owner of the name is renamed first.
            let Some(&other) = after.occupies().and_then(|name| occupied.get(&name)) else {
                continue;
            };
            if other != key {
                let step = if self.plan.has(Step::Rename, key) {
                    Step::Rename
                } else {
                    Step::Main
                };
                let gone = self.resolve(other);
                self.plan.order((Step::Drop, gone), (step, key), true);
                self.plan.order((Step::Rename, other), (step, key), true);
                // Dropped by its table's ALTER (a constraint's index, for example).
                if self.pairs[&other].after.is_none() && gone != other && gone != key {
                    self.plan.order((Step::Main, gone), (step, key), false);
                }
            }
        }
    }
}
