//! From a database that is backed up to the restored one: flush, what the archive says of itself,
//! the program as a DBA runs it, and, where that stops, the survey of all that fails, by restore.sh.

use crate::findings::Findings;
use crate::suite::database;
use crate::survey::{shortened, Survey};
use harness::{differences, program, Cluster};
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Instant;

/// The target where a restore may stop, and where it may not.
const STRICT: &str = "restored";
const SURVEYED: &str = "surveyed";

/// How many lines of what a restore said are shown.
const SHOWN: usize = 10;

/// Everything that follows a run of the suite.
pub fn restore_and_compare(cluster: &Cluster, findings: &mut Findings) {
    flush(cluster, findings);
    tell_segments(cluster, findings);
    let restored = restore(cluster, findings);
    refresh(cluster);
    finalize(cluster);
    let started = Instant::now();
    let found = differences((cluster, database()), (cluster, &restored));
    println!("compared in {}", seconds_since(started));
    findings.differences(&found);
}

/// A restore computes the rows of materialized views anew, as the restore of a dump does; the suite leaves some
/// behind what they read. In the order in which they were made: some read others.
fn refresh(cluster: &Cluster) {
    cluster.sql_in(
        database(),
        "DO $$ DECLARE v pg_catalog.regclass; BEGIN
           FOR v IN SELECT c.oid FROM pg_catalog.pg_class c WHERE c.relkind = 'm' AND c.relispopulated
             AND c.relpersistence = 'p' ORDER BY c.oid
           LOOP EXECUTE pg_catalog.format('REFRESH MATERIALIZED VIEW %s', v); END LOOP; END $$",
    );
}

/// A dump has a partition whose DETACH … CONCURRENTLY was cancelled as one that is attached, though its parent
/// shows none of its rows any more: a restore has it detached.
fn finalize(cluster: &Cluster) {
    cluster.sql_in(
        database(),
        "DO $$ DECLARE p record; BEGIN
           FOR p IN SELECT inhparent::pg_catalog.regclass AS parent, inhrelid::pg_catalog.regclass AS partition
             FROM pg_catalog.pg_inherits WHERE inhdetachpending
           LOOP EXECUTE pg_catalog.format('ALTER TABLE %s DETACH PARTITION %s FINALIZE', p.parent, p.partition);
           END LOOP; END $$",
    );
}

/// What the segments tell of: what could not be carried, and what was left out or went as its text.
fn tell_segments(cluster: &Cluster, findings: &mut Findings) {
    let segments = cluster.segments();
    let comments = |kind: &str| -> Vec<String> {
        let found = segments.iter().flat_map(|segment| segment.comments(kind));
        found.map(str::to_owned).collect()
    };
    let count = |kind: &str| comments(kind).len();
    println!(
        "segments: {} effects, {} statements' words, {} left out",
        count("effect"),
        count("words"),
        count("left_out")
    );
    let mut by_text: BTreeMap<String, usize> = BTreeMap::new();
    for text in comments("ddl") {
        let command = text
            .split(' ')
            .find_map(|field| field.strip_prefix("command="));
        *by_text
            .entry(command.unwrap_or_default().to_owned())
            .or_default() += 1;
    }
    // That one empties a table whose rows come again, and is nobody's statement.
    by_text.remove("REWRITE");
    for (command, count) in by_text {
        println!("  by its text: {count} × {command}");
    }
    let flags = comments("flag");
    let (lost, told): (Vec<_>, Vec<_>) = flags.iter().partition(|flag| flag.contains(" lost="));
    for text in told.iter().take(SHOWN) {
        println!("  flag: {}", shortened(text, 300));
    }
    let unhandled = comments("unhandled");
    for text in lost.iter().copied().chain(&unhandled).take(SHOWN) {
        println!("  not carried: {}", shortened(text, 300));
    }
    findings.count(unhandled.len(), "unhandled statements");
    findings.count(lost.len(), "objects that lost something");
    let chains = fs::read_dir(cluster.database_directory()).expect("the archive can be read");
    let names = chains.map(|entry| entry.expect("the archive can be read").file_name());
    let chains = names.filter(|name| name.to_string_lossy().starts_with("chain-"));
    findings.count(chains.count() - 1, "ends of a chain");
}

