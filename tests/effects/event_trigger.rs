//! Event triggers.

use crate::follow::Pair;

#[test]
fn event_triggers() {
    let mut pair = Pair::new();
    pair.both(&["CREATE SCHEMA \"S\"; ALTER ROLE alice SUPERUSER"]);
    pair.follow(&[
        "CREATE FUNCTION \"S\".\"F g\"() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'",
        "CREATE FUNCTION \"S\".\"F g\"(int) RETURNS int LANGUAGE sql RETURN 1",
        "CREATE EVENT TRIGGER e ON ddl_command_start EXECUTE FUNCTION \"S\".\"F g\"()",
        "CREATE EVENT TRIGGER \"Odd \"\"ëvent\" ON ddl_command_end WHEN TAG IN ('CREATE TABLE', 'drop view') EXECUTE FUNCTION \"S\".\"F g\"()",
        "CREATE EVENT TRIGGER d ON sql_drop EXECUTE FUNCTION \"S\".\"F g\"(); ALTER EVENT TRIGGER d DISABLE; COMMENT ON EVENT TRIGGER d IS 'd'",
        "CREATE EVENT TRIGGER r ON table_rewrite EXECUTE FUNCTION \"S\".\"F g\"()",
        "ALTER EVENT TRIGGER e ENABLE ALWAYS; ALTER EVENT TRIGGER r ENABLE REPLICA",
        "ALTER EVENT TRIGGER e DISABLE; ALTER EVENT TRIGGER r ENABLE; ALTER EVENT TRIGGER r OWNER TO alice",
        "ALTER EVENT TRIGGER e RENAME TO tmp; ALTER EVENT TRIGGER d RENAME TO e; ALTER FUNCTION \"S\".\"F g\"() RENAME TO f",
        "DROP EVENT TRIGGER e; CREATE EVENT TRIGGER e ON sql_drop EXECUTE FUNCTION \"S\".f()",
        "DROP EVENT TRIGGER e",
        "DROP FUNCTION \"S\".f() CASCADE",
    ]);
}
