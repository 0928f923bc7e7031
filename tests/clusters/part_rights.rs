//! "One table back, and I have no superuser." Parts of a database, by a role that owns the live one, or less.

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;

use harness::{program_command, wait_until, Cluster};

use crate::parts::{assert_nothing_left, assert_same, dump, AFTER_THE_BASE, BEFORE_THE_BASE};
use crate::program_rights;

/// A role on the cluster of the source, and where it restores to.
pub struct Role<'a> {
    pub c: &'a Cluster,
    pub name: &'a str,
}

impl Role<'_> {
    pub fn left_out(&self) -> PathBuf {
        self.c.root().join(format!("{}.left-out.sql", self.name))
    }

    /// Exit status, and all that the program said.
    pub fn restore(&self, database: &str, options: &[&str]) -> (i32, String) {
        let user = format!("user={}", self.name);
        let target = self.c.conninfo(database).replace("user=postgres", &user);
        // Of an earlier restore.
        let _ = fs::remove_file(self.left_out());
        program_rights::restore(self.c, &target, &self.left_out(), options)
    }

    /// The same, which has to succeed.
    pub fn restored(&self, database: &str, options: &[&str]) -> String {
        let (status, text) = self.restore(database, options);
        assert_eq!(status, 0, "{} {options:?}: {text}", self.name);
        text
    }

    /// The same, which has to be refused with these words, and leaves nothing.
    pub fn refused(&self, database: &str, options: &[&str], words: &[&str]) {
        let (status, text) = self.restore(database, options);
        assert!(status == 1 || status == 2, "{options:?}: {status} {text}");
        for words in words {
            assert!(text.contains(words), "{options:?}: {words}: {text}");
        }
        assert_nothing_left(self.c);
    }
}

/// Of what belongs to whom, such a role restores nothing.
pub const OWN: [&str; 2] = ["--no-owner", "--no-privileges"];

pub fn with<'o>(lists: &[&[&'o str]]) -> Vec<&'o str> {
    lists.concat()
}

