//! "It removed the one base that I needed." What the rules promise can be restored, what is gone is said to
//! be gone, and nothing that dies in the midst of removing breaks either.

use harness::{wait_until, Cluster};
use std::fs;

/// A table, and retention of a week, of three weeks for bases, of the first base of two months.
/// (An autovacuum's transaction, open at a base's snapshot, would have a segment more kept. And no test
/// asks of a base that is just as old as a rule says: some have passed that second, some have not.)
pub(crate) fn start(settings: &[(&str, &str)]) -> Cluster {
    let mut builder = Cluster::builder()
        .with_failpoints()
        .setting("autovacuum", "off")
        .setting("pg_incrbackup.keep_incremental", "'7d'")
        .setting("pg_incrbackup.keep_base", "'21d'")
        .setting("pg_incrbackup.keep_monthly", "2");
    for (name, value) in settings {
        builder = builder.setting(&format!("pg_incrbackup.{name}"), value);
    }
    let c = builder.back_up();
    c.sql("CREATE TABLE t (day int PRIMARY KEY)");
    c
}

/// On each of these days a row, whose LSN is given, in a segment of its own, and then a base.
pub(crate) fn live(c: &Cluster, days: impl Iterator<Item = i64>) -> Vec<(i64, String)> {
    let day = |day: i64| {
        c.set_day(day, "");
        c.sql(&format!("INSERT INTO t VALUES ({day})"));
        let lsn = c.flush();
        c.sql("SELECT incr_rotate(); SELECT incr_dump()");
        (day, lsn)
    };
    days.map(day).collect()
}

pub(crate) fn count(c: &Cluster, kind: &str) -> usize {
    let sql =
        format!("SELECT count(*) FROM incr_files() WHERE kind = '{kind}' AND sha256 IS NOT NULL");
    c.sql(&sql).parse().expect("a number")
}

pub(crate) fn verified(c: &Cluster) {
    assert_eq!(c.sql("SELECT * FROM incr_verify()"), "");
}

pub(crate) fn base_of(c: &Cluster, place: usize) -> String {
    let name = c.bases()[place]
        .file_name()
        .map(|name| name.to_string_lossy().into_owned());
    name.expect("a base has a name")
}

#[test]
fn every_moment_of_the_window_restores_and_older_bases_stand_alone() {
    let c = start(&[("keep_monthly", "0")]);
    let moments = live(&c, (1..=40).step_by(3));
    // On day 40 the window begins with the base of day 31, 9 days old, which was taken after its row.
    verified(&c);
    assert_eq!(
        count(&c, "base"),
        (22..=40).step_by(3).count(),
        "{}",
        c.sql("SELECT * FROM incr_expire()")
    );
    assert_eq!(count(&c, "incremental"), (34..=40).step_by(3).count());
    for (day, lsn) in moments.iter().filter(|(day, _)| *day >= 34) {
        let restored = c.restore(&["--until-lsn", lsn]);
        assert_eq!(
            c.sql_in(&restored.database, "SELECT max(day) FROM t"),
            day.to_string()
        );
    }
    c.assert_restores();
    let oldest = base_of(&c, 0);
    let restored = c.restore_by_script(&c, &["--base", &oldest]);
    assert!(
        restored.output.contains("it is restored alone"),
        "{}",
        restored.output
    );
    assert_eq!(
        c.sql_in(&restored.database, "SELECT max(day), count(*) FROM t"),
        "22|8"
    );
    let gone = moments
        .iter()
        .find(|(day, _)| *day == 25)
        .expect("a moment");
    let said = c
        .try_restore(&c, "gone", &["--until-lsn", &gone.1])
        .expect_err("it is gone");
    assert!(
        said.contains("retention removes") && said.contains("--base "),
        "{said}"
    );
    let said = c
        .try_restore(&c, "gone", &["--until-lsn", &moments[0].1])
        .expect_err("it is gone");
    assert!(said.contains("retention removes old bases"), "{said}");
    assert_eq!(c.sql("SELECT DISTINCT decision FROM incr_expire()"), "kept");
}

#[test]
fn incr_expire_shows_first_and_removes_when_told() {
    let c = start(&[("keep_incremental", "-1")]);
    live(&c, [1, 20, 40].into_iter());
    assert_eq!((count(&c, "base"), count(&c, "incremental")), (4, 3));
    assert_eq!(
        c.sql("SELECT DISTINCT decision FROM incr_expire(false)"),
        "kept"
    );
    c.set("pg_incrbackup.keep_incremental", "'7d'");
    wait_until("the setting is read", || {
        c.sql("SHOW pg_incrbackup.keep_incremental") == "7d"
    });
    let shown = c.sql("SELECT kind, decision, count(*), sum(bytes) > 0 FROM incr_expire() GROUP BY 1, 2 ORDER BY 1, 2");
    // The bases of today and of day 1 are the first of their months, or one is of the same month.
    assert!(shown.contains("incremental|would expire|2|t"), "{shown}");
    assert_eq!((count(&c, "base"), count(&c, "incremental")), (4, 3));
    let why =
        c.sql("SELECT reason FROM incr_expire() WHERE kind = 'base' ORDER BY file DESC LIMIT 1");
    assert_eq!(why, "it is the newest base");
    let done = c.sql("SELECT kind, replace(decision, 'expired', 'would expire'), count(*), sum(bytes) > 0 FROM incr_expire(dry_run => false) GROUP BY 1, 2 ORDER BY 1, 2");
    assert_eq!(done, shown);
    assert_eq!(count(&c, "incremental"), 1);
    assert_eq!(
        c.sql("SELECT count(*) FROM incr_expire() WHERE decision <> 'kept'"),
        "0"
    );
    c.assert_restores();
}

