//! "My statement was about everything there was, and somebody was just making more."

use harness::Cluster;

const ROLES: &str = "CREATE ROLE a; CREATE ROLE b; GRANT a TO CURRENT_USER; CREATE SCHEMA s";

/// The flags that the increments hold.
fn flags(c: &Cluster) -> Vec<String> {
    c.flush();
    let text = c.stream();
    let flags = text
        .lines()
        .filter_map(|line| line.split_once(" flag reason="));
    flags
        .map(|(_, reason)| reason.replace("%20", " "))
        .collect()
}

/// Statements over whatever there is, and what another session makes meanwhile and commits first.
const OVERTAKEN: [(&str, &str); 6] = [
    (
        "REASSIGN OWNED BY a TO b",
        "CREATE TABLE s.t (); ALTER TABLE s.t OWNER TO a",
    ),
    (
        "DROP OWNED BY a",
        "CREATE TABLE s.t (); GRANT SELECT ON s.t TO a",
    ),
    (
        "GRANT SELECT ON ALL TABLES IN SCHEMA s TO a",
        "CREATE TABLE s.t ()",
    ),
    (
        "REVOKE ALL ON ALL SEQUENCES IN SCHEMA s FROM a",
        "CREATE SEQUENCE s.t",
    ),
    (
        "GRANT EXECUTE ON ALL ROUTINES IN SCHEMA s TO a",
        "CREATE FUNCTION s.f() RETURNS int RETURN 1; CREATE PROCEDURE s.p() BEGIN ATOMIC END",
    ),
    (
        "ALTER TABLE ALL IN TABLESPACE space SET TABLESPACE pg_default",
        "CREATE TABLE s.t () TABLESPACE space",
    ),
];

fn overtake(c: &Cluster, over: &str, making: &str) {
    let (mut one, mut other) = (c.session(), c.session());
    one.run("BEGIN");
    other.run("BEGIN");
    other.run(making);
    one.run(over);
    other.run("COMMIT");
    one.run("COMMIT");
}

/// Seed 102588757 on 15.
#[test]
fn a_statement_over_everything_reaches_at_restore_what_it_reached() {
    let c = Cluster::builder()
        .setting("allow_in_place_tablespaces", "on")
        .back_up();
    c.sql("CREATE TABLESPACE space LOCATION ''");
    c.sql(ROLES);
    c.sql("CREATE SEQUENCE s.reached; CREATE TABLE s.reached_too (); CREATE FUNCTION s.g() RETURNS int RETURN 1");
    for (number, (over, making)) in OVERTAKEN.into_iter().enumerate() {
        overtake(&c, over, making);
        c.sql(&format!(
            "ALTER SCHEMA s RENAME TO past_{number}; CREATE SCHEMA s"
        ));
    }
    c.assert_restores();
    assert_eq!(flags(&c), Vec::<String>::new());
}

#[test]
fn a_statement_over_everything_is_not_flagged_where_it_comes_to_the_same() {
    let c = Cluster::backed_up();
    c.sql(ROLES);
    let (mut one, mut other) = (c.session(), c.session());
    other.run("BEGIN");
    other.run("CREATE TABLE s.later (); ALTER TABLE s.later OWNER TO a");
    one.run("BEGIN; CREATE TABLE s.own (); ALTER TABLE s.own OWNER TO a; SAVEPOINT p");
    c.sql("CREATE SCHEMA elsewhere; CREATE TABLE elsewhere.t (); CREATE TABLE s.before ()");
    one.run(
        "GRANT SELECT ON ALL TABLES IN SCHEMA s TO a; REASSIGN OWNED BY a TO b; DROP OWNED BY a",
    );
    c.sql("CREATE TABLE elsewhere.u ()");
    one.run("COMMIT");
    other.run("COMMIT");
    c.assert_restores();
    assert_eq!(flags(&c), Vec::<String>::new());
}

fn make_while_default_privileges_come(c: &Cluster) {
    c.sql(ROLES);
    let mut one = c.session();
    one.run("BEGIN; CREATE TABLE s.t (a int PRIMARY KEY)");
    c.sql("ALTER DEFAULT PRIVILEGES IN SCHEMA s GRANT SELECT ON TABLES TO a");
    one.run("CREATE TABLE s.u (); CREATE INDEX ON s.t (a); COMMIT");
    c.sql("CREATE TABLE s.v ()");
}

#[test]
fn default_privileges_that_came_while_a_table_was_made_give_it_nothing_at_restore() {
    let c = Cluster::backed_up();
    make_while_default_privileges_come(&c);
    c.assert_restores();
    assert_eq!(flags(&c), Vec::<String>::new());
}
