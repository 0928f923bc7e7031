//! "What happened at about half past two?" `show` tells it, from the files alone.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use harness::{program, program_command, run, Cluster};
use serde_json::Value;

/// Exit status, standard output, standard error.
pub fn asked(archive: &Path, command: &str, options: &[&str]) -> (i32, String, String) {
    let archive = archive.display().to_string();
    let output = program(&[&[command, "--archive", &archive], options].concat());
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let status = output.status.code().expect("it was not killed");
    (status, text(&output.stdout), text(&output.stderr))
}

/// What is shown, without complaints.
fn shown(archive: &Path, options: &[&str]) -> String {
    let (status, out, error) = asked(archive, "show", options);
    assert_eq!(status, 0, "{options:?}: {error}");
    out
}

fn objects(archive: &Path, options: &[&str]) -> Vec<Value> {
    let text = shown(archive, &[options, &["--json"]].concat());
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

/// The ids in the headings.
fn transactions(text: &str) -> Vec<&str> {
    let lines = text.lines();
    let headings = lines.filter_map(|line| line.strip_prefix("-- transaction "));
    headings
        .map(|rest| rest.split(' ').next().expect("it has an id"))
        .collect()
}

fn assert_has(text: &str, parts: &[&str]) {
    let mut rest = text;
    for part in parts {
        let at = rest.find(part);
        let at =
            at.unwrap_or_else(|| panic!("{part:?} is not there, or not in its order:\n{text}"));
        rest = &rest[at + part.len()..];
    }
}

/// A transaction with these statements: its id.
pub fn transaction(c: &Cluster, statements: &str) -> String {
    let script = format!("BEGIN; {statements}; SELECT pg_current_xact_id(); COMMIT");
    let output = c.sql(&script);
    output.lines().last().expect("it has an id").to_owned()
}

#[test]
fn what_happened_is_shown_as_sql() {
    let c = Cluster::backed_up();
    c.sql("CREATE ROLE clerk; GRANT ALL ON SCHEMA public TO clerk");
    let made = transaction(
        &c,
        "SET LOCAL ROLE clerk; CREATE TABLE orders (id int PRIMARY KEY,\n  item text, amount int); RESET ROLE",
    );
    c.sql("CREATE TABLE other (a int, j json)");
    let filled = transaction(
        &c,
        "INSERT INTO orders SELECT g, 'item ' || g, g FROM generate_series(1, 50) g",
    );
    c.sql("SELECT incr_flush(); SELECT incr_rotate()");
    let evil = "a\u{1b}[2J\n-- transaction 1  2026";
    let changed = transaction(
        &c,
        &format!("DELETE FROM orders WHERE id = 42; UPDATE orders SET item = '{evil}' WHERE id = 7; INSERT INTO other VALUES (1, '{{}}')"),
    );
    c.sql("SELECT incr_mark('before lunch')");
    let long = transaction(
        &c,
        "UPDATE orders SET item = repeat('x', 1000) WHERE id = 8",
    );
    let moment =
        c.sql("SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US')");
    let truncated = transaction(&c, "TRUNCATE other");
    let function = transaction(
        &c,
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS $$\n-- transaction 5  2026\nSELECT 1 $$",
    );
    let lsn = c.flush();
    let archive = &c.database_directory();

    let all = shown(archive, &[]);
    assert_has(
        &all,
        &[
            &format!("-- transaction {made}  20"),
            " schema changes\n",
            "-- clerk at 20",
            ": CREATE TABLE orders (id int PRIMARY KEY,\n--       item text, amount int)\n",
            "CREATE TABLE public.orders (id integer",
            &format!("-- transaction {filled}  20"),
            "  50 inserted\n",
            "INSERT INTO public.orders (id, item, amount) VALUES (1, 'item 1', 1);\n",
            "COPY public.orders (id, item, amount) FROM stdin;\n",
            "    50\titem 50\t50\n\\.\n",
            &format!("-- transaction {changed}  20"),
            "  1 inserted, 1 updated, 1 deleted\n",
            "DELETE FROM public.orders WHERE id = 42;\n",
            "-- mark \"before lunch\"\n",
            &format!("-- transaction {long}  20"),
            "xxx... (900 more bytes)'",
            &format!("-- transaction {truncated}  20"),
            "  1 table truncated\n",
            "TRUNCATE ONLY public.other;\n",
        ],
    );
    // Nothing of the archive acts on a terminal, or poses as a heading.
    assert!(!all.contains('\u{1b}'), "{all}");
    assert!(all.contains("a\\x1b[2J"), "{all}");
    let ids = transactions(&all);
    assert!(!ids.contains(&"1") && !ids.contains(&"5"), "{ids:?}");
    assert!(ids.contains(&function.as_str()), "{ids:?}");

    // Two moments: what made the one the other.
    let ids_of = |options: &[&str]| {
        let text = shown(archive, options);
        transactions(&text)
            .iter()
            .map(|id| (*id).to_owned())
            .collect::<Vec<_>>()
    };
    let since = |name: &str, value: &str| ids_of(&[name, value]);
    assert_eq!(
        since("--since-time", &moment),
        [truncated.as_str(), function.as_str()]
    );
    assert_eq!(since("--since-xid", &truncated), [function.as_str()]);
    assert_eq!(
        since("--since-mark", "before lunch"),
        [long.as_str(), truncated.as_str(), function.as_str()]
    );
    assert!(since("--since-lsn", &lsn).is_empty());
    let until = ids_of(&[
        "--since-xid",
        &changed,
        "--until-time",
        &moment,
        "--table",
        "orders",
    ]);
    assert_eq!(until, [long.as_str()]);
    assert_eq!(
        ids_of(&["--until-xid", &filled, "--rows-only"]),
        [filled.as_str()]
    );
    assert_eq!(
        ids_of(&["--since-xid", &filled, "--limit", "1"]),
        [changed.as_str()]
    );

    // What is wanted of it.
    let of_key = shown(archive, &["--table", "orders", "--key", "id=42"]);
    assert_eq!(transactions(&of_key), [&filled, &changed], "{of_key}");
    assert_has(
        &of_key,
        &[
            "42\titem 42\t42\n\\.\n",
            "-- and 49 more changes, not shown",
            "WHERE id = 42;",
        ],
    );
    assert!(!of_key.contains("item 41"), "{of_key}");
    let whole = shown(archive, &["--table", "orders", "--key", "id=42", "--whole"]);
    assert_has(
        &whole,
        &[
            "item 41",
            "DELETE FROM",
            "UPDATE public.orders",
            "INSERT INTO public.other",
        ],
    );
    assert_eq!(transactions(&whole), [&filled, &changed]);
    assert_eq!(
        ids_of(&["--key", "id=7", "--key", "id=8", "--since-xid", &filled]),
        [changed.as_str(), long.as_str()]
    );
    let (_, out, error) = asked(
        archive,
        "show",
        &["--key", "amount=42", "--since-xid", &filled],
    );
    assert_eq!(out, "");
    assert!(
        error.contains("3 changes do not tell all columns of --key"),
        "{error}"
    );
    assert_eq!(ids_of(&["--grep", "item 50"]), [filled.as_str()]);
    assert_eq!(
        ids_of(&["--grep", "CREATE TABLE orders (id"]),
        [made.as_str()]
    );
    assert_eq!(ids_of(&["--role", "clerk"]), [made.as_str()]);
    assert!(!ids_of(&["--ddl-only"]).contains(&changed));
    assert_eq!(
        ids_of(&["--xid", &changed, "--xid", &long]),
        [changed.as_str(), long.as_str()]
    );
    let full = shown(archive, &["--xid", &long, "--full"]);
    assert!(full.contains(&"x".repeat(1000)), "{full}");
    assert!(shown(archive, &["--xid", &long, "--color", "always"])
        .starts_with("\u{1b}[1;33m-- transaction"));

    // For programs.
    let rows = objects(archive, &["--xid", &changed]);
    assert_eq!(rows[0]["operation"], "DELETE");
    assert_eq!(
        (&rows[0]["table"], &rows[0]["old"]["id"]),
        (&"public.orders".into(), &"42".into())
    );
    assert_eq!(rows[1]["new"]["item"], evil);
    assert_eq!(rows[2]["new"]["j"], "{}");
    let copied = objects(archive, &["--xid", &filled, "--key", "id=50"]);
    assert_eq!(copied[0]["new"]["item"], "item 50");
    let created = objects(archive, &["--xid", &made, "--table", "orders"]);
    assert_eq!(created[0]["operation"], "CREATE TABLE");
    assert_eq!(created[0]["words"]["role"], "clerk");
    assert!(created[0]["words"]["text"]
        .as_str()
        .is_some_and(|text| text.starts_with("CREATE TABLE orders")));

    // What is not there, and what is wrong.
    for (options, status, message) in [
        (
            &["--xid", "1"][..],
            3,
            "transaction 1 is not in the segments",
        ),
        (
            &["--since-mark", "none"],
            3,
            "mark \"none\" is not in the segments",
        ),
        (&["--chain", "9"], 3, "there is no chain-9"),
        (&["--since-time", "noonish"], 2, "\"noonish\" is not a time"),
        (
            &["--since-lsn", "0/FFFFFFF", "--until-lsn", "0/1"],
            2,
            "it ends before it begins",
        ),
        (&["--key", "id"], 2, "is not a column and its value"),
        (&["--table", "\"a"], 2, "is not a pattern of names"),
    ] {
        let (found, out, error) = asked(archive, "show", options);
        assert_eq!((found, out.as_str()), (status, ""), "{options:?}: {error}");
        assert!(error.contains(message), "{options:?}: {error}");
    }
    let (_, _, error) = asked(archive, "show", &["--until-time", "2099-01-01"]);
    assert!(error.contains("the files of chain-1 end at"), "{error}");

    // By the server, over its connection; and a reader that has seen enough.
    let from = c.conninfo(c.database());
    let output = program(&["show", "--from", &from, "--xid", &long, "--full"]);
    assert_eq!(String::from_utf8_lossy(&output.stdout), full);
    let mut command = program_command();
    command.args(["show", "--archive", &archive.display().to_string()]);
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .expect("it can be run");
    drop(child.stdout.take());
    assert!(child.wait().expect("it ends").success());
}

/// The archive's segments; each has this text in it.
fn segment_with(archive: &Path, text: &str) -> PathBuf {
    let files = fs::read_dir(archive.join("chain-1/incremental")).expect("it is a directory");
    let mut files = files.map(|file| file.expect("it is one").path());
    let has = |file: &PathBuf| fs::read_to_string(file).is_ok_and(|content| content.contains(text));
    files.find(has).expect("a segment has it")
}

#[test]
fn segments_that_are_not_wanted_are_not_read_and_damage_is_named() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE TABLE a (id int PRIMARY KEY, t text); CREATE TABLE b (id int PRIMARY KEY, t text)",
    );
    let rotate = || drop(c.sql("SELECT incr_flush(); SELECT incr_rotate()"));
    rotate();
    let mut ids = Vec::new();
    for (table, text) in [
        ("a", "early"),
        ("b", "between"),
        ("a", "late"),
        ("a", "last"),
    ] {
        ids.push(transaction(
            &c,
            &format!("INSERT INTO {table} VALUES ({}, '{text}')", ids.len()),
        ));
        rotate();
    }
    c.flush();
    let archive = &c.root().join("copy");
    run(Command::new("cp")
        .arg("-a")
        .arg(c.database_directory())
        .arg(archive));
    let first = objects(archive, &["--xid", &ids[0]]);
    let first = first[0]["lsn"].as_str().expect("it has one").to_owned();
    let between = &segment_with(archive, "'between'");
    let content = fs::read_to_string(between).expect("it can be read");

    // Another value: no rule of the format is broken, only the checksum.
    fs::write(between, content.replace("'between'", "'betweem'")).expect("it can be written");
    let (status, out, error) = asked(archive, "show", &["--rows-only"]);
    assert_eq!(status, 4, "{out}{error}");
    assert_eq!(
        transactions(&out),
        [&ids[0], &ids[1]],
        "what could be shown is shown"
    );
    assert!(
        error.contains("its checksum does not match the manifest"),
        "{error}"
    );
    assert!(
        error.contains(
            &between
                .file_name()
                .expect("it has a name")
                .to_string_lossy()
                .into_owned()
        ),
        "{error}"
    );

    // Outside of the stretch it is not opened.
    fs::write(between, "nothing").expect("it can be written");
    assert_eq!(
        transactions(&shown(archive, &["--until-lsn", &first, "--rows-only"])),
        [&ids[0]]
    );
    assert_eq!(
        transactions(&shown(archive, &["--since-xid", &ids[2]])),
        [&ids[3]]
    );
    assert_eq!(
        transactions(&shown(archive, &["--xid", &ids[3]])),
        [&ids[3]]
    );
    let (status, _, error) = asked(archive, "show", &[]);
    assert_eq!(status, 4, "{error}");

    // Of another table neither, once there are indexes.
    fs::write(between, &content).expect("it can be written");
    let database = archive::layout::DatabaseDir::at(archive).expect("it is a database's directory");
    let mut pause = || Ok::<(), archive::Error>(());
    archive_query::history::files::make_indexes(&database, &mut pause).expect("they can be made");
    fs::write(between, "nothing").expect("it can be written");
    let of_a = shown(archive, &["--table", "a", "--rows-only"]);
    assert_eq!(transactions(&of_a), [&ids[0], &ids[2], &ids[3]]);

    // A segment that is missing is not passed over in silence.
    fs::remove_file(between).expect("it can be removed");
    let (status, out, error) = asked(archive, "show", &["--rows-only"]);
    assert_eq!(status, 4, "{error}");
    assert_eq!(transactions(&out), [&ids[0]]);
    assert!(error.contains("segments of chain-1 are missing"), "{error}");
}

/// A writer that dies may leave an open segment of which not even the header is whole.
#[test]
fn an_open_segment_without_a_whole_header_has_nothing() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE t (a int PRIMARY KEY); INSERT INTO t VALUES (7)");
    c.flush();
    c.sql("SELECT incr_rotate(); INSERT INTO t VALUES (8)");
    c.flush();
    c.crash();
    let archive = c.database_directory();
    let open = segment_with(&archive, "VALUES (8)");
    assert_eq!(open.extension(), Some("partial".as_ref()), "{open:?}");
    let file = fs::OpenOptions::new().write(true).open(&open);
    let file = file.expect("it is ours");
    for length in [30, 0] {
        file.set_len(length).expect("it can be shortened");
        let text = shown(&archive, &[]);
        assert!(
            text.contains("VALUES (7)") && !text.contains("VALUES (8)"),
            "{text}"
        );
    }
}
