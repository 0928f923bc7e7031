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

/// Statements over whatever there is, what another session makes meanwhile and commits first, and how much more
/// the statement would reach behind that.
const OVERTAKEN: [(&str, &str, u32); 6] = [
    (
        "REASSIGN OWNED BY a TO b",
        "CREATE TABLE s.t (); ALTER TABLE s.t OWNER TO a",
        1,
    ),
    (
        "DROP OWNED BY a",
        "CREATE TABLE s.t (); GRANT SELECT ON s.t TO a",
        1,
    ),
    (
        "GRANT SELECT ON ALL TABLES IN SCHEMA s TO a",
        "CREATE TABLE s.t ()",
        1,
    ),
    (
        "REVOKE ALL ON ALL SEQUENCES IN SCHEMA s FROM a",
        "CREATE SEQUENCE s.t",
        1,
    ),
    (
        "GRANT EXECUTE ON ALL ROUTINES IN SCHEMA s TO a",
        "CREATE FUNCTION s.f() RETURNS int RETURN 1; CREATE PROCEDURE s.p() BEGIN ATOMIC END",
        2,
    ),
    (
        "ALTER TABLE ALL IN TABLESPACE space SET TABLESPACE pg_default",
        "CREATE TABLE s.t () TABLESPACE space",
        1,
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
    for (number, (over, making, _)) in OVERTAKEN.into_iter().enumerate() {
        overtake(&c, over, making);
        c.sql(&format!(
            "ALTER SCHEMA s RENAME TO past_{number}; CREATE SCHEMA s"
        ));
    }
    c.assert_restores();
    assert_eq!(flags(&c), Vec::<String>::new());
}

/// Goes with the text way.
#[test]
fn a_text_over_everything_is_flagged_where_a_restore_reaches_more() {
    for (over, making, objects) in OVERTAKEN {
        let c = Cluster::builder()
            .setting("pg_incrbackup.schema_changes", "text")
            .setting("allow_in_place_tablespaces", "on")
            .back_up();
        c.sql("CREATE TABLESPACE space LOCATION ''");
        c.sql(ROLES);
        overtake(&c, over, making);
        let command = over.split(' ').next().unwrap_or_default();
        let flags = flags(&c);
        assert_eq!(flags.len(), 1, "{over}: {flags:?}");
        assert!(flags[0].starts_with(command), "{flags:?}");
        assert!(
            flags[0].contains(&format!("reaches {objects} more")),
            "{flags:?}"
        );
    }
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

/// Goes with the text way.
#[test]
fn default_privileges_that_a_text_would_get_at_restore_are_flagged() {
    let c = Cluster::builder()
        .setting("pg_incrbackup.schema_changes", "text")
        .back_up();
    make_while_default_privileges_come(&c);
    let flags = flags(&c);
    assert_eq!(flags.len(), 1, "{flags:?}");
    assert!(
        flags[0].starts_with("CREATE TABLE: at restore"),
        "{flags:?}"
    );
}
