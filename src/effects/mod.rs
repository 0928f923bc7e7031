//! What the transaction that is being decoded did to the schema, as statements.
//!
//! At the transaction's begin it is known which objects its commands touched (`pg::effects::events`). Their
//! states before it are read then, once, and those after a stretch of commands when the next row comes, or
//! the commit: the crate `effects` compares both and words the difference. A stretch lies between two rows;
//! the rows of ddl_history make each statement a stretch of its own, but nothing depends on them.

mod commands;
mod source;

use std::collections::HashSet;

use effects::key::catalog;
use effects::{compare, read, Context, Effect, Key, Model, States, Unhandled};
use rustc_hash::{FxHashMap, FxHashSet};

pub use self::commands::{does_more_than_catalogs_tell, is_told_by_catalogs};
use self::source::Catalogs;
use crate::pg::effects::events::{Event, Unreadable, REWRITE};

/// Shared catalogs, whose objects segments never make: pg_tablespace, pg_authid, pg_auth_members,
/// pg_database, pg_db_role_setting, pg_replication_origin, pg_parameter_acl.
const SHARED: [u32; 7] = [1213, 1260, 1261, 1262, 2964, 6000, 6243];

/// The schema changes of one transaction.
pub struct Engine {
    events: Vec<Event>,
    /// How many of them have been looked at.
    at: usize,
    /// As the stretches so far have left them. What is in neither map does not exist.
    states: States,
    /// What belongs to this extension, or is over what does; grows with what the transaction makes.
    ours: HashSet<Key>,
    /// What they need that is temporary, or goes with what is.
    temporary: HashSet<Key>,
    /// Of what they need it is known.
    asked: HashSet<Key>,
    default_grantees: Option<Vec<String>>,
    /// What is there already and is said in the next stretch ([`Engine::postpone`]).
    postponed: Vec<Key>,
    /// Why nothing can be told of this transaction.
    unreadable: Option<String>,
}

/// What a stretch of commands came to.
pub struct Stretch {
    pub effects: Result<Vec<Effect>, Unhandled>,
    /// It changed what belongs to the cluster: roles, databases, tablespaces.
    pub is_about_cluster: bool,
}

impl Engine {
    /// Reads the states of all that the transaction is going to touch. Called in the begin callback, under
    /// the catalogs as of this commit without the transaction's own changes.
    pub fn begin(events: Result<Vec<Event>, Unreadable>) -> Engine {
        let (events, unreadable) = match events {
            Ok(events) => (events, None),
            Err(reason) => (Vec::new(), Some(reason.to_string())),
        };
        let keys = keys(&events);
        let mut states = read(&mut Catalogs, &keys.into_iter().collect::<Vec<_>>());
        note_rewritten(&mut states, &|_| false);
        let mut engine = Engine {
            events,
            at: 0,
            states: States::default(),
            ours: source::ours(),
            temporary: HashSet::new(),
            asked: HashSet::new(),
            default_grantees: None,
            postponed: Vec::new(),
            unreadable,
        };
        engine.learn_temporary(&states);
        engine.states = states;
        engine
    }

    fn learn_temporary(&mut self, states: &States) {
        let models = states.models.values();
        let needs = models.flat_map(|model| model.common().needs()).copied();
        let new = needs.filter(|need| self.asked.insert(*need));
        self.temporary.extend(source::temporary(new));
    }

    /// True where commands below `command` touched something that nobody has looked at yet, or what was
    /// postponed for the rows of a rewrite can be said.
    pub fn has_moved(&self, command: u32, is_rewriting: bool) -> bool {
        let next = self.events.get(self.at);
        next.is_some_and(|event| event.command < command)
            || self.unreadable.is_some()
            || (!is_rewriting && !self.postponed.is_empty())
    }

