//! "That transaction should never have been." `undo` takes it back, where nobody has gone on from it.

use std::path::Path;

use harness::{skipped_in_part, Cluster};

use crate::show::{asked, transaction};

/// Every row of every table in public, as text.
fn state(c: &Cluster) -> String {
    let tables = c.sql(
        "SELECT string_agg(format('SELECT %L || t::text FROM ONLY public.%I t', relname || ' ', relname), ' UNION ALL ' ORDER BY relname) \
         FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'",
    );
    c.sql(&format!(
        "SELECT * FROM ({tables}) AS rows (row) ORDER BY 1"
    ))
}

/// Takes back in the database itself: exit status, what is said.
fn undo(c: &Cluster, options: &[&str]) -> (i32, String) {
    let conninfo = c.conninfo(c.database());
    let to = ["--target", &conninfo];
    let (status, out, error) = asked(&c.database_directory(), "undo", &[options, &to].concat());
    (status, format!("{out}{error}"))
}

fn refused(archive: &Path, options: &[&str], status: i32, message: &str) {
    let (found, out, error) = asked(archive, "undo", options);
    assert_eq!((found, out.as_str()), (status, ""), "{options:?}: {error}");
    assert!(error.contains(message), "{options:?}: {error}");
}

#[test]
fn a_transaction_is_taken_back_whatever_its_values_are() {
    let c = Cluster::backed_up();
    let fold =
        "CREATE COLLATION fold (provider = icu, locale = 'und-u-ks-level2', deterministic = false)";
    if c.try_sql(fold).is_err() {
        skipped_in_part("nondeterministic collations: built without ICU");
        c.sql("CREATE COLLATION fold (locale = 'C')");
    }
    let has_xml = c.try_sql("SELECT '<a/>'::xml").is_ok();
    if !has_xml {
        skipped_in_part("type xml: built without XML");
    }
    let xml = if has_xml { "xml" } else { "text" };
    c.sql(&format!(
        "CREATE TYPE pair AS (a int, b text); CREATE TYPE mood AS ENUM ('so', 'la la'); CREATE DOMAIN code AS text CHECK (VALUE <> 'no'); \
         CREATE TABLE types (id int PRIMARY KEY, n numeric, f float8, t text, ci text COLLATE fold, c char(5), j json, jb jsonb, \
           p point, x {xml}, b bytea, a text[], e mood, d code, r pair, ts timestamptz, i interval, bits bit(4), m money, nul int, \
           big text, sum numeric GENERATED ALWAYS AS (n + 1) STORED); \
         ALTER TABLE types ALTER big SET STORAGE EXTERNAL; \
         CREATE TABLE \"Odd \"\"Name\" (\"select\" int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, \"a b\" text); \
         CREATE TABLE nokey (a int, j json); \
         CREATE TABLE parent (id int PRIMARY KEY); CREATE TABLE child (id int PRIMARY KEY, parent int REFERENCES parent); \
         CREATE TABLE parts (id int PRIMARY KEY, t text) PARTITION BY RANGE (id); \
         CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (10); \
         CREATE TABLE parts_2 PARTITION OF parts FOR VALUES FROM (10) TO (20)"
    ));
    c.sql(
        "INSERT INTO types SELECT g, 1.50 * g, 0.1 * g, E'it''s \\\\ \\n' || g, 'Ab', 'x', '{\"a\":  1}', '{\"a\": 1}', '(1,2)', '<a/>', \
           '\\x00ff', '{a,NULL,\"b c\"}', 'la la', 'yes', ROW(1, NULL)::pair, '2026-01-01 12:00+02', '-1 day 2 hours', B'0101', '1.5', NULL, \
           repeat(md5(g::text), 200) FROM generate_series(1, 6) g; \
         INSERT INTO \"Odd \"\"Name\" (\"a b\") VALUES ('one'), ('two'); \
         INSERT INTO nokey VALUES (1, '[1]'), (1, '[1]'), (2, NULL); \
         INSERT INTO parent VALUES (1), (2); INSERT INTO child VALUES (1, 1), (2, 2); \
         INSERT INTO parts VALUES (1, 'one'), (11, 'eleven')",
    );
    c.sql("SELECT incr_dump()");
    let before = state(&c);
    let xid = transaction(
        &c,
        "UPDATE types SET n = 1.5, f = 'NaN', t = '', ci = 'aB', c = 'y', j = '{\"a\": 1}', jb = NULL, p = '(3,4)', x = '<b/>', b = '', \
           a = '{}', e = 'so', d = NULL, r = ROW(NULL, NULL)::pair, ts = 'infinity', i = '1 mon', bits = B'1111', m = '-2', nul = 0 WHERE id = 1; \
         UPDATE types SET f = '-0' WHERE id = 2; DELETE FROM types WHERE id = 3; UPDATE types SET id = 40 WHERE id = 4; \
         INSERT INTO types (id, t, f) VALUES (5000, NULL, '-Infinity'); UPDATE types SET t = 'again' WHERE id = 5000; \
         DELETE FROM types WHERE id = 5; INSERT INTO types (id, t) VALUES (5, 'another'); \
         UPDATE \"Odd \"\"Name\" SET \"a b\" = 'x'; DELETE FROM \"Odd \"\"Name\" WHERE \"select\" = 2; \
         DELETE FROM nokey WHERE ctid = (SELECT min(ctid) FROM nokey); UPDATE nokey SET j = '{}' WHERE a = 2; INSERT INTO nokey VALUES (1, '[1]'), (3, NULL); \
         DELETE FROM child; DELETE FROM parent WHERE id = 1; INSERT INTO parent VALUES (3); INSERT INTO child VALUES (3, 3); \
         UPDATE parts SET id = 12 WHERE id = 1; UPDATE parts SET t = 'x' WHERE id = 11",
    );
    c.flush();
    let after = state(&c);
    assert_ne!(before, after);

    // Tried only.
    let (status, said) = undo(&c, &["--xid", &xid]);
    assert_eq!(status, 0, "{said}");
    assert!(said.contains("tried, and rolled back"), "{said}");
    assert_eq!(state(&c), after);

    // As SQL, by psql.
    let archive = &c.database_directory();
    let (status, script, error) = asked(archive, "undo", &["--xid", &xid]);
    assert_eq!(status, 0, "{error}");
    let by_psql = format!(
        "BEGIN;\n{}ROLLBACK;\n",
        script
            .replace("\nBEGIN;\n", "\n")
            .replace("\nCOMMIT;\n", "\n")
    );
    let both = format!(
        "{}SELECT 'state', count(*) FROM types WHERE j::text = '{{\"a\":  1}}';\nROLLBACK;\n",
        by_psql.trim_end_matches("ROLLBACK;\n")
    );
    let output = c.psql_bytes(c.database(), both.as_bytes());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.success() && !said.contains("WARNING"),
        "{said}"
    );
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(shown.contains("state|6"), "{shown}");
    assert_eq!(state(&c), after);

    // And done.
    let (status, said) = undo(&c, &["--xid", &xid, "--apply"]);
    assert_eq!(status, 0, "{said}");
    assert_eq!(state(&c), before, "{said}");
    assert!(said.contains("public.types: 2 inserted again"), "{said}");

    // A second time there is nothing to take back, and nothing is overwritten.
    let (status, said) = undo(&c, &["--xid", &xid, "--apply"]);
    assert_eq!(status, 1, "{said}");
    assert_eq!(state(&c), before, "{said}");

    // By the server that has the archive.
    let from = c.conninfo(c.database());
    let output = harness::program(&["undo", "--from", &from, "--xid", &xid, "--target", &from]);
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn what_others_have_changed_since_is_left_alone() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE TABLE orders (id int PRIMARY KEY, item text, amount int); \
         INSERT INTO orders SELECT g, 'item ' || g, g FROM generate_series(1, 200) g; \
         CREATE TABLE parent (id int PRIMARY KEY); CREATE TABLE child (id int PRIMARY KEY, parent int REFERENCES parent ON DELETE CASCADE); \
         INSERT INTO parent VALUES (1), (2); INSERT INTO child VALUES (1, 1), (2, 2); \
         CREATE TABLE log (what text); \
         CREATE FUNCTION noted() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN INSERT INTO log VALUES (TG_OP || ' ' || coalesce(NEW.id, OLD.id)); RETURN coalesce(NEW, OLD); END$$; \
         CREATE TRIGGER noted BEFORE INSERT OR UPDATE OR DELETE ON orders FOR EACH ROW EXECUTE FUNCTION noted()",
    );
    c.sql("SELECT incr_dump()");
    let xid = transaction(
        &c,
        "UPDATE orders SET amount = 0 WHERE id <= 4; DELETE FROM orders WHERE id IN (5, 6); INSERT INTO orders VALUES (300, 'new', 1), (301, 'new', 1); \
         DELETE FROM child WHERE id = 2",
    );
    let later = transaction(&c, "UPDATE orders SET amount = 7 WHERE id = 2; UPDATE orders SET item = 'other column' WHERE id = 3");
    c.sql("INSERT INTO orders VALUES (5, 'back', 5); UPDATE orders SET item = 'not new' WHERE id = 301; DELETE FROM orders WHERE id = 4; DELETE FROM parent WHERE id = 2");
    c.flush();
    c.sql("TRUNCATE log");
    let before = state(&c);
    // What the trigger has written is of the transaction, too.
    let of_both = ["--xid", &xid, "--table", "orders", "--table", "child"];

    let (status, said) = undo(&c, &["--xid", &xid, "--apply", "--strict"]);
    assert_eq!(status, 1, "{said}");
    assert!(
        said.contains("nothing was taken back, because of --strict"),
        "{said}"
    );
    assert_eq!(state(&c), before);

    let (status, said) = undo(&c, &[&of_both[..], &["--apply"]].concat());
    assert_eq!(status, 1, "{said}");
    for part in [
        "public.orders has triggers, which fire",
        &format!("public.orders id=2 is not as the UPDATE of transaction {xid} has left it: transaction {later} of 20"),
        "public.orders id=4 is not as the UPDATE",
        "public.orders id=5: duplicate key",
        "public.orders id=301 is not as the INSERT",
        "public.child id=2: ",
        "public.orders: 1 inserted again, 2 changed back, 1 deleted again",
    ] {
        assert!(said.contains(part), "{part}\n{said}");
    }
    assert_eq!(said.matches("left as it is: ").count(), 5, "{said}");
    let rows = c.sql("SELECT id, item, amount FROM orders WHERE id < 8 OR id >= 300 ORDER BY id");
    assert_eq!(
        rows,
        "1|item 1|1\n2|item 2|7\n3|other column|3\n5|back|5\n6|item 6|6\n7|item 7|7\n301|not new|1"
    );
    // It was done as any client does it.
    assert_eq!(
        c.sql("SELECT count(*) FROM log WHERE what = 'DELETE 300'"),
        "1"
    );

    // A table's changes of a stretch; a role that may only change rows; without triggers.
    c.sql("CREATE ROLE clerk LOGIN; GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO clerk");
    c.sql("SELECT incr_mark('stretch')");
    let orders = c.sql("SELECT * FROM orders ORDER BY id");
    c.sql("UPDATE orders SET item = 'a' WHERE id > 100; UPDATE orders SET item = item || 'b' WHERE id > 150");
    c.sql("DELETE FROM orders WHERE id < 50; INSERT INTO orders VALUES (50000, 'x', 1); INSERT INTO child VALUES (77, 1)");
    c.flush();
    let clerk = format!("{} user=clerk", c.conninfo(c.database()));
    let archive = &c.database_directory();
    let stretch = [
        "--table",
        "orders",
        "--since-mark",
        "stretch",
        "--apply",
        "--target",
        &clerk,
    ];
    let (status, out, error) = asked(archive, "undo", &stretch);
    assert_eq!(status, 0, "{out}{error}");
    assert_eq!(c.sql("SELECT * FROM orders ORDER BY id"), orders);
    assert_eq!(c.sql("SELECT count(*) FROM child WHERE id = 77"), "1");
    c.sql("TRUNCATE log; SELECT incr_mark('quiet'); UPDATE orders SET amount = 1 WHERE id = 7; TRUNCATE log");
    c.flush();
    let (status, said) = undo(
        &c,
        &[
            "--table",
            "orders",
            "--since-mark",
            "quiet",
            "--apply",
            "--no-triggers",
        ],
    );
    assert_eq!(status, 0, "{said}");
    assert_eq!(c.sql("SELECT count(*) FROM log"), "0");
    assert_eq!(c.sql("SELECT * FROM orders ORDER BY id"), orders);

    refusals(&c, archive);
}

