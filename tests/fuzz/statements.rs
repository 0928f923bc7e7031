//! The list of all kinds of statements, and how often each is made.

use super::making::Making;
use super::{alter, code, mixed, objects, partitions, rows, tables};

/// One kind: its name in the report, its weight, whether it refuses to run in a transaction, and
/// the maker of its statements (`None`: there is nothing that it could work on).
pub struct Kind {
    pub name: &'static str,
    pub weight: usize,
    pub alone: bool,
    pub make: fn(&mut Making) -> Option<Vec<String>>,
}

/// What was made.
pub struct Made {
    pub kind: &'static str,
    pub statements: Vec<String>,
}

macro_rules! kinds {
    ($($weight:literal $alone:literal $module:ident :: $name:ident;)*) => {
        &[$(Kind {
            name: concat!(stringify!($module), "::", stringify!($name)),
            weight: $weight,
            alone: $alone,
            make: $module::$name,
        }),*]
    };
}

#[rustfmt::skip]
pub const ROWS: &[Kind] = kinds! {
    30 false rows::insert;
    8 false rows::insert_many;
    8 false rows::upsert;
    22 false rows::update;
    8 false rows::update_all;
    6 false rows::move_rows;
    14 false rows::delete;
    8 false rows::merge;
    8 false rows::copy;
    3 false rows::truncate;
    8 false objects::use_sequence;
    6 false code::call_function;
    5 false mixed::move_with_cte;
    3 false mixed::through_view;
    3 false mixed::with_cursor;
};

#[rustfmt::skip]
pub const DEFINITIONS: &[Kind] = kinds! {
    14 false tables::create;
    5 false tables::create_partitioned;
    4 false tables::create_as;
    3 false tables::create_like;
    3 false tables::create_child;
    3 false tables::create_temporary;
    4 false tables::drop;
    5 false partitions::add;
    2 false partitions::add_partitioned;
    4 false partitions::attach;
    3 false partitions::detach;
    1 true partitions::detach_concurrently;
    2 false partitions::leave_parent;
    9 false alter::add_column;
    3 false alter::add_generated_column;
    5 false alter::drop_column;
    7 false alter::change_type;
    4 false alter::rename_column;
    4 false alter::rename;
    3 false alter::set_schema;
    4 false alter::change_default;
    3 false alter::change_not_null;
    3 false alter::change_identity;
    3 false alter::change_storage;
    4 false alter::change_options;
    4 false alter::change_replica_identity;
    5 false alter::add_constraint;
    4 false alter::change_constraint;
    5 false alter::create_index;
    2 true alter::create_index_concurrently;
    3 false alter::change_index;
    1 true alter::drop_index_concurrently;
    3 true alter::rewrite;
    5 false objects::create_type;
    5 false objects::change_type;
    2 false objects::rename_or_drop_type;
    2 false objects::create_typed_table;
    4 false objects::create_view;
    3 false objects::create_materialized_view;
    3 false objects::refresh;
    3 false objects::change_view;
    3 false objects::create_sequence;
    3 false objects::change_sequence;
    2 false objects::create_schema;
    2 false objects::change_schema;
    4 false objects::comment;
    4 false objects::grant;
    3 false objects::as_another_role;
    4 false code::create_function;
    3 false code::change_function;
    5 false code::create_trigger;
    2 false code::change_trigger;
    2 false code::create_rule;
    3 false code::do_block;
    3 false mixed::explained;
    3 false mixed::prepared;
    2 false mixed::frozen_copy;
    6 false mixed::alter_at_once;
    5 false mixed::newer;
    1 false mixed::change_owners;
    4 false mixed::create_attachment;
    2 false mixed::cluster;
    2 true mixed::incr_dump;
    2 true mixed::incr_rotate;
};

/// Makes the statements of one kind from the lists; `alone` says whether those that must stand
/// outside a transaction may be chosen.
pub fn make(making: &mut Making, kinds: &[Kind], alone: bool) -> Made {
    let weight = |kind: &Kind| if kind.alone && !alone { 0 } else { kind.weight };
    for _ in 0..100 {
        let kind = &kinds[making.dice.weighted(kinds.iter().map(weight))];
        if let Some(statements) = (kind.make)(making) {
            return Made {
                kind: kind.name,
                statements,
            };
        }
    }
    Made {
        kind: "nothing fits",
        statements: vec!["SELECT 1".into()],
    }
}
