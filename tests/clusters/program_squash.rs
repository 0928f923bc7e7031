//! "It replays fifty updates of each row, one after the other." With `--squash` only what came of them is applied, and the
//! restored database is the same.

use std::fmt::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use fastrand::Rng;
use harness::{assert_identical, program_command, run, Cluster};

use crate::program_restore::{restore, run_restore};
use crate::type_values::{prepare, Type};

/// Restores what is there, with the net effect; the same as what is there.
fn assert_squashes(c: &Cluster) {
    c.flush();
    let restored = c.restore(&["--squash"]);
    assert!(
        restored.output.contains("\nsquashed "),
        "{}",
        restored.output
    );
    assert_identical((c, c.database()), (c, &restored.database));
}

/// Tables of each kind, in the base.
const TABLES: &str = "
    CREATE TABLE plain (id int PRIMARY KEY, a text, b numeric(8,2), c timestamptz);
    INSERT INTO plain SELECT i, 'base', i, now() FROM generate_series(1, 300) i;
    CREATE TABLE swap (id int PRIMARY KEY, u int UNIQUE, w int, d int UNIQUE DEFERRABLE INITIALLY DEFERRED, x text);
    INSERT INTO swap SELECT i, i, i, i, 'base' FROM generate_series(1, 200) i;
    CREATE UNIQUE INDEX ON swap ((w + 1)) WHERE w > 0;
    CREATE TABLE toast (id int PRIMARY KEY, n int, long text, other text, u int UNIQUE);
    ALTER TABLE toast ALTER long SET STORAGE EXTERNAL, ALTER other SET STORAGE EXTERNAL;
    INSERT INTO toast SELECT i, 0, repeat(md5(i::text), 400), repeat(md5((-i)::text), 300), i FROM generate_series(1, 40) i;
    CREATE TABLE toast_alone (LIKE toast INCLUDING ALL EXCLUDING INDEXES, PRIMARY KEY (id));
    INSERT INTO toast_alone SELECT * FROM toast;
    CREATE TABLE parts (id int, p int, v text, PRIMARY KEY (id, p)) PARTITION BY LIST (p);
    CREATE TABLE part_1 PARTITION OF parts FOR VALUES IN (1); CREATE TABLE part_2 PARTITION OF parts FOR VALUES IN (2);
    INSERT INTO parts SELECT i, 1, 'base' FROM generate_series(1, 100) i;
    CREATE TABLE keyless (a int, b text); INSERT INTO keyless SELECT i % 5, 'base' FROM generate_series(1, 100) i;
    CREATE TABLE whole (id int PRIMARY KEY, a text, b text); ALTER TABLE whole REPLICA IDENTITY FULL;
    INSERT INTO whole SELECT i, 'base', repeat(md5(i::text), 200) FROM generate_series(1, 100) i;
    CREATE TABLE booked (id int PRIMARY KEY, during int4range, EXCLUDE USING gist (during WITH &&));
    INSERT INTO booked SELECT i, int4range(i * 10, i * 10 + 10) FROM generate_series(1, 100) i;
    CREATE TABLE made (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, a int, s int GENERATED ALWAYS AS (a * 2) STORED);
    INSERT INTO made (a) SELECT i FROM generate_series(1, 100) i;
    CREATE TABLE pair (\"Odd \"\"name\" text, second int, v int, PRIMARY KEY (second, \"Odd \"\"name\"));
    INSERT INTO pair SELECT E'a\\tb\\\\\\n' || i, i % 3, 0 FROM generate_series(1, 100) i;
    CREATE TABLE parent (id int PRIMARY KEY, v int); CREATE TABLE child (PRIMARY KEY (id)) INHERITS (parent);
    INSERT INTO parent SELECT i, 0 FROM generate_series(1, 100) i; INSERT INTO child SELECT i, 0 FROM generate_series(1, 100) i;
    CREATE DOMAIN filled AS varchar(20) NOT NULL CHECK (VALUE <> ''); CREATE DOMAIN above AS filled CHECK (VALUE <> 'x');
    CREATE TABLE of_domain (id above PRIMARY KEY, a filled, b above, n int UNIQUE, long text);
    ALTER TABLE of_domain ALTER long SET STORAGE EXTERNAL;
    INSERT INTO of_domain SELECT 'key ' || i, 'a', 'b', i, repeat(md5(i::text), 200) FROM generate_series(1, 100) i;
    CREATE TABLE refers (id int PRIMARY KEY REFERENCES plain ON DELETE CASCADE ON UPDATE CASCADE, v int);
    INSERT INTO refers SELECT i, 0 FROM generate_series(1, 100) i;
    CREATE TABLE decimals (id numeric PRIMARY KEY, v int); INSERT INTO decimals SELECT i, 0 FROM generate_series(1, 100) i;
    CREATE TABLE emptied (id int PRIMARY KEY, v int); INSERT INTO emptied SELECT i, 0 FROM generate_series(1, 100) i";

/// Each is a transaction; all are done again and again.
const CHANGES: &[&str] = &[
    "UPDATE plain SET a = a || '.', b = b + 1, c = NULL WHERE id % 3 = 0",
    "UPDATE plain SET c = now(), a = NULL WHERE id % 7 = 0",
    "DELETE FROM plain WHERE id BETWEEN 120 AND 140; INSERT INTO plain SELECT i, 'again', i, NULL FROM generate_series(120, 139) i ON CONFLICT DO NOTHING",
    "INSERT INTO plain VALUES (1000, 'comes'); UPDATE plain SET a = 'goes' WHERE id = 1000; DELETE FROM plain WHERE id = 1000",
    "INSERT INTO plain VALUES (140, 'back', 1, now()) ON CONFLICT DO NOTHING",
    // A cycle and chains of unique values; deferred, they change places in one statement.
    "UPDATE swap SET u = -u; UPDATE swap SET u = (-u) % 200 + 1",
    "UPDATE swap SET d = d % 200 + 1",
    "UPDATE swap SET w = -w; UPDATE swap SET w = -w % 250 + 1",
    "UPDATE swap SET w = -w; UPDATE swap SET w = id",
    "UPDATE swap SET id = id + 10000 WHERE id % 2 = 0; UPDATE swap SET id = 10202 - id WHERE id > 10000",
    "UPDATE toast SET n = n + 1; UPDATE toast SET u = -u WHERE id % 2 = 0",
    "UPDATE toast SET other = repeat(md5(n::text), 300) WHERE id % 5 = 0",
    "UPDATE toast SET id = id + 1000 WHERE id % 4 = 0 AND id < 1000",
    "UPDATE toast_alone SET n = n + 1; UPDATE toast_alone SET long = repeat(md5(n::text), 350) WHERE id % 9 = 0",
    "UPDATE parts SET p = 3 - p, v = v || p WHERE id % 2 = 0; UPDATE parts SET v = 'same'",
    "UPDATE keyless SET b = b || a WHERE a < 3; DELETE FROM keyless WHERE ctid = (SELECT min(ctid) FROM keyless)",
    "UPDATE whole SET a = a || '.' WHERE id % 2 = 0; DELETE FROM whole WHERE id = (SELECT max(id) FROM whole)",
    "UPDATE booked SET during = int4range(lower(during) + 100000, upper(during) + 100000);
     UPDATE booked SET during = int4range((id % 100 + 1) * 10, (id % 100 + 1) * 10 + 10)",
    "UPDATE made SET a = a + 1; DELETE FROM made WHERE id = (SELECT min(id) FROM made); INSERT INTO made (a) VALUES (5)",
    "UPDATE made SET id = DEFAULT WHERE id = (SELECT min(id) FROM made)",
    "UPDATE pair SET v = v + 1; UPDATE pair SET second = second + 1 WHERE v % 3 = 0",
    "UPDATE parent SET v = v + 1; UPDATE ONLY parent SET id = id + 5000 WHERE id BETWEEN 10 AND 20",
    "UPDATE of_domain SET a = 'a' || n WHERE n % 2 = 0; UPDATE of_domain SET n = -n",
    "UPDATE of_domain SET id = id || '!', long = NULL WHERE n % 50 = 0 AND length(id) < 15",
    "UPDATE refers SET v = v + 1; DELETE FROM plain WHERE id = (SELECT max(id) FROM refers)",
    "UPDATE decimals SET id = id + 0.00, v = v + 1; UPDATE decimals SET id = trim_scale(id) WHERE v % 2 = 0",
    "UPDATE emptied SET v = v + 1",
];

/// Rounds of changes, in a random order, each round as fifty-odd transactions.
fn change(c: &Cluster, rounds: u32, seed: u64) {
    let mut dice = Rng::with_seed(seed);
    let mut script = String::new();
    for _ in 0..rounds {
        let mut changes = CHANGES.to_vec();
        dice.shuffle(&mut changes);
        for change in changes {
            writeln!(script, "BEGIN; {change}; COMMIT;").expect("a String takes text");
        }
    }
    c.sql(&script);
}

/// Before the extension is there: its base has the tables.
fn with_tables() -> Cluster {
    let c = Cluster::builder().start();
    c.sql(TABLES);
    c.sql("CREATE EXTENSION pg_incrbackup");
    c.sql("SELECT * FROM incr_setup()");
    c
}

#[test]
fn the_net_effect_of_changes_of_every_kind_is_the_same_database() {
    let c = with_tables();
    change(&c, 4, 1);
    let middle = c.sql("INSERT INTO plain VALUES (5000) RETURNING pg_current_xact_id()");
    assert_squashes(&c);
    // Emptied: what was collected is nothing.
    c.sql("UPDATE emptied SET v = -1; TRUNCATE emptied; INSERT INTO emptied SELECT i, 1 FROM generate_series(1, 90) i");
    c.sql("UPDATE emptied SET v = 2; UPDATE emptied SET v = 3; TRUNCATE parts; INSERT INTO parts SELECT i, 1 + i % 2, 'new' FROM generate_series(1, 90) i");
    change(&c, 1, 2);
    // Rows of COPY blocks, of tables of which changes are collected.
    c.sql("UPDATE plain SET a = 'before'; INSERT INTO plain SELECT 6000 + i, E'copied\\t\\\\' || i, i FROM generate_series(1, 400) i; UPDATE plain SET b = 1");
    // Schema changes between, which change what is known of tables.
    c.sql("UPDATE swap SET x = 'one'; ALTER TABLE swap RENAME COLUMN x TO y; UPDATE swap SET y = 'two'; ALTER TABLE swap ADD z int DEFAULT 7; UPDATE swap SET z = id");
    c.sql("UPDATE toast SET n = 0; ALTER TABLE toast DROP COLUMN other; UPDATE toast SET n = 1; ALTER TABLE toast ALTER n TYPE text; UPDATE toast SET n = n || n");
    c.sql("UPDATE plain SET a = 'k'; ALTER TABLE refers DROP CONSTRAINT refers_id_fkey; ALTER TABLE plain DROP CONSTRAINT plain_pkey; UPDATE plain SET a = 'l' WHERE id < 80");
    c.sql("ALTER TABLE plain ADD PRIMARY KEY (id); UPDATE plain SET a = 'm'; UPDATE plain SET id = -id; CREATE TABLE late (id int PRIMARY KEY, v text)");
    c.sql("INSERT INTO late SELECT i, 'x' FROM generate_series(1, 100) i; UPDATE late SET v = 'y'; DELETE FROM late WHERE id < 10");
    c.sql("SELECT incr_rotate()");
    c.sql("UPDATE late SET v = 'z'; SELECT incr_rotate(); UPDATE late SET v = v || id; SELECT lo_from_bytea(700, 'x'); CREATE SEQUENCE q; SELECT nextval('q')");
    assert_squashes(&c);
    // The moment in the middle has what it had then.
    let plain = c.restore(&["--until-xid", &middle]).database;
    let squashed = c.restore(&["--squash", "--until-xid", &middle]).database;
    assert_identical((&c, &plain), (&c, &squashed));
    assert_eq!(c.sql_in(&squashed, "SELECT max(id) FROM plain"), "5000");
}

/// Every type with its values: inserted, changed again and again, and found by a key where the type can be one.
#[test]
fn values_of_every_type_are_squashed() {
    let c = Cluster::builder().start();
    let types = prepare(&c);
    let mut tables = String::new();
    for (number, Type { name, values }) in types.iter().enumerate() {
        let rows = values.iter().map(String::as_str).chain(["NULL"]);
        let rows: Vec<String> = rows.map(|value| format!("(({value})::{name})")).collect();
        let rows = rows.join(", ");
        writeln!(
            tables,
            "CREATE TABLE t{number} (id serial PRIMARY KEY, u int, v {name}, w {name}); INSERT INTO t{number} (v, w) SELECT v, v FROM (VALUES {rows}) r (v);
             CREATE TABLE r{number} (LIKE t{number} INCLUDING ALL, UNIQUE (u)); INSERT INTO r{number} SELECT * FROM t{number};"
        )
        .expect("a String takes text");
    }
    c.sql(&tables);
    c.sql("CREATE EXTENSION pg_incrbackup");
    c.sql("SELECT * FROM incr_setup()");
    // One in place, the other taken out and put in again; new rows, and some that go.
    let round = "DO $$ DECLARE t text; BEGIN FOR t IN SELECT relname FROM pg_class WHERE relname ~ '^[tr][0-9]+$' AND relkind = 'r' LOOP
            EXECUTE format('UPDATE %1$I a SET v = b.w, u = a.id FROM %1$I b WHERE b.id = a.id %% 7 + 1', t);
            EXECUTE format('INSERT INTO %1$I SELECT id + 100 * (SELECT 1 + max(id) / 100 FROM %1$I), NULL, v, w FROM %1$I WHERE id BETWEEN 1 AND 6', t);
            EXECUTE format('UPDATE %1$I a SET w = b.v FROM %1$I b WHERE b.id = a.id %% 5 + 1', t);
            EXECUTE format('DELETE FROM %1$I WHERE id = (SELECT max(id) FROM %1$I)', t);
            EXECUTE format('UPDATE %1$I SET id = -id WHERE id %% 100 = 2', t);
        END LOOP; END $$";
    for _ in 0..4 {
        c.sql(round);
    }
    assert_squashes(&c);
}

/// Rows of which lines leave columns out: those of FULL, and unchanged TOAST values; with names that COPY cannot be sent with,
/// and with others. In `ci` an index compares otherwise than its column, and a row of `wide` is as long as one can be.
const PARTLY_SET: &str = "
    CREATE TABLE \"ganz ü\" (id int PRIMARY KEY, a text, b text); ALTER TABLE \"ganz ü\" REPLICA IDENTITY FULL;
    CREATE TABLE \"ganz ö\" (id int PRIMARY KEY, a text, b text, u int UNIQUE); ALTER TABLE \"ganz ö\" REPLICA IDENTITY FULL;
    CREATE TABLE \"lang ü\" (id int PRIMARY KEY, n int, long text); ALTER TABLE \"lang ü\" ALTER long SET STORAGE EXTERNAL;
    CREATE TABLE \"lang ö\" (id int PRIMARY KEY, n int, long text, u int UNIQUE); ALTER TABLE \"lang ö\" ALTER long SET STORAGE EXTERNAL;
    INSERT INTO \"ganz ü\" SELECT i, 'a' || i, 'b' || i FROM generate_series(1, 100) i; INSERT INTO \"ganz ö\" SELECT *, id FROM \"ganz ü\";
    INSERT INTO \"lang ü\" SELECT i, i, repeat(md5(i::text), 200) FROM generate_series(1, 100) i; INSERT INTO \"lang ö\" SELECT *, id FROM \"lang ü\";
    CREATE TABLE whole (id int PRIMARY KEY, a text, b text); ALTER TABLE whole REPLICA IDENTITY FULL;
    CREATE TABLE long (id int PRIMARY KEY, a text, b text); ALTER TABLE long ALTER a SET STORAGE EXTERNAL, ALTER b SET STORAGE EXTERNAL;
    DO $$ BEGIN CREATE COLLATION folded (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
        EXCEPTION WHEN feature_not_supported THEN CREATE COLLATION folded FROM \"C\"; END $$; -- built without ICU
    CREATE TABLE ci (name text COLLATE folded NOT NULL, v int); CREATE UNIQUE INDEX by_bytes ON ci (name COLLATE \"C\");
    ALTER TABLE ci REPLICA IDENTITY FULL;
    INSERT INTO ci SELECT 'name ' || i, i FROM generate_series(1, 100) i; INSERT INTO ci SELECT upper(name), -v FROM ci;
    DO $$ BEGIN EXECUTE (SELECT 'CREATE TABLE wide (' || string_agg(format('c%s bigint', i), ', ') || ', PRIMARY KEY (c1))' FROM generate_series(1, 1016) i); END $$;
    DO $$ BEGIN EXECUTE (SELECT 'INSERT INTO wide SELECT i, ' || string_agg('1', ', ') || ' FROM generate_series(1, 100) i' FROM generate_series(2, 1016)); END $$";

/// All changed rows of a table set the same, and less than new ones.
const PARTLY_CHANGED: &str = "
    UPDATE \"ganz ü\" SET a = 'x'; INSERT INTO \"ganz ü\" VALUES (1000, 'new', 'new');
    UPDATE \"ganz ö\" SET a = 'x'; INSERT INTO \"ganz ö\" VALUES (1000, 'new', 'new', 1000);
    UPDATE \"lang ü\" SET n = n + 1; INSERT INTO \"lang ü\" VALUES (1000, 1, 'new');
    UPDATE \"lang ö\" SET n = n + 1; INSERT INTO \"lang ö\" VALUES (1000, 1, 'new', 1000);
    INSERT INTO whole SELECT i, 'a', 'b' FROM generate_series(1, 100) i;
    UPDATE whole SET id = id + 1000; UPDATE whole SET a = 'c' || id; UPDATE whole SET b = 'd' || id; DELETE FROM whole WHERE id = 1007;
    INSERT INTO long SELECT i, repeat(md5(i::text), 200), repeat(md5('b' || i), 200) FROM generate_series(1, 100) i;
    UPDATE long SET id = id + 1000, a = repeat(md5('c' || id), 200); UPDATE long SET b = repeat(md5('d' || id), 200);
    UPDATE ci SET v = v * 2 WHERE v > 0; UPDATE ci SET v = v * 10; DELETE FROM ci WHERE name COLLATE \"C\" = 'NAME 7'";

#[test]
fn names_and_values_of_a_latin1_database_are_squashed() {
    let c = Cluster::builder()
        .encoding("LATIN1")
        .setting("pg_incrbackup.old_values", "on")
        .start();
    c.sql(
        "CREATE TABLE \"Größe\" (\"Schlüssel\" text PRIMARY KEY, wert text, \"ü\" int UNIQUE);
           INSERT INTO \"Größe\" SELECT 'ö' || i, 'naïve', i FROM generate_series(1, 100) i",
    );
    c.sql(PARTLY_SET);
    c.sql("CREATE EXTENSION pg_incrbackup");
    c.sql("SELECT * FROM incr_setup()");
    c.sql("UPDATE \"Größe\" SET wert = wert || 'ÿ'; UPDATE \"Größe\" SET \"Schlüssel\" = \"Schlüssel\" || 'ß' WHERE \"ü\" > 50");
    c.sql("UPDATE \"Größe\" SET \"ü\" = -\"ü\"; INSERT INTO \"Größe\" SELECT 'neu ä' || i FROM generate_series(1, 10) i; DELETE FROM \"Größe\" WHERE \"ü\" = -3");
    c.sql(PARTLY_CHANGED);
    let wide =
        "SELECT string_agg(format('c%s = c%1$s + 1', i), ', ') FROM generate_series(2, 1016) i";
    c.sql(&format!(
        "DO $$ BEGIN EXECUTE 'UPDATE wide SET ' || ({wide}); END $$"
    ));
    assert_squashes(&c);
    assert!(c
        .stream()
        .contains(" SET a = 'x' WHERE id = 1 /* was a = 'a1' */;"));
}

/// Kills at random moments; each run but the first goes on.
#[test]
fn a_squashed_restore_that_was_killed_goes_on() {
    let c = with_tables();
    let mut dice = Rng::with_seed(20261130);
    for seed in 0..3 {
        change(&c, 2, seed);
        c.sql("ALTER TABLE plain ADD COLUMN more int; ALTER TABLE plain DROP COLUMN more");
        c.sql("SELECT incr_rotate()");
    }
    c.flush();
    let begun = Instant::now();
    let restored = c.restore(&["--squash"]).database;
    let duration = begun.elapsed();
    assert_identical((&c, c.database()), (&c, &restored));
    let archive = c.database_directory();
    let command = |kills: u32| {
        let mut command = program_command();
        command
            .args(["restore", "--squash", "--archive"])
            .arg(&archive);
        command.args(["--target", &c.conninfo("killed")]);
        // Every second run applies and commits between schema changes, too.
        if kills % 2 == 1 {
            command.env("PG_INCRBACKUP_MEMORY", "200000");
        }
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().expect("the program can be run")
    };
    let (mut kills, mut status) = (0, None);
    while status.is_none() {
        let mut child = command(kills);
        let moment = duration.mul_f64(0.2 + 0.5 * dice.f64());
        let begun = Instant::now();
        while kills < 8 && begun.elapsed() < moment && child.try_wait().is_ok_and(|it| it.is_none())
        {
            std::thread::sleep(Duration::from_millis(1));
        }
        if kills < 8 {
            drop(child.kill());
            kills += 1;
        }
        status = child.wait().expect("it was started").code();
    }
    assert_eq!(status, Some(0), "after {kills} kills");
    assert_identical((&c, c.database()), (&c, "killed"));
}

/// Without a schema change the place moves, too: what is done stays when a later line fails, and the next run goes on there.
#[test]
fn what_takes_too_much_memory_is_applied_and_committed() {
    let c = with_tables();
    for round in 1..=4 {
        c.sql(&format!("UPDATE plain SET a = 'round {round}'; UPDATE plain SET b = id + {round}; UPDATE toast SET n = {round}"));
    }
    c.sql("UPDATE plain SET a = 'bad' WHERE id = 5");
    c.flush();
    let copy = c.root().join("edited");
    run(Command::new("cp")
        .arg("-a")
        .arg(c.database_directory())
        .arg(&copy));
    let open = c.segments().pop().expect("there is one");
    let in_copy = open.path.strip_prefix(c.database_directory());
    let open = copy.join(in_copy.expect("it is in it"));
    let original = std::fs::read_to_string(&open).expect("it is text");
    let line = original.lines().find(|line| line.contains("a = 'bad'"));
    let line = line.expect("it is there");
    let other = line.replace(" WHERE id = 5;", " WHERE id = 100000;");
    assert_ne!(line, other);
    std::fs::write(&open, original.replace(line, &other)).expect("it can be written");
    let restore = |memory: &str| {
        let mut command = program_command();
        command.env("PG_INCRBACKUP_MEMORY", memory);
        command
            .args(["restore", "--squash", "--archive"])
            .arg(&copy);
        command.args(["--target", &c.conninfo("edited")]);
        let output = command.output().expect("the program can be run");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), text)
    };
    let (status, text) = restore("a lot");
    assert_eq!(status, Some(2), "{text}");
    assert!(text.contains("PG_INCRBACKUP_MEMORY"), "{text}");
    let done = "SELECT string_agg(DISTINCT a, ' ') FROM plain";
    // All of it fits, and is rolled back.
    let (status, text) = restore("100000000");
    assert_eq!(status, Some(1), "{text}");
    assert_eq!(c.sql_in("edited.restoring", done), "base");
    let (status, text) = restore("50000");
    assert_eq!(status, Some(1), "{text}");
    assert_eq!(c.sql_in("edited.restoring", done), "round 4");
    std::fs::write(&open, original).expect("it can be written");
    let (status, text) = restore("50000");
    assert_eq!(status, Some(0), "{text}");
    assert_identical((&c, c.database()), (&c, "edited"));
}

/// A changed line of the open segment, whose checksum nobody has: the row that it names is not there.
#[test]
fn a_row_that_is_not_there_is_found_out_with_its_line() {
    let c = with_tables();
    c.sql("UPDATE plain SET b = 7; UPDATE plain SET b = 8; DELETE FROM swap WHERE id <= 90; UPDATE swap SET x = 'y'");
    c.flush();
    let copy = c.root().join("edited");
    run(Command::new("cp")
        .arg("-a")
        .arg(c.database_directory())
        .arg(&copy));
    let open = c.segments().pop().expect("there is one");
    let open = copy.join(
        open.path
            .strip_prefix(c.database_directory())
            .expect("it is in it"),
    );
    let original = std::fs::read_to_string(&open).expect("it is text");
    for (is, edited) in [
        ("b = 8.00, c = ", " WHERE id = 100000;"),
        ("DELETE FROM public.swap", " WHERE id = 100000;"),
        ("UPDATE public.swap", " WHERE id = 100000;"),
    ] {
        let is_it = |line: &&str| line.contains(is) && line.ends_with(" WHERE id = 77;");
        let is_other = |line: &&str| line.contains(is) && line.ends_with(" WHERE id = 177;");
        let line = original
            .lines()
            .find(is_it)
            .or_else(|| original.lines().find(is_other));
        let line = line.unwrap_or_else(|| panic!("no line with {is}"));
        let end = line.rfind(" WHERE ").expect("it has one");
        let other = format!("{}{edited}", &line[..end]);
        std::fs::write(&open, original.replace(line, &other)).expect("it can be written");
        let number = 1 + original
            .lines()
            .position(|it| it == line)
            .expect("it is there");
        let (status, text) = run_restore(
            &c,
            copy.to_str().expect("it is UTF-8"),
            "edited",
            &["--squash"],
        );
        assert_eq!(status, 1, "{text}");
        let said = format!("{number}: the statement hit 0 rows, not exactly one");
        assert!(text.contains(&said), "{said}: {text}");
        c.sql_in("postgres", "DROP DATABASE \"edited.restoring\"");
    }
}

#[test]
fn what_cannot_be_squashed_exactly_is_refused() {
    let c = with_tables();
    change(&c, 1, 3);
    c.flush();
    let archive = c.database_directory();
    let archive = archive.to_str().expect("the path is UTF-8");
    let (status, text) = restore(&c, "part", &["--squash", "--table", "public.plain"]);
    assert_eq!(status, 2, "{text}");
    assert!(text.contains("--squash is for a whole database"), "{text}");
    c.sql("CREATE ROLE limited LOGIN; CREATE DATABASE limits OWNER limited");
    let target = format!("{} user=limited", c.conninfo("limits"));
    let output = harness::program(&[
        "restore",
        "--archive",
        archive,
        "--target",
        &target,
        "--squash",
    ]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        text.contains("may not set session_replication_role"),
        "{text}"
    );
}
