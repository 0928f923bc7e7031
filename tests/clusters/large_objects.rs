//! "My large objects are not in the backup." What lo_… functions, GRANT, COMMENT and ALTER LARGE
//! OBJECT do is restored exactly, at the end of every transaction.

use harness::{Cluster, Restored};

const ROLES: &str = "CREATE ROLE alice; CREATE ROLE \"Bob B\"; CREATE ROLE carol;";

/// Everything about each large object: pg_dump's sorted lines do not tell whose bytes are whose.
pub fn objects(c: &Cluster, database: &str) -> String {
    c.sql_in(
        database,
        "SELECT m.oid, lomowner::regrole, md5(lo_get(m.oid)), length(lo_get(m.oid)),
             (SELECT string_agg(a::text, ' ' ORDER BY a::text)
              FROM unnest(coalesce(lomacl, acldefault('L', lomowner))) a),
             obj_description(m.oid, 'pg_largeobject')
         FROM pg_largeobject_metadata m ORDER BY 1",
    )
}

/// The oracle of all tests, and object by object.
pub fn assert_restores(c: &Cluster) -> Restored {
    assert_restores_into(c, c)
}

fn assert_restores_into(c: &Cluster, target: &Cluster) -> Restored {
    let restored = c.assert_restores_into(target);
    assert_eq!(
        objects(c, "app"),
        objects(target, &restored.database),
        "large objects differ (left: source, right: restored)"
    );
    restored
}

#[test]
fn an_object_comes_back_with_all_that_belongs_to_it() {
    let c = Cluster::backed_up();
    c.sql(ROLES);
    c.sql("SELECT lo_from_bytea(70001, 'first'); SELECT lo_from_bytea(70002, '')");
    c.sql("SELECT lo_put(70001, 3, '\\x0a005c27'); SELECT lo_put(70002, 5000, 'behind a hole')");
    c.sql("ALTER LARGE OBJECT 70001 OWNER TO alice; GRANT SELECT ON LARGE OBJECT 70002 TO PUBLIC");
    c.sql("COMMENT ON LARGE OBJECT 70001 IS E'it''s\\na \\\\comment'");
    c.sql("GRANT ALL ON LARGE OBJECT 70001 TO \"Bob B\" WITH GRANT OPTION");
    c.sql("SET ROLE \"Bob B\"; GRANT SELECT ON LARGE OBJECT 70001 TO carol");
    assert_restores(&c);
    c.sql("REVOKE UPDATE ON LARGE OBJECT 70001 FROM \"Bob B\"");
    c.sql("COMMENT ON LARGE OBJECT 70001 IS NULL; ALTER LARGE OBJECT 70001 OWNER TO carol");
    c.sql("REVOKE ALL ON LARGE OBJECT 70002 FROM postgres, PUBLIC");
    assert_restores(&c);
    // OIDs have 32 bits, and long comments are kept out of line.
    c.sql("SELECT lo_from_bytea(4000000000, 'high'); SELECT lo_put(4000000000, 5000, 'higher')");
    c.sql("GRANT SELECT ON LARGE OBJECT 4000000000 TO alice");
    c.sql(
        "DO $$ BEGIN EXECUTE format('COMMENT ON LARGE OBJECT 4000000000 IS %L',
             (SELECT string_agg(md5(n::text), '') FROM generate_series(1, 2000) n)); END $$",
    );
    c.sql("SELECT lo_truncate(lo_open(4000000000, 131072), 2)");
    assert_restores(&c);
    c.sql("SELECT lo_unlink(4000000000)");
    assert_restores(&c);
}

