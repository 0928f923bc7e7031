//! Tables: columns of every kind, what stands in pg_class, inheritance, partitions, rewrites.

use crate::follow::Pair;

/// What rows have that are older than a column.
const STORED: &str = "SELECT a.attrelid::pg_catalog.regclass, a.attname, a.attmissingval FROM pg_catalog.pg_attribute a \
     WHERE a.atthasmissing AND a.attrelid >= 16384 ORDER BY 1, 2";

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
        "ALTER TABLE public.u RENAME TO v; ALTER TABLE public.none RENAME TO u",
        "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO bob; CREATE TABLE public.d1 (a int); GRANT INSERT (a) ON public.d1 TO bob; \
         CREATE TABLE public.d2 (a int); REVOKE ALL ON public.d2 FROM bob; ALTER DEFAULT PRIVILEGES REVOKE SELECT ON TABLES FROM bob",
        "DROP TABLE other.\"T t\", public.u, public.v",
    ]);
    pair.follow_touching(&["schema"], &["ALTER SCHEMA other RENAME TO another"]);
}

#[test]
fn rewrites_and_stored_values() {
    let mut pair = Pair::new();
    pair.both(
        "CREATE TYPE public.c AS (a int, b text); CREATE DOMAIN public.d AS int CHECK (VALUE > 0)",
    );
    pair.follow(&[
        "CREATE TABLE public.t (a int, b varchar(10), c text DEFAULT '7', d timestamp, e numeric)",
    ]);
    pair.both("INSERT INTO public.t VALUES (1, 'b', '3', '2020-01-01', 5)");
    pair.follow(&[
        "ALTER TABLE public.t ADD f1 int DEFAULT 5, ADD f2 text DEFAULT 'a, \"b\" \\ {c}', ADD f3 int[] DEFAULT '{1,NULL,3}', \
         ADD f4 box DEFAULT '((1,1),(0,0))', ADD f5 timestamptz DEFAULT now(), ADD f6 public.c DEFAULT ROW(1, 'x y'), ADD f7 text DEFAULT '', \
         ADD f8 text DEFAULT 'NULL', ADD f9 bytea DEFAULT '\\x00ff', ADD f10 numeric(10,3) DEFAULT 1.5, ADD f11 char(5) DEFAULT 'a', \
         ADD f12 text[] DEFAULT ARRAY['a b', '', NULL], ADD f13 interval DEFAULT '1 day', ADD f14 box[] DEFAULT ARRAY['((1,1),(0,0))'::box, '((3,3),(2,2))']",
        "ALTER TABLE public.t ADD h1 int DEFAULT 6; ALTER TABLE public.t ALTER h1 DROP DEFAULT; ALTER TABLE public.t ADD h2 int; ALTER TABLE public.t ALTER h2 SET DEFAULT 6",
    ]);
    pair.assert_same_result(STORED, "columns of all types");
    pair.follow(&["VACUUM FULL public.t"]);
    pair.assert_same_result("SELECT * FROM public.t", "a new file that means nothing");
    pair.follow(&[
        "ALTER TABLE public.t ALTER b TYPE varchar(20), ALTER f7 TYPE varchar",
        "ALTER TABLE public.t ALTER e TYPE numeric(20, 2), ALTER c DROP DEFAULT, ALTER c TYPE int USING c::int, ALTER c SET DEFAULT 8, ALTER c SET NOT NULL",
        "ALTER TABLE public.t ALTER a TYPE bigint, ADD g bigint GENERATED ALWAYS AS (c + 1) STORED, ALTER b SET STORAGE EXTERNAL",
        "ALTER TABLE public.t ALTER g TYPE numeric, ALTER b TYPE text COLLATE \"C\"",
        "ALTER TABLE public.t ALTER g DROP EXPRESSION, ALTER b TYPE text",
        "SET timezone = 'UTC'; ALTER TABLE public.t ALTER d TYPE timestamptz",
        "ALTER TABLE public.t ADD i double precision NOT NULL DEFAULT random(), ADD j public.d DEFAULT 1",
        "ALTER TABLE public.t SET UNLOGGED",
        "ALTER TABLE public.t SET LOGGED, DROP j, DROP f6",
    ]);
}

