//! Statements on objects that depend on this extension's own: not replayed, but recorded with the objects
//! that are left out.

use super::super::ddl_history::{Object, Record, WrittenRow};
use super::super::running::RunningStatement;
use crate::output_plugin::ddl_history::LEFT_OUT;
use crate::pg::ddl;
use crate::pg::ddl::node::Sql;

/// All objects that the statement created depend on ours. An object that it replaced may not have, and is
/// left out from now on, with all objects that need it.
pub fn leave_out(row: &mut WrittenRow, frame: &mut RunningStatement) {
    let objects = std::mem::take(&mut frame.over_ours);
    row.expect_nothing();
    if frame.replaces {
        let drops: Vec<Sql> = objects.iter().map(drop_if_exists).collect();
        row.replace_replay(drops.join(b"\n; ".as_slice()));
        row.complete();
    } else {
        row.cancel();
    }
    // After the row's completion: the next row releases it.
    note(row.query(), &objects);
}

/// A row for each of them, with the statement that created it.
fn note(query: &Sql, objects: &[Object]) {
    let Some(history) = ddl::ddl_history::find() else {
        return;
    };
    for object in objects {
        let named = [&object.object_type[..], b" ", &object.identity].concat();
        let text = [&named[..], b"\n", query].concat();
        WrittenRow::insert(history, Record::note(LEFT_OUT, query.clone(), text), None);
    }
}

/// The identity of a trigger, a rule or a policy in an event trigger names the table, as in DROP.
fn drop_if_exists(object: &Object) -> Sql {
    let kind = object.object_type.to_ascii_uppercase();
    [
        b"DROP ",
        &kind[..],
        b" IF EXISTS ",
        &object.identity,
        b" CASCADE",
    ]
    .concat()
}