    /// What the commands below `command` did since the last stretch. Called under the catalogs as of this
    /// commit with these commands' changes. `is_rewriting` tells that the rows of a table that is being
    /// rewritten are what comes next.
    pub fn stretch(&mut self, command: u32, is_rewriting: bool) -> Stretch {
        if let Some(reason) = self.unreadable.take() {
            return Stretch {
                effects: Err(Unhandled::new("catalog", reason)),
                is_about_cluster: false,
            };
        }
        let from = self.at;
        let ahead = &self.events[from..];
        let count = ahead.partition_point(|event| event.command < command);
        self.at += count;
        let events = &self.events[from..self.at];
        let is_about_cluster = events.iter().any(|event| SHARED.contains(&event.class));
        let mut keys = keys(events);
        keys.extend(std::mem::take(&mut self.postponed));
        let keys: Vec<Key> = keys.into_iter().collect();
        let mut after = read(&mut Catalogs, &keys);
        // A rewrite that goes on fills its other tables later; one that is over has filled them all.
        let seen = if is_rewriting { ahead } else { events };
        let rewritten = seen.iter().filter(|event| event.class == REWRITE);
        let rewritten: FxHashSet<u32> = rewritten.map(|event| event.oid).collect();
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
        if is_rewriting {
            let later: FxHashSet<u32> = ahead[count..].iter().map(|event| event.oid).collect();
            self.postponed = postpone(&before, &mut after, &later);
        }
        if keys.iter().any(|key| key.class == catalog::DEFAULT_ACL) {
            self.default_grantees = None;
        }
        let commands = commands(events);
        let ours_before = self.ours.clone();
        learn_ours(&mut self.ours, &after);
        self.learn_temporary(&after);
        let context = Context {
            ours: self.ours.clone(),
            ours_before,
            temporary: self.temporary.clone(),
            commands,
            default_grantees: self
                .default_grantees
                .get_or_insert_with(source::default_grantees)
                .clone(),
        };
        let effects = compare(&before, &after, &context);
        note_rewritten(&mut after, &|_| false);
        self.states.models.extend(after.models);
        self.states.unknown.extend(after.unknown);
        Stretch {
            effects,
            is_about_cluster,
        }
    }
}

/// Takes out of `after` what cannot be said before the rows of a rewrite have come, and returns it: new
/// foreign keys, which ALTER COLUMN … TYPE checks where it makes them anew, and the sequence that a new
/// identity column gets with one of the `later` commands.
fn postpone(before: &States, after: &mut States, later: &FxHashSet<u32>) -> Vec<Key> {
    let needed: FxHashSet<Key> = after
        .models
        .values()
        .flat_map(|model| model.common().needs())
        .copied()
        .collect();
    let waits = |key: &Key, model: &Model| match model {
        Model::Constraint(constraint) => constraint.kind == "f",
        Model::Sequence(sequence) => {
            sequence.column.is_none() && later.contains(&key.oid) && !needed.contains(key)
        }
        _ => false,
    };
    let waiting = after.models.iter().filter(|(key, model)| {
        !before.models.contains_key(key) && !before.unknown.contains_key(key) && waits(key, model)
    });
    let waiting: Vec<Key> = waiting.map(|(key, _)| *key).collect();
    for key in &waiting {
        after.models.remove(key);
    }
    waiting
}

/// What is made over what belongs to this extension is left out as well.
fn learn_ours(ours: &mut HashSet<Key>, after: &States) {
    loop {
        let is_over = |(key, model): &(&Key, &Model)| {
            !ours.contains(*key)
                && model
                    .common()
                    .needs()
                    .iter()
                    .any(|need| ours.contains(need))
        };
        let found: Vec<Key> = after
            .models
            .iter()
            .filter(is_over)
            .map(|(key, _)| *key)
            .collect();
        if found.is_empty() {
            return;
        }
        ours.extend(found);
    }
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
        .filter(|event| event.class != REWRITE && !SHARED.contains(&event.class));
    objects
        .map(|event| Key::new(event.class, event.oid))
        .collect()
}

fn commands(events: &[Event]) -> std::collections::HashMap<Key, (u32, u32)> {
    let mut commands: FxHashMap<Key, (u32, u32)> = FxHashMap::default();
    for event in events {
        let key = Key::new(event.class, event.oid);
        let entry = commands
            .entry(key)
            .or_insert((event.command, event.command));
        entry.1 = event.command;
    }
    commands.into_iter().collect()
}
