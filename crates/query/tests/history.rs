//! What happened to a row: found in the segments, with and without their indexes.
#![allow(clippy::unwrap_used)]

#[path = "../../archive/tests/support/mod.rs"]
mod support;

use std::path::PathBuf;

use archive::layout::DatabaseDir;
use archive::segment::{DdlBlock, EffectNote, Words};
use archive::{Appender, Error, Lsn};
use archive_query::history::{self, index, Question, Row, Table, TableName, Value};
use support::{at, Place};

const NOTHING: Option<archive::time::Time> = None;

fn question(table: &str, columns: &[&str], values: &[&'static str]) -> Question {
    let (schema, table) = table.split_once('.').unwrap();
    Question {
        tables: vec![Table {
            name: TableName {
                schema: schema.into(),
                table: table.into(),
            },
            columns: columns
                .iter()
                .map(|column| column.as_bytes().to_vec())
                .collect(),
            is_ancestor: false,
        }],
        values: values.iter().map(|value| Value::text(*value)).collect(),
        is_key: true,
        since: NOTHING,
        until: NOTHING,
        may_write: true,
    }
}

fn ask(database: &DatabaseDir, question: &Question) -> Vec<Row> {
    let mut found = history::search::<Error>(database, question, &mut || Ok(())).unwrap();
    let mut rows = Vec::new();
    while let Some(row) = found.next_row().unwrap() {
        rows.push(row);
    }
    rows
}

/// The statements; of a row that is not shown, why.
fn texts(rows: &[Row]) -> Vec<String> {
    let one = |row: &Row| match &row.statement {
        Some(text) => String::from_utf8_lossy(text).into_owned(),
        None => format!(
            "{}: {}",
            row.operation,
            row.note.clone().unwrap_or_default()
        ),
    };
    rows.iter().map(one).collect()
}

fn history_of(place: &Place, table: &str, column: &str, value: &'static str) -> Vec<String> {
    let question = question(table, &[column], &[value]);
    let made = texts(&ask(&place.database, &question));
    // The indexes were made: the same comes out of them.
    assert_eq!(texts(&ask(&place.database, &question)), made);
    made
}

struct Writer {
    appender: Appender,
    xid: u64,
}

impl Writer {
    fn new(place: &Place) -> Writer {
        Writer {
            appender: place.append(),
            xid: 1000,
        }
    }

    fn begin(&mut self) {
        self.xid += 1;
        let lsn = Lsn(self.xid * 0x100);
        self.appender
            .begin(self.xid, lsn, at(self.xid as i64))
            .unwrap();
    }

    fn transaction(&mut self, statements: &[&str]) {
        self.begin();
        for statement in statements {
            self.appender.statement(statement.as_bytes()).unwrap();
        }
        self.appender.commit().unwrap();
    }

    fn ddl(&mut self, command: &str, text: &str) {
        self.begin();
        let block = DdlBlock {
            before: b"SET LOCAL ROLE bob; SET LOCAL search_path = public;",
            statement: text.as_bytes(),
            after: b"SET LOCAL ROLE NONE; SET LOCAL search_path = '';",
        };
        self.appender.ddl(command, "bob", &block).unwrap();
        self.appender.commit().unwrap();
    }

    fn rotate(&mut self) {
        self.appender.rotate(self.xid + 1).unwrap();
    }

    fn sync(&mut self) {
        self.appender.sync().unwrap();
    }
}

fn only_segment(place: &Place, nth: usize) -> PathBuf {
    place.segments().remove(nth)
}

#[test]
fn every_change_of_a_row_is_found_in_all_segments() {
    let place = Place::new();
    let mut w = Writer::new(&place);
    w.transaction(&[
        "INSERT INTO public.a (id, x) VALUES (1, 'it''s, one');",
        "INSERT INTO public.a (id, x) VALUES (11, '1');",
        "INSERT INTO public.b (id, x) VALUES (1, 'other');",
    ]);
    w.rotate();
    w.transaction(&["UPDATE public.a SET id = 1, x = 'b' WHERE id = 1;"]);
    w.transaction(&["UPDATE public.a SET id = 2, x = 'b' WHERE id = 2;"]);
    w.rotate();
    w.transaction(&["DELETE FROM public.a WHERE id = 1;"]);
    w.begin();
    w.appender
        .copy_start(b"COPY public.a (id, x) FROM stdin;")
        .unwrap();
    w.appender.copy_row(b"1\ta\\tb").unwrap();
    w.appender.copy_row(b"2\t\\N").unwrap();
    w.appender.copy_end().unwrap();
    w.appender.commit().unwrap();
    w.transaction(&["TRUNCATE ONLY public.b, ONLY public.a;"]);
    w.sync();
    let rows = ask(&place.database, &question("public.a", &["id"], &["1"]));
    assert_eq!(
        texts(&rows),
        [
            "INSERT INTO public.a (id, x) VALUES (1, 'it''s, one');",
            "UPDATE public.a SET id = 1, x = 'b' WHERE id = 1;",
            "DELETE FROM public.a WHERE id = 1;",
            "INSERT INTO public.a (id, x) VALUES ('1', 'a\tb');",
            "TRUNCATE ONLY public.b, ONLY public.a;",
        ]
    );
    let operations: Vec<_> = rows.iter().map(|row| row.operation.as_str()).collect();
    assert_eq!(
        operations,
        ["INSERT", "UPDATE", "DELETE", "INSERT", "TRUNCATE"]
    );
    let first = &rows[0];
    assert_eq!(
        (first.xid, first.lsn),
        (Some(1001), Some(Lsn(1001 * 0x100)))
    );
    assert_eq!(first.commit_time, Some(at(1001)));
    for row in &rows {
        let file = place.database.path().join(row.file.clone().unwrap());
        let text = std::fs::read_to_string(file).unwrap();
        let line = text.lines().nth(row.line.unwrap() as usize - 1).unwrap();
        assert!(line.contains("public.") || line == "1\ta\\tb", "{line}");
    }
    assert_eq!(history_of(&place, "public.a", "id", "1").len(), 5);
    assert_eq!(
        history_of(&place, "public.c", "id", "1"),
        Vec::<String>::new()
    );
    assert_eq!(archive::verify(&place.database, &mut || {}).unwrap(), []);
}

#[test]
fn a_row_is_followed_through_its_keys() {
    let place = Place::new();
    let mut w = Writer::new(&place);
    w.transaction(&["INSERT INTO public.a (id) VALUES (5);"]);
    w.transaction(&["DELETE FROM public.a WHERE id = 5;"]);
    w.transaction(&["INSERT INTO public.a (id) VALUES (5);"]);
    w.rotate();
    w.transaction(&["UPDATE public.a SET id = 6 WHERE id = 5;"]);
    w.transaction(&["INSERT INTO public.a (id) VALUES (5);"]);
    w.rotate();
    w.transaction(&["UPDATE public.a SET id = 7 WHERE id = 6;"]);
    w.transaction(&["DELETE FROM public.a WHERE id = 7;"]);
    w.transaction(&["INSERT INTO public.a (id) VALUES (7);"]);
    w.sync();
    let life = [
        "INSERT INTO public.a (id) VALUES (5);",
        "UPDATE public.a SET id = 6 WHERE id = 5;",
        "UPDATE public.a SET id = 7 WHERE id = 6;",
        "DELETE FROM public.a WHERE id = 7;",
    ];
    assert_eq!(history_of(&place, "public.a", "id", "6"), life);
    // Of the key that was asked for, every row that had it.
    let seven = history_of(&place, "public.a", "id", "7");
    assert_eq!(seven[..4], life);
    assert_eq!(seven[4], "INSERT INTO public.a (id) VALUES (7);");
    let five = history_of(&place, "public.a", "id", "5");
    assert_eq!(five.len(), 7, "{five:#?}");
    assert_eq!(five[1], "DELETE FROM public.a WHERE id = 5;");
    assert_eq!(five[6], "DELETE FROM public.a WHERE id = 7;");
}

#[test]
fn a_row_is_found_under_the_names_of_its_time() {
    let place = Place::new();
    let mut w = Writer::new(&place);
    w.ddl("CREATE TABLE", "CREATE TABLE bills (nr int PRIMARY KEY)");
    w.transaction(&["INSERT INTO public.bills (nr) VALUES (1);"]);
    w.transaction(&["INSERT INTO public.orders (id) VALUES (1);"]);
    w.ddl("DROP TABLE", "DROP TABLE orders");
    w.rotate();
    w.ddl("ALTER TABLE", "ALTER TABLE bills RENAME nr TO id");
    w.transaction(&["UPDATE public.bills SET id = 1, x = 2 WHERE id = 1;"]);
    w.ddl("ALTER TABLE", "ALTER TABLE Bills RENAME TO Orders");
    w.transaction(&["UPDATE public.orders SET id = 1, x = 3 WHERE id = 1;"]);
    w.rotate();
    w.ddl("CREATE TABLE", "CREATE TABLE bills (nr int)");
    w.transaction(&["INSERT INTO public.bills (nr) VALUES (1);"]);
    w.ddl("ALTER TABLE", "ALTER TABLE orders SET SCHEMA shop");
    w.transaction(&["DELETE FROM shop.orders WHERE id = 1;"]);
    w.ddl("CREATE INDEX", "CREATE INDEX ON shop.orders (id)");
    w.sync();
    assert_eq!(
        history_of(&place, "shop.orders", "id", "1"),
        [
            "CREATE TABLE bills (nr int PRIMARY KEY)",
            "INSERT INTO public.bills (nr) VALUES (1);",
            "ALTER TABLE bills RENAME nr TO id",
            "UPDATE public.bills SET id = 1, x = 2 WHERE id = 1;",
            "ALTER TABLE Bills RENAME TO Orders",
            "UPDATE public.orders SET id = 1, x = 3 WHERE id = 1;",
            "ALTER TABLE orders SET SCHEMA shop",
            "DELETE FROM shop.orders WHERE id = 1;",
        ]
    );
}

#[test]
fn since_and_until_are_about_commit_times() {
    let place = Place::new();
    let mut w = Writer::new(&place);
    for x in 0..4 {
        w.transaction(&[&format!("UPDATE public.a SET x = {x} WHERE id = 1;")]);
        w.rotate();
    }
    let mut question = question("public.a", &["id"], &["1"]);
    question.since = Some(at(1002));
    question.until = Some(at(1003));
    let found = texts(&ask(&place.database, &question));
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(found[0].contains("x = 1") && found[1].contains("x = 2"));
}

#[test]
fn what_is_missing_or_damaged_is_said() {
    let place = Place::new();
    let mut w = Writer::new(&place);
    for x in 0..4 {
        w.transaction(&[&format!("UPDATE public.a SET x = {x} WHERE id = 1;")]);
        w.rotate();
    }
    assert_eq!(history_of(&place, "public.a", "id", "1").len(), 4);
    // A flipped byte, first with an index of the sound segment, then without.
    let path = only_segment(&place, 1);
    let sound = std::fs::read(&path).unwrap();
    let text = String::from_utf8(sound.clone()).unwrap();
    std::fs::write(&path, text.replace("WHERE id = 1", "WHERE id = 3")).unwrap();
    for has_index in [true, false] {
        if !has_index {
            std::fs::remove_dir_all(place.chain.indexes()).unwrap();
        }
        let found = history_of(&place, "public.a", "id", "1");
        let said: Vec<_> = found
            .iter()
            .filter(|t| t.starts_with("NOT SHOWN"))
            .collect();
        assert_eq!((found.len(), said.len()), (4, 1), "{has_index} {found:#?}");
        assert!(found[1].starts_with("NOT SHOWN"), "{found:#?}");
    }
    std::fs::write(&path, &sound).unwrap();
    assert_eq!(history_of(&place, "public.a", "id", "1").len(), 4);
    // A torn one.
    std::fs::write(&path, &sound[..40]).unwrap();
    let found = history_of(&place, "public.a", "id", "1");
    assert!(found[1].starts_with("NOT SHOWN"), "{found:#?}");
    // A missing one, whether its index is there or not.
    for has_index in [true, false] {
        let _ = std::fs::remove_file(&path);
        if !has_index {
            std::fs::remove_dir_all(place.chain.indexes()).unwrap();
        }
        let found = history_of(&place, "public.a", "id", "1");
        assert_eq!(found.len(), 4, "{found:#?}");
        assert!(
            found[1].starts_with("NOT SHOWN: it is missing"),
            "{found:#?}"
        );
    }
}

#[test]
fn a_bad_index_is_made_again() {
    let place = Place::new();
    let mut w = Writer::new(&place);
    w.transaction(&["UPDATE public.a SET x = 1 WHERE id = 1;"]);
    w.rotate();
    w.transaction(&["UPDATE public.a SET x = 2 WHERE id = 1;"]);
    w.sync();
    assert_eq!(history_of(&place, "public.a", "id", "1").len(), 2);
    let (name, _) = place.chain.segments().unwrap()[0];
    let path = place.chain.index(name);
    let good = std::fs::read(&path).unwrap();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1;
        std::fs::write(&path, &bad).unwrap();
        assert_eq!(
            history_of(&place, "public.a", "id", "1").len(),
            2,
            "byte {at}"
        );
        std::fs::write(&path, &good[..at]).unwrap();
        assert_eq!(
            history_of(&place, "public.a", "id", "1").len(),
            2,
            "cut at {at}"
        );
    }
    assert_eq!(std::fs::read(&path).unwrap(), good);
}

