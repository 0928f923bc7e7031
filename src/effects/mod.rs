//! The schema changes of the transaction being decoded, as statements.
//!
//! When the transaction's decoding begins, it is known which objects its commands touched
//! (`pg::effects::events`). Their states before it are read then, once, and those after a range of commands
//! when the next row arrives, or the commit: the crate `effects` compares both and writes the difference as
//! SQL. Such a range (`Stretch`) lies between two rows; because of the rows of ddl_history each statement is
//! a separate range, but nothing depends on that.

mod commands;
mod ours;
mod source;
mod temporary;

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use effects::common::default_grantees;
use effects::key::catalog;
use effects::left_out::LeftOut;
use effects::{compare, read, Context, Effect, Key, Model, States, Unhandled};
use rustc_hash::FxHashSet;

pub use self::commands::{has_effects_beyond_catalogs, is_visible_in_catalogs};
use self::source::{Catalogs, Known};
use crate::pg::effects::changed_rows::ChangedRows;
use crate::pg::effects::events::{Event, Touched, Unreadable, REWRITE};
use crate::pg::effects::lives::Lives;
use crate::pg::server;

/// Shared catalogs, whose objects segments never create: pg_tablespace, pg_authid, pg_auth_members,
/// pg_parameter_acl. In pg_database, the database being decoded is an object like others.
const SHARED: [u32; 4] = [1213, 1260, 1261, 6243];

fn is_of_cluster(key: &Key) -> bool {
    SHARED.contains(&key.class)
        || key.class == catalog::DATABASE && key.oid != server::my_database().to_u32()
}

/// State that is kept from one transaction to the next, unless one changes it.
#[derive(Default)]
pub struct Memory {
    /// The objects of this extension, and those that depend on them; `None` if it has to be read.
    ours: Option<Rc<HashSet<Key>>>,
    /// There are no default privileges.
    has_no_default_grantees: bool,
}

/// The schema changes of one transaction.
pub struct Engine {
    events: Vec<Event>,
    lives: Lives,
    rows: ChangedRows,
    /// The number of events processed so far.
    at: usize,
    /// After the ranges processed so far. An object in neither map does not exist.
    states: States,
    /// The objects of this extension, and those that depend on them; grows with objects that the transaction
    /// creates.
    ours: Rc<HashSet<Key>>,
    /// It differs from what the next transaction will find.
    has_changed_ours: bool,
    /// Objects that they need and that are temporary, or are dropped with temporary ones.
    temporary: HashSet<Key>,
    /// The parts of it that have been reported.
    left_out: HashSet<LeftOut>,
    /// The objects for which this is known.
    asked: HashSet<Key>,
    /// Of tables that it has not touched: columns that are left out.
    columns_left_out: HashMap<u32, Vec<i32>>,
    default_grantees: Option<Vec<String>>,
    has_no_default_grantees: bool,
    /// Existing objects that are written in the next range ([`postpone`]).
    postponed: Vec<Key>,
    /// Why no more effects of this transaction are known: all its statements are replayed as text.
    unreadable: Option<String>,
}

/// The effects of a range of commands.
pub struct Stretch {
    pub effects: Result<Vec<Effect>, Unhandled>,
    /// Objects that it created and that are dropped with the session, which no restore has.
    pub left_out: Vec<LeftOut>,
    /// The rows of a table that is being rewritten follow.
    pub is_rewriting: bool,
}

impl Engine {
    /// Reads the states of all objects that the transaction touches. Called in the begin callback, under the
    /// catalogs as of this commit without the transaction's own changes.
    pub fn begin(touched: Result<Touched, Unreadable>, memory: Memory) -> Engine {
        let (
            Touched {
                events,
                lives,
                rows,
            },
            mut unreadable,
        ) = match touched {
            Ok(touched) => (touched, None),
            Err(reason) => (Touched::default(), Some(reason.to_string())),
        };
        let keys: Vec<Key> = keys(&events).into_iter().collect();
        let known_at_first = Known {
            lives: &lives,
            rows: &rows,
            command: 0,
        };
        let mut states = there_at(known_at_first, &keys);
        note_rewritten(&mut states, &|_| false);
        let ours = memory
            .ours
            .unwrap_or_else(|| Rc::new(known(source::ours(), &mut unreadable)));
        let is_about_ours = |key: &Key| key.class == catalog::EXTENSION || ours.contains(key);
        let is_about_defaults = keys.iter().any(|key| key.class == catalog::DEFAULT_ACL);
        let has_no_default_grantees =
            memory.has_no_default_grantees && !is_about_defaults && unreadable.is_none();
        let mut engine = Engine {
            has_changed_ours: unreadable.is_some() || keys.iter().any(is_about_ours),
            events,
            lives,
            rows,
            at: 0,
            states: States::default(),
            ours,
            temporary: HashSet::new(),
            left_out: HashSet::new(),
            asked: HashSet::new(),
            columns_left_out: HashMap::new(),
            default_grantees: has_no_default_grantees.then(Vec::new),
            has_no_default_grantees,
            postponed: Vec::new(),
            unreadable,
        };
        engine.leave_out_ours(&mut states);
        engine.learn_temporary(&states, 0);
        engine.leave_out_temporary(&mut states, 0);
        engine.states = states;
        engine
    }

