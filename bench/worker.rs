//! What the worker takes where much comes at once: the first change of each of many tables, a value of 100 MB, and
//! a transaction that does not fit into memory. Beside it test_decoding, which is PostgreSQL's own part.

use crate::process;
use crate::report::{figure, Report};
use crate::server;
use crate::standing::{Reading, Standing};
use crate::stats::median;
use crate::turns;
use harness::Cluster;
use serde_json::json;

const PLUGINS: [&str; 2] = ["pg_incrbackup", "test_decoding"];

const TABLES: usize = 10_000;
/// Microseconds, without PostgreSQL's own; megabytes, with them.
const FIRST_CHANGE: f64 = 5.0;
const TABLES_MEMORY: f64 = 40.0;

const VALUE: usize = 100 << 20;
/// What the worker holds for a value, in multiples of it.
const VALUE_MEMORY: f64 = 3.5;
/// What the reader poll holds more than a session with test_decoding, which writes no SQL.
const POLL_MEMORY: f64 = 1.0;

const ROWS: u64 = 3_000_000;
/// In turn; all of the larger is used, and it is too small.
const WORK_MEM: [&str; 2] = ["64MB", "512MB"];
const NOT_SLOWER: f64 = 1.1;

pub fn measure(report: &mut Report, repeats: usize) {
    report.heading("Worker");
    first_changes(report, repeats);
    report.save();
    one_value(report);
    report.save();
    work_mem(report, repeats);
    report.save();
}

/// One session's reading of a slot up to an LSN.
#[derive(Default)]
struct Peeks {
    once: Vec<f64>,
    twice: Vec<f64>,
    megabytes: Vec<f64>,
}

fn first_changes(report: &mut Report, repeats: usize) {
    report.smaller_heading("First change of a table");
    report.note(&format!(
        "{TABLES} tables, each gets a row in a transaction of its own, and then another one. CPU microseconds for each \
         change, by pg_logical_slot_peek_changes in a session of its own, to the end of the first round and of the second; \
         what the first one takes more than the second is a table's first change. Memory: the session's own (RssAnon); medians."
    ));
    let builder = server::builder().setting("max_locks_per_transaction", "512");
    let c = builder.start();
    c.sql(&format!(
        "SET synchronous_commit = off;
         SELECT format('CREATE TABLE many_%s (id int PRIMARY KEY, a text, b int)', i)
         FROM generate_series(0, {TABLES} - 1) i
         \\gexec
         CREATE PROCEDURE round(row_id int) LANGUAGE plpgsql AS $$
         BEGIN
           FOR i IN 0 .. {TABLES} - 1 LOOP
             EXECUTE format('INSERT INTO many_%s VALUES (%s, %L, 1)', i, row_id, 'row ' || i);
             COMMIT;
           END LOOP;
         END $$;
         CREATE EXTENSION pg_incrbackup"
    ));
    c.sql("SELECT * FROM incr_setup()");
    c.sql("SELECT incr_teardown(drop_slot => false)");
    for plugin in PLUGINS {
        let slot = format!("pg_create_logical_replication_slot('of_{plugin}', '{plugin}')");
        c.sql(&format!("SELECT {slot}"));
    }
    let ends = [1, 2].map(|round| {
        c.sql(&format!(
            "SET synchronous_commit = off;\nCALL round({round})"
        ));
        c.sql("CHECKPOINT");
        c.sql("SELECT pg_current_wal_lsn()")
    });
    let mut all = PLUGINS.map(|plugin| (plugin, Peeks::default()));
    turns::alternate(&mut all, repeats, |_, (plugin, peeks)| {
        let (once, _) = peek(&c, plugin, &ends[0], TABLES);
        let (twice, megabytes) = peek(&c, plugin, &ends[1], 2 * TABLES);
        peeks.once.push(once);
        peeks.twice.push(twice - once);
        peeks.megabytes.push(megabytes);
    });
    let mut rows = Vec::new();
    let mut firsts = Vec::new();
    for (plugin, peeks) in &all {
        let each = |seconds: &[f64]| median(seconds) * 1e6 / TABLES as f64;
        let (once, again) = (each(&peeks.once), each(&peeks.twice));
        let megabytes = median(&peeks.megabytes);
        firsts.push((once - again, megabytes));
        rows.push(vec![
            plugin.to_string(),
            figure(once),
            figure(again),
            figure(once - again),
            figure(megabytes),
        ]);
        let raw = json!({"once": peeks.once, "again": peeks.twice, "mb": peeks.megabytes});
        report.raw("worker", &format!("first change, {plugin}"), raw);
    }
    report.table(
        &[
            "plugin",
            "first round, µs",
            "second, µs",
            "first change, µs",
            "MB",
        ],
        &rows,
    );
    report.at_most(
        "worker: first change of a table, more than test_decoding takes",
        FIRST_CHANGE,
        firsts[0].0 - firsts[1].0,
        " µs",
    );
    let what = format!("worker: a session that has met {TABLES} tables");
    report.at_most(&what, TABLES_MEMORY, firsts[0].1, " MB");
}

