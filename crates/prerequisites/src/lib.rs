//! What a database needs to be backed up: one list, for `incr_check()`, for what `incr_setup()` refuses, and for
//! `pg_incrbackup check`.
//!
//! [`Question`]s are asked by whoever is connected (the extension in its own session, the program as a client); the
//! answers are [`Facts`], and [`list`] makes rows of them. Nothing here connects, reads a file or knows a library of
//! PostgreSQL: rows about what only the server's machine shows are made by the extension, and handed in.

mod database;
mod facts;
mod failover;
mod question;
mod remedy;
mod row;
mod server;
mod sizing;
mod warnings;

pub use facts::{Facts, Who};
pub use failover::PATRONI;
pub use question::{Answer, Question, QUESTIONS, WHO};
pub use remedy::{what_to_write, Remedy};
pub use row::{Class, Row, State};

/// All of it, in the order in which it is read: the server and its settings, its machine, sizes, the database, a failover, and
/// what works but is a risk.
pub fn list(facts: &Facts, machine: Vec<Row>) -> Vec<Row> {
    let mut rows = server::rows(facts);
    rows.extend(machine);
    rows.extend(sizing::rows(facts));
    rows.extend(database::rows(facts));
    rows.extend(failover::rows(facts));
    rows.extend(warnings::rows(facts));
    let rows = rows.into_iter();
    rows.map(|row| server::where_it_counts(facts, row))
        .collect()
}
