//! The heavy pieces of work, one after the other.

use super::{Sizes, PATIENCE};
use harness::Cluster;

pub struct Work {
    pub name: &'static str,
    pub run: fn(&Cluster, &Sizes),
}

pub const WORK: [Work; 6] = [
    Work {
        name: "tables, each with a row",
        run: tables,
    },
    Work {
        name: "rows in one transaction, half of them updated, a tenth deleted",
        run: rows,
    },
    Work {
        name: "subtransactions in one transaction, a tenth rolled back",
        run: subtransactions,
    },
    Work {
        name: "transactions open at the same time",
        run: open,
    },
    Work {
        name: "a row of many megabytes, updated and deleted",
        run: row,
    },
    Work {
        name: "COPY",
        run: copy,
    },
];

pub const TABLES: &str = "
CREATE TABLE open (a int);
CREATE TABLE many (id bigint PRIMARY KEY, a int, b text);
CREATE TABLE nested (id bigint PRIMARY KEY, a int);
CREATE TABLE at_once (a int PRIMARY KEY, b text);
CREATE TABLE wide (a int PRIMARY KEY, b text);
CREATE TABLE copied (a bigint, b text, c text);
";

/// Statements that may take long.
fn run(c: &Cluster, sql: &str) {
    let mut session = c.session();
    session.send(sql);
    let output = session.output_within(PATIENCE).expect("it ends");
    assert!(!output.contains("ERROR:  "), "{output}\nin: {sql}");
}

fn tables(c: &Cluster, sizes: &Sizes) {
    let tables = sizes.tables;
    run(
        c,
        &format!(
            "DO $$ BEGIN FOR i IN 1..{tables} LOOP
               EXECUTE format('CREATE TABLE of_many_%s (a int PRIMARY KEY, b text)', i);
               EXECUTE format('INSERT INTO of_many_%s VALUES (%s, %L)', i, i, 'row of ' || i);
               IF i % 500 = 0 THEN COMMIT; END IF; END LOOP; END $$"
        ),
    );
}

fn rows(c: &Cluster, sizes: &Sizes) {
    let rows = sizes.rows;
    run(
        c,
        &format!(
            "BEGIN; INSERT INTO many SELECT i, i % 1000, 'row ' || i FROM generate_series(1, {rows}) i;
             UPDATE many SET a = a + 1 WHERE id % 2 = 0; DELETE FROM many WHERE id % 10 = 1; COMMIT"
        ),
    );
}

fn subtransactions(c: &Cluster, sizes: &Sizes) {
    let count = sizes.subtransactions;
    run(
        c,
        &format!(
            "DO $$ BEGIN FOR i IN 1..{count} LOOP BEGIN
               INSERT INTO nested VALUES (i, i);
               IF i % 10 = 0 THEN RAISE division_by_zero; END IF;
             EXCEPTION WHEN division_by_zero THEN NULL; END; END LOOP; END $$"
        ),
    );
}

/// Each writes, waits for all others, and commits.
fn open(c: &Cluster, sizes: &Sizes) {
    let mut sessions: Vec<_> = (0..sizes.open).map(|_| c.session()).collect();
    for (number, session) in sessions.iter_mut().enumerate() {
        session.run(&format!(
            "BEGIN; INSERT INTO at_once VALUES ({number}, 'one of many')"
        ));
    }
    c.sql("SELECT incr_flush()");
    // The last to begin commits first.
    for (number, session) in sessions.iter_mut().enumerate().rev() {
        session.run(&format!(
            "UPDATE at_once SET b = 'changed' WHERE a = {number}; COMMIT"
        ));
    }
}

fn row(c: &Cluster, sizes: &Sizes) {
    let bytes = sizes.row_megabytes * 1_000_000;
    run(
        c,
        &format!(
            "INSERT INTO wide SELECT i, (SELECT left(string_agg(md5(i::text || n), ''), {bytes})
               FROM generate_series(1, {bytes} / 32 + 1) n) FROM generate_series(1, 2) i;
             UPDATE wide SET b = reverse(b) WHERE a = 1; DELETE FROM wide WHERE a = 2"
        ),
    );
}

fn copy(c: &Cluster, sizes: &Sizes) {
    const LINE: u64 = 128;
    let lines = sizes.copy_megabytes * 1_048_576 / LINE;
    let filler = "x".repeat(LINE as usize - 24);
    run(
        c,
        &format!(
            "COPY copied FROM PROGRAM $$seq -f %012.0f 1 {lines} | sed 's/$/\\tshort\\t{filler}/'$$"
        ),
    );
}
