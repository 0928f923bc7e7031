//! From the states before and after to statements in order.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use crate::class::extension::OWN;
use crate::class::Model;
use crate::key::{catalog, Key};
use crate::plan::{Plan, Step};
use crate::script::{Effect, Script, Unhandled};
use crate::states::States;

/// Counted as a class: what is over this project's own extension.
pub const OVER_OURS: &str = "extension pg_incrbackup";

/// What is known besides the two states.
#[derive(Debug, Clone, Default)]
pub struct Context {
    /// The first and the last command that touched an object.
    pub commands: HashMap<Key, (u32, u32)>,
    /// What belongs to this project's own extension, or is over what does: a restore does without it.
    pub ours: Rc<HashSet<Key>>,
    /// What of it was so before these commands.
    pub ours_before: Rc<HashSet<Key>>,
    /// Of what the objects need, what is temporary or goes with what is.
    pub temporary: HashSet<Key>,
    /// Roles (quoted, or PUBLIC) to which ALTER DEFAULT PRIVILEGES gives anything in this database.
    pub default_grantees: Vec<String>,
}

impl Context {
    fn command(&self, key: Key, is_new: bool) -> u32 {
        let (first, last) = self.commands.get(&key).copied().unwrap_or_default();
        if is_new {
            first
        } else {
            last
        }
    }
}

/// Both states of one object.
#[derive(Clone, Copy)]
struct Pair<'a> {
    before: Option<&'a Model>,
    after: Option<&'a Model>,
}

/// The new key of an object that was built anew, and the keys, before and after, of what it is a part of.
type Remade = (Key, Option<(Key, Key)>);

struct Comparison<'a> {
    pairs: HashMap<Key, Pair<'a>>,
    /// By other keys: row types, defaults; what went with its table; what ALTER TYPE has built anew.
    aliases: HashMap<Key, Key>,
    /// New objects that one which was there before has made by its change (ADD CONSTRAINT … USING INDEX).
    made_of_old: HashSet<Key>,
    context: &'a Context,
    plan: Plan,
}

/// The statements that make `after` of `before`, in order. Both hold the same objects where they exist.
pub fn compare(
    before: &States,
    after: &States,
    context: &Context,
) -> Result<Vec<Effect>, Unhandled> {
    let mut keys: Vec<Key> = before
        .models
        .keys()
        .chain(after.models.keys())
        .copied()
        .collect();
    keys.sort_unstable();
    keys.dedup();
    let unknown = before.unknown.iter().chain(&after.unknown);
    if let Some((_, why)) = unknown.min_by_key(|(key, _)| **key) {
        return Err(why.clone());
    }
    let mut pairs = HashMap::new();
    for key in keys {
        let pair = Pair {
            before: before.get(key),
            after: after.get(key),
        };
        let is_changed = pair.before != pair.after;
        if is_changed && is_the_users(pair)? && !is_part_of_member(pair, before, after) {
            let is_left_out_whole = |key: &Key| {
                let model = after.get(*key).or_else(|| before.get(*key));
                model.is_some_and(|model| !has_parts(model))
            };
            if is_left_out(key, pair, context, is_left_out_whole)? {
                continue;
            }
            if goes_with_temporary(pair, context)? {
                continue;
            }
            pairs.insert(key, pair);
        }
    }
    let mut comparison = Comparison {
        pairs,
        aliases: HashMap::new(),
        made_of_old: HashSet::new(),
        context,
        plan: Plan::default(),
    };
    comparison.join_remade();
    comparison.find_aliases();
    comparison.leave_out_rebuilt();
    comparison.add_steps();
    comparison.add_order();
    comparison.write()
}

