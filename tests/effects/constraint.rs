//! Constraints of tables.

use crate::follow::Pair;

#[test]
fn checks() {
    let mut pair = Pair::new();
    pair.both(
        "CREATE TABLE public.t (a int, \"B b\" text); CREATE TABLE public.c () INHERITS (public.t); CREATE TABLE public.cc () INHERITS (public.c); \
         CREATE FUNCTION public.f(int) RETURNS bool IMMUTABLE LANGUAGE sql AS 'SELECT true'; CREATE FOREIGN DATA WRAPPER w; CREATE SERVER sv FOREIGN DATA WRAPPER w; \
         CREATE FOREIGN TABLE public.ft (a int) SERVER sv",
    );
    pair.follow(&[
        "ALTER TABLE public.t ADD CONSTRAINT \"C \"\"é\" CHECK (a > 0 AND \"B b\" <> 'it''s'), ADD CHECK (public.f(a)) NO INHERIT, ADD CONSTRAINT nv CHECK (a < 100) NOT VALID; \
         ALTER TABLE public.c ADD CONSTRAINT own CHECK (a <> 7); ALTER FOREIGN TABLE public.ft ADD CONSTRAINT fc CHECK (a > 0)",
        "COMMENT ON CONSTRAINT nv ON public.t IS 'x'; ALTER TABLE public.t VALIDATE CONSTRAINT nv; ALTER TABLE public.t RENAME CONSTRAINT \"C \"\"é\" TO c1",
        "ALTER TABLE public.c ADD CONSTRAINT c1 CHECK (a > 0 AND \"B b\" <> 'it''s')",
        "ALTER TABLE public.t DROP CONSTRAINT c1",
        "ALTER TABLE public.c DROP CONSTRAINT c1; ALTER TABLE public.c ADD CONSTRAINT c1 CHECK (a > 5); COMMENT ON CONSTRAINT c1 ON public.c IS 'y'",
        "DROP FUNCTION public.f CASCADE; ALTER FOREIGN TABLE public.ft DROP CONSTRAINT fc",
    ]);
    pair.follow(&["ALTER TABLE ONLY public.t DROP CONSTRAINT nv"]);
}

#[test]
fn keys() {
    let mut pair = Pair::new();
    pair.cluster.sql_in(
        "postgres",
        "ALTER SYSTEM SET allow_in_place_tablespaces = on",
    );
    pair.cluster.sql_in("postgres", "SELECT pg_reload_conf()");
    pair.cluster
        .sql_in("postgres", "CREATE TABLESPACE space LOCATION ''");
    pair.both(
        "CREATE TABLE public.t (a int NOT NULL, b int NOT NULL, \"C c\" int4range, d int NOT NULL); CREATE TABLE public.u (a int NOT NULL); CREATE TABLE public.v (a int NOT NULL)",
    );
    pair.follow(&[
        "ALTER TABLE public.t ADD PRIMARY KEY (a, b) INCLUDE (d) WITH (fillfactor = 60) USING INDEX TABLESPACE space; \
         ALTER TABLE public.t ADD CONSTRAINT \"U \"\"é\" UNIQUE NULLS NOT DISTINCT (b) WITH (fillfactor = 70, deduplicate_items = off) USING INDEX TABLESPACE space DEFERRABLE INITIALLY DEFERRED, ADD UNIQUE (d) DEFERRABLE; \
         ALTER TABLE public.t ADD CONSTRAINT x EXCLUDE USING gist (\"C c\" WITH &&) WITH (fillfactor = 50) USING INDEX TABLESPACE space WHERE (a > 3) DEFERRABLE",
        "COMMENT ON CONSTRAINT \"U \"\"é\" ON public.t IS 'x'; COMMENT ON INDEX public.\"U \"\"é\" IS 'y'; ALTER TABLE public.t RENAME CONSTRAINT \"U \"\"é\" TO u1; ALTER INDEX public.t_pkey RENAME TO \"Pk\"",
        "ALTER INDEX public.u1 SET (fillfactor = 90); ALTER INDEX public.u1 SET TABLESPACE pg_default; ALTER TABLE public.t RENAME CONSTRAINT \"Pk\" TO pk2; CREATE INDEX \"Pk\" ON public.t (b)",
        "CREATE UNIQUE INDEX ui ON public.u (a); CREATE UNIQUE INDEX vi ON public.v (a) WITH (fillfactor = 40); COMMENT ON INDEX public.vi IS 'v'",
        "ALTER TABLE public.u ADD CONSTRAINT ui UNIQUE USING INDEX ui DEFERRABLE; ALTER TABLE public.v ADD CONSTRAINT vk PRIMARY KEY USING INDEX vi; COMMENT ON CONSTRAINT vk ON public.v IS 'k'",
        "CREATE UNIQUE INDEX new ON public.v (a)",
        "ALTER TABLE public.v DROP CONSTRAINT vk, ADD CONSTRAINT vk PRIMARY KEY USING INDEX new",
        "ALTER TABLE public.t DROP CONSTRAINT u1; ALTER TABLE public.t ADD CONSTRAINT u1 UNIQUE (d, a)",
        "ALTER TABLE public.t DROP CONSTRAINT pk2, ADD PRIMARY KEY (d), DROP CONSTRAINT x",
    ]);
}

