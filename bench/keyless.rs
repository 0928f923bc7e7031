//! Rows of tables without a key, found again by their whole image: through an index that fits
//! somewhere, by reading the table otherwise. How much one changed row costs a restore.

use crate::replay::{self, Took};
use crate::report::{figure, Report};
use crate::restore::{middle, raw};
use crate::{server, turns};
use harness::{assert_identical, Cluster};

struct Case {
    name: &'static str,
    rows: u32,
    has_index: bool,
    changes: u32,
}

const SMALL: Case = Case {
    name: "an index that fits, 10,000 rows",
    rows: 10_000,
    has_index: true,
    changes: 5_000,
};
const LARGE: Case = Case {
    name: "an index that fits, 100,000 rows",
    rows: 100_000,
    has_index: true,
    changes: 5_000,
};
const WITHOUT: Case = Case {
    name: "no index, 100,000 rows",
    rows: 100_000,
    has_index: false,
    changes: 1_000,
};

/// One case's server, and its turns.
struct Table {
    case: Case,
    cluster: Cluster,
    /// Everything, and the base alone.
    whole: Vec<Took>,
    base: Vec<Took>,
    before: String,
}

pub fn measure(report: &mut Report, repeats: usize, target: &Cluster) {
    let mut tables = [SMALL, LARGE, WITHOUT].map(Table::new);
    turns::alternate(&mut tables, repeats, |round, table| {
        let took = table.take_turn(target);
        let (name, seconds) = (table.case.name, took.seconds);
        eprintln!("bench: keyless, round {round}: {name}: {seconds:.2} s");
    });
    show(report, &tables);
}

impl Table {
    fn new(case: Case) -> Self {
        let c = server::builder().start();
        c.sql(
            "CREATE TABLE keyless (id int NOT NULL, a text, b numeric, c timestamptz, d boolean)",
        );
        if case.has_index {
            c.sql("CREATE INDEX ON keyless (id)");
        }
        c.sql(&format!(
            "INSERT INTO keyless SELECT i, 'row ' || i, i / 3.0, timestamptz '2026-01-01Z' + i * interval '1 s', i % 2 = 0 \
             FROM generate_series(1, {}) i",
            case.rows
        ));
        c.sql("CREATE EXTENSION pg_incrbackup");
        c.sql("SELECT * FROM incr_setup()");
        let before = c.flush();
        let step = 2 * case.rows / case.changes;
        c.sql(&format!(
            "UPDATE keyless SET a = a || '.' WHERE id % {step} = 0"
        ));
        c.sql(&format!("DELETE FROM keyless WHERE id % {step} = 1"));
        c.flush();
        Self {
            case,
            cluster: c,
            whole: Vec::new(),
            base: Vec::new(),
            before,
        }
    }

    /// The whole restore, after that of the base alone.
    fn take_turn(&mut self, target: &Cluster) -> Took {
        let archive = self.cluster.database_directory();
        let database = "keyless";
        let until = ["--until-lsn", self.before.as_str()];
        self.base.push(replay::restore_by_program(
            &archive, target, database, &until,
        ));
        replay::remove(target, database);
        let whole = replay::restore_by_program(&archive, target, database, &[]);
        self.whole.push(whole);
        assert_identical((&self.cluster, self.cluster.database()), (target, database));
        replay::remove(target, database);
        whole
    }

    fn took(&self) -> Took {
        middle(&self.whole).without(middle(&self.base))
    }

    /// Milliseconds.
    fn per_change(&self) -> Took {
        let took = self.took();
        let per_change = |seconds: f64| seconds * 1000.0 / f64::from(self.case.changes);
        Took {
            seconds: per_change(took.seconds),
            cpu: per_change(took.cpu),
        }
    }
}

fn show(report: &mut Report, tables: &[Table]) {
    report.smaller_heading("Tables without a key");
    report.note(
        "As many UPDATEs as DELETEs of single rows in a table of 5 columns with REPLICA IDENTITY FULL, replayed by \
         the program; the time with the base alone is taken off.",
    );
    let row = |table: &Table| {
        let (took, each) = (table.took(), table.per_change());
        vec![
            table.case.name.to_string(),
            table.case.changes.to_string(),
            figure(took.seconds),
            figure(took.cpu),
            figure(each.seconds),
        ]
    };
    let header = ["table", "changes", "s", "CPU s", "ms each"];
    report.table(&header, &tables.iter().map(row).collect::<Vec<_>>());
    for table in tables {
        let both = serde_json::json!({"changes": table.case.changes, "whole": raw(&table.whole),
                                      "base alone": raw(&table.base)});
        report.raw("restore", table.case.name, both);
    }
    let [small, large, without] = tables else {
        panic!("three cases are measured");
    };
    let (small, large) = (small.per_change(), large.per_change());
    let what = "restore: a keyless row found by an index, in a table 10 times as large: time, as a multiple";
    let ratio = (large.seconds / small.seconds, large.cpu / small.cpu);
    report.ratio_at_most(what, 1.5, ratio);
    let what = "restore: 1,000 keyless rows among 100,000 without an index";
    report.at_most(what, 1.0, without.per_change().seconds, " s");
}
