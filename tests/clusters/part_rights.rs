//! "One table back, and I have no superuser." Parts of a database, by a role that owns the live one, or less.

use std::fs;
use std::path::PathBuf;

use harness::Cluster;

use crate::parts::{assert_nothing_left, assert_same, dump, AFTER_THE_BASE, BEFORE_THE_BASE};
use crate::program_rights;

/// A role on the cluster of the source, and where it restores to.
struct Role<'a> {
    c: &'a Cluster,
    name: &'a str,
}

impl Role<'_> {
    fn left_out(&self) -> PathBuf {
        self.c.root().join(format!("{}.left-out.sql", self.name))
    }

    /// Exit status, and all that the program said.
    fn restore(&self, database: &str, options: &[&str]) -> (i32, String) {
        let user = format!("user={}", self.name);
        let target = self.c.conninfo(database).replace("user=postgres", &user);
        // Of an earlier restore.
        let _ = fs::remove_file(self.left_out());
        program_rights::restore(self.c, &target, &self.left_out(), options)
    }

    /// The same, which has to succeed.
    fn restored(&self, database: &str, options: &[&str]) -> String {
        let (status, text) = self.restore(database, options);
        assert_eq!(status, 0, "{} {options:?}: {text}", self.name);
        text
    }

    /// The same, which has to be refused with these words, and leaves nothing.
    fn refused(&self, database: &str, options: &[&str], words: &[&str]) {
        let (status, text) = self.restore(database, options);
        assert!(status == 1 || status == 2, "{options:?}: {status} {text}");
        for words in words {
            assert!(text.contains(words), "{options:?}: {words}: {text}");
        }
        assert_nothing_left(self.c);
    }
}

/// Of what belongs to whom, such a role restores nothing.
const OWN: [&str; 2] = ["--no-owner", "--no-privileges"];

fn with<'o>(lists: &[&[&'o str]]) -> Vec<&'o str> {
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
    assert_same(
        &mine,
        &dump(&c, "live", &["-t", "mine", "-t", "seen", "-s"]),
        "what was there",
    );
    assert_nothing_left(&c);
}
