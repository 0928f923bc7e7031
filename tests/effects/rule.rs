//! Rules.

use crate::follow::Pair;

#[test]
fn rules() {
    let mut pair = Pair::new();
    pair.both(&[
        "CREATE TABLE public.t (a int, b text)",
        "CREATE TABLE public.log (a int, b text, at timestamp DEFAULT now())",
    ]);
    pair.follow(&[
        "CREATE RULE r AS ON INSERT TO public.t DO ALSO INSERT INTO public.log VALUES (new.a, 'it''s \\n;')",
        "CREATE RULE \"Odd \"\"rüle\" AS ON UPDATE TO public.t WHERE old.a <> new.a DO INSTEAD (DELETE FROM public.log WHERE log.a = old.a; SELECT 1)",
        "CREATE RULE n AS ON UPDATE TO public.log DO ALSO NOTIFY \"Chan\"",
        "CREATE RULE nothing AS ON DELETE TO public.t DO INSTEAD NOTHING",
        "COMMENT ON RULE r ON public.t IS 'r'",
        "ALTER TABLE public.t DISABLE RULE r; ALTER TABLE public.t ENABLE REPLICA RULE \"Odd \"\"rüle\"; ALTER TABLE public.t ENABLE ALWAYS RULE nothing",
        "CREATE OR REPLACE RULE r AS ON DELETE TO public.t DO INSTEAD SELECT 'x;'",
        "ALTER TABLE public.t ENABLE RULE r",
        "ALTER RULE r ON public.t RENAME TO q; CREATE RULE r AS ON UPDATE TO public.t DO ALSO NOTHING; ALTER TABLE public.t DISABLE RULE r",
        "CREATE VIEW public.v AS SELECT a, b FROM public.t; CREATE RULE i AS ON INSERT TO public.v DO INSTEAD INSERT INTO public.t VALUES (new.*) RETURNING t.*",
        "ALTER VIEW public.v RENAME TO w; ALTER RULE i ON public.w RENAME TO \"I\"",
        "ALTER RULE \"I\" ON public.w RENAME TO i; ALTER VIEW public.w RENAME TO v; CREATE RULE \"I\" AS ON DELETE TO public.v DO INSTEAD DELETE FROM public.t WHERE t.a = old.a; COMMENT ON RULE \"I\" ON public.v IS 'i'",
        "DROP RULE q ON public.t; CREATE RULE q AS ON INSERT TO public.t DO ALSO NOTHING",
        "CREATE FUNCTION public.f() RETURNS int LANGUAGE sql RETURN 1; CREATE OR REPLACE RULE q AS ON INSERT TO public.t DO ALSO SELECT public.f(); CREATE VIEW public.o AS SELECT public.f()",
        "DROP FUNCTION public.f CASCADE",
        "DROP VIEW public.v",
    ]);
    pair.both(&["SET allow_system_table_mods = on"]);
    pair.assert_unhandled(
        "UPDATE pg_catalog.pg_rewrite SET ev_enabled = 'X' WHERE rulename = 'r'",
        "rule",
    );
}

#[test]
fn a_table_becomes_a_view() {
    let mut pair = Pair::new();
    if pair.cluster.installation().version > 15 {
        return harness::skipped("15 has these");
    }
    pair.follow(&[
        "CREATE TABLE public.t (x int, y text); COMMENT ON TABLE public.t IS 't'; GRANT SELECT ON public.t TO bob",
        "CREATE RULE \"_RETURN\" AS ON SELECT TO public.t DO INSTEAD SELECT 1 AS x, 'aaa'::text AS y",
    ]);
}
