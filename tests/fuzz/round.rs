//! One round: a cluster, its sessions, and the comparison at the end. Everything but the sessions'
//! interleaving follows from the seed.

use super::dice::Dice;
use super::journal::Journal;
use super::player::Player;
use super::tally::Tally;
use super::ways;
use harness::{assert_identical, assert_same_bytes, Cluster, Contents};

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

/// A user's own event trigger, which writes rows and runs DDL.
const EVENT_TRIGGER: &str = r"
CREATE TABLE shared.seen (n serial PRIMARY KEY, tag text);
CREATE FUNCTION shared.see() RETURNS event_trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN
  INSERT INTO shared.seen (tag) VALUES (tg_tag);
  IF tg_tag = 'CREATE SEQUENCE' THEN COMMENT ON TABLE shared.seen IS 'a sequence was made'; END IF;
END $$;
CREATE EVENT TRIGGER seeing ON ddl_command_end EXECUTE FUNCTION shared.see();
";

/// A restore gives views their rows at its end. Those of unlogged tables are emptied: those tables come back empty.
const REFRESH_ALL: &str = r"
DO $$ DECLARE v record; BEGIN
  FOR v IN SELECT c.oid::regclass AS name, EXISTS (
      SELECT FROM pg_rewrite w JOIN pg_depend d ON d.objid = w.oid
      JOIN pg_class t ON t.oid = d.refobjid AND t.relpersistence = 'u'
      WHERE w.ev_class = c.oid AND d.classid = 'pg_rewrite'::regclass
        AND d.refclassid = 'pg_class'::regclass) AS of_unlogged
    FROM pg_class c WHERE c.relkind = 'm'
  LOOP
    EXECUTE format('REFRESH MATERIALIZED VIEW %s %s', v.name,
                   CASE WHEN v.of_unlogged THEN 'WITH NO DATA' END);
  END LOOP;
END $$";

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
        let mut dice = Dice::new(self.seed, &[1]);
        if dice.percent(30) {
            cluster.sql(EVENT_TRIGGER);
        }
        let journal = Journal::create(&cluster.root().join("journal.sql"));
        let numbers = 1..=self.sessions;
        let mut players: Vec<Player> = numbers
            .map(|number| Player::new(&cluster, &journal, self.seed, number))
            .collect();
        let half = self.transactions / 2;
        play(&mut players, 1..=half);
        cluster.sql(REFRESH_ALL);
        let middle = cluster.flush();
        let contents = Contents::of(&cluster, cluster.database()).without_sequences();
        if dice.percent(40) {
            cluster.crash();
            cluster.start();
            players.iter_mut().for_each(Player::reconnect);
        }
        play(&mut players, half + 1..=self.transactions);
        let mut tally = Tally::default();
        players.iter().for_each(|player| tally.add(&player.tally));
        drop(players);

        cluster.sql(REFRESH_ALL);
        cluster.flush();
        let restored = cluster.assert_restores();
        assert_same_bytes(
            (&cluster, cluster.database()),
            (&cluster, &restored.database),
        );
        let health = cluster.health();
        assert!(health.starts_with("ok"), "health after the round: {health}");
        self.check_other_moments(&cluster, &middle, &contents);
        let extracted = ways::check(&cluster, &mut dice);
        println!(
            "fuzz: seed {} restores by every way; {} statements, {:.1} % succeeded; {} of {} tables extracted",
            self.seed,
            tally.statements(),
            tally.success(),
            extracted.tables - extracted.refused,
            extracted.tables
        );
        tally
    }

    /// Settings that send the same changes along other ways.
    fn cluster(self) -> Cluster {
        let mut dice = Dice::new(self.seed, &[0]);
        let builder = Cluster::builder();
        let memory = dice.word(&["0", "64kB", "64MB"]);
        builder
            .setting("max_prepared_transactions", "16")
            .setting("deadlock_timeout", "100ms")
            .setting("jit", "off")
            .setting("pg_incrbackup.copy_threshold", dice.word(&["0", "2", "32"]))
            .setting("pg_incrbackup.rotate_size", dice.word(&["1MB", "64MB"]))
            .setting("pg_incrbackup.decoding_work_mem", memory)
            .back_up()
    }

    /// The middle of the round, and the end from the first base if there are others.
    fn check_other_moments(self, cluster: &Cluster, middle: &str, contents: &Contents) {
        let restored = cluster.restore(&["--until-lsn", middle]);
        contents.assert_restored(cluster, &restored.database);
        let bases = cluster.bases();
        if bases.len() > 1 {
            let name = bases[0].file_name().expect("a base has a name");
            let restored = cluster.restore(&["--base", &name.to_string_lossy()]);
            assert_identical((cluster, cluster.database()), (cluster, &restored.database));
        }
    }
}

/// All sessions at once, to the end of these transactions.
fn play(players: &mut [Player], transactions: std::ops::RangeInclusive<u64>) {
    std::thread::scope(|scope| {
        let threads: Vec<_> = players
            .iter_mut()
            .map(|player| {
                let transactions = transactions.clone();
                scope.spawn(move || player.play(transactions))
            })
            .collect();
        for thread in threads {
            if let Err(panic) = thread.join() {
                std::panic::resume_unwind(panic);
            }
        }
    });
}
