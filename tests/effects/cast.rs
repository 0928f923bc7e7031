//! Casts, collations and conversions.

use crate::follow::Pair;

#[test]
fn casts() {
    let mut pair = Pair::new();
    pair.follow(&[
        "CREATE TYPE public.e AS ENUM ('a'); CREATE TYPE public.\"C x\" AS (a int)",
        "CREATE FUNCTION public.to_int(public.e) RETURNS int LANGUAGE sql IMMUTABLE RETURN 1; CREATE CAST (public.e AS int) WITH FUNCTION public.to_int(public.e) AS IMPLICIT",
        "CREATE CAST (public.\"C x\" AS text) WITH INOUT AS ASSIGNMENT; COMMENT ON CAST (public.\"C x\" AS text) IS 'c'",
        "COMMENT ON CAST (public.\"C x\" AS text) IS NULL",
        "ALTER TYPE public.e RENAME TO \"E e\"; ALTER FUNCTION public.to_int RENAME TO \"select\"",
        "DROP CAST (public.\"E e\" AS int); CREATE CAST (public.\"E e\" AS int) WITH INOUT; CREATE CAST (bytea AS text) WITHOUT FUNCTION",
        "DROP FUNCTION public.\"select\"; DROP CAST (public.\"E e\" AS int)",
        "CREATE FUNCTION public.f(int, int, bool) RETURNS public.\"E e\" LANGUAGE sql IMMUTABLE RETURN 'a'::public.\"E e\"; CREATE CAST (int AS public.\"E e\") WITH FUNCTION public.f(int, int, bool)",
        "DROP TYPE public.\"E e\" CASCADE; DROP TYPE public.\"C x\" CASCADE",
    ]);
}

#[test]
fn collations() {
    let mut pair = Pair::new();
    pair.follow(&[
        "CREATE COLLATION public.c (LOCALE = 'C')",
        "CREATE COLLATION public.\"Two x\" (LC_COLLATE = 'C', LC_CTYPE = 'POSIX')",
        "CREATE COLLATION public.copied FROM \"C\"; COMMENT ON COLLATION public.copied IS 'it''s'",
        "ALTER COLLATION public.copied RENAME TO \"select\"; ALTER COLLATION public.\"select\" OWNER TO alice",
        "CREATE SCHEMA s",
        "ALTER COLLATION public.\"Two x\" SET SCHEMA s",
        "CREATE TYPE public.t AS (a text COLLATE s.\"Two x\"); CREATE DOMAIN public.d AS text COLLATE public.c",
        "CREATE TYPE public.r AS RANGE (subtype = text, collation = public.c)",
        "ALTER COLLATION public.c RENAME TO c2; ALTER TYPE public.t ALTER ATTRIBUTE a TYPE text COLLATE public.c2",
        "DROP COLLATION public.c2 CASCADE",
        "DROP COLLATION s.\"Two x\"",
    ]);
    let has_icu = "SELECT count(*) > 0 FROM pg_collation WHERE collname = 'de-x-icu'";
    if pair.cluster.sql_in("postgres", has_icu).trim() == "t" {
        pair.follow(&[
            "CREATE COLLATION public.icu (PROVIDER = icu, LOCALE = 'de-u-co-phonebk', DETERMINISTIC = false)",
            "CREATE DOMAIN public.icu_text AS text COLLATE public.icu",
            "ALTER COLLATION public.icu REFRESH VERSION",
        ]);
    }
    let version = pair.cluster.sql_in("postgres", "SHOW server_version_num");
    if version.trim() >= "170000" {
        pair.follow(&["CREATE COLLATION public.builtin (PROVIDER = builtin, LOCALE = 'C.UTF-8')"]);
    }
}

#[test]
fn conversions() {
    let mut pair = Pair::new();
    pair.follow(&[
        "CREATE CONVERSION public.c FOR 'LATIN1' TO 'UTF8' FROM iso8859_1_to_utf8",
        "CREATE DEFAULT CONVERSION public.\"D x\" FOR 'UTF8' TO 'LATIN1' FROM utf8_to_iso8859_1",
        "COMMENT ON CONVERSION public.c IS 'it''s'; ALTER CONVERSION public.c OWNER TO alice",
        "CREATE SCHEMA s",
        "ALTER CONVERSION public.c RENAME TO \"select\"; ALTER CONVERSION public.\"select\" SET SCHEMA s",
        "DROP CONVERSION public.\"D x\"; CREATE CONVERSION public.\"D x\" FOR 'UTF8' TO 'LATIN1' FROM utf8_to_iso8859_1",
        "DROP CONVERSION s.\"select\"",
        "CREATE FUNCTION public.f(integer, integer, cstring, internal, integer, boolean) RETURNS integer LANGUAGE c STRICT AS '$libdir/utf8_and_iso8859_1', 'iso8859_1_to_utf8'; \
         CREATE CONVERSION public.by_function FOR 'LATIN1' TO 'UTF8' FROM public.f",
        "ALTER FUNCTION public.f RENAME TO g",
        "DROP FUNCTION public.g CASCADE",
    ]);
}
