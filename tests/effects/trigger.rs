//! Triggers.

use crate::follow::Pair;

const FUNCTION: &str =
    "CREATE FUNCTION public.f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'";

#[test]
fn triggers() {
    let mut pair = Pair::new();
    pair.both(&[
        "CREATE TABLE public.t (a int, \"B c\" text)",
        "CREATE TABLE public.other (a int)",
        "CREATE SCHEMA \"S\"",
    ]);
    pair.follow(&[
        FUNCTION,
        "CREATE FUNCTION \"S\".\"F g\"() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; CREATE TRIGGER \"Odd \"\"trügger\" BEFORE INSERT OR UPDATE OF a, \"B c\" ON public.t FOR EACH ROW WHEN (new.\"B c\" <> 'it''s \\n') EXECUTE FUNCTION \"S\".\"F g\"('a''b', '\\n', '')",
        "CREATE TRIGGER s AFTER TRUNCATE ON public.t EXECUTE FUNCTION public.f()",
        "CREATE TRIGGER tt AFTER UPDATE ON public.t REFERENCING OLD TABLE AS \"Old\" NEW TABLE AS n FOR EACH STATEMENT EXECUTE FUNCTION public.f()",
        "CREATE TRIGGER built_in BEFORE UPDATE ON public.t FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
        "CREATE CONSTRAINT TRIGGER c AFTER DELETE ON public.t FROM public.other DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION public.f()",
        "COMMENT ON TRIGGER c ON public.t IS 'c'; COMMENT ON TRIGGER s ON public.t IS 's'",
        "ALTER TABLE public.t DISABLE TRIGGER s, ENABLE ALWAYS TRIGGER c, ENABLE REPLICA TRIGGER tt",
        "ALTER TRIGGER s ON public.t RENAME TO q; CREATE TRIGGER s AFTER INSERT ON public.t EXECUTE FUNCTION public.f(); ALTER TABLE public.t DISABLE TRIGGER s",
        "CREATE OR REPLACE TRIGGER q BEFORE TRUNCATE ON public.t EXECUTE FUNCTION public.f('2')",
        "ALTER TABLE public.t DISABLE TRIGGER q",
        "CREATE OR REPLACE TRIGGER q BEFORE TRUNCATE ON public.t EXECUTE FUNCTION public.f('3'); ALTER TABLE public.t DISABLE TRIGGER q",
        "ALTER TABLE public.t ENABLE TRIGGER ALL",
        "DROP TRIGGER q ON public.t; CREATE TRIGGER q BEFORE TRUNCATE ON public.t EXECUTE FUNCTION public.f()",
        "CREATE VIEW public.v AS SELECT 1 AS a; CREATE TRIGGER i INSTEAD OF INSERT OR DELETE ON public.v FOR EACH ROW EXECUTE FUNCTION public.f()",
        "ALTER VIEW public.v RENAME TO w; ALTER TRIGGER i ON public.w RENAME TO j; COMMENT ON TRIGGER j ON public.w IS 'both'",
        "ALTER VIEW public.w SET SCHEMA \"S\"; ALTER TRIGGER j ON \"S\".w RENAME TO i; ALTER FUNCTION public.f RENAME TO g",
        "CREATE OR REPLACE TRIGGER i INSTEAD OF UPDATE ON \"S\".w FOR EACH ROW EXECUTE FUNCTION public.g()",
        "CREATE FUNCTION public.h() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; CREATE TRIGGER h1 BEFORE INSERT ON public.t FOR EACH ROW EXECUTE FUNCTION public.h(); CREATE TRIGGER h2 INSTEAD OF INSERT ON \"S\".w FOR EACH ROW EXECUTE FUNCTION public.h()",
        "DROP FUNCTION public.h CASCADE",
        "ALTER TRIGGER tt ON public.t DEPENDS ON EXTENSION plpgsql",
        "ALTER TRIGGER tt ON public.t NO DEPENDS ON EXTENSION plpgsql",
        "DROP VIEW \"S\".w",
        "DROP TRIGGER c ON public.t",
    ]);
}

