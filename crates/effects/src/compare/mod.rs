//! From the states before and after to ordered statements.

mod order;
mod remade;
mod whose;

use std::collections::{HashMap, HashSet};

pub(crate) use self::whose::goes_whole;
use self::whose::{is_dropped_with_temporary, is_part_of_member, is_the_users};
use crate::class::{database::of_current, Model};
use crate::key::Key;
use crate::plan::{Plan, Step};
use crate::script::{Along, Effect, Script, Unhandled};
use crate::states::States;
use crate::text::unquoted;

/// Counted as a class: objects that depend on this project's own extension.
pub const OVER_OURS: &str = "extension pg_incrbackup";
/// Counted as a class: objects that depend on temporary ones, which no restore can have.
pub const TEMPORARY: &str = "temporary object";

/// Information besides the two states.
#[derive(Debug, Clone, Default)]
pub struct Context {
    /// The first and the last command that touched an object.
    pub commands: HashMap<Key, (u32, u32)>,
    /// Objects that no longer exist for a restore, although they do at the source: they now depend on this
    /// project's own extension. Their dependents are removed with them.
    pub lost: HashSet<Key>,
    /// Dependencies of the objects that are temporary or are dropped with temporary objects.
    pub temporary: HashSet<Key>,
    /// The same for the states before.
    pub was_temporary: HashSet<Key>,
    /// Roles (quoted, or PUBLIC) to which ALTER DEFAULT PRIVILEGES grants anything in this database.
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

impl<'a> Pair<'a> {
    /// Those that there are.
    fn states(self) -> impl Iterator<Item = &'a Model> {
        [self.before, self.after].into_iter().flatten()
    }

    /// The state before, if it existed.
    fn identity(self) -> String {
        self.states().next().map(Model::target).unwrap_or_default()
    }
}

struct Comparison<'a> {
    pairs: HashMap<Key, Pair<'a>>,
    /// By other keys: row types, defaults; objects dropped with their table; objects re-created by ALTER
    /// TYPE.
    aliases: HashMap<Key, Key>,
    /// New objects that are created by a change of an existing one (ADD CONSTRAINT … USING INDEX).
    made_of_old: HashSet<Key>,
    context: &'a Context,
    plan: Plan,
}

/// The ordered statements that change `before` to `after`. Both contain the same objects if they exist. All
/// of them, or none: the rest of a statement without one of its changes may not even be possible.
pub fn compare(
    before: &States,
    after: &States,
    context: &Context,
) -> Result<Vec<Effect>, Unhandled> {
    statements(before, after, context).map_err(|unhandled| Unhandled {
        along: lost_along(&unhandled, before, after, context),
        ..unhandled
    })
}

/// The other changes.
fn lost_along(
    unhandled: &Unhandled,
    before: &States,
    after: &States,
    context: &Context,
) -> Vec<Along> {
    let of_it = unhandled.object.as_ref().map(|(key, _)| *key);
    let along = |key: Key| {
        let pair = Pair {
            before: before.get(key),
            after: after.get(key),
        };
        let is_none_of_ours = |pair| matches!(is_the_users(pair), Ok(false));
        let is_left_out = |pair| matches!(is_dropped_with_temporary(key, pair, context), Ok(true));
        let is_lost = of_it != Some(key)
            && pair.before != pair.after
            && !is_none_of_ours(pair)
            && !is_part_of_member(pair, before, after)
            && !is_left_out(pair);
        let model = pair.states().next().filter(|_| is_lost)?;
        Some(Along {
            key,
            class: model.class().to_owned(),
            identity: model.target(),
        })
    };
    let mut lost: Vec<Along> = keys_of(before, after)
        .into_iter()
        .filter_map(along)
        .collect();
    for (key, why) in before.unknown.iter().chain(&after.unknown) {
        if of_it != Some(*key) && lost.iter().all(|along| along.key != *key) {
            let named = why.object.as_ref();
            lost.push(Along {
                key: *key,
                class: why.class.clone(),
                identity: named.map_or_else(String::new, |(_, name)| name.clone()),
            });
        }
    }
    lost.sort_by_key(|along| along.key);
    lost
}

fn keys_of(before: &States, after: &States) -> Vec<Key> {
    let keys = before.models.keys().chain(after.models.keys());
    let mut keys: Vec<Key> = keys.copied().collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}