    fn known(&self, command: u32) -> Known<'_> {
        Known {
            lives: &self.lives,
            rows: &self.rows,
            command,
        }
    }

    /// Later effects on objects whose definitions contain these names use the new names: their states are
    /// read again, without changes of their own yet. A schema's name is part of the names of all its objects.
    fn read_again(&mut self, command: u32, mut renamed: FxHashSet<Key>, schemas: &[String]) {
        let mut count = 0;
        while count < renamed.len() {
            count = renamed.len();
            let names = |model: &Model| model.common().needs().iter().any(|n| renamed.contains(n));
            let found = self.states.models.iter().filter(|(_, model)| names(model));
            let found: Vec<Key> = found.map(|(key, _)| *key).collect();
            renamed.extend(found);
        }
        let ahead = keys(&self.events[self.at..]).into_iter();
        let is_stale = |key: &Key| {
            let model = self.states.models.get(key);
            model.is_some_and(|model| {
                let is_in = |schema: &String| model.target().contains(schema.as_str());
                renamed.contains(key) || schemas.iter().any(is_in)
            })
        };
        let stale: Vec<Key> = ahead.filter(is_stale).collect();
        let mut states = there_at(self.known(command), &stale);
        note_rewritten(&mut states, &|_| false);
        self.leave_out_ours(&mut states);
        self.leave_out_temporary(&mut states, command);
        for key in &stale {
            self.states.models.remove(key);
        }
        self.states.models.extend(states.models);
        self.states.unknown.extend(states.unknown);
    }

    /// State that the next transaction can use.
    pub fn end(self) -> Memory {
        Memory {
            ours: (!self.has_changed_ours).then_some(self.ours),
            has_no_default_grantees: self.has_no_default_grantees,
        }
    }

    /// True if commands below `command` touched something that has not been read yet, or if what was
    /// postponed for the rows of a rewrite can be written.
    pub fn has_moved(&self, command: u32, is_rewriting: bool) -> bool {
        let next = self.events.get(self.at);
        next.is_some_and(|event| event.command < command)
            || self.unreadable.is_some()
            || (!is_rewriting && !self.postponed.is_empty())
    }

    /// The effects of the commands below `command` since the last range. Called under the catalogs as of this
    /// commit with these commands' changes. `is_rewriting`: the rows of a table that is being rewritten
    /// follow.
    pub fn stretch(&mut self, command: u32, is_rewriting: bool) -> Stretch {
        let unhandled = |reason: &String| Unhandled::new("catalog", reason.as_str());
        if let Some(reason) = &self.unreadable {
            return Stretch {
                effects: Err(unhandled(reason)),
                left_out: Vec::new(),
                is_rewriting,
            };
        }
        let from = self.at;
        let ahead = &self.events[from..];
        let count = ahead.partition_point(|event| event.command < command);
        self.at += count;
        let events = &self.events[from..self.at];
        let mut keys = keys(events);
        keys.extend(std::mem::take(&mut self.postponed));
        let keys: Vec<Key> = keys.into_iter().collect();
        let mut after = there_at(self.known(command), &keys);
        // A rewrite that continues fills its other tables later; one that has ended has filled all of them.
        let seen = if is_rewriting { ahead } else { events };
        let rewritten = seen.iter().filter(|event| event.key.class == REWRITE);
        let rewritten: FxHashSet<u32> = rewritten.map(|event| event.key.oid).collect();
        note_rewritten(&mut after, &|table| rewritten.contains(&table));
        let mut before = States::default();
        for key in &keys {
            if let Some(model) = self.states.models.remove(key) {
                before.models.insert(*key, model);
            }
            if let Some(why) = self.states.unknown.remove(key) {
                before.unknown.insert(*key, why);
            }
        }
        self.postponed = postpone(&before, &mut after, is_rewriting);
        let is_about_defaults = keys.iter().any(|key| key.class == catalog::DEFAULT_ACL);
        if is_about_defaults {
            self.default_grantees = None;
        }
        let commands = commands(events);
        let (whole, mut left_out) = self.leave_out_ours(&mut after);
        let was = whole
            .into_iter()
            .filter(|key| before.models.contains_key(key));
        let lost = was.collect();
        let was_temporary = self.forget_changed(&keys, command);
        self.learn_temporary(&after, command);
        left_out.extend(self.leave_out_temporary(&mut after, command));
        let unreadable = &mut self.unreadable;
        let default_grantees = self.default_grantees.get_or_insert_with(|| {
            known(default_grantees(&mut Catalogs { known: None }), unreadable)
        });
        self.has_no_default_grantees =
            default_grantees.is_empty() && !is_about_defaults && unreadable.is_none();
        let context = Context {
            lost,
            was_temporary: was_temporary.unwrap_or_else(|| self.temporary.clone()),
            temporary: self.temporary.clone(),
            commands,
            default_grantees: default_grantees.clone(),
        };
        let effects = match &self.unreadable {
            None => compare(&before, &after, &context),
            Some(reason) => Err(unhandled(reason)),
        };
        note_rewritten(&mut after, &|_| false);
        let renamed = renamed(&before, &after);
        let schemas = schemas_before(&before, &renamed);
        self.states.models.extend(after.models);
        self.states.unknown.extend(after.unknown);
        if !renamed.is_empty() {
            self.read_again(command, renamed, &schemas);
        }
        Stretch {
            effects,
            left_out,
            is_rewriting,
        }
    }
}

