//! From commit to fsynced file, at about a thousand commits a second.
//!
//! The commit's time is the one in the commit record. The moment at which it is safe is seen by an
//! observer in a session of its own, which notes the clock whenever `durable_lsn` has moved. It
//! looks about every millisecond, so a delay is measured too long by up to that much, never too
//! short; the server's own flush of the WAL is part of it.

use harness::Cluster;

const COMMITS_PER_SECOND: u32 = 1000;
const SECONDS: u32 = 20;

const OBSERVER: &str = "
    CREATE UNLOGGED TABLE observed (at timestamptz, lsn pg_lsn);
    CREATE PROCEDURE observe(seconds int) LANGUAGE plpgsql AS $$
    DECLARE
      until timestamptz := clock_timestamp() + seconds * interval '1 s';
      seen pg_lsn := '0/0';
      now_durable pg_lsn;
      ats timestamptz[] := '{}';
      lsns pg_lsn[] := '{}';
    BEGIN
      WHILE clock_timestamp() < until LOOP
        SELECT durable_lsn INTO now_durable FROM incr_slot_health();
        IF now_durable > seen THEN
          ats := ats || clock_timestamp();
          lsns := lsns || now_durable;
          seen := now_durable;
        END IF;
        PERFORM pg_sleep(0.0005);
      END LOOP;
      INSERT INTO observed SELECT * FROM unnest(ats, lsns);
    END $$;";

pub fn measure() {
    let c = Cluster::builder().setting("fsync", "on").back_up();
    c.sql("CREATE TABLE t (id bigserial PRIMARY KEY, at timestamptz DEFAULT now(), v int)");
    c.sql(OBSERVER);
    c.flush();
    let before = c.transactions().len();
    let mut observer = c.session();
    observer.send(&format!("CALL observe({})", SECONDS + 2));
    load(&c);
    observer.finish();
    c.flush();

    let observed =
        c.sql("SELECT extract(epoch FROM at), lsn - '0/0'::pg_lsn FROM observed ORDER BY 2");
    let observed: Vec<(f64, u64)> = observed.lines().filter_map(observation).collect();
    let commits = commits(&c, before);
    let mut delays: Vec<f64> = commits
        .iter()
        .filter_map(|(committed, lsn)| {
            let first = observed.partition_point(|(_, durable)| durable < lsn);
            observed.get(first).map(|(at, _)| (at - committed) * 1000.0)
        })
        .collect();
    delays.sort_by(f64::total_cmp);
    assert!(!delays.is_empty(), "nothing was measured");
    let at = |share: f64| delays[((delays.len() - 1) as f64 * share) as usize];
    println!(
        "commit to fsynced file, {} commits/s for {SECONDS} s: median {:.1} ms, p99 {:.1} ms, longest {:.1} ms ({} commits)",
        delays.len() as u32 / SECONDS,
        at(0.5),
        at(0.99),
        at(1.0),
        delays.len()
    );
}

/// pgbench at a fixed rate, one small row in each transaction.
fn load(c: &Cluster) {
    let script = c.root().join("insert.sql");
    std::fs::write(&script, "INSERT INTO t (v) VALUES (1);\n").expect("the script can be written");
    let (rate, seconds) = (COMMITS_PER_SECOND.to_string(), SECONDS.to_string());
    let script = script.display().to_string();
    c.pgbench(&[
        "-n", "-c", "4", "-j", "1", "-R", &rate, "-T", &seconds, "-f", &script,
    ]);
}

fn observation(row: &str) -> Option<(f64, u64)> {
    let (at, lsn) = row.split_once('|')?;
    Some((at.parse().ok()?, lsn.parse().ok()?))
}

/// Time (seconds since 1970) and LSN of every commit in the files after the first `skipped`.
fn commits(c: &Cluster, skipped: usize) -> Vec<(f64, u64)> {
    let transactions = c.transactions().split_off(skipped);
    let rows = transactions
        .iter()
        .map(|t| format!("('{}', '{}')", t.commit_time, t.commit_lsn));
    let rows = rows.collect::<Vec<_>>().join(", ");
    let converted = c.sql(&format!(
        "SELECT extract(epoch FROM at::timestamptz), lsn::pg_lsn - '0/0'::pg_lsn FROM (VALUES {rows}) v (at, lsn)"
    ));
    converted.lines().filter_map(observation).collect()
}
