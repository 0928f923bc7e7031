//! Values as JSON; the reading itself is tested on a server (`tests/clusters/changes.rs`).

use super::*;

#[test]
fn any_value_becomes_json() {
    let pairs: Vec<Pair<'_>> = vec![
        (b"id".as_slice().into(), Value::text("1")),
        (b"a \"b\"\\".as_slice().into(), Value::Null),
        (b"t".as_slice().into(), Value::text("a\n\t\x01\u{e4}/'\"")),
        (b"l".as_slice().into(), Value::text(b"\xe4\xff".as_slice())),
    ];
    let expected = [
        b"{\"id\": \"1\", \"a \\\"b\\\"\\\\\": null, \"t\": \"a\\u000a\\u0009\\u0001\xc3\xa4/'\\\"\", \"l\": \"".as_slice(),
        b"\xe4\xff\"}",
    ];
    assert_eq!(object(&pairs), expected.concat());
    assert_eq!(object(&[]), b"{}");
}

#[test]
fn a_key_is_whole_or_none() {
    let pairs: Vec<Pair<'_>> = vec![
        (b"a".as_slice().into(), Value::text("1")),
        (b"b".as_slice().into(), Value::text("2")),
    ];
    let key = |columns: &[&str]| {
        let columns: Vec<Vec<u8>> = columns.iter().map(|c| c.as_bytes().to_vec()).collect();
        key_in(&columns, &pairs)
    };
    assert_eq!(key(&["b"]).as_deref(), Some(b"{\"b\": \"2\"}".as_slice()));
    assert_eq!(key(&["b", "c"]), None);
    assert_eq!(key(&[]), None);
}

#[test]
fn operations_are_named_in_any_case() {
    assert_eq!(
        Wanted::parse("Delete"),
        Some(Wanted::Rows(Operation::Delete))
    );
    assert_eq!(Wanted::parse("ddl"), Some(Wanted::Ddl));
    assert_eq!(Wanted::parse("ALTER TABLE"), None);
}