#[test]
fn one_transaction_may_do_everything_at_once() {
    let c = Cluster::backed_up();
    c.sql(ROLES);
    c.sql(
        "BEGIN;
         SELECT lo_from_bytea(70001, repeat('a', 6000)::bytea);
         COMMENT ON LARGE OBJECT 70001 IS 'made and named at once';
         ALTER LARGE OBJECT 70001 OWNER TO alice;
         GRANT SELECT ON LARGE OBJECT 70001 TO \"Bob B\" WITH GRANT OPTION;
         SET LOCAL ROLE \"Bob B\";
         GRANT SELECT ON LARGE OBJECT 70001 TO carol WITH GRANT OPTION;
         SET LOCAL ROLE carol;
         GRANT SELECT ON LARGE OBJECT 70001 TO PUBLIC;
         RESET ROLE;
         CREATE TABLE t (a int PRIMARY KEY, picture oid);
         INSERT INTO t VALUES (1, 70001);
         SELECT lo_put(70001, 100, 'written after');
         SELECT lo_from_bytea(70002, 'gone again'); SELECT lo_unlink(70002);
         COMMIT",
    );
    assert_restores(&c);
    c.sql("BEGIN; SELECT lo_unlink(70001); SELECT lo_from_bytea(70001, 'short'); COMMIT");
    assert_restores(&c);
    c.sql("SELECT lo_unlink(70001)");
    let restored = assert_restores(&c);
    assert_eq!(objects(&c, &restored.database), "");
}

#[test]
fn sizes_and_holes_are_exact() {
    let c = Cluster::backed_up();
    c.sql("SELECT lo_from_bytea(n, decode(repeat('00ff41', 7000), 'hex')) FROM generate_series(70001, 70009) n");
    c.sql("SELECT incr_dump()");
    let to = |n: u32, size: &str| format!("SELECT lo_truncate64(lo_open({n}, 131072), {size});");
    c.sql(&to(70001, "0"));
    c.sql(&to(70002, "4096"));
    c.sql(&to(70003, "5000"));
    c.sql(&to(70004, "40960"));
    c.sql(&to(70005, "50001"));
    c.sql(&[&to(70006, "3"), "SELECT lo_put(70006, 9000, 'later');"].concat());
    c.sql(&format!(
        "BEGIN; {} SELECT lo_put(70007, 0, 'x'); COMMIT",
        to(70007, "10240")
    ));
    c.sql(&format!(
        "BEGIN; {} {} COMMIT",
        to(70008, "100"),
        to(70008, "300000")
    ));
    c.sql("SELECT lo_put(70009, 3000000000, 'far away')");
    c.sql(&to(70009, "21000"));
    assert_restores(&c);
    // What was short before is a hole now, in front of other pages.
    c.sql(&["SELECT lo_put(70003, 20000, 'end');", &to(70003, "6000")].concat());
    c.sql("SELECT lo_put(70001, 2047, 'ab'); SELECT lo_put(70002, 4096, 'more')");
    assert_restores(&c);
    // The other base has the holes filled, where the source has none of these pages.
    c.sql("SELECT lo_put(70005, 100000, 'z')");
    c.sql("SELECT incr_dump()");
    c.sql(&[to(70005, "60000"), to(70006, "8192"), to(70008, "150")].concat());
    assert_restores(&c);
}

#[test]
fn what_is_rolled_back_leaves_nothing() {
    let c = Cluster::backed_up();
    c.sql("SELECT lo_from_bytea(70001, repeat('a', 5000)::bytea)");
    c.sql(
        "BEGIN; SAVEPOINT s;
         SELECT lo_from_bytea(70002, 'never'); SELECT lo_put(70001, 0, 'never');
         ROLLBACK TO s;
         SELECT lo_from_bytea(70003, 'kept'); SAVEPOINT t;
         SELECT lo_put(70001, 4000, 'kept'); RELEASE t;
         SAVEPOINT u; SELECT lo_unlink(70001); ROLLBACK TO u;
         SAVEPOINT v; SELECT lo_from_bytea(70004, 'kept'); SAVEPOINT w;
         SELECT lo_unlink(70004); ROLLBACK TO w; COMMIT",
    );
    c.sql("BEGIN; SELECT lo_unlink(70001); ROLLBACK");
    c.sql(
        "DO $$ BEGIN PERFORM lo_from_bytea(70005, 'x'); RAISE division_by_zero;
           EXCEPTION WHEN OTHERS THEN PERFORM lo_from_bytea(70005, 'y'); END $$",
    );
    assert_restores(&c);
}

