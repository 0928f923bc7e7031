//! Views.

use crate::follow::Pair;

#[test]
fn views_come_and_change() {
    let mut pair = Pair::new();
    pair.both(&[
        "CREATE TABLE public.t (a int, \"B c\" text, d numeric(5,2))",
        "CREATE FUNCTION public.f() RETURNS int LANGUAGE sql RETURN 1",
    ]);
    pair.follow(&[
        "CREATE VIEW public.v (x, \"Y \"\"z\", \"select\") AS SELECT a, \"B c\", d FROM public.t WHERE \"B c\" <> 'it''s \\n'",
        "CREATE VIEW public.\"Odd \"\"näme\" WITH (security_barrier) AS SELECT 1 AS a, 'now'::timestamp AS b, 'x' COLLATE \"C\" AS c",
        "CREATE VIEW public.checked WITH (check_option = local, security_invoker = true) AS SELECT a FROM public.t WHERE a > 0",
        "CREATE RECURSIVE VIEW public.r (n) AS VALUES (1) UNION ALL SELECT n + 1 FROM r WHERE n < 5",
        "CREATE VIEW public.w AS VALUES (1, 'a'), (2, 'b')",
        "CREATE VIEW public.empty AS SELECT",
        "COMMENT ON VIEW public.v IS 'v'; COMMENT ON COLUMN public.v.\"Y \"\"z\" IS 'y'",
        "ALTER VIEW public.v ALTER COLUMN x SET DEFAULT public.f(); ALTER VIEW public.v ALTER \"select\" SET DEFAULT 1.5",
        "ALTER VIEW public.v ALTER COLUMN x DROP DEFAULT",
        "ALTER VIEW public.v RENAME COLUMN x TO \"X\"",
        "ALTER VIEW public.v RENAME COLUMN \"X\" TO q; ALTER VIEW public.v RENAME COLUMN \"select\" TO \"X\"; ALTER VIEW public.v RENAME COLUMN q TO \"select\"",
        "ALTER VIEW public.w RENAME TO \"W\"",
        "ALTER TABLE public.v RENAME TO v1; ALTER VIEW public.\"W\" RENAME TO v",
        "ALTER VIEW public.checked SET (security_barrier, check_option = cascaded)",
        "ALTER VIEW public.checked RESET (security_barrier, check_option); ALTER VIEW public.checked SET (security_invoker = false)",
        "CREATE OR REPLACE VIEW public.checked WITH (security_barrier = true) AS SELECT a, d AS more FROM public.t WHERE a > 1",
        "CREATE OR REPLACE VIEW public.checked AS SELECT a, d AS more, \"B c\", 1 AS last FROM public.t; ALTER VIEW public.checked ALTER COLUMN last SET DEFAULT 3",
        "CREATE SCHEMA s",
        "ALTER VIEW public.checked SET SCHEMA s; ALTER VIEW s.checked RENAME TO c",
        "CREATE SCHEMA s2; ALTER VIEW s.c SET SCHEMA s2; ALTER SCHEMA s2 RENAME TO s3",
        "ALTER SCHEMA s3 RENAME TO s4; COMMENT ON VIEW s4.c IS 'moved'",
        "DROP VIEW public.v, public.\"Odd \"\"näme\"",
        "DROP VIEW s4.c; CREATE VIEW s4.c AS SELECT 1 AS other",
    ]);
}

#[test]
fn views_over_views_come_in_order() {
    let mut pair = Pair::new();
    pair.both(&["CREATE TABLE public.t (a int, b int)"]);
    pair.follow(&[
        "CREATE VIEW public.z AS SELECT a FROM public.t; CREATE VIEW public.a AS SELECT z FROM public.z; CREATE VIEW public.m AS SELECT a FROM public.a, public.z AS z(q)",
        "CREATE OR REPLACE VIEW public.z AS SELECT a, b FROM public.t; CREATE OR REPLACE VIEW public.a AS SELECT z, z.b FROM public.z",
        "ALTER VIEW public.z RENAME TO y; CREATE VIEW public.z AS SELECT * FROM public.y",
        "CREATE FUNCTION public.f(public.z) RETURNS public.y[] LANGUAGE sql AS 'SELECT NULL::public.y[]'; CREATE VIEW public.of AS SELECT public.f(z) FROM public.z",
        "CREATE VIEW public.c1 AS SELECT NULL::int AS a",
        "CREATE VIEW public.c2 AS SELECT a FROM public.c1; CREATE OR REPLACE VIEW public.c1 AS SELECT a FROM public.t",
        "DROP VIEW public.c2, public.c1; CREATE VIEW public.c2 AS SELECT b FROM public.t; CREATE VIEW public.c1 AS SELECT b FROM public.c2",
        "DROP VIEW public.y CASCADE",
    ]);
}

