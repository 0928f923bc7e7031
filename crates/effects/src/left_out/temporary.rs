//! What hangs on what is temporary, and goes with it when the session ends: a default over a function in
//! pg_temp, a column of a type that is there. PostgreSQL drops such parts of tables and domains by itself, and
//! no other database can have them meanwhile.

use std::collections::HashSet;

use super::{parts, LeftOut};
use crate::class::Model;
use crate::key::Key;
use crate::states::{Source, States};

/// Takes the parts out of `states`, and tells of them. Also told, though left where they are, are objects that
/// go as a whole.
pub fn leave_out<S: Source>(
    states: &mut States,
    temporary: &HashSet<Key>,
    source: &mut S,
) -> Result<Vec<LeftOut>, S::Error> {
    let mut left_out = Vec::new();
    if temporary.is_empty() {
        return Ok(left_out);
    }
    let mut with_parts = Vec::new();
    for (key, model) in &states.models {
        let mut needs = model.common().needs().iter();
        if !needs.any(|need| temporary.contains(need)) {
            continue;
        }
        match model {
            Model::Table(_) | Model::ForeignTable(_) | Model::Domain(_) => with_parts.push(*key),
            other => left_out.push(LeftOut {
                object: other.described(),
                definition: String::new(),
            }),
        }
    }
    left_out.extend(parts::leave_out(
        states,
        &with_parts,
        temporary,
        false,
        source,
    )?);
    Ok(left_out)
}