#[test]
fn a_pinned_base_outlives_its_age_and_a_new_server_over_the_archive() {
    let c = start(&[("keep_monthly", "0")]);
    live(&c, [1].into_iter());
    let (first, second) = (base_of(&c, 0), c.bases()[1].display().to_string());
    let said = c.sql(&format!(
        "SELECT incr_keep('{first}', note => 'before the “great” migration')"
    ));
    assert!(
        said.ends_with(&format!("{first} is kept forever")),
        "{said}"
    );
    // By its path, as incr_dump() gave it.
    let said = c.sql(&format!(
        "SELECT incr_keep('{second}', now() + '100 days', 'audit')"
    ));
    assert!(said.contains("is kept until"), "{said}");
    live(&c, [30, 60].into_iter());
    assert_eq!(count(&c, "base"), 4);
    let why = format!("SELECT reason FROM incr_expire() WHERE file LIKE '%{first}'");
    assert_eq!(
        c.sql(&why),
        "it is pinned forever: before the “great” migration"
    );
    // The pin is in the files: a new chain, and a server that has forgotten everything, know it.
    c.sql("SELECT * FROM incr_setup(new_chain => true)");
    c.restart();
    live(&c, [120].into_iter());
    let left = c.sql("SELECT chain, file FROM incr_files() WHERE kind = 'base' AND chain = 1");
    assert_eq!(left, format!("1|base/{first}"), "the second pin has lapsed");
    let restored = c.restore(&["--chain", "1", "--base", &first]);
    assert_eq!(
        c.sql_in(
            &restored.database,
            "SELECT count(*) FROM pg_class WHERE relname = 't'"
        ),
        "0"
    );
    verified(&c);
    // A time that has passed takes the pin away.
    c.sql(&format!(
        "SELECT incr_keep('chain-1/base/{first}', now() - '1 day'::interval)"
    ));
    c.sql("SELECT count(*) FROM incr_expire(false)");
    assert_eq!(
        c.sql("SELECT count(*) FROM incr_files() WHERE chain = 1"),
        "0"
    );
    assert!(!c.database_directory().join("chain-1").exists());
    let said = c
        .try_restore(&c, "gone", &["--chain", "1"])
        .expect_err("it is gone");
    assert!(said.contains("chains of which nothing is kept"), "{said}");
    c.assert_restores();
}

#[test]
fn only_a_base_can_be_pinned_and_no_path_leads_out() {
    let c = start(&[]);
    let outside = c.root().join("outside");
    fs::create_dir(&outside).expect("a directory can be made");
    for text in [
        "",
        "..",
        "../../outside",
        "/etc/passwd",
        &outside.display().to_string(),
        "chain-1",
        "0000000000000001-20260101T000000Z",
        "it''s",
    ] {
        let error = c.sql_error(&format!("SELECT incr_keep('{text}')"));
        assert_eq!(error.sqlstate, "42704", "{text}: {error}");
        assert!(error.hint.contains("incr_files()"), "{error}");
    }
    assert_eq!(c.sql_error("SELECT incr_keep(NULL)").sqlstate, "42704");
    let base = base_of(&c, 0);
    let error = c.sql_error(&format!("SELECT incr_keep('{base}', '12000-01-01')"));
    assert_eq!(error.sqlstate, "22023", "{error}");
    for forever in ["infinity", "9999-12-31"] {
        c.sql(&format!("SELECT incr_keep('{base}', '{forever}')"));
    }
    c.sql(&format!("SELECT incr_keep('{base}', '-infinity')"));
    verified(&c);
}

#[test]
fn an_old_chain_goes_by_the_same_rules() {
    let c = start(&[("keep_monthly", "0")]);
    let old = live(&c, [1, 2].into_iter());
    c.set_day(3, "");
    c.sql("SELECT * FROM incr_setup(new_chain => true)");
    live(&c, [4, 8].into_iter());
    // The window begins in the old chain still: its base of day 1 is seven days old.
    let restored = c.restore(&["--chain", "1", "--until-lsn", &old[1].1]);
    assert_eq!(c.sql_in(&restored.database, "SELECT count(*) FROM t"), "2");
    live(&c, [14].into_iter());
    assert_eq!(c.sql("SELECT count(*) FROM incr_files() WHERE chain = 1 AND kind = 'incremental' AND sha256 IS NOT NULL"), "0");
    assert_ne!(
        c.sql("SELECT count(*) FROM incr_files() WHERE chain = 1 AND kind = 'base'"),
        "0"
    );
    verified(&c);
    live(&c, [40].into_iter());
    assert_eq!(c.sql("SELECT DISTINCT chain FROM incr_files()"), "2");
    assert!(!c.database_directory().join("chain-1").exists());
    c.assert_restores();
}

#[test]
fn the_newest_base_stays_however_old_it_gets() {
    let c = start(&[]);
    live(&c, [1].into_iter());
    c.set_day(2000, "");
    c.sql("SELECT count(*) FROM incr_expire(false); INSERT INTO t VALUES (2000)");
    assert!(count(&c, "base") >= 1);
    c.assert_restores();
}

#[test]
fn it_runs_by_itself_once_a_day_without_any_base() {
    let c = start(&[("keep_incremental", "'2d'"), ("keep_monthly", "0")]);
    live(&c, [1, 4].into_iter());
    assert_eq!((count(&c, "base"), count(&c, "incremental")), (3, 1));
    c.set_day(60, "");
    wait_until("the launcher has it done", || {
        (count(&c, "base"), count(&c, "incremental")) == (1, 1)
    });
    assert!(c
        .sql("SELECT worker, state FROM incr_status()")
        .contains("expiry|done"));
    c.assert_restores();
}
