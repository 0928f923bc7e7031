//! Indexes: plain, of constraints, partitioned, built concurrently.

use crate::follow::Pair;

fn with_tablespace() -> Pair {
    let pair = Pair::new();
    pair.cluster.sql_in(
        "postgres",
        "ALTER SYSTEM SET allow_in_place_tablespaces = on",
    );
    pair.cluster.sql_in("postgres", "SELECT pg_reload_conf()");
    pair.cluster
        .sql_in("postgres", "CREATE TABLESPACE space LOCATION ''");
    pair
}

#[test]
fn indexes() {
    let mut pair = with_tablespace();
    pair.both(
        "CREATE SCHEMA s; CREATE TABLE public.t (a int, \"B b\" text, c int[]); CREATE FUNCTION public.f(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT $1'; \
         CREATE TABLE s.u (a int)",
    );
    pair.follow(&[
        "CREATE INDEX i ON public.t (a); CREATE UNIQUE INDEX \"Odd \"\"é\" ON public.t (\"B b\" DESC NULLS LAST, a) INCLUDE (c) NULLS NOT DISTINCT WITH (fillfactor = 60); \
         CREATE INDEX g ON public.t USING gin (c) WITH (fastupdate = off) TABLESPACE space; \
         CREATE INDEX p ON public.t (public.f(a), lower(\"B b\") text_pattern_ops, a) TABLESPACE space WHERE a > 0 AND \"B b\" <> 'x'; CREATE INDEX u_i ON s.u (a)",
        "ALTER INDEX public.p ALTER COLUMN 1 SET STATISTICS 500; ALTER INDEX public.p ALTER COLUMN 2 SET STATISTICS 0; ALTER INDEX public.i SET (fillfactor = 50, deduplicate_items = off)",
        "ALTER INDEX public.p ALTER COLUMN 1 SET STATISTICS -1; ALTER INDEX public.i RESET (fillfactor); ALTER INDEX public.g SET (fastupdate = on)",
        "ALTER INDEX public.i SET TABLESPACE space; ALTER INDEX public.g SET TABLESPACE pg_default; COMMENT ON INDEX public.i IS 'it''s'",
        "ALTER INDEX public.i RENAME TO \"New i\"; CREATE INDEX i ON public.t (c)",
        "COMMENT ON INDEX public.i IS NULL; DROP INDEX public.g; CREATE INDEX g ON public.t (a, \"B b\"); DROP INDEX public.\"New i\"",
        "DROP INDEX public.p; CREATE INDEX p ON public.t (public.f(a)); ALTER INDEX public.p ALTER COLUMN 1 SET STATISTICS 9",
        "DROP FUNCTION public.f CASCADE; DROP INDEX public.\"Odd \"\"é\"",
    ]);
    // ATTACH PARTITION calls the function as well.
    pair.follow(&[
        "CREATE FUNCTION public.own(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN ASSERT current_user = ''alice''; RETURN $1; END'",
        "CREATE TABLE public.sp (a int) PARTITION BY RANGE (a); ALTER TABLE public.sp OWNER TO alice; CREATE TABLE public.sp1 PARTITION OF public.sp FOR VALUES FROM (1) TO (10); ALTER TABLE public.sp1 OWNER TO alice",
        "CREATE INDEX si ON public.sp ((public.own(a) + public.own(0))) WHERE public.own(a + 10) > public.own(10)",
    ]);
    // Commands tell their order; two states do not.
    pair.assert_unhandled(
        "ALTER INDEX public.i RENAME TO tmp; ALTER INDEX public.g RENAME TO i; ALTER INDEX public.tmp RENAME TO g",
        "order",
    );
}

/// No dump has it.
#[test]
fn storage_that_no_alter_gives() {
    let mut pair = Pair::new();
    let set = |storage: &str, number: i32| {
        format!(
            "UPDATE pg_catalog.pg_attribute SET attstorage = '{storage}' \
             WHERE attrelid = 'public.i'::pg_catalog.regclass AND attnum = {number}"
        )
    };
    pair.follow(&["CREATE TABLE public.t (a text, b text); CREATE INDEX i ON public.t (b, lower(a)) INCLUDE (a)"]);
    for change in [
        "ALTER TABLE public.t ALTER COLUMN b SET STORAGE EXTERNAL",
        set("x", 1).as_str(),
        set("m", 2).as_str(),
        set("e", 3).as_str(),
        "ALTER TABLE public.t ALTER COLUMN a SET STORAGE MAIN",
        "REINDEX TABLE public.t",
    ] {
        pair.follow(&[change]);
        pair.assert_same_result(
            "SELECT attnum, attstorage FROM pg_catalog.pg_attribute WHERE attrelid = 'public.i'::pg_catalog.regclass ORDER BY 1",
            change,
        );
    }
}

#[test]
fn indexes_built_concurrently() {
    let mut pair = Pair::new();
    pair.both("CREATE TABLE public.t (a int, b int); INSERT INTO public.t VALUES (1, 1), (1, 2); ALTER TABLE public.t ADD CONSTRAINT k UNIQUE (b)");
    pair.follow(&[
        "CREATE INDEX CONCURRENTLY i ON public.t (a)",
        "COMMENT ON INDEX public.i IS 'x'; COMMENT ON INDEX public.k IS 'y'",
        "REINDEX INDEX CONCURRENTLY public.i",
        "REINDEX TABLE CONCURRENTLY public.t",
        "REINDEX TABLE public.t",
    ]);
    // Half built, it is nothing.
    pair.fails("CREATE UNIQUE INDEX CONCURRENTLY half ON public.t (a)");
    pair.follow(&["DROP INDEX CONCURRENTLY public.i"]);
}

#[test]
fn partitioned_indexes() {
    let mut pair = Pair::new();
    pair.both(
        "CREATE TABLE public.p (a int NOT NULL, b int) PARTITION BY LIST (a); CREATE TABLE public.p1 PARTITION OF public.p FOR VALUES IN (1); \
         CREATE TABLE public.p2 PARTITION OF public.p FOR VALUES IN (2) PARTITION BY LIST (b); CREATE TABLE public.p21 PARTITION OF public.p2 FOR VALUES IN (1); \
         CREATE TABLE public.lone (a int NOT NULL, b int)",
    );
    pair.follow(&[
        "CREATE INDEX i ON public.p (b)",
        "CREATE INDEX own ON public.p1 (b, a); CREATE INDEX j ON public.p (b, a); ALTER INDEX public.p2_b_idx RENAME TO \"Odd\"",
        "CREATE INDEX half ON ONLY public.p (a, b); CREATE INDEX half1 ON public.p1 (a, b)",
        "ALTER INDEX public.half ATTACH PARTITION public.half1",
        "COMMENT ON INDEX public.\"Odd\" IS 'x'; ALTER INDEX public.j RENAME TO jj; DROP INDEX public.half",
        "ALTER TABLE public.p ADD PRIMARY KEY (a, b)",
        "ALTER TABLE public.p ADD CONSTRAINT \"U u\" UNIQUE NULLS NOT DISTINCT (b, a) INCLUDE (b) DEFERRABLE; COMMENT ON CONSTRAINT \"U u\" ON public.p IS 'u'",
        "ALTER TABLE public.p RENAME CONSTRAINT \"U u\" TO u; ALTER INDEX public.\"p1_b_a_b1_key\" RENAME TO pu",
        "ALTER TABLE public.p DROP CONSTRAINT u; DROP INDEX public.i, public.jj",
    ]);
}
