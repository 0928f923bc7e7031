//! "One statement could not be carried, and my backup stood still until somebody looked." It is flagged in its
//! place, capture goes on, and a base begins by itself that makes all that comes after it whole.

use std::fs;
use std::time::Duration;

use crate::poll::through_decoder_raw;
use harness::{wait_until, wait_until_within, Cluster, Session};

const TABLES: &str =
    "CREATE TABLE t (a int); INSERT INTO t VALUES (1), (2); CREATE TABLE other (a int PRIMARY KEY)";

/// Runs statements whose changes of `t` have no old row in the WAL. Whoever says REPLICA IDENTITY NOTHING gets
/// another one at the end of that statement, so a superuser's hand is needed.
pub fn lose(c: &Cluster, statements: &str) {
    let set = |identity: char| {
        format!("UPDATE pg_class SET relreplident = '{identity}' WHERE oid = 't'::regclass;")
    };
    c.sql(&format!(
        "BEGIN; {}; {statements}; {} COMMIT",
        set('n'),
        set('f')
    ));
}

/// While it is open, a base waits for the DDL fence, and fails for nothing.
pub fn hold_bases(c: &Cluster) -> Session {
    let mut session = c.session();
    session.run("BEGIN; CREATE TABLE pending (a int PRIMARY KEY)");
    session
}

fn list(c: &Cluster) -> String {
    fs::read_to_string(c.chain_directory().join("flags.jsonl")).unwrap_or_default()
}

fn wait_for_flag(c: &Cluster, object: &str) {
    wait_until("health names what is lost", || {
        let health = c.health();
        health.contains("are incomplete: ") && health.contains(object)
    });
}

pub fn wait_until_healed(c: &Cluster) {
    wait_until_within(Duration::from_secs(120), "the stretch has ended", || {
        !c.health().contains("are incomplete: ")
    });
    let base = "SELECT count(*) FROM incr_status() WHERE worker = 'base' AND pid IS NOT NULL";
    wait_until("no base is being made", || c.sql(base) == "0");
}

/// What is there is whole again, in the same chain.
fn assert_goes_on(c: &Cluster) {
    wait_until_healed(c);
    wait_until("all is well", || c.health().starts_with("ok"));
    c.sql("CREATE TABLE afterwards (a int); INSERT INTO afterwards VALUES (1)");
    c.assert_restores();
    assert!(!c.database_directory().join("chain-2").exists());
    let chain = fs::read_to_string(c.chain_directory().join("chain.json"));
    assert!(chain.is_ok_and(|chain| chain.contains("\"ended\": null")));
}

#[test]
fn an_update_without_its_old_row_is_flagged_and_a_base_ends_the_stretch() {
    let c = Cluster::backed_up();
    c.sql(TABLES);
    let mut held = hold_bases(&c);
    lose(&c, "UPDATE t SET a = 3 WHERE a = 1");
    c.sql("INSERT INTO other VALUES (1)");
    wait_for_flag(
        &c,
        "rows of table public.t (UPDATE on public.t could not be written",
    );
    let health = c.health();
    assert!(health.starts_with("warning"), "{health}");
    let status = c.sql("SELECT detail FROM incr_status() WHERE worker = 'capture'");
    assert!(status.contains("rows of table public.t"), "{status}");
    let oid = c.sql("SELECT 't'::regclass::oid");
    let flag = format!("lost=rows class=table oid={oid} identity=public.t");
    assert!(c.stream().contains(&flag), "{flag}");
    assert!(list(&c).contains(&format!(
        "\"class\":\"table\",\"oid\":{oid},\"identity\":\"public.t\""
    )));
    c.flush();
    assert!(c
        .stream()
        .contains("INSERT INTO public.other (a) VALUES (1)"));
    held.run("COMMIT");
    wait_until_healed(&c);
    assert_eq!(c.bases().len(), 2);
    c.sql("UPDATE t SET a = 4 WHERE a = 3; DELETE FROM t WHERE a = 2");
    assert_goes_on(&c);
    assert_eq!(c.bases().len(), 2);
}