fn refusals(c: &Cluster, archive: &Path) {
    let made = transaction(
        c,
        "CREATE TABLE later (id int PRIMARY KEY, t text); INSERT INTO later VALUES (1, 'a')",
    );
    let filled = transaction(c, "INSERT INTO later VALUES (2, 'b')");
    let truncated = transaction(c, "TRUNCATE child");
    let nothing = transaction(c, "SELECT incr_mark('nothing')");
    c.flush();
    let conninfo = c.conninfo(c.database());
    refused(
        archive,
        &["--xid", &made],
        1,
        "has changed the schema (CREATE TABLE public.later)",
    );
    refused(
        archive,
        &["--xid", &truncated],
        1,
        "has truncated public.child",
    );
    refused(archive, &["--xid", "1"], 3, "transaction 1 is not in");
    refused(
        archive,
        &["--table", "orders"],
        2,
        "--table alone would take back all",
    );
    refused(archive, &[], 2, "required");
    let (status, out, _) = asked(archive, "undo", &["--xid", &nothing]);
    assert_eq!(
        (status, out.trim()),
        (0, "there are no changes of rows to take back")
    );
    // Another database has another table of this name, or none.
    c.sql_in("postgres", "CREATE DATABASE other");
    let other = c.conninfo("other");
    refused(
        archive,
        &["--xid", &filled, "--target", &other],
        1,
        "the target has no table public.later",
    );
    c.sql_in("other", "CREATE TABLE later (id int PRIMARY KEY, t int)");
    refused(
        archive,
        &["--xid", &filled, "--target", &other],
        1,
        "column t of public.later has another type",
    );
    // What has become of the table since.
    for (change, message) in [
        (
            "ALTER TABLE later RENAME t TO u",
            "column t of public.later was renamed later",
        ),
        (
            "ALTER TABLE later DROP u",
            "column t of public.later was dropped later",
        ),
        (
            "ALTER TABLE later RENAME TO anew",
            "public.later is called public.anew by now",
        ),
        ("DROP TABLE anew", "public.later was dropped later"),
    ] {
        c.sql(change);
        c.flush();
        refused(
            archive,
            &["--xid", &filled, "--target", &conninfo, "--apply"],
            1,
            message,
        );
    }
}