#[test]
fn a_role_with_createdb_restores_a_part_as_a_superuser_does() {
    let c = Cluster::backed_up();
    c.sql(BEFORE_THE_BASE);
    // What acts on rows, and on whoever reads them; what only a superuser makes, and nothing of the part needs.
    c.sql(
        "CREATE SCHEMA kept; CREATE TABLE kept.customers (id int PRIMARY KEY); INSERT INTO kept.customers VALUES (1), (2); \
         CREATE TABLE kept.orders (id int PRIMARY KEY, customer int REFERENCES kept.customers, secret text); \
         INSERT INTO kept.orders VALUES (1, 1, 'a'), (2, 2, 'b'), (3, NULL, 'c'); \
         CREATE TABLE kept.lines (o int REFERENCES kept.orders ON DELETE CASCADE, customer int, n int) PARTITION BY LIST (n); \
         CREATE TABLE kept.lines1 PARTITION OF kept.lines FOR VALUES IN (1); CREATE TABLE kept.lines2 PARTITION OF kept.lines FOR VALUES IN (2); \
         ALTER TABLE kept.lines ADD CONSTRAINT to_customers FOREIGN KEY (customer) REFERENCES kept.customers; \
         INSERT INTO kept.lines VALUES (1, 1, 1), (2, 2, 2); \
         ALTER TABLE kept.orders ENABLE ROW LEVEL SECURITY; ALTER TABLE kept.orders FORCE ROW LEVEL SECURITY; \
         CREATE POLICY none ON kept.orders USING (id > 2); \
         CREATE FUNCTION kept.deny() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE 'denied'; END$$; \
         CREATE TRIGGER deny BEFORE INSERT OR UPDATE ON kept.orders FOR EACH ROW EXECUTE FUNCTION kept.deny(); \
         CREATE FUNCTION kept.fast(int) RETURNS int LANGUAGE internal IMMUTABLE AS 'int4abs'; \
         CREATE TABLE kept.odd (a int, b int GENERATED ALWAYS AS (kept.fast(a)) STORED); INSERT INTO kept.odd VALUES (-1); \
         CREATE FUNCTION kept.raised() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'; \
         CREATE TABLE kept.hers (a int); ALTER TABLE kept.hers OWNER TO alice; CREATE VIEW kept.seen AS SELECT * FROM kept.hers; \
         ALTER VIEW kept.seen OWNER TO alice; \
         CREATE MATERIALIZED VIEW kept.count AS SELECT count(*) FROM kept.orders",
    );
    c.sql("SELECT incr_dump()");
    c.sql(AFTER_THE_BASE);
    c.sql(
        "ALTER TABLE kept.orders DISABLE TRIGGER deny; INSERT INTO kept.orders VALUES (4, 1, 'd'); \
         UPDATE kept.orders SET secret = 'A' WHERE id = 1; ALTER TABLE kept.orders ENABLE TRIGGER deny; \
         CREATE TABLE kept.late (o int); INSERT INTO kept.late VALUES (1), (9); DELETE FROM kept.late WHERE o = 9; \
         ALTER TABLE kept.late ADD CONSTRAINT to_orders FOREIGN KEY (o) REFERENCES kept.orders, \
            ADD CONSTRAINT to_customers FOREIGN KEY (o) REFERENCES kept.customers; \
         INSERT INTO kept.late VALUES (2); REFRESH MATERIALIZED VIEW kept.count; \
         GRANT USAGE ON SCHEMA kept TO alice; GRANT SELECT ON kept.orders TO alice WITH GRANT OPTION; SET ROLE alice; GRANT SELECT ON kept.orders TO bob; RESET ROLE",
    );
    c.flush();
    let plain = ["-O", "-x"];
    let shop = dump(&c, "app", &with(&[&["-n", "shop"], &plain]));
    let orders = [
        "-t",
        "kept.orders",
        "-t",
        "kept.lines",
        "-t",
        "kept.lines?",
        "-t",
        "kept.late",
        "-t",
        "kept.count",
    ];
    let is_left_out =
        |line: &String| line.contains("to_customers") || line.contains("customer_fkey");
    let without_keys = |mut lines: Vec<String>| {
        lines.retain(|line| {
            !is_left_out(line)
                && !line.starts_with("ALTER TABLE ONLY")
                && !line.starts_with("ALTER TABLE kept.lines")
        });
        lines
    };
    let kept = without_keys(dump(&c, "app", &with(&[&orders, &plain])));
    let xid = c
        .sql("DELETE FROM kept.lines RETURNING pg_current_xact_id()")
        .lines()
        .next()
        .map(str::to_owned);
    let xid = xid.expect("there are two");
    c.sql("UPDATE shop.orders SET amount = 7; DROP TABLE kept.orders CASCADE; DROP TABLE shop.log");
    c.flush();
    let moment = ["--before-xid", &xid];

    // A live database: event triggers and default privileges act as for anything that the role makes.
    c.sql("CREATE ROLE plain LOGIN CREATEDB; CREATE DATABASE live OWNER plain");
    c.sql_in(
        "live",
        "CREATE TABLE mine (a int); CREATE TABLE seen (who name, tag text); GRANT INSERT ON seen TO PUBLIC; \
         CREATE FUNCTION see() RETURNS event_trigger LANGUAGE plpgsql AS $$BEGIN INSERT INTO public.seen VALUES (current_user, tg_tag); END$$; \
         CREATE EVENT TRIGGER see ON ddl_command_end EXECUTE FUNCTION see(); ALTER EVENT TRIGGER see ENABLE ALWAYS; \
         ALTER DEFAULT PRIVILEGES FOR ROLE plain GRANT ALL ON TABLES TO PUBLIC; REVOKE TEMPORARY ON DATABASE live FROM PUBLIC; TRUNCATE seen",
    );
    let mine = dump(&c, "live", &["-t", "mine", "-t", "seen", "-s"]);
    let role = Role {
        c: &c,
        name: "plain",
    };
    role.restored("live", &with(&[&["--schema", "shop"], &moment, &OWN]));
    assert_same(
        &shop,
        &dump(&c, "live", &with(&[&["-n", "shop"], &plain])),
        "a schema",
    );
    let privileges = "SELECT DISTINCT coalesce(relacl::text, 'own') FROM pg_class WHERE relnamespace = 'shop'::regnamespace AND relkind = 'r'";
    let granted = c.sql_in("live", privileges);
    let is_public = granted.contains("{=") || granted.contains(",=");
    assert!(!is_public, "{granted}");
    assert_eq!(c.sql_in("live", "SELECT DISTINCT who FROM seen"), "plain");

    // Rows that a policy hides from their owner, keys to tables that are not in the part, triggers that refuse rows.
    let part = [
        "--table",
        "kept.orders",
        "--table",
        "kept.lines",
        "--table",
        "kept.late",
        "--table",
        "kept.count",
    ];
    let (status, text) = role.restore("live", &with(&[&part, &moment, &["--dry-run"], &OWN]));
    assert_eq!(status, 0, "{text}");
    assert!(
        text.contains("to_customers on kept.late") && !text.contains("kept.fast"),
        "{text}"
    );
    let text = role.restored("live", &with(&[&part, &moment, &OWN]));
    assert!(text.contains("rows      4 of kept.orders"), "{text}");
    assert!(
        text.contains("to_customers on kept.late") && text.contains("lines to_customers"),
        "{text}"
    );
    let restored = without_keys(dump(&c, "live", &with(&[&orders, &plain])));
    assert_same(&kept, &restored, "a part");
    let keys = "SELECT string_agg(conname || ' ' || convalidated, ', ' ORDER BY conname, conrelid::regclass::text) FROM pg_constraint \
        WHERE contype = 'f' AND connamespace = 'kept'::regnamespace AND conparentid = 0";
    assert_eq!(c.sql_in("live", keys), "lines_o_fkey true, to_orders true");

    // What nobody but a superuser makes ends the restore of what needs it, and only of that.
    role.refused(
        "live",
        &with(&[&["--table", "kept.odd"], &moment, &OWN]),
        &[
            "is needed for kept.odd",
            "kept.fast",
            "permission denied for language internal",
            "Nothing was changed",
        ],
    );
    let (status, text) = role.restore(
        "live",
        &with(&[
            &["--schema", "kept", "--exclude-table", "kept.*"],
            &moment,
            &OWN,
        ]),
    );
    assert!(status == 1 && text.contains("FUNCTION kept.fast"), "{text}");

    c.sql_in("live", "DROP SCHEMA kept CASCADE");
    let (status, text) = role.restore("live", &with(&[&["--schema", "kept"], &moment, &OWN]));
    assert_eq!(status, 1, "{text}");
    let missed = [
        "(SECURITY DEFINER)\n    function kept.raised(): \"plain\"",
        "FUNCTION kept.fast",
        "TABLE kept.odd: function kept.fast(integer) does not exist",
        "rows      4 of kept.orders",
    ];
    for words in missed {
        assert!(text.contains(words), "{words}: {text}");
    }

    // Owners and privileges that it cannot give are named, and left out.
    c.sql_in("live", "DROP SCHEMA kept CASCADE");
    let (status, text) = role.restore("live", &with(&[&["--table", "kept.orders"], &moment]));
    assert_eq!(status, 1, "{text}");
    assert!(text.contains("cannot give it to \"postgres\""), "{text}");
    assert!(
        !text.contains("shop.") && !text.contains("kept.odd"),
        "{text}"
    );
    let written = fs::read_to_string(role.left_out()).expect("it was written");
    assert!(
        written.contains("ALTER TABLE kept.orders OWNER TO postgres"),
        "{written}"
    );
    let owner = "SELECT relowner::regrole, relforcerowsecurity, relacl FROM pg_class WHERE oid = 'kept.orders'::regclass";
    let owned = c.sql_in("live", owner);
    assert!(
        owned.starts_with("plain|t|") && owned.contains("alice=r*/plain"),
        "{owned}"
    );
    // Beside it, without a file whose names were those of the live one.
    let (status, text) = role.restore(
        "live",
        &with(&[&["--table", "kept.orders", "--into-schema", "was"], &moment]),
    );
    assert!(status == 1 && text.contains("cannot give it"), "{text}");
    assert!(!role.left_out().exists(), "{text}");
    assert_eq!(c.sql_in("live", "SELECT count(*) FROM was.orders"), "4");
    let text = role.restored(
        "fresh",
        &with(&[&["--table", "kept.orders"], &moment, &OWN]),
    );
    assert!(text.contains("rows      4 of kept.orders"), "{text}");

    // A role to which it can give objects gets them, if it may create something there.
    c.sql("GRANT alice TO plain");
    c.sql_in(
        "live",
        "DROP SCHEMA kept CASCADE; CREATE SCHEMA box AUTHORIZATION plain",
    );
    let hers = ["--table", "kept.hers", "--table", "kept.seen"];
    let (status, text) = role.restore("live", &with(&[&hers, &moment]));
    assert!(
        status == 1 && text.contains("owner of SCHEMA kept"),
        "{text}"
    );
    let owners = |schema: &str| {
        let relations = "string_agg(relowner::regrole::text, ' ' ORDER BY relname)";
        let may = "has_schema_privilege('alice', relnamespace, 'CREATE')";
        let place = format!("pg_class WHERE relnamespace = '{schema}'::regnamespace");
        c.sql_in(
            "live",
            &format!("SELECT {relations}, bool_or({may}) FROM {place}"),
        )
    };
    assert_eq!(owners("kept"), "alice alice|f");
    let boxed = with(&[&hers, &moment, &["--into-schema", "box"]]);
    let (status, text) = role.restore("live", &with(&[&boxed, &["--dry-run"]]));
    let refused =
        "owner of table box.hers: \"alice\" may create nothing in the schema \"box\" of the target";
    assert!(status == 0 && text.contains(refused), "{text}");
    let (status, text) = role.restore("live", &boxed);
    assert!(status == 1 && text.contains(refused), "{text}");
    assert_eq!(owners("box"), "plain plain|f");
    c.sql_in("live", "DROP SCHEMA box CASCADE; CREATE SCHEMA box AUTHORIZATION plain; GRANT USAGE, CREATE ON SCHEMA box TO alice");
    role.restored("live", &boxed);
    assert_eq!(owners("box"), "alice alice|t");

    // What somebody has granted on who is no owner, if it can be that role, and that role may be there.
    c.sql_in("live", "DROP SCHEMA kept CASCADE; DROP SCHEMA was CASCADE");
    let granted = with(&[
        &["--table", "kept.orders", "--role", "postgres=plain"],
        &moment,
    ]);
    role.restored("live", &granted);
    let owned = c.sql_in("live", owner);
    assert!(owned.contains("alice=r*/plain,bob=r/alice"), "{owned}");
    c.sql_in("live", "CREATE SCHEMA shut AUTHORIZATION plain");
    let (status, text) = role.restore("live", &with(&[&granted, &["--into-schema", "shut"]]));
    let words = "this is left out: permission denied for schema shut: GRANT SELECT ON TABLE shut.orders TO bob";
    assert!(status == 1 && text.contains(words), "{text}");
    assert_eq!(c.sql_in("live", "SELECT count(*) FROM shut.orders"), "4");

    // A role that may be a replica.
    c.sql("GRANT SET ON PARAMETER session_replication_role TO plain");
    c.sql_in("live", "DROP SCHEMA kept CASCADE");
    let text = role.restored("live", &with(&[&part, &moment, &OWN]));
    assert!(text.contains("lines to_customers"), "{text}");
    let restored = without_keys(dump(&c, "live", &with(&[&orders, &plain])));
    assert_same(&kept, &restored, "a part, as a replica");
    assert_eq!(c.sql_in("live", keys), "lines_o_fkey true, to_orders true");
    assert_same(
        &mine,
        &dump(&c, "live", &["-t", "mine", "-t", "seen", "-s"]),
        "what was there",
    );
    assert_nothing_left(&c);
}