#[test]
fn a_flag_outlives_a_crash_before_its_base() {
    let c = Cluster::backed_up();
    c.sql(TABLES);
    let held = hold_bases(&c);
    lose(&c, "UPDATE t SET a = 3");
    wait_for_flag(&c, "rows of table public.t");
    c.crash();
    drop(held);
    c.start();
    wait_until("the base is made", || c.bases().len() == 2);
    assert_goes_on(&c);
}

#[test]
fn a_flag_whose_worker_dies_before_it_is_listed_is_met_again() {
    let c = Cluster::builder().with_failpoints().back_up();
    c.sql(TABLES);
    c.flush();
    c.set_seconds(0, "EIO 1 flags: note\n");
    lose(&c, "INSERT INTO other VALUES (1); UPDATE t SET a = 3");
    wait_until("the worker fails", || {
        c.log().contains("flags: note") || c.log().contains("capture stopped")
    });
    c.set_seconds(0, "");
    wait_until("the flag is listed", || list(&c).contains("public.t"));
    wait_until("the base is made", || c.bases().len() == 2);
    assert_goes_on(&c);
    let flags: usize = c
        .segments()
        .iter()
        .map(|segment| segment.comments("flag").len())
        .sum();
    assert_eq!(flags, 2, "one for each row");
}

#[test]
fn two_flags_in_a_row_are_ended_by_bases_that_keep_their_distance() {
    let c = Cluster::backed_up();
    c.sql(TABLES);
    lose(&c, "UPDATE t SET a = 3");
    wait_until("the first base is made", || c.bases().len() == 2);
    wait_until_healed(&c);
    lose(&c, "UPDATE t SET a = 4");
    wait_for_flag(&c, "rows of table public.t");
    assert_eq!(list(&c).lines().count(), 2, "{}", list(&c));
    assert_goes_on(&c);
    assert_eq!(c.bases().len(), 3);
    let facts = c.bases().into_iter().map(|base| {
        let json = fs::read_to_string(base.join("metadata.json")).expect("a base has it");
        let fact = |key: &str| {
            let (_, rest) = json.split_once(&format!("\"{key}\": ")).expect("a fact");
            rest.split(",\n")
                .next()
                .map(str::to_string)
                .expect("a value")
        };
        (fact("taken_at").replace('"', "'"), fact("duration_ms"))
    });
    let facts: Vec<(String, String)> = facts.collect();
    let ((before, took), (after, _)) = (&facts[1], &facts[2]);
    // Times of names are those of whole seconds.
    assert!(
        c.is_true(&format!(
            "SELECT {after}::timestamptz - {before}::timestamptz >= {took} * interval '11 ms' - interval '1 s'"
        )),
        "{facts:?}"
    );
}

#[test]
fn a_base_that_was_begun_before_the_flag_does_not_end_the_stretch() {
    let c = Cluster::backed_up();
    c.sql(TABLES);
    c.sql("CREATE TABLE locked (a int PRIMARY KEY)");
    c.flush();
    let mut lock = c.session();
    lock.run("BEGIN; LOCK TABLE locked IN ACCESS EXCLUSIVE MODE");
    c.sql("SELECT incr_dump(wait => false)");
    // Its snapshot is taken when pg_dump waits for the table.
    let waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'locked'::regclass";
    wait_until("pg_dump waits", || c.sql(waits) == "1");
    lose(&c, "UPDATE t SET a = 3");
    wait_for_flag(&c, "rows of table public.t");
    lock.run("COMMIT");
    wait_until("the running base is finished", || c.bases().len() >= 2);
    wait_until("another one follows", || c.bases().len() == 3);
    assert_goes_on(&c);
}

