//! "I have no shell on the server, only a connection."

use crate::offsite_recipes::recipe;
use harness::{program, wait_until, Cluster};

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The answer as JSON, and the exit status.
fn json(arguments: &[&str]) -> (serde_json::Value, Option<i32>) {
    let output = program(&[arguments, &["--json"]].concat());
    let line = text(&output.stdout);
    let value = serde_json::from_str(line.trim());
    let value = value.unwrap_or_else(|error| panic!("{error}: {line}{}", text(&output.stderr)));
    (value, output.status.code())
}

/// The same archive says the same, wherever it is read: all but the place, and what the server does not show.
#[test]
fn a_connection_shows_what_the_directory_shows() {
    let c = Cluster::builder().database("my \"shop\"").back_up();
    c.sql("CREATE TABLE t (a int PRIMARY KEY, b text)");
    c.sql("INSERT INTO t SELECT a, repeat('text ', 1000) FROM generate_series(1, 2000) a; SELECT incr_rotate()");
    c.sql("SELECT incr_dump(); UPDATE t SET b = 'short' WHERE a < 10");
    c.flush();
    let directory = c.archive_directory().display().to_string();
    let (mut of_files, status) = json(&["info", "--archive", &directory]);
    assert_eq!(status, Some(0));
    let (mut of_server, status) = json(&["info", "--from", &c.conninfo(c.database())]);
    assert_eq!(status, Some(0));
    assert_eq!(of_server["database"], "my \"shop\"");
    for answer in [&mut of_files, &mut of_server] {
        answer["place"].take();
        // owner.json is not among the files that a server shows.
        answer["source"]["host"].take();
        answer["source"]["data_directory"].take();
    }
    assert_eq!(of_files, of_server);
}

#[test]
fn the_right_to_read_is_enough_and_is_needed() {
    // The extension's schema has a name that must be quoted.
    let c = Cluster::builder().start();
    c.sql("CREATE SCHEMA \"Back up\"; CREATE EXTENSION pg_incrbackup SCHEMA \"Back up\"");
    c.sql("SELECT * FROM \"Back up\".incr_setup(); CREATE TABLE t (a int PRIMARY KEY); INSERT INTO t VALUES (1)");
    c.sql("CREATE ROLE reader LOGIN; CREATE ROLE mallory LOGIN; GRANT USAGE ON SCHEMA \"Back up\" TO reader, mallory");
    c.sql("GRANT EXECUTE ON FUNCTION \"Back up\".incr_read TO reader");
    let of = |role: &str| {
        c.conninfo("app")
            .replace("user=postgres", &format!("user={role}"))
    };
    let (_, status) = json(&["info", "--from", &of("reader")]);
    assert_eq!(status, Some(0));
    let refused = program(&["info", "--from", &of("mallory")]);
    assert_eq!(refused.status.code(), Some(1));
    let said = text(&refused.stderr);
    assert!(
        said.contains("GRANT EXECUTE ON FUNCTION \"Back up\".incr_read"),
        "{said}"
    );
    let refused = program(&["info", "--from", &c.conninfo("postgres")]);
    assert_eq!(refused.status.code(), Some(1));
    let said = text(&refused.stderr);
    assert!(
        said.contains("the extension pg_incrbackup is not in the database \"postgres\""),
        "{said}"
    );
}

#[test]
fn the_roles_of_the_pages_recipe_can_read() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE t (a int PRIMARY KEY); INSERT INTO t VALUES (1); SELECT incr_rotate()");
    c.sql(&recipe("puller"));
    let conninfo = c.conninfo("app").replace("user=postgres", "user=puller");
    wait_until("it reads", || {
        program(&["info", "--from", &conninfo]).status.success()
    });
}