/// True for what is over the extension's own, and was from the start: it has been left out, and a restore is
/// without it. Of what has parts, some may be over it and the others not.
fn is_left_out(
    key: Key,
    pair: Pair<'_>,
    context: &Context,
    is_whole: impl Fn(&Key) -> bool,
) -> Result<bool, Unhandled> {
    let is_ours = |key: &Key| context.ours.contains(key);
    let is_other = |need: &&Key| **need != key;
    let is_over = |model: &Model| model.common().needs().iter().filter(is_other).any(is_ours);
    let was_ours = |need: &Key| *need != key && context.ours_before.contains(need);
    let states = || [pair.before, pair.after].into_iter().flatten();
    if !is_ours(&key) && !states().any(is_over) {
        return Ok(false);
    }
    let was = match pair.before {
        Some(before) => before.common().needs().iter().any(was_ours) && !has_parts(before),
        None => false,
    };
    // An index, a trigger, a rule of what is left out.
    let is_part = || {
        let is_of_left_out = |key: &Key| is_ours(key) && is_whole(key);
        states().all(|model| model.dropped_with().iter().any(is_of_left_out))
    };
    if (was || is_part()) && states().all(is_over) {
        return Ok(true);
    }
    let why = "an object over the extension's own";
    Err(Unhandled::new(OVER_OURS, why))
}

/// True for what stays where a part of it goes: a table without a column or a default.
fn has_parts(model: &Model) -> bool {
    matches!(
        model,
        Model::Table(_)
            | Model::ForeignTable(_)
            | Model::Composite(_)
            | Model::Domain(_)
            | Model::Constraint(_)
            | Model::Publication(_)
    )
}

/// True for what a session's end takes along: a permanent function over a temporary type. A table only loses
/// a column then.
fn goes_with_temporary(pair: Pair<'_>, context: &Context) -> Result<bool, Unhandled> {
    let is_over = |model: &Model| {
        let mut needs = model.common().needs().iter();
        needs.any(|need| context.temporary.contains(need))
    };
    let states = || [pair.before, pair.after].into_iter().flatten();
    if !states().any(is_over) {
        return Ok(false);
    }
    // A domain goes with its type, a constraint is an object of its own.
    let is_type = |need: &&Key| need.class == catalog::TYPE && context.temporary.contains(need);
    let loses_a_part = |model: &Model| match model {
        Model::Domain(_) => !model.common().needs().iter().any(|need| is_type(&need)),
        Model::Constraint(_) => false,
        other => has_parts(other),
    };
    if states().all(is_over) && !states().any(loses_a_part) {
        return Ok(true);
    }
    let why = "an object of which a part is over temporary ones";
    Err(Unhandled::new("temporary object", why))
}

/// False for members of extensions that come and go with these, and for all that is our own extension's. What
/// a user changes of a member (its privileges, say) is the user's; an extension's script is not looked at.
fn is_the_users(pair: Pair<'_>) -> Result<bool, Unhandled> {
    let is_own = |model: &Model| {
        matches!(model, Model::Extension(extension) if extension.is_own())
            || model.common().extension.as_deref() == Some(OWN)
    };
    let states = [pair.before, pair.after];
    if states.into_iter().flatten().any(is_own) {
        return Ok(false);
    }
    let member = |model: Option<&Model>| model.map(|model| model.common().extension.clone());
    match (member(pair.before), member(pair.after)) {
        (Some(Some(_)), None) | (None, Some(Some(_))) => Ok(false),
        (Some(before), Some(after)) if before != after => Err(Unhandled::new(
            "extension",
            "an object becomes a member, or stops being one",
        )),
        _ => Ok(true),
    }
}

/// True for what came or went with a member of an extension that it hangs on: the indexes and the
/// constraints of a table, which are no members themselves.
fn is_part_of_member(pair: Pair<'_>, before: &States, after: &States) -> bool {
    let (model, here, elsewhere) = match (pair.before, pair.after) {
        (Some(model), None) => (model, before, after),
        (None, Some(model)) => (model, after, before),
        _ => return false,
    };
    let is_member = |key: &Key| {
        let other = here.get(*key);
        other.is_some_and(|other| other.common().extension.is_some())
            && elsewhere.get(*key).is_none()
    };
    model.dropped_with().iter().any(is_member)
}

