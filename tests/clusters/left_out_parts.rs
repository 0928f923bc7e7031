//! "I gave a column the default incr_flush(), and nothing can be restored any more." The table stays, and so
//! does the publication that lists ddl_history: only what is over the extension's own is left out, and named.

use harness::{assert_identical, Cluster};

/// Restores, and drops at the source what must be missing: then both are the same.
fn restored_without(c: &Cluster, drops: &str, named: &[&str]) {
    c.flush();
    assert!(c.health().starts_with("ok"), "{}", c.health());
    assert_eq!(c.sql("SELECT * FROM incr_verify()"), "");
    let restored = c.restore(&[]);
    c.sql(drops);
    assert_identical((c, c.database()), (c, &restored.database));
    for object in named {
        assert!(
            restored.output.contains(object),
            "{object}: {}",
            restored.output
        );
    }
}

#[test]
fn publications_lose_our_tables_and_keep_the_others() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE TABLE t (a int PRIMARY KEY); CREATE TABLE \"T u\" (a int PRIMARY KEY);
         CREATE PUBLICATION p FOR TABLE ddl_history, t;
         CREATE PUBLICATION only_ours FOR TABLE ONLY public.ddl_history (id, query);
         CREATE PUBLICATION more FOR TABLE t; ALTER PUBLICATION more ADD TABLE ddl_history, \"T u\";
         CREATE PUBLICATION fewer FOR TABLE t, ddl_history, \"T u\";
         ALTER PUBLICATION fewer DROP TABLE t, ddl_history; ALTER PUBLICATION only_ours SET TABLE ddl_history;
         CREATE PUBLICATION alone FOR TABLE ddl_history; ALTER PUBLICATION alone DROP TABLE ddl_history;
         CREATE PUBLICATION schema FOR TABLES IN SCHEMA public, TABLE ddl_history;
         CREATE PUBLICATION everything FOR ALL TABLES",
    );
    c.sql("INSERT INTO t VALUES (1)");
    restored_without(
        &c,
        "ALTER PUBLICATION p DROP TABLE ddl_history; ALTER PUBLICATION more DROP TABLE ddl_history;
         ALTER PUBLICATION only_ours DROP TABLE ddl_history;
         ALTER PUBLICATION schema DROP TABLE ddl_history",
        &["publication relation public.ddl_history in publication p"],
    );
}

#[test]
fn tables_and_domains_stay_without_the_defaults_and_checks_over_ours() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE FUNCTION level() RETURNS text BEGIN ATOMIC SELECT level FROM incr_slot_health(); END;
         CREATE TABLE t (a int PRIMARY KEY, l pg_lsn DEFAULT incr_flush(), b text DEFAULT lower('X'),
           CONSTRAINT c CHECK (level() <> 'none'), CONSTRAINT positive CHECK (a > 0));
         INSERT INTO t VALUES (1)",
    );
    c.sql(
        "ALTER TABLE t ADD COLUMN m pg_lsn NOT NULL DEFAULT incr_flush(), ADD COLUMN n int DEFAULT 7;
         INSERT INTO t VALUES (2); CREATE TABLE u (a int PRIMARY KEY, b text); INSERT INTO u VALUES (1, 'x');
         ALTER TABLE u ALTER COLUMN b SET DEFAULT level(), ADD CONSTRAINT d CHECK (b <> level());
         ALTER TABLE u ALTER COLUMN b DROP DEFAULT; ALTER TABLE u ALTER b SET DEFAULT level();
         CREATE DOMAIN d AS text DEFAULT level() CHECK (VALUE <> level() || 'x') CHECK (VALUE <> 'y');
         CREATE DOMAIN e AS int DEFAULT 3; ALTER DOMAIN e ADD CHECK (level() <> 'none');
         CREATE TABLE v (a int PRIMARY KEY, d d, e e); INSERT INTO v VALUES (1)",
    );
    restored_without(
        &c,
        "ALTER TABLE t ALTER l DROP DEFAULT, ALTER m DROP DEFAULT; ALTER DOMAIN d DROP DEFAULT;
         DROP FUNCTION level() CASCADE",
        &[
            "default value for public.t.l",
            "default value for public.t.m",
            "table constraint c on public.t",
            "table constraint d on public.u",
            "default value for domain public.d",
            "domain constraint d_check on public.d",
        ],
    );
}

