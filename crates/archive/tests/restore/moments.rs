//! "I asked for 14:29 and got another moment": what is past the end, in an older chain, or said in other words.

use archive::Lsn;

use crate::source::{unique, Source, Statement, TABLE};
use crate::support::{self, at};

fn insert(source: &mut Source, xid: u64) -> Lsn {
    let text = format!("INSERT INTO public.a (id) VALUES ({xid});");
    source.transaction(xid, &[Statement(&text)])
}

fn rows(source: &Source, target: &str) -> String {
    let sql = "SELECT string_agg(id::text, ' ' ORDER BY id) FROM public.a WHERE id >= 100";
    source.cluster.psql(target, sql)
}

/// What is committed at xid has the time of at(xid): 100 at 03:41:40, 101 a second later.
fn two() -> Source {
    let mut source = Source::new(TABLE);
    source.base("100:100:");
    insert(&mut source, 100);
    insert(&mut source, 101);
    source
}

#[test]
fn a_moment_past_the_end_is_refused_with_the_last_one_there_is() {
    let source = two();
    let wishes = [
        ["--until-time", "2026-11-21 03:41:42"],
        ["--until-time", "2062-11-21"],
        ["--until-lsn", "1/0"],
    ];
    for wish in wishes {
        let said = source.refused(&wish);
        assert!(said.contains("up to 2026-11-21T03:41:41.000001Z"), "{said}");
        assert!(said.contains("incr_flush()"), "{said}");
        let mut arguments = wish.to_vec();
        arguments.push("--allow-earlier");
        assert_eq!(rows(&source, &source.restore(&arguments)), "100 101");
    }
}

#[test]
fn what_was_read_later_moves_the_last_moment() {
    let mut source = two();
    source.appender.position(Lsn(0x9000), at(3600)).unwrap();
    source.appender.sync().unwrap();
    let target = source.restore(&["--until-time", "2026-11-21 04:40"]);
    assert_eq!(rows(&source, &target), "100 101");
    let said = source.refused(&["--until-time", "2026-11-21 04:41"]);
    assert!(said.contains("up to 2026-11-21T04:40:00.000001Z"), "{said}");
}

#[test]
fn the_reason_of_an_ended_chain_is_the_last_word() {
    let mut source = two();
    source
        .place
        .chain
        .end_here("the slot is lost:\nwal_status lost")
        .unwrap();
    let conninfo = source.cluster.conninfo(&unique("target"));
    let run = source.run(&["--target", &conninfo]);
    assert!(run.0.status.success(), "{}", run.text());
    let last = run.text().lines().last().unwrap().to_owned();
    assert_eq!(
        last,
        "restore.sh: chain-1 has ended: the slot is lost:\\nwal_status lost"
    );
    let said = source.refused(&["--until-time", "2026-11-22"]);
    assert!(
        said.contains("has ended: the slot is lost") && !said.contains("incr_flush"),
        "{said}"
    );
    // A point that is there has nothing to do with the end.
    let said = source.run(&["--dry-run", "--until-xid", "100"]).text();
    assert!(!said.contains("has ended"), "{said}");
}

/// A second chain that begins an hour later, with a base and xid 5000.
fn and_another_chain(source: &mut Source) {
    source.place.chain.end_here("for a test").unwrap();
    let mut new = support::new_chain(support::DATABASE_OID);
    new.slot_start_lsn = Lsn(0x20000);
    source.place.chain = source.place.database.create_chain(new).unwrap();
    source.appender = source.place.append();
    source.lsn = 0x20000;
    source.day = 1;
    source.base("5000:5000:");
    insert(source, 5000);
}

#[test]
fn a_moment_of_an_older_chain_is_found_there() {
    let mut source = two();
    let lsn = Lsn(source.lsn - 0x100).to_string();
    and_another_chain(&mut source);
    for wish in [
        &["--until-time", "2026-11-21 03:41:40.5"][..],
        &["--until-lsn", &lsn, "--chain", "1"],
        &["--until-xid", "100", "--chain", "1"],
    ] {
        let conninfo = source.cluster.conninfo(&unique("target"));
        let run = source.run(&[&["--target", &conninfo], wish].concat());
        assert!(run.0.status.success(), "{}", run.text());
        assert!(run.text().contains("base: chain-1/"), "{}", run.text());
        let target = conninfo.rsplit('\'').nth(1).unwrap();
        assert_eq!(rows(&source, target), "100", "{wish:?}");
    }
    let target = source.restore(&["--until-xid", "5000"]);
    assert_eq!(rows(&source, &target), "100 101 5000");
    // Between the chains: the older one has ended by then, and it is said which comes after.
    let said = source.refused(&["--until-time", "2026-11-21 12:00"]);
    assert!(
        said.contains("chain-1 has ended: for a test")
            && said.contains("chain-2 has no finished base"),
        "{said}"
    );
    let said = source.refused(&["--until-xid", "77"]);
    assert!(
        said.contains("transaction 77 is not in the segments of chain-2"),
        "{said}"
    );
}

#[test]
fn an_lsn_that_two_chains_hold_is_not_guessed() {
    let mut source = two();
    let lsn = Lsn(source.lsn).to_string();
    source.place.chain.end_here("for a test").unwrap();
    // As after a recovery of the source to an earlier point: the LSNs come again.
    let new = support::new_chain(support::DATABASE_OID);
    source.place.chain = source.place.database.create_chain(new).unwrap();
    source.appender = source.place.append();
    source.lsn = 0x2000;
    source.base("100:100:");
    insert(&mut source, 200);
    insert(&mut source, 201);
    let said = source.refused(&["--until-lsn", &lsn]);
    assert!(
        said.contains("an LSN may come again in another chain"),
        "{said}"
    );
    let target = source.restore(&["--until-lsn", &lsn, "--chain", "1"]);
    assert_eq!(rows(&source, &target), "100 101");
}
