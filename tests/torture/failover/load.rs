//! Clients that write numbers to whichever node is the primary, and what they were told.

use fastrand::Rng;
use harness::patroni::Patroni;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Before another look for the primary.
const PAUSE: Duration = Duration::from_millis(20);

/// Numbers whose COMMIT was acknowledged. What became of the others the surviving primary knows.
#[derive(Default)]
pub struct Book {
    last: AtomicU64,
    acknowledged: Mutex<BTreeSet<u64>>,
}

impl Book {
    pub fn acknowledged(&self) -> BTreeSet<u64> {
        self.acknowledged
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub fn count(&self) -> usize {
        let acknowledged = self.acknowledged.lock();
        acknowledged.unwrap_or_else(PoisonError::into_inner).len()
    }

    fn acknowledge(&self, number: u64) {
        let acknowledged = self.acknowledged.lock();
        acknowledged
            .unwrap_or_else(PoisonError::into_inner)
            .insert(number);
    }
}

pub const TABLES: &str = "
CREATE TABLE keyed (n bigint PRIMARY KEY, client int, mark text);
CREATE TABLE keyless (n bigint, client int, mark text);
CREATE TABLE counter (client int PRIMARY KEY, v int);
INSERT INTO counter SELECT c, 0 FROM generate_series(0, 9) c;
CREATE TABLE altered_0 (a bigint PRIMARY KEY);
CREATE TABLE altered_1 (a bigint PRIMARY KEY);
CREATE TABLE altered_2 (a bigint PRIMARY KEY);
";

/// The numbers that have added a column.
pub const COLUMNS: &str = "SELECT substr(attname, 2) FROM pg_attribute
    WHERE attrelid::regclass::text LIKE 'altered\\__' AND attname ~ '^c[0-9]+$' AND NOT attisdropped";

/// Runs transactions until told to stop.
pub fn play(nodes: &Patroni, client: usize, seed: u64, book: &Book, stop: &AtomicBool) {
    let mut rng = Rng::with_seed(seed);
    let mut primary = None;
    while !stop.load(Ordering::Relaxed) {
        primary = primary.or_else(|| nodes.find_primary());
        let Some(at) = primary else {
            std::thread::sleep(PAUSE);
            continue;
        };
        let number = book.last.fetch_add(1, Ordering::Relaxed) + 1;
        let sql = transaction(&mut rng, client, number);
        match nodes.node(at).cluster().try_sql(&sql) {
            Ok(_) => book.acknowledge(number),
            Err(_) => primary = None,
        }
    }
}

/// The marks are what is looked for in the segments. Now and then a column comes along, which must come back.
fn transaction(rng: &mut Rng, client: usize, number: u64) -> String {
    let definitions = match rng.u32(0..300) {
        0..10 => format!(
            "DROP TABLE IF EXISTS made_by_{client};
             CREATE TABLE made_by_{client} (a int PRIMARY KEY, b text);
             INSERT INTO made_by_{client} VALUES (1, 'before');
             ALTER TABLE made_by_{client} ADD COLUMN c bigint DEFAULT {number};
             INSERT INTO made_by_{client} VALUES (2, 'after');"
        ),
        10..12 => format!(
            "ALTER TABLE altered_{client} ADD COLUMN c{number} bigint DEFAULT {number};
             INSERT INTO altered_{client} VALUES ({number});"
        ),
        _ => String::new(),
    };
    format!(
        "BEGIN;
         UPDATE counter SET v = v + 1 WHERE client = {client};
         {definitions}
         INSERT INTO keyed VALUES ({number}, {client}, 'k#{number}#');
         INSERT INTO keyless VALUES ({number}, {client}, 'b#{number}#');
         SELECT FROM pg_sleep({});
         COMMIT",
        rng.f64() * 0.08
    )
}