#[test]
fn a_table_that_is_found_by_other_columns_is_not_passed_over() {
    let place = Place::new();
    let mut w = Writer::new(&place);
    w.transaction(&["INSERT INTO public.a (id, code) VALUES (1, 'x');"]);
    w.transaction(&["UPDATE public.a SET id = 1, code = 'y' WHERE code = 'x';"]);
    w.transaction(&["DELETE FROM public.a WHERE code = 'y';"]);
    w.transaction(&["DELETE FROM public.a WHERE code = 'y' OR true;"]);
    w.rotate();
    let rows = ask(&place.database, &question("public.a", &["id"], &["1"]));
    let found = texts(&rows);
    assert_eq!(found.len(), 4, "{found:#?}");
    assert!(found[1].starts_with("UPDATE"));
    assert!(rows[2]
        .note
        .as_ref()
        .unwrap()
        .starts_with("could not be parsed"));
    assert!(
        found[3].starts_with("NOT SHOWN: 1 changes of the table identify"),
        "{found:#?}"
    );
}

#[test]
fn an_unfinished_transaction_of_the_open_segment_is_not_shown() {
    let place = Place::new();
    let mut w = Writer::new(&place);
    w.transaction(&["UPDATE public.a SET x = 1 WHERE id = 1;"]);
    w.sync();
    let path = only_segment(&place, 0);
    let mut text = std::fs::read_to_string(&path).unwrap();
    let from = text.rfind("-- @").unwrap();
    let again = text[from..].to_owned();
    text.push_str(&again);
    for cut in text.len() - again.len()..text.len() {
        std::fs::write(&path, &text[..cut]).unwrap();
        assert_eq!(
            history_of(&place, "public.a", "id", "1").len(),
            1,
            "cut at {cut}"
        );
    }
    std::fs::write(&path, &text).unwrap();
    assert_eq!(history_of(&place, "public.a", "id", "1").len(), 2);
}

