//! "What was in this table at 14:29?" Its rows from the files alone, judged against what the source gave at that moment.

use std::collections::BTreeMap;
use std::process::Output;

use harness::{program_command, Cluster};

use crate::healing::{hold_bases, lose};

/// The settings of segments.
const SETTINGS: &str = "SET timezone = 'UTC'; SET extra_float_digits = 3; SET bytea_output = hex; SET lc_monetary = 'C'; \
    SET search_path = ''; SET datestyle = 'ISO'; ";

/// Rows of tables at a moment.
struct Moment {
    lsn: String,
    /// By OID, since names change.
    tables: BTreeMap<String, Vec<Vec<u8>>>,
}

fn lines(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut lines: Vec<Vec<u8>> = bytes
        .split_inclusive(|byte| *byte == b'\n')
        .map(<[u8]>::to_vec)
        .collect();
    lines.sort();
    lines
}

/// What COPY gives of all tables now: of partitioned ones with their partitions, in no order.
fn now(c: &Cluster) -> Moment {
    let list = c.sql(
        "SELECT t.oid FROM pg_class t JOIN pg_namespace n ON n.oid = relnamespace
         WHERE relkind IN ('r', 'p') AND nspname !~ '^pg_|^information_schema'
             AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = t.oid AND deptype = 'e')",
    );
    let mut tables = BTreeMap::new();
    for oid in list.lines() {
        let copy = format!(
            "SELECT pg_catalog.format('COPY (SELECT %s FROM %s %I.%I) TO STDOUT', (SELECT pg_catalog.string_agg(
                     pg_catalog.quote_ident(attname), ', ' ORDER BY attnum) FROM pg_catalog.pg_attribute
                     WHERE attrelid = t.oid AND attnum > 0 AND NOT attisdropped AND attgenerated = ''),
                 CASE relkind WHEN 'p' THEN '' ELSE 'ONLY' END, nspname, relname)
             FROM pg_catalog.pg_class t JOIN pg_catalog.pg_namespace n ON n.oid = relnamespace WHERE t.oid = {oid} \\gexec"
        );
        let output = c.psql_bytes(c.database(), format!("{SETTINGS}\n{copy}\n").as_bytes());
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{oid}: {text}");
        tables.insert(oid.to_owned(), lines(&output.stdout));
    }
    Moment {
        lsn: c.flush(),
        tables,
    }
}

/// Runs the command on the archive of a cluster.
fn extract(c: &Cluster, memory: &str, options: &[&str]) -> Output {
    let archive = c.database_directory();
    let mut command = program_command();
    command
        .args(["-q", "extract", "--archive"])
        .arg(archive)
        .args(options);
    let output = command.env("PG_INCRBACKUP_MEMORY", memory).output();
    output.expect("the program can be run")
}

/// Every table of a moment is as it was.
fn assert_extracted(c: &Cluster, moment: &Moment, memory: &str) {
    assert!(!moment.tables.is_empty());
    let mut refused = 0;
    for (oid, expected) in &moment.tables {
        let options = [
            "--table-oid",
            oid,
            "--until-lsn",
            &moment.lsn,
            "--format",
            "copy",
        ];
        let output = extract(c, memory, &options);
        let text = String::from_utf8_lossy(&output.stderr);
        if text.contains("is not in the files: it is partitioned by hash of an enum") {
            refused += 1;
            continue;
        }
        assert!(
            output.status.success(),
            "table {oid} at {}: {text}",
            moment.lsn
        );
        let found = lines(&output.stdout);
        let only = |a: &[Vec<u8>], b: &[Vec<u8>]| {
            let lines = a.iter().filter(|line| !b.contains(line)).take(5);
            lines
                .map(|line| String::from_utf8_lossy(line).into_owned())
                .collect::<String>()
        };
        assert!(
            found == *expected,
            "table {oid} at {}: {} rows, not {}\nmissing:\n{}added:\n{}",
            moment.lsn,
            found.len(),
            expected.len(),
            only(expected, &found),
            only(&found, expected)
        );
    }
    // In which of the partitions of hashed a row is.
    assert_eq!(refused, 2);
}

