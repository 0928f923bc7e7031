//! "It did not come back identical": inputs after public reports, each for a kind. Every one comes back
//! without a differing line, and without a flag.

use harness::{assert_identical, wait_until, Cluster};

/// Flags of the segments: what could not be carried. Those of rows that a rewrite brings anew are none.
pub fn flags(c: &Cluster) -> Vec<String> {
    let of = |segment: harness::Segment| -> Vec<String> {
        let found = ["flag", "unhandled"].map(|kind| segment.comments(kind).join("\n"));
        found.into_iter().filter(|text| !text.is_empty()).collect()
    };
    c.segments().into_iter().flat_map(of).collect()
}

/// Restores and compares; nothing is flagged.
pub fn assert_comes_back(c: &Cluster) {
    c.assert_restores();
    assert_eq!(flags(c), [""; 0]);
    let health = c.health();
    assert!(!health.starts_with("emergency"), "{health}");
}

/// The same of what is there once every session has ended.
fn comes_back(c: &Cluster) {
    wait_until("the sessions' own objects are gone", || {
        c.is_true(
            "SELECT count(*) = 0 FROM pg_stat_activity WHERE datname = current_database()
             AND backend_type = 'client backend' AND pid <> pg_backend_pid()",
        )
    });
    assert_comes_back(c);
}

/// One session runs all of it; what is there when it has ended comes back.
fn load(sql: &str) -> Cluster {
    let c = Cluster::backed_up();
    c.sql(sql);
    comes_back(&c);
    c
}

/// A transaction stands open after `open`, while another session runs `meanwhile`; it commits then.
fn race(before: &str, open: &str, meanwhile: &str) -> Cluster {
    let c = Cluster::backed_up();
    c.sql(before);
    let mut one = c.session();
    one.run(&format!("BEGIN; {open}"));
    c.sql(meanwhile);
    one.run("COMMIT");
    drop(one);
    comes_back(&c);
    c
}

#[test]
fn case_01_add_column_if_not_exists_twice() {
    load(
        "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT g, 'x' FROM generate_series(1, 5) g;
         ALTER TABLE t ADD COLUMN IF NOT EXISTS created_at timestamptz NOT NULL DEFAULT now();
         UPDATE t SET created_at = '2020-01-01' WHERE id = 1; INSERT INTO t VALUES (6, 'later', '2021-02-03');
         ALTER TABLE t ADD COLUMN IF NOT EXISTS created_at timestamptz NOT NULL DEFAULT now()",
    );
}

#[test]
fn case_03_using_a_function_of_the_session() {
    load(
        "CREATE TABLE t (id int PRIMARY KEY, price text); INSERT INTO t VALUES (1, '12,50'), (2, 'n/a');
         CREATE FUNCTION pg_temp.to_num(x text) RETURNS numeric LANGUAGE plpgsql IMMUTABLE AS
         $$BEGIN RETURN replace(x, ',', '.')::numeric; EXCEPTION WHEN OTHERS THEN RETURN NULL; END$$;
         ALTER TABLE t ALTER COLUMN price TYPE numeric USING pg_temp.to_num(price)",
    );
}

#[test]
fn case_05_add_column_default_current_setting() {
    load(
        "CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1); SET app.tenant = 'acme';
         ALTER TABLE t ADD COLUMN tenant text NOT NULL DEFAULT current_setting('app.tenant'); INSERT INTO t VALUES (2)",
    );
}

#[test]
fn case_07b_published_column_list() {
    load(
        "CREATE TABLE ev (id int PRIMARY KEY, src text, body text); INSERT INTO ev VALUES (1, 'a', 'b');
         CREATE PUBLICATION p FOR TABLE ev (src, body); ALTER TABLE ev ADD COLUMN at timestamptz DEFAULT now()",
    );
}

