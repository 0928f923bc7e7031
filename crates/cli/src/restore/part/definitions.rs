//! The definitions of a part as statements, by [`effects`]: from nothing to what the scratch database has.

use std::collections::{BTreeSet, HashMap};

use effects::class::{Model, CLASSES};
use effects::common::default_grantees;
use effects::key::Key;
use effects::{compare, read, Context, Effect, States};

use super::options::{Options, Section};
use super::{catalogs, permitted};
use crate::connection::Session;
use crate::error::{Error, Result};
use crate::restore::rights::{qualified, Rights};

/// Statements, in their order.
#[derive(Debug, Default)]
pub struct Definitions {
    /// Before the rows.
    pub before: Vec<Effect>,
    /// After them.
    pub after: Vec<Effect>,
    /// When all is made, which belongs to the restoring role until then: owners, privileges, FORCE ROW LEVEL SECURITY. Only
    /// for a role that is no superuser; for one they are in their places.
    pub last: Vec<Effect>,
    /// Names of all that is made, by kind: `table public.t`.
    pub made: Vec<String>,
}

/// Reads and words `keys` of the database `scratch`. `target` grants by default what an object of it gets.
pub async fn read_all(
    conninfo: &str,
    (scratch, target): (&str, &str),
    keys: Vec<Key>,
    options: &Options,
    rights: &Rights,
) -> Result<Definitions> {
    let grantees = catalogs::with(conninfo, target, |catalogs| {
        default_grantees(catalogs).map_err(|error| Error::failed(error, ""))
    })
    .await?;
    let (models, effects) = catalogs::with(conninfo, scratch, move |catalogs| {
        let known: BTreeSet<u32> = CLASSES.iter().map(|class| class.catalog).collect();
        let keys: Vec<Key> = keys
            .into_iter()
            .filter(|key| known.contains(&key.class))
            .collect();
        let states = read(catalogs, &keys);
        let context = Context {
            default_grantees: grantees,
            ..Context::default()
        };
        let effects = compare(&States::default(), &states, &context);
        let effects = effects.map_err(|unhandled| {
            let what = unhandled.object.as_ref().map_or("", |(_, name)| name);
            let message = format!("the definition of {} {what} cannot be carried over: {}", unhandled.class, unhandled.what);
            Error::failed(message, "Nothing was changed in the target. Leave it out, or restore everything into another database.")
        })?;
        Ok((states.models, effects))
    })
    .await?;
    let mut definitions = divided(&models, effects, options);
    if rights.is_limited() {
        definitions.put_last(&rights.role.name);
    }
    Ok(definitions)
}

impl Definitions {
    /// Leaves out owners that may create nothing in their schema of the target, as sentences.
    pub async fn without_owners(&mut self, target: &Session) -> Result<Vec<String>> {
        let owners: Vec<(String, String)> = self.last.iter().filter_map(place_and_owner).collect();
        let refused = permitted::owners_refused(target, &owners).await?;
        let is_refused = |effect: &Effect| {
            let place = place_and_owner(effect);
            place.is_some_and(|place| refused.contains(&place))
        };
        let last = std::mem::take(&mut self.last).into_iter();
        let (left_out, kept): (Vec<Effect>, _) = last.partition(is_refused);
        self.last = kept;
        let word = |effect: &Effect| {
            let (schema, owner) = place_and_owner(effect).unwrap_or_default();
            let what = format!("owner of {} {}", effect.class, effect.identity);
            format!(
                "{what}: \"{owner}\" may create nothing in the schema \"{schema}\" of the target"
            )
        };
        Ok(left_out.iter().map(word).collect())
    }

    /// `role` makes everything, and so owns it.
    fn put_last(&mut self, role: &str) {
        for list in [&mut self.before, &mut self.after] {
            let (last, kept) = std::mem::take(list).into_iter().partition(is_last);
            *list = kept;
            self.last.extend::<Vec<Effect>>(last);
        }
        let is_own = |effect: &Effect| effect.verb == "owner" && effect.roles == [role];
        self.last.retain(|effect| !is_own(effect));
    }
}

