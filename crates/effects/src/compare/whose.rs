//! Changes that a restore does not need: members of extensions, this project's own objects, temporary ones.

use super::{Context, Pair, TEMPORARY};
use crate::class::extension::OWN;
use crate::class::Model;
use crate::key::{catalog, Key};
use crate::left_out::is_over_temporary;
use crate::script::Unhandled;
use crate::states::States;

/// True for objects that are kept when a part of them is dropped: a table without a column or a default.
fn has_parts(model: &Model) -> bool {
    matches!(
        model,
        Model::Table(_)
            | Model::ForeignTable(_)
            | Model::Composite(_)
            | Model::Domain(_)
            | Model::Constraint(_)
            | Model::Publication(_)
    )
}

/// True for objects that are dropped with their dependencies by CASCADE. Others lose a part: a table its
/// column.
pub(crate) fn goes_whole(model: &Model, need: Key) -> bool {
    match model {
        Model::Table(table) | Model::ForeignTable(table) => {
            let is_parent = table.parents.iter().flatten().any(|p| p.oid == need.oid);
            let is_its_type = table.of_type.as_ref().is_some_and(|of| of.oid == need.oid);
            is_parent || is_its_type
        }
        Model::Domain(_) => need.class == catalog::TYPE,
        Model::Constraint(_) => true,
        other => !has_parts(other),
    }
}

/// True for objects that are dropped at the end of a session: a permanent function with a temporary type. A
/// table only loses a column then.
pub(super) fn is_dropped_with_temporary(
    key: Key,
    pair: Pair<'_>,
    context: &Context,
) -> Result<bool, Unhandled> {
    let was = pair
        .before
        .map(|model| is_over_temporary(key, model, &context.was_temporary));
    let is = pair
        .after
        .map(|model| is_over_temporary(key, model, &context.temporary));
    let mut states = [was, is].into_iter().flatten();
    if !states.clone().any(|is_over| is_over) {
        return Ok(false);
    }
    // A domain is dropped with its type, a constraint is a separate object.
    let is_temporary =
        |need: &&Key| context.temporary.contains(need) || context.was_temporary.contains(need);
    let is_type = |need: &&Key| need.class == catalog::TYPE && is_temporary(need);
    let loses_a_part = |model: &Model| match model {
        Model::Domain(_) => !model.common().needs().iter().any(|need| is_type(&need)),
        Model::Constraint(_) => false,
        other => has_parts(other),
    };
    if states.all(|is_over| is_over) && !pair.states().any(loses_a_part) {
        return Ok(true);
    }
    let why = "an object with a part that depends on temporary objects";
    Err(Unhandled::new(TEMPORARY, why))
}

/// False for members of extensions that are created and dropped with these, and for everything of our own
/// extension. Changes of a member by a user (its privileges, for example) count; an extension's script is not
/// examined.
pub(super) fn is_the_users(pair: Pair<'_>) -> Result<bool, Unhandled> {
    let is_own = |model: &Model| {
        matches!(model, Model::Extension(extension) if extension.is_own())
            || model.common().extension.as_deref() == Some(OWN)
    };
    if pair.states().any(is_own) {
        return Ok(false);
    }
    let member = |model: Option<&Model>| model.map(|model| model.common().extension.clone());
    match (member(pair.before), member(pair.after)) {
        (Some(Some(_)), None) | (None, Some(Some(_))) => Ok(false),
        (Some(before), Some(after)) if before != after => Err(Unhandled::new(
            "extension",
            "its extension membership has changed",
        )),
        _ => Ok(true),
    }
}

/// True for dependents that were created or dropped with a member of an extension: the indexes and the
/// constraints of a table, which are not members themselves.
pub(super) fn is_part_of_member(pair: Pair<'_>, before: &States, after: &States) -> bool {
    let (model, here, elsewhere) = match (pair.before, pair.after) {
        (Some(model), None) => (model, before, after),
        (None, Some(model)) => (model, after, before),
        _ => return false,
    };
    let is_member = |key: &Key| {
        let other = here.get(*key);
        other.is_some_and(|other| other.common().extension.is_some())
            && elsewhere.get(*key).is_none()
    };
    model.dropped_with().iter().any(is_member)
}
