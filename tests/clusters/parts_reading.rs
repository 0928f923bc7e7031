//! "One small table, out of a terabyte": a part reads what it touches, and nothing else. And what it would do is told
//! before it is done.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use archive::layout::DatabaseDir;
use harness::{program, run, Cluster};

use crate::parts::{assert_nothing_left, assert_same, dump};
use crate::program_restore::run_restore;

/// A copy of the archive, with the indexes that this version makes.
fn copy_with_indexes(c: &Cluster) -> PathBuf {
    let to = c.root().join("copy");
    let _ = fs::remove_dir_all(&to);
    run(Command::new("cp")
        .arg("-a")
        .arg(c.database_directory())
        .arg(&to));
    let _ = fs::remove_dir_all(to.join("chain-1/index"));
    let database = DatabaseDir::at(&to).expect("it is a database's directory");
    let mut between = || Ok::<(), archive::Error>(());
    archive_query::history::files::make_indexes(&database, &mut between).expect("they can be made");
    to
}

fn place_of(content: &[u8], text: &str) -> Option<usize> {
    let mut windows = content.windows(text.len());
    windows.position(|window| window == text.as_bytes())
}

/// The closed segments whose text has this.
fn segments_with(archive: &Path, text: &str) -> Vec<PathBuf> {
    let directory = archive.join("chain-1/incremental");
    let files = fs::read_dir(directory).expect("it is a directory");
    let mut files: Vec<PathBuf> = files.map(|file| file.expect("it is one").path()).collect();
    files.retain(|file| file.extension().is_some_and(|name| name == "sql"));
    files.retain(|file| {
        let content = fs::read(file).expect("it can be read");
        place_of(&content, text).is_some()
    });
    files.sort();
    files
}

/// Another byte, at this place of the file's text.
fn damage(file: &Path, text: &str) {
    let mut content = fs::read(file).expect("it can be read");
    let at = place_of(&content, text).expect("it is there");
    content[at] ^= 1;
    fs::write(file, content).expect("it can be written");
}

