//! Functions and procedures: every option, and what replaces what.

use crate::follow::Pair;

#[test]
fn every_option_there_and_back() {
    let mut pair = Pair::new();
    pair.follow(&[
        "CREATE FUNCTION public.\"F x\"(INOUT a int, OUT \"B b\" text, VARIADIC c int[] DEFAULT '{}') RETURNS SETOF record LANGUAGE sql AS $$ SELECT 1, 'it''s' $$",
        "ALTER FUNCTION public.\"F x\" IMMUTABLE STRICT SECURITY DEFINER LEAKPROOF PARALLEL SAFE COST 5 ROWS 7",
        "ALTER FUNCTION public.\"F x\" SET search_path = \"a b\", public; ALTER FUNCTION public.\"F x\" SET work_mem = '5MB'",
        "ALTER FUNCTION public.\"F x\" RESET work_mem; ALTER FUNCTION public.\"F x\" SET \"odd.Setting\" = 'it''s'",
        "ALTER FUNCTION public.\"F x\" RESET ALL",
        "ALTER FUNCTION public.\"F x\" VOLATILE CALLED ON NULL INPUT SECURITY INVOKER NOT LEAKPROOF PARALLEL UNSAFE COST 100 ROWS 1000",
        "GRANT EXECUTE ON FUNCTION public.\"F x\" TO bob; COMMENT ON FUNCTION public.\"F x\" IS 'f'",
        "CREATE FUNCTION public.s(int) RETURNS int LANGUAGE internal AS 'int4abs'",
        "ALTER FUNCTION public.s SUPPORT pg_catalog.generate_series_int4_support",
        "CREATE FUNCTION public.w() RETURNS int8 LANGUAGE internal WINDOW AS 'window_row_number'",
        "CREATE FUNCTION public.t(OUT x int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN x := 1; END $$; CREATE FUNCTION public.tab() RETURNS TABLE (a int, b text) LANGUAGE sql AS 'SELECT 1, null'",
        "CREATE FUNCTION public.trg() RETURNS trigger LANGUAGE plpgsql AS $body$ BEGIN RETURN new; END $body$",
        "CREATE PROCEDURE public.p(a int, OUT b int, INOUT c int DEFAULT 3) LANGUAGE plpgsql AS $$ BEGIN COMMIT; END $$",
        "CREATE PROCEDURE public.p(a text) LANGUAGE sql BEGIN ATOMIC SELECT a; SELECT 2; END",
        "GRANT EXECUTE ON PROCEDURE public.p(int, int, int) TO bob WITH GRANT OPTION; REVOKE ALL ON PROCEDURE public.p(text) FROM PUBLIC",
        "ALTER PROCEDURE public.p(text) SECURITY DEFINER SET work_mem = '1MB'",
        "CREATE SCHEMA s",
        "ALTER PROCEDURE public.p(text) SET SCHEMA s; ALTER PROCEDURE s.p(text) OWNER TO alice; ALTER PROCEDURE s.p(text) RENAME TO q",
    ]);
}

#[test]
fn replaced_and_made_anew() {
    let mut pair = Pair::new();
    pair.follow(&[
        "CREATE FUNCTION public.f(int) RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE OR REPLACE FUNCTION public.f(a int DEFAULT 1) RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE FUNCTION public.f(int, int) RETURNS int LANGUAGE sql AS 'SELECT 2'; CREATE FUNCTION public.f(text) RETURNS int LANGUAGE sql AS 'SELECT 2'",
        // Another name of the argument, another result.
        "DROP FUNCTION public.f(int); CREATE FUNCTION public.f(b int) RETURNS text LANGUAGE sql AS 'SELECT null::text'",
        "DROP FUNCTION public.f(int, int), public.f(text)",
        // Moved and replaced at once.
        "CREATE SCHEMA s",
        "ALTER FUNCTION public.f RENAME TO g; CREATE OR REPLACE FUNCTION public.g(b int) RETURNS text LANGUAGE sql AS 'SELECT 3::text'; ALTER FUNCTION public.g SET SCHEMA s",
        // Two change their names round.
        "CREATE FUNCTION public.a() RETURNS int LANGUAGE sql RETURN 1; CREATE FUNCTION public.b() RETURNS int LANGUAGE sql RETURN 2",
        // What it rests on is dropped, and another of the name is there.
        "CREATE FUNCTION public.over() RETURNS int LANGUAGE sql RETURN public.a()",
        "CREATE OR REPLACE FUNCTION public.over() RETURNS int LANGUAGE sql RETURN 1; DROP FUNCTION public.a",
        "CREATE FUNCTION public.a() RETURNS int LANGUAGE sql RETURN 1; CREATE OR REPLACE FUNCTION public.over() RETURNS int LANGUAGE sql RETURN public.a()",
        "ALTER FUNCTION public.a RENAME TO c",
        "CREATE TYPE public.e AS ENUM ('a'); CREATE FUNCTION public.of_e(public.e, VARIADIC public.e[]) RETURNS public.e LANGUAGE sql AS 'SELECT $1'",
        "ALTER TYPE public.e RENAME TO \"E e\"; ALTER FUNCTION public.of_e RENAME TO of_e2; COMMENT ON FUNCTION public.of_e2 IS 'x'",
        "DROP FUNCTION public.of_e2; CREATE FUNCTION public.of_e2(public.\"E e\") RETURNS int LANGUAGE sql RETURN 1",
        "DROP TYPE public.\"E e\" CASCADE",
        "CREATE PROCEDURE public.routine() LANGUAGE sql AS ''",
        "DROP PROCEDURE public.routine; CREATE FUNCTION public.routine() RETURNS int LANGUAGE sql RETURN 1",
        "ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC; CREATE FUNCTION public.private() RETURNS int LANGUAGE sql RETURN 1; \
         ALTER DEFAULT PRIVILEGES GRANT EXECUTE ON FUNCTIONS TO PUBLIC",
    ]);
}

#[test]
fn an_argument_of_a_table_function_gets_a_name() {
    Pair::new().follow(&[
        "CREATE FUNCTION public.tf(int) RETURNS TABLE (a int, b int) LANGUAGE plpgsql AS 'BEGIN RETURN; END'",
        "CREATE OR REPLACE FUNCTION public.tf(a1 int) RETURNS TABLE (a int, b int) LANGUAGE plpgsql AS 'BEGIN a := a1; RETURN; END'",
    ]);
}