/// What the catalogs do not tell, no engine knows; what they tell is carried without any record.
#[test]
fn ddl_that_ran_without_the_library_is_carried_or_flagged() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE t (a int PRIMARY KEY); CREATE MATERIALIZED VIEW m AS SELECT * FROM t");
    c.flush();
    c.write_setting("shared_preload_libraries", "''");
    c.restart();
    let said = c
        .session()
        .run("CREATE TABLE unseen (a int PRIMARY KEY); INSERT INTO unseen VALUES (1)");
    assert!(said.contains("not in shared_preload_libraries"), "{said}");
    c.write_setting("shared_preload_libraries", "pg_incrbackup");
    c.restart();
    c.assert_restores();
    assert_eq!((c.bases().len(), list(&c).as_str()), (1, ""));
    c.write_setting("shared_preload_libraries", "''");
    c.restart();
    c.session()
        .run("INSERT INTO t VALUES (1); REFRESH MATERIALIZED VIEW m");
    c.write_setting("shared_preload_libraries", "pg_incrbackup");
    c.restart();
    wait_until("the base is made", || c.bases().len() == 2);
    assert!(
        list(&c).contains("\"lost\":\"schema\",\"class\":\"database\""),
        "{}",
        list(&c)
    );
    assert_goes_on(&c);
}

#[test]
fn ddl_as_text_that_could_not_be_recorded_is_flagged() {
    let c = through_decoder_raw("stream").back_up();
    c.sql("CREATE TABLE t (a int PRIMARY KEY)");
    c.flush();
    c.write_setting("shared_preload_libraries", "''");
    c.restart();
    let said = c.session().run("CREATE TABLE unrecorded (a int)");
    assert!(said.contains("a base backup follows"), "{said}");
    c.write_setting("shared_preload_libraries", "pg_incrbackup");
    c.restart();
    wait_until("the base is made", || c.bases().len() == 2);
    assert_goes_on(&c);
}

/// What a superuser did to the catalogs by hand, in a way that no statement has: no record, no text, no wording.
#[test]
fn a_schema_change_that_no_statement_makes_is_flagged_with_its_object() {
    let c = Cluster::builder()
        .setting("pg_incrbackup.reader", "poll")
        .back_up();
    c.sql("CREATE CONVERSION c FOR 'UTF8' TO 'LATIN1' FROM utf8_to_iso8859_1; CREATE TABLE t (a int PRIMARY KEY)");
    c.flush();
    let oid = c.sql("SELECT oid FROM pg_conversion WHERE conname = 'c'");
    c.sql("UPDATE pg_conversion SET condefault = true WHERE conname = 'c'");
    c.sql("INSERT INTO t VALUES (1)");
    wait_until("the base is made", || c.bases().len() == 2);
    let listed = format!(
        "\"lost\":\"schema\",\"class\":\"conversion\",\"oid\":{oid},\"identity\":\"public.c\""
    );
    assert!(list(&c).contains(&listed), "{}", list(&c));
    assert_goes_on(&c);
}

#[test]
fn a_base_that_fails_is_critical_and_no_drill_is_made_meanwhile() {
    let c = Cluster::backed_up();
    c.sql(TABLES);
    c.set("pg_incrbackup.dump_conninfo", "'host=/nowhere'");
    lose(&c, "UPDATE t SET a = 3");
    wait_for_flag(&c, "the base backup that follows has failed");
    assert!(c.health().starts_with("critical"), "{}", c.health());
    let made = c.sql("SELECT result, problems FROM incr_drill()");
    assert!(
        made.starts_with("not done") && made.contains("rows of table public.t"),
        "{made}"
    );
    c.set("pg_incrbackup.dump_conninfo", "''");
    // It would come by itself, as any that has failed; any other does as well.
    c.sql("SELECT incr_dump()");
    assert_eq!(c.sql("SELECT result FROM incr_drill()"), "passed");
    assert_goes_on(&c);
    assert_eq!(c.bases().len(), 2);
}