/// CPU seconds and megabytes of a session that reads a slot up to `end`.
fn peek(c: &Cluster, plugin: &str, end: &str, changes: usize) -> (f64, f64) {
    const CPU: &str = "split_part(pg_read_file('/proc/self/schedstat'), ' ', 1)::numeric / 1e9";
    let seen = c.sql(&format!(
        "SELECT {CPU} AS began \\gset\n\
         SELECT count(*) AS rows FROM pg_logical_slot_peek_changes('of_{plugin}', '{end}', NULL) \\gset\n\
         SELECT {CPU} - :began, \
             (regexp_match(pg_read_file('/proc/self/status'), 'RssAnon:\\s+(\\d+)'))[1]::numeric / 1024, :rows >= {changes}"
    ));
    let mut seen = seen.split('|');
    let mut number = || seen.next().and_then(|text| text.parse().ok());
    let (cpu, megabytes) = (number(), number());
    assert_eq!(seen.next(), Some("t"), "all changes were decoded");
    let missing = "two numbers";
    (cpu.expect(missing), megabytes.expect(missing))
}

fn one_value(report: &mut Report) {
    report.smaller_heading("One value of 100 MB");
    report.note(
        "A row with one value, which is not compressed, is inserted. The most memory that the worker held (VmHWM) from there on, \
         less what it held before, in multiples of the value. For a text: its pieces and what decoding makes of them are \
         PostgreSQL's, the line is ours. A bytea's text is twice as long. test_decoding: a session that reads the row by \
         pg_logical_slot_peek_binary_changes, as the reader poll does.",
    );
    let values = [
        ("text", format!("repeat(md5('') || ' ab', {VALUE} / 35)")),
        (
            "bytea",
            format!("decode(repeat('0a1b2c3d', {VALUE} / 4), 'hex')"),
        ),
        (
            "jsonb",
            format!("(SELECT jsonb_agg(repeat('xy', 100)) FROM generate_series(1, {VALUE} / 208))"),
        ),
    ];
    let mut rows = Vec::new();
    let mut readings = Vec::new();
    for (kind, value) in &values {
        let [stream, poll] = ["stream", "poll"].map(|reader| worker_of_value(reader, kind, value));
        let other = session_of_value(kind, value);
        let taken = [stream, poll, other];
        rows.push([vec![kind.to_string()], taken.map(figure).to_vec()].concat());
        report.raw("worker", &format!("value, {kind}"), json!(taken));
        readings.push(taken);
    }
    report.table(&["value", "stream", "poll", "test_decoding"], &rows);
    let [stream, poll, other] = readings[0];
    report.at_most(
        "worker: memory for one text, by its size",
        VALUE_MEMORY,
        stream,
        "",
    );
    report.at_most(
        "worker: the same of reader poll, more than a session with test_decoding",
        POLL_MEMORY,
        poll - other,
        "",
    );
}

fn make_value_table(c: &Cluster, kind: &str) {
    c.sql(&format!(
        "CREATE TABLE large (id int PRIMARY KEY, v {kind}); ALTER TABLE large ALTER v SET STORAGE external"
    ));
}