#[test]
fn inheritance() {
    let mut pair = Pair::new();
    pair.follow(&[
        "CREATE TABLE public.a (x int NOT NULL, y text DEFAULT 'y', z int); CREATE TABLE public.b (w int) INHERITS (public.a); \
         CREATE TABLE public.c (x int DEFAULT 7, v int) INHERITS (public.b); ALTER TABLE public.b ALTER y DROP DEFAULT; ALTER TABLE ONLY public.c ALTER y SET NOT NULL",
    ]);
    pair.both("INSERT INTO public.a (x) VALUES (1); INSERT INTO public.b (x) VALUES (2); INSERT INTO public.c (x, y) VALUES (3, 'z')");
    pair.follow(&[
        "ALTER TABLE public.a ADD n int DEFAULT 5, ADD m timestamptz DEFAULT now(), ADD o text NOT NULL DEFAULT 'o', ADD p int",
    ]);
    pair.assert_same_result(STORED, "columns with constants");
    pair.follow(&[
        "ALTER TABLE public.a RENAME n TO nn; ALTER TABLE public.a ALTER p TYPE bigint, ALTER p SET DEFAULT 4, DROP m",
        "ALTER TABLE public.c ALTER p SET DEFAULT 9, ALTER nn SET STATISTICS 5, ALTER y SET STORAGE MAIN",
    ]);
    pair.both("UPDATE public.a SET p = 1, y = 'y'");
    pair.follow(&[
        "ALTER TABLE public.a ALTER p TYPE numeric USING p + 1, ALTER y SET NOT NULL, ALTER x DROP NOT NULL",
        "ALTER TABLE public.a ALTER y DROP NOT NULL, DROP x, DROP nn",
        "ALTER TABLE public.b ADD only_b int",
        "ALTER TABLE public.b NO INHERIT public.a",
        "ALTER TABLE public.a ADD later int DEFAULT 3",
        "ALTER TABLE public.b ADD later int DEFAULT 4; ALTER TABLE public.b INHERIT public.a",
        "ALTER TABLE public.a DROP later",
        "ALTER TABLE public.a RENAME y TO t; ALTER TABLE public.a RENAME z TO y; ALTER TABLE public.a RENAME t TO z",
        "CREATE TABLE public.two (y int, z text, k int DEFAULT 1); CREATE TABLE public.both (q int) INHERITS (public.a, public.two)",
        "ALTER TABLE public.a DROP y; ALTER TABLE public.two DROP k",
        "ALTER TABLE public.both NO INHERIT public.two",
        "ALTER TABLE public.both DROP y; ALTER TABLE public.both RENAME q TO qq",
    ]);
    pair.both("INSERT INTO public.a DEFAULT VALUES; INSERT INTO public.both DEFAULT VALUES");
    pair.follow(&[
        "ALTER TABLE public.a ADD r double precision DEFAULT random() NOT NULL",
        "CREATE TABLE public.gp (a int, g int GENERATED ALWAYS AS (a + 1) STORED); CREATE TABLE public.gc (b int) INHERITS (public.gp)",
        "ALTER TABLE public.gp ALTER g DROP EXPRESSION",
        "DROP TABLE public.a CASCADE",
    ]);
    pair.follow(&["CREATE TABLE public.p (a int); CREATE TABLE public.k () INHERITS (public.p)"]);
    pair.follow(&["ALTER TABLE ONLY public.p DROP a"]);
}