/// Many blocks, a transaction and a COPY block over several of them.
#[test]
fn rows_are_found_in_whatever_block_they_stand() {
    let place = Place::new();
    let mut w = Writer::new(&place);
    let filler = "x".repeat(900);
    w.begin();
    for id in 0..4000 {
        let line = format!("INSERT INTO public.a (id, x) VALUES ({id}, '{filler}');");
        w.appender.statement(line.as_bytes()).unwrap();
    }
    w.appender
        .copy_start(b"COPY public.a (x, id) FROM stdin;")
        .unwrap();
    for id in 4000..8000 {
        w.appender
            .copy_row(format!("{filler}\t{id}").as_bytes())
            .unwrap();
    }
    w.appender.copy_end().unwrap();
    w.appender.commit().unwrap();
    w.ddl("ALTER TABLE", "ALTER TABLE a ADD y int");
    w.rotate();
    for id in ["0", "1000", "1234", "3999", "4000", "5555", "7999"] {
        let found = history_of(&place, "public.a", "id", id);
        assert_eq!(found.len(), 2, "{id}");
        assert!(found[0].starts_with("INSERT INTO public.a ("), "{id}");
    }
    let indexed = index::read(
        &place.chain,
        place.chain.segments().unwrap()[0].0,
        &archive::checksum::of_file(&only_segment(&place, 0))
            .unwrap()
            .sha256,
    );
    assert!(indexed.unwrap().index.blocks.len() >= 7);
}