#[test]
fn a_part_reads_nothing_but_what_it_touches() {
    let c = Cluster::builder()
        .setting("pg_incrbackup.base_format", "'directory'")
        .back_up();
    c.sql(
        "CREATE TABLE wanted (id serial PRIMARY KEY, t text); INSERT INTO wanted (t) SELECT 'w' || g FROM generate_series(1, 50) g; \
         CREATE TABLE other (id int PRIMARY KEY, t text); INSERT INTO other SELECT g, 'of another' FROM generate_series(1, 50) g; \
         CREATE TABLE later (id int PRIMARY KEY, t text)",
    );
    c.sql("SELECT incr_dump()");
    let rotate = || drop(c.sql("SELECT incr_flush(); SELECT incr_rotate()"));
    rotate();
    // Nothing of the part but a position of its sequence.
    c.sql("INSERT INTO other VALUES (100, 'one hundred'); SELECT nextval('wanted_id_seq') FROM generate_series(1, 7)");
    rotate();
    c.sql("UPDATE wanted SET t = 'changed' WHERE id = 3");
    rotate();
    c.sql("ALTER TABLE wanted RENAME TO gone; ALTER TABLE later RENAME TO wanted; ALTER TABLE gone RENAME TO renamed");
    rotate();
    // Rows of another one than before.
    c.sql("INSERT INTO wanted VALUES (200, 'two hundred')");
    rotate();
    c.sql("INSERT INTO renamed (t) VALUES ('three hundred')");
    rotate();
    c.sql("INSERT INTO other VALUES (400, 'four hundred')");
    rotate();
    c.sql("INSERT INTO other VALUES (401, 'at the end')");
    rotate();
    let expected = dump(&c, "app", &["-t", "renamed"]);
    assert!(expected.iter().any(|line| line.contains("three hundred")));

    let archive = copy_with_indexes(&c);
    let restore = |database: &str, options: &[&str]| {
        let archive = archive.to_str().expect("the path is UTF-8");
        run_restore(&c, archive, database, options)
    };
    // Whole files that the part has no need of.
    for text in ["one hundred", "two hundred", "four hundred"] {
        let [file] = &segments_with(&archive, text)[..] else {
            panic!("{text} is in one segment");
        };
        damage(file, text);
    }
    let base = archive.join("chain-1/base");
    let bases = fs::read_dir(base).expect("it is a directory");
    let newest = bases.map(|base| base.expect("it is one").path()).max();
    let dump_directory = newest.expect("there is a base").join("dump");
    for file in fs::read_dir(&dump_directory).expect("it is a directory") {
        let file = file.expect("it is one").path();
        let mut plain = Command::new("sh");
        plain.args(["-c", "gzip -dc < \"$1\" 2>/dev/null || cat \"$1\"", "sh"]);
        let text = run(plain.arg(&file)).stdout;
        if place_of(&text, "of another").is_some() && !file.ends_with("toc.dat") {
            fs::write(&file, "damaged").expect("it can be written");
        }
    }
    let (status, text) = restore("part", &["--table", "renamed"]);
    assert_eq!(status, 0, "{text}");
    assert!(text.contains("segments have nothing of it"), "{text}");
    assert_same(&expected, &dump(&c, "part", &["-t", "renamed"]), "the part");
    // Where the part is touched, and the whole, it is seen.
    let (status, text) = restore("whole", &[]);
    assert_eq!(status, 4, "{text}");
    let (status, text) = restore("other", &["--table", "other"]);
    assert_eq!(status, 4, "{text}");
    let (status, text) = restore("wanted", &["--table", "wanted"]);
    assert!(status == 4 && text.contains("checksum"), "{text}");
    // Without rows of it, it does not matter.
    let (status, text) = restore("definition", &["--table", "wanted", "--schema-only"]);
    assert_eq!(status, 0, "{text}");
    assert_eq!(c.sql_in("definition", "SELECT count(*) FROM wanted"), "0");
    assert_nothing_left(&c);
}

