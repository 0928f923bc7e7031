//! "One table, as it was at 14:29, beside the live one." Parts of a database, into running databases, judged against the
//! source as it was.

use harness::{run, Cluster};

use crate::program_restore::restore;

/// The same, which has to succeed.
pub fn restored(c: &Cluster, database: &str, options: &[&str]) -> String {
    let (status, text) = restore(c, database, options);
    assert_eq!(status, 0, "{options:?}: {text}");
    text
}

/// What pg_dump says of a part, without what is random or a comment; rows have no order.
pub fn dump(c: &Cluster, database: &str, options: &[&str]) -> Vec<String> {
    let mut command = c.installation().command("pg_dump");
    command.args(["--no-unlogged-table-data", "-d"]);
    command.arg(c.conninfo(database)).args(options);
    let text = String::from_utf8_lossy(&run(&mut command).stdout).into_owned();
    let is_said = |line: &&str| {
        let is_noise = ["--", "\\restrict", "\\unrestrict"];
        !line.is_empty() && !is_noise.iter().any(|start| line.starts_with(start))
    };
    let mut lines: Vec<String> = text.lines().filter(is_said).map(str::to_owned).collect();
    lines.sort();
    lines
}

pub fn assert_same(expected: &[String], found: &[String], what: &str) {
    let only = |a: &[String], b: &[String]| {
        let lines = a.iter().filter(|line| !b.contains(line));
        lines.cloned().collect::<Vec<_>>().join("\n")
    };
    assert!(
        expected == found,
        "{what}\nmissing:\n{}\nadded:\n{}",
        only(expected, found),
        only(found, expected)
    );
}

/// No scratch database is left, nor a role that nothing needs.
pub fn assert_nothing_left(c: &Cluster) {
    let left = c.sql("SELECT datname FROM pg_database WHERE datname ~ 'restoring'");
    assert_eq!(left, "");
}

pub const BEFORE_THE_BASE: &str = r#"
    CREATE ROLE alice; CREATE ROLE bob;
    CREATE SCHEMA store;
    CREATE TYPE public.state AS ENUM ('new', 'paid');
    CREATE DOMAIN public.positive AS int CHECK (VALUE > 0);
    CREATE FUNCTION public.code() RETURNS text LANGUAGE sql AS $$SELECT 'c' || 1$$;
    CREATE FUNCTION public.stamp() RETURNS trigger LANGUAGE plpgsql AS
        $$BEGIN NEW.note := coalesce(NEW.note, 'stamped'); RETURN NEW; END$$;
    CREATE TABLE store.purchases (id serial PRIMARY KEY, key bigint GENERATED ALWAYS AS IDENTITY,
        state public.state DEFAULT 'new', amount public.positive CHECK (amount < 1000000), code text DEFAULT public.code(),
        note text, twice int GENERATED ALWAYS AS (amount * 2) STORED, "Odd ""Name. ü" text);
    CREATE INDEX by_code ON store.purchases (lower(code)) WHERE amount > 5;
    CREATE STATISTICS store.st ON amount, code FROM store.purchases;
    CREATE TRIGGER stamp BEFORE INSERT ON store.purchases FOR EACH ROW WHEN (NEW.amount > 2)
        EXECUTE FUNCTION public.stamp();
    ALTER TABLE store.purchases ENABLE ALWAYS TRIGGER stamp;
    CREATE RULE keep AS ON DELETE TO store.purchases WHERE OLD.amount = 1 DO INSTEAD NOTHING;
    ALTER TABLE store.purchases ENABLE ROW LEVEL SECURITY;
    CREATE POLICY mine ON store.purchases TO alice USING (amount > 0);
    COMMENT ON TABLE store.purchases IS 'it''s'; COMMENT ON COLUMN store.purchases.note IS 'a note';
    GRANT SELECT ON store.purchases TO alice; GRANT UPDATE (note) ON store.purchases TO bob;
    CREATE TABLE store.cleared (a int);
    CREATE TABLE public.live (a int PRIMARY KEY, b text);
    CREATE FUNCTION public.quiet() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN NEW; END$$;
    CREATE TRIGGER always BEFORE INSERT ON public.live FOR EACH ROW EXECUTE FUNCTION public.quiet();
    ALTER TABLE public.live ENABLE ALWAYS TRIGGER always;
    INSERT INTO store.purchases (amount, "Odd ""Name. ü") SELECT g, 'ü' || g FROM generate_series(1, 100) g;
    INSERT INTO store.cleared SELECT generate_series(1, 50);
    INSERT INTO public.live SELECT g, 'x' FROM generate_series(1, 1000) g"#;

