//! "A setting of a role, or of the database, stops the restore": its own sessions have settings of their own.

use crate::source::{unique, Source, Statement, TABLE};

/// A superuser who is set up so that nothing of restore.sh would work.
fn hindered(source: &Source) -> String {
    let role = unique("hindered");
    let settings = [
        "default_transaction_read_only = on",
        "default_transaction_deferrable = on",
        "default_transaction_isolation = serializable",
        "statement_timeout = '1ms'",
        "lock_timeout = '1ms'",
        "idle_in_transaction_session_timeout = '1ms'",
        "standard_conforming_strings = off",
        "client_min_messages = debug1",
        "client_encoding = 'LATIN1'",
        "row_security = on",
        "search_path = nowhere",
    ];
    let settings = settings.map(|setting| format!("ALTER ROLE {role} SET {setting};"));
    let nobody = unique("nobody");
    source.cluster.psql(
        "postgres",
        format!(
            "CREATE ROLE {role} SUPERUSER LOGIN; CREATE ROLE {nobody};
             ALTER ROLE {role} SET role = {nobody};{}",
            settings.concat()
        ),
    );
    role
}

fn source() -> Source {
    let mut source = Source::new(TABLE);
    source.base_with("100:100:", |base, _| {
        let sql = "ALTER DATABASE :\"dbname\" SET statement_timeout = '1ms';\n\
            ALTER DATABASE :\"dbname\" SET default_transaction_read_only = on;\n\
            ALTER DATABASE :\"dbname\" SET search_path = nowhere;\n";
        base.write_file("database.sql", sql.as_bytes()).unwrap();
    });
    source.transaction(
        100,
        &[Statement("UPDATE public.a SET x = E'a\\\\b' WHERE id = 1;")],
    );
    source
}

fn conninfo(source: &Source, role: &str, database: &str) -> String {
    let conninfo = source.cluster.conninfo(database);
    conninfo.replace("user=postgres", &format!("user={role}"))
}

#[test]
fn what_a_role_or_the_database_sets_does_not_reach_the_restore() {
    let source = source();
    let role = hindered(&source);
    let target = unique("target");
    let run = source.run(&["--target", &conninfo(&source, &role, &target)]);
    assert!(run.0.status.success(), "{}", run.text());
    assert!(!run.text().contains("DEBUG"), "{}", run.text());
    let reset = format!("ALTER DATABASE {target} RESET ALL");
    source.cluster.psql("postgres", reset);
    source.assert_same(&target);
}

#[test]
fn an_operator_that_somebody_has_made_is_not_run_by_the_restorer() {
    let source = source();
    let role = unique("careless");
    let evil = unique("evil");
    source.cluster.psql(
        "postgres",
        format!(
            "CREATE ROLE {role} SUPERUSER LOGIN; CREATE SCHEMA {evil}; CREATE TABLE {evil}.seen (who name);
             CREATE FUNCTION {evil}.equal(name, name) RETURNS bool LANGUAGE plpgsql AS
                'BEGIN INSERT INTO {evil}.seen VALUES (current_user); RETURN true; END';
             CREATE OPERATOR {evil}.= (FUNCTION = {evil}.equal, LEFTARG = name, RIGHTARG = name);
             CREATE FUNCTION {evil}.now() RETURNS timestamptz LANGUAGE plpgsql AS
                'BEGIN INSERT INTO {evil}.seen VALUES (current_user); RETURN pg_catalog.now(); END';
             ALTER ROLE {role} IN DATABASE postgres SET search_path = {evil}, pg_catalog"
        ),
    );
    let target = unique("target");
    let info = conninfo(&source, &role, &target);
    let run = source.run(&[
        "--target",
        &info,
        "--until-time",
        "2030-01-01",
        "--allow-earlier",
    ]);
    assert!(run.0.status.success(), "{}", run.text());
    let seen = format!("SELECT count(*) FROM {evil}.seen");
    assert_eq!(source.cluster.psql("postgres", seen), "0");
    source
        .cluster
        .psql("postgres", format!("DROP SCHEMA {evil} CASCADE"));
}

#[test]
fn a_connection_with_options_of_its_own_is_refused() {
    let source = source();
    let info = source.cluster.conninfo(&unique("target"));
    let options = format!("{info} options='-c work_mem=4MB'");
    let run = source.run(&["--target", &options]);
    assert_eq!(run.0.status.code(), Some(1));
    assert!(run.text().contains("PGOPTIONS"), "{}", run.text());
}