/// Nothing of a restore is in a database of `--scratch`, nor said of it.
pub fn assert_empty(c: &Cluster, database: &str) {
    let objects = "SELECT count(*) FROM pg_class WHERE relnamespace::regnamespace::text !~ '^(pg_|information_schema)'";
    assert_eq!(c.sql_in(database, objects), "0");
    let others = "SELECT (SELECT count(*) FROM pg_namespace WHERE oid >= 16384 AND nspname !~ '^pg_'), \
        (SELECT count(*) FROM pg_proc WHERE oid >= 16384 AND pronamespace::regnamespace::text !~ '^pg_'), \
        (SELECT count(*) FROM pg_type WHERE oid >= 16384 AND typnamespace::regnamespace::text !~ '^pg_'), \
        shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = current_database()";
    assert_eq!(c.sql_in(database, others), "0|0|0|");
}

#[test]
fn what_a_role_may_not_do_is_said_before_anything_is_made() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE SCHEMA s; CREATE DOMAIN s.d AS int CHECK (VALUE > 0); CREATE TYPE public.state AS ENUM ('a', 'b'); \
         CREATE FUNCTION public.twice(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 * 2'; \
         CREATE AGGREGATE public.total(int) (SFUNC = int4pl, STYPE = int, INITCOND = '0'); \
         CREATE OPERATOR public.#% (FUNCTION = public.twice, RIGHTARG = int); \
         CREATE TABLE s.t (id serial PRIMARY KEY, a s.d, w public.state DEFAULT 'a'); INSERT INTO s.t (a) VALUES (5), (6), (7); \
         CREATE STATISTICS public.st ON a, w FROM s.t; CREATE VIEW public.v AS SELECT public.twice(a) FROM s.t",
    );
    c.flush();
    let xid = c.sql("DELETE FROM s.t WHERE id = 1 RETURNING pg_current_xact_id()");
    c.flush();
    let part = ["--table", "s.t", "--before-xid", &xid, "--no-owner", "-x"];
    c.sql("CREATE ROLE guest LOGIN; CREATE DATABASE live");
    let role = Role {
        c: &c,
        name: "guest",
    };
    let was = with(&[&part, &["--into-schema", "was"]]);
    role.refused(
        "live",
        &was,
        &[
            "may not create one",
            "ALTER ROLE \"guest\" CREATEDB",
            "--scratch",
        ],
    );
    role.refused("nowhere", &was, &["may not create the database"]);

    // A database that somebody else has made for it is used again and again.
    let pad = ["--scratch", "pad"];
    role.refused(
        "live",
        &with(&[&was, &pad]),
        &[
            "may not create the schema \"was\"",
            "GRANT CREATE ON DATABASE live TO \"guest\"",
        ],
    );
    c.sql("GRANT CREATE ON DATABASE live TO guest");
    role.refused(
        "live",
        &with(&[&was, &pad]),
        &["the database \"pad\" of --scratch does not exist"],
    );
    role.refused(
        "live",
        &with(&[&was, &["--scratch", "live"]]),
        &["--scratch names the target database"],
    );
    c.sql("CREATE DATABASE pad TEMPLATE template0");
    role.refused(
        "live",
        &with(&[&was, &pad]),
        &["does not own the database \"pad\""],
    );
    c.sql("ALTER DATABASE pad OWNER TO guest");
    c.sql_in(
        "pad",
        "GRANT ALL ON SCHEMA public TO guest; CREATE TABLE mine (a int)",
    );
    role.refused("live", &with(&[&was, &pad]), &["\"pad\" is not empty"]);
    c.sql_in("pad", "DROP TABLE mine");
    role.refused(
        "live",
        &with(&[&was, &pad]),
        &["may not create anything in the schema \"public\""],
    );
    assert_empty(&c, "pad");
    c.sql_in("live", "CREATE TYPE public.state AS ENUM ('a', 'b')");
    let text = role.restored("live", &with(&[&was, &pad, &["--dry-run"]]));
    assert!(text.contains("table was.t"), "{text}");
    assert_empty(&c, "pad");
    role.restored("live", &with(&[&was, &pad]));
    assert_empty(&c, "pad");
    let rows =
        "SELECT count(*), (SELECT tableowner FROM pg_tables WHERE schemaname = 'was') FROM was.t";
    assert_eq!(c.sql_in("live", rows), "3|guest");
    // One that was killed has left something there, and its mark.
    c.sql(
        "COMMENT ON DATABASE pad IS 'scratch database of pg_incrbackup restore: it can be dropped'",
    );
    c.sql_in("pad", "SET ROLE guest; CREATE SCHEMA s; CREATE TABLE s.t (a int); CREATE FUNCTION f(int) RETURNS int LANGUAGE sql AS 'SELECT 1'");

    // Nothing but a schema. Everything in the source's schemas is restored, to be dropped again.
    c.sql("REVOKE CREATE ON DATABASE live FROM guest");
    c.sql_in(
        "live",
        "DROP SCHEMA was CASCADE; DROP SCHEMA s CASCADE; CREATE SCHEMA box; CREATE SCHEMA s",
    );
    let boxed = with(&[&part, &pad, &["--into-schema", "box"]]);
    role.refused("live", &boxed, &["may not use the schema \"box\""]);
    c.sql_in("live", "GRANT USAGE ON SCHEMA box TO guest");
    role.refused(
        "live",
        &boxed,
        &["may not create anything in the schema \"box\""],
    );
    c.sql_in("live", "GRANT CREATE ON SCHEMA box TO guest");
    // The domain is needed in its own schema.
    role.refused("live", &boxed, &["may not use the schema \"s\""]);
    c.sql_in(
        "live",
        "CREATE DOMAIN s.d AS int; REVOKE USAGE ON TYPE s.d FROM PUBLIC; \
        GRANT USAGE ON SCHEMA s TO guest",
    );
    role.refused(
        "live",
        &boxed,
        &[
            "needs the type s.d of the target",
            "GRANT USAGE ON type s.d TO \"guest\"",
        ],
    );
    c.sql_in("live", "GRANT USAGE ON TYPE s.d TO guest");
    let text = role.restored("live", &boxed);
    assert!(
        text.contains("uses, as it is in the target") && text.contains("type s.d"),
        "{text}"
    );
    assert_eq!(c.sql_in("live", "SELECT sum(a) FROM box.t"), "18");
    assert_empty(&c, "pad");
    let here = with(&[&part, &pad]);
    role.refused(
        "live",
        &here,
        &["may not create anything in the schema \"s\""],
    );

    // Rows alone, into a live table of somebody else.
    c.sql_in(
        "live",
        "CREATE TABLE s.t (id serial PRIMARY KEY, a int CHECK (a > 0), w public.state)",
    );
    let rows = with(&[&here, &["--data-only"]]);
    role.refused(
        "live",
        &rows,
        &["may not insert into \"s\".\"t\"", "GRANT INSERT"],
    );
    c.sql_in("live", "GRANT INSERT (id, a) ON s.t TO guest");
    role.refused("live", &rows, &["may not insert into s.t"]);
    c.sql_in(
        "live",
        "GRANT INSERT ON s.t TO guest; ALTER TABLE s.t ENABLE ROW LEVEL SECURITY",
    );
    role.refused(
        "live",
        &rows,
        &["row-level security of \"s\".\"t\" applies to the role \"guest\""],
    );
    c.sql_in("live", "ALTER TABLE s.t DISABLE ROW LEVEL SECURITY");
    let (status, text) = role.restore("live", &rows);
    assert!(
        status == 1 && text.contains("s.t_id_seq of the target may have to be moved forward"),
        "{text}"
    );
    assert_eq!(
        c.sql_in(
            "live",
            "SELECT count(*), (SELECT last_value FROM s.t_id_seq) FROM s.t"
        ),
        "3|1"
    );
    c.sql_in(
        "live",
        "TRUNCATE s.t; GRANT SELECT, UPDATE ON s.t_id_seq TO guest; \
         CREATE FUNCTION s.skip() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN CASE WHEN NEW.a <> 6 THEN NEW END; END$$; \
         CREATE TRIGGER skip BEFORE INSERT ON s.t FOR EACH ROW EXECUTE FUNCTION s.skip()",
    );
    let (status, text) = role.restore("live", &rows);
    assert!(
        status == 1 && text.contains("2 of 3 rows were inserted into s.t"),
        "{text}"
    );
    assert_eq!(
        c.sql_in(
            "live",
            "SELECT count(*), (SELECT last_value FROM s.t_id_seq) FROM s.t"
        ),
        "2|3"
    );
    c.sql_in("live", "TRUNCATE s.t; DROP TRIGGER skip ON s.t");
    role.restored("live", &rows);
    role.refused(
        "live",
        &with(&[&here, &["--section", "post-data"]]),
        &["does not own \"s\".\"t\""],
    );
    assert_empty(&c, "pad");
}

