//! What the appender writes is what the scanner reads; what would not be is refused.

use std::fs;

use crate::support::{at, effects, identity, insert, one_of_each, Place, SLOT_START};
use archive::layout::Stored;
use archive::manifest;
use archive::segment::{DdlBlock, Effect, EffectNote, Event, Scanner, Summary, TypedWords};
use archive::{Error, Lsn};

fn events(bytes: &[u8]) -> Vec<Event> {
    let mut scanner = Scanner::new(bytes);
    std::iter::from_fn(|| scanner.next_event().unwrap()).collect()
}

#[test]
fn a_segment_reads_back_as_it_was_written() {
    let place = Place::new();
    let mut appender = place.append();
    one_of_each(&mut appender, 0);
    appender.sync().unwrap();
    let events = events(&fs::read(appender.current_file()).unwrap());
    let mut names = events.iter().map(|event| match event {
        Event::Header(header) => {
            format!("header {} next_xid={}", header.start_lsn, header.next_xid)
        }
        Event::Transaction {
            xid, commit_lsn, ..
        } => format!("transaction {xid} {commit_lsn}"),
        Event::Sequences { lsn, .. } => format!("sequences {lsn}"),
        Event::Ddl { command, role } => format!("ddl {command} {}", String::from_utf8_lossy(role)),
        Event::Words(words) => format!("words {}", words.command),
        Event::Effect(effect) => format!("effect {} {}", effect.command(), effect.oid),
        Event::Unhandled { class, .. } => format!("unhandled {class}"),
        Event::Fact(fact) => format!("fact {fact:?}"),
        Event::Mark(mark) => format!("mark {}", mark.name),
        Event::LeftOut { object, .. } => format!("left_out {:?}", String::from_utf8_lossy(object)),
        Event::Flag { reason, .. } => format!("flag {:?}", String::from_utf8_lossy(reason)),
        Event::End { statements, .. } => format!("end {statements}"),
        Event::Position { lsn, .. } => format!("position {lsn}"),
        Event::Footer(_) => "footer".to_owned(),
        Event::Torn { why, .. } => format!("torn {why}"),
    });
    let expected = [
        "header 0/1000 next_xid=1000",
        "transaction 10 0/2000",
        "end 1",
        "transaction 11 0/2100",
        "flag \"could not carry\\nthis\"",
        "end 1",
        "transaction 12 0/2200",
        "ddl CREATE FUNCTION bob",
        "fact Role { name: [97, 108, 105, 99, 101, 32, 34, 120, 34, 10], superuser: true }",
        "end 2",
        "position 0/2300",
        "sequences 0/2400",
        "end 0",
        "transaction 13 0/2500",
        "end 1",
    ];
    for line in expected {
        assert_eq!(names.next().as_deref(), Some(line));
    }
    assert_eq!(names.next(), None);
}

#[test]
fn effects_and_words_read_back() {
    let place = Place::new();
    let mut appender = place.append();
    effects(&mut appender, 0);
    let counters = appender.counters();
    assert_eq!(counters.flags, 0);
    let closed = appender.rotate(15).unwrap().unwrap();
    assert_eq!(closed.entry.statements, 3);
    let bytes = fs::read(&closed.path).unwrap();
    let expected = [
        Event::Words(Box::new(TypedWords {
            command: "CREATE TABLE".to_owned(),
            role: b"bob \n".to_vec(),
            at: Some(at(13)),
            text: b"create table t()\n-- \xff\n\\! x".to_vec(),
            text_cut: 0,
        })),
        Event::Effect(Box::new(Effect {
            class: "table".to_owned(),
            oid: 16401,
            verb: "create".to_owned(),
            identity: b"public.\"t\n\"".to_vec(),
            identity_cut: 0,
            needs: vec![(2615, 2200), (1247, 16399)],
            needs_cut: 0,
        })),
    ];
    let all = events(&bytes);
    assert_eq!(all[2..4], expected, "{all:#?}");
    assert_eq!(archive::verify(&place.database, &mut || {}).unwrap(), []);

    // What earlier versions wrote above a text whose effects they did not know is read as well.
    let text = String::from_utf8(bytes.clone()).unwrap();
    let key = &text[text.find("-- @").unwrap()..][..20];
    let note = format!("{key} unhandled class=operator%20family command=CREATE%20X\n{key} ddl ");
    let earlier = text.replacen(&format!("{key} ddl "), &note, 1);
    let unhandled = Event::Unhandled {
        class: "operator family".to_owned(),
        command: "CREATE X".to_owned(),
    };
    assert_eq!(events(earlier.as_bytes())[4], unhandled);

    // A segment of format 1 has none of it.
    let text = String::from_utf8(bytes).unwrap();
    let text = text.replacen("format=2\n", "format=1\n", 1);
    let torn = |text: &str, why: &str| {
        let last = events(text.as_bytes()).pop();
        let Some(Event::Torn { why: found, .. }) = last else {
            panic!("{last:?} instead of {why}");
        };
        assert_eq!(found, why);
    };
    torn(&text, "unexpected words comment inside a transaction");
    let others = text.split_inclusive('\n');
    let others: String = others.filter(|line| !line.contains(" words ")).collect();
    torn(&others, "unexpected effect comment inside a transaction");
    let empty = text.replacen("format=1\n", "format=2\n", 1);
    let empty = empty.replacen("effect lines=9", "effect lines=0", 1);
    torn(&empty, "effect comment without lines");
}