fn statements(
    before: &States,
    after: &States,
    context: &Context,
) -> Result<Vec<Effect>, Unhandled> {
    let unknown = before.unknown.iter().chain(&after.unknown);
    if let Some((key, why)) = unknown.min_by_key(|(key, _)| **key) {
        let known = before.get(*key).or(after.get(*key));
        let identity = || known.map(Model::target).unwrap_or_default();
        return Err(why.clone().about(*key, identity));
    }
    let mut pairs = HashMap::new();
    for key in keys_of(before, after) {
        let pair = Pair {
            before: before.get(key),
            after: after.get(key),
        };
        let is_changed = pair.before != pair.after;
        let about = |unhandled: Unhandled| unhandled.about(key, || pair.identity());
        if is_changed
            && is_the_users(pair).map_err(about)?
            && !is_part_of_member(pair, before, after)
        {
            if is_dropped_with_temporary(key, pair, context).map_err(about)? {
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

impl<'a> Comparison<'a> {
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
                    if is_renamed && !before.is_recreated_as(after) {
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

    /// Dependents of what is dropped, which are dropped as well; and whether CASCADE would drop all of them,
    /// not just a part.
    fn gone_over(&self) -> HashMap<Key, Vec<(Key, bool)>> {
        let mut over: HashMap<Key, Vec<(Key, bool)>> = HashMap::new();
        for (key, pair) in &self.pairs {
            let (Some(before), None) = (pair.before, pair.after) else {
                continue;
            };
            let me = self.resolve(*key);
            for need in before.common().needs() {
                let under = self.resolve(*need);
                if under != me {
                    let is_whole = me == *key && goes_whole(before, *need);
                    over.entry(under).or_default().push((me, is_whole));
                }
            }
        }
        over
    }

    /// Whether the creation of another object creates this new one.
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

    /// What precedes everything else, in the order of commands.
    fn write_early(&self, effects: &mut Vec<Effect>) -> Result<(), Unhandled> {
        let mut keys: Vec<Key> = self.pairs.keys().copied().collect();
        keys.sort_unstable_by_key(|key| (self.context.command(*key, false), *key));
        for key in keys {
            let Pair { before, after } = self.pairs[&key];
            if let (Some(before), true) = (before, self.resolve(key) == key) {
                let mut script = Script::default();
                before
                    .early_script(after, &mut script)
                    .map_err(|unhandled| unhandled.about(key, || before.target()))?;
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
            let pair = self.pairs[&key];
            let Pair { before, after } = pair;
            let about = |unhandled: Unhandled| unhandled.about(key, || pair.identity());
            let mut script = Script::default();
            let others = &self.context.default_grantees;
            match (step, before, after) {
                (Step::Drop, _, _) if dropped.contains(&key) => {}
                (Step::Drop, Some(before), _) => {
                    before.remove_script(&mut script);
                    dropped.insert(key);
                    let mut is_circle = self.context.lost.contains(&key);
                    // Dependents that are left are dropped by CASCADE.
                    let mut left = vec![key];
                    while let Some(under) = left.pop() {
                        for (above, is_whole) in over.get(&under).into_iter().flatten() {
                            if !self.plan.has(Step::Drop, *above) || dropped.contains(above) {
                                continue;
                            }
                            is_circle = true;
                            if *is_whole {
                                dropped.insert(*above);
                                left.push(*above);
                            }
                        }
                    }
                    if let (true, Some(last)) = (is_circle, script.statements.last_mut()) {
                        last.sql += " CASCADE";
                    }
                }
                (Step::Rename, Some(before), Some(after)) => {
                    before.rename_script(after, &mut script).map_err(about)?
                }
                (Step::Main, Some(before), Some(after)) => before
                    .alter_script(after, others, &mut script)
                    .map_err(about)?,
                (Step::Main, None, Some(after)) => after
                    .create_script(self.is_made(key, after), others, &mut script)
                    .map_err(about)?,
                (Step::Late, before, Some(after)) => {
                    after.late_script(before, &mut script).map_err(about)?
                }
                _ => {}
            }
            if let Some(unhandled) = script.unhandled {
                return Err(about(unhandled));
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
    let tablespace = model.tablespace();
    let is_named = |sql: &str| sql.contains(" TABLESPACE ");
    let database = match model {
        Model::Database(database) => Some(database),
        _ => None,
    };
    script.statements.into_iter().map(move |statement| Effect {
        key,
        class: model.class(),
        verb: statement.verb,
        identity: database.map_or_else(|| model.target(), |database| database.name.clone()),
        needs: model.common().needs().to_vec(),
        roles: statement.roles,
        tablespace: tablespace
            .filter(|_| is_named(&statement.sql))
            .map(unquoted),
        grantor: statement
            .grantor
            .filter(|grantor| owner != Some(grantor.as_str())),
        sql: match database {
            Some(_) => of_current(&statement.sql),
            None => statement.sql,
        },
    })
}