#[test]
fn indexes_go_with_their_segments() {
    let place = Place::new();
    let mut w = Writer::new(&place);
    w.transaction(&["UPDATE public.a SET x = 1 WHERE id = 1;"]);
    w.rotate();
    w.transaction(&["UPDATE public.a SET x = 1 WHERE id = 1;"]);
    w.rotate();
    history_of(&place, "public.a", "id", "1");
    let directory = place.chain.indexes();
    let count = || std::fs::read_dir(&directory).unwrap().count();
    assert_eq!(count(), 2);
    let path = place.chain.index(place.chain.segments().unwrap()[0].0);
    std::fs::remove_file(path).unwrap();
    let missing = || history::files::without_index(&place.database).unwrap();
    assert_eq!(missing(), 1);
    history::files::make_indexes::<Error>(&place.database, &mut || Ok(())).unwrap();
    assert_eq!((count(), missing()), (2, 0));
    std::fs::write(directory.join("left.idx.99.tmp"), b"half").unwrap();
    std::fs::remove_file(only_segment(&place, 0)).unwrap();
    archive::expiry::indexes::remove_unused(&place.chain).unwrap();
    assert_eq!(count(), 1);
}

/// Prints how long a history takes over a gigabyte: `cargo test --release -p archive_query --test history --
/// --ignored --nocapture`, with GIGABYTES=n for more.
#[test]
#[ignore = "prints figures; takes a minute"]
fn how_fast_a_history_is() {
    let gigabytes: u64 = std::env::var("GIGABYTES").map_or(1, |text| text.parse().unwrap());
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("data")).unwrap();
    let root = support::open_root(directory.path());
    let database = root
        .open_database(support::SYSTEM, support::DATABASE_OID, "shop")
        .unwrap();
    let chain = database
        .create_chain(support::new_chain(support::DATABASE_OID))
        .unwrap();
    let mut w = Writer {
        appender: chain
            .open_for_append(support::identity(1000), Lsn(0))
            .unwrap(),
        xid: 1000,
    };
    let mut random = 1u64;
    let mut next = |below: u64| {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % below
    };
    let (mut bytes, mut count) = (0, 0u64);
    let filler = "some text of an order, as long as such texts are, or a little longer than that";
    while bytes < gigabytes << 30 {
        let mut statements = Vec::new();
        for _ in 0..5 {
            count += 1;
            // Ninety-nine tables are busy, one row in twenty thousand is of the other.
            let table = if count.is_multiple_of(20_000) {
                99
            } else {
                next(99)
            };
            let id = next(10_000);
            let at = format!("'2026-11-21 03:40:{:02}.123456+00'", next(60));
            statements.push(match next(3) {
                0 => format!("INSERT INTO public.t{table} (id, customer, at, amount, text) VALUES ({id}, {}, {at}, {}.50, '{filler}');", next(100_000), next(1000)),
                1 => format!("UPDATE public.t{table} SET id = {id}, customer = {}, at = {at}, amount = {}.50, text = '{filler}' WHERE id = {id};", next(100_000), next(1000)),
                _ => format!("DELETE FROM public.t{table} WHERE id = {id};"),
            });
        }
        let texts: Vec<&str> = statements.iter().map(String::as_str).collect();
        bytes += texts.iter().map(|text| text.len() as u64 + 1).sum::<u64>() + 120;
        w.transaction(&texts);
        if w.appender.bytes_in_segment() > 64 << 20 {
            w.rotate();
        }
    }
    // One more, so that none is open.
    w.transaction(&["UPDATE public.t99 SET id = 7, text = 'x' WHERE id = 7;"]);
    w.rotate();
    let indexes = chain.indexes();
    let size_of = |path: &std::path::Path| -> u64 {
        let files = std::fs::read_dir(path).unwrap();
        files
            .map(|file| file.unwrap().metadata().unwrap().len())
            .sum()
    };
    let forget = || {
        for room in [chain.incremental(), indexes.clone()] {
            for file in std::fs::read_dir(room).into_iter().flatten() {
                let file = std::fs::File::open(file.unwrap().path()).unwrap();
                file.sync_all().unwrap();
                rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
            }
        }
    };
    let time = |what: &str, table: &str, id: &'static str| {
        forget();
        let started = std::time::Instant::now();
        let found = ask(&database, &question(table, &["id"], &[id])).len();
        println!(
            "{what:<60} {:>8.3} s, {found} rows",
            started.elapsed().as_secs_f64()
        );
    };
    println!(
        "{} segments, {} MB, {count} statements",
        chain.segments().unwrap().len(),
        size_of(&chain.incremental()) >> 20
    );
    time(
        "cold, no index: every segment is read, its index is made",
        "public.t99",
        "7",
    );
    println!("indexes: {:.1} MB", size_of(&indexes) as f64 / 1048576.0);
    time("cold, a row of the rare table", "public.t99", "7");
    time("cold, a row of a busy table", "public.t5", "4711");
    time("cold, a row that never was", "public.t5", "-1");
    time("cold, a table that never was", "public.u", "1");
}

