//! Languages, access methods, transforms; and what stays with the text: extensions.

use crate::follow::Pair;

#[test]
fn languages() {
    Pair::new().follow(&[
        "CREATE TRUSTED LANGUAGE l HANDLER plpgsql_call_handler INLINE plpgsql_inline_handler VALIDATOR plpgsql_validator",
        "CREATE LANGUAGE \"L l\" HANDLER pg_catalog.plpgsql_call_handler",
        "COMMENT ON LANGUAGE l IS 'l'",
        "ALTER LANGUAGE l OWNER TO alice",
        "GRANT USAGE ON LANGUAGE l TO bob WITH GRANT OPTION; SET SESSION AUTHORIZATION bob; GRANT USAGE ON LANGUAGE l TO \"Odd role\"",
        "REVOKE ALL ON LANGUAGE l FROM PUBLIC, alice",
        "ALTER LANGUAGE l RENAME TO \"select\"; ALTER LANGUAGE \"L l\" RENAME TO l",
        "CREATE OR REPLACE LANGUAGE l HANDLER plpgsql_call_handler VALIDATOR plpgsql_validator",
        "CREATE OR REPLACE TRUSTED LANGUAGE l HANDLER plpgsql_call_handler INLINE plpgsql_inline_handler",
        "CREATE FUNCTION public.f() RETURNS int LANGUAGE \"select\" AS 'BEGIN RETURN 1; END'",
        "DROP LANGUAGE \"select\" CASCADE; CREATE LANGUAGE \"select\" HANDLER plpgsql_call_handler",
        "DROP LANGUAGE l, \"select\"",
    ]);
}

#[test]
fn privileges_of_a_language_that_is_not_trusted() {
    let mut pair = Pair::new();
    pair.follow(&[
        "CREATE TRUSTED LANGUAGE l HANDLER plpgsql_call_handler; GRANT USAGE ON LANGUAGE l TO bob",
    ]);
    pair.assert_unhandled(
        "CREATE OR REPLACE LANGUAGE l HANDLER plpgsql_call_handler",
        "language",
    );
}

#[test]
fn access_methods_and_transforms() {
    let mut pair = Pair::new();
    pair.follow(&[
        "CREATE ACCESS METHOD m TYPE INDEX HANDLER bthandler",
        "CREATE ACCESS METHOD \"T t\" TYPE TABLE HANDLER pg_catalog.heap_tableam_handler",
        "COMMENT ON ACCESS METHOD \"T t\" IS 't'",
        "CREATE OPERATOR FAMILY public.f USING m",
        "DROP ACCESS METHOD m CASCADE; CREATE ACCESS METHOD m TYPE TABLE HANDLER heap_tableam_handler",
        "DROP ACCESS METHOD m; DROP ACCESS METHOD \"T t\"",
        "CREATE SCHEMA s",
        "CREATE FUNCTION s.\"From\"(internal) RETURNS internal LANGUAGE internal IMMUTABLE AS 'prsd_lextype'",
        "CREATE FUNCTION s.\"to\"(internal) RETURNS int LANGUAGE internal IMMUTABLE AS 'prsd_lextype'",
        "CREATE TRANSFORM FOR int LANGUAGE plpgsql (FROM SQL WITH FUNCTION s.\"From\"(internal), TO SQL WITH FUNCTION s.\"to\"(internal))",
        "COMMENT ON TRANSFORM FOR int LANGUAGE plpgsql IS 'x'",
        "CREATE OR REPLACE TRANSFORM FOR int LANGUAGE plpgsql (TO SQL WITH FUNCTION s.\"to\"(internal))",
        "CREATE OR REPLACE TRANSFORM FOR int LANGUAGE plpgsql (FROM SQL WITH FUNCTION s.\"From\"(internal))",
        "CREATE FUNCTION s.f(int) RETURNS int TRANSFORM FOR TYPE int LANGUAGE plpgsql AS 'BEGIN RETURN 1; END'",
        "DROP TRANSFORM FOR int LANGUAGE plpgsql CASCADE",
        "CREATE TRANSFORM FOR int LANGUAGE plpgsql (TO SQL WITH FUNCTION s.\"to\"(internal)); DROP FUNCTION s.\"From\"(internal)",
        "DROP SCHEMA s CASCADE",
    ]);
}

#[test]
fn extensions_stay_with_their_text() {
    let mut pair = Pair::new();
    pair.both(&["DROP EXTENSION plpgsql"]);
    pair.assert_unhandled("CREATE EXTENSION plpgsql", "extension");
    pair.follow(&[
        "COMMENT ON EXTENSION plpgsql IS 'changed'",
        "DROP EXTENSION plpgsql",
    ]);
}