/// The schema of the object that an effect is about, and its owner to be; not quoted.
fn place_and_owner(effect: &Effect) -> Option<(String, String)> {
    let names = qualified::names(effect.sql.as_bytes());
    let (schema, _) = names
        .into_iter()
        .next()
        .filter(|_| effect.verb == "owner")?;
    let owner = effect.roles.first()?;
    Some((String::from_utf8(schema).ok()?, owner.clone()))
}

/// What would keep the restoring role from making the rest, or from its rows.
fn is_last(effect: &Effect) -> bool {
    let is_of_roles = matches!(effect.verb, "owner" | "grant" | "revoke");
    is_of_roles || effect.class == "table" && effect.sql.ends_with(" FORCE ROW LEVEL SECURITY")
}

/// Sections as in pg_dump; what is before the rows does not wait for what is after them.
fn divided(models: &HashMap<Key, Model>, effects: Vec<Effect>, options: &Options) -> Definitions {
    let is_own = |model: &&Model| !matches!(model, Model::Trigger(trigger) if trigger.is_internal);
    let mut made: Vec<String> = models
        .values()
        .filter(is_own)
        .map(Model::described)
        .collect();
    made.sort();
    let is_post: Vec<bool> = effects.iter().map(|it| is_post_data(it, models)).collect();
    let mut early: BTreeSet<Key> = BTreeSet::new();
    if options.has(Section::PreData) {
        // The key by which a view groups.
        let mut needed: Vec<Key> = effects
            .iter()
            .zip(&is_post)
            .filter(|(_, is_post)| !**is_post)
            .flat_map(|(effect, _)| effect.needs.clone())
            .collect();
        let post: BTreeSet<Key> = effects
            .iter()
            .zip(&is_post)
            .filter(|(_, is_post)| **is_post)
            .map(|(effect, _)| effect.key)
            .collect();
        while let Some(key) = needed.pop() {
            if post.contains(&key) && !is_divided(key, models) && early.insert(key) {
                let of_it = effects.iter().filter(|effect| effect.key == key);
                needed.extend(of_it.flat_map(|effect| effect.needs.clone()));
            }
        }
    }
    let mut definitions = Definitions {
        made,
        ..Definitions::default()
    };
    for (effect, is_post) in effects.into_iter().zip(is_post) {
        let is_early = !is_post || early.contains(&effect.key);
        let section = if is_early {
            Section::PreData
        } else {
            Section::PostData
        };
        if !options.has(section) {
            continue;
        }
        if is_early {
            definitions.before.push(effect);
        } else {
            // A materialized view has rows only if rows are wanted.
            if effect.verb != "refresh" || options.has(Section::Data) {
                definitions.after.push(effect);
            }
        }
    }
    definitions
}

/// A refresh is in post-data, but its view is not, and so is a constraint that is NOT VALID of a table or a domain.
fn is_divided(key: Key, models: &HashMap<Key, Model>) -> bool {
    matches!(
        models.get(&key),
        Some(Model::MaterializedView(_) | Model::Table(_) | Model::Domain(_))
    )
}

/// Whether it makes a constraint of a column or a domain that rows may contradict, or comments on one.
fn may_be_contradicted(effect: &Effect) -> bool {
    effect.sql.ends_with(" NOT VALID") || effect.sql.starts_with("COMMENT ON CONSTRAINT ")
}

fn is_post_data(effect: &Effect, models: &HashMap<Key, Model>) -> bool {
    let names_index = || {
        let uses = [" REPLICA IDENTITY USING INDEX ", " CLUSTER ON "];
        effect.verb != "create" && uses.iter().any(|words| effect.sql.contains(words))
    };
    match effect.class {
        "index" | "trigger" | "rule" | "policy" | "statistics object" => true,
        "constraint" => match models.get(&effect.key) {
            Some(Model::Constraint(constraint)) => {
                constraint.kind != "c" || !constraint.is_validated
            }
            _ => true,
        },
        "materialized view" => effect.verb == "refresh" || names_index(),
        "table" => names_index() || may_be_contradicted(effect),
        "domain" => may_be_contradicted(effect),
        _ => false,
    }
}