#[test]
fn what_strangers_have_made_runs_with_no_more_rights() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE ROLE alice; CREATE ROLE mallory LOGIN; CREATE SCHEMA s AUTHORIZATION alice; \
         CREATE FUNCTION s.ok(int) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT $1 > 0'; ALTER FUNCTION s.ok OWNER TO alice; \
         CREATE TABLE s.t (id serial PRIMARY KEY, a int CHECK (s.ok(a))); ALTER TABLE s.t OWNER TO alice; \
         INSERT INTO s.t (a) SELECT generate_series(1, 10)",
    );
    c.flush();
    let xid = c.sql("DELETE FROM s.t WHERE id = 1 RETURNING pg_current_xact_id()");
    c.flush();
    // Whatever runs as a superuser makes mallory one.
    const EVIL: &str = "IF (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN ALTER ROLE mallory SUPERUSER; END IF;";
    let assert_harmless = |what: &str| {
        let is_super = c.sql("SELECT rolsuper FROM pg_roles WHERE rolname = 'mallory'");
        assert_eq!(is_super, "f", "{what}");
    };
    let part = ["--table", "s.t", "--before-xid", &xid];
    let into = with(&[&part, &["--into-schema", "was"]]);
    c.sql("CREATE DATABASE live");
    let super_user = Role {
        c: &c,
        name: "postgres",
    };

    // A superuser's event trigger with a function of mallory's, which fires for whatever anybody makes. (It is there before
    // it is hers.)
    c.sql_in(
        "live",
        &format!(
            "GRANT CREATE ON SCHEMA public TO mallory; \
             CREATE FUNCTION public.watch() RETURNS event_trigger LANGUAGE plpgsql AS $$BEGIN {EVIL} END$$; \
             CREATE EVENT TRIGGER watch ON ddl_command_end EXECUTE FUNCTION public.watch(); \
             SET session_replication_role = replica; ALTER FUNCTION public.watch OWNER TO mallory"
        ),
    );
    super_user.restored("live", &with(&[&into, &["--dry-run"]]));
    super_user.restored("live", &into);
    assert_harmless("an event trigger");
    c.sql_in(
        "live",
        "SET session_replication_role = replica; DROP SCHEMA was CASCADE; DROP SCHEMA s CASCADE",
    );
    let before = ["--section", "pre-data", "--section", "data"];
    super_user.restored("live", &with(&[&into, &before]));
    super_user.restored("live", &with(&[&into, &["--section", "post-data"]]));
    assert_harmless("an event trigger, when tables are there");
    c.sql_in("live", "SET session_replication_role = replica; DROP SCHEMA was CASCADE; DROP SCHEMA s CASCADE; ALTER EVENT TRIGGER watch ENABLE ALWAYS");
    if c.version() < 17 {
        super_user.refused(
            "live",
            &into,
            &["event trigger watch of the target fires", "\"mallory\""],
        );
    } else {
        super_user.restored("live", &into);
        c.sql_in(
            "live",
            "SET event_triggers = off; DROP SCHEMA was CASCADE; DROP SCHEMA s CASCADE",
        );
    }
    assert_harmless("an event trigger that fires always");
    // The owner of the database is no superuser: it only has its own rights, whatever fires.
    c.sql("CREATE ROLE owner LOGIN CREATEDB; ALTER DATABASE live OWNER TO owner");
    let owner = Role {
        c: &c,
        name: "owner",
    };
    owner.restored("live", &with(&[&into, &OWN]));
    assert_harmless("an event trigger, for the owner of the database");
    let attributes =
        "SELECT rolsuper, rolcreaterole, rolbypassrls FROM pg_roles WHERE rolname = 'owner'";
    assert_eq!(c.sql(attributes), "f|f|f");
    c.sql_in("live", "SET session_replication_role = replica; DROP EVENT TRIGGER watch; DROP SCHEMA was CASCADE; DROP SCHEMA s CASCADE");

    // A function that mallory has made first, which the part uses as it is.
    c.sql_in(
        "live",
        &format!(
            "CREATE SCHEMA s; GRANT CREATE, USAGE ON SCHEMA s TO mallory; SET ROLE mallory; \
             CREATE FUNCTION s.ok(int) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$BEGIN {EVIL} RETURN true; END$$"
        ),
    );
    super_user.refused(
        "live",
        &into,
        &[
            "function s.ok(integer), which the part needs, belongs to \"mallory\"",
            "superuser",
        ],
    );
    super_user.refused(
        "live",
        &with(&[&into, &["--dry-run"]]),
        &["belongs to \"mallory\""],
    );
    assert_harmless("a function that is used");
    c.sql_in("live", "GRANT USAGE ON SCHEMA s TO owner");
    owner.restored("live", &with(&[&into, &OWN]));
    assert_harmless("a function that the owner of the database uses");
    // The owner at the source is trusted.
    c.sql_in("live", "DROP SCHEMA was CASCADE; DROP FUNCTION s.ok; CREATE FUNCTION s.ok(int) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT true'; \
        ALTER FUNCTION s.ok OWNER TO alice");
    super_user.restored("live", &into);
    assert_eq!(c.sql_in("live", "SELECT count(*) FROM was.t"), "10");

    // Who owns the schema replaces it between the look and the use: while something holds the restore up.
    c.sql_in(
        "live",
        "DROP SCHEMA was CASCADE; ALTER SCHEMA s OWNER TO mallory",
    );
    let mut locker = c.session_in("live");
    locker.run("BEGIN; CREATE SCHEMA was");
    let (archive, target) = (c.database_directory(), c.conninfo("live"));
    let child = program_command()
        .args(["restore", "--target", &target, "--archive"])
        .arg(archive)
        .args(&into)
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("the program can be run");
    let waits = "SELECT count(*) > 0 FROM pg_stat_activity WHERE application_name = 'pg_incrbackup' AND wait_event_type = 'Lock'";
    wait_until("the restore waits", || c.is_true(waits));
    c.sql_in(
        "live",
        &format!(
            "SET ROLE mallory; DROP FUNCTION s.ok; \
             CREATE FUNCTION s.ok(int) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$BEGIN {EVIL} RETURN true; END$$"
        ),
    );
    locker.run("ROLLBACK");
    let output = child.wait_with_output().expect("it ends");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(
        text.contains("function s.ok(integer), which the part needs, belongs to \"mallory\""),
        "{text}"
    );
    assert_harmless("a function that was replaced meanwhile");
    c.sql_in("live", "ALTER SCHEMA s OWNER TO postgres");

    // Rows into live tables are checked and numbered by PostgreSQL's operators, whatever there is in public.
    c.sql_in(
        "live",
        &format!(
            "CREATE TABLE s.t (id serial PRIMARY KEY, a int); ALTER TABLE s.t OWNER TO alice; SET ROLE mallory; \
             CREATE FUNCTION public.same(oid, regclass) RETURNS boolean LANGUAGE plpgsql AS \
                $$BEGIN {EVIL} RETURN $1 OPERATOR(pg_catalog.=) $2; END$$; \
             CREATE OPERATOR public.= (FUNCTION = public.same, LEFTARG = oid, RIGHTARG = regclass)"
        ),
    );
    let rows = with(&[&part, &["--data-only"]]);
    super_user.restored("live", &rows);
    assert_harmless("an operator");
    assert_eq!(
        c.sql_in(
            "live",
            "SELECT count(*), (SELECT last_value FROM s.t_id_seq) FROM s.t"
        ),
        "10|10"
    );
    // A partition of hers has her triggers, and so has a table.
    let fire = format!(
        "CREATE FUNCTION public.fire() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN {EVIL} RETURN NEW; END$$; \
         ALTER FUNCTION public.fire() OWNER TO mallory"
    );
    c.sql_in("live", &fire);
    c.sql_in(
        "live",
        "ALTER TABLE s.t RENAME TO was; CREATE TABLE s.t (id int, a int) PARTITION BY LIST (a); ALTER TABLE s.t OWNER TO alice; \
         CREATE TABLE s.p PARTITION OF s.t DEFAULT; ALTER TABLE s.p OWNER TO mallory; \
         CREATE TRIGGER fire BEFORE INSERT ON s.p FOR EACH ROW EXECUTE FUNCTION public.fire()",
    );
    let hers = ["table s.t, which gets rows, belongs to \"mallory\""];
    super_user.refused("live", &rows, &hers);
    c.sql_in(
        "live",
        "ALTER TABLE s.p OWNER TO alice; ALTER TABLE s.t OWNER TO mallory",
    );
    super_user.refused("live", &rows, &hers);
    // Who may make a trigger on a table need not be its owner.
    c.sql_in("live", "ALTER TABLE s.t OWNER TO alice");
    let hers = ["function public.fire() of the trigger fire on s.p, belongs to \"mallory\""];
    super_user.refused("live", &rows, &hers);
    assert_harmless("a trigger");
    assert_eq!(c.sql_in("live", "SELECT count(*) FROM s.t"), "0");
    // In a database of hers she can replace what is about to run.
    c.sql("CREATE DATABASE hers OWNER mallory TEMPLATE template0");
    let scratch = with(&[&part, &["--into-schema", "other", "--scratch", "hers"]]);
    super_user.refused(
        "live",
        &scratch,
        &["belongs to a role that is no superuser"],
    );
}

