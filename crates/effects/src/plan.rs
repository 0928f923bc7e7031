//! The order among the objects of one range of commands.
//!
//! PostgreSQL's own order inside a statement is not known from the states before and after, and it would not
//! be correct: what is implied at the source (a column's type changes under its index) is explicit at replay.
//! Therefore the order follows the dependencies of both states, and otherwise the commands.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use crate::key::Key;
use crate::script::Unhandled;

/// The steps for one object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Step {
    Drop,
    /// A new name, or another schema.
    Rename,
    /// CREATE or ALTER.
    Main,
    /// What waits for other objects.
    Late,
}

/// A graph of steps.
#[derive(Default)]
pub struct Plan {
    steps: Vec<(Step, Key, u32)>,
    index: HashMap<(Step, Key), usize>,
    /// By step: its prerequisites; `true` for strict ones.
    waits: Vec<Vec<(usize, bool)>>,
}

impl Plan {
    /// Adds a step; `command` is its time at the source.
    pub fn add(&mut self, step: Step, key: Key, command: u32) {
        self.index.insert((step, key), self.steps.len());
        self.steps.push((step, key, command));
        self.waits.push(Vec::new());
    }

    pub fn has(&self, step: Step, key: Key) -> bool {
        self.index.contains_key(&(step, key))
    }

    /// `later` follows `earlier`, if both exist. A constraint that is not `strict` is dropped in a cycle.
    pub fn order(&mut self, earlier: (Step, Key), later: (Step, Key), strict: bool) {
        let both = self.index.get(&earlier).zip(self.index.get(&later));
        if let Some((&earlier, &later)) = both {
            if earlier != later {
                self.waits[later].push((earlier, strict));
            }
        }
    }

    /// The ordered steps. Fails if there is a cycle.
    pub fn sorted(&self) -> Result<Vec<(Step, Key)>, Unhandled> {
        let count = self.steps.len();
        let mut blocks: Vec<Vec<(usize, bool)>> = vec![Vec::new(); count];
        let (mut strict, mut weak) = (vec![0usize; count], vec![0usize; count]);
        for (later, waits) in self.waits.iter().enumerate() {
            for &(earlier, is_strict) in waits {
                blocks[earlier].push((later, is_strict));
                if is_strict {
                    strict[later] += 1;
                } else {
                    weak[later] += 1;
                }
            }
        }
        let rank = |step: usize| (self.steps[step].2, self.steps[step].0, step);
        let mut ready: BinaryHeap<Reverse<(u32, Step, usize)>> = (0..count)
            .filter(|step| strict[*step] + weak[*step] == 0)
            .map(|step| Reverse(rank(step)))
            .collect();
        let mut is_done = vec![false; count];
        let mut sorted = Vec::with_capacity(count);
        while sorted.len() < count {
            let next = match ready.pop() {
                Some(Reverse((_, _, step))) => step,
                // The first one of a cycle that only waits for constraints that are not strict.
                None => self
                    .in_circles(&is_done)
                    .filter(|step| strict[*step] == 0)
                    .min_by_key(|step| rank(*step))
                    .ok_or_else(|| self.circle(&is_done))?,
            };
            if std::mem::replace(&mut is_done[next], true) {
                continue;
            }
            sorted.push((self.steps[next].0, self.steps[next].1));
            for &(later, is_strict) in &blocks[next] {
                let waits = if is_strict {
                    &mut strict[later]
                } else {
                    &mut weak[later]
                };
                *waits -= 1;
                if strict[later] + weak[later] == 0 && !is_done[later] {
                    ready.push(Reverse(rank(later)));
                }
            }
        }
        Ok(sorted)
    }

    /// Of the remaining steps, which all wait, those that are part of a cycle.
    fn in_circles(&self, is_done: &[bool]) -> impl Iterator<Item = usize> {
        let mut waiting = vec![0usize; self.steps.len()];
        let left = || (0..self.steps.len()).filter(|step| !is_done[*step]);
        for &(earlier, _) in left().flat_map(|step| &self.waits[step]) {
            waiting[earlier] += 1;
        }
        let mut is_in_circle: Vec<bool> = is_done.iter().map(|is_done| !is_done).collect();
        let mut free: Vec<usize> = left().filter(|step| waiting[*step] == 0).collect();
        while let Some(step) = free.pop() {
            is_in_circle[step] = false;
            for &(earlier, _) in self.waits[step].iter().filter(|(step, _)| !is_done[*step]) {
                waiting[earlier] -= 1;
                if waiting[earlier] == 0 {
                    free.push(earlier);
                }
            }
        }
        (0..self.steps.len()).filter(move |step| is_in_circle[*step])
    }

    fn circle(&self, is_done: &[bool]) -> Unhandled {
        let left = self.steps.iter().zip(is_done).filter(|(_, done)| !**done);
        let names: Vec<String> = left
            .take(5)
            .map(|((step, key, _), _)| format!("{step:?} {}/{}", key.class, key.oid))
            .collect();
        Unhandled::new("order", format!("a circle: {}", names.join(", ")))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn key(oid: u32) -> Key {
        Key::new(1, oid)
    }

    #[test]
    fn commands_order_what_is_free_and_dependencies_the_rest() {
        let mut plan = Plan::default();
        for (oid, command) in [(1, 3), (2, 2), (3, 1)] {
            plan.add(Step::Main, key(oid), command);
        }
        let order = |plan: &Plan| {
            plan.sorted()
                .unwrap()
                .iter()
                .map(|(_, k)| k.oid)
                .collect::<Vec<_>>()
        };
        assert_eq!(order(&plan), [3, 2, 1]);
        plan.order((Step::Main, key(1)), (Step::Main, key(3)), true);
        assert_eq!(order(&plan), [2, 1, 3]);
    }

    #[test]
    fn a_circle_gives_way_where_it_may_and_is_told_where_not() {
        let mut plan = Plan::default();
        plan.add(Step::Main, key(1), 1);
        plan.add(Step::Main, key(2), 2);
        plan.order((Step::Main, key(1)), (Step::Main, key(2)), true);
        plan.order((Step::Main, key(2)), (Step::Main, key(1)), false);
        assert_eq!(plan.sorted().unwrap()[0], (Step::Main, key(1)));
        // Steps that only wait for the cycle wait for all of it.
        plan.add(Step::Main, key(3), 0);
        plan.order((Step::Main, key(2)), (Step::Main, key(3)), false);
        let last = *plan.sorted().unwrap().last().unwrap();
        assert_eq!(last, (Step::Main, key(3)));
        plan.order((Step::Main, key(2)), (Step::Main, key(1)), true);
        assert_eq!(plan.sorted().unwrap_err().class, "order");
    }
}
