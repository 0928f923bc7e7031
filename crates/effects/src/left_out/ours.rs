//! Objects that depend on this project's own extension: a view on incr_slot_health(), a default that calls
//! incr_flush(), a publication that includes ddl_history. A restored database does not contain the extension,
//! and so none of these either.

use std::collections::HashSet;

use super::{parts, LeftOut};
use crate::class::extension::OWN;
use crate::class::Model;
use crate::compare::{goes_whole, OVER_OURS};
use crate::key::{catalog, Key};
use crate::script::Unhandled;
use crate::states::{Source, States};

/// What was removed from the states.
#[derive(Default)]
pub struct OverOurs {
    /// As described by pg_identify_object; without what belongs to a reported table or view.
    pub told: Vec<LeftOut>,
    /// Objects that were removed as a whole.
    pub whole: HashSet<Key>,
    /// Objects of `ours` that no longer depend on the extension.
    pub freed: HashSet<Key>,
}

/// Removes them from `states`. `ours` are the members of the extension, and objects that are known to depend
/// on it.
pub fn over_ours<S: Source>(
    states: &mut States,
    ours: &HashSet<Key>,
    source: &mut S,
) -> Result<OverOurs, S::Error> {
    let mut over = OverOurs::default();
    loop {
        let is_lacking = |key: &Key| ours.contains(key) || over.whole.contains(key);
        let is_over = |(key, model): &(&Key, &Model)| {
            let mut needs = model.common().needs().iter();
            needs.any(|need| {
                let is_whole = || matches!(model, Model::Composite(_)) || goes_whole(model, *need);
                need != *key && is_lacking(need) && is_whole()
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
            if !with.any(|key| ours.contains(&key) || over.whole.contains(&key)) {
                over.told.push(LeftOut {
                    object: model.described(),
                    definition: String::new(),
                });
            }
            over.whole.extend(model.aliases().into_iter().chain([key]));
        }
    }
    let kept = states.models.iter();
    let freed = kept.filter(|(key, model)| ours.contains(key) && !is_own(model));
    over.freed = freed.map(|(key, _)| *key).collect();
    take_parts(states, ours, &mut over, source)?;
    Ok(over)
}

/// A member of the extension, or the extension.
fn is_own(model: &Model) -> bool {
    matches!(model, Model::Extension(extension) if extension.is_own())
        || model.common().extension.as_deref() == Some(OWN)
}

fn take_parts<S: Source>(
    states: &mut States,
    ours: &HashSet<Key>,
    over: &mut OverOurs,
    source: &mut S,
) -> Result<(), S::Error> {
    let (whole, freed, told) = (&over.whole, &over.freed, &mut over.told);
    let is_lacking =
        |key: &Key| (ours.contains(key) || whole.contains(key)) && !freed.contains(key);
    let mut with_parts = Vec::new();
    let mut unknown = Vec::new();
    for (key, model) in &mut states.models {
        let needs = model.common().needs().iter();
        let mut needs = needs.filter(|need| *need != key && is_lacking(need));
        let Some(first) = needs.next() else {
            continue;
        };
        let is_type = |need: &Key| need.class == catalog::TYPE;
        match model {
            _ if is_own(model) => {}
            Model::Publication(publication) => {
                for table in publication.take_tables(|table| is_lacking(&table)) {
                    told.push(LeftOut {
                        object: format!(
                            "publication relation {table} in publication {}",
                            publication.name
                        ),
                        definition: String::new(),
                    });
                }
            }
            // Rows are written with the column, which a restore could not have.
            _ if is_type(first) || needs.any(is_type) => unknown.push(*key),
            Model::Table(_) | Model::ForeignTable(_) | Model::Domain(_) => with_parts.push(*key),
            _ => unknown.push(*key),
        }
    }
    for key in unknown {
        let what = "an object with a part that depends on objects of pg_incrbackup";
        let model = states.models.remove(&key);
        let identity = model.map_or_else(String::new, |model| model.target());
        let unhandled = Unhandled::new(OVER_OURS, what).about(key, || identity);
        states.unknown.insert(key, unhandled);
    }
    if !with_parts.is_empty() {
        let lacking = ours.union(whole).filter(|key| !freed.contains(*key));
        let lacking: HashSet<Key> = lacking.copied().collect();
        told.extend(parts::leave_out(
            states,
            &with_parts,
            &lacking,
            true,
            source,
        )?);
    }
    Ok(())
}