#[test]
fn an_extension_that_only_a_superuser_creates_matters_where_it_is_needed() {
    let c = Cluster::backed_up();
    c.installation().install_extension(
        "marked",
        "CREATE DOMAIN @extschema@.marked AS int CHECK (VALUE > 0); CREATE FUNCTION @extschema@.mark() RETURNS int LANGUAGE sql AS 'SELECT 7';",
    );
    c.sql(
        "CREATE SCHEMA ext; CREATE EXTENSION marked SCHEMA ext; CREATE TABLE needs (a ext.marked DEFAULT ext.mark()); \
         CREATE TABLE plain (a int); INSERT INTO needs VALUES (1), (2); INSERT INTO plain VALUES (1), (2), (3)",
    );
    c.flush();
    c.sql("CREATE ROLE guest LOGIN CREATEDB; CREATE DATABASE live OWNER guest");
    let role = Role {
        c: &c,
        name: "guest",
    };
    role.restored("live", &with(&[&["--table", "plain"], &OWN]));
    assert_eq!(c.sql_in("live", "SELECT count(*) FROM plain"), "3");
    let needs = with(&[&["--table", "needs"], &OWN]);
    role.refused(
        "live",
        &needs,
        &["is needed for public.needs", "ext.marked"],
    );
    // Somebody creates it, in the target and for the way there.
    c.sql("CREATE DATABASE pad OWNER guest TEMPLATE template0");
    let create =
        "CREATE SCHEMA ext; CREATE EXTENSION marked SCHEMA ext; GRANT USAGE ON SCHEMA ext TO guest";
    c.sql_in("pad", create);
    let by_pad = with(&[&needs, &["--scratch", "pad"]]);
    role.refused(
        "live",
        &by_pad,
        &[
            "needs the extension \"marked\"",
            "CREATE EXTENSION \"marked\"",
        ],
    );
    c.sql_in("live", create);
    let text = role.restored("live", &by_pad);
    assert!(text.contains("extension marked"), "{text}");
    assert_eq!(c.sql_in("live", "SELECT sum(a) FROM needs"), "3");
    assert_eq!(
        c.sql_in(
            "pad",
            "SELECT extname FROM pg_extension WHERE extname <> 'plpgsql'"
        ),
        "marked"
    );
    let relations = "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace";
    assert_eq!(c.sql_in("pad", relations), "0");
}

