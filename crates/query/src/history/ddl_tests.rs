use super::*;

fn block(path: &str, statement: &str) -> Vec<u8> {
    format!(
        "SET LOCAL ROLE bob; SET LOCAL search_path = {path};\n{statement}\n;\n\
         SET LOCAL ROLE NONE; SET LOCAL search_path = '';"
    )
    .into_bytes()
}

fn name(schema: &str, table: &str) -> TableName {
    TableName {
        schema: schema.into(),
        table: table.into(),
    }
}

#[test]
fn a_statement_comes_out_of_its_block() {
    let text = block("\"$user\", \"A b\"", "CREATE TABLE t(\n  a int);\n;");
    let ddl = Ddl::read(&text, b"bob");
    assert_eq!(ddl.statement, b"CREATE TABLE t(\n  a int);\n;");
    assert_eq!(ddl.search_path, [b"bob".to_vec(), b"A b".to_vec()]);
}

#[test]
fn a_table_is_named_by_its_schema_or_the_search_path() {
    for (path, statement, named) in [
        ("public", "ALTER TABLE Orders ADD x int", true),
        ("other", "ALTER TABLE orders ADD x int", false),
        ("''", "ALTER TABLE public . orders ADD x int", true),
        ("public", "ALTER TABLE other.orders ADD x int", false),
        ("public", "ALTER TABLE \"Orders\" ADD x int", false),
        ("public", "ALTER TABLE x ADD y text DEFAULT 'orders'", false),
        ("public", "ALTER TABLE x ADD y int -- orders", false),
        ("public", "/* orders /* */ orders */ DROP TABLE x", false),
        ("public", "DROP TABLE a, b, orders", true),
        ("public", "SELECT $a$ orders $a$", false),
    ] {
        let text = block(path, statement);
        let ddl = Ddl::read(&text, b"bob");
        assert_eq!(
            ddl.names("ALTER TABLE", &name("public", "orders")),
            named,
            "{statement}"
        );
    }
    let text = block("''", "DROP SCHEMA shop CASCADE");
    let ddl = Ddl::read(&text, b"bob");
    assert!(ddl.names("DROP SCHEMA", &name("shop", "orders")));
    assert!(!ddl.names("DROP TABLE", &name("shop", "orders")));
}

#[test]
fn what_was_renamed_is_undone() {
    let before = |statement: &str, after: &TableName| {
        let text = block("public", statement);
        let rename = Ddl::read(&text, b"bob").rename();
        rename.map(|rename| rename.undo(after))
    };
    let now = name("public", "orders");
    assert_eq!(
        before(
            "ALTER TABLE IF EXISTS ONLY public.bills RENAME TO orders",
            &now
        ),
        Some(name("public", "bills"))
    );
    assert_eq!(
        before("alter table Bills rename to Orders", &now),
        Some(name("public", "bills"))
    );
    assert_eq!(
        before(
            "ALTER TABLE bills RENAME TO orders",
            &name("other", "orders")
        ),
        Some(name("other", "orders"))
    );
    assert_eq!(
        before("ALTER TABLE old.orders SET SCHEMA public", &now),
        Some(name("old", "orders"))
    );
    assert_eq!(
        before("ALTER SCHEMA \"Old\" RENAME TO public", &now),
        Some(name("Old", "orders"))
    );
    assert_eq!(
        before("ALTER TABLE orders RENAME CONSTRAINT a TO b", &now),
        None
    );
    assert_eq!(before("ALTER TABLE orders ADD rename int", &now), None);
    let text = block("public", "ALTER TABLE orders RENAME nr TO id");
    let rename = Ddl::read(&text, b"bob").rename();
    let column = rename.and_then(|rename| rename.undo_column(&now, b"id"));
    assert_eq!(column, Some(b"nr".to_vec()));
}
