//! Schemas and functions: the classes that show the shape.

use crate::follow::Pair;

#[test]
fn schemas() {
    Pair::new().follow(&[
        "CREATE SCHEMA a",
        "CREATE SCHEMA \"Odd \"\"name\" AUTHORIZATION alice",
        "ALTER SCHEMA a RENAME TO b",
        "COMMENT ON SCHEMA b IS 'it''s \\n'",
        "GRANT USAGE ON SCHEMA b TO bob WITH GRANT OPTION",
        "SET SESSION AUTHORIZATION bob; GRANT USAGE ON SCHEMA b TO alice",
        "ALTER SCHEMA b OWNER TO alice",
        "REVOKE ALL ON SCHEMA b FROM bob CASCADE",
        "ALTER DEFAULT PRIVILEGES GRANT USAGE ON SCHEMAS TO bob; ALTER DEFAULT PRIVILEGES REVOKE USAGE ON SCHEMAS FROM bob",
        "DROP SCHEMA \"Odd \"\"name\", b",
    ]);
}

#[test]
fn functions() {
    let mut pair = Pair::new();
    pair.follow(&[
        "CREATE FUNCTION public.f(a int, b text DEFAULT 'x') RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE PROCEDURE public.p(INOUT a int) LANGUAGE sql BEGIN ATOMIC SELECT 1; END",
        "CREATE OR REPLACE FUNCTION public.f(a int, b text DEFAULT 'y') RETURNS int LANGUAGE sql SET search_path = a, public STABLE AS 'SELECT 2'",
        "ALTER FUNCTION public.f OWNER TO alice",
        "GRANT EXECUTE ON FUNCTION public.f TO bob; REVOKE ALL ON FUNCTION public.f FROM PUBLIC",
        "COMMENT ON PROCEDURE public.p IS 'p'",
        "CREATE SCHEMA s",
        "ALTER FUNCTION public.f SET SCHEMA s; ALTER FUNCTION s.f RENAME TO g",
        "CREATE FUNCTION public.a() RETURNS int LANGUAGE sql RETURN 1; CREATE FUNCTION public.b() RETURNS int LANGUAGE sql RETURN public.a()",
        "DROP FUNCTION public.a CASCADE",
    ]);
    pair.follow_touching(&["schema"], &["ALTER SCHEMA s RENAME TO t"]);
    pair.follow(&["DROP SCHEMA t CASCADE"]);
}
