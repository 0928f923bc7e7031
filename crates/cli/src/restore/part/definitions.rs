//! The definitions of a part as statements, by [`effects`]: from nothing to what the scratch database has.

use std::collections::{BTreeSet, HashMap};

use effects::class::{Model, CLASSES};
use effects::common::default_grantees;
use effects::key::Key;
use effects::{compare, read, Context, Effect, States};

use super::catalogs;
use super::options::{Options, Section};
use crate::error::{Error, Result};

/// Statements, in their order.
#[derive(Debug, Default)]
pub struct Definitions {
    /// Before the rows.
    pub before: Vec<Effect>,
    /// After them.
    pub after: Vec<Effect>,
    /// Names of all that is made, by kind: `table public.t`.
    pub made: Vec<String>,
}

/// Reads and words `keys`. `target` grants by default what an object of it gets.
pub async fn read_all(
    conninfo: &str,
    scratch: &str,
    target: &str,
    keys: Vec<Key>,
    options: &Options,
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
    Ok(divided(&models, effects, options))
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