/// The same without the history of schema changes.
fn rows(c: &Cluster) -> Vec<String> {
    let all = state(c);
    let rows = all.lines().filter(|row| !row.starts_with("ddl_history "));
    rows.map(str::to_owned).collect()
}

/// The script, run by psql: what it warns of.
fn by_psql(c: &Cluster, xid: &str) -> String {
    let (status, script, error) = asked(&c.database_directory(), "undo", &["--xid", xid]);
    assert_eq!(status, 0, "{error}");
    let output = c.psql_bytes(c.database(), script.as_bytes());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    said
}

#[test]
fn nothing_is_lost_and_nothing_is_done_by_half() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE TABLE parent (id int PRIMARY KEY, t text); CREATE TABLE child (id int PRIMARY KEY, parent int REFERENCES parent ON DELETE CASCADE ON UPDATE CASCADE); \
         CREATE TABLE loose (id int PRIMARY KEY, parent int REFERENCES parent ON DELETE SET NULL); \
         CREATE TABLE grown (id int PRIMARY KEY); \
         CREATE TABLE regions (id int, region text, v int, PRIMARY KEY (id, region)) PARTITION BY LIST (region); \
         CREATE TABLE north PARTITION OF regions FOR VALUES IN ('north'); CREATE TABLE south PARTITION OF regions FOR VALUES IN ('south'); \
         CREATE TABLE reused (id int PRIMARY KEY, v text); \
         CREATE TABLE stamped (id int PRIMARY KEY, v int, at timestamptz); \
         CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN NEW.at := clock_timestamp(); RETURN NEW; END$$; \
         CREATE TRIGGER stamp BEFORE UPDATE ON stamped FOR EACH ROW EXECUTE FUNCTION stamp(); \
         CREATE TABLE lazy (id int PRIMARY KEY, v int UNIQUE DEFERRABLE INITIALLY DEFERRED); \
         CREATE TABLE plain (a int)",
    );
    c.sql(
        "INSERT INTO parent VALUES (10, 'x'), (20, 'x'); INSERT INTO child VALUES (10, 10), (11, 10); INSERT INTO loose VALUES (10, 10); \
         INSERT INTO regions VALUES (1, 'north', 1), (2, 'north', 2); INSERT INTO reused VALUES (1, 'a'); INSERT INTO stamped VALUES (1, 1, NULL); \
         INSERT INTO lazy VALUES (1, 1), (2, 2); INSERT INTO plain VALUES (1), (1), (1)",
    );
    c.sql("SELECT incr_dump()");
    let before = rows(&c);

    // What an action of a foreign key has done is taken back with its cause, whichever comes first.
    let cascaded = transaction(&c, "DELETE FROM parent WHERE id = 10");
    let twice = transaction(
        &c,
        "UPDATE stamped SET v = 2; UPDATE stamped SET v = 3; INSERT INTO grown VALUES (7); DELETE FROM grown",
    );
    let deleted = transaction(
        &c,
        "DELETE FROM lazy WHERE id = 1; UPDATE lazy SET v = 1 WHERE id = 2",
    );
    let keyless = transaction(
        &c,
        "DELETE FROM plain WHERE ctid = (SELECT min(ctid) FROM plain)",
    );
    c.flush();
    let after = rows(&c);
    for xid in [&cascaded, &twice, &deleted, &keyless] {
        let said = by_psql(&c, xid);
        assert!(!said.contains("WARNING"), "{said}");
    }
    // The trigger's stamp stays, as for any client.
    c.sql("ALTER TABLE stamped DISABLE TRIGGER stamp; UPDATE stamped SET at = NULL; ALTER TABLE stamped ENABLE TRIGGER stamp");
    assert_eq!(rows(&c), before);
    c.flush();
    let (status, said) = undo(&c, &["--xid", &keyless, "--apply"]);
    assert_eq!(status, 1, "{said}");
    assert!(said.contains("has inserted one like it later"), "{said}");
    assert_eq!(rows(&c), before);
    assert_ne!(after, before);

    // Rows that refer to an inserted one are somebody else's.
    let parents = transaction(&c, "INSERT INTO parent VALUES (1, 'a'), (2, 'b'), (3, 'c')");
    let grown = transaction(&c, "INSERT INTO grown VALUES (1), (2)");
    let moved = transaction(&c, "UPDATE regions SET region = 'south', v = 0");
    let reused = transaction(&c, "UPDATE reused SET v = 'b'");
    c.sql("INSERT INTO child VALUES (1, 1); INSERT INTO loose VALUES (2, 2)");
    c.sql("ALTER TABLE grown ADD note text; UPDATE grown SET note = 'precious' WHERE id = 1");
    c.sql("UPDATE regions SET v = 5 WHERE id = 1");
    c.sql("DELETE FROM reused; INSERT INTO reused VALUES (1, 'b')");
    c.flush();
    c.sql("BEGIN; CREATE TABLE kept AS SELECT 1; COMMIT");
    let others = [
        (
            &parents,
            vec![
                "public.parent id=1: rows of child refer to it",
                "public.parent id=2: rows of loose refer to it",
            ],
        ),
        (&grown, vec!["public.grown id=1 is not as the INSERT"]),
        (&moved, vec!["public.south id=1 is not as the INSERT"]),
        (&reused, vec!["public.reused id=1 is not as the UPDATE"]),
    ];
    let now = rows(&c);
    for (xid, conflicts) in &others {
        let (status, said) = undo(&c, &["--xid", xid]);
        assert_eq!(status, 1, "{said}");
        for conflict in conflicts {
            assert!(said.contains(conflict), "{conflict}\n{said}");
        }
        assert_eq!(
            said.matches("left as it is").count(),
            conflicts.len(),
            "{said}"
        );
    }
    assert_eq!(rows(&c), now);
    for (xid, conflicts) in &others {
        let said = by_psql(&c, xid);
        assert_eq!(said.matches("WARNING").count(), conflicts.len(), "{said}");
    }
    assert_eq!(
        c.sql("SELECT string_agg(id::text, ',' ORDER BY id) FROM parent"),
        "1,2,10,20"
    );
    assert_eq!(c.sql("SELECT parent FROM loose WHERE id = 2"), "2");
    assert_eq!(c.sql("SELECT parent FROM child WHERE id = 1"), "1");
    assert_eq!(c.sql("SELECT * FROM grown"), "1|precious");
    assert_eq!(
        c.sql("SELECT * FROM regions ORDER BY id"),
        "1|south|5\n2|north|2"
    );
    assert_eq!(c.sql("SELECT * FROM reused"), "1|b");

    // A column that the files do not know, and a key that is none any more.
    let keyed = transaction(&c, "UPDATE reused SET v = 'c'");
    c.flush();
    c.sql("ALTER TABLE reused DROP CONSTRAINT reused_pkey; INSERT INTO reused VALUES (1, 'c')");
    let (status, said) = undo(&c, &["--xid", &keyed, "--apply"]);
    assert_eq!(status, 1, "{said}");
    assert!(said.contains("is several rows"), "{said}");
    let script = asked(&c.database_directory(), "undo", &["--xid", &keyed]).1;
    assert!(!c
        .psql_bytes(c.database(), script.as_bytes())
        .status
        .success());
    assert_eq!(c.sql("SELECT count(*) FROM reused WHERE v = 'c'"), "2");
}

