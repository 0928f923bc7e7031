//! incr_check(): what the database needs to be backed up.

use pgrx::prelude::*;

use super::{ensure_same_version, or_raise};
use crate::backup::prerequisites;
use crate::pg::text::ServerText;

/// Everything that this database needs to be backed up, whether it is there or not, and what is a risk: one row each. State
/// is `ok`, `note`, `warning` or `missing`; `todo` is what to write, a statement where there is one. It can be called before
/// anything is set up, and changes nothing.
#[pg_extern(stable, parallel_unsafe)]
#[search_path(pg_catalog, pg_temp)]
#[allow(clippy::type_complexity)]
fn incr_check() -> TableIterator<
    'static,
    (
        name!(name, ServerText),
        name!(state, ServerText),
        name!(found, ServerText),
        name!(todo, Option<ServerText>),
        name!(needs_restart, bool),
    ),
> {
    ensure_same_version();
    let rows = or_raise(prerequisites::rows());
    TableIterator::new(rows.into_iter().map(|row| {
        (
            row.name.into(),
            row.state.name().into(),
            ServerText::from_utf8(&row.found),
            row.todo().map(|todo| ServerText::from_utf8(&todo)),
            row.needs_restart,
        )
    }))
}