#[test]
fn case_08_owner_without_update() {
    load(
        "CREATE ROLE audit_owner; GRANT CREATE, USAGE ON SCHEMA public TO audit_owner; SET ROLE audit_owner;
         CREATE TABLE audit (id int PRIMARY KEY, what text); INSERT INTO audit VALUES (1, 'a'), (2, 'b');
         REVOKE UPDATE, DELETE, TRUNCATE ON audit FROM audit_owner;
         ALTER TABLE audit ADD COLUMN at timestamptz DEFAULT now()",
    );
}

#[test]
fn case_11_drop_if_exists_of_what_another_session_makes() {
    let c = race(
        "",
        "CREATE TABLE mine (a int); DROP TABLE IF EXISTS shared",
        "CREATE TABLE shared (id int PRIMARY KEY); INSERT INTO shared VALUES (1)",
    );
    c.sql("INSERT INTO shared VALUES (2)");
    comes_back(&c);
}

#[test]
fn case_13_drop_schema_public_cascade() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1); DROP SCHEMA public CASCADE; CREATE SCHEMA public;
           CREATE TABLE public.t (id int PRIMARY KEY, v text); INSERT INTO public.t VALUES (1, 'again')");
    wait_until("the extension is made again", || {
        c.is_true("SELECT count(*) = 1 FROM pg_extension WHERE extname = 'pg_incrbackup'")
    });
    comes_back(&c);
}

#[test]
fn case_16_set_from_current() {
    load(
        "CREATE SCHEMA app; SET search_path = app, public;
         CREATE FUNCTION f() RETURNS int LANGUAGE sql SET search_path FROM CURRENT AS 'SELECT 1'; SET work_mem = '17MB';
         CREATE FUNCTION g() RETURNS int LANGUAGE sql SET work_mem FROM CURRENT AS 'SELECT 1'; RESET search_path;
         CREATE FUNCTION h() RETURNS int LANGUAGE sql SET search_path FROM CURRENT AS 'SELECT 1'",
    );
}

#[test]
fn case_18_default_with_side_effects() {
    load(
        "CREATE TABLE counters (name text PRIMARY KEY, n int); INSERT INTO counters VALUES ('inv', 0);
         CREATE TABLE log (msg text); CREATE FUNCTION next_code() RETURNS text LANGUAGE plpgsql AS
         $$DECLARE v int; BEGIN UPDATE counters SET n = n + 1 WHERE name = 'inv' RETURNING n INTO v;
         INSERT INTO log VALUES ('gave ' || v); RETURN 'INV-' || v; END$$;
         CREATE TABLE inv (id int PRIMARY KEY); INSERT INTO inv SELECT generate_series(1, 4);
         ALTER TABLE inv ADD COLUMN code text NOT NULL DEFAULT next_code(); INSERT INTO inv (id) VALUES (9)",
    );
}

#[test]
fn case_20_a_row_that_a_domain_not_valid_would_refuse() {
    load(
        "CREATE DOMAIN pos AS int; CREATE TABLE t (id int PRIMARY KEY, d pos, note text);
         INSERT INTO t VALUES (1, -5, 'old'), (2, 7, 'ok');
         ALTER DOMAIN pos ADD CONSTRAINT ispos CHECK (VALUE > 0) NOT VALID;
         UPDATE t SET note = 'touched' WHERE id = 1",
    );
}

#[test]
fn case_23b_session_user() {
    load(
        "CREATE ROLE app_login LOGIN; CREATE ROLE app_owner; GRANT app_owner TO app_login;
         GRANT CREATE, USAGE ON SCHEMA public TO app_owner; SET SESSION AUTHORIZATION app_login; SET ROLE app_owner;
         CREATE TABLE t (id int PRIMARY KEY); GRANT SELECT ON t TO SESSION_USER;
         ALTER TABLE t ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON t TO SESSION_USER USING (true)",
    );
}

#[test]
fn case_24_a_membership_that_is_gone() {
    load(
        "CREATE ROLE team; CREATE ROLE dev LOGIN; GRANT team TO dev; GRANT CREATE, USAGE ON SCHEMA public TO team, dev;
         SET ROLE team; CREATE TABLE t (id int PRIMARY KEY); RESET ROLE;
         SET ROLE dev; ALTER TABLE t ADD COLUMN v text; CREATE TABLE mine (id int PRIMARY KEY);
         ALTER TABLE mine OWNER TO team; RESET ROLE; REVOKE team FROM dev",
    );
}

