//! Tests of `wording`.

use super::*;

fn shown(text: &str) -> Vec<(Part, &str)> {
    let all = parts(text.as_bytes()).into_iter();
    all.map(|(part, place)| (part, text[place].trim()))
        .collect()
}

#[test]
fn what_pg_restore_adds_is_found_behind_a_definition() {
    use Part::{Definition, Owner, Setting, Tablespace};
    let body = "CREATE FUNCTION public.f() RETURNS int LANGUAGE sql AS $$ SELECT 1; ALTER TABLE t OWNER TO x; $$;";
    let atomic =
        "CREATE FUNCTION public.f() RETURNS int\n    BEGIN ATOMIC\n SELECT 1;\n SELECT 2;\nEND;";
    for definition in [
        body,
        atomic,
        "COMMENT ON TABLE t IS 'x; ALTER TABLE t OWNER TO y;\n';",
    ] {
        let owner = "ALTER FUNCTION public.f() OWNER TO \"a; OWNER TO b\";";
        let tablespace = "SET default_tablespace = \"x;\";";
        let method = "SET default_table_access_method = heap;";
        assert_eq!(shown(definition), [(Definition, definition)]);
        assert_eq!(
            shown(&format!("{tablespace}\n\n{method}\n\n{definition}\n")),
            [
                (Tablespace, tablespace),
                (Setting, method),
                (Definition, definition)
            ]
        );
        assert_eq!(
            shown(&format!(
                "{definition}\n\n\n{owner}\n\n{tablespace}\n\n{method}\n\n"
            )),
            [
                (Definition, definition),
                (Owner, owner),
                (Tablespace, tablespace),
                (Setting, method)
            ]
        );
    }
    let two = "ALTER LARGE OBJECT 1 OWNER TO a;";
    assert_eq!(
        shown(&format!("SELECT lo_create('1');\n\n{two}\n{two}\n")).len(),
        3
    );
    let of_partitions = "ALTER TABLE a.b SET ACCESS METHOD c;";
    assert_eq!(
        shown(&format!("CREATE TABLE x ();\n{of_partitions}"))[1],
        (Setting, of_partitions)
    );
    assert_eq!(
        shown("SET default_tablespace = '';"),
        [(Tablespace, "SET default_tablespace = '';")]
    );
    // Behind rows it comes without the end.
    assert_eq!(
        shown("SET default_tablespace = \"a;\""),
        [(Tablespace, "SET default_tablespace = \"a;\"")]
    );
}

fn renamed(text: &str) -> String {
    let rename = |name: &[u8]| (name == b"Old; x").then(|| b"new".to_vec());
    let text = text.replace('@', "\"Old; x\"");
    let out = with_roles(text.as_bytes(), &rename);
    String::from_utf8(out.unwrap_or(b"unchanged".to_vec())).unwrap()
}

#[test]
fn a_role_gets_its_other_name_where_a_role_is_named() {
    for text in [
        "ALTER TABLE a.b OWNER TO @",
        "GRANT SELECT ON TABLE \"TO\" TO a, @ WITH GRANT OPTION",
        "REVOKE ALL ON FUNCTION f(a \"x TO y\") FROM @ CASCADE",
        "SET SESSION AUTHORIZATION @; GRANT SELECT(a) ON TABLE b TO PUBLIC; RESET SESSION AUTHORIZATION;",
        "SET LOCAL ROLE @;",
        "ALTER DEFAULT PRIVILEGES FOR ROLE @ IN SCHEMA s GRANT SELECT ON TABLES TO b, @",
        "CREATE POLICY p ON a.t AS RESTRICTIVE FOR SELECT TO b, @ USING ((x = 'TO @'::text))",
        "ALTER POLICY p ON a.t TO @ USING (true)",
        "CREATE USER MAPPING FOR @ SERVER s OPTIONS (\"user\" '@')",
        "ALTER ROLE @ IN DATABASE d SET a TO '@'",
        "DO $do$BEGIN EXECUTE pg_catalog.format('GRANT CONNECT ON DATABASE %I TO @', pg_catalog.current_database()); END$do$",
    ] {
        let expected = text.replace("'TO @'", "'TO \"Old; x\"'").replace("'@'", "'\"Old; x\"'");
        assert_eq!(renamed(text), expected.replace('@', "\"new\""), "{text}");
    }
    for text in [
        "CREATE VIEW v AS SELECT @",
        "ALTER TABLE a RENAME TO @",
        "ALTER POLICY p ON t RENAME TO @",
        "COMMENT ON ROLE @ IS 'OWNER TO @'",
        "CREATE FUNCTION f() AS $$ GRANT a TO @; $$",
    ] {
        assert_eq!(renamed(text), "unchanged", "{text}");
    }
}

#[test]
fn a_tablespace_is_left_out_where_it_is_asked_for() {
    let cut = |text: &str| {
        let out = without_tablespace(text.as_bytes(), &|name| name == b"t s");
        out.map(|out| out.map(|out| String::from_utf8(out).unwrap()))
    };
    let kept = |text: &str| Some(Some(text.to_owned()));
    assert_eq!(
        cut("CREATE TABLE a (b int) TABLESPACE \"t s\""),
        kept("CREATE TABLE a (b int)")
    );
    assert_eq!(
        cut("CREATE INDEX i ON a (b) TABLESPACE \"t s\" WHERE (b > 1)"),
        kept("CREATE INDEX i ON a (b) WHERE (b > 1)")
    );
    assert_eq!(
        cut("ALTER TABLE ONLY a ADD CONSTRAINT k PRIMARY KEY (b) USING INDEX TABLESPACE \"t s\" DEFERRABLE"),
        kept("ALTER TABLE ONLY a ADD CONSTRAINT k PRIMARY KEY (b) DEFERRABLE")
    );
    assert_eq!(cut("ALTER TABLE a SET TABLESPACE \"t s\""), Some(None));
    for text in [
        "CREATE TABLE a (tablespace \"t s\")",
        "CREATE MATERIALIZED VIEW m AS SELECT tablespace \"t s\" FROM x",
        "CREATE TABLE a () TABLESPACE other",
        "COMMENT ON TABLE a IS 'TABLESPACE \"t s\"'",
    ] {
        assert_eq!(cut(text), None, "{text}");
    }
}

#[test]
fn leakproof_is_no_part_of_a_body() {
    let text = b"CREATE FUNCTION f() RETURNS int LANGUAGE sql LEAKPROOF AS $$ SELECT leakproof $$";
    let without = without_leakproof(text).unwrap();
    assert_eq!(
        without,
        b"CREATE FUNCTION f() RETURNS int LANGUAGE sql  AS $$ SELECT leakproof $$"
    );
    assert_eq!(without_leakproof(&without), None);
    assert!(replacing(text).starts_with(b"CREATE OR REPLACE FUNCTION f()"));
}

#[test]
fn an_owner_is_named_by_its_own_statement_only() {
    assert_eq!(
        owner_of(b"ALTER VIEW a.b OWNER TO \"x\";"),
        Some(b"x".to_vec())
    );
    assert_eq!(owner_of(b"CREATE VIEW owner AS SELECT OWNER TO x"), None);
    assert_eq!(owner_of(b"ALTER TABLE a RENAME TO x"), None);
}
