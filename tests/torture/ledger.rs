//! What the clients know: each number's fate.

use super::PATIENCE;
use harness::{wait_until_within, Cluster};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard};

/// Shared by the clients of all rounds.
#[derive(Default)]
pub struct Ledger(Mutex<Entries>);

#[derive(Default)]
pub struct Entries {
    last: u64,
    /// Committed numbers, and by which client. A client's numbers grow.
    pub committed: BTreeMap<u64, usize>,
    pub rolled_back: BTreeSet<u64>,
    /// The connection was lost before the answer to COMMIT.
    in_doubt: BTreeMap<u64, usize>,
    /// Clients that have a connection.
    connected: BTreeSet<usize>,
    asked: usize,
}

impl Ledger {
    pub fn book(&self) -> MutexGuard<'_, Entries> {
        self.0
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// A number that nobody had before.
    pub fn draw(&self) -> u64 {
        let mut book = self.book();
        book.last += 1;
        book.last
    }

    pub fn connect(&self, client: usize) {
        self.book().connected.insert(client);
    }

    pub fn disconnect(&self, client: usize) {
        self.book().connected.remove(&client);
    }

    /// True when every client has seen that the server is gone: what it was told before is in the book.
    pub fn is_disconnected(&self) -> bool {
        self.book().connected.is_empty()
    }

    pub fn commit(&self, client: usize, number: u64) {
        self.book().committed.insert(number, client);
    }

    pub fn roll_back(&self, number: u64) {
        self.book().rolled_back.insert(number);
    }

    pub fn doubt(&self, client: usize, number: u64) {
        self.book().in_doubt.insert(number, client);
    }

    pub fn committed(&self) -> usize {
        self.book().committed.len()
    }

    /// Committed, rolled back, and those of both that were in doubt.
    pub fn counts(&self) -> (usize, usize, usize) {
        let book = self.book();
        (book.committed.len(), book.rolled_back.len(), book.asked)
    }

    /// Asks the server, which is back, what became of the numbers in doubt.
    pub fn ask(&self, cluster: &Cluster) {
        let in_doubt = std::mem::take(&mut self.book().in_doubt);
        if in_doubt.is_empty() {
            return;
        }
        let list: Vec<_> = in_doubt.keys().map(u64::to_string).collect();
        let query = format!("SELECT n FROM keyed WHERE n IN ({})", list.join(", "));
        let mut there = String::new();
        wait_until_within(PATIENCE, "the server says what it committed", || {
            cluster.try_sql(&query).map(|rows| there = rows).is_ok()
        });
        let there: BTreeSet<&str> = there.lines().collect();
        for (number, client) in in_doubt {
            if there.contains(number.to_string().as_str()) {
                self.commit(client, number)
            } else {
                self.roll_back(number)
            }
            self.book().asked += 1;
        }
    }
}