#[test]
fn roles_that_a_part_names_are_made_or_what_they_have_is_left_out() {
    let c = Cluster::builder()
        .encoding("LATIN1")
        .setting("pg_incrbackup.base_format", "'directory'")
        .back_up();
    c.sql(
        "SET client_encoding = UTF8; CREATE ROLE bob; CREATE ROLE unused; CREATE TABLE other (a int); ALTER TABLE other OWNER TO unused; \
         CREATE FUNCTION \"çode\"() RETURNS text LANGUAGE sql AS 'SELECT ''é'''; \
         CREATE TABLE \"été\" (\"é\" int PRIMARY KEY, t text DEFAULT \"çode\"()); GRANT SELECT ON \"été\" TO bob; \
         INSERT INTO \"été\" SELECT g, 'ça' || g FROM generate_series(1, 100) g",
    );
    c.sql("SELECT incr_dump()");
    c.sql(
        "SET client_encoding = UTF8; INSERT INTO \"été\" VALUES (0); ALTER TABLE \"été\" RENAME TO \"hiver\"; \
         ALTER FUNCTION \"çode\" OWNER TO bob; CREATE POLICY p ON hiver TO bob USING (true)",
    );
    c.flush();
    let expected = dump(&c, "app", &["-E", "UTF8", "-O", "-t", "hiver"]);
    let target = Cluster::builder().version(c.version()).start();
    target.sql("CREATE ROLE guest LOGIN CREATEDB; CREATE DATABASE live OWNER guest");
    target.sql_in("live", "GRANT ALL ON SCHEMA public TO guest");
    let left_out = target.root().join("left-out.sql");
    let restore = |options: &[&str]| {
        let conninfo = target
            .conninfo("live")
            .replace("user=postgres", "user=guest");
        program_rights::restore(
            &c,
            &conninfo,
            &left_out,
            &with(&[&["--table", "hiver"], options]),
        )
    };
    // By way of a database of another encoding, too.
    target.sql("CREATE DATABASE pad OWNER guest TEMPLATE template0");
    let (status, text) = restore(&["--scratch", "pad", "--dry-run"]);
    assert!(status == 0 && text.contains("ACL public.TABLE "), "{text}");
    // It may make no roles: whatever names one is left out, and told.
    let (status, text) = restore(&[]);
    assert_eq!(status, 1, "{text}");
    let named = [
        "ACL public.TABLE ",
        "owner function public.",
        "create policy p ON public.hiver",
    ];
    for what in named {
        assert!(text.contains(what), "{what}: {text}");
    }
    assert!(!text.contains("unused"), "{text}");
    let rows = "SET client_encoding = UTF8; SELECT count(*), sum(length(t)) FROM hiver";
    assert_eq!(target.sql_in("live", rows), c.sql(rows));
    assert!(fs::read(&left_out)
        .is_ok_and(|written| written.windows(4).any(|part| part == b"\"\xe9t\xe9")));
    // It may: those that the part needs stay, and the others go again.
    fs::remove_file(&left_out).expect("it was written");
    target.sql_in(
        "live",
        "DROP TABLE hiver; SET client_encoding = UTF8; DROP FUNCTION \"çode\"; GRANT CREATE ON SCHEMA public TO PUBLIC",
    );
    target.sql("ALTER ROLE guest CREATEROLE");
    let (status, text) = restore(&["--role", "postgres=guest"]);
    assert_eq!(status, 0, "{text}");
    assert!(text.contains("which the part needs"), "{text}");
    assert_same(
        &expected,
        &dump(&target, "live", &["-E", "UTF8", "-O", "-t", "hiver"]),
        "with roles",
    );
    let roles = "SET client_encoding = UTF8; SELECT string_agg(rolname, ' ' ORDER BY rolname) FROM pg_roles WHERE oid >= 16384";
    assert_eq!(target.sql(roles), "bob guest");
    let owner = "SET client_encoding = UTF8; SELECT proowner::regrole::text FROM pg_proc WHERE proname = 'çode'";
    assert_eq!(target.sql_in("live", owner).trim_matches('"'), "bob");
    assert_nothing_left(&target);
}