#[test]
fn partitions() {
    let mut pair = Pair::new();
    pair.follow(&[
        "CREATE TABLE public.p (a int NOT NULL, b text DEFAULT 'b', c int) PARTITION BY RANGE (a, (a + 1)); \
         CREATE TABLE public.p1 PARTITION OF public.p FOR VALUES FROM (0, MINVALUE) TO (10, 5) PARTITION BY LIST (b); \
         CREATE TABLE public.p11 PARTITION OF public.p1 (c DEFAULT 9) FOR VALUES IN ('it''s', NULL); CREATE TABLE public.pd PARTITION OF public.p DEFAULT",
    ]);
    pair.both("INSERT INTO public.p (a, b, c) VALUES (1, NULL, 1), (50, 'b', 2)");
    pair.follow(&[
        "ALTER TABLE public.p ADD n int DEFAULT 5, ADD m timestamptz DEFAULT now(), ADD o int, ADD q int NOT NULL DEFAULT 4",
    ]);
    pair.assert_same_result(STORED, "columns with constants");
    pair.follow(&[
        "ALTER TABLE public.p ALTER c SET NOT NULL, ALTER b DROP DEFAULT, ALTER n SET DEFAULT 8, ALTER o SET STATISTICS 9; ALTER TABLE public.p11 ALTER o SET DEFAULT 7",
        "ALTER TABLE public.p ALTER c DROP NOT NULL, DROP n; ALTER TABLE public.p RENAME m TO mm",
        "ALTER TABLE public.p ALTER o TYPE text USING o::text, ADD v double precision DEFAULT random() NOT NULL",
        "ALTER TABLE public.p DETACH PARTITION public.p1",
        "CREATE TABLE public.p2 (q int NOT NULL, v double precision NOT NULL, o text, mm timestamptz, c int, b text, dropped int, a int NOT NULL); ALTER TABLE public.p2 DROP dropped; \
         ALTER TABLE public.p ATTACH PARTITION public.p2 FOR VALUES FROM (20, 0) TO (30, 0)",
        "ALTER TABLE public.p ATTACH PARTITION public.p1 FOR VALUES FROM (0, MINVALUE) TO (10, 5)",
        "ALTER TABLE public.p DETACH PARTITION public.p2; ALTER TABLE public.p ATTACH PARTITION public.p2 FOR VALUES FROM (20, 0) TO (40, 0)",
        "ALTER TABLE public.p1 RENAME TO \"P 1\"; ALTER TABLE public.p RENAME a TO \"A\"",
        "CREATE TABLE public.h (a int) PARTITION BY HASH (a); CREATE TABLE public.h0 PARTITION OF public.h FOR VALUES WITH (MODULUS 2, REMAINDER 0)",
        "DROP TABLE public.p2; DROP TABLE public.h",
    ]);
    // Without a constraint that DETACH would make.
    pair.both("CREATE TABLE public.q (a int) PARTITION BY LIST (a); CREATE TABLE public.q1 PARTITION OF public.q (CHECK (a IS NOT NULL AND a = 1)) FOR VALUES IN (1)");
    pair.follow(&[
        "ALTER TABLE public.q DETACH PARTITION public.q1 CONCURRENTLY",
        "DROP TABLE public.p CASCADE; DROP TABLE public.q",
    ]);
}

#[test]
fn of_types_indexes_and_servers() {
    let mut pair = Pair::new();
    pair.both("CREATE TYPE public.ty AS (a int, b text); CREATE ACCESS METHOD heap2 TYPE TABLE HANDLER heap_tableam_handler; \
               CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w");
    pair.follow(&[
        "CREATE TABLE public.t OF public.ty (a DEFAULT 5 NOT NULL); CREATE TABLE public.plain OF public.ty; COMMENT ON COLUMN public.t.b IS 'b'",
        "ALTER TABLE public.t NOT OF; ALTER TABLE public.plain ALTER b SET DEFAULT 'x'",
        "ALTER TABLE public.t OF public.ty",
        "CREATE TABLE public.m (a int NOT NULL, b int NOT NULL) USING heap2",
        "ALTER TABLE public.m SET ACCESS METHOD heap",
    ]);
    pair.follow(&["ALTER TYPE public.ty ALTER ATTRIBUTE b TYPE varchar CASCADE"]);
    for sql in [
        "ALTER ROLE CURRENT_USER SET allow_in_place_tablespaces = on",
        "CREATE TABLESPACE \"Odd space\" LOCATION ''",
    ] {
        pair.cluster.sql_in("postgres", sql);
    }
    pair.follow(&[
        "CREATE TABLE public.ts (a varchar(5)) TABLESPACE \"Odd space\"; CREATE TABLE public.tp (a int) PARTITION BY LIST (a) TABLESPACE \"Odd space\"",
        "ALTER TABLE public.ts SET TABLESPACE pg_default; ALTER TABLE public.tp SET TABLESPACE pg_default",
    ]);
    pair.assert_unhandled(
        "ALTER TABLE public.ts SET TABLESPACE \"Odd space\", ALTER a TYPE text",
        "table",
    );
    pair.both("CREATE UNIQUE INDEX i ON public.m (a); CREATE UNIQUE INDEX \"J\" ON public.m (b)");
    pair.follow(&[
        "ALTER TABLE public.m REPLICA IDENTITY USING INDEX i, CLUSTER ON i",
        "ALTER TABLE public.m REPLICA IDENTITY USING INDEX \"J\", CLUSTER ON \"J\"",
        "ALTER TABLE public.m SET WITHOUT CLUSTER; ALTER TABLE public.m REPLICA IDENTITY DEFAULT",
        "CREATE FOREIGN TABLE public.f (a int OPTIONS (\"Odd o\" 'it''s', x '1') COLLATE \"default\" NOT NULL DEFAULT 5, b text COLLATE \"C\") SERVER s OPTIONS (y '2')"
            .replace(" COLLATE \"default\"", "").as_str(),
        "ALTER FOREIGN TABLE public.f OPTIONS (SET y '3', ADD z '4'), ALTER a OPTIONS (DROP x), ALTER b OPTIONS (ADD q 'q'), ADD c int OPTIONS (r 'r'), ALTER b TYPE varchar(5)",
        "ALTER FOREIGN TABLE public.f OPTIONS (DROP y, DROP z), RENAME a TO b2".split(", RENAME").next().unwrap_or_default(),
        "ALTER FOREIGN TABLE public.f RENAME a TO b2; ALTER FOREIGN TABLE public.f RENAME TO \"F\"; COMMENT ON FOREIGN TABLE public.\"F\" IS 'f'; \
         GRANT SELECT (b2) ON public.\"F\" TO bob; ALTER FOREIGN TABLE public.\"F\" OWNER TO alice",
        "CREATE TABLE public.fp (a int, b text) PARTITION BY LIST (a); CREATE FOREIGN TABLE public.f1 PARTITION OF public.fp FOR VALUES IN (1) SERVER s",
        "ALTER TABLE public.fp ADD c int DEFAULT 4",
        "DROP FOREIGN TABLE public.\"F\"; DROP TABLE public.fp CASCADE; DROP TABLE public.plain, public.m",
    ]);
}

