//! One session of a round: its transactions, made from its dice and run one statement at a time.

use super::catalog::{self, Catalog};
use super::dice::Dice;
use super::journal::Journal;
use super::making::Making;
use super::statements::{self, Kind, Made, DEFINITIONS, ROWS};
use super::tally::Tally;
use harness::{Cluster, Session};

/// Settings that change how statements read or what they print, for a transaction.
const SETTINGS: &[&str] = &[
    "SET LOCAL DateStyle = 'SQL, DMY'",
    "SET LOCAL IntervalStyle = 'sql_standard'",
    "SET LOCAL TimeZone = 'Asia/Kathmandu'",
    "SET LOCAL extra_float_digits = -5",
    "SET LOCAL bytea_output = 'escape'",
    "SET LOCAL check_function_bodies = off",
    "SET LOCAL transform_null_equals = on",
    "SET LOCAL quote_all_identifiers = on",
    "SET CONSTRAINTS ALL DEFERRED",
    "SET LOCAL synchronous_commit = off",
    "SET LOCAL default_tablespace = pg_default",
    "SET LOCAL client_encoding = 'UTF8'",
];

pub struct Player<'a> {
    cluster: &'a Cluster,
    session: Session,
    /// From 1; its schemas are `s1`, `s1_…`.
    number: u64,
    seed: u64,
    catalog: Catalog,
    is_catalog_old: bool,
    path: Option<String>,
    quotes_all: bool,
    /// Number of the transaction, and of the statement in it.
    transaction: u64,
    statement: u64,
    journal: &'a Journal,
    pub tally: Tally,
}

impl<'a> Player<'a> {
    pub fn new(cluster: &'a Cluster, journal: &'a Journal, seed: u64, number: u64) -> Self {
        let mut session = connected(cluster);
        session.run(&format!(
            "CREATE SCHEMA s{number}; GRANT ALL ON SCHEMA s{number} TO fuzz_a, fuzz_b;
             CREATE TABLE s{number}.log (n serial PRIMARY KEY, what text, at timestamptz DEFAULT clock_timestamp())"
        ));
        Self {
            cluster,
            session,
            number,
            seed,
            catalog: Catalog::default(),
            is_catalog_old: true,
            path: None,
            quotes_all: false,
            transaction: 0,
            statement: 0,
            journal,
            tally: Tally::default(),
        }
    }

    /// Connects again, after a restart of the server.
    pub fn reconnect(&mut self) {
        self.session = connected(self.cluster);
    }

    /// Runs the transactions of these numbers.
    pub fn play(&mut self, transactions: std::ops::RangeInclusive<u64>) {
        for number in transactions {
            self.transaction = number;
            self.statement = 0;
            self.path = None;
            self.quotes_all = false;
            self.is_catalog_old = true;
            let mut dice = self.dice();
            match dice.below(10) {
                0..=2 => self.single_statements(&mut dice),
                3 => self.one_string(&mut dice),
                _ => self.block(&mut dice),
            }
        }
    }

    fn dice(&self) -> Dice {
        Dice::new(self.seed, &[self.number, self.transaction, self.statement])
    }

    /// Each statement a transaction of its own.
    fn single_statements(&mut self, dice: &mut Dice) {
        for _ in 0..dice.below(3) + 1 {
            let made = self.make(kinds(dice), true);
            if !self.run_all(&made) {
                self.send("cleanup", "RESET ROLE");
            }
        }
    }

    /// Several statements that the client sends as one string: one implicit transaction.
    fn one_string(&mut self, dice: &mut Dice) {
        let mut all = Vec::new();
        for _ in 0..dice.below(3) + 2 {
            let made = self.make(kinds(dice), false);
            if !made
                .statements
                .iter()
                .any(|s| s.starts_with("COPY") || s.contains("ROLE"))
            {
                all.extend(made.statements);
            }
        }
        self.send("one string", &all.join(" \\;\n"));
    }

    /// BEGIN … COMMIT, with savepoints.
    fn block(&mut self, dice: &mut Dice) {
        let level = dice.word(&["", "", "", " ISOLATION LEVEL REPEATABLE READ"]);
        self.send("begin", &format!("BEGIN{level}"));
        self.settings(dice);
        let mut savepoints: Vec<String> = Vec::new();
        for step in 0..dice.below(9) + 1 {
            let is_fine = match dice.below(20) {
                0..=2 => {
                    let name = format!("sp{step}");
                    savepoints.push(name.clone());
                    self.send("savepoint", &format!("SAVEPOINT {name}"))
                }
                3 if !savepoints.is_empty() => {
                    savepoints.truncate(dice.below(savepoints.len()) + 1);
                    self.back_to(&savepoints)
                }
                4 if !savepoints.is_empty() => {
                    let name = savepoints.pop().unwrap_or_default();
                    self.send("savepoint", &format!("RELEASE {name}"))
                }
                _ => {
                    let made = self.make(kinds(dice), false);
                    self.run_all(&made)
                }
            };
            if !is_fine && (savepoints.is_empty() || !self.back_to(&savepoints)) {
                self.send("rollback", "ROLLBACK");
                return;
            }
        }
        self.end(dice);
    }

