//! "Somebody renamed what my transaction was still using."

use harness::Cluster;

#[test]
fn rows_carry_the_schema_that_another_session_renamed_meanwhile() {
    let c = Cluster::backed_up();
    c.sql("CREATE SCHEMA s; CREATE TABLE s.t (a int PRIMARY KEY, b text); INSERT INTO s.t VALUES (1, 'x')");
    let mut one = c.session();
    one.run("BEGIN");
    one.run("UPDATE s.t SET b = 'y'");
    c.sql("ALTER SCHEMA s RENAME TO new");
    one.run("INSERT INTO new.t VALUES (2, 'z')");
    one.run("COMMIT");
    c.assert_restores();
}

#[test]
fn rows_carry_the_label_that_another_session_renamed_meanwhile() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE TYPE mood AS ENUM ('good', 'bad'); CREATE TYPE pair AS (a int, m mood);
         CREATE TABLE t (a int PRIMARY KEY, m mood, p pair, l mood[]); CREATE TABLE u (m mood)",
    );
    c.sql("INSERT INTO t VALUES (1, 'bad', '(1,bad)', '{bad}'); INSERT INTO u VALUES ('bad')");
    let mut one = c.session();
    one.run("BEGIN");
    one.run("INSERT INTO t VALUES (2, 'bad', '(1,bad)', '{bad,good}'); UPDATE u SET m = 'good'; INSERT INTO u VALUES ('bad')");
    let mut two = c.session();
    two.run("BEGIN");
    two.run("INSERT INTO t VALUES (3, 'bad', '(1,bad)', '{bad}')");
    c.sql("ALTER TYPE mood RENAME VALUE 'bad' TO 'awful'; ALTER TYPE pair ADD ATTRIBUTE c int");
    two.run("COMMIT");
    c.sql("ALTER TYPE mood RENAME VALUE 'awful' TO 'bad one'; ALTER TYPE mood RENAME TO temper");
    one.run("DELETE FROM u WHERE m = 'bad one'");
    one.run("COMMIT");
    c.assert_restores();
}

#[test]
fn a_transactions_own_renames_take_effect_at_their_place() {
    let c = Cluster::backed_up();
    c.sql("CREATE SCHEMA s; CREATE TYPE s.mood AS ENUM ('good', 'bad'); CREATE TABLE s.t (a int PRIMARY KEY, m s.mood)");
    let mut one = c.session();
    one.run("BEGIN");
    one.run("INSERT INTO s.t VALUES (1, 'bad')");
    c.sql("CREATE TABLE elsewhere (a int PRIMARY KEY); CREATE SCHEMA other");
    one.run("ALTER TYPE s.mood RENAME VALUE 'bad' TO 'awful'");
    one.run("SAVEPOINT a; INSERT INTO s.t VALUES (2, 'awful'); ALTER SCHEMA s RENAME TO r");
    one.run("INSERT INTO r.t VALUES (3, 'awful'); ROLLBACK TO a");
    one.run("INSERT INTO s.t VALUES (4, 'awful'); ALTER SCHEMA s RENAME TO final");
    one.run("INSERT INTO final.t VALUES (5, 'good'); INSERT INTO elsewhere VALUES (1)");
    one.run("COMMIT");
    c.assert_restores();
}

/// Found by the random tester (seed 580854528 on 18): a role need not own the schema that another session
/// renames meanwhile.
#[test]
fn ddl_of_a_role_that_owns_no_schema_survives_a_rename_by_others() {
    let c = Cluster::backed_up();
    c.sql("CREATE ROLE maker; GRANT CREATE, USAGE ON SCHEMA public TO maker; CREATE SCHEMA s");
    let mut one = c.session();
    one.run("BEGIN; SET ROLE maker; CREATE TABLE public.made (a int PRIMARY KEY)");
    c.sql("ALTER SCHEMA s RENAME TO new");
    one.run("INSERT INTO made VALUES (1); COMMIT");
    c.assert_restores();
}

#[test]
fn ddl_finds_the_names_it_used_though_others_renamed_them_before_it_committed() {
    let c = Cluster::backed_up();
    // CREATE in a schema locks it against a rename; other DDL does not.
    c.sql(
        "CREATE SCHEMA s; CREATE TYPE s.mood AS ENUM ('good', 'bad');
         CREATE TABLE s.t (a int PRIMARY KEY)",
    );
    let mut one = c.session();
    one.run("BEGIN");
    one.run("ALTER TABLE s.t ADD m s.mood DEFAULT 'bad'; INSERT INTO s.t VALUES (1, DEFAULT)");
    one.run("CREATE TABLE u (m s.mood CHECK (m <> 'bad'))");
    one.run("SET search_path = s; ALTER TABLE t ADD CHECK (m <> 'good')");
    c.sql("ALTER SCHEMA s RENAME TO r");
    c.sql("ALTER TYPE r.mood RENAME VALUE 'bad' TO 'awful'");
    one.run(
        "INSERT INTO r.t VALUES (2, 'awful'); ALTER TABLE r.t ADD COLUMN c r.mood DEFAULT 'awful'",
    );
    one.run("COMMIT");
    c.assert_restores();
}
