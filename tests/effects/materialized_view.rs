//! Materialized views.

use crate::follow::Pair;

const POPULATED: &str =
    "SELECT string_agg(relname || relispopulated, ',' ORDER BY relname) FROM pg_class WHERE relkind = 'm'";

#[test]
fn materialized_views() {
    let mut pair = Pair::new();
    pair.both(&[
        "CREATE TABLE public.t (a int, \"B c\" text)",
        "GRANT SELECT ON public.t TO alice",
        "CREATE ACCESS METHOD heap2 TYPE TABLE HANDLER pg_catalog.heap_tableam_handler",
    ]);
    pair.cluster.sql_in(
        "postgres",
        "SET allow_in_place_tablespaces = on; CREATE TABLESPACE \"Ts\" LOCATION ''",
    );
    pair.follow(&[
        "CREATE MATERIALIZED VIEW public.m (x, \"Y\") AS SELECT a, \"B c\" FROM public.t WITH NO DATA",
        "CREATE MATERIALIZED VIEW public.\"Odd \"\"näme\" USING heap2 WITH (fillfactor = 70, toast.autovacuum_enabled = false) TABLESPACE \"Ts\" AS SELECT 'x' AS x",
        "CREATE MATERIALIZED VIEW public.z AS SELECT count(*) FROM public.t; CREATE MATERIALIZED VIEW public.a AS SELECT * FROM public.z; CREATE VIEW public.v AS SELECT * FROM public.a",
        "ALTER MATERIALIZED VIEW public.m ALTER COLUMN \"Y\" SET STORAGE EXTERNAL, ALTER COLUMN \"Y\" SET COMPRESSION pglz, ALTER COLUMN x SET STATISTICS 7, ALTER COLUMN x SET (n_distinct = 5, n_distinct_inherited = 6)",
        "ALTER MATERIALIZED VIEW public.m ALTER COLUMN \"Y\" SET STORAGE EXTENDED, ALTER COLUMN \"Y\" SET COMPRESSION default, ALTER COLUMN x SET STATISTICS -1, ALTER COLUMN x RESET (n_distinct)",
        "ALTER MATERIALIZED VIEW public.m SET (fillfactor = 50, autovacuum_enabled = off, toast.autovacuum_enabled = off)",
        "ALTER MATERIALIZED VIEW public.m RESET (fillfactor, toast.autovacuum_enabled)",
        "ALTER MATERIALIZED VIEW public.m REPLICA IDENTITY FULL",
        "ALTER MATERIALIZED VIEW public.m REPLICA IDENTITY DEFAULT; ALTER MATERIALIZED VIEW public.m SET TABLESPACE \"Ts\"",
        "ALTER MATERIALIZED VIEW public.m SET TABLESPACE pg_default; ALTER MATERIALIZED VIEW public.m SET ACCESS METHOD heap2",
        "COMMENT ON MATERIALIZED VIEW public.m IS 'm'; COMMENT ON COLUMN public.m.x IS 'x'",
        "ALTER MATERIALIZED VIEW public.m RENAME COLUMN x TO tmp; ALTER MATERIALIZED VIEW public.m RENAME COLUMN \"Y\" TO x; ALTER MATERIALIZED VIEW public.m RENAME COLUMN tmp TO \"Y\"",
        "ALTER MATERIALIZED VIEW public.m OWNER TO alice; GRANT SELECT ON public.m TO bob; GRANT SELECT (x) ON public.m TO \"Odd role\"",
        "CREATE SCHEMA s; ALTER MATERIALIZED VIEW public.m SET SCHEMA s; ALTER MATERIALIZED VIEW s.m RENAME TO n",
        "ALTER SCHEMA s RENAME TO s2; ALTER MATERIALIZED VIEW s2.n RENAME TO o",
        "ALTER MATERIALIZED VIEW s2.o DEPENDS ON EXTENSION plpgsql",
        "ALTER MATERIALIZED VIEW s2.o NO DEPENDS ON EXTENSION plpgsql",
        "DROP MATERIALIZED VIEW public.\"Odd \"\"näme\"; CREATE MATERIALIZED VIEW public.\"Odd \"\"näme\" AS SELECT 1 AS a WITH NO DATA",
    ]);
    for statement in [
        "SELECT 1",
        "REFRESH MATERIALIZED VIEW s2.o",
        "REFRESH MATERIALIZED VIEW s2.o WITH NO DATA",
    ] {
        pair.follow(&[statement]);
        pair.assert_same_result(POPULATED, statement);
    }
    pair.follow(&["DROP MATERIALIZED VIEW public.z CASCADE"]);
}