#[test]
fn compressed_segments_are_read_as_well() {
    let place = Place::new();
    let mut w = Writer::new(&place);
    let filler = "x".repeat(3000);
    for x in 0..1000 {
        w.transaction(&[
            &format!("INSERT INTO public.a (id, x) VALUES ({x}, '{filler}');"),
            &format!("UPDATE public.b SET id = 1, x = {x} WHERE id = 1;"),
        ]);
    }
    w.rotate();
    let plain = history_of(&place, "public.a", "id", "700");
    assert_eq!(plain.len(), 1);
    let status = std::process::Command::new("gzip")
        .arg(only_segment(&place, 0))
        .status()
        .unwrap();
    assert!(status.success());
    for has_index in [true, false] {
        if !has_index {
            std::fs::remove_dir_all(place.chain.indexes()).unwrap();
        }
        assert_eq!(history_of(&place, "public.a", "id", "700"), plain);
        assert_eq!(history_of(&place, "public.b", "id", "1").len(), 1000);
    }
    // Cut off: what is not read is said.
    let path = only_segment(&place, 0);
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    for has_index in [true, false] {
        if !has_index {
            std::fs::remove_dir_all(place.chain.indexes()).unwrap();
        }
        let found = history_of(&place, "public.a", "id", "700");
        assert!(
            found.iter().any(|text| text.starts_with("NOT SHOWN")),
            "{has_index} {found:#?}"
        );
    }
}