pub const AFTER_THE_BASE: &str = r#"
    INSERT INTO store.purchases (amount) SELECT g FROM generate_series(200, 260) g;
    ALTER TABLE store.purchases RENAME TO orders;
    ALTER SCHEMA store RENAME TO shop;
    INSERT INTO shop.orders (amount) VALUES (7000);
    UPDATE shop.orders SET state = 'paid' WHERE id % 3 = 0;
    DELETE FROM shop.orders WHERE id % 10 = 0;
    ALTER TABLE shop.orders RENAME COLUMN note TO remark;
    ALTER TABLE shop.orders ADD COLUMN later date DEFAULT '2026-01-01';
    UPDATE shop.orders SET remark = E'tab\tand\nline' WHERE id = 5;
    CREATE TABLE shop."We ird.Ünï ""t""" ("a b" int PRIMARY KEY, ref int REFERENCES shop.orders);
    INSERT INTO shop."We ird.Ünï ""t""" VALUES (1, 1), (2, 2);
    CREATE TABLE shop.log (at int, what text, PRIMARY KEY (at)) PARTITION BY RANGE (at);
    CREATE TABLE shop.log1 PARTITION OF shop.log FOR VALUES FROM (0) TO (10);
    CREATE TABLE shop.log2 PARTITION OF shop.log FOR VALUES FROM (10) TO (20);
    CREATE INDEX ON shop.log (what);
    INSERT INTO shop.log SELECT g, 'w' || g FROM generate_series(0, 19) g;
    CREATE TABLE shop.again (a int); INSERT INTO shop.again VALUES (1), (2); DROP TABLE shop.again;
    CREATE TABLE shop.again (a int, b int); INSERT INTO shop.again VALUES (3, 3);
    TRUNCATE shop.cleared, public.live; INSERT INTO shop.cleared VALUES (77); INSERT INTO public.live VALUES (1, 'y');
    CREATE VIEW shop.paid AS SELECT id, amount FROM shop.orders WHERE state = 'paid';
    CREATE MATERIALIZED VIEW shop.total AS SELECT sum(amount) FROM shop.orders;
    CREATE INDEX ON shop.total (sum)"#;

#[test]
fn a_part_comes_back_as_it_was_and_nothing_live_is_altered() {
    let c = Cluster::backed_up();
    c.sql(BEFORE_THE_BASE);
    c.sql("SELECT incr_dump()");
    c.sql(AFTER_THE_BASE);
    c.flush();
    let whole = dump(&c, "app", &["-n", "shop"]);
    let orders = dump(&c, "app", &["-t", "shop.orders"]);
    let xid =
        c.sql("UPDATE shop.orders SET amount = 7 WHERE id = 1 RETURNING pg_current_xact_id()");
    c.sql("UPDATE shop.orders SET amount = 7; DROP TABLE shop.orders CASCADE; DELETE FROM public.live");
    c.flush();
    let moment = ["--before-xid", &xid];

    // Into a running database with other objects.
    c.sql("CREATE DATABASE other");
    c.sql_in(
        "other",
        "CREATE TABLE public.mine (a int); INSERT INTO mine VALUES (1)",
    );
    let mine = dump(&c, "other", &[]);
    restored(&c, "other", &[&["--schema", "shop"], &moment[..]].concat());
    assert_same(
        &whole,
        &dump(&c, "other", &["-n", "shop"]),
        "beside other objects",
    );
    c.sql_in("other", "DROP SCHEMA shop CASCADE; DROP FUNCTION code, stamp; DROP DOMAIN positive; DROP TYPE state");
    assert_same(&mine, &dump(&c, "other", &[]), "what was there");

    // Into a new one.
    restored(
        &c,
        "fresh",
        &[&["--table", "shop.orders"], &moment[..]].concat(),
    );
    assert_same(
        &orders,
        &dump(&c, "fresh", &["-t", "shop.orders"]),
        "a new database",
    );

    // Beside the live ones, in a schema of its own.
    let live = dump(&c, "app", &["-N", "was"]);
    let beside = [&["--table", "shop.*", "--into-schema", "was"], &moment[..]].concat();
    restored(&c, "app", &beside);
    let back = |line: &String| {
        line.replace("SCHEMA was", "SCHEMA shop")
            .replace("was.", "shop.")
    };
    let mut moved: Vec<String> = dump(&c, "app", &["-n", "was"]).iter().map(back).collect();
    moved.sort();
    assert_same(&whole, &moved, "into a schema");
    assert_same(&live, &dump(&c, "app", &["-N", "was"]), "what is live");
    let (status, text) = restore(&c, "app", &beside);
    assert!(status == 2 && text.contains("has"), "{text}");
    assert_nothing_left(&c);
}
