//! Statements about objects over this extension's own: not replayed, and noted, with what was left out.

use super::super::frames::RunningStatement;
use super::super::history::{Object, Record, WrittenRow};
use crate::output_plugin::history::LEFT_OUT;
use crate::pg::ddl;
use crate::pg::ddl::node::Sql;

/// All that the statement made is over ours. What it replaced may have stood without us, and goes now with
/// all that needs it: that is over ours too, and left out from here on.
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
    // Behind the row's last word: the next row that comes releases it.
    note(row.query(), &objects);
}

/// A row for each of them, with the statement that it came from.
fn note(query: &Sql, objects: &[Object]) {
    let Some(history) = ddl::history::find() else {
        return;
    };
    for object in objects {
        let named = [&object.object_type[..], b" ", &object.identity].concat();
        let text = [&named[..], b"\n", query].concat();
        WrittenRow::insert(history, Record::note(LEFT_OUT, query.clone(), text), None);
    }
}

/// An event trigger's identity of a trigger, a rule or a policy names the table, as DROP does.
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
