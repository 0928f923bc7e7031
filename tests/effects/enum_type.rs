//! Enum types.

use crate::follow::Pair;

#[test]
fn enums() {
    let mut pair = Pair::new();
    pair.follow(&[
        "CREATE TYPE public.e AS ENUM ('b', 'it''s', 'Ä \"x\"')",
        "CREATE TYPE public.none AS ENUM ()",
        "ALTER TYPE public.e ADD VALUE 'a' BEFORE 'b'",
        "ALTER TYPE public.e ADD VALUE 'c' AFTER 'b'",
        "ALTER TYPE public.e ADD VALUE 'z'; ALTER TYPE public.e ADD VALUE '0' BEFORE 'a'; ALTER TYPE public.e ADD VALUE '00' BEFORE 'a'",
        "ALTER TYPE public.none ADD VALUE 'first'; ALTER TYPE public.none ADD VALUE 'zeroth' BEFORE 'first'",
        "ALTER TYPE public.e RENAME VALUE 'it''s' TO 'its'",
        "ALTER TYPE public.e RENAME VALUE 'a' TO 't'; ALTER TYPE public.e RENAME VALUE 'b' TO 'a'; ALTER TYPE public.e RENAME VALUE 't' TO 'b'; ALTER TYPE public.e ADD VALUE 't'",
        "CREATE SCHEMA \"S x\"; GRANT USAGE ON SCHEMA \"S x\" TO bob",
        "ALTER TYPE public.e SET SCHEMA \"S x\"; ALTER TYPE \"S x\".e RENAME TO \"select\"",
        "ALTER TYPE \"S x\".\"select\" OWNER TO alice",
        "COMMENT ON TYPE \"S x\".\"select\" IS 'e'",
        "GRANT USAGE ON TYPE \"S x\".\"select\" TO bob WITH GRANT OPTION; REVOKE USAGE ON TYPE \"S x\".\"select\" FROM PUBLIC",
        "SET SESSION AUTHORIZATION bob; GRANT USAGE ON TYPE \"S x\".\"select\" TO \"Odd role\"",
        "REVOKE ALL ON TYPE \"S x\".\"select\" FROM bob CASCADE",
        "COMMENT ON TYPE \"S x\".\"select\" IS NULL",
        "DROP TYPE \"S x\".\"select\"; CREATE TYPE \"S x\".\"select\" AS ENUM ('new')",
        // Names that change round.
        "ALTER TYPE public.none RENAME TO t; CREATE TYPE public.none AS ENUM ('other')",
        "CREATE FUNCTION public.f(\"S x\".\"select\"[]) RETURNS int LANGUAGE sql RETURN 1",
        "DROP TYPE \"S x\".\"select\" CASCADE",
        "CREATE TYPE public.used AS ENUM ('a'); CREATE FUNCTION public.f() RETURNS public.used LANGUAGE sql RETURN 'a'::public.used",
        "DROP FUNCTION public.f(); DROP TYPE public.used, public.t",
        "ALTER DEFAULT PRIVILEGES GRANT USAGE ON TYPES TO bob; CREATE TYPE public.granted AS ENUM ('a'); ALTER DEFAULT PRIVILEGES REVOKE USAGE ON TYPES FROM bob",
    ]);
    pair.follow_touching(&["schema"], &["ALTER SCHEMA \"S x\" RENAME TO s"]);
    pair.assert_unhandled("COMMENT ON TYPE public._granted IS 'an array'", "type");
}