#[test]
fn case_28b_role_and_path_of_the_database() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE ROLE app_owner2; GRANT CREATE, USAGE ON SCHEMA public TO app_owner2;
           ALTER DATABASE app SET role = app_owner2; ALTER DATABASE app SET search_path = app, ext",
    );
    c.sql("CREATE TABLE public.t (id int PRIMARY KEY); INSERT INTO public.t VALUES (1)");
    c.sql("SET ROLE NONE; SELECT public.incr_dump()");
    c.sql("INSERT INTO public.t VALUES (2); SET ROLE NONE; CREATE TABLE public.supers (i int PRIMARY KEY)");
    c.sql("SET ROLE NONE; SELECT public.incr_flush()");
    c.sql_in("postgres", "ALTER DATABASE app RESET ALL");
    c.flush();
    for restored in [c.restore_by_script(&c, &[]), c.restore_by_program(&c, &[])] {
        // It has what the database had when the base was made.
        let reset = format!("ALTER DATABASE {} RESET ALL", restored.database);
        c.sql_in("postgres", &reset);
        assert_identical((&c, c.database()), (&c, &restored.database));
    }
    assert_eq!(flags(&c), [""; 0]);
}

#[test]
fn case_32_default_over_a_function_of_the_session() {
    load(
        "CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1), (2);
         CREATE FUNCTION pg_temp.mk() RETURNS text LANGUAGE sql AS 'SELECT md5(random()::text)';
         ALTER TABLE t ADD COLUMN token text DEFAULT pg_temp.mk(); ALTER TABLE t ALTER COLUMN token DROP DEFAULT;
         CREATE FUNCTION pg_temp.norm(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT lower($1)';
         ALTER TABLE t ADD CONSTRAINT chk CHECK (pg_temp.norm(token) = token); ALTER TABLE t DROP CONSTRAINT chk",
    );
}

#[test]
fn case_33_like_a_table_of_the_session() {
    load(
        "CREATE TEMP TABLE tt (i int NOT NULL, j text DEFAULT 'x'); CREATE TABLE p (LIKE tt, extra int)",
    );
}

#[test]
fn case_34_a_row_without_what_it_refers_to_in_a_base() {
    load(
        "CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY, a int REFERENCES a);
         INSERT INTO a VALUES (1); SET session_replication_role = replica; INSERT INTO b VALUES (1, 99);
         RESET session_replication_role; SELECT incr_dump(); INSERT INTO a VALUES (2)",
    );
}

#[test]
fn case_36_a_materialized_view_over_what_is_gone() {
    let c = Cluster::backed_up();
    let file = c.root().join("ff.csv");
    let file = file.display();
    c.sql(&format!(
        "CREATE EXTENSION file_fdw; CREATE SERVER fs FOREIGN DATA WRAPPER file_fdw;
         COPY (SELECT 1 AS a, 'x' AS b) TO '{file}' CSV;
         CREATE FOREIGN TABLE ft (a int, b text) SERVER fs OPTIONS (filename '{file}', format 'csv');
         CREATE MATERIALIZED VIEW mv AS SELECT * FROM ft; CREATE MATERIALIZED VIEW over_mv AS SELECT a FROM mv;
         CREATE MATERIALIZED VIEW other AS SELECT 1 AS one;
         CREATE TABLE copied AS SELECT * FROM ft; COPY (SELECT 1) TO PROGRAM 'rm -f {file}; cat >/dev/null';
         INSERT INTO copied VALUES (5, 'y')"
    ));
    c.flush();
    let restored = c.restore(&[]);
    for (view, is_populated) in [("mv", "f"), ("over_mv", "f"), ("other", "t")] {
        let populated = format!("SELECT relispopulated FROM pg_class WHERE relname = '{view}'");
        assert_eq!(
            c.sql_in(&restored.database, &populated),
            is_populated,
            "{view}"
        );
    }
    for view in ["mv", "over_mv"] {
        let named = format!("    REFRESH MATERIALIZED VIEW public.{view}: ");
        assert!(restored.output.contains(&named), "{}", restored.output);
    }
    // All else is the same.
    c.sql(
        "REFRESH MATERIALIZED VIEW mv WITH NO DATA; REFRESH MATERIALIZED VIEW over_mv WITH NO DATA",
    );
    assert_identical((&c, c.database()), (&c, &restored.database));
    assert_eq!(flags(&c), [""; 0]);
}

#[test]
fn case_48d_the_identitys_index_is_dropped() {
    load(
        "CREATE TABLE k (id serial PRIMARY KEY, b text NOT NULL); CREATE UNIQUE INDEX kk ON k (b);
         ALTER TABLE k REPLICA IDENTITY USING INDEX kk; INSERT INTO k (b) VALUES ('x');
         DROP INDEX kk; DELETE FROM k WHERE id = 1",
    );
}

#[test]
fn case_54b_the_databases_owner_a_moment_ago() {
    let c = Cluster::backed_up();
    c.sql_in(
        "postgres",
        "CREATE ROLE owner2 LOGIN; ALTER DATABASE app OWNER TO owner2",
    );
    c.sql("SET SESSION AUTHORIZATION owner2; CREATE TABLE public.t (i int PRIMARY KEY)");
    comes_back(&c);
}

#[test]
fn case_65_settings_that_change_what_a_text_means() {
    load(
        "SET timezone_abbreviations = 'India'; CREATE TABLE t (id int PRIMARY KEY, at timestamptz DEFAULT '2024-01-01 10:00 IST');
         RESET timezone_abbreviations; INSERT INTO t VALUES (1); SET extra_float_digits = -15;
         CREATE TABLE f (id int PRIMARY KEY, x float8 DEFAULT 0.1234567890123); RESET extra_float_digits;
         CREATE VIEW v AS SELECT '2024-01-01 10:00 EST'::timestamptz AS e",
    );
}

/// What is over this extension's own is left out, and named: the rest is the same.
fn comes_back_without(c: &Cluster, named: &[&str], drops: &str) {
    c.flush();
    let restored = c.restore(&[]);
    for object in named {
        assert!(restored.output.contains(object), "{}", restored.output);
    }
    c.sql(drops);
    assert_identical((c, c.database()), (c, &restored.database));
    assert_eq!(flags(c), [""; 0]);
}

#[test]
fn case_75_a_view_over_our_functions() {
    let c = Cluster::backed_up();
    c.sql("CREATE VIEW backup_health AS SELECT level, reasons FROM incr_slot_health()");
    comes_back_without(
        &c,
        &["view public.backup_health"],
        "DROP VIEW backup_health",
    );
}

#[test]
fn case_75g_views_over_ours_in_a_base() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE VIEW backup_health AS SELECT level, reasons FROM incr_slot_health(); CREATE VIEW ddl_report AS
         SELECT * FROM ddl_history; CREATE VIEW over_report AS SELECT count(*) FROM ddl_report; SELECT incr_dump()",
    );
    let named = [
        "view public.backup_health",
        "view public.ddl_report",
        "view public.over_report",
    ];
    comes_back_without(&c, &named, "DROP VIEW backup_health, ddl_report CASCADE");
}

