//! What goes with a session, of what the transaction makes and changes: a restore does without it.

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

    /// What is known of objects that a stretch has changed holds no more, nor, where something was temporary, of
    /// what is over them. Returns what held before.
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

    /// Takes what goes with the session out of the states; returns what of it is new.
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

    /// What is over a column that is left out goes with it: an index has no other tie to what is temporary.
    fn learn_over_columns(&mut self, states: &States, command: u32) {
        let mut over = Vec::new();
        for (key, model) in &states.models {
            let is_table = matches!(model, Model::Table(_) | Model::ForeignTable(_));
            let tables = model.common().needs().iter();
            let tables = tables.filter(|need| need.class == catalog::CLASS && is_users(need));
            for table in tables.filter(|need| !is_table && *need != key) {
                let columns = self.columns_left_out(states, *table, command);
                if !columns.is_empty() {
                    over.push((*key, table.oid, columns));
                }
            }
        }
        let found = source::over_columns(&over, self.known(command));
        self.temporary.extend(known(found, &mut self.unreadable));
    }

    fn columns_left_out(&mut self, states: &States, table: Key, command: u32) -> Vec<i32> {
        let touched = states.models.get(&table);
        match touched.or_else(|| self.states.models.get(&table)) {
            Some(Model::Table(table) | Model::ForeignTable(table)) => {
                return table.columns_left_out.clone()
            }
            Some(_) => return Vec::new(),
            None => {}
        }
        if let Some(columns) = self.columns_left_out.get(&table.oid) {
            return columns.clone();
        }
        let found = source::columns_left_out(table.oid, self.known(command));
        let found = known(found, &mut self.unreadable);
        self.columns_left_out.insert(table.oid, found.clone());
        found
    }
}