#[test]
fn statements_that_reach_objects_by_their_owner_are_replayed_around_them() {
    // Restored databases of this cluster would keep its roles from being dropped.
    let (c, target) = (Cluster::backed_up(), Cluster::builder().start());
    c.sql(ROLES);
    c.sql(
        "GRANT CREATE ON SCHEMA public TO alice;
         SELECT lo_from_bytea(n, 'x') FROM generate_series(70001, 70006) n;
         ALTER LARGE OBJECT 70001 OWNER TO alice; ALTER LARGE OBJECT 70002 OWNER TO alice;
         GRANT SELECT ON LARGE OBJECT 70003 TO alice, carol;
         GRANT SELECT ON LARGE OBJECT 70001 TO carol",
    );
    c.sql("SET ROLE alice; CREATE TABLE hers (a int)");
    c.sql("BEGIN; REASSIGN OWNED BY alice TO \"Bob B\"; SELECT lo_put(70001, 0, 'yz'); COMMIT");
    assert_restores_into(&c, &target);
    c.sql("ALTER LARGE OBJECT 70002 OWNER TO alice");
    c.sql(
        "BEGIN; DROP OWNED BY alice; SET LOCAL ROLE carol; SELECT lo_from_bytea(70002, 'anew');
         RESET ROLE; COMMIT; DROP ROLE alice",
    );
    assert_restores_into(&c, &target);
    c.sql(
        "BEGIN; REVOKE ALL ON LARGE OBJECT 70003, 70001 FROM carol;
         SELECT lo_unlink(70002); DROP ROLE carol; COMMIT",
    );
    assert_restores_into(&c, &target);
}

#[test]
fn a_trigger_that_unlinks_does_it_once() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE EXTENSION lo;
         CREATE TABLE t (a int PRIMARY KEY, picture lo);
         CREATE TRIGGER let_go BEFORE UPDATE OR DELETE ON t
             FOR EACH ROW EXECUTE FUNCTION lo_manage(picture);
         ALTER TABLE t ENABLE ALWAYS TRIGGER let_go",
    );
    c.sql("INSERT INTO t SELECT n, lo_from_bytea(0, n::text::bytea) FROM generate_series(1, 5) n");
    c.sql("DELETE FROM t WHERE a > 3; UPDATE t SET picture = lo_from_bytea(0, 'new') WHERE a = 1");
    assert_restores(&c);
}

#[test]
fn many_objects_in_one_transaction_and_one_large_one() {
    let c = Cluster::backed_up();
    // More than a lock for each of them would let through: making them takes none.
    c.sql("SELECT count(lo_from_bytea(n, n::text::bytea)) FROM generate_series(100001, 130000) n");
    c.sql("SELECT count(lo_put(n, 1, 'changed')) FROM generate_series(100001, 110000, 3) n");
    c.sql("SELECT count(lo_unlink(n)) FROM generate_series(100001, 110000, 7) n");
    c.sql(
        "SELECT lo_create(70001);
         SELECT count(lo_put(70001, n * 50000::bigint, decode(repeat(md5(n::text), 1563), 'hex')))
         FROM generate_series(0, 400) n",
    );
    assert_restores(&c);
}

#[test]
fn objects_in_another_database_are_left_alone() {
    let c = Cluster::backed_up();
    c.sql_in("postgres", "SELECT lo_from_bytea(70001, 'theirs')");
    c.sql("SELECT lo_from_bytea(70001, 'ours')");
    c.sql_in(
        "postgres",
        "SELECT lo_put(70001, 0, 'changed'); SELECT lo_unlink(70001)",
    );
    assert_restores(&c);
}

#[test]
fn who_may_not_make_objects_may_own_them() {
    let c = Cluster::backed_up();
    c.sql(ROLES);
    c.sql("REVOKE EXECUTE ON FUNCTION lo_create(oid) FROM PUBLIC");
    c.sql(
        "BEGIN; SELECT lo_from_bytea(70001, 'x'); ALTER LARGE OBJECT 70001 OWNER TO alice; COMMIT",
    );
    c.sql("SET ROLE alice; SELECT lo_from_bytea(70002, 'x')");
    assert_restores(&c);
}

#[test]
fn default_privileges_do_not_stick_to_a_restored_object() {
    let c = Cluster::backed_up();
    if c.version() < 18 {
        return harness::skipped("18 has these");
    }
    c.sql(ROLES);
    c.sql("ALTER DEFAULT PRIVILEGES GRANT SELECT ON LARGE OBJECTS TO alice");
    c.sql("SELECT lo_from_bytea(70001, 'with'); SET ROLE carol; SELECT lo_from_bytea(70002, 'without')");
    assert_restores(&c);
}
