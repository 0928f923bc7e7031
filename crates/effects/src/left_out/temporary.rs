//! Parts that depend on temporary objects, and are dropped with them when the session ends: a default that
//! calls a function in pg_temp, a column of a temporary type. PostgreSQL drops such parts of tables and
//! domains automatically, and no other database can have them in the meantime.

use std::collections::HashSet;

use super::{parts, LeftOut};
use crate::class::Model;
use crate::key::Key;
use crate::states::{Source, States};

/// Removes the parts from `states`, and reports them.
pub fn leave_out_parts<S: Source>(
    states: &mut States,
    temporary: &HashSet<Key>,
    source: &mut S,
) -> Result<Vec<LeftOut>, S::Error> {
    if temporary.is_empty() {
        return Ok(Vec::new());
    }
    let over = states
        .models
        .iter()
        .filter(|(key, model)| has_removable_parts(model) && is_over(**key, model, temporary));
    let with_parts: Vec<Key> = over.map(|(key, _)| *key).collect();
    parts::leave_out(states, &with_parts, temporary, false, source)
}

/// Objects that are dropped as a whole: they are kept in `states`.
pub fn whole<'a>(
    states: &'a States,
    temporary: &'a HashSet<Key>,
) -> impl Iterator<Item = LeftOut> + 'a {
    let over = states
        .models
        .iter()
        .filter(|(key, model)| !has_removable_parts(model) && is_over(**key, model, temporary));
    over.map(|(_, model)| LeftOut {
        object: model.described(),
        definition: String::new(),
    })
}

fn has_removable_parts(model: &Model) -> bool {
    matches!(
        model,
        Model::Table(_) | Model::ForeignTable(_) | Model::Domain(_)
    )
}

/// True for an object that depends on a temporary one, or on a column that does.
pub(crate) fn is_over(key: Key, model: &Model, temporary: &HashSet<Key>) -> bool {
    let mut needs = model.common().needs().iter();
    temporary.contains(&key) || needs.any(|need| temporary.contains(need))
}
