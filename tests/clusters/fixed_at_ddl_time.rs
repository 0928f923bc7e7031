//! "My DDL said 'now', and at restore now is another time."

use harness::Cluster;

#[test]
fn partition_bounds_are_those_that_were_computed() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE TABLE t (at timestamptz PRIMARY KEY, b int) PARTITION BY RANGE (at);
         CREATE TABLE past PARTITION OF t FOR VALUES FROM (MINVALUE) TO (current_timestamp);
         CREATE TABLE future PARTITION OF t /* FROM */ FOR VALUES FROM (('now'::timestamptz + '1 day')) TO ('infinity') WITH (fillfactor = 50);
         CREATE TABLE other (LIKE t);
         ALTER TABLE other ALTER at SET NOT NULL;
         ALTER TABLE t DETACH PARTITION future;
         ALTER TABLE t ATTACH PARTITION other FOR VALUES FROM (now() + '2 days') TO (now() + '3 days');
         INSERT INTO t VALUES (now() - interval '1 minute')",
    );
    c.assert_restores();
}

#[test]
fn checks_defaults_and_views_keep_the_constant_that_they_were_given() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE TABLE t (a int PRIMARY KEY, at timestamptz DEFAULT 'now', CONSTRAINT recent CHECK (at >= 'now'));
         INSERT INTO t VALUES (1, 'tomorrow');
         ALTER TABLE t ADD CONSTRAINT before CHECK (at < 'now'::timestamptz + '1 year');
         CREATE VIEW v AS SELECT 'now'::timestamptz AS made, 'it''s now' AS word;
         CREATE TABLE child () INHERITS (t)",
    );
    c.assert_restores();
}

#[test]
fn constants_of_that_time_stay_wherever_they_stand() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE DOMAIN d AS timestamptz CHECK (VALUE > 'now'); ALTER DOMAIN d ADD CHECK (VALUE > 'today');
         CREATE TABLE t (a int PRIMARY KEY, at timestamptz);
         CREATE POLICY p ON t USING (at > 'now'); ALTER POLICY p ON t WITH CHECK (at > 'yesterday');
         CREATE RULE r AS ON INSERT TO t WHERE NEW.at < 'now' DO ALSO DELETE FROM t WHERE at < 'now';
         CREATE INDEX i ON t (a) WHERE at < 'now'::timestamptz;
         CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
         CREATE TRIGGER g BEFORE INSERT ON t FOR EACH ROW WHEN (NEW.at < 'now') EXECUTE FUNCTION f()",
    );
    c.assert_restores();
    assert!(!c.stream().contains(" flag reason="), "{}", c.stream());
    assert!(c.health().starts_with("ok"), "{}", c.health());
}

#[test]
fn a_view_keeps_its_options() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE TABLE t (a int);
         CREATE VIEW v WITH (security_barrier, security_invoker) AS SELECT a, 'now'::timestamptz FROM t;
         CREATE VIEW w AS SELECT a, 'now'::timestamptz FROM t WHERE a > 0 WITH LOCAL CHECK OPTION",
    );
    c.assert_restores();
}

/// The values are written into rows that the owner may not write, or not see, or that a constraint
/// has never looked at.
#[test]
fn values_reach_rows_that_their_owner_does_not() {
    let c = Cluster::backed_up();
    c.sql("CREATE ROLE bob; GRANT CREATE ON SCHEMA public TO bob");
    for close in [
        "REVOKE ALL ON t FROM bob",
        "ALTER TABLE t ENABLE ROW LEVEL SECURITY; ALTER TABLE t FORCE ROW LEVEL SECURITY",
        "ALTER TABLE t ADD CONSTRAINT positive CHECK (a > 0) NOT VALID",
    ] {
        c.sql(&format!(
            "SET ROLE bob; DROP TABLE IF EXISTS t, u; CREATE TABLE t (a int PRIMARY KEY);
             INSERT INTO t VALUES (-1); {close};
             ALTER TABLE t ADD made timestamptz DEFAULT now();
             CREATE TABLE u (a int PRIMARY KEY); INSERT INTO u VALUES (1); REVOKE ALL ON u FROM bob;
             ALTER TABLE u SET UNLOGGED"
        ));
        c.assert_restores();
    }
    if c.version() >= 18 {
        c.sql(
            "CREATE TABLE n (a int PRIMARY KEY, b int); INSERT INTO n VALUES (1, NULL);
             ALTER TABLE n ADD NOT NULL b NOT VALID; ALTER TABLE n ADD made timestamptz DEFAULT now()",
        );
        c.assert_restores();
    }
}

#[test]
fn what_a_schema_is_made_with_keeps_its_constants() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE ROLE bob;
         CREATE SCHEMA s AUTHORIZATION bob
           CREATE TABLE t (a int PRIMARY KEY, at timestamptz DEFAULT 'now', CHECK (at <= 'now'))
           CREATE VIEW v AS SELECT 'now'::timestamptz AS made, a FROM t;
         INSERT INTO s.t VALUES (1)",
    );
    c.assert_restores();
}