#[test]
fn triggers_of_partitions() {
    let mut pair = Pair::new();
    pair.both(&[
        "CREATE TABLE public.p (a int) PARTITION BY RANGE (a)",
        "CREATE TABLE public.p1 PARTITION OF public.p FOR VALUES FROM (0) TO (10) PARTITION BY RANGE (a)",
        "CREATE TABLE public.p11 PARTITION OF public.p1 FOR VALUES FROM (0) TO (5)",
        FUNCTION,
    ]);
    pair.follow(&[
        "CREATE TRIGGER x AFTER INSERT ON public.p FOR EACH ROW EXECUTE FUNCTION public.f()",
        "ALTER TABLE ONLY public.p DISABLE TRIGGER x",
        "ALTER TABLE public.p11 ENABLE ALWAYS TRIGGER x; COMMENT ON TRIGGER x ON public.p11 IS 'cloned'",
        "CREATE TRIGGER y AFTER INSERT ON public.p FOR EACH ROW EXECUTE FUNCTION public.f(); ALTER TABLE public.p DISABLE TRIGGER y; ALTER TABLE public.p1 ENABLE REPLICA TRIGGER y",
        "CREATE OR REPLACE TRIGGER y AFTER DELETE ON public.p FOR EACH ROW EXECUTE FUNCTION public.f()",
        "ALTER TABLE public.p DISABLE TRIGGER y",
        "CREATE OR REPLACE TRIGGER y AFTER INSERT OR DELETE ON public.p FOR EACH ROW EXECUTE FUNCTION public.f('z'); ALTER TABLE public.p11 DISABLE TRIGGER y",
        "ALTER TRIGGER y ON public.p RENAME TO \"Y\"; ALTER TABLE public.p1 DISABLE TRIGGER \"Y\"",
        "CREATE CONSTRAINT TRIGGER c AFTER UPDATE ON public.p DEFERRABLE FOR EACH ROW EXECUTE FUNCTION public.f()",
        "DROP TRIGGER x ON public.p",
        "DROP FUNCTION public.f CASCADE",
    ]);
}

#[test]
fn triggers_come_and_go_with_their_tables() {
    let mut pair = Pair::new();
    pair.follow(&[
        FUNCTION,
        "CREATE TABLE public.p (a int) PARTITION BY RANGE (a); CREATE TRIGGER x AFTER INSERT ON public.p FOR EACH ROW EXECUTE FUNCTION public.f(); ALTER TABLE public.p DISABLE TRIGGER x; CREATE TABLE public.p1 PARTITION OF public.p FOR VALUES FROM (0) TO (10); ALTER TABLE public.p1 ENABLE TRIGGER x; COMMENT ON TRIGGER x ON public.p1 IS 'x'",
        "CREATE TABLE public.p2 (a int); ALTER TABLE public.p ATTACH PARTITION public.p2 FOR VALUES FROM (10) TO (20); COMMENT ON TRIGGER x ON public.p2 IS 'x'",
        "ALTER TABLE public.p DETACH PARTITION public.p1",
        "ALTER TABLE public.p ATTACH PARTITION public.p1 FOR VALUES FROM (0) TO (10); ALTER TABLE public.p1 ENABLE ALWAYS TRIGGER x",
        "ALTER TABLE public.p1 RENAME TO q; ALTER TRIGGER x ON public.p RENAME TO y; ALTER TABLE public.q DISABLE TRIGGER y",
        "CREATE TABLE public.t (a int, b int); CREATE TRIGGER x BEFORE UPDATE OF b ON public.t FOR EACH ROW WHEN (old.b > 1) EXECUTE FUNCTION public.f(); CREATE VIEW public.v AS SELECT b FROM public.t; CREATE RULE r AS ON DELETE TO public.v DO INSTEAD DELETE FROM public.t WHERE t.b = old.b; CREATE POLICY p ON public.t USING (b = 1); CREATE PUBLICATION pub FOR TABLE public.t (a, b), public.p",
        "ALTER TABLE public.t RENAME TO u; ALTER TRIGGER x ON public.u RENAME TO y; ALTER POLICY p ON public.u RENAME TO q; ALTER TABLE public.u RENAME b TO c; CREATE TABLE public.t (b int); CREATE OR REPLACE VIEW public.v AS SELECT b FROM public.t",
        "CREATE OR REPLACE VIEW public.v AS SELECT c AS b FROM public.u; DROP TABLE public.t",
        "ALTER TABLE public.u DROP COLUMN c CASCADE",
        "CREATE RULE r AS ON INSERT TO public.u DO ALSO NOTHING; CREATE TRIGGER z BEFORE INSERT ON public.u FOR EACH ROW EXECUTE FUNCTION public.f(); CREATE POLICY z ON public.u; ALTER PUBLICATION pub ADD TABLE public.u",
        "DROP TABLE public.u",
        "DROP TABLE public.p",
    ]);
}

