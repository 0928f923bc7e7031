//! What a part needs.

use super::*;

const TABLE: Key = Key::new(catalog::CLASS, 20000);
const OTHER: Key = Key::new(catalog::CLASS, 20001);
const VIEW: Key = Key::new(catalog::CLASS, 20002);
const RULE: Key = Key::new(catalog::REWRITE, 20003);
const INDEX: Key = Key::new(catalog::CLASS, 20004);
const DOMAIN: Key = Key::new(catalog::TYPE, 20005);
const CHECK: Key = Key::new(catalog::CONSTRAINT, 20006);
const FOREIGN: Key = Key::new(catalog::CONSTRAINT, 20007);
const OF_EXTENSION: Key = Key::new(catalog::TYPE, 20008);
const EXTENSION: Key = Key::new(catalog::EXTENSION, 20009);

fn graph() -> Graph {
    let mut graph = Graph::default();
    for (key, kind) in [(TABLE, "r"), (OTHER, "r"), (VIEW, "v"), (INDEX, "i")] {
        graph.kinds.insert(key.oid, kind.to_owned());
    }
    for (from, to, kind) in [
        (TABLE, PUBLIC, "n"),
        (TABLE, DOMAIN, "n"),
        (TABLE, OF_EXTENSION, "n"),
        (OF_EXTENSION, EXTENSION, "e"),
        (CHECK, DOMAIN, "a"),
        (INDEX, TABLE, "a"),
        (FOREIGN, TABLE, "a"),
        (FOREIGN, OTHER, "n"),
        (RULE, VIEW, "i"),
        (RULE, TABLE, "n"),
    ] {
        graph
            .onto
            .entry(to)
            .or_default()
            .push((from, kind.to_owned()));
        let edge = Edge {
            to,
            kind: kind.to_owned(),
        };
        graph.from.entry(from).or_default().push(edge);
    }
    graph.foreign_keys.push(ForeignKey {
        oid: FOREIGN.oid,
        table: TABLE.oid,
        refers_to: OTHER.oid,
        name: "f on t".to_owned(),
        to_name: "other".to_owned(),
    });
    graph
}

#[test]
fn a_table_comes_with_what_belongs_to_it_and_what_it_needs() {
    let members = graph().members(&[TABLE.oid].into(), &BTreeSet::new(), true);
    assert_eq!(members.own, [TABLE, INDEX].into());
    assert_eq!(members.others, [PUBLIC, DOMAIN, CHECK].into());
    assert_eq!(members.extensions, [EXTENSION.oid].into());
    assert_eq!(
        members.left_out,
        ["foreign key f on t: other is not in the part"]
    );
    let both = graph().members(&[TABLE.oid, OTHER.oid].into(), &BTreeSet::new(), true);
    assert!(both.own.contains(&FOREIGN) && both.left_out.is_empty());
}

#[test]
fn rows_that_others_refer_to_come_first() {
    let relation = |key: Key| Relation {
        oid: key.oid,
        kind: "r".to_owned(),
        written: String::new(),
        name: String::new(),
        root: key.oid,
        is_by_root: false,
    };
    let sorted = |graph: &Graph| {
        let sorted = graph.referenced_first(&[relation(TABLE), relation(OTHER)]);
        sorted.iter().map(|it| it.oid).collect::<Vec<_>>()
    };
    let mut graph = graph();
    assert_eq!(sorted(&graph), [OTHER.oid, TABLE.oid]);
    let back = ForeignKey {
        table: OTHER.oid,
        refers_to: TABLE.oid,
        ..graph.foreign_keys[0].clone()
    };
    graph.foreign_keys.push(back);
    assert_eq!(sorted(&graph), [TABLE.oid, OTHER.oid]);
}

#[test]
fn what_a_view_reads_is_needed_without_what_belongs_to_it() {
    let graph = graph();
    let members = graph.members(&[VIEW.oid].into(), &BTreeSet::new(), true);
    assert_eq!(members.own, [VIEW, RULE].into());
    assert!(members.others.contains(&TABLE) && !members.others.contains(&INDEX));
    assert_eq!(graph.needed_relations(&members), [TABLE.oid]);
}