#[test]
fn privileges_of_views_and_their_columns() {
    let mut pair = Pair::new();
    pair.follow(&[
        "CREATE VIEW public.v AS SELECT 1 AS a, 2 AS \"B\", 3 AS c",
        "ALTER VIEW public.v OWNER TO alice",
        "GRANT SELECT, UPDATE ON public.v TO bob WITH GRANT OPTION; GRANT ALL ON public.v TO PUBLIC",
        "GRANT SELECT (a, \"B\"), INSERT (c) ON public.v TO \"Odd role\"; GRANT UPDATE (a) ON public.v TO bob WITH GRANT OPTION",
        "SET SESSION AUTHORIZATION bob; GRANT UPDATE (a) ON public.v TO \"Odd role\"; GRANT SELECT ON public.v TO \"Odd role\"",
        "ALTER VIEW public.v OWNER TO bob; GRANT UPDATE (c) ON public.v TO alice",
        "REVOKE SELECT ON public.v FROM \"Odd role\"; GRANT SELECT (a) ON public.v TO \"Odd role\"",
        "REVOKE ALL ON public.v FROM \"Odd role\", PUBLIC, alice",
        "ALTER VIEW public.v RENAME COLUMN a TO \"A\"; GRANT SELECT (\"A\") ON public.v TO alice",
        "REVOKE ALL ON public.v FROM bob",
        "ALTER VIEW public.v OWNER TO alice; GRANT SELECT ON public.v TO alice",
    ]);
    pair.both(&["ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO bob"]);
    pair.follow(&[
        "CREATE VIEW public.w AS SELECT 1 AS a; GRANT SELECT (a) ON public.w TO bob; REVOKE SELECT ON public.w FROM bob",
        "CREATE VIEW public.x AS SELECT 1 AS a; REVOKE ALL ON public.x FROM bob; GRANT SELECT (a) ON public.x TO bob, alice; ALTER VIEW public.x OWNER TO \"Odd role\"",
    ]);
}

#[test]
fn what_no_create_or_replace_makes_is_told() {
    let mut pair = Pair::new();
    pair.both(&["SET allow_system_table_mods = on"]);
    pair.follow(&["CREATE VIEW public.v AS SELECT 1 AS a"]);
    pair.assert_unhandled(
        "CREATE VIEW public.a AS SELECT 1 AS a; CREATE VIEW public.b AS SELECT a FROM public.a; CREATE OR REPLACE VIEW public.a AS SELECT a FROM public.b",
        "order",
    );
    pair.assert_unhandled(
        "UPDATE pg_catalog.pg_class SET relreplident = 'f' WHERE oid = 'public.v'::regclass",
        "view",
    );
    pair.assert_unhandled(
        "UPDATE pg_catalog.pg_attribute SET attnotnull = true WHERE attrelid = 'public.v'::regclass AND attname = 'a'",
        "view",
    );
    pair.assert_unhandled(
        "CREATE VIEW public.half AS SELECT 1 AS a; DELETE FROM pg_catalog.pg_rewrite WHERE ev_class = 'public.half'::regclass",
        "view",
    );
}

/// Its rule fills a table with a column of the view's type.
#[test]
fn a_view_and_a_table_that_need_each_other_go_together() {
    Pair::new().follow(&[
        "CREATE SCHEMA s; CREATE TYPE s.nested AS (a int, b text); CREATE VIEW s.v AS SELECT 1 AS a, ROW (1, 'x')::s.nested AS n",
        "CREATE TABLE s.log (at int, v s.v); CREATE RULE r AS ON UPDATE TO s.v DO ALSO INSERT INTO s.log VALUES (1, old)",
        "DROP SCHEMA s CASCADE",
    ]);
}
