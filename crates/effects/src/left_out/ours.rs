//! What is over this project's own extension: a view over incr_slot_health(), a default that calls
//! incr_flush(), a publication that lists ddl_history. A restored database has none of the extension, so it has
//! nothing of these either.

use std::collections::HashSet;

use super::{parts, LeftOut};
use crate::class::extension::OWN;
use crate::class::Model;
use crate::compare::{goes_whole, OVER_OURS};
use crate::key::{catalog, Key};
use crate::script::Unhandled;
use crate::states::{Source, States};

/// What was taken out of the states.
#[derive(Default)]
pub struct OverOurs {
    /// In the words of pg_identify_object; not what goes with a table or view that is told.
    pub told: Vec<LeftOut>,
    /// Objects that went as a whole.
    pub whole: HashSet<Key>,
    /// Objects of `ours` that are over the extension no longer.
    pub freed: HashSet<Key>,
}

/// Takes it out of `states`. `ours` are what belongs to the extension, and what is known to be over it.
pub fn over_ours<S: Source>(
    states: &mut States,
    ours: &HashSet<Key>,
    source: &mut S,
) -> Result<OverOurs, S::Error> {
    let mut over = OverOurs::default();
    let mut lacking = ours.clone();
    loop {
        let is_over = |(key, model): &(&Key, &Model)| {
            let mut needs = model.common().needs().iter();
            needs.any(|need| {
                let is_whole = || matches!(model, Model::Composite(_)) || goes_whole(model, *need);
                need != *key && lacking.contains(need) && is_whole()
            })
        };
        let users = states.models.iter().filter(|(_, model)| !is_own(model));
        let found: Vec<Key> = users.filter(is_over).map(|(key, _)| *key).collect();
        if found.is_empty() {
            break;
        }
        for key in found {
            let Some(model) = states.models.remove(&key) else {
                continue;
            };
            let mut with = model.dropped_with().into_iter();
            if !with.any(|key| lacking.contains(&key)) {
                over.told.push(LeftOut {
                    object: model.described(),
                    definition: String::new(),
                });
            }
            let keys = model.aliases().into_iter().chain([key]);
            keys.for_each(|key| {
                lacking.insert(key);
                over.whole.insert(key);
            });
        }
    }
    let kept = states.models.iter().filter(|(_, model)| !is_own(model));
    let kept: HashSet<Key> = kept.map(|(key, _)| *key).collect();
    over.freed = ours.intersection(&kept).copied().collect();
    lacking.retain(|key| !over.freed.contains(key));
    take_parts(states, &lacking, &mut over, source)?;
    Ok(over)
}

/// A member of the extension, or the extension.
fn is_own(model: &Model) -> bool {
    matches!(model, Model::Extension(extension) if extension.is_own())
        || model.common().extension.as_deref() == Some(OWN)
}

fn take_parts<S: Source>(
    states: &mut States,
    lacking: &HashSet<Key>,
    over: &mut OverOurs,
    source: &mut S,
) -> Result<(), S::Error> {
    let mut with_parts = Vec::new();
    let mut unknown = Vec::new();
    for (key, model) in &mut states.models {
        let needs = model.common().needs().iter();
        let mut needs = needs.filter(|need| *need != key && lacking.contains(need));
        let Some(first) = needs.next() else {
            continue;
        };
        let is_type = |need: &Key| need.class == catalog::TYPE;
        match model {
            _ if is_own(model) => {}
            Model::Publication(publication) => {
                for table in publication.take_tables(|table| lacking.contains(&table)) {
                    over.told.push(LeftOut {
                        object: format!(
                            "publication relation {table} in publication {}",
                            publication.name
                        ),
                        definition: String::new(),
                    });
                }
            }
            // Rows are written with the column that a restore could not have.
            _ if is_type(first) || needs.any(is_type) => unknown.push(*key),
            Model::Table(_) | Model::ForeignTable(_) | Model::Domain(_) => with_parts.push(*key),
            _ => unknown.push(*key),
        }
    }
    for key in unknown {
        let what = "an object of which a part is over the extension's own";
        let model = states.models.remove(&key);
        let identity = model.map_or_else(String::new, |model| model.target());
        let unhandled = Unhandled::new(OVER_OURS, what).about(key, || identity);
        states.unknown.insert(key, unhandled);
    }
    let told = parts::leave_out(states, &with_parts, lacking, true, source)?;
    over.told.extend(told);
    Ok(())
}