#[test]
fn a_gap_between_chains_is_said() {
    let mut place = Place::new();
    let mut w = Writer::new(&place);
    w.transaction(&["INSERT INTO public.a (id) VALUES (1);"]);
    w.rotate();
    drop(w);
    place.chain.end_here("the slot was lost").unwrap();
    let mut new = support::new_chain(support::DATABASE_OID);
    new.slot_start_lsn = Lsn(0x9_0000);
    place.chain = place.database.create_chain(new).unwrap();
    let mut w = Writer::new(&place);
    w.xid = 3000;
    w.transaction(&["DELETE FROM public.a WHERE id = 1;"]);
    w.sync();
    let found = history_of(&place, "public.a", "id", "1");
    assert_eq!(found.len(), 3, "{found:#?}");
    assert!(found[1].contains("(the slot was lost)"), "{found:#?}");
    let page =
        archive_query::report::collect::collect::<Error>(&place.database, at(0), true, &mut || {
            Ok(())
        });
    assert_eq!(page.unwrap().gaps().len(), 1);
}

#[test]
fn a_segment_that_is_closed_meanwhile_is_not_called_damaged() {
    let place = Place::new();
    let mut w = Writer::new(&place);
    w.transaction(&["INSERT INTO public.a (id) VALUES (1);"]);
    w.sync();
    let mut files =
        history::files::Files::list::<archive::Error>(&place.database, true, &mut || Ok(()))
            .unwrap();
    w.rotate();
    let indexed = files.indexed::<Error>(0, &mut || Ok(())).unwrap();
    assert_eq!(indexed.unwrap().index.transactions, 1);
    assert!(
        files.files[0].problems.is_empty(),
        "{:?}",
        files.files[0].problems
    );
}