#[test]
fn foreign_keys() {
    let mut pair = Pair::new();
    pair.both(
        "CREATE TABLE public.a (id int NOT NULL, x int NOT NULL); CREATE TABLE public.b (id int, x int, self int); \
         CREATE TABLE public.p (id int NOT NULL, x int) PARTITION BY LIST (id); CREATE TABLE public.p1 PARTITION OF public.p FOR VALUES IN (1); CREATE TABLE public.p2 PARTITION OF public.p FOR VALUES IN (2)",
    );
    pair.follow(&[
        "ALTER TABLE public.a ADD PRIMARY KEY (id), ADD UNIQUE (id, x); ALTER TABLE public.b ADD CONSTRAINT \"F \"\"é\" FOREIGN KEY (id) REFERENCES public.a ON DELETE CASCADE ON UPDATE SET NULL DEFERRABLE INITIALLY DEFERRED; \
         ALTER TABLE public.b ADD FOREIGN KEY (id, x) REFERENCES public.a (id, x) MATCH FULL ON DELETE SET NULL NOT VALID; \
         ALTER TABLE public.b ADD FOREIGN KEY (id, x) REFERENCES public.a (id, x) ON DELETE SET DEFAULT (x)",
        "ALTER TABLE public.b ALTER CONSTRAINT \"F \"\"é\" NOT DEFERRABLE; ALTER TABLE public.b VALIDATE CONSTRAINT b_id_x_fkey; ALTER TABLE public.b ALTER CONSTRAINT b_id_x_fkey1 DEFERRABLE INITIALLY DEFERRED; \
         COMMENT ON CONSTRAINT \"F \"\"é\" ON public.b IS 'f'",
        "ALTER TABLE public.b ALTER CONSTRAINT \"F \"\"é\" DEFERRABLE INITIALLY IMMEDIATE; ALTER TABLE public.b RENAME CONSTRAINT b_id_x_fkey TO nv",
        "ALTER TABLE public.p ADD PRIMARY KEY (id); ALTER TABLE public.b ADD CONSTRAINT to_p FOREIGN KEY (self) REFERENCES public.p; ALTER TABLE public.p ADD CONSTRAINT of_p FOREIGN KEY (x) REFERENCES public.a (id)",
        "ALTER TABLE public.p ALTER CONSTRAINT of_p DEFERRABLE; ALTER TABLE public.p1 ADD CONSTRAINT alone FOREIGN KEY (x) REFERENCES public.p (id)",
        "ALTER TABLE public.a DROP CONSTRAINT a_id_x_key CASCADE",
        "ALTER TABLE public.a DROP CONSTRAINT a_pkey CASCADE; ALTER TABLE public.p DROP CONSTRAINT p_pkey CASCADE",
    ]);
}

