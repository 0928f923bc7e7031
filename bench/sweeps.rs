//! What grows, and the changes that are written for it: their number, the tables that they meet,
//! the columns of a row. Half of the changes or more are INSERTs, the rest UPDATEs (and DELETEs).

use crate::server;
use crate::standing::{Reading, Standing};
use harness::Cluster;

/// At most so many changes are written before they are read.
const PART: u64 = 10_000_000;

/// Changes that are spread over the tables, whatever their number.
const OVER_TABLES: u64 = 100_000;

/// Values that are spread over the columns; at most so many changes.
const VALUES: u64 = 2_000_000;
const MOST_WIDE_CHANGES: u64 = 100_000;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Sweep {
    Changes,
    Tables,
    Columns,
}

impl Sweep {
    pub const ALL: [Sweep; 3] = [Sweep::Changes, Sweep::Tables, Sweep::Columns];

    pub fn name(self) -> &'static str {
        match self {
            Sweep::Changes => "changes",
            Sweep::Tables => "tables",
            Sweep::Columns => "columns",
        }
    }

    /// What is measured; `most` is the largest number of changes.
    pub fn sizes(self, most: u64) -> Vec<u64> {
        match self {
            Sweep::Changes => powers_of_ten(1, most),
            Sweep::Tables => powers_of_ten(10, 10_000),
            Sweep::Columns => powers_of_ten(1, 1_000),
        }
    }

    /// The size from which on the cost must stay.
    pub fn reference(self) -> u64 {
        match self {
            Sweep::Changes => 100_000,
            Sweep::Tables | Sweep::Columns => 10,
        }
    }

    /// How often: what takes microseconds is measured more often, what takes minutes once.
    pub fn turns(self, size: u64, repeats: usize) -> usize {
        match self {
            Sweep::Changes if size < 100_000 => repeats * 5,
            Sweep::Changes if size > 1_000_000 => 1,
            _ => repeats,
        }
    }

    /// How many changes that size means.
    pub fn changes(self, size: u64) -> u64 {
        match self {
            Sweep::Changes => size,
            Sweep::Tables => OVER_TABLES,
            Sweep::Columns => (VALUES / size).min(MOST_WIDE_CHANGES),
        }
    }

    /// A server on which this can be measured, and, for the changes, every size of them.
    pub fn server(self, size: u64, has_open_transaction: bool) -> Standing {
        let builder = server::builder().setting("max_locks_per_transaction", "512");
        let c = builder.start();
        match self {
            Sweep::Changes => make_one_table(&c),
            Sweep::Tables => make_tables(&c, size),
            Sweep::Columns => make_columns(&c, size),
        }
        Standing::new(c, has_open_transaction)
    }

    /// One turn: the changes are written, then read, in parts where they are very many.
    pub fn read(self, standing: &mut Standing, size: u64) -> Reading {
        let changes = self.changes(size);
        match self {
            Sweep::Changes => {
                let parts = changes.div_ceil(PART);
                let part = changes / parts;
                let sql = format!("{} CALL change({part})", empty(part));
                let readings = (0..parts).map(|_| standing.read(&sql));
                readings.reduce(Reading::and).unwrap_or_default()
            }
            Sweep::Tables => standing.read(&format!("CALL change_tables({size}, {changes})")),
            Sweep::Columns => standing.read(&format!("CALL change_columns({changes})")),
        }
    }
}

fn powers_of_ten(first: u64, last: u64) -> Vec<u64> {
    let powers = std::iter::successors(Some(first), |size| size.checked_mul(10));
    powers.take_while(|size| *size <= last).collect()
}

/// Room for many more rows: those before them are read and done with, and so is their WAL, unless an
/// open transaction holds it back.
fn empty(changes: u64) -> &'static str {
    match changes {
        ..1_000_000 => "",
        _ => "TRUNCATE one; CHECKPOINT;",
    }
}

/// Up to 1,000 changes a transaction: half of them INSERTs, then UPDATEs of some of these rows and
/// DELETEs of the others.
fn make_one_table(c: &Cluster) {
    c.sql(
        "CREATE TABLE one (id bigint PRIMARY KEY, v int NOT NULL, note text);
         CREATE SEQUENCE batches;
         CREATE PROCEDURE change(changes bigint) LANGUAGE plpgsql AS $$
         DECLARE
           n bigint;
           first bigint;
           updates bigint;
           deletes bigint;
         BEGIN
           WHILE changes > 0 LOOP
             n := least(changes, 1000);
             updates := n * 3 / 10;
             deletes := n * 2 / 10;
             first := nextval('batches') * 1000;
             INSERT INTO one SELECT first + i, i, 'row ' || i
             FROM generate_series(0, n - updates - deletes - 1) i;
             UPDATE one SET v = v + 1 WHERE id >= first AND id < first + updates;
             DELETE FROM one WHERE id >= first + updates AND id < first + updates + deletes;
             COMMIT;
             changes := changes - n;
           END LOOP;
         END $$;",
    );
}

/// 100 changes a transaction, each INSERT and each UPDATE on another table than the last one.
fn make_tables(c: &Cluster, count: u64) {
    c.sql(&format!(
        "SET synchronous_commit = off;
         SELECT format('CREATE TABLE many_%s (id int PRIMARY KEY, a text, b int)', i)
         FROM generate_series(0, {count} - 1) i
         \\gexec
         CREATE SEQUENCE rounds;
         CREATE PROCEDURE change_tables(tables int, changes int) LANGUAGE plpgsql AS $$
         DECLARE
           round int := nextval('rounds') * 1000000;
         BEGIN
           FOR i IN 0 .. changes / 2 - 1 LOOP
             EXECUTE format('INSERT INTO many_%s VALUES (%s, %L, 1)', i % tables, round + i, 'row ' || i);
             EXECUTE format('UPDATE many_%s SET b = 2 WHERE id = %s', i % tables, round + i);
             IF i % 50 = 49 THEN COMMIT; END IF;
           END LOOP;
           COMMIT;
         END $$;"
    ));
}

/// So many columns beside the key, of int and text in turn: 50 INSERTs and 50 UPDATEs of the whole
/// rows a transaction.
fn make_columns(c: &Cluster, count: u64) {
    c.sql(&format!(
        "SELECT format('CREATE TABLE wide (id int PRIMARY KEY, %s)',
                string_agg(format('c%s %s', i, CASE i % 2 WHEN 0 THEN 'text' ELSE 'int' END), ', '))
         FROM generate_series(1, {count}) i
         \\gexec
         CREATE SEQUENCE batches;
         CREATE PROCEDURE change_columns(changes int) LANGUAGE plpgsql AS $$
         DECLARE
           first int;
           insert text;
           update text;
         BEGIN
           SELECT format('INSERT INTO wide SELECT g, %s FROM generate_series($1, $1 + 49) g',
                    string_agg(CASE i % 2 WHEN 0 THEN '''v'' || g % 100' ELSE 'g % 10000' END, ', ')),
                  format('UPDATE wide SET %s WHERE id BETWEEN $1 AND $1 + 49',
                    string_agg(format(CASE i % 2 WHEN 0 THEN 'c%1$s = ''w'' || id %% 100'
                                                 ELSE 'c%1$s = c%1$s + 1' END, i), ', '))
           INTO insert, update FROM generate_series(1, {count}) i;
           FOR batch IN 1 .. changes / 100 LOOP
             first := nextval('batches') * 50;
             EXECUTE insert USING first;
             EXECUTE update USING first;
             COMMIT;
           END LOOP;
         END $$;"
    ));
}
