//! One client: its transactions, and what it learns of each one's fate.

use super::ledger::Ledger;
use super::PATIENCE;
use fastrand::Rng;
use harness::{wait_until_within, Cluster};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

/// What psql prints behind everything that it was sent.
const DONE: &str = "-- torture: done --";

/// Runs transactions until told to stop; after a lost connection with a new one.
pub fn play(c: &Cluster, client: usize, seed: u64, ledger: &Ledger, stop: &AtomicBool) {
    let mut rng = Rng::with_seed(seed);
    let is_over = || stop.load(Ordering::Relaxed);
    while !is_over() {
        let mut connection = None;
        wait_until_within(PATIENCE, "the server takes clients", || {
            connection = Connection::open(c);
            connection.is_some() || is_over()
        });
        let Some(mut connection) = connection else {
            return;
        };
        ledger.connect(client);
        while !is_over() {
            let transaction = Transaction::make(&mut rng, client, ledger);
            match (connection.run(&transaction.sql), transaction.commits) {
                (Some(true), _) => ledger.commit(client, transaction.number),
                (Some(false), _) | (None, false) => ledger.roll_back(transaction.number),
                (None, true) => ledger.doubt(client, transaction.number),
            }
            if connection.is_lost {
                break;
            }
        }
        ledger.disconnect(client);
    }
}

struct Transaction {
    number: u64,
    /// False where its end is a ROLLBACK.
    commits: bool,
    sql: String,
}

/// A row of each table. The marks are what is looked for in the segments.
fn rows(number: u64, client: usize) -> String {
    format!(
        "INSERT INTO keyed VALUES ({number}, {client}, 'k#{number}#');
         INSERT INTO keyless VALUES ({number}, {client}, 'b#{number}#');\n"
    )
}

impl Transaction {
    fn make(rng: &mut Rng, client: usize, ledger: &Ledger) -> Self {
        let number = ledger.draw();
        let mut commits = true;
        let mut sql = format!("BEGIN;\nUPDATE counter SET v = v + 1 WHERE client = {client};\n");
        let rows = rows(number, client);
        match rng.u32(0..100) {
            0..=39 => sql += &rows,
            40..=54 => {
                sql += &rows;
                sql += &format!("UPDATE keyless_counter SET v = v + 1 WHERE client = {client};\n");
            }
            55..=66 => {
                sql += &rows;
                commits = false;
            }
            67..=81 => sql += &savepoints(ledger, client, &rows),
            82..=86 => {
                sql += &large(client, rng.u32(50..400));
                sql += &rows;
                commits = rng.u32(0..4) > 0;
            }
            _ => {
                sql += &definitions(client, number);
                sql += &rows;
                commits = rng.u32(0..6) > 0;
            }
        }
        // It stays open for a moment: faults strike in the midst of it, and the load stays small.
        sql += &format!("SELECT FROM pg_sleep({});\n", rng.f64() * 0.04);
        sql += if commits { "COMMIT;\n" } else { "ROLLBACK;\n" };
        Self {
            number,
            commits,
            sql,
        }
    }
}

/// A part that is rolled back, whatever becomes of the whole, and one that is released.
fn savepoints(ledger: &Ledger, client: usize, rows_that_stay: &str) -> String {
    let never = ledger.draw();
    ledger.roll_back(never);
    format!(
        "SAVEPOINT a;\n{}ROLLBACK TO a;\nSAVEPOINT b;\n{rows_that_stay}RELEASE b;\n",
        rows(never, client)
    )
}

/// More than the decoder keeps in memory.
fn large(client: usize, count: u32) -> String {
    format!(
        "DELETE FROM bulk WHERE client = {client};
         INSERT INTO bulk SELECT {client}, i, repeat('x', 200) FROM generate_series(1, {count}) i;\n"
    )
}

fn definitions(client: usize, number: u64) -> String {
    format!(
        "DROP TABLE IF EXISTS made_by_{client};
         CREATE TABLE made_by_{client} (a int PRIMARY KEY, b text);
         INSERT INTO made_by_{client} VALUES (1, 'before');
         ALTER TABLE made_by_{client} ADD COLUMN c bigint DEFAULT {number};
         INSERT INTO made_by_{client} VALUES (2, 'after');\n"
    )
}

/// A psql that says how a transaction ended. The harness's sessions panic when the server goes.
struct Connection {
    psql: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    is_lost: bool,
}

impl Connection {
    fn open(c: &Cluster) -> Option<Self> {
        let mut command = c.installation().command("psql");
        command.args(["-X", "-A", "-t", "-d", &c.conninfo(c.database())]);
        let mut psql = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("psql can be run");
        let stdin = psql.stdin.take().expect("stdin is piped");
        let stdout = BufReader::new(psql.stdout.take().expect("stdout is piped"));
        let mut connection = Self {
            psql,
            stdin,
            stdout,
            is_lost: false,
        };
        connection.run("BEGIN; COMMIT;\n").map(|_| connection)
    }

    /// True where it committed, false where it did not, nothing where nobody said.
    fn run(&mut self, sql: &str) -> Option<bool> {
        let sent = writeln!(self.stdin, "{sql}\\echo '{DONE}'").and_then(|()| self.stdin.flush());
        let mut end = None;
        // psql may have gone before it read all, and have printed what counts before that.
        self.is_lost = sent.is_err();
        let mut line = String::new();
        loop {
            line.clear();
            match self.stdout.read_line(&mut line) {
                Ok(0) | Err(_) => {
                    self.is_lost = true;
                    // A ROLLBACK may have been the one to a savepoint.
                    return end.filter(|is_committed| *is_committed);
                }
                Ok(_) => {}
            }
            match line.trim_end() {
                // ROLLBACK is also the answer to ROLLBACK TO; the last one counts.
                "COMMIT" => end = Some(true),
                "ROLLBACK" => end = Some(false),
                DONE => return end,
                _ => {}
            }
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.psql.kill().ok();
        self.psql.wait().ok();
    }
}
