//! Composite types.

use crate::follow::Pair;

#[test]
fn composites() {
    let mut pair = Pair::new();
    pair.follow(&[
        "CREATE TYPE public.c AS (a int, b varchar(10) COLLATE \"C\", \"C x\" numeric(8,2)[])",
        "CREATE TYPE public.empty AS ()",
        "ALTER TYPE public.empty ADD ATTRIBUTE \"select\" text",
        "ALTER TYPE public.c ADD ATTRIBUTE d text COLLATE \"POSIX\", DROP ATTRIBUTE a",
        "ALTER TYPE public.c ALTER ATTRIBUTE b TYPE text COLLATE \"POSIX\", ALTER ATTRIBUTE d TYPE int",
        "ALTER TYPE public.c RENAME ATTRIBUTE b TO x; ALTER TYPE public.c RENAME ATTRIBUTE d TO b; ALTER TYPE public.c RENAME ATTRIBUTE x TO d",
        "ALTER TYPE public.c DROP ATTRIBUTE b; ALTER TYPE public.c RENAME ATTRIBUTE d TO b; ALTER TYPE public.c ADD ATTRIBUTE d date",
        "COMMENT ON COLUMN public.c.\"C x\" IS 'column'; COMMENT ON TYPE public.c IS 'type'",
        "COMMENT ON COLUMN public.c.\"C x\" IS NULL",
        "GRANT USAGE ON TYPE public.c TO bob WITH GRANT OPTION; REVOKE ALL ON TYPE public.c FROM PUBLIC",
        "ALTER TYPE public.c OWNER TO alice",
        "CREATE SCHEMA s",
        "ALTER TYPE public.c SET SCHEMA s; ALTER TYPE s.c RENAME TO \"C c\"",
        "CREATE TYPE public.over AS (c s.\"C c\", l s.\"C c\"[]); COMMENT ON COLUMN public.over.l IS 'l'",
        "ALTER TYPE s.\"C c\" RENAME TO c",
        "CREATE FUNCTION public.f(s.c) RETURNS SETOF public.over LANGUAGE sql AS 'SELECT null, null'",
        "CREATE DOMAIN public.d AS s.c; CREATE TYPE public.of_domain AS (d public.d)",
        // The attribute goes, the type stays.
        "DROP DOMAIN public.d CASCADE",
        "DROP TYPE s.c CASCADE",
        "DROP TYPE public.over CASCADE; CREATE TYPE public.over AS (a int)",
        "ALTER TYPE public.over RENAME TO old; CREATE TYPE public.over AS (old public.old); COMMENT ON TYPE public.over IS 'new'",
        "DROP TYPE public.over, public.old",
    ]);
    pair.follow(&["CREATE TYPE public.of_table AS (a int)"]);
    pair.both("CREATE TABLE public.t OF public.of_table");
    pair.follow(&["COMMENT ON TYPE public.of_table IS 'with a table'"]);
    pair.follow(&["ALTER TYPE public.of_table ADD ATTRIBUTE b text CASCADE"]);
    pair.both("DROP TABLE public.t");
    pair.follow(&["ALTER TYPE public.of_table ADD ATTRIBUTE c text"]);
}
