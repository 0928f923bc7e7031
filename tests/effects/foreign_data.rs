//! Foreign-data wrappers, servers and user mappings.

use crate::follow::Pair;

#[test]
fn wrappers_servers_and_user_mappings() {
    let mut pair = Pair::new();
    pair.cluster
        .sql_in("postgres", "CREATE ROLE boss SUPERUSER");
    pair.follow(&[
        "CREATE FOREIGN DATA WRAPPER w",
        "CREATE FOREIGN DATA WRAPPER \"Odd \"\"w\" OPTIONS (host 'it''s', dbname '')",
        "ALTER FOREIGN DATA WRAPPER \"Odd \"\"w\" OPTIONS (SET host 'a\\b', DROP dbname, ADD \"Odd o\" 'x=y')",
        "ALTER FOREIGN DATA WRAPPER w VALIDATOR pg_catalog.postgresql_fdw_validator",
        "ALTER FOREIGN DATA WRAPPER w NO VALIDATOR",
        "ALTER FOREIGN DATA WRAPPER w VALIDATOR pg_catalog.postgresql_fdw_validator; ALTER FOREIGN DATA WRAPPER w OWNER TO boss",
        "COMMENT ON FOREIGN DATA WRAPPER w IS 'é'",
        "GRANT USAGE ON FOREIGN DATA WRAPPER w TO alice WITH GRANT OPTION; SET SESSION AUTHORIZATION alice; GRANT USAGE ON FOREIGN DATA WRAPPER w TO bob",
        "ALTER FOREIGN DATA WRAPPER w RENAME TO v; ALTER FOREIGN DATA WRAPPER \"Odd \"\"w\" RENAME TO w",
        "SET SESSION AUTHORIZATION bob; CREATE SERVER s FOREIGN DATA WRAPPER v",
        "CREATE SERVER \"Odd s\" TYPE 'oracle' VERSION '1''2' FOREIGN DATA WRAPPER v OPTIONS (host 'h', port '1')",
        "CREATE SERVER e TYPE '' VERSION '' FOREIGN DATA WRAPPER v",
        "ALTER SERVER \"Odd s\" VERSION '2' OPTIONS (DROP port, ADD dbname 'd')",
        "ALTER SERVER \"Odd s\" VERSION NULL",
        "ALTER SERVER s OPTIONS (ADD host 'x'); ALTER SERVER s VERSION 'v'",
        "ALTER SERVER s OPTIONS (DROP host)",
        "COMMENT ON SERVER s IS 'server'",
        "GRANT USAGE ON FOREIGN SERVER s TO alice WITH GRANT OPTION; SET SESSION AUTHORIZATION alice; GRANT USAGE ON FOREIGN SERVER s TO PUBLIC",
        "ALTER SERVER s OWNER TO alice",
        "REVOKE ALL ON FOREIGN SERVER s FROM alice",
        "CREATE USER MAPPING FOR alice SERVER s OPTIONS (user 'u', password 'se''cret')",
        "CREATE USER MAPPING FOR PUBLIC SERVER s; CREATE USER MAPPING FOR \"Odd role\" SERVER \"Odd s\" OPTIONS (password '')",
        "ALTER USER MAPPING FOR alice SERVER s OPTIONS (SET password 'other', DROP user)",
        "ALTER USER MAPPING FOR PUBLIC SERVER s OPTIONS (ADD user 'all')",
        "ALTER SERVER s RENAME TO t; ALTER SERVER \"Odd s\" RENAME TO s; ALTER USER MAPPING FOR alice SERVER t OPTIONS (SET password 'x')",
        "DROP USER MAPPING FOR PUBLIC SERVER t",
        "DROP USER MAPPING FOR alice SERVER t; CREATE USER MAPPING FOR alice SERVER t",
        "DROP SERVER s CASCADE",
        "DROP SERVER t CASCADE; CREATE SERVER t FOREIGN DATA WRAPPER w; CREATE USER MAPPING FOR PUBLIC SERVER t",
        "COMMENT ON SERVER t IS 'c'; COMMENT ON SERVER t IS NULL",
        "DROP FOREIGN DATA WRAPPER v, w CASCADE",
    ]);
}

#[test]
fn wrappers_with_handlers() {
    let mut pair = Pair::new();
    pair.follow(&["CREATE SCHEMA fs"]);
    let Ok(()) = handlers(&mut pair) else { return };
    pair.follow(&[
        "CREATE FOREIGN DATA WRAPPER p HANDLER fs.h VALIDATOR fs.v",
        "ALTER FOREIGN DATA WRAPPER p NO HANDLER",
        "ALTER FOREIGN DATA WRAPPER p HANDLER fs.h",
        "ALTER FUNCTION fs.h SET SCHEMA public; ALTER FUNCTION public.h RENAME TO \"H\"",
        "DROP FUNCTION fs.v(text[], oid) CASCADE",
    ]);
}

/// Where the tree has postgres_fdw.
fn handlers(pair: &mut Pair) -> Result<(), ()> {
    let library = pair
        .cluster
        .installation()
        .module_directory()
        .join("postgres_fdw.so");
    if !library.exists() {
        return Err(());
    }
    pair.follow(&[
        "CREATE FUNCTION fs.h() RETURNS fdw_handler LANGUAGE c AS '$libdir/postgres_fdw', 'postgres_fdw_handler'",
        "CREATE FUNCTION fs.v(text[], oid) RETURNS void LANGUAGE c AS '$libdir/postgres_fdw', 'postgres_fdw_validator'",
    ]);
    Ok(())
}
