//! `incr_as_of()` of a table that has changed a lot: how long it takes, and how much memory the session and the program that
//! reads the files for it hold.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crate::report::{figure, Report};
use crate::{process, server, stats};

const ROWS: u32 = 100_000;
const CHANGES: u32 = 1_000_000;

pub fn measure(report: &mut Report, repeats: usize) {
    report.heading("The past, by SQL");
    report.note(&format!(
        "incr_as_of() of a table of {ROWS} rows, {CHANGES} changes after the base: all rows are counted. Peak memory: of the \
         session (with what it touched of shared memory) and of the program that it starts, together."
    ));
    let c = server::builder().start();
    c.sql(&format!(
        "CREATE TABLE counters (id int PRIMARY KEY, name text, n bigint, at timestamptz);
         INSERT INTO counters SELECT i, md5(i::text), 0, timestamptz '2026-01-01Z' FROM generate_series(1, {ROWS}) i;
         CREATE EXTENSION pg_incrbackup"
    ));
    c.sql("SELECT * FROM incr_setup()");
    c.sql(&format!(
        "SET synchronous_commit = off;
         DO $$ BEGIN FOR i IN 1..{CHANGES} / 1000 LOOP
            UPDATE counters SET n = n + 1, at = at + interval '1 s' WHERE id > (i % 100) * 1000 AND id <= (i % 100 + 1) * 1000;
            COMMIT;
         END LOOP; END $$"
    ));
    let lsn = c.flush();
    let mut session = c.session();
    let pid = session.run("SELECT pg_backend_pid()");
    let question = format!("SELECT count(*), sum(n) FROM incr_as_of(NULL::counters, '{lsn}')");
    let expected = format!("{ROWS}|{CHANGES}");
    let (mut seconds, mut megabytes) = (Vec::new(), Vec::new());
    for _ in 0..repeats {
        process::forget_peak(&pid);
        let started = Instant::now();
        let is_over = AtomicBool::new(false);
        let program = std::thread::scope(|scope| {
            let watching = scope.spawn(|| peak_of_children(&pid, &is_over));
            assert_eq!(session.run(&question), expected);
            seconds.push(started.elapsed().as_secs_f64());
            is_over.store(true, Ordering::Relaxed);
            watching.join().expect("it only reads")
        });
        megabytes.push(process::peak_megabytes(&pid) + program);
    }
    let (seconds, megabytes) = (stats::median(&seconds), stats::median(&megabytes));
    let rows = [vec![figure(seconds), figure(megabytes)]];
    report.table(&["seconds", "peak MB"], &rows);
    let what = "incr_as_of() of 100,000 rows after a million changes";
    report.at_most(what, 5.0, seconds, " s");
    report.at_most(&format!("{what}: memory"), 200.0, megabytes, " MB");
    report.save();
}

/// The most memory that a child of this process has held, in MB.
fn peak_of_children(pid: &str, is_over: &AtomicBool) -> f64 {
    let mut peak = 0_f64;
    while !is_over.load(Ordering::Relaxed) {
        for child in process::children_of(pid) {
            peak = peak.max(process::peak_megabytes(&child));
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    peak
}