#[test]
fn constraint_triggers_are_not_changed_in_place() {
    let mut pair = Pair::new();
    pair.both(&[
        "CREATE TABLE public.t (a int PRIMARY KEY, b int REFERENCES public.t DEFERRABLE)",
        FUNCTION,
    ]);
    pair.follow(&[
        "ALTER TABLE public.t DISABLE TRIGGER USER",
        "CREATE CONSTRAINT TRIGGER c AFTER DELETE ON public.t FOR EACH ROW EXECUTE FUNCTION public.f()",
    ]);
    pair.follow(&[
        "ALTER TABLE public.t DISABLE TRIGGER ALL",
        "ALTER TABLE public.t ENABLE TRIGGER ALL",
    ]);
    pair.assert_unhandled(
        "UPDATE pg_catalog.pg_trigger SET tgdeferrable = true WHERE tgname = 'c'",
        "trigger",
    );
}

/// pg_dump does not tell the states of these.
#[test]
fn internal_triggers_are_disabled_and_enabled() {
    let mut pair = Pair::new();
    let states = "SELECT t.tgrelid::pg_catalog.regclass::text, pg_catalog.rtrim(t.tgname, '0123456789'), t.tgfoid::pg_catalog.regproc, t.tgenabled \
                  FROM pg_catalog.pg_trigger t ORDER BY 1, 2, 3, 4";
    for statement in [
        "CREATE TABLE public.pk (a int PRIMARY KEY, b int, UNIQUE (b) DEFERRABLE); CREATE TABLE public.\"f'k\" (a int REFERENCES public.pk, b int REFERENCES public.pk)",
        "ALTER TABLE public.\"f'k\" DISABLE TRIGGER ALL",
        "ALTER TABLE public.pk DISABLE TRIGGER ALL",
        "ALTER TABLE public.pk ENABLE TRIGGER ALL",
        "CREATE TABLE public.tree (a int PRIMARY KEY, f int REFERENCES public.tree) PARTITION BY LIST (a); \
         CREATE TABLE public.tree1 PARTITION OF public.tree FOR VALUES IN (1); CREATE TABLE public.tree2 PARTITION OF public.tree FOR VALUES IN (2)",
        "ALTER TABLE public.tree DISABLE TRIGGER ALL",
    ] {
        pair.follow(&[statement]);
        pair.assert_same_result(states, statement);
    }
}

#[test]
fn a_partitions_own_trigger_is_replaced_by_a_clone() {
    Pair::new().follow(&[
        "CREATE FUNCTION public.fa() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; CREATE FUNCTION public.fb() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
        "CREATE TABLE public.pt (a int) PARTITION BY RANGE (a); CREATE TABLE public.pt1 PARTITION OF public.pt FOR VALUES FROM (0) TO (1000) PARTITION BY RANGE (a); \
         CREATE TABLE public.pt11 PARTITION OF public.pt1 FOR VALUES FROM (0) TO (100)",
        "CREATE TRIGGER my AFTER INSERT ON public.pt1 FOR EACH ROW EXECUTE FUNCTION public.fa()",
        "ALTER TABLE public.pt1 DISABLE TRIGGER my",
        "CREATE OR REPLACE TRIGGER my AFTER INSERT ON public.pt FOR EACH ROW EXECUTE FUNCTION public.fb()",
    ]);
}
