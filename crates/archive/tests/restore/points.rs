//! Which transactions are applied: snapshots, wished points, the choice of base.

use std::path::Path;

use archive::Lsn;

use crate::replay::awks;
use crate::source::{unique, Source, Statement, TABLE};
use crate::support::{self, at};

#[test]
fn what_the_snapshot_sees_is_not_applied_again() {
    let mut source = Source::new(TABLE);
    source.transaction(100, &[Statement("INSERT INTO public.a (id) VALUES (100);")]);
    source.transaction(103, &[Statement("INSERT INTO public.a (id) VALUES (103);")]);
    // 101 was in progress when the base was taken, 102 was done; 104 began later.
    source.transaction(102, &[Statement("INSERT INTO public.a (id) VALUES (102);")]);
    source.rotate(105);
    source.base("101:104:101");
    source.transaction(101, &[Statement("INSERT INTO public.a (id) VALUES (101);")]);
    source.transaction(104, &[Statement("INSERT INTO public.a (id) VALUES (104);")]);
    let target = source.restore(&[]);
    source.assert_same(&target);
}

#[test]
fn a_transaction_past_the_32nd_bit_is_found_among_those_in_progress() {
    let xid = |n: u64| (1 << 32) + n;
    let mut source = Source::new(TABLE);
    source.base(&format!("{}:{}:{}", xid(1), xid(4), xid(1)));
    source.transaction(
        xid(1),
        &[Statement("INSERT INTO public.a (id) VALUES (101);")],
    );
    source.transaction(
        xid(4),
        &[Statement("INSERT INTO public.a (id) VALUES (104);")],
    );
    for awk in awks() {
        let target = unique("target");
        let run = source.run_under(
            "dash",
            Some(&awk),
            &["--target", &source.cluster.conninfo(&target)],
        );
        assert!(run.0.status.success(), "{}", run.text());
        source.assert_same(&target);
    }
}

#[test]
fn reading_starts_at_the_last_segment_that_is_old_enough() {
    let mut source = Source::new(TABLE);
    source.transaction(100, &[Statement("INSERT INTO public.a (id) VALUES (100);")]);
    source.rotate(101);
    source.transaction(101, &[Statement("INSERT INTO public.a (id) VALUES (101);")]);
    let second = source.rotate(102);
    source.base("101:102:101");
    source.transaction(102, &[Statement("INSERT INTO public.a (id) VALUES (102);")]);
    let run = source.run(&["--dry-run"]);
    let name = second.file_name().unwrap().to_str().unwrap();
    assert!(
        run.text().contains(&format!("segments: 2 from {name}")),
        "{}",
        run.text()
    );
}

#[test]
fn the_wished_point_is_exact() {
    let mut source = Source::new(TABLE);
    source.base("100:100:");
    let insert = |n: u32| format!("INSERT INTO public.a (id) VALUES ({n});");
    let mut lsns = Vec::new();
    for xid in 100..106u32 {
        lsns.push(source.transaction(u64::from(xid), &[Statement(&insert(xid))]));
        if xid == 102 {
            source.rotate(103);
        }
    }
    source.appender.position(Lsn(0x9000), at(200)).unwrap();
    source.appender.sync().unwrap();
    let last = |arguments: &[&str]| {
        let target = source.restore(arguments);
        source.cluster.psql(
            &target,
            "SELECT max(id), count(*) FROM public.a WHERE id >= 100",
        )
    };
    assert_eq!(last(&["--until-lsn", &lsns[1].to_string()]), "101|2");
    assert_eq!(
        last(&["--until-lsn", &Lsn(lsns[1].0 - 1).to_string()]),
        "100|1"
    );
    assert_eq!(last(&[&format!("--until-lsn={}", lsns[2])]), "102|3");
    assert_eq!(last(&["--until-lsn", "0/9000"]), "105|6");
    assert_eq!(last(&["--until-xid", "103"]), "103|4");
    // at(n) is n seconds and one microsecond after 03:40:00.
    assert_eq!(
        last(&["--until-time", "2026-11-21 03:41:41.000001"]),
        "101|2"
    );
    assert_eq!(last(&["--until-time", "2026-11-21 03:41:41"]), "100|1");
    assert_eq!(last(&["--until-time", "2026-11-21 05:41:44+02"]), "103|4");
    assert_eq!(last(&["--until-time", "2026-11-21 03:40:01"]), "|0");
    // The position is at(200): all that was committed by then is in the files.
    assert_eq!(last(&["--until-time", "2026-11-21 03:43:20"]), "105|6");

    assert!(source
        .refused(&["--until-lsn", "0/9001"])
        .contains("the archive ends at 00000000/00009000"));
    assert!(source
        .refused(&["--until-lsn", "0/2000"])
        .contains("no base"));
    assert!(source
        .refused(&["--until-xid", "99"])
        .contains("transaction 99 is not in"));
    assert!(source
        .refused(&["--until-time", "2026-11-21 03:39"])
        .contains("no base"));
    assert!(source
        .refused(&["--until-time", "tomorrow'; x"])
        .contains("could not parse the time"));
    assert!(source
        .refused(&["--until-time", "infinity"])
        .contains("not in the years 1 to 9999"));
}