impl Writer {
    fn words(&mut self, command: &str, text: &str) {
        let words = Words {
            command,
            role: b"bob",
            at: None,
            text: text.as_bytes(),
        };
        self.appender.words(&words).unwrap();
    }

    fn effect(&mut self, verb: &str, class: &str, text: &str) {
        let note = EffectNote {
            class,
            oid: 16401,
            verb,
            identity: b"public.orders",
            needs: &[],
        };
        let block = DdlBlock::alone(text.as_bytes());
        self.appender.effect(&note, &block).unwrap();
    }
}

#[test]
fn effects_are_shown_with_the_words_above_them() {
    let place = Place::new();
    let mut w = Writer::new(&place);
    w.begin();
    w.words("CREATE TABLE", "create table Bills (id int primary key)");
    w.effect(
        "create",
        "table",
        "CREATE TABLE public.bills (id integer NOT NULL)",
    );
    let key = "ALTER TABLE ONLY public.bills ADD CONSTRAINT bills_pkey PRIMARY KEY (id)";
    w.effect("create", "constraint", key);
    w.appender.commit().unwrap();
    w.transaction(&["INSERT INTO public.bills (id) VALUES (1);"]);
    w.begin();
    w.effect(
        "alter",
        "table",
        "ALTER TABLE public.bills RENAME TO orders",
    );
    w.appender.commit().unwrap();
    w.rotate();
    w.begin();
    let long = format!("alter table orders add y int -- {}", "é".repeat(5000));
    w.words("ALTER TABLE", &long);
    w.effect(
        "alter",
        "table",
        "ALTER TABLE public.orders ADD COLUMN y integer",
    );
    // What follows is in another block of the index.
    let filler = format!(
        "INSERT INTO public.z (x) VALUES ('{}');",
        "x".repeat(1 << 20)
    );
    w.appender.statement(filler.as_bytes()).unwrap();
    w.appender
        .statement(b"UPDATE public.orders SET y = 7 WHERE id = 1;")
        .unwrap();
    w.effect(
        "alter",
        "table",
        "ALTER TABLE public.orders ALTER COLUMN y SET NOT NULL",
    );
    let text = DdlBlock::alone(b"DROP TABLE public.orders");
    w.appender.ddl("DROP TABLE", "bob", &text).unwrap();
    w.effect("drop", "table", "DROP TABLE public.orders");
    w.appender.commit().unwrap();
    w.sync();

    let question = question("public.orders", &["id"], &["1"]);
    for _ in 0..2 {
        let rows = ask(&place.database, &question);
        let shown: Vec<(&str, String, Option<String>)> = rows
            .iter()
            .map(|row| {
                let typed = row.typed.as_ref().map(|typed| {
                    assert_eq!(typed.role, b"bob");
                    let text = String::from_utf8_lossy(&typed.text);
                    text.chars().take(15).collect()
                });
                let text = row.statement.clone().unwrap();
                (
                    row.operation.as_str(),
                    String::from_utf8(text).unwrap(),
                    typed,
                )
            })
            .collect();
        let typed = |text: &str| Some(text.to_owned());
        // One statement, one row.
        let created = format!("CREATE TABLE public.bills (id integer NOT NULL);\n{key}");
        let expected = [
            ("CREATE TABLE", created.as_str(), typed("create table Bi")),
            ("INSERT", "INSERT INTO public.bills (id) VALUES (1);", None),
            (
                "ALTER TABLE",
                "ALTER TABLE public.bills RENAME TO orders",
                None,
            ),
            (
                "ALTER TABLE",
                "ALTER TABLE public.orders ADD COLUMN y integer",
                typed("alter table ord"),
            ),
            (
                "UPDATE",
                "UPDATE public.orders SET y = 7 WHERE id = 1;",
                None,
            ),
            (
                "ALTER TABLE",
                "ALTER TABLE public.orders ALTER COLUMN y SET NOT NULL",
                typed("alter table ord"),
            ),
            ("DROP TABLE", "DROP TABLE public.orders", None),
            ("DROP TABLE", "DROP TABLE public.orders", None),
        ];
        let expected = expected.map(|(operation, text, typed)| (operation, text.to_owned(), typed));
        assert_eq!(shown, expected);
        let cut = rows[3].typed.as_ref().unwrap();
        assert_eq!(cut.text.len() as u64 + cut.cut, long.len() as u64);
    }
}