#[test]
fn everything_that_acts_on_rows_comes_as_a_part_beside_other_things() {
    let c = program_rights::with_changes("plain");
    let options = ["--no-owner", "--no-privileges", "--no-large-objects"];
    let options = if c.version() < 16 {
        ["--no-owner", "--no-privileges", "--no-blobs"]
    } else {
        options
    };
    let source = program_rights::dumped(&c, c.database(), &options);
    // Sequences are exact there, and may be further on later.
    let lsn = c.flush();
    let own = with(&[&OWN, &["--until-lsn", &lsn]]);
    c.sql("CREATE ROLE plain LOGIN CREATEDB; CREATE DATABASE live OWNER plain;");
    let role = Role {
        c: &c,
        name: "plain",
    };
    role.restored("live", &with(&[&["--schema", "*"], &own]));
    program_rights::assert_same(&source, &program_rights::dumped(&c, "live", &options));
    // By sections, as far as row security lets its owner.
    let part = [
        "--schema",
        "*",
        "--exclude-table",
        "secret",
        "--exclude-table",
        "of_secret",
        "--exclude-table",
        "hidden",
    ];
    role.restored(
        "by_turns",
        &with(&[&part, &own, &["--section", "pre-data"]]),
    );
    role.restored("by_turns", &with(&[&part, &own, &["--section", "data"]]));
    role.restored(
        "by_turns",
        &with(&[&part, &own, &["--section", "post-data"]]),
    );
    role.restored("at_once", &with(&[&part, &own]));
    program_rights::assert_same(
        &program_rights::dumped(&c, "at_once", &options),
        &program_rights::dumped(&c, "by_turns", &options),
    );
    let (status, text) = role.restore("owned", &["--schema", "*", "--until-lsn", &lsn]);
    assert!(status == 1 && text.contains("--no-owner"), "{text}");
    program_rights::assert_same(&source, &program_rights::dumped(&c, "owned", &options));
    assert_nothing_left(&c);
}