#[test]
fn commit_times_may_go_back_a_little() {
    let mut source = Source::new(TABLE);
    source.base("1:1:");
    // LSN order and time order differ: 7 commits before 5 and 6 by the clock.
    for xid in [1, 2, 7, 5, 6, 9] {
        let text = format!("INSERT INTO public.a (id) VALUES ({});", 100 + xid);
        source.transaction(xid, &[Statement(&text)]);
    }
    let target = source.restore(&["--until-time", "2026-11-21 03:40:06.5"]);
    let found = source.cluster.psql(
        &target,
        "SELECT string_agg(id::text, ' ') FROM public.a WHERE id > 99",
    );
    assert_eq!(found, "101 102 107 105 106");
}

#[test]
fn sequences_blocks_between_base_and_wished_point_are_applied() {
    let mut source = Source::new(TABLE);
    let setval =
        |value: u32| format!("SELECT pg_catalog.setval('public.s', {value}, true);").into_bytes();
    source
        .appender
        .sequences(Lsn(0x1500), at(0), &[setval(7)])
        .unwrap();
    source.base("100:100:");
    source.appender.position(Lsn(0x2050), at(0)).unwrap();
    source
        .appender
        .sequences(Lsn(0x2060), at(0), &[setval(33)])
        .unwrap();
    source.appender.position(Lsn(0x2070), at(0)).unwrap();
    source
        .appender
        .sequences(Lsn(0x2080), at(0), &[setval(65)])
        .unwrap();
    source.appender.position(Lsn(0x2090), at(0)).unwrap();
    source.appender.sync().unwrap();
    let value = |arguments: &[&str]| {
        source.cluster.psql(
            &source.restore(arguments),
            "SELECT last_value FROM public.s",
        )
    };
    assert_eq!(value(&["--until-lsn", "0/2050"]), "1");
    assert_eq!(value(&["--until-lsn", "0/2070"]), "33");
    assert_eq!(value(&[]), "65");
}

#[test]
fn the_newest_base_that_serves_is_chosen() {
    let mut source = Source::new(TABLE);
    let first = source.base("100:100:");
    let lsn = source.transaction(100, &[Statement("INSERT INTO public.a (id) VALUES (100);")]);
    source.rotate(101);
    let second = source.base("101:101:");
    source.transaction(101, &[Statement("INSERT INTO public.a (id) VALUES (101);")]);
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    let said = |arguments: &[&str]| source.run(&[&["--dry-run"], arguments].concat()).text();
    assert!(said(&[]).contains(&name(&second)));
    assert!(said(&["--until-lsn", &lsn.to_string()]).contains(&name(&first)));
    assert!(said(&["--base", &name(&first)]).contains(&name(&first)));
    let refused = said(&["--base", &name(&second), "--until-lsn", &lsn.to_string()]);
    assert!(refused.contains("no base"), "{refused}");
    let target = source.restore(&["--base", &name(&first)]);
    source.assert_same(&target);
    // A newer chain without a base is not chosen by itself.
    source
        .place
        .database
        .create_chain(support::new_chain(support::DATABASE_OID))
        .unwrap();
    assert!(said(&[]).contains("base: chain-1/"));
    assert!(said(&["--chain", "2"]).contains("chain-2 has no finished base"));
}

#[test]
fn an_archive_without_commit_times_can_not_be_restored_to_a_time() {
    let mut source = Source::new(TABLE);
    source.base("100:100:");
    source.appender.begin(100, Lsn(0x5000), None).unwrap();
    source
        .appender
        .statement(b"INSERT INTO public.a (id) VALUES (100);")
        .unwrap();
    source.appender.commit().unwrap();
    source.appender.sync().unwrap();
    assert!(source
        .refused(&["--until-time", "2027-01-01"])
        .contains("the archive ends at"));
    source.restore(&[]);
}

/// However many there are: nothing of them is read.
#[test]
fn segments_from_before_the_base_need_not_be_readable() {
    let mut source = Source::new(TABLE);
    source.transaction(100, &[Statement("INSERT INTO public.a (id) VALUES (100);")]);
    let first = source.rotate(101);
    source.transaction(101, &[Statement("INSERT INTO public.a (id) VALUES (101);")]);
    source.rotate(102);
    source.base("102:102:");
    source.transaction(102, &[Statement("INSERT INTO public.a (id) VALUES (102);")]);
    std::fs::write(first, "nothing of a segment").unwrap();
    source.assert_same(&source.restore(&[]));
}
