//! One round: a cluster, its sessions, and the comparison at the end. Everything but the sessions'
//! interleaving follows from the seed.

use super::avoid;
use super::dice::Dice;
use super::journal::Journal;
use super::player::Player;
use super::tally::Tally;
use harness::{assert_same_bytes, Cluster};

/// What to run. The seed and these two numbers make the same statements again.
#[derive(Clone, Copy)]
pub struct Round {
    pub seed: u64,
    pub sessions: u64,
    /// Of each session.
    pub transactions: u64,
}

const SHARED: &str = r"
CREATE ROLE fuzz_a; CREATE ROLE fuzz_b;
CREATE SCHEMA shared;
GRANT ALL ON SCHEMA shared TO fuzz_a, fuzz_b;
CREATE TABLE shared.keyed (id serial PRIMARY KEY, a integer, b text, c jsonb);
CREATE TABLE shared.bare (a integer, b text, c point);
CREATE TABLE shared.parts (k integer, a integer, b text) PARTITION BY LIST (k);
CREATE TABLE shared.part_1 PARTITION OF shared.parts FOR VALUES IN (1, 2);
CREATE TABLE shared.part_2 PARTITION OF shared.parts FOR VALUES IN (3, 4);
CREATE SEQUENCE shared.numbers;
";

impl Round {
    /// Runs the round and gives what its statements came to; panics when the restored database
    /// differs, and keeps the cluster's files then.
    pub fn run(self) -> Tally {
        println!(
            "fuzz: seed {} on PostgreSQL {}: {} sessions of {} transactions",
            self.seed,
            harness::Installation::under_test().version,
            self.sessions,
            self.transactions
        );
        let cluster = self.cluster();
        cluster.keep_if_it_fails();
        cluster.sql(SHARED);
        let tally = self.play(&cluster);
        let restored = cluster.assert_restores();
        assert_same_bytes(
            (&cluster, cluster.database()),
            (&cluster, &restored.database),
        );
        let health = cluster.health();
        assert!(health.starts_with("ok"), "health after the round: {health}");
        cluster.sql_in("postgres", &format!("DROP DATABASE {}", restored.database));
        println!(
            "fuzz: seed {} restores; {} statements, {:.1} % succeeded",
            self.seed,
            tally.statements(),
            tally.success()
        );
        tally
    }

    /// Settings that send the same changes along other ways.
    fn cluster(self) -> Cluster {
        let mut dice = Dice::new(self.seed, &[0]);
        let builder = Cluster::builder();
        let is_18 = builder.installation().version >= 18;
        let memory = if is_18 && avoid::SMALL_DECODING_MEMORY_ON_18 {
            "64MB"
        } else {
            dice.word(&["0", "64kB", "64MB"])
        };
        builder
            .setting("max_prepared_transactions", "16")
            .setting("deadlock_timeout", "100ms")
            .setting("jit", "off")
            .setting("pg_incrbackup.copy_threshold", dice.word(&["0", "2", "32"]))
            .setting("pg_incrbackup.rotate_size", dice.word(&["1MB", "64MB"]))
            .setting("pg_incrbackup.decoding_work_mem", memory)
            .back_up()
    }

    fn play(self, cluster: &Cluster) -> Tally {
        let journal = Journal::create(&cluster.root().join("journal.sql"));
        let journal = &journal;
        let mut sum = Tally::default();
        std::thread::scope(|scope| {
            let players: Vec<_> = (1..=self.sessions)
                .map(|number| {
                    scope.spawn(move || {
                        let mut player = Player::new(cluster, journal, self.seed, number);
                        player.play(self.transactions);
                        player.tally
                    })
                })
                .collect();
            for player in players {
                match player.join() {
                    Ok(tally) => sum.add(&tally),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
        });
        sum
    }
}