fn worker_of_value(reader: &str, kind: &str, value: &str) -> f64 {
    let reader = format!("'{reader}'");
    let c = server::builder()
        .setting("pg_incrbackup.reader", &reader)
        .back_up();
    make_value_table(&c, kind);
    c.flush();
    // The slot names its reader only while that reads.
    let worker =
        || c.sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'pg_incrbackup capture'");
    let pid = worker();
    process::forget_peak(&pid);
    let before = process::peak_megabytes(&pid);
    c.sql(&format!("INSERT INTO large VALUES (1, {value})"));
    c.flush();
    assert_eq!(worker(), pid, "the worker began again");
    (process::peak_megabytes(&pid) - before) * 1_048_576.0 / VALUE as f64
}

fn session_of_value(kind: &str, value: &str) -> f64 {
    let c = server::builder().start();
    make_value_table(&c, kind);
    c.sql("SELECT pg_create_logical_replication_slot('other', 'test_decoding')");
    c.sql(&format!("INSERT INTO large VALUES (1, {value})"));
    const PEAK: &str =
        "(regexp_match(pg_read_file('/proc/self/status'), 'VmHWM:\\s+(\\d+)'))[1]::numeric * 1024";
    let held = c.sql(&format!(
        "SELECT {PEAK} AS before \\gset\n\
         SELECT sum(length(data)) AS bytes FROM pg_logical_slot_peek_binary_changes('other', NULL, NULL) \\gset\n\
         SELECT {PEAK} - :before, :bytes > {VALUE}/2"
    ));
    let (held, is_read) = held.split_once('|').expect("two columns");
    assert_eq!(is_read, "t", "the value was read");
    held.parse::<f64>().expect("a number of bytes") / VALUE as f64
}

fn work_mem(report: &mut Report, repeats: usize) {
    report.smaller_heading("More memory for decoding");
    report.note(&format!(
        "One transaction of {ROWS} rows under pg_incrbackup.decoding_work_mem; medians. Neither holds it: what does not fit is \
         written out by PostgreSQL and read again, whatever the setting."
    ));
    let mut pair = WORK_MEM.map(|memory| {
        let value = format!("'{memory}'");
        let builder = server::builder().setting("pg_incrbackup.decoding_work_mem", &value);
        let c = builder.start();
        c.sql("CREATE TABLE one (id int PRIMARY KEY, a text, b int); CREATE SEQUENCE rounds");
        (memory, Standing::new(c, false), Vec::<Reading>::new())
    });
    turns::alternate(&mut pair, repeats, |round, (memory, standing, readings)| {
        let reading = standing.read(&format!(
            "TRUNCATE one; CHECKPOINT; INSERT INTO one SELECT i, rpad('row ' || i, 40, md5(i::text)), i FROM generate_series(1, {ROWS}) i"
        ));
        eprintln!(
            "bench: {memory}, round {round}: {:.2} s, cpu {:.2} s",
            reading.seconds, reading.cpu
        );
        readings.push(reading);
    });
    let of = |readings: &[Reading], what: fn(&Reading) -> f64| {
        median(&readings.iter().map(what).collect::<Vec<_>>())
    };
    let rows: Vec<Vec<String>> = pair
        .iter()
        .map(|(memory, _, readings)| {
            vec![
                memory.to_string(),
                figure(of(readings, |r| r.cpu)),
                figure(of(readings, |r| r.seconds)),
                figure(of(readings, |r| r.own)),
            ]
        })
        .collect();
    report.table(&["decoding_work_mem", "CPU s", "s", "own MB"], &rows);
    for (memory, _, readings) in &pair {
        let raw = readings
            .iter()
            .map(|r| json!({"cpu": r.cpu, "seconds": r.seconds, "own_megabytes": r.own}));
        report.raw("worker", &format!("work_mem, {memory}"), raw.collect());
    }
    let [small, large] = [&pair[0].2, &pair[1].2].map(|readings| of(readings, |r| r.cpu));
    let what = format!(
        "worker: CPU time with {} as a multiple of that with {}",
        WORK_MEM[1], WORK_MEM[0]
    );
    report.at_most(&what, NOT_SLOWER, large / small, "");
}
