//! "I made a view over incr_slot_health(), and nothing can be restored any more." What is over the
//! extension's own objects is left out of the increments, with all that needs it, and listed at the end.

use harness::{assert_identical, Cluster};

/// Restores, and drops at the source what must be missing: then both are the same.
fn restored_without(c: &Cluster, drops: &str) -> String {
    c.flush();
    assert!(c.health().starts_with("ok"), "{}", c.health());
    assert_eq!(c.sql("SELECT * FROM incr_verify()"), "");
    let restored = c.restore(&[]);
    c.sql(drops);
    assert_identical((c, c.database()), (c, &restored.database));
    restored.output
}

#[test]
fn views_over_our_functions_are_left_out_with_all_that_is_done_to_them() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE ROLE dashboard; CREATE TABLE t (a int PRIMARY KEY);
         CREATE VIEW backup_health AS SELECT level, reasons FROM incr_slot_health();
         CREATE VIEW ddl_report AS SELECT * FROM ddl_history;
         CREATE VIEW \"over Report\" AS SELECT count(*) FROM ddl_report;
         CREATE MATERIALIZED VIEW kept AS SELECT count(*) AS n FROM \"over Report\", t;
         COMMENT ON VIEW backup_health IS 'see the runbook'; GRANT SELECT ON backup_health, t TO dashboard;
         ALTER VIEW ddl_report RENAME TO report; ALTER VIEW backup_health OWNER TO dashboard;
         CREATE INDEX ON kept (n); REFRESH MATERIALIZED VIEW kept; COMMENT ON COLUMN report.id IS 'x'",
    );
    c.sql("INSERT INTO t VALUES (1)");
    let output = restored_without(&c, "DROP VIEW backup_health, report CASCADE");
    for object in [
        "view public.backup_health",
        "view public.ddl_report",
        "materialized view public.kept",
    ] {
        assert!(output.contains(object), "{object}: {output}");
    }
    assert!(output.contains(r#"view public."over Report""#), "{output}");
    let stream = c.stream();
    assert!(
        stream.contains("left_out object=view%20public.backup_health definition=CREATE%20VIEW"),
        "{stream}"
    );
    // At the source they have gone by now, which nobody replays either.
    c.assert_restores();
}

#[test]
fn functions_triggers_rules_and_policies_over_ours_are_left_out_too() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE TABLE t (a int PRIMARY KEY); CREATE TABLE log (level text);
         CREATE FUNCTION level() RETURNS text BEGIN ATOMIC SELECT level FROM incr_slot_health(); END;
         CREATE FUNCTION over_level() RETURNS text BEGIN ATOMIC SELECT level(); END;
         CREATE FUNCTION by_text() RETURNS text LANGUAGE sql AS 'SELECT level FROM incr_slot_health()';
         COMMENT ON FUNCTION level() IS 'x'; GRANT EXECUTE ON FUNCTION level() TO pg_monitor;
         GRANT EXECUTE ON FUNCTION by_text() TO pg_monitor;
         CREATE RULE r AS ON INSERT TO t DO ALSO INSERT INTO log SELECT level();
         ALTER TABLE t ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON t USING (level() = 'ok');
         CREATE POLICY stays ON t USING (true)",
    );
    c.sql("INSERT INTO t VALUES (1)");
    let output = restored_without(&c, "DROP FUNCTION level() CASCADE");
    for object in [
        "function public.level()",
        "function public.over_level()",
        "rule r on public.t",
        "policy p on public.t",
    ] {
        assert!(output.contains(object), "{object}: {output}");
    }
    assert!(!output.contains("by_text"), "{output}");
}

#[test]
fn what_is_replaced_goes_and_comes() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE VIEW v AS SELECT 'fine' AS level; CREATE VIEW over_v AS SELECT * FROM v;
         CREATE FUNCTION f() RETURNS text BEGIN ATOMIC SELECT 'fine'; END",
    );
    c.sql("CREATE OR REPLACE VIEW v AS SELECT level FROM incr_slot_health()");
    c.sql("CREATE OR REPLACE FUNCTION f() RETURNS text BEGIN ATOMIC SELECT level FROM v; END");
    c.flush();
    let gone = c.restore(&[]);
    let left = "SELECT count(*) FROM pg_class WHERE relname IN ('v', 'over_v')";
    assert_eq!(c.sql_in(&gone.database, left), "0");
    assert_eq!(
        c.sql_in(
            &gone.database,
            "SELECT count(*) FROM pg_proc WHERE proname = 'f'"
        ),
        "0"
    );
    c.sql("DROP FUNCTION f(); DROP VIEW over_v");
    c.sql(
        "CREATE OR REPLACE VIEW v AS SELECT 'fine again' AS level; COMMENT ON VIEW v IS 'normal'",
    );
    c.assert_restores();
}