#[test]
fn a_dry_run_of_a_part_is_its_real_plan() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE EXTENSION hstore; CREATE TYPE state AS ENUM ('new', 'paid'); \
         CREATE FUNCTION code() RETURNS text LANGUAGE sql AS $$SELECT 'c' || 1$$; \
         CREATE TABLE customers (id int PRIMARY KEY); INSERT INTO customers VALUES (1); \
         CREATE TABLE orders (id serial PRIMARY KEY, customer int REFERENCES customers, state state, \
            code text DEFAULT code(), h hstore); INSERT INTO orders (customer, state) VALUES (1, 'new'); \
         CREATE INDEX by_code ON orders (code); CREATE VIEW sums AS SELECT count(*) FROM orders; \
         CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN UPDATE orders SET code = 'x'; RETURN NEW; END$$",
    );
    c.flush();
    c.sql("CREATE TRIGGER audit AFTER DELETE ON orders FOR EACH ROW EXECUTE FUNCTION audit()");
    c.flush();
    let archive = c.database_directory();
    let archive = archive.to_str().expect("the path is UTF-8");
    let before = (
        dump(&c, "app", &[]),
        c.sql("SELECT count(*) FROM pg_database"),
    );
    let dry = |database: &str, options: &[&str]| {
        let (status, text) =
            run_restore(&c, archive, database, &[options, &["--dry-run"]].concat());
        assert_nothing_left(&c);
        (status, text)
    };
    let comes_along = [
        "extension hstore",
        "enum public.state",
        "function public.code()",
        "function public.audit()",
        "sequence public.orders_id_seq",
        "index public.by_code",
        "foreign key orders_customer_fkey on public.orders: public.customers is not in the part",
        "nothing was changed",
    ];
    let (status, text) = dry("new", &["--table", "orders"]);
    assert_eq!(status, 0, "{text}");
    for what in comes_along {
        assert!(text.contains(what), "{what}: {text}");
    }
    // In the running database most of it is there.
    let (status, text) = dry("app", &["--table", "orders"]);
    assert!(
        status == 1 && text.contains("has public.orders already"),
        "{text}"
    );
    let (status, text) = dry("app", &["--table", "orders", "--into-schema", "before"]);
    let refused = "audit() mentions orders";
    assert!(status == 1 && text.contains(refused), "{text}");
    let without = [
        "--table",
        "orders",
        "--into-schema",
        "before",
        "--section",
        "pre-data",
    ];
    let (status, text) = dry("app", &without);
    assert_eq!(status, 0, "{text}");
    let (makes, uses) = text
        .split_once("uses, as it is in the target")
        .expect("both are told");
    assert!(
        makes.contains("before.orders") && uses.contains("hstore"),
        "{text}"
    );
    // A view without its table.
    let (status, text) = dry("new", &["--table", "sums"]);
    let without_rows =
        "makes without rows, because something of the part needs it\n    public.orders";
    assert!(status == 0 && text.contains(without_rows), "{text}");
    let (status, text) = dry("nobody", &["--table", "orders", "--data-only"]);
    assert!(status == 2 && text.contains("does not exist"), "{text}");

    let after = (
        dump(&c, "app", &[]),
        c.sql("SELECT count(*) FROM pg_database"),
    );
    assert_same(&before.0, &after.0, "the target of a dry run");
    assert_eq!(before.1, after.1);
    // What is done is what was told.
    let target = c.conninfo("new");
    let restore = [
        "--json",
        "restore",
        "--archive",
        archive,
        "--target",
        &target,
        "--table",
        "orders",
    ];
    let plan_of = |options: &[&str]| {
        let output = program(&[&restore[..], options].concat());
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let answers = text
            .lines()
            .map(|line| serde_json::from_str(line).expect("it is JSON"));
        let mut plans =
            answers.filter(|answer: &serde_json::Value| answer["part"]["makes"].is_array());
        plans.next().expect("there is a plan")
    };
    assert_eq!(plan_of(&["--dry-run"]), plan_of(&[]));
}

#[test]
fn a_newer_change_in_a_missing_segment_is_thought_of() {
    let c = Cluster::backed_up();
    let rotate = || drop(c.sql("SELECT incr_flush(); SELECT incr_rotate()"));
    c.sql("CREATE TABLE t (a int PRIMARY KEY); INSERT INTO t VALUES (1)");
    rotate();
    c.sql("ALTER TABLE t ADD COLUMN first_one int");
    rotate();
    c.sql("INSERT INTO t VALUES (3)");
    rotate();
    c.sql("ALTER TABLE t ADD COLUMN second_one int");
    rotate();
    c.sql("INSERT INTO t VALUES (2)");
    rotate();
    let archive = copy_with_indexes(&c);
    let path = archive.to_str().expect("the path is UTF-8");
    let before = |options: &[&str]| {
        let ddl = ["--before-ddl", "ALTER TABLE t"];
        run_restore(&c, path, "r", &[&ddl[..], options].concat())
    };
    let doubt = "a newer one may be in the segments from";
    let (status, text) = before(&["--dry-run"]);
    assert!(status == 0 && !text.contains(doubt), "{text}");
    let second = segments_with(&archive, "second_one");
    fs::remove_file(&second[0]).expect("it is there");
    let (status, text) = before(&["--dry-run"]);
    assert!(status == 0 && text.contains(doubt), "{text}");
    // Of what it does there is no doubt.
    let (status, text) = before(&[]);
    assert!(status == 0 && text.contains(doubt), "{text}");
    assert_eq!(c.sql_in("r", "SELECT to_json(t) FROM t"), r#"{"a":1}"#);
}