/// Objects whose names have changed in a range.
fn renamed(before: &States, after: &States) -> FxHashSet<Key> {
    let is_renamed = |(key, model): &(&Key, &Model)| {
        let was = before.models.get(key);
        was.is_some_and(|was| was.target() != model.target())
    };
    let renamed = after.models.iter().filter(is_renamed);
    renamed.map(|(key, _)| *key).collect()
}

/// The prefixes of names of objects in schemas that have been renamed.
fn schemas_before(before: &States, renamed: &FxHashSet<Key>) -> Vec<String> {
    let schemas = renamed.iter().filter(|key| key.class == catalog::NAMESPACE);
    let models = schemas.filter_map(|key| before.models.get(key));
    models.map(|model| format!("{}.", model.target())).collect()
}

/// The result; if it could not be read, no effects are known.
fn known<T: Default>(read: Result<T, String>, unreadable: &mut Option<String>) -> T {
    read.unwrap_or_else(|error| {
        unreadable.get_or_insert(error);
        T::default()
    })
}

/// Those of the objects that exist, or may exist.
fn there_at(known: Known<'_>, keys: &[Key]) -> States {
    let is_there = |key: &&Key| !known.lives.is_absent(**key, known.command);
    let there: Vec<Key> = keys.iter().filter(is_there).copied().collect();
    read(&mut Catalogs { known: Some(known) }, &there)
}

/// Removes from `after` new objects that cannot be written yet, and returns them: incomplete ones, with what
/// needs them, and, before the rows of a rewrite, foreign keys, which ALTER COLUMN … TYPE checks when it
/// re-creates them.
fn postpone(before: &States, after: &mut States, is_rewriting: bool) -> Vec<Key> {
    let half_made = after
        .models
        .iter()
        .filter(|(_, model)| model.is_half_made());
    let half_made: Vec<Key> = half_made.map(|(key, _)| *key).collect();
    if !is_rewriting && half_made.is_empty() {
        return Vec::new();
    }
    let is_waiting = |model: &Model| match model {
        Model::Constraint(constraint) if is_rewriting && constraint.kind == "f" => true,
        model => {
            let needs = model.common().needs();
            model.is_half_made() || needs.iter().any(|need| half_made.contains(need))
        }
    };
    let waiting = after.models.iter().filter(|(key, model)| {
        let was = before.models.contains_key(key) || before.unknown.contains_key(key);
        !was && is_waiting(model)
    });
    let waiting: Vec<Key> = waiting.map(|(key, _)| *key).collect();
    for key in &waiting {
        after.models.remove(key);
    }
    waiting
}

fn note_rewritten(states: &mut States, is_rewritten: &dyn Fn(u32) -> bool) {
    for model in states.models.values_mut() {
        model.set_rewritten(is_rewritten);
    }
}

/// The objects of these events.
fn keys(events: &[Event]) -> FxHashSet<Key> {
    let objects = events
        .iter()
        .filter(|event| event.key.class != REWRITE && !is_of_cluster(&event.key));
    objects.map(|event| event.key).collect()
}

/// The first and the last command of each of them.
fn commands(events: &[Event]) -> HashMap<Key, (u32, u32)> {
    let mut commands = HashMap::new();
    for Event { command, key } in events {
        let entry = commands.entry(*key).or_insert((*command, *command));
        entry.1 = *command;
    }
    commands
}