const TABLES: &str = r#"
    CREATE SCHEMA other; CREATE SCHEMA "Odd. Schema";
    CREATE TYPE mood AS ENUM ('a', 'b', 'c', 'd', 'e', 'f');
    CREATE TABLE keyed (id int PRIMARY KEY, note text, n numeric(10,2), at timestamptz, big text);
    ALTER TABLE keyed ALTER COLUMN big SET STORAGE EXTERNAL;
    CREATE TABLE keyless (a int, b text, j json);
    CREATE TABLE full_keyed (id int PRIMARY KEY, a text, big text); ALTER TABLE full_keyed REPLICA IDENTITY FULL;
    ALTER TABLE full_keyed ALTER COLUMN big SET STORAGE EXTERNAL;
    CREATE TABLE computed (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, a int, twice int GENERATED ALWAYS AS (a * 2) STORED,
        z text);
    CREATE TABLE "Odd. Schema"."A ""table""" ("Key 1" text, "k
2" numeric, "from" text, PRIMARY KEY ("Key 1", "k
2"));
    CREATE TABLE ranged (id int, at date, x text, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
    CREATE TABLE ranged_1 PARTITION OF ranged FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
    CREATE TABLE ranged_2 (x text, at date NOT NULL, id int NOT NULL);
    ALTER TABLE ranged ATTACH PARTITION ranged_2 FOR VALUES FROM ('2026-02-01') TO ('2026-03-01');
    CREATE TABLE hashed (m mood, i int, PRIMARY KEY (m, i)) PARTITION BY HASH (m);
    CREATE TABLE parent (a int PRIMARY KEY, b text); CREATE TABLE child (c int, PRIMARY KEY (a)) INHERITS (parent);
    CREATE TABLE kinds (id int PRIMARY KEY, bt bytea, f float8, r tstzrange, i interval, arr text[], bits bit varying(9), m mood,
        mo money, ts timestamp[], c char(5), n numeric, jb jsonb, rc regclass);
    CREATE TABLE none ();
    CREATE TABLE emptied (a int PRIMARY KEY);
    CREATE TABLE dropped (a int PRIMARY KEY);
"#;

const PARTITIONS: &str = "
    CREATE TABLE hashed_0 PARTITION OF hashed FOR VALUES WITH (MODULUS 2, REMAINDER 0);
    CREATE TABLE hashed_1 PARTITION OF hashed FOR VALUES WITH (MODULUS 2, REMAINDER 1);
";

const ROWS: &str = r#"
    INSERT INTO keyed SELECT g, 'note ' || g, g / 3.0, '2026-06-01 12:00:00.5+02'::timestamptz + g * interval '1 hour',
        repeat(md5(g::text), 100) FROM generate_series(1, 60) g;
    INSERT INTO keyless SELECT g % 5, 'x	y\' || E'\b\f\n\r\v' || g % 3, '{"a":  1}' FROM generate_series(1, 100) g;
    INSERT INTO full_keyed SELECT g, 'a' || g, repeat(md5(g::text), 100) FROM generate_series(1, 50) g;
    INSERT INTO computed (a, z) SELECT g, 'z' FROM generate_series(1, 20) g;
    INSERT INTO "Odd. Schema"."A ""table""" SELECT 'k ''' || g, g, CASE WHEN g % 2 = 0 THEN '' END FROM generate_series(1, 20) g;
    INSERT INTO ranged SELECT g, '2026-01-15'::date + g, 'r' || g FROM generate_series(1, 30) g;
    INSERT INTO hashed SELECT m, i FROM unnest(enum_range(NULL::mood)) m, generate_series(1, 10) i;
    INSERT INTO parent SELECT g, 'p' FROM generate_series(1, 5) g; INSERT INTO child SELECT g, 'c', g FROM generate_series(6, 9) g;
    INSERT INTO kinds VALUES (1, '\x00ff275c', 1e-300, '[2026-01-01 00:00+01,2026-02-01 00:00+01)', '1 mon 2 days 03:04:05.6',
        '{"a b",NULL,"c\"d"}', B'0101', 'a', 1234.5, '{2026-01-01 00:00}', 'ab', 'NaN', '{"a": [1, "ü"]}', 'public.keyed'),
        (2, '', '-0', 'empty', NULL, '{}', B'', 'f', -0.5, NULL, '', 1e30, '1', NULL);
    INSERT INTO none SELECT FROM generate_series(1, 7);
    INSERT INTO emptied SELECT generate_series(1, 10); INSERT INTO dropped SELECT generate_series(1, 10);
"#;

/// Changes of rows of every kind.
const CHANGES: &str = r#"
    UPDATE keyed SET note = 'changed' WHERE id % 7 = 0; DELETE FROM keyed WHERE id % 11 = 0;
    UPDATE keyed SET id = id + 1000 WHERE id < 5; UPDATE keyed SET id = CASE id WHEN 1001 THEN 1002 ELSE 1001 END, n = 7.10
        WHERE false;
    BEGIN; UPDATE keyed SET id = -1 WHERE id = 1001; UPDATE keyed SET id = 1001 WHERE id = 1002;
        UPDATE keyed SET id = 1002 WHERE id = -1; COMMIT;
    DELETE FROM keyless WHERE ctid IN (SELECT ctid FROM keyless WHERE a = 1 LIMIT 3);
    UPDATE keyless SET b = 'again' WHERE ctid IN (SELECT ctid FROM keyless WHERE a = 2 LIMIT 4);
    UPDATE full_keyed SET a = 'b' WHERE id % 3 = 0; DELETE FROM full_keyed WHERE id % 5 = 0;
    UPDATE full_keyed SET id = id + 100 WHERE id < 10; UPDATE full_keyed SET big = NULL WHERE id = 11;
    UPDATE computed SET a = a + 1 WHERE a % 2 = 0; UPDATE computed SET id = DEFAULT WHERE a = 7; DELETE FROM computed WHERE a = 9;
    UPDATE "Odd. Schema"."A ""table""" SET "from" = E'line\nend' WHERE "k
2" < 5; DELETE FROM "Odd. Schema"."A ""table""" WHERE "k
2" = 9;
    UPDATE ranged SET at = at + 20 WHERE id BETWEEN 5 AND 10; DELETE FROM ranged WHERE id = 20;
    UPDATE hashed SET m = 'b' WHERE i > 5 AND m = 'a' AND NOT EXISTS (SELECT FROM hashed x WHERE x.m = 'b' AND x.i = hashed.i);
    UPDATE hashed SET i = i + 50 WHERE m = 'c'; DELETE FROM hashed WHERE m = 'd';
    UPDATE parent SET b = 'q' WHERE a % 2 = 0; DELETE FROM child WHERE a = 7;
    UPDATE kinds SET f = 2.5, arr = arr || 'z'::text, n = 1.50 WHERE id = 1; INSERT INTO kinds (id) VALUES (3);
    DELETE FROM none WHERE ctid = (SELECT min(ctid) FROM none);
    TRUNCATE emptied; INSERT INTO emptied VALUES (77); DROP TABLE dropped;
"#;

/// Schema changes with rows between them.
const ALTERATIONS: &str = r#"
    ALTER TABLE keyed ADD COLUMN added int DEFAULT 5; INSERT INTO keyed (id, added) VALUES (5000, 6);
    ALTER TABLE keyed RENAME COLUMN note TO remark; UPDATE keyed SET remark = 'by its new name' WHERE id = 7;
    ALTER TABLE keyed RENAME TO renamed; UPDATE renamed SET n = 8 WHERE id = 8;
    ALTER TABLE renamed SET SCHEMA other; DELETE FROM other.renamed WHERE id = 9;
    CREATE TABLE keyed (id int PRIMARY KEY, other text); INSERT INTO keyed VALUES (1, 'another table of the name');
    ALTER TABLE other.renamed DROP COLUMN n; UPDATE other.renamed SET remark = 'one less' WHERE id = 10;
    ALTER TABLE other.renamed ALTER COLUMN added TYPE text USING 'n' || added; UPDATE other.renamed SET added = 'x' WHERE id = 12;
    ALTER TABLE full_keyed ALTER COLUMN id TYPE bigint; UPDATE full_keyed SET a = 'big' WHERE id = 12;
    ALTER TABLE full_keyed REPLICA IDENTITY DEFAULT; UPDATE full_keyed SET a = 'by its key' WHERE id = 13;
    DELETE FROM full_keyed WHERE id = 14; ALTER TABLE full_keyed REPLICA IDENTITY FULL;
    UPDATE full_keyed SET a = 'by all' WHERE id = 16;
    ALTER TABLE keyless ADD COLUMN c text DEFAULT 'old rows', ADD COLUMN d timestamptz; INSERT INTO keyless VALUES (1, '2', '3', '4');
    DELETE FROM keyless WHERE ctid = (SELECT max(ctid) FROM keyless WHERE a = 3); ALTER TABLE keyless DROP COLUMN b;
    UPDATE keyless SET c = 'less' WHERE ctid = (SELECT min(ctid) FROM keyless WHERE a = 4);
    ALTER TABLE ranged ADD COLUMN y int DEFAULT 3; ALTER TABLE ranged DROP COLUMN x;
    ALTER TABLE ranged RENAME COLUMN id TO key; INSERT INTO ranged VALUES (999, '2026-01-09', 4);
    CREATE TABLE ranged_3 PARTITION OF ranged FOR VALUES FROM ('2026-03-01') TO ('2026-04-01');
    INSERT INTO ranged VALUES (1000, '2026-03-09', 5); ALTER TABLE ranged DETACH PARTITION ranged_1;
    UPDATE ranged_1 SET y = 9 WHERE key = 3;
    ALTER TABLE parent ADD COLUMN later text DEFAULT 'late'; UPDATE child SET later = 'x' WHERE a = 8; ALTER TABLE parent DROP COLUMN b;
    ALTER TABLE child NO INHERIT parent; ALTER TABLE parent DROP COLUMN later; DELETE FROM child WHERE a = 6;
    ALTER TABLE computed ALTER COLUMN z TYPE varchar(40); ALTER TABLE computed ADD COLUMN s int GENERATED ALWAYS AS (a + 1) STORED;
    UPDATE computed SET z = 'computed' WHERE a = 5;
    ALTER TYPE mood RENAME VALUE 'a' TO 'first'; UPDATE kinds SET m = 'b' WHERE id = 3;
    ALTER SCHEMA "Odd. Schema" RENAME TO plain; UPDATE plain."A ""table""" SET "from" = 'moved' WHERE "k
2" = 3;
    ALTER TABLE emptied SET UNLOGGED; ALTER TABLE emptied SET LOGGED; INSERT INTO emptied VALUES (78);
"#;

#[test]
fn every_table_is_as_copy_gave_it_at_each_moment() {
    let c = Cluster::builder()
        .setting("timezone", "Europe/Berlin")
        .setting("pg_incrbackup.copy_threshold", "8")
        .start();
    c.sql("CREATE EXTENSION IF NOT EXISTS pg_incrbackup");
    c.sql(TABLES);
    c.sql(PARTITIONS);
    c.sql(ROWS);
    // Open transactions that the base's snapshot does not see, though they are older than what it sees.
    c.sql("SELECT incr_setup()");
    let mut before = c.session();
    before.run("BEGIN; UPDATE keyed SET note = 'not seen' WHERE id = 30; INSERT INTO keyless VALUES (9, 'not seen')");
    c.sql("UPDATE keyed SET note = 'seen' WHERE id = 31; SELECT incr_dump()");
    let first = now(&c);
    before.run("COMMIT");
    c.sql(CHANGES);
    let second = now(&c);
    c.sql("SELECT incr_rotate()");
    c.sql("UPDATE kinds SET rc = NULL");
    c.sql(ALTERATIONS);
    let third = now(&c);
    for moment in [&first, &second, &third] {
        assert_extracted(&c, moment, "67108864");
    }
    // In a temporary file from the first rows on.
    assert_extracted(&c, &third, "2000");
    assert_extracted(&c, &second, "2000");
}

/// The rows of a query now, as COPY writes them with these options.
fn copied(c: &Cluster, query: &str, options: &str) -> Vec<u8> {
    let script =
        format!("{SETTINGS} SET client_encoding = 'LATIN1'; COPY ({query}) TO STDOUT {options}");
    let output = c.psql_bytes(c.database(), script.as_bytes());
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

/// Standard output of a success, and standard error of a failure with its exit status.
fn outcome(c: &Cluster, options: &[&str]) -> Result<Vec<u8>, (i32, String)> {
    let output = extract(c, "67108864", options);
    match output.status.code() {
        Some(0) => Ok(output.stdout),
        status => Err((
            status.unwrap_or_default(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )),
    }
}

#[test]
fn formats_encodings_and_forms_of_a_base() {
    let c = Cluster::builder().encoding("LATIN1").locale("C").back_up();
    let sql = |script: &str| {
        let latin1: Vec<u8> = script
            .chars()
            .map(|c| u8::try_from(u32::from(c)).expect("a Latin-1 character"))
            .collect();
        let script = [b"SET client_encoding = 'LATIN1';\n".to_vec(), latin1].concat();
        let output = c.psql_bytes(c.database(), &script);
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    };
    sql("CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, \"größe\" text, n numeric(7,2), at timestamptz, b bytea,
            \"Quoted \"\" name\" text, g int GENERATED ALWAYS AS (id * 2) STORED);
        INSERT INTO t (\"größe\", n, at, b, \"Quoted \"\" name\") SELECT 'ü,\"' || g, g, '2026-01-01Z', decode(md5(g::text), 'hex'),
            CASE g % 3 WHEN 0 THEN NULL WHEN 1 THEN '' ELSE E'\\\\.\n' END FROM generate_series(1, 4000) g;
        CREATE TABLE alone (a text); INSERT INTO alone VALUES ('\\.'), (''), (NULL), ('x');
        CREATE VIEW v AS SELECT 1; CREATE SCHEMA s; CREATE TABLE s.alone (a int)");
    let query = "SELECT id, \"gr\u{f6}\u{df}e\", n, at, b, \"Quoted \"\" name\" FROM public.t";
    let query = query.replace("gr\u{f6}\u{df}e", "X");
    // The script of psql_bytes is Latin-1, and this is ASCII: the column by another name.
    sql("ALTER TABLE t RENAME COLUMN \"größe\" TO \"X\"");
    for (nth, format) in ["compressed", "directory", "plain"].into_iter().enumerate() {
        c.set("pg_incrbackup.base_format", format);
        c.sql("SELECT incr_dump()");
        sql(&format!("UPDATE t SET \"X\" = 'ä{nth}' WHERE id % 5 = {nth}; DELETE FROM t WHERE id % 50 = {nth}"));
        c.flush();
        for (option, options) in [("csv", "(FORMAT csv)"), ("copy", "")] {
            let found = outcome(&c, &["--table", "public.t", "--format", option]).expect(format);
            assert_eq!(
                lines(&found),
                lines(&copied(&c, &query, options)),
                "{format} {option}"
            );
        }
    }
    let with_header = outcome(&c, &["--table", "T", "--header"]).expect("letters are folded");
    assert!(with_header.starts_with(b"id,X,n,at,b,\"Quoted \"\" name\"\n"));
    let alone = outcome(&c, &["--table", "public.alone"]).expect("it is a table");
    let expected = copied(&c, "SELECT * FROM public.alone", "(FORMAT csv)");
    assert!(
        alone == expected || c.version() >= 18,
        "{}",
        String::from_utf8_lossy(&alone)
    );
    as_sql(&c, &query);
    into_a_file(&c);
    described(&c);
    refused(&c);
}

/// The statements make the same rows.
fn as_sql(c: &Cluster, query: &str) {
    let statements =
        outcome(c, &["--table", "public.t", "--format", "sql"]).expect("it is a table");
    let script = [
        b"BEGIN; CREATE TEMPORARY TABLE x ON COMMIT DROP AS TABLE public.t WITH NO DATA;\n"
            .to_vec(),
        statements.replace_all(b"INSERT INTO public.t ", b"INSERT INTO x "),
        format!(
            "{SETTINGS} COPY ({}) TO STDOUT; COMMIT;",
            query.replace("public.t", "pg_temp.x")
        )
        .into_bytes(),
    ];
    let output = c.psql_bytes(c.database(), &script.concat());
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(lines(&output.stdout), lines(&copied(c, query, "")));
}

trait Replace {
    fn replace_all(&self, from: &[u8], to: &[u8]) -> Vec<u8>;
}

impl Replace for Vec<u8> {
    fn replace_all(&self, from: &[u8], to: &[u8]) -> Vec<u8> {
        let (mut out, mut rest) = (Vec::new(), &self[..]);
        while let Some(at) = rest.windows(from.len()).position(|part| part == from) {
            out.extend_from_slice(&rest[..at]);
            out.extend_from_slice(to);
            rest = &rest[at + from.len()..];
        }
        [&out[..], rest].concat()
    }
}

fn into_a_file(c: &Cluster) {
    use std::os::unix::fs::PermissionsExt;
    let file = c.root().join("rows.csv");
    let name = file.to_str().expect("the path is UTF-8");
    let options = ["--table", "public.t", "--output", name];
    assert_eq!(outcome(c, &options), Ok(Vec::new()));
    let mode = std::fs::metadata(&file)
        .expect("it is there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let rows = outcome(c, &["--table", "public.t"]).expect("it is a table");
    assert!(std::fs::read(&file).expect("it can be read") == rows);
    let (status, text) = outcome(c, &options).expect_err("it exists");
    assert!(status == 2 && text.contains("exists"), "{text}");
    // Whoever reads has enough: no word, and a failure.
    let archive = c.database_directory();
    let mut command = program_command();
    command
        .args(["-q", "extract", "--table", "public.t", "--archive"])
        .arg(archive);
    command
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    let mut child = command.spawn().expect("the program can be run");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

fn described(c: &Cluster) {
    let lsn = c.flush();
    c.sql("ALTER TABLE alone RENAME COLUMN a TO b; ALTER TABLE t DROP COLUMN n; ALTER TABLE alone RENAME TO single");
    c.flush();
    let line = |table: &str| {
        let options = ["--table", table, "--until-lsn", &lsn, "--describe"];
        let output = outcome(c, &options).expect("it is a table");
        let end = output
            .iter()
            .position(|byte| *byte == b'\n')
            .expect("there are lines");
        String::from_utf8_lossy(&output[..end]).into_owned()
    };
    let alone = line("public.alone");
    assert!(
        alone.contains(
            r#"{"name":"a","current":"b","type":"text","generated":false,"retyped":false}"#
        ),
        "{alone}"
    );
    let t = line("public.t");
    for column in [
        r#"{"name":"n","current":null,"type":"numeric(7,2)","generated":false,"retyped":false}"#,
        r#"{"name":"at","current":"at","type":"timestamp with time zone","generated":false,"retyped":false}"#,
        r#"{"name":"g","current":"g","type":"integer","generated":true,"retyped":false}"#,
    ] {
        assert!(t.contains(column), "{t}");
    }
}

fn refused(c: &Cluster) {
    let refuses = |options: &[&str], status: i32, what: &str| {
        let (found, text) = outcome(c, options).expect_err(what);
        assert!(
            found == status && text.contains(what),
            "{options:?}: {found} {text}"
        );
    };
    refuses(&["--table", "nothing"], 2, "nothing matches \"nothing\"");
    refuses(&["--table", "v"], 2, "is no table");
    refuses(&["--table", "*.t|alone"], 2, "there are several tables");
    refuses(&["--table-oid", "1"], 2, "nothing matches \"OID 1\"");
    refuses(
        &["--table", "t", "--until-time", "2020-01-01 00:00"],
        3,
        "has no base",
    );
    refuses(&["--table", "t", "--until-time", "next friday"], 2, "14:29");
    c.sql("CREATE TABLE numbers (a int); INSERT INTO numbers VALUES (-1); ALTER TABLE numbers ALTER COLUMN a TYPE oid");
    c.flush();
    refuses(&["--table", "numbers"], 1, "only a server knows");
    let _held = hold_bases(c);
    lose(c, "UPDATE t SET \"X\" = 'lost' WHERE id = 7");
    c.sql("UPDATE t SET \"X\" = 'behind the loss' WHERE id = 8");
    c.flush();
    refuses(&["--table", "t"], 1, "changes are lost before the moment");
    let output = extract(c, "67108864", &["--table", "t", "--allow-lost"]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("\n8,behind the loss,"), "{text}");
    // Of another table nothing is lost.
    assert!(outcome(c, &["--table", "single"]).is_ok());
}
