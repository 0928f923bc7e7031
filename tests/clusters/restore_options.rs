//! "My rows were fine when they came in, and the restore refuses them."

use harness::Cluster;

#[test]
fn a_check_that_refuses_at_restore_can_be_skipped() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE ROLE app; GRANT CREATE ON SCHEMA public TO app; SET ROLE app;
         CREATE TABLE mine (a int PRIMARY KEY, CONSTRAINT by_app CHECK (current_user = 'app'));
         CREATE TABLE fine (a int PRIMARY KEY, CONSTRAINT \"it's\" CHECK (a > 0));
         INSERT INTO mine VALUES (1); INSERT INTO fine VALUES (1)",
    );
    c.sql("SELECT incr_dump()");
    c.sql("SET ROLE app; INSERT INTO mine VALUES (2); ALTER TABLE mine RENAME TO yours; INSERT INTO yours VALUES (3)");
    c.flush();
    let refused = c
        .try_restore(&c, "refused", &[])
        .expect_err("the check refuses");
    assert!(refused.contains("by_app"), "{refused}");
    let restored = c.restore(&["--skip-check", "by_app", "--skip-check", "it's"]);
    assert!(restored.output.contains("by_app"), "{}", restored.output);
    let facts = "SELECT conname, convalidated FROM pg_constraint WHERE contype = 'c' AND conrelid <> 0 ORDER BY 1";
    assert_eq!(c.sql_in(&restored.database, facts), "by_app|f\nit's|t");
    assert_eq!(
        c.sql_in(&restored.database, "SELECT count(*) FROM yours"),
        "3"
    );
}