#[test]
fn rotation_closes_the_segment_and_chains_the_next_to_it() {
    let place = Place::new();
    let mut appender = place.append();
    one_of_each(&mut appender, 0);
    let first = appender.rotate(14).unwrap().unwrap();
    insert(&mut appender, 14, 0x3000);
    let second = appender.rotate(3).unwrap().unwrap();
    assert!(
        appender.rotate(20).unwrap().is_none(),
        "an empty segment is not closed"
    );

    let entries = manifest::read(&place.chain).unwrap().entries;
    assert_eq!(entries, [first.entry.clone(), second.entry.clone()]);
    assert_eq!(first.entry.start_lsn, SLOT_START);
    assert_eq!((first.entry.transactions, first.entry.statements), (4, 5));
    assert_eq!(
        (second.entry.start_lsn, second.entry.end_lsn),
        (Lsn(0x2500), Lsn(0x3000))
    );
    assert_eq!(
        second.entry.previous_sha256.as_ref(),
        Some(&first.entry.sha256)
    );
    assert_eq!(second.entry.next_xid, Some(14));

    let bytes = fs::read(&first.path).unwrap();
    assert_eq!(bytes.len() as u64, first.entry.bytes);
    let text = String::from_utf8(bytes).unwrap();
    assert!(text.starts_with("-- pg_incrbackup segment format=2\n-- @"));
    assert!(text.lines().last().unwrap().starts_with("\\unrestrict "));
    let (name, _) = place.last_segment();
    let open = place
        .chain
        .summarize(name, Stored::Partial)
        .unwrap()
        .header
        .unwrap();
    assert_eq!(
        open.next_xid, 15,
        "never at or below an xid of earlier segments"
    );
    assert_eq!(open.previous.unwrap().sha256, second.entry.sha256);
}

#[test]
fn an_empty_transaction_leaves_nothing() {
    let place = Place::new();
    let mut appender = place.append();
    let before = appender.bytes_in_segment();
    appender.begin(5, Lsn(0x2000), at(0)).unwrap();
    appender.commit().unwrap();
    appender.position(SLOT_START, at(0)).unwrap();
    appender.sequences(Lsn(0x2000), at(0), &[]).unwrap();
    assert_eq!(appender.bytes_in_segment(), before);
    assert_eq!(appender.last_lsn(), SLOT_START);
    assert!(appender.is_empty());
}

#[test]
fn written_and_durable_are_kept_apart() {
    let place = Place::new();
    let mut appender = place.append();
    insert(&mut appender, 10, 0x2000);
    assert_eq!(
        (appender.written_lsn(), appender.durable_lsn()),
        (Lsn(0x2000), SLOT_START)
    );
    assert_eq!(appender.sync().unwrap(), Lsn(0x2000));
    appender.begin(11, Lsn(0x2100), at(1)).unwrap();
    appender.statement(b"DELETE FROM public.a;").unwrap();
    assert_eq!(
        appender.sync().unwrap(),
        Lsn(0x2000),
        "an open transaction is not durable"
    );
    assert_eq!(appender.counters().transactions, 1);
}

#[test]
fn lsns_only_go_up() {
    let place = Place::new();
    let mut appender = place.append();
    insert(&mut appender, 10, 0x2000);
    let out_of_order = |result| matches!(result, Err(Error::OutOfOrder { .. }));
    assert!(out_of_order(appender.begin(11, Lsn(0x2000), at(0))));
    assert!(out_of_order(appender.position(Lsn(0x1FFF), at(0))));
    let setval = b"SELECT pg_catalog.setval('public.s', 1, true);".to_vec();
    assert!(out_of_order(appender.sequences(
        Lsn(0x1FFF),
        at(0),
        &[setval]
    )));
    appender.position(Lsn(0x2100), at(0)).unwrap();
    assert!(out_of_order(appender.begin(11, Lsn(0x2100), at(0))));
}