#[test]
fn not_enforced_from_18_on() {
    let mut pair = Pair::new();
    if pair.cluster.version() < 18 {
        return harness::skipped("18 has these");
    }
    pair.both("CREATE TABLE public.a (id int PRIMARY KEY, during int4range NOT NULL, r int4range); CREATE TABLE public.b (id int)");
    pair.follow(&[
        "ALTER TABLE public.b ADD CONSTRAINT c CHECK (id > 0) NOT ENFORCED, ADD CONSTRAINT f FOREIGN KEY (id) REFERENCES public.a NOT ENFORCED, ADD CONSTRAINT g FOREIGN KEY (id) REFERENCES public.a",
        "ALTER TABLE public.b ALTER CONSTRAINT f ENFORCED; ALTER TABLE public.b ALTER CONSTRAINT g NOT ENFORCED",
        "ALTER TABLE public.a DROP CONSTRAINT a_pkey CASCADE; ALTER TABLE public.a ADD CONSTRAINT w UNIQUE (during, r WITHOUT OVERLAPS)",
    ]);
}

#[test]
fn constraints_go_with_their_tables() {
    let mut pair = Pair::new();
    pair.both("CREATE SCHEMA s");
    pair.follow(&[
        "CREATE TABLE public.a (id int PRIMARY KEY, x int UNIQUE, y text CHECK (y <> '') NOT NULL, EXCLUDE (x WITH =)); \
         CREATE TABLE public.b (id serial PRIMARY KEY, a int REFERENCES public.a, self int REFERENCES public.b (id) ON DELETE CASCADE); \
         CREATE INDEX b_a ON public.b (a, (a + 1)); CREATE STATISTICS public.st ON a, self FROM public.b",
        "ALTER TABLE public.a ALTER id TYPE bigint; ALTER TABLE public.b ALTER a TYPE bigint, ALTER self TYPE bigint",
        "ALTER TABLE public.a RENAME TO \"A a\"; ALTER TABLE public.\"A a\" RENAME id TO \"I d\"; ALTER TABLE public.\"A a\" RENAME CONSTRAINT a_pkey TO pk; ALTER TABLE public.\"A a\" SET SCHEMA s",
        "ALTER TABLE s.\"A a\" DROP COLUMN x, DROP COLUMN y; ALTER TABLE public.b ADD CHECK (a > 0)",
        "ALTER TABLE public.b DROP COLUMN a, DROP COLUMN self",
        "ALTER TABLE s.\"A a\" DROP COLUMN \"I d\"; ALTER TABLE s.\"A a\" ADD id int PRIMARY KEY",
        "CREATE TABLE public.c (a int REFERENCES s.\"A a\" ON DELETE SET NULL, CHECK (a > 3)); CREATE TABLE public.d (CONSTRAINT own CHECK (a < 9)) INHERITS (public.c)",
        "ALTER TABLE public.d NO INHERIT public.c",
        "ALTER TABLE public.d INHERIT public.c",
        "ALTER TABLE public.c ADD CONSTRAINT shared CHECK (a <> 5); ALTER TABLE public.c RENAME CONSTRAINT c_a_check TO renamed",
        "CREATE TABLE public.e (CONSTRAINT shared CHECK (a <> 5)) INHERITS (public.c)",
        "ALTER TABLE public.c DROP CONSTRAINT shared, DROP CONSTRAINT renamed",
        "DROP TABLE s.\"A a\" CASCADE",
        "DROP TABLE public.c CASCADE; DROP TABLE public.b",
        "CREATE TABLE public.k (a int); CREATE UNIQUE INDEX ki ON public.k (a); ALTER TABLE public.k ADD CONSTRAINT kk PRIMARY KEY USING INDEX ki; DROP SCHEMA s CASCADE",
    ]);
}