    fn settings(&mut self, dice: &mut Dice) {
        if dice.percent(35) {
            let schema = format!("s{}", self.number);
            self.send(
                "setting",
                &format!("SET LOCAL search_path = {schema}, \"$user\", public"),
            );
            self.path = Some(schema);
        }
        if dice.percent(30) {
            let setting = dice.word(SETTINGS);
            self.send("setting", setting);
            self.quotes_all = setting.contains("quote_all_identifiers");
        }
    }

    /// Back to the last of these savepoints.
    fn back_to(&mut self, savepoints: &[String]) -> bool {
        self.is_catalog_old = true;
        let last = savepoints.last().expect("there is a savepoint");
        self.send("savepoint", &format!("ROLLBACK TO {last}"))
    }

    fn end(&mut self, dice: &mut Dice) {
        match dice.below(100) {
            0..=9 => self.send("rollback", "ROLLBACK"),
            10..=19 => self.prepare(dice),
            _ => self.send("commit", "COMMIT"),
        };
    }

    /// Two-phase commit, with other transactions of this session in between.
    fn prepare(&mut self, dice: &mut Dice) -> bool {
        let name = format!("g{}_{}", self.number, self.transaction);
        if !self.send("prepare", &format!("PREPARE TRANSACTION '{name}'")) {
            return false;
        }
        self.is_catalog_old = true;
        (self.path, self.quotes_all) = (None, false);
        for _ in 0..dice.below(3) {
            let made = self.make(ROWS, false);
            self.run_all(&made);
        }
        let end = dice.word(&["COMMIT", "COMMIT", "COMMIT", "ROLLBACK"]);
        self.send("prepare", &format!("{end} PREPARED '{name}'"))
    }

    fn make(&mut self, kinds: &'static [Kind], alone: bool) -> Made {
        self.statement += 1;
        self.read_catalog();
        let mut making = Making {
            dice: self.dice(),
            catalog: &self.catalog,
            seed: self.seed,
            version: self.cluster.version(),
            mark: format!("{}_{}", self.transaction, self.statement),
            names: 0,
            path: self.path.clone(),
        };
        statements::make(&mut making, kinds, alone)
    }

    /// Runs the statements until one fails; true when none did.
    fn run_all(&mut self, made: &Made) -> bool {
        let is_definition = !ROWS.iter().any(|kind| kind.name == made.kind);
        self.is_catalog_old |= is_definition;
        made.statements.iter().all(|sql| self.send(made.kind, sql))
    }

    /// Runs one statement; true when the server took it.
    fn send(&mut self, kind: &'static str, sql: &str) -> bool {
        self.journal
            .statement(self.number, self.transaction, kind, sql);
        self.session.send(sql);
        let output = self.session.finish();
        let error = output.lines().find(|line| line.contains("ERROR:  "));
        self.tally.count(kind, error, sql);
        self.journal.outcome(self.number, &output, error.is_none());
        error.is_none()
    }

    fn read_catalog(&mut self) {
        if !self.is_catalog_old {
            return;
        }
        let query = catalog::query(&format!("s{}", self.number));
        // Plain names must stay plain: they are compared, and made longer.
        self.session.send(&if !self.quotes_all {
            query
        } else {
            format!(
            "SET LOCAL quote_all_identifiers = off; {query}; SET LOCAL quote_all_identifiers = on"
        )
        });
        let output = self.session.finish();
        // Another session's lock may be in the way. The old catalog serves for one more statement.
        if output.contains("ERROR:  ") {
            return self.tally.count("catalog", Some(&output), "");
        }
        assert!(
            !output.trim().is_empty(),
            "psql waits for the end of a statement that session {} has sent",
            self.number
        );
        // An object that another session drops meanwhile has no definition any more: the same.
        match serde_json::from_str(&output) {
            Ok(catalog) => self.catalog = catalog,
            Err(e) => return self.tally.count("catalog", Some(&e.to_string()), ""),
        }
        self.is_catalog_old = false;
    }
}

fn connected(cluster: &Cluster) -> Session {
    let mut session = cluster.session();
    session.run(
        "SET client_min_messages = warning; SET lock_timeout = '500ms'; SET statement_timeout = '60s'",
    );
    session
}

fn kinds(dice: &mut Dice) -> &'static [Kind] {
    if dice.percent(55) {
        ROWS
    } else {
        DEFINITIONS
    }
}