/// A small generator: the same numbers in each run of a seed.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) % end
    }

    fn statement(&mut self) -> String {
        let (id, value) = (self.below(30), self.below(5));
        match self.below(9) {
            0 | 1 => format!("INSERT INTO keyed VALUES ({id}, 'v{value}', {value}) ON CONFLICT DO NOTHING"),
            2 => format!("UPDATE keyed SET v = 'w{value}', n = n + 1 WHERE id = {id}"),
            3 => format!("UPDATE keyed SET id = id + 100 WHERE id = {id} AND NOT EXISTS (SELECT FROM keyed WHERE id = {id} + 100)"),
            4 => format!("DELETE FROM keyed WHERE id = {id}"),
            5 => format!("UPDATE keyed SET n = NULL WHERE id % 7 = {value}"),
            6 => format!("INSERT INTO plain VALUES ({value}, '[{id}]'), ({value}, NULL)"),
            7 => format!("UPDATE plain SET j = '{{\"a\": {id}}}' WHERE a = {value}"),
            _ => format!("DELETE FROM plain WHERE ctid IN (SELECT ctid FROM plain WHERE a = {value} LIMIT 2)"),
        }
    }
}

#[test]
fn random_transactions_are_taken_back_to_the_state_before() {
    let seed = 0x5eed_0017;
    let mut random = Random(seed);
    let c = Cluster::backed_up();
    c.sql(
        "CREATE TABLE keyed (id int PRIMARY KEY, v text, n numeric); CREATE TABLE plain (a int, j json); \
         INSERT INTO keyed SELECT g, 'v', g FROM generate_series(1, 20) g; INSERT INTO plain SELECT g % 5, '[]' FROM generate_series(1, 20) g",
    );
    c.sql("SELECT incr_dump()");
    for round in 0..6 {
        for _ in 0..random.below(4) {
            c.sql(&random.statement());
        }
        let before = state(&c);
        let mut options: Vec<String> = Vec::new();
        for _ in 0..1 + random.below(6) {
            let count = 1 + random.below(6);
            let statements: Vec<String> = (0..count).map(|_| random.statement()).collect();
            let xid = transaction(&c, &statements.join("; "));
            options.extend(["--xid".to_owned(), xid]);
        }
        c.flush();
        // Those that changed nothing are not in the files.
        let (_, shown, _) = asked(&c.database_directory(), "show", &["--rows-only"]);
        let is_there = |xid: &String| shown.contains(&format!("-- transaction {xid} "));
        let mut xids: Vec<&String> = options.iter().filter(|option| is_there(option)).collect();
        xids.dedup();
        if xids.is_empty() {
            continue;
        }
        let options: Vec<&str> = xids
            .iter()
            .flat_map(|xid| ["--xid", xid.as_str()])
            .collect();
        let (status, said) = undo(&c, &[&options[..], &["--apply", "--strict"]].concat());
        assert_eq!(status, 0, "seed {seed:#x}, round {round}: {said}");
        assert_eq!(state(&c), before, "seed {seed:#x}, round {round}");
    }
}
