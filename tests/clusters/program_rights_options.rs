//! "Not the owners, not the grants, not their tablespaces." Each `--no-…` leaves out what it names and nothing else, and
//! a role may have another name here.

use harness::Cluster;

use crate::program_rights::{assert_same, dumped, restore};

/// One of everything that an option leaves out, under names that begin like a clause.
const OBJECTS: &str = "CREATE SCHEMA s@;
    CREATE TABLE s@.t (id int PRIMARY KEY USING INDEX TABLESPACE \"t s\", n int) TABLESPACE \"t s\";
    CREATE TABLE s@.u (id int);
    CREATE INDEX i ON s@.t (n) TABLESPACE \"t s\" WHERE n > 0;
    CREATE MATERIALIZED VIEW s@.m TABLESPACE \"t s\" AS SELECT 1 AS tablespace;
    CREATE FUNCTION s@.f() RETURNS text LANGUAGE sql AS $$ SELECT 'x'; SELECT '; ALTER TABLE s@.t OWNER TO nobody;'; $$;
    CREATE FUNCTION s@.g() RETURNS int BEGIN ATOMIC SELECT 1; SELECT 2; END;
    CREATE VIEW s@.\"owner; OWNER TO x\" AS SELECT 1 AS \"to\";
    COMMENT ON TABLE s@.t IS 'a; comment'; COMMENT ON COLUMN s@.t.n IS 'OWNER TO x;'; COMMENT ON FUNCTION s@.f() IS 'f';
    CREATE PUBLICATION p@ FOR TABLE s@.t; COMMENT ON PUBLICATION p@ IS 'p'; ALTER PUBLICATION p@ ADD TABLE s@.u;
    CREATE SUBSCRIPTION sub@ CONNECTION 'host=/nowhere' PUBLICATION x WITH (connect = false, slot_name = NONE, enabled = false, create_slot = false);
    COMMENT ON SUBSCRIPTION sub@ IS 'sub';
    ALTER TABLE s@.t OWNER TO \"old; TO x\"; ALTER FUNCTION s@.f() OWNER TO \"old; TO x\"; ALTER SCHEMA s@ OWNER TO \"old; TO x\";
    ALTER VIEW s@.\"owner; OWNER TO x\" OWNER TO \"old; TO x\"; ALTER PUBLICATION p@ OWNER TO \"old; TO x\";
    GRANT SELECT ON s@.t TO friend WITH GRANT OPTION; GRANT UPDATE (n) ON s@.t TO \"old; TO x\", friend;
    GRANT USAGE ON SCHEMA s@ TO friend; SET ROLE friend; GRANT SELECT ON s@.t TO PUBLIC; RESET ROLE;
    GRANT SELECT ON s@.u TO friend, \"old; TO x\";
    ALTER DEFAULT PRIVILEGES FOR ROLE \"old; TO x\" IN SCHEMA s@ GRANT SELECT ON TABLES TO friend;
    ALTER DEFAULT PRIVILEGES FOR ROLE friend IN SCHEMA s@ GRANT INSERT ON TABLES TO \"old; TO x\";
    CREATE POLICY pol ON s@.t TO \"old; TO x\" USING (true);
    CREATE SERVER ser@ FOREIGN DATA WRAPPER fdw; CREATE USER MAPPING FOR \"old; TO x\" SERVER ser@ OPTIONS (a 'TO \"old; TO x\"');
    SELECT lo_from_bytea(0, 'x') AS lo \\gset
    ALTER LARGE OBJECT :lo OWNER TO \"old; TO x\"; GRANT SELECT ON LARGE OBJECT :lo TO friend;
    COMMENT ON LARGE OBJECT :lo IS 'large';
    INSERT INTO s@.t VALUES (1, 1), (2, 2); REFRESH MATERIALIZED VIEW s@.m;";

/// In the base, and once more after it.
fn with_objects(format: &str) -> Cluster {
    let c = Cluster::builder()
        .setting("pg_incrbackup.base_format", &format!("'{format}'"))
        .start();
    c.sql("SET allow_in_place_tablespaces = on; CREATE TABLESPACE \"t s\" LOCATION ''");
    c.sql("CREATE ROLE \"old; TO x\"; CREATE ROLE friend; CREATE FOREIGN DATA WRAPPER fdw; ALTER ROLE friend IN DATABASE app SET work_mem = '5MB'");
    c.sql("GRANT CREATE ON DATABASE app TO friend, \"old; TO x\"; COMMENT ON DATABASE app IS 'the; database'; GRANT USAGE ON SCHEMA public TO friend");
    c.sql(&OBJECTS.replace('@', "1"));
    c.sql("CREATE EXTENSION pg_incrbackup; SELECT * FROM incr_setup()");
    c.flush();
    c.sql(&OBJECTS.replace('@', "2"));
    c.sql("ALTER DATABASE app OWNER TO \"old; TO x\"; GRANT TEMPORARY ON DATABASE app TO \"old; TO x\"");
    c.sql("ALTER TABLE s1.u SET TABLESPACE \"t s\"; ALTER TABLE s1.u OWNER TO friend; COMMENT ON TABLE s1.u IS 'later'");
    c.sql("ALTER POLICY pol ON s1.t TO \"old; TO x\"; CREATE POLICY late ON s1.t TO \"old; TO x\"");
    c.flush();
    c
}

/// What a restore with these options, into a new database of `target`, differs in from pg_dump with them.
fn restores_without(c: &Cluster, target: &Cluster, database: &str, options: &[&str]) {
    let left_out = target.root().join("none");
    let (status, text) = restore(c, &target.conninfo(database), &left_out, options);
    assert_eq!(status, 0, "{options:?}: {text}");
    // pg_dump words it in the target's name of the database, and has no properties of it.
    // Privileges are relative to owners.
    let is_without_owners = options.contains(&"--no-owner");
    let more = if is_without_owners {
        &["--no-privileges"][..]
    } else {
        &[]
    };
    let compared = [options, more].concat();
    let source = dumped(c, c.database(), &compared);
    assert_same(&source, &dumped(target, database, &compared));
    // Nothing of it is there, rather than only not dumped.
    let plain: Vec<String> = dumped(target, database, &[]).into_keys().collect();
    let says = |what: &str| plain.iter().any(|line| line.contains(what));
    for (option, clause) in [
        ("--no-owner", " OWNER TO \"old; TO x\""),
        ("--no-privileges", "GRANT "),
        ("--no-tablespaces", "SET default_tablespace = \"t s\""),
        ("--no-publications", "CREATE PUBLICATION"),
        ("--no-subscriptions", "CREATE SUBSCRIPTION"),
        ("--no-comments", "COMMENT ON "),
    ] {
        assert_ne!(
            says(clause),
            options.contains(&option),
            "{options:?}: {clause}"
        );
    }
}

#[test]
fn every_option_leaves_out_what_it_names_and_nothing_else() {
    let c = with_objects("plain");
    let target = Cluster::builder().start();
    for (nth, option) in [
        "--no-owner",
        "--no-privileges",
        "--no-tablespaces",
        "--no-publications",
        "--no-subscriptions",
        "--no-comments",
    ]
    .into_iter()
    .enumerate()
    {
        restores_without(&c, &target, &format!("r{nth}"), &[option]);
    }
    let of_database = "SELECT pg_get_userbyid(datdba), datacl::text LIKE '%friend%', shobj_description(oid, 'pg_database') \
        FROM pg_database WHERE datname = ";
    let of = |name: &str| target.sql_in("postgres", &format!("{of_database}'{name}'"));
    assert_eq!(of("r0"), "postgres|t|the; database");
    assert_eq!(of("r1"), "old; TO x||the; database");
    assert_eq!(of("r5"), "old; TO x|t|");
}

#[test]
fn without_owners_and_privileges_no_role_is_made_that_nobody_needs() {
    let c = with_objects("directory");
    let target = Cluster::builder().start();
    let all = [
        "--no-owner",
        "-x",
        "--no-tablespaces",
        "--no-publications",
        "--no-subscriptions",
        "--no-comments",
        "--no-security-labels",
    ];
    let left_out = target.root().join("none");
    let (status, text) = restore(&c, &target.conninfo("all"), &left_out, &all);
    assert_eq!(status, 0, "{text}");
    assert_same(&dumped(&c, "app", &all), &dumped(&target, "all", &all));
    // Policies and user mappings name these.
    let roles = "SELECT string_agg(rolname, ',' ORDER BY rolname) FROM pg_roles WHERE oid >= 16384";
    assert_eq!(target.sql(roles), "friend,old; TO x");
    assert_eq!(target.sql("SELECT count(*) FROM pg_tablespace"), "2");
}

#[test]
fn a_role_has_another_name_wherever_it_is_named() {
    let c = with_objects("plain");
    let target = Cluster::builder().start();
    let left_out = target.root().join("none");
    let role = ["--role", "old; TO x=new; ROLE", "--role", "friend=pal"];
    let (status, text) = restore(&c, &target.conninfo("never"), &left_out, &role);
    assert_eq!(status, 2, "{text}");
    assert!(
        text.contains("the role \"new; ROLE\" of --role does not exist"),
        "{text}"
    );
    target.sql("CREATE ROLE \"new; ROLE\"; CREATE ROLE pal");
    let (status, text) = restore(&c, &target.conninfo("renamed"), &left_out, &role);
    assert_eq!(status, 0, "{text}");
    // The same as if they had been called so at the source.
    c.sql_in(
        "postgres",
        "ALTER ROLE \"old; TO x\" RENAME TO \"new; ROLE\"; ALTER ROLE friend RENAME TO pal",
    );
    assert_same(&dumped(&c, "app", &[]), &dumped(&target, "renamed", &[]));
    let roles = "SELECT string_agg(rolname, ',' ORDER BY rolname) FROM pg_roles WHERE oid >= 16384";
    assert_eq!(target.sql(roles), "new; ROLE,pal");
    let database = "SELECT pg_get_userbyid(datdba), datacl::text LIKE '%pal=%' FROM pg_database WHERE datname = 'renamed'";
    assert_eq!(target.sql_in("postgres", database), "new; ROLE|t");
}
