//! "Somebody gives the database a name, or a setting, and our superuser's connection goes elsewhere."

use harness::{run, wait_until, Cluster};
use std::net::TcpListener;

/// Bases and globals are made and nothing connects to the listener.
fn assert_backs_up(c: &Cluster) {
    c.sql("CREATE TABLE t (a int PRIMARY KEY, b text); INSERT INTO t VALUES (1, 'x\\y')");
    for format in ["plain", "compressed", "directory"] {
        c.set("pg_incrbackup.base_format", format);
        let base = c.sql("SELECT incr_dump()");
        let globals = std::fs::read_to_string(format!("{base}/globals.sql")).expect("it is there");
        assert!(globals.contains("CREATE ROLE here_only"), "{globals}");
    }
}

#[test]
fn a_database_named_like_a_connection_string_is_only_a_name() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    listener.set_nonblocking(true).expect("it can be set");
    let port = listener.local_addr().expect("it has one").port();
    let c = Cluster::builder()
        .database(&format!("host=127.0.0.1 port={port} dbname=x"))
        .start();
    c.sql("CREATE ROLE here_only; CREATE EXTENSION pg_incrbackup; SELECT * FROM incr_setup()");
    assert_backs_up(&c);
    assert!(listener.accept().is_err(), "somebody connected");
}

#[test]
fn any_name_of_a_database_is_only_a_name() {
    for name in [
        "it's \"quoted\" \\ and = spaced",
        "postgresql://127.0.0.1:1/x",
        "-d x",
        " ' host=/nowhere",
    ] {
        let c = Cluster::builder().database(name).start();
        c.sql("CREATE ROLE here_only; CREATE EXTENSION pg_incrbackup; SELECT * FROM incr_setup()");
        assert_backs_up(&c);
    }
}

#[test]
fn a_renamed_database_is_backed_up_under_its_new_name() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    listener.set_nonblocking(true).expect("it can be set");
    let port = listener.local_addr().expect("it has one").port();
    let c = Cluster::backed_up();
    let name = format!("host=127.0.0.1 port={port} dbname=x");
    let rename = format!("ALTER DATABASE {} RENAME TO \"{name}\"", c.database());
    c.sql_in("postgres", &rename);
    c.sql_in("postgres", "CREATE ROLE here_only");
    wait_until("the database is backed up under its new name", || {
        c.try_sql_in(&name, "SELECT incr_dump()").is_ok()
    });
    assert!(listener.accept().is_err(), "somebody connected");
}

#[test]
fn settings_of_database_and_roles_stop_no_base() {
    let c = Cluster::backed_up();
    c.sql("CREATE ROLE here_only; CREATE ROLE lesser");
    c.sql("CREATE ROLE helper SUPERUSER LOGIN; CREATE TABLE big (a int PRIMARY KEY, t text)");
    c.sql("INSERT INTO big SELECT g, 'x\\y' FROM generate_series(1, 100000) AS g");
    let database = c.database();
    c.sql(&format!(
        "ALTER DATABASE {database} SET role = lesser;
         ALTER DATABASE {database} SET search_path = nowhere;
         ALTER ROLE postgres SET default_transaction_isolation = 'read uncommitted';
         ALTER ROLE postgres SET idle_session_timeout = '1ms';
         ALTER ROLE postgres SET idle_in_transaction_session_timeout = '1ms';
         ALTER ROLE postgres SET lock_timeout = '1ms';
         ALTER ROLE postgres SET default_transaction_read_only = on;
         ALTER ROLE postgres SET standard_conforming_strings = off;
         ALTER ROLE postgres SET client_min_messages = debug1;
         ALTER ROLE postgres SET session_replication_role = replica;
         ALTER ROLE postgres SET quote_all_identifiers = on;
         ALTER ROLE postgres SET statement_timeout = '1ms'"
    ));
    let mut psql = c.installation().command("psql");
    let conninfo = c.conninfo(database).replace("user=postgres", "user=helper");
    psql.env("PGOPTIONS", "-c role=none -c search_path=public");
    psql.args([
        "-X",
        "-A",
        "-t",
        "-d",
        &conninfo,
        "-c",
        "SELECT incr_dump()",
    ]);
    let path = String::from_utf8_lossy(&run(&mut psql).stdout).into_owned();
    let base = std::path::Path::new(path.trim());
    let dump = std::fs::read_to_string(base.join("dump.sql")).expect("it is there");
    assert!(dump.contains("100000\tx\\\\y\n"));
    let globals = std::fs::read_to_string(base.join("globals.sql")).expect("it is there");
    assert!(globals.contains("CREATE ROLE here_only"), "{globals}");
}

#[test]
fn a_password_in_dump_conninfo_is_refused() {
    let c = Cluster::backed_up();
    for conninfo in ["host=/tmp password=secret", "user=x sslpassword=secret"] {
        let set = format!("ALTER SYSTEM SET pg_incrbackup.dump_conninfo = '{conninfo}'");
        let error = c.sql_error(&set);
        assert_eq!(error.sqlstate, "22023", "{error}");
        assert!(error.text.contains(".pgpass"), "{error}");
    }
    c.sql("ALTER SYSTEM SET pg_incrbackup.dump_conninfo = 'user=postgres passfile=/nowhere'");
}