impl<'a> Comparison<'a> {
    fn find_aliases(&mut self) {
        for (key, pair) in &self.pairs {
            for alias in [pair.before, pair.after]
                .into_iter()
                .flatten()
                .flat_map(Model::aliases)
            {
                self.aliases.insert(alias, *key);
            }
        }
        // What goes without a word goes with the other.
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

    /// An object that was built anew under the same name is one, by its new key.
    fn join_remade(&mut self) {
        let named = |key: &Key, model: Option<&Model>| {
            let model = model?;
            Some((format!("{} {}", model.class(), model.occupies()?), *key))
        };
        let gone: HashMap<String, Key> = self
            .pairs
            .iter()
            .filter(|(_, pair)| pair.after.is_none())
            .filter_map(|(key, pair)| named(key, pair.before))
            .collect();
        let new: Vec<(String, Key)> = self
            .pairs
            .iter()
            .filter(|(_, pair)| pair.before.is_none())
            .filter_map(|(key, pair)| named(key, pair.after))
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
        // A part of what is another now is another itself.
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

    /// An index, a constraint or statistics that ALTER COLUMN … TYPE drops and makes anew under the same
    /// name: it does so at replay as well.
    fn leave_out_rebuilt(&mut self) {
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
                    new.extend(
                        after
                            .occupies()
                            .map(|name| (format!("{} {name}", after.class()), *key)),
                    );
                }
            }
        }
        let mut rebuilt = Vec::new();
        for (key, pair) in &self.pairs {
            if let (Some(before), None) = (pair.before, pair.after) {
                let name = before
                    .occupies()
                    .map(|name| format!("{} {name}", before.class()));
                if let Some(other) = name.and_then(|name| new.get(&name)) {
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

    fn add_steps(&mut self) {
        let mut keys: Vec<Key> = self.pairs.keys().copied().collect();
        keys.sort_unstable();
        for key in keys {
            let pair = self.pairs[&key];
            let is_new = pair.before.is_none();
            let command = self.context.command(key, is_new);
            match (pair.before, pair.after) {
                (Some(_), None) if self.resolve(key) == key => {
                    self.plan.add(Step::Drop, key, command)
                }
                (Some(before), Some(after)) => {
                    let made = before.makes_by_change(after);
                    self.made_of_old.extend(made);
                    let is_renamed = before.occupies() != after.occupies()
                        || before.target() != after.target()
                        || made.is_some();
                    if is_renamed && !before.is_made_anew_as(after) {
                        self.plan.add(Step::Rename, key, command);
                    }
                    self.plan.add(Step::Main, key, command);
                    self.plan.add(Step::Late, key, command);
                }
                (None, Some(_)) => {
                    self.plan.add(Step::Main, key, command);
                    self.plan.add(Step::Late, key, command);
                }
                _ => {}
            }
        }
    }

    fn resolve(&self, key: Key) -> Key {
        let mut key = key;
        for _ in 0..4 {
            match self.aliases.get(&key) {
                Some(other) if *other != key => key = *other,
                _ => break,
            }
        }
        key
    }

    fn is_view(&self, key: Key) -> bool {
        let pair = self.pairs.get(&key);
        matches!(pair.and_then(|pair| pair.before), Some(Model::View(_)))
    }

    /// What is over what goes, and goes as well.
    fn gone_over(&self) -> HashMap<Key, Vec<Key>> {
        let mut over: HashMap<Key, Vec<Key>> = HashMap::new();
        for (key, pair) in self.pairs.iter().filter(|(_, pair)| pair.after.is_none()) {
            let me = self.resolve(*key);
            let needs = pair.before.into_iter().flat_map(|b| b.common().needs());
            for need in needs.map(|need| self.resolve(*need)) {
                if need != me {
                    over.entry(need).or_default().push(me);
                }
            }
        }
        over
    }

    fn add_order(&mut self) {
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
                // Without the dependent, or once it no longer needs it.
                // Views can need each other.
                let is_strict = !(self.is_view(me) && self.is_view(need));
                self.plan
                    .order((Step::Drop, me), (Step::Drop, need), is_strict);
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
                    // It is renamed with the other, or makes it (ADD CONSTRAINT … USING INDEX).
                    self.plan
                        .order((Step::Rename, need), (Step::Rename, key), true);
                    self.plan
                        .order((Step::Rename, key), (Step::Main, need), true);
                } else if had.into_iter().any(|n| self.resolve(*n) == need) {
                    // Its old name has the old name of its schema or its table in it.
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
                // A table waits for what hangs on it (its replica identity's index), but to be whole.
                let hangs_on_this = self.pairs.get(&need).is_some_and(|pair| {
                    let states = [pair.before, pair.after].into_iter().flatten();
                    let mut needs = states.flat_map(|model| model.common().needs());
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
                // Its schema's name is the old one till then.
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
                // ATTACH PARTITION takes no index that lacks partitions: it would make another.
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
            // Whoever has the name gives it up first.
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
                // Dropped with its table's alteration (a constraint's index, say).
                if self.pairs[&other].after.is_none() && gone != other && gone != key {
                    self.plan.order((Step::Main, gone), (step, key), false);
                }
            }
        }
    }

    /// Whether the making of another object makes this new one.
    fn is_made(&self, key: Key, after: &Model) -> bool {
        let is_new = |key: Key| {
            self.pairs
                .get(&key)
                .is_some_and(|pair| pair.before.is_none())
        };
        let is_by_old = self.made_of_old.contains(&key);
        is_by_old
            || (after.made_with().is_some() && !after.wanted_by_attach_of().is_some_and(is_new))
    }

    /// What comes before all else, in the order of commands.
    fn write_early(&self, effects: &mut Vec<Effect>) -> Result<(), Unhandled> {
        let mut keys: Vec<Key> = self.pairs.keys().copied().collect();
        keys.sort_unstable_by_key(|key| (self.context.command(*key, false), *key));
        for key in keys {
            let Pair { before, after } = self.pairs[&key];
            if let (Some(before), true) = (before, self.resolve(key) == key) {
                let mut script = Script::default();
                before.early_script(after, &mut script)?;
                effects.extend(written(key, before, script));
            }
        }
        Ok(())
    }

    fn write(self) -> Result<Vec<Effect>, Unhandled> {
        let mut effects = Vec::new();
        self.write_early(&mut effects)?;
        let mut dropped: HashSet<Key> = HashSet::new();
        let over = self.gone_over();
        for (step, key) in self.plan.sorted()? {
            let Pair { before, after } = self.pairs[&key];
            let mut script = Script::default();
            let others = &self.context.default_grantees;
            match (step, before, after) {
                (Step::Drop, _, _) if dropped.contains(&key) => {}
                (Step::Drop, Some(before), _) => {
                    before.remove_script(&mut script);
                    dropped.insert(key);
                    let mut is_circle = false;
                    // It needs what is left over it: CASCADE takes all that along.
                    let mut left = vec![key];
                    while let Some(under) = left.pop() {
                        for above in over.get(&under).into_iter().flatten() {
                            if self.plan.has(Step::Drop, *above) && dropped.insert(*above) {
                                left.push(*above);
                                is_circle = true;
                            }
                        }
                    }
                    if let (true, Some(last)) = (is_circle, script.statements.last_mut()) {
                        last.sql += " CASCADE";
                    }
                }
                (Step::Rename, Some(before), Some(after)) => {
                    before.rename_script(after, &mut script)?
                }
                (Step::Main, Some(before), Some(after)) => {
                    before.alter_script(after, others, &mut script)?
                }
                (Step::Main, None, Some(after)) => {
                    after.create_script(self.is_made(key, after), others, &mut script)?
                }
                (Step::Late, before, Some(after)) => after.late_script(before, &mut script)?,
                _ => {}
            }
            if let Some(unhandled) = script.unhandled {
                return Err(unhandled);
            }
            let Some(model) = (if step == Step::Drop { before } else { after }) else {
                continue;
            };
            effects.extend(written(key, model, script));
        }
        Ok(effects)
    }
}

/// The statements about one object.
fn written(key: Key, model: &Model, script: Script) -> impl Iterator<Item = Effect> + '_ {
    let owner = model.common().owner.as_deref();
    script.statements.into_iter().map(move |statement| Effect {
        key,
        class: model.class(),
        verb: statement.verb,
        identity: model.target(),
        needs: model.common().needs().to_vec(),
        roles: statement.roles,
        grantor: statement
            .grantor
            .filter(|grantor| owner.is_some_and(|owner| owner != grantor)),
        sql: statement.sql,
    })
}