#[test]
fn a_role_without_rights_on_our_schema_makes_such_tables() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE ROLE bob; CREATE SCHEMA own AUTHORIZATION bob;
         GRANT EXECUTE ON FUNCTION incr_flush(interval) TO bob;
         ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC",
    );
    c.sql(
        "SET ROLE bob; SET search_path = own, public;
         CREATE TABLE t (a int PRIMARY KEY, l pg_lsn DEFAULT incr_flush('1 min'));
         CREATE TABLE u (LIKE t INCLUDING ALL)",
    );
    restored_without(
        &c,
        "REVOKE ALL ON FUNCTION incr_flush FROM bob; ALTER TABLE own.t ALTER l DROP DEFAULT; ALTER TABLE own.u ALTER l DROP DEFAULT",
        &["default value for own.t.l"],
    );
}

#[test]
fn a_schema_made_with_views_over_ours_keeps_the_rest() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE SCHEMA monitoring CREATE VIEW health AS SELECT level FROM public.incr_slot_health()
           CREATE VIEW over_health AS SELECT * FROM health
           CREATE VIEW words AS SELECT query FROM public.ddl_history
           CREATE TABLE t (a int PRIMARY KEY) CREATE VIEW fine AS SELECT a FROM t",
    );
    c.sql("INSERT INTO monitoring.t VALUES (1)");
    restored_without(
        &c,
        "DROP VIEW monitoring.health, monitoring.words CASCADE",
        &[
            "view monitoring.health",
            "view monitoring.over_health",
            "view monitoring.words",
        ],
    );
}

#[test]
fn a_grant_or_drop_for_functions_over_ours_and_others_is_for_the_others() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE ROLE dashboard; CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1';
         CREATE FUNCTION g(int) RETURNS int LANGUAGE sql AS 'SELECT 1';
         CREATE FUNCTION level() RETURNS text BEGIN ATOMIC SELECT level FROM incr_slot_health(); END;
         CREATE FUNCTION gone() RETURNS text BEGIN ATOMIC SELECT level FROM incr_slot_health(); END;
         REVOKE ALL ON FUNCTION level(), f(), incr_flush(interval), g(int) FROM PUBLIC;
         GRANT EXECUTE ON FUNCTION level(), f() TO dashboard;
         GRANT EXECUTE ON FUNCTION incr_flush, f, level TO pg_monitor WITH GRANT OPTION;
         DROP FUNCTION gone(), g(int)",
    );
    restored_without(
        &c,
        "DROP FUNCTION level(); REVOKE ALL ON FUNCTION incr_flush FROM pg_monitor",
        &["function public.level()"],
    );
}

#[test]
fn a_drill_takes_what_is_over_ours_for_left_out() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE TABLE t (a int PRIMARY KEY, l pg_lsn DEFAULT incr_flush()); INSERT INTO t VALUES (1);
         CREATE PUBLICATION p FOR TABLE ddl_history, t",
    );
    c.sql("SELECT incr_flush()");
    let result = "SELECT result, problems FROM incr_drill()";
    assert_eq!(c.sql(result), "passed|{}");
    c.sql("SELECT incr_dump()");
    assert_eq!(c.sql(result), "passed|{}");
}

#[test]
fn a_check_over_ours_can_be_renamed_and_dropped() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE FUNCTION level() RETURNS text BEGIN ATOMIC SELECT level FROM incr_slot_health(); END;
         CREATE TABLE t (a int PRIMARY KEY, CONSTRAINT c CHECK (level() <> 'none'),
           CONSTRAINT \"D d\" CHECK (level() <> 'none'), CONSTRAINT e CHECK (a > 0));
         INSERT INTO t VALUES (1); ALTER TABLE t RENAME CONSTRAINT c TO \"New\";
         COMMENT ON CONSTRAINT \"New\" ON t IS 'x'; ALTER TABLE t VALIDATE CONSTRAINT \"New\";
         ALTER TABLE t DROP CONSTRAINT IF EXISTS \"D d\", ADD CONSTRAINT \"D d\" CHECK (a < 100);
         ALTER TABLE t DROP CONSTRAINT e, DROP CONSTRAINT \"New\", ADD CONSTRAINT f CHECK (level() <> 'x')",
    );
    restored_without(
        &c,
        "DROP FUNCTION level() CASCADE",
        &["table constraint f on public.t"],
    );
}
