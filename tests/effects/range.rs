//! Range types.

use crate::follow::Pair;

#[test]
fn ranges() {
    let mut pair = Pair::new();
    pair.follow(&[
        "CREATE TYPE public.r AS RANGE (subtype = float8, subtype_diff = float8mi)",
        "CREATE TYPE public.\"R x\" AS RANGE (subtype = text, subtype_opclass = text_pattern_ops, collation = \"C\", multirange_type_name = public.\"M x\")",
        "CREATE FUNCTION public.diff(int, int) RETURNS float8 LANGUAGE sql IMMUTABLE RETURN $1 - $2; CREATE TYPE public.ints AS RANGE (subtype = int, subtype_diff = public.diff)",
        "COMMENT ON TYPE public.r IS 'r'",
        "GRANT USAGE ON TYPE public.r TO bob WITH GRANT OPTION; REVOKE ALL ON TYPE public.r FROM PUBLIC",
        "ALTER TYPE public.r OWNER TO alice",
        "ALTER TYPE public.\"M x\" RENAME TO m",
        "CREATE SCHEMA s",
        "ALTER TYPE public.\"R x\" SET SCHEMA s; ALTER TYPE s.\"R x\" RENAME TO \"select\"; ALTER TYPE public.m SET SCHEMA s",
        "COMMENT ON TYPE s.m IS 'a multirange'",
        "CREATE FUNCTION public.f(public.r, public.r_multirange DEFAULT '{}', s.m[] DEFAULT NULL) RETURNS public.ints LANGUAGE sql RETURN public.ints(1, 2)",
        "CREATE DOMAIN public.d AS public.ints DEFAULT public.ints(1, 5)",
        "DROP TYPE public.r, public.ints CASCADE",
        "DROP TYPE s.\"select\"; CREATE TYPE s.\"select\" AS RANGE (subtype = date)",
        "CREATE TYPE public.e AS ENUM ('a'); CREATE TYPE public.over AS RANGE (subtype = public.e)",
        "ALTER TYPE public.e RENAME TO f; ALTER TYPE public.over RENAME TO f2",
        "DROP TYPE public.f CASCADE; DROP FUNCTION public.diff",
        "SET SESSION AUTHORIZATION alice; CREATE TYPE pg_temp.t AS RANGE (subtype = int)",
        "ALTER DEFAULT PRIVILEGES GRANT USAGE ON TYPES TO bob; ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC; \
         CREATE TYPE public.granted AS RANGE (subtype = int); \
         ALTER DEFAULT PRIVILEGES REVOKE USAGE ON TYPES FROM bob; ALTER DEFAULT PRIVILEGES GRANT EXECUTE ON FUNCTIONS TO PUBLIC",
    ]);
    let owners = "SELECT string_agg(typname || ' ' || typowner::regrole, ' ' ORDER BY oid) FROM pg_type WHERE oid >= 16384 AND typtype IN ('r', 'm') AND typnamespace::regnamespace::text !~ 'temp'";
    let [source, target] =
        ["source", "target"].map(|database| pair.cluster.sql_in(database, owners));
    assert_eq!(source, target);
}

#[test]
fn multiranges_have_the_owner_of_the_source() {
    let mut pair = Pair::new();
    pair.follow(&[
        "CREATE SCHEMA s AUTHORIZATION alice",
        "SET SESSION AUTHORIZATION alice; CREATE TYPE s.r AS RANGE (subtype = int)",
        "ALTER TYPE s.r OWNER TO bob",
    ]);
    let owners = "SELECT string_agg(typname || ' ' || typowner::regrole, ' ' ORDER BY oid) FROM pg_type WHERE oid >= 16384 AND typtype IN ('r', 'm')";
    let [source, target] =
        ["source", "target"].map(|database| pair.cluster.sql_in(database, owners));
    assert_eq!(source, target);
}
