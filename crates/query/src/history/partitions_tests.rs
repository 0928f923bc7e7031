#![allow(clippy::unwrap_used)]

use super::super::names::{table_of, Past};
use super::*;

/// Each statement at the position of its number.
fn past(statements: &[&str]) -> Past {
    let mut past = Past::default();
    for (nth, statement) in statements.iter().enumerate() {
        let ddl = Ddl::read(statement.as_bytes(), b"");
        let place = (0, nth as u64);
        past.renames.extend(ddl.rename().map(|it| (place, it)));
        past.memberships
            .extend(ddl.membership().map(|it| (place, it)));
    }
    past
}

fn table(name: &str, is_ancestor: bool) -> Table {
    Table {
        name: TableName {
            schema: b"public".to_vec(),
            table: name.into(),
        },
        columns: vec![b"id".to_vec()],
        is_ancestor,
    }
}

/// After which of the statements a table of this name is searched.
fn searched(tables: &[Table], statements: &[&str], name: &str) -> Vec<u64> {
    let names = Names::over_time(tables, &past(statements));
    let written = format!("public.{name}");
    let is_found = |nth: &u64| table_of(&names, written.as_bytes(), (0, nth + 1)).is_some();
    (0..statements.len() as u64).filter(is_found).collect()
}

#[test]
fn a_partition_is_searched_while_it_is_one() {
    let statements = [
        "CREATE TABLE public.a (id integer)",
        "ALTER TABLE ONLY public.t ATTACH PARTITION public.a FOR VALUES FROM (0) TO (10)",
        "ALTER TABLE public.a RENAME TO b",
        "ALTER TABLE ONLY public.t DETACH PARTITION public.b",
        "CREATE TABLE public.c PARTITION OF public.t DEFAULT",
        "DROP TABLE public.c",
        "CREATE TABLE public.c (id integer)",
        // It was there before the files began.
        "ALTER TABLE public.old RENAME TO older",
        "ALTER TABLE public.t DETACH PARTITION public.older CONCURRENTLY",
        // A partition of another table, and one of today.
        "ALTER TABLE ONLY public.other ATTACH PARTITION public.x DEFAULT",
        "ALTER TABLE ONLY public.t ATTACH PARTITION public.now FOR VALUES FROM (20) TO (30)",
    ];
    let tables = [table("t", false), table("now", false)];
    let found = |name| searched(&tables, &statements, name);
    assert_eq!(found("a"), [1]);
    assert_eq!(found("b"), [2]);
    assert_eq!(found("c"), [4]);
    assert_eq!(found("old"), [0, 1, 2, 3, 4, 5, 6]);
    assert_eq!(found("older"), [7]);
    assert!(found("x").is_empty());
    assert_eq!(found("now").len(), statements.len());
}

#[test]
fn partitions_of_a_partition_go_with_it_and_those_of_an_ancestor_are_not_asked_for() {
    let statements = [
        "ALTER TABLE ONLY public.t ATTACH PARTITION public.p FOR VALUES FROM (0) TO (10)",
        "ALTER TABLE ONLY public.p ATTACH PARTITION public.q DEFAULT",
        "ALTER TABLE ONLY public.t RENAME COLUMN number TO id",
        "ALTER TABLE ONLY public.t DETACH PARTITION public.p",
    ];
    let below = [table("t", false)];
    assert_eq!(searched(&below, &statements, "q"), [1, 2]);
    let names = Names::over_time(&below, &past(&statements));
    let of_q = |place| &names[table_of(&names, b"public.q", place).unwrap()];
    assert_eq!(of_q((0, 2)).at((0, 2)).columns, [b"number".to_vec()]);
    assert_eq!(of_q((0, 3)).at((0, 3)).columns, [b"id".to_vec()]);
    let leaf = [table("leaf", false), table("t", true)];
    assert!(searched(&leaf, &statements, "p").is_empty());
}