#[test]
fn not_null_constraints_and_new_expressions() {
    let mut pair = Pair::new();
    if pair.cluster.version() < 18 {
        return harness::skipped("18 has these");
    }
    pair.follow(&[
        "CREATE TABLE public.a (x int CONSTRAINT \"Odd n\" NOT NULL NO INHERIT, y int NOT NULL, v int GENERATED ALWAYS AS (y + 1) VIRTUAL, s int GENERATED ALWAYS AS (y + 2) STORED); \
         CREATE TABLE public.b (CONSTRAINT own NOT NULL x, w int) INHERITS (public.a); CREATE TABLE public.c (y int CONSTRAINT both_y NOT NULL) INHERITS (public.a); \
         COMMENT ON CONSTRAINT \"Odd n\" ON public.a IS 'odd'",
        "ALTER TABLE public.a RENAME CONSTRAINT \"Odd n\" TO odd; COMMENT ON CONSTRAINT a_y_not_null ON public.a IS 'y'",
        "ALTER TABLE public.a ALTER CONSTRAINT odd INHERIT",
        "ALTER TABLE public.a ALTER y DROP NOT NULL; ALTER TABLE public.b ALTER y SET NOT NULL",
        "ALTER TABLE public.a ADD z int, ADD CONSTRAINT zz NOT NULL z, ADD q int NOT NULL DEFAULT 4",
        "ALTER TABLE public.a RENAME CONSTRAINT zz TO zzz",
        "ALTER TABLE public.b ALTER w SET NOT NULL; ALTER TABLE public.a ALTER z DROP NOT NULL",
        "ALTER TABLE public.a ADD CONSTRAINT later NOT NULL z NOT VALID",
        "ALTER TABLE public.a VALIDATE CONSTRAINT later",
        "ALTER TABLE public.a ALTER s SET EXPRESSION AS (y * 3), ALTER v SET EXPRESSION AS (y * 4)",
        "ALTER TABLE public.a ALTER s TYPE bigint, ADD v2 int GENERATED ALWAYS AS (x + y) VIRTUAL",
        "ALTER TABLE public.b ALTER s SET EXPRESSION AS (y * 5)",
        "ALTER TABLE public.a ALTER s DROP EXPRESSION",
        "ALTER TABLE public.b NO INHERIT public.a",
        "CREATE TABLE public.p (a int CONSTRAINT pnn NOT NULL, b int CONSTRAINT pnb NOT NULL) PARTITION BY LIST (a); CREATE TABLE public.p1 PARTITION OF public.p FOR VALUES IN (1); \
         CREATE TABLE public.p2 (a int CONSTRAINT mine NOT NULL, b int CONSTRAINT mine2 NOT NULL); ALTER TABLE public.p ATTACH PARTITION public.p2 FOR VALUES IN (2)",
        "ALTER TABLE public.p ALTER b DROP NOT NULL",
        "ALTER TABLE public.p ALTER b SET NOT NULL",
        "ALTER TABLE public.p DETACH PARTITION public.p2; CREATE TABLE public.n (a int); ALTER TABLE public.n ADD CONSTRAINT nv NOT NULL a NOT VALID",
        "DROP TABLE public.a, public.b CASCADE",
    ]);
}