/// What was typed is one change, however much it changed.
#[test]
fn an_index_lists_what_was_typed() {
    let place = Place::new();
    let mut w = Writer::new(&place);
    w.begin();
    w.words("CREATE TABLE", "create table a (id serial)");
    w.effect("create", "sequence", "CREATE SEQUENCE public.a_id_seq");
    w.effect("create", "table", "CREATE TABLE public.a (id integer)");
    w.words("ANALYZE", "it changed nothing");
    w.words("DROP TABLE", "drop table b, c");
    w.effect("drop", "table", "DROP TABLE public.b");
    w.effect("drop", "table", "DROP TABLE public.c");
    w.appender.commit().unwrap();
    w.begin();
    w.effect("create", "operator", "CREATE OPERATOR …");
    for _ in 0..3 {
        let text = DdlBlock::alone(b"CREATE X");
        w.appender.ddl("CREATE X", "eve", &text).unwrap();
    }
    w.appender.commit().unwrap();
    w.sync();
    let path = only_segment(&place, 0);
    let bytes = std::fs::read(&path).unwrap();
    let built = history::build::build::<Error>(&path, &bytes[..], &mut || Ok(())).unwrap();
    let index = built.indexed.index;
    let lines: Vec<&str> = std::str::from_utf8(&bytes).unwrap().lines().collect();
    let listed = index.ddl.iter().map(|ddl| {
        let kind = lines[ddl.line as usize - 1].split(' ').nth(2).unwrap();
        let text = String::from_utf8(ddl.text.0.clone()).unwrap();
        let role = String::from_utf8(ddl.role.0.clone()).unwrap();
        format!("{kind} {role}: {}: {text}", ddl.command)
    });
    assert_eq!(
        listed.collect::<Vec<_>>(),
        [
            "words bob: CREATE TABLE: create table a (id serial)",
            "words bob: DROP TABLE: drop table b, c",
            "effect : CREATE OPERATOR: CREATE OPERATOR …",
            "ddl eve: CREATE X: CREATE X",
            "ddl eve: CREATE X: CREATE X",
            "ddl eve: CREATE X: CREATE X",
        ]
    );
    assert_eq!(index.ddl_count, 6);
}

/// Whoever passes over a segment relies on its outline: there is none of what was not read to its end, nor of what has
/// anything but rows.
#[test]
fn only_a_whole_segment_of_rows_has_an_outline() {
    let place = Place::new();
    let mut w = Writer::new(&place);
    w.transaction(&["INSERT INTO public.t (id) VALUES (1);"]);
    let setval = b"SELECT pg_catalog.setval('public.s', 7, true);".to_vec();
    let behind = Lsn(w.xid * 0x100 + 0x10);
    w.appender
        .sequences(behind, at(9), std::slice::from_ref(&setval))
        .unwrap();
    w.rotate();
    w.ddl("CREATE TABLE", "CREATE TABLE public.u (id int)");
    w.rotate();
    let build = |bytes: &[u8]| {
        let path = only_segment(&place, 0);
        let built = history::build::build::<Error>(&path, bytes, &mut || Ok(())).unwrap();
        built.indexed.index
    };
    let bytes = std::fs::read(only_segment(&place, 0)).unwrap();
    let index = build(&bytes);
    let outline = index.outline.expect("it has rows and a position");
    assert_eq!(outline.positions.len(), 1);
    assert_eq!(outline.positions[0].0, setval);
    assert_eq!(outline.positions_between, Some((behind, behind)));
    let lines = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
    for (end, _) in lines.take_while(|(at, _)| at + 1 < bytes.len()) {
        let cut = build(&bytes[..=end]);
        let is_closed = bytes[end + 1..].starts_with(b"\\unrestrict ");
        assert_eq!(cut.outline.is_some(), is_closed, "cut at {end}");
    }
    let changed = std::fs::read(only_segment(&place, 1)).unwrap();
    assert_eq!(build(&changed).outline, None);
}
