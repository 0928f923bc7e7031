//! Base types and their shells.

use crate::follow::Pair;

const FUNCTIONS: &str = "CREATE FUNCTION public.t_in(cstring) RETURNS public.t LANGUAGE internal STRICT IMMUTABLE AS 'textin'; \
     CREATE FUNCTION public.t_out(public.t) RETURNS cstring LANGUAGE internal STRICT IMMUTABLE AS 'textout'; \
     CREATE FUNCTION public.t_recv(internal) RETURNS public.t LANGUAGE internal STRICT STABLE AS 'textrecv'; \
     CREATE FUNCTION public.t_send(public.t) RETURNS bytea LANGUAGE internal STRICT STABLE AS 'textsend'; \
     CREATE FUNCTION public.t_typmod_in(cstring[]) RETURNS int LANGUAGE internal STRICT IMMUTABLE AS 'varchartypmodin'; \
     CREATE FUNCTION public.t_typmod_out(int) RETURNS cstring LANGUAGE internal STRICT IMMUTABLE AS 'varchartypmodout'";

#[test]
fn base_types() {
    let mut pair = Pair::new();
    pair.follow(&[
        "CREATE TYPE public.shell",
        "CREATE TYPE public.\"Shell x\"; DROP TYPE public.shell",
        "DROP TYPE public.\"Shell x\"; CREATE TYPE public.t",
        "ALTER TYPE public.t OWNER TO alice",
        FUNCTIONS,
        // Of the owner of the shell.
        "ALTER TYPE public.t OWNER TO CURRENT_USER; \
         CREATE TYPE public.t (INPUT = public.t_in, OUTPUT = public.t_out, INTERNALLENGTH = variable, \
         STORAGE = plain, CATEGORY = 'S', DELIMITER = ';', DEFAULT = 'it''s', COLLATABLE = true)",
        "ALTER TYPE public.t SET (STORAGE = extended, RECEIVE = public.t_recv, SEND = public.t_send, \
         TYPMOD_IN = public.t_typmod_in, TYPMOD_OUT = public.t_typmod_out, ANALYZE = array_typanalyze)",
        "ALTER TYPE public.t SET (TYPMOD_IN = NONE, TYPMOD_OUT = NONE, ANALYZE = NONE)",
        "CREATE DOMAIN public.d AS public.t",
        "ALTER TYPE public.t SET (STORAGE = main, SEND = NONE)",
        "GRANT USAGE ON TYPE public.t TO bob; COMMENT ON TYPE public.t IS 't'",
        "ALTER TYPE public.t OWNER TO alice",
        "CREATE SCHEMA s",
        "ALTER FUNCTION public.t_in SET SCHEMA s; ALTER TYPE public.t SET SCHEMA s; ALTER TYPE s.t RENAME TO \"T t\"",
        "CREATE CAST (s.\"T t\" AS int) WITH INOUT",
        "CREATE TYPE public.of_it AS (a s.\"T t\", b s.\"T t\"[])",
        "DROP TYPE s.\"T t\" CASCADE",
        "CREATE TYPE public.u",
        "CREATE FUNCTION public.u_in(cstring) RETURNS public.u LANGUAGE internal STRICT IMMUTABLE AS 'int8in'; \
         CREATE FUNCTION public.u_out(public.u) RETURNS cstring LANGUAGE internal STRICT IMMUTABLE AS 'int8out'",
        "CREATE TYPE public.u (INPUT = public.u_in, OUTPUT = public.u_out, LIKE = int8, PREFERRED = true, CATEGORY = 'x', ELEMENT = int4, SUBSCRIPT = raw_array_subscript_handler)",
    ]);
    pair.assert_unhandled(
        "CREATE TYPE public.v; \
         CREATE FUNCTION public.v_in(cstring) RETURNS public.v LANGUAGE internal STRICT IMMUTABLE AS 'int8in'; \
         CREATE FUNCTION public.v_out(public.v) RETURNS cstring LANGUAGE internal STRICT IMMUTABLE AS 'int8out'; \
         CREATE TYPE public.v (INPUT = public.v_in, OUTPUT = public.v_out, LIKE = int8)",
        "order",
    );
}