#[test]
fn case_76b2_the_identity_goes_under_an_old_snapshot() {
    let c = Cluster::backed_up();
    let mut one = c.session();
    one.run("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1 FROM pg_class LIMIT 1");
    c.sql("CREATE TABLE k (a int PRIMARY KEY, b int); INSERT INTO k VALUES (1, 1)");
    one.run("ALTER TABLE k DROP CONSTRAINT k_pkey; COMMIT; UPDATE k SET b = 5");
    drop(one);
    comes_back(&c);
}

#[test]
fn case_84_a_default_that_is_now() {
    load(
        "CREATE TABLE n (a int PRIMARY KEY); INSERT INTO n VALUES (1), (2);
         ALTER TABLE n ADD COLUMN d timestamptz NOT NULL DEFAULT 'now'; INSERT INTO n VALUES (3)",
    );
}

#[test]
fn case_93a_functions_of_the_session_and_others_in_one_statement() {
    load(
        "CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql AS 'select 1'; CREATE FUNCTION public.g() RETURNS int
         LANGUAGE sql AS 'select 1'; DROP FUNCTION pg_temp.f(), public.g(); CREATE TABLE ok (i int PRIMARY KEY)",
    );
}

#[test]
fn case_97_views_over_now() {
    load(
        "CREATE TABLE b (id int PRIMARY KEY, at timestamptz);
         CREATE VIEW v (x, y) WITH (security_barrier = true, security_invoker = true) AS SELECT id, at FROM b
         WHERE at > 'now' WITH CASCADED CHECK OPTION;
         CREATE OR REPLACE VIEW w AS SELECT id AS \"Odd Name\" FROM b WHERE at < 'today'; GRANT SELECT ON w TO PUBLIC;
         COMMENT ON COLUMN w.\"Odd Name\" IS 'c'; CREATE RECURSIVE VIEW r (n) AS SELECT 1
         UNION ALL SELECT n + 1 FROM r WHERE n < extract(day from timestamp 'today');
         ALTER VIEW w ALTER COLUMN \"Odd Name\" SET DEFAULT 5",
    );
}

