//! Permanent objects over temporary ones. They go when the session does, and a restore does without them.

use effects::{Key, Model, States, Unhandled};
use rustc_hash::{FxHashMap, FxHashSet};

use super::source;

/// Which objects are known to go with a session, and which not; those that a transaction made are among
/// them, so it is kept for one transaction.
#[derive(Default)]
pub struct Temporary {
    known: FxHashMap<Key, bool>,
}

impl Temporary {
    /// Takes what goes with a session out of the states. Where only a part goes (a default, a column), the
    /// object is unknown: `are_after` tells that these are the states that something is to be said about.
    pub fn leave_out(&mut self, states: &mut States, are_after: bool) {
        self.ask(states);
        loop {
            let goes = |model: &Model| {
                let mut needs = model.common().needs().iter();
                needs.any(|need| self.known.get(need) == Some(&true))
            };
            let found: Vec<Key> = states
                .models
                .iter()
                .filter(|(_, model)| goes(model))
                .filter(|(_, model)| are_after || !goes_in_part(model))
                .map(|(key, _)| *key)
                .collect();
            if found.is_empty() {
                return;
            }
            for key in found {
                let model = states.models.remove(&key);
                if model.is_some_and(|model| goes_in_part(&model)) {
                    let why = Unhandled::new("temporary", "a part over temporary objects");
                    states.unknown.insert(key, why);
                } else {
                    self.known.insert(key, true);
                }
            }
        }
    }

    fn ask(&mut self, states: &States) {
        let mut asked = FxHashSet::default();
        for model in states.models.values() {
            for need in model.common().needs() {
                if !self.known.contains_key(need) && states.get(*need).is_none() {
                    asked.insert(*need);
                }
            }
        }
        if asked.is_empty() {
            return;
        }
        let temporary = source::temporary(&asked);
        self.known
            .extend(asked.into_iter().map(|key| (key, temporary.contains(&key))));
    }
}

/// True for objects of which a part can go alone.
fn goes_in_part(model: &Model) -> bool {
    matches!(
        model,
        Model::Table(_)
            | Model::ForeignTable(_)
            | Model::Composite(_)
            | Model::Domain(_)
            | Model::Publication(_)
            | Model::OperatorFamily(_)
            | Model::TextSearchConfiguration(_)
    )
}
