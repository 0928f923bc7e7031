//! Objects that the transaction creates or changes and that depend on this extension's own: a restore omits
//! them.

use std::collections::HashSet;
use std::rc::Rc;

use effects::left_out::{over_ours, LeftOut};
use effects::{Key, States, Unhandled, OVER_OURS};

use super::source::{self, Catalogs};
use super::{known, Engine};

/// Catalogs of objects that are dropped as a whole with what they depend on: functions, relations, triggers,
/// policies, operators, constraints.
const HANGING: [u32; 6] = [1255, 1259, 2620, 3256, 2617, 2606];

impl Engine {
    /// Removes objects that depend on this extension's own from the states; returns which objects were
    /// removed as a whole, and which of all this is new.
    pub(super) fn leave_out_ours(&mut self, states: &mut States) -> (HashSet<Key>, Vec<LeftOut>) {
        let over = over_ours(states, &self.ours, &mut Catalogs { known: None });
        let over = known(over, &mut self.unreadable);
        let is_news = over.whole.iter().any(|key| !self.ours.contains(key));
        if is_news || !over.freed.is_empty() {
            self.has_changed_ours = true;
            let ours = Rc::make_mut(&mut self.ours);
            ours.retain(|key| !over.freed.contains(key));
            ours.extend(&over.whole);
        }
        if is_news || !over.freed.is_empty() {
            let all = known(source::ours(), &mut self.unreadable);
            // Dependents of an object that no longer depends on ours exist again as well, but no restore has
            // them.
            let is_hanging = |key: &&Key| HANGING.contains(&key.class) && !over.freed.contains(key);
            let hung = self.ours.difference(&all).filter(is_hanging);
            let hung: Vec<Key> = if over.freed.is_empty() {
                Vec::new()
            } else {
                hung.copied().collect()
            };
            let names = known(source::names_of(&hung), &mut self.unreadable);
            for (key, name) in names {
                let what = "it no longer depends on objects of pg_incrbackup";
                let unhandled = Unhandled::new(OVER_OURS, what).about(key, || name);
                states.unknown.insert(key, unhandled);
            }
            // Nor does it have the dependent parts of a table or a domain that was kept.
            let parts = known(
                source::with_parts_over(over.freed.iter()),
                &mut self.unreadable,
            );
            for (key, name) in parts {
                let what = "a part of it no longer depends on objects of pg_incrbackup";
                let unhandled = Unhandled::new(OVER_OURS, what).about(key, || name);
                states.unknown.insert(key, unhandled);
            }
            // Its dependents depend on ours as well, and were removed with it.
            self.states.models.retain(|key, _| !all.contains(key));
            self.ours = Rc::new(all);
        }
        let told = over.told.into_iter();
        let is_new = |told: &LeftOut| self.left_out.insert(told.clone());
        (over.whole, told.filter(is_new).collect())
    }
}