#[test]
fn constraints_of_partitions() {
    let mut pair = Pair::new();
    pair.follow(&[
        "CREATE TABLE public.r (id int PRIMARY KEY); \
         CREATE TABLE public.p (a int, b int CHECK (b > 0), c int REFERENCES public.r, PRIMARY KEY (a, b), CONSTRAINT \"U u\" UNIQUE (b, a)) PARTITION BY LIST (a); \
         CREATE INDEX pi ON public.p (c); \
         CREATE TABLE public.p1 PARTITION OF public.p FOR VALUES IN (1); CREATE TABLE public.p2 PARTITION OF public.p (CONSTRAINT own CHECK (b < 9)) FOR VALUES IN (2) PARTITION BY LIST (b)",
        "CREATE TABLE public.p21 PARTITION OF public.p2 FOR VALUES IN (1); CREATE TABLE public.p3 (c int, b int NOT NULL, a int NOT NULL, CONSTRAINT p_b_check CHECK (b > 0), UNIQUE (b, a))",
        "ALTER TABLE public.p ATTACH PARTITION public.p3 FOR VALUES IN (3)",
        "ALTER TABLE public.p DETACH PARTITION public.p1",
        "ALTER TABLE public.p1 DROP CONSTRAINT p_b_check",
        "ALTER TABLE public.p ADD CONSTRAINT more CHECK (c > 1), ADD UNIQUE (b, c, a); CREATE INDEX px ON public.p (b, c)",
        "CREATE TABLE public.q (a int, b int, FOREIGN KEY (a, b) REFERENCES public.p)",
        "ALTER TABLE public.p DROP CONSTRAINT \"U u\", DROP CONSTRAINT more; DROP INDEX public.pi",
        "ALTER TABLE public.p RENAME CONSTRAINT p_c_fkey TO fk; ALTER TABLE public.p ALTER c TYPE bigint; ALTER TABLE public.p RENAME TO pp",
        "ALTER TABLE public.pp DROP CONSTRAINT fk; ALTER TABLE public.q DROP CONSTRAINT q_a_b_fkey; DROP TABLE public.p3",
        "ALTER TABLE public.pp DETACH PARTITION public.p2; DROP TABLE public.pp CASCADE",
        "DROP TABLE public.p2, public.p1",
    ]);
}

/// An inherited CHECK that its parent does not enforce can be enforced by a child.
#[test]
fn enforced_by_a_child_alone() {
    let mut pair = Pair::new();
    if pair.cluster.installation().version < 18 {
        return harness::skipped("18 has these");
    }
    pair.follow(&[
        "CREATE TABLE public.e (f1 int); CREATE TABLE public.e1 () INHERITS (public.e)",
        "ALTER TABLE public.e ADD CONSTRAINT x6 CHECK (f1 < 10) NOT ENFORCED, ADD CONSTRAINT x10 CHECK (f1 < 10) NOT ENFORCED",
        "ALTER TABLE public.e1 ADD CONSTRAINT x6 CHECK (f1 < 10) ENFORCED",
        "ALTER TABLE public.e1 ADD CONSTRAINT x10 CHECK (f1 < 10) NOT VALID ENFORCED",
    ]);
}

#[test]
fn a_partitions_foreign_key_where_its_parents_name_is_taken() {
    let mut pair = Pair::new();
    pair.follow(&[
        "CREATE TABLE public.k0 (id bigint PRIMARY KEY); \
         CREATE TABLE public.fn (abc text, dummy bigint, CONSTRAINT taken FOREIGN KEY (dummy) REFERENCES public.k0 (id)) PARTITION BY LIST (abc)",
        "CREATE TABLE public.fn1 (abc text, dummy bigint, CONSTRAINT taken CHECK (true))",
        "ALTER TABLE public.fn ATTACH PARTITION public.fn1 FOR VALUES IN ('1')",
        "DO $$ BEGIN CREATE TABLE public.fn2 PARTITION OF public.fn FOR VALUES IN ('2'); \
         ALTER TABLE public.fn2 RENAME CONSTRAINT taken TO \"it's 2\"; END $$",
    ]);
    let names = "SELECT conrelid::pg_catalog.regclass, conname, contype FROM pg_catalog.pg_constraint WHERE conrelid >= 16384 ORDER BY 1, 2";
    pair.assert_same_result(names, "all");
}