#[test]
fn case_102_an_indexs_name_that_was_chosen() {
    race(
        "CREATE TABLE t1 (a int PRIMARY KEY, b int); CREATE TABLE t1_b_idx (x int)",
        "CREATE INDEX ON t1 (b)",
        "DROP TABLE t1_b_idx",
    );
}

#[test]
fn case_105_a_function_that_fits_better() {
    race(
        "CREATE TABLE t (id int PRIMARY KEY, v varchar(10)); INSERT INTO t VALUES (1, 'x');
         CREATE FUNCTION norm(text) RETURNS text IMMUTABLE LANGUAGE sql AS 'select upper($1)'",
        "CREATE INDEX tx ON t (norm(v)); CREATE VIEW tv AS SELECT norm(v) AS n FROM t",
        "CREATE FUNCTION norm(varchar) RETURNS text IMMUTABLE LANGUAGE sql AS 'select lower($1::text)'",
    );
}

#[test]
fn case_x_a_superusers_change_of_the_catalogs() {
    load(
        "CREATE TABLE t (id int PRIMARY KEY, v varchar(10)); CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1';
         INSERT INTO pg_catalog.pg_description (objoid, classoid, objsubid, description)
           VALUES ('f()'::regprocedure, 'pg_proc'::regclass, 0, 'said directly');
         UPDATE pg_catalog.pg_attribute SET atttypmod = 204 WHERE attrelid = 't'::regclass AND attname = 'v';
         INSERT INTO t VALUES (1, repeat('x', 100))",
    );
}

/// How a restore grows with triggers, each on a table of its own: the figures are for people.
#[test]
fn case_x_many_triggers() {
    let seconds = |count: u32| {
        let c = load(&format!(
            "DO $$ BEGIN FOR i IN 1..{count} LOOP EXECUTE format('CREATE TABLE t%s (id int PRIMARY KEY, r int REFERENCES t%s)',
               i, greatest(i - 1, 1)); END LOOP; END $$;
             CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END';
             SELECT format('CREATE TRIGGER g AFTER INSERT ON t%s FOR EACH ROW EXECUTE FUNCTION f()', i)
               FROM generate_series(1, {count}) i \\gexec",
        ));
        let started = std::time::Instant::now();
        c.restore(&[]);
        started.elapsed().as_secs_f64()
    };
    let (few, many) = (seconds(100), seconds(400));
    println!("100 tables with a trigger each are restored in {few:.1} s, 400 in {many:.1} s");
}