/// ALTER TABLE ONLY leaves to the children what the parent has no longer.
#[test]
fn what_a_parent_alone_drops_stays_with_its_children() {
    let mut pair = Pair::new();
    pair.follow(&[
        "CREATE TABLE public.p (a int, b int, c int CONSTRAINT cc CHECK (c > 0))",
        "CREATE TABLE public.k1 () INHERITS (public.p); CREATE TABLE public.k2 (b int) INHERITS (public.p); CREATE TABLE public.g () INHERITS (public.k1)",
        "ALTER TABLE ONLY public.p DROP COLUMN a",
        "ALTER TABLE public.p DROP COLUMN b",
        "ALTER TABLE ONLY public.p DROP CONSTRAINT cc",
        "ALTER TABLE public.k1 DROP COLUMN a",
        "CREATE TABLE public.m1 (a int); CREATE TABLE public.m2 (a int, b int); CREATE TABLE public.m () INHERITS (public.m1, public.m2)",
        "ALTER TABLE ONLY public.m1 DROP COLUMN a",
        "ALTER TABLE ONLY public.m2 DROP COLUMN a",
    ]);
    if pair.cluster.installation().version < 18 {
        return harness::skipped_in_part("18 has the rest");
    }
    pair.follow(&[
        "CREATE TABLE public.n (a int CONSTRAINT ann NOT NULL, b int CONSTRAINT bnn NOT NULL, c int CONSTRAINT cnn NOT NULL); CREATE TABLE public.nc () INHERITS (public.n)",
        "ALTER TABLE ONLY public.n DROP CONSTRAINT ann",
        "ALTER TABLE ONLY public.n ALTER b DROP NOT NULL",
        "ALTER TABLE public.n ALTER c DROP NOT NULL",
        "CREATE TABLE public.np (a int CONSTRAINT ann NOT NULL, b int CONSTRAINT bnn NOT NULL, CHECK (a > 0)) PARTITION BY LIST (a)",
        "CREATE TABLE public.np1 PARTITION OF public.np FOR VALUES IN (1); CREATE TABLE public.np2 PARTITION OF public.np FOR VALUES IN (2)",
        "ALTER TABLE ONLY public.np DROP CONSTRAINT ann",
        "ALTER TABLE ONLY public.np ALTER b DROP NOT NULL",
        "ALTER TABLE ONLY public.np DROP CONSTRAINT np_a_check",
    ]);
}

/// NOT NULL constraints have names of their own from 18 on.
#[test]
fn inherited_not_null_constraints_and_their_names() {
    let mut pair = Pair::new();
    pair.follow(&[
        "CREATE TABLE public.pi (f1 date NOT NULL, f2 text, f3 bigint NOT NULL) PARTITION BY RANGE (f1); CREATE TABLE public.pi1 PARTITION OF public.pi FOR VALUES FROM ('2016-07-01') TO ('2016-08-01')",
        "CREATE TABLE public.pi2 (f3 bigint NOT NULL, f2 text, f1 date NOT NULL); ALTER TABLE public.pi ATTACH PARTITION public.pi2 FOR VALUES FROM ('2016-08-01') TO ('2016-09-01')",
        "ALTER TABLE public.pi ALTER COLUMN f3 SET DATA TYPE bigint",
    ]);
    if pair.cluster.installation().version < 18 {
        return harness::skipped_in_part("18 has the rest");
    }
    pair.follow(&[
        "CREATE TABLE public.l1 (a int); CREATE TABLE public.l3 (CONSTRAINT foo NOT NULL a NO INHERIT) INHERITS (public.l1)",
        "CREATE TABLE public.jn1 (a int CONSTRAINT nn NOT NULL); CREATE TABLE public.jn2 (b int CONSTRAINT nn NOT NULL)",
        "CREATE TABLE public.jnc () INHERITS (public.jn1, public.jn2)",
    ]);
}

#[test]
fn a_types_attribute_gets_another_type_with_the_tables_of_it() {
    Pair::new().follow(&[
        "CREATE TYPE public.ty AS (a int, b text); CREATE TABLE public.ta OF public.ty; CREATE INDEX ON public.ta (a)",
        "ALTER TYPE public.ty ALTER ATTRIBUTE b TYPE varchar CASCADE",
        "ALTER TYPE public.ty ALTER ATTRIBUTE a TYPE text CASCADE",
    ]);
}

#[test]
fn parameters_that_no_alter_takes() {
    let mut pair = Pair::new();
    pair.follow(&[
        "CREATE TABLE public.o (a int) WITH (fillfactor = 50)",
        "UPDATE pg_catalog.pg_class SET reloptions = '{fillfactor=13,autovacuum_enabled=false,illegal_option=4}' WHERE relname = 'o'",
        "ALTER TABLE public.o RESET (illegal_option)",
    ]);
}