/// Waits for the capture, and tells what health and verification find.
fn flush(cluster: &Cluster, findings: &mut Findings) {
    let crashes = cluster.log().matches("was terminated by signal").count();
    findings.count(crashes, "crashes of the server");
    cluster.wait_for_capture();
    let started = Instant::now();
    // However slow the machine is: it is an error that the files get nowhere, not that they take long.
    let reached = || {
        cluster.sql("SELECT max(confirmed_flush_lsn) FROM pg_replication_slots WHERE plugin = 'pg_incrbackup'")
    };
    let mut before = reached();
    while let Err(error) = cluster.try_sql("SELECT incrbackup.incr_flush('5 min')") {
        let now = reached();
        let status = || cluster.sql("SELECT * FROM incrbackup.incr_status()");
        assert_ne!(now, before, "capture has stopped: {error}\n{}", status());
        println!("capture is at {now}: {error}");
        before = now;
    }
    println!("flushed in {}", seconds_since(started));
    let health = cluster.sql("SELECT level, reasons FROM incrbackup.incr_slot_health()");
    println!("health: {health}");
    let problems = cluster.sql("SELECT * FROM incrbackup.incr_verify()");
    for problem in problems.lines() {
        println!("incr_verify: {problem}");
    }
    findings.count(problems.lines().count(), "problems of the archive");
}

/// Restores; gives the name of the database to compare: the restored one, or, where the program
/// stopped, the surveyed one, which has everything that could be applied.
fn restore(cluster: &Cluster, findings: &mut Findings) -> String {
    forget_restores(cluster);
    let strict = free_name(cluster, STRICT);
    let started = Instant::now();
    let restored = by_program(cluster, &strict);
    let verb = if restored.is_ok() {
        "took"
    } else {
        "stopped after"
    };
    println!("the program {verb} {}:", seconds_since(started));
    let said = restored.as_ref().unwrap_or_else(|said| said);
    note_roles(cluster, said);
    show_end(said);
    if restored.is_ok() {
        findings.write("survey.txt", "");
        findings.count(0, "failed statements");
        return strict;
    }
    forget_restores(cluster);
    let surveyed = free_name(cluster, SURVEYED);
    let started = Instant::now();
    let survey = Survey::of(cluster, &surveyed);
    note_roles(cluster, &survey.said);
    println!("surveyed in {}", seconds_since(started));
    findings.survey(&survey);
    surveyed
}

/// Restores with the program; what it printed, as an error if its exit status is not 0.
fn by_program(cluster: &Cluster, database: &str) -> Result<String, String> {
    let archive = cluster.database_directory();
    let archive = archive.to_str().expect("the path is UTF-8");
    let target = cluster.conninfo(database);
    let output = program(&["restore", "--archive", archive, "--target", &target]);
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    match output.status.code() {
        Some(0) => Ok(text),
        // What the query of a materialized view refuses is no finding.
        Some(1) if text.contains("materialized views that stay without rows:") => Ok(text),
        _ => Err(text),
    }
}

fn seconds_since(started: Instant) -> String {
    format!("{:.1} s", started.elapsed().as_secs_f64())
}

fn show_end(said: &str) {
    let noise = [" NOTICE: ", " WARNING: "];
    let is_noise = |line: &&str| line.starts_with('[') || noise.iter().any(|n| line.contains(n));
    let lines: Vec<_> = said.lines().filter(|line| !is_noise(line)).collect();
    for line in &lines[lines.len().saturating_sub(SHOWN)..] {
        println!("  {}", shortened(line, 300));
    }
}

/// A name that no database of the cluster has: one with a subscription cannot be dropped.
fn free_name(cluster: &Cluster, wish: &str) -> String {
    let count = cluster.sql_in(
        "postgres",
        &format!("SELECT count(*) FROM pg_database WHERE datname LIKE '{wish}%'"),
    );
    match count.as_str() {
        "0" => wish.to_owned(),
        _ => format!("{wish}_{count}"),
    }
}

/// Removes what earlier restores left, so that each begins alike: databases, and roles that
/// a restore made because the suite had dropped its own.
fn forget_restores(cluster: &Cluster) {
    let databases = format!(
        "SELECT quote_ident(datname) FROM pg_database
         WHERE datname LIKE '{STRICT}%' OR datname LIKE '{SURVEYED}%'"
    );
    for database in cluster.sql_in("postgres", &databases).lines() {
        drop_if_possible(cluster, &format!("DATABASE {database}"));
    }
    let noted = fs::read_to_string(noted_roles(cluster)).unwrap_or_default();
    for role in noted.lines() {
        drop_if_possible(cluster, &format!("ROLE {role}"));
    }
}

fn drop_if_possible(cluster: &Cluster, what: &str) {
    cluster.try_sql_in("postgres", &format!("DROP {what}")).ok();
}

/// A restore says `created role "name" NOLOGIN`.
fn note_roles(cluster: &Cluster, said: &str) {
    let created = said
        .lines()
        .filter_map(|line| line.strip_prefix("created role "));
    let roles = created.filter_map(|line| line.rsplit_once(" NOLOGIN"));
    let roles: String = roles.map(|(role, _)| format!("{role}\n")).collect();
    fs::write(noted_roles(cluster), roles).expect("a file can be written beside the cluster");
}

fn noted_roles(cluster: &Cluster) -> PathBuf {
    cluster.root().join("roles-of-the-restore")
}
