//! What hangs on what is temporary, and goes with it when the session ends: a default over a function in
//! pg_temp, a column of a type that is there. PostgreSQL drops such parts of tables and domains by itself, and
//! no other database can have them meanwhile.

use std::collections::HashSet;

use super::{parts, LeftOut};
use crate::class::Model;
use crate::key::Key;
use crate::states::{Source, States};

/// Takes the parts out of `states`, and tells of them.
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

/// Objects that go as a whole: they stay where they are in `states`.
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

/// True for what needs something temporary, or hangs on a column that does.
pub(crate) fn is_over(key: Key, model: &Model, temporary: &HashSet<Key>) -> bool {
    let mut needs = model.common().needs().iter();
    temporary.contains(&key) || needs.any(|need| temporary.contains(need))
}
