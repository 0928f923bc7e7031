//! Objects that the transaction creates or changes and that are dropped with a session: a restore omits them.

use std::collections::HashSet;

use effects::key::catalog;
use effects::left_out::{leave_out_temporary_parts, whole_temporary, LeftOut};
use effects::{Key, Model, States};

use super::source::{self, is_users, Catalogs};
use super::{known, Engine};

impl Engine {
    pub(super) fn learn_temporary(&mut self, states: &States, command: u32) {
        let models = states.models.values();
        let needs = models.flat_map(|model| model.common().needs()).copied();
        let new: Vec<Key> = needs.filter(|need| self.asked.insert(*need)).collect();
        let found = source::temporary(new.into_iter(), self.known(command));
        let found = known(found, &mut self.unreadable);
        self.temporary.extend(found);
    }

    /// What is known of objects that a range has changed is no longer valid, nor, if something was temporary,
    /// of their dependents. Returns what was valid before.
    pub(super) fn forget_changed(&mut self, keys: &[Key], command: u32) -> Option<HashSet<Key>> {
        let changed: Vec<&Key> = keys.iter().filter(|key| self.asked.contains(key)).collect();
        for key in &changed {
            self.asked.remove(key);
        }
        self.columns_left_out.clear();
        if changed.is_empty() || self.temporary.is_empty() {
            return None;
        }
        let was = std::mem::take(&mut self.temporary);
        self.asked.clear();
        let states = std::mem::take(&mut self.states);
        self.learn_temporary(&states, command);
        self.states = states;
        Some(was)
    }

    /// Removes objects that are dropped with the session from the states; returns which of them are new.
    pub(super) fn leave_out_temporary(
        &mut self,
        states: &mut States,
        command: u32,
    ) -> Vec<LeftOut> {
        let parts =
            leave_out_temporary_parts(states, &self.temporary, &mut Catalogs { known: None });
        let mut found = known(parts, &mut self.unreadable);
        self.learn_over_columns(states, command);
        found.extend(whole_temporary(states, &self.temporary));
        found.retain(|found| self.left_out.insert(found.clone()));
        found
    }

    /// Dependents of a column that is left out are left out too: an index has no other dependency on
    /// temporary objects.
    fn learn_over_columns(&mut self, states: &States, command: u32) {
        let mut over = Vec::new();
        for (key, model) in &states.models {
            let tables = model.common().needs().iter();
            let tables = tables.filter(|need| need.class == catalog::CLASS && is_users(need));
            let tables = tables.filter(|need| !model.is_table() && *need != key);
            over.extend(tables.map(|table| (*key, *table)));
        }
        let untouched = over.iter().filter(|(_, table)| {
            let is_touched = self.touched(states, *table).is_some();
            !is_touched && !self.columns_left_out.contains_key(&table.oid)
        });
        let untouched: HashSet<u32> = untouched.map(|(_, table)| table.oid).collect();
        let found = source::columns_left_out(&untouched, self.known(command));
        let found = known(found, &mut self.unreadable);
        self.columns_left_out.extend(found);
        let over = over.iter().filter_map(|(key, table)| {
            let columns = match self.touched(states, *table) {
                Some(Model::Table(table) | Model::ForeignTable(table)) => &table.columns_left_out,
                Some(_) => return None,
                None => self.columns_left_out.get(&table.oid)?,
            };
            (!columns.is_empty()).then(|| (*key, table.oid, columns.clone()))
        });
        let over: Vec<_> = over.collect();
        let found = source::over_columns(&over, self.known(command));
        self.temporary.extend(known(found, &mut self.unreadable));
    }

    fn touched<'a>(&'a self, states: &'a States, key: Key) -> Option<&'a Model> {
        let touched = states.models.get(&key);
        touched.or_else(|| self.states.models.get(&key))
    }
}