#[test]
fn what_would_break_the_segment_is_refused() {
    let place = Place::new();
    let mut appender = place.append();
    assert!(
        appender.statement(b"INSERT;").is_err(),
        "outside a transaction"
    );
    assert!(appender.commit().is_err());
    appender.begin(10, Lsn(0x2000), at(0)).unwrap();
    for text in [
        "",
        "INSERT",
        "INSERT INTO a VALUES ('\n');",
        "INSERT INTO a VALUES ('\0');",
        "COMMIT;",
        "BEGIN;",
        "-- comment;",
        "COPY a FROM stdin;",
        "SELECT pg_catalog.setval('s', 1, true);",
    ] {
        assert!(appender.statement(text.as_bytes()).is_err(), "{text:?}");
    }
    assert!(appender.setval(b"SELECT 1;").is_err());
    assert!(appender.copy_start(b"COPY a FROM stdin").is_err());
    assert!(appender.copy_row(b"1").is_err(), "outside a COPY block");
    let note = EffectNote {
        class: "table",
        oid: 1,
        verb: "create",
        identity: b"x",
        needs: &[],
    };
    for statement in [&b""[..], b"a\0"] {
        let block = DdlBlock::alone(statement);
        assert!(appender.ddl("X", "r", &block).is_err());
        assert!(appender.effect(&note, &block).is_err());
    }
    assert!(appender.rotate(1).is_err() && appender.position(Lsn(0x2000), at(0)).is_err());
    appender.copy_start(b"COPY a FROM stdin;").unwrap();
    for row in ["\\.", "a\nb", "a\0b"] {
        assert!(appender.copy_row(row.as_bytes()).is_err(), "{row:?}");
    }
    assert!(appender.statement(b"INSERT;").is_err() && appender.commit().is_err());
    appender.copy_end().unwrap();
    appender.commit().unwrap();
    appender.sync().unwrap();
    let summary = Summary::of(&fs::read(appender.current_file()).unwrap()[..]).unwrap();
    assert_eq!(summary.torn, None);
    assert_eq!(summary.tally.statements, 1);
}

#[test]
fn positions_alone_are_closed_only_when_they_fill_the_file() {
    let place = Place::new();
    let mut appender = place.append();
    let mut lsn = 0x2000;
    while appender.is_empty() {
        assert!(appender.rotate(1).unwrap().is_none());
        (0..1000).for_each(|n| appender.position(Lsn(lsn + n), at(0)).unwrap());
        lsn += 1000;
    }
    assert!(appender.bytes_in_segment() >= 1024 * 1024);
    let closed = appender.rotate(1).unwrap().unwrap();
    assert_eq!(closed.entry.transactions, 0);
    assert_eq!(closed.entry.end_lsn, Lsn(lsn - 1));
    assert_eq!(
        crate::support::rebuild_manifest(&place.chain),
        [closed.entry]
    );
}

#[test]
fn a_second_writer_is_kept_out() {
    let place = Place::new();
    let appender = place.append();
    assert!(matches!(
        place.chain.open_for_append(identity(1), Lsn(0)),
        Err(Error::Locked { .. })
    ));
    drop(appender);
    place.append();
}

#[test]
fn long_lines_and_long_transactions_go_through() {
    let place = Place::new();
    let mut appender = place.append();
    let wide = "x".repeat(3 << 20);
    appender.begin(10, Lsn(0x2000), at(0)).unwrap();
    for _ in 0..3 {
        appender
            .statement(format!("INSERT INTO a VALUES ('{wide}');").as_bytes())
            .unwrap();
        appender.statement(b"INSERT INTO a VALUES ('');").unwrap();
    }
    appender
        .copy_start(format!("COPY a ({wide}) FROM stdin;").as_bytes())
        .unwrap();
    appender.copy_row(wide.as_bytes()).unwrap();
    appender.copy_end().unwrap();
    appender.commit().unwrap();
    let closed = appender.rotate(11).unwrap().unwrap();
    assert_eq!(closed.entry.statements, 7);
    let bytes = fs::read(&closed.path).unwrap();
    let whole = archive::checksum::of_reader(&bytes[..]).unwrap();
    assert_eq!(whole.sha256, closed.entry.sha256);
    assert_eq!(Summary::of(&bytes[..]).unwrap().tally.statements, 7);
}

#[test]
fn a_commit_time_may_be_unknown() {
    let place = Place::new();
    let mut appender = place.append();
    appender.begin(10, Lsn(0x2000), None).unwrap();
    appender.statement(b"INSERT INTO a VALUES (1);").unwrap();
    appender.commit().unwrap();
    let closed = appender.rotate(11).unwrap().unwrap();
    assert_eq!(closed.entry.first_commit_at, None);
    let text = fs::read_to_string(&closed.path).unwrap();
    assert!(text.contains(" commit_lsn=0/2000 commit_time=none\n"));
    assert_eq!(
        crate::support::rebuild_manifest(&place.chain),
        [closed.entry]
    );
}
