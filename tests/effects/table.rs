//! Tables: columns of every kind, what stands in pg_class, inheritance, partitions, rewrites.

use crate::follow::Pair;

#[test]
fn tables() {
    let mut pair = Pair::new();
    pair.both("CREATE SEQUENCE public.s; CREATE FUNCTION public.f() RETURNS int LANGUAGE sql IMMUTABLE RETURN 1; CREATE SCHEMA other; GRANT USAGE ON SCHEMA other TO bob");
    pair.follow(&[
        "CREATE TABLE public.none (); CREATE UNLOGGED TABLE public.u (a int)",
        "CREATE TABLE public.t (a int NOT NULL, \"B b\" varchar(10) COLLATE \"C\" DEFAULT 'it''s', \"select\" numeric(10,2) DEFAULT public.f(), \
         é timestamptz(3) DEFAULT now(), g int GENERATED ALWAYS AS (a * 2) STORED, n bigint DEFAULT nextval('public.s'), arr int[][], \
         \"q\"\"q\" text[] DEFAULT '{a,b}') WITH (fillfactor = 70, autovacuum_enabled = off, toast.autovacuum_enabled = off)",
        "ALTER TABLE public.t ALTER \"B b\" SET STORAGE EXTERNAL, ALTER \"B b\" SET STATISTICS 77, ALTER a SET (n_distinct = -0.5), \
         ALTER \"B b\" SET COMPRESSION pglz, ALTER \"B b\" SET DEFAULT 'x', ALTER é DROP DEFAULT, ALTER é SET NOT NULL",
        "ALTER TABLE public.t ALTER \"B b\" SET STORAGE EXTENDED, ALTER \"B b\" SET STATISTICS -1, ALTER a RESET (n_distinct), \
         ALTER \"B b\" SET COMPRESSION default, ALTER a DROP NOT NULL, ALTER é DROP NOT NULL, ALTER n DROP DEFAULT",
        "ALTER TABLE public.t SET (fillfactor = 80, toast.autovacuum_enabled = on), RESET (autovacuum_enabled), ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY",
        "ALTER TABLE public.t RESET (fillfactor, toast.autovacuum_enabled), DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY, REPLICA IDENTITY FULL",
        "ALTER TABLE public.t REPLICA IDENTITY NOTHING, ADD c text, ADD d int NOT NULL DEFAULT 5, ADD e timestamptz DEFAULT now(), DROP arr",
        "COMMENT ON TABLE public.t IS 't'; COMMENT ON COLUMN public.t.\"B b\" IS 'b'; COMMENT ON COLUMN public.t.c IS 'c'",
        "COMMENT ON COLUMN public.t.c IS NULL; ALTER TABLE public.t REPLICA IDENTITY DEFAULT",
        "ALTER TABLE public.t RENAME c TO x; ALTER TABLE public.t RENAME d TO c; ALTER TABLE public.t RENAME x TO d; ALTER TABLE public.t RENAME a TO \"A\"",
        "ALTER TABLE public.t RENAME TO \"T t\"; ALTER TABLE public.\"T t\" SET SCHEMA other",
        "GRANT SELECT, UPDATE ON other.\"T t\" TO bob WITH GRANT OPTION; GRANT SELECT (\"A\", c), INSERT (c) ON other.\"T t\" TO alice, PUBLIC; \
         GRANT REFERENCES (d) ON other.\"T t\" TO bob WITH GRANT OPTION",
        "SET SESSION AUTHORIZATION bob; GRANT SELECT ON other.\"T t\" TO alice; GRANT REFERENCES (d) ON other.\"T t\" TO alice",
        "ALTER TABLE other.\"T t\" OWNER TO alice",
        "REVOKE SELECT ON other.\"T t\" FROM bob CASCADE; GRANT UPDATE (c) ON other.\"T t\" TO bob",
        "REVOKE ALL (d, c) ON other.\"T t\" FROM bob, alice CASCADE",
        "BEGIN; DROP TABLE other.\"T t\"; CREATE TABLE other.\"T t\" (z int); COMMIT",
        "ALTER TABLE public.u RENAME TO v; ALTER TABLE public.none RENAME TO u; ALTER TABLE public.v RENAME TO none",
        "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO bob; CREATE TABLE public.d1 (a int); GRANT INSERT (a) ON public.d1 TO bob; \
         CREATE TABLE public.d2 (a int); REVOKE ALL ON public.d2 FROM bob; ALTER DEFAULT PRIVILEGES REVOKE SELECT ON TABLES FROM bob",
        "DROP TABLE other.\"T t\", public.u, public.none",
    ]);
    pair.follow_touching(&["schema"], &["ALTER SCHEMA other RENAME TO another"]);
}
