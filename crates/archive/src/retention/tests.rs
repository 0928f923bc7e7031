//! Each rule by itself.
#![allow(clippy::unwrap_used)]

use chrono::TimeDelta;

use super::*;
use crate::time::parse_utc_stamp;

pub const WEEK: Rules = Rules {
    keep_incremental: Some(TimeDelta::days(7)),
    keep_base: Some(TimeDelta::days(30)),
    keep_monthly: 12,
    archived_only: false,
};

pub fn start() -> Time {
    parse_utc_stamp("20260105T020000Z").unwrap()
}

pub fn day(number: i64) -> Time {
    start() + TimeDelta::days(number)
}

/// A second after the base of that day.
pub fn after(number: i64) -> Time {
    day(number) + TimeDelta::seconds(1)
}

pub fn base(lsn: u64, taken_at: Time) -> Base {
    Base {
        name: BaseName::new(Lsn(lsn), taken_at),
        xmin: lsn,
        pin: None,
        flaw: None,
    }
}

pub fn segment(lsn: u64, next_xid: u64) -> Segment {
    Segment {
        name: SegmentName::new(Lsn(lsn), start()),
        next_xid: Some(next_xid),
    }
}

fn set(lsn: u64) -> GlobalsName {
    GlobalsName::new(Lsn(lsn), start())
}

/// A base and a segment a day: the base of day n has LSN and xmin 10 n + 5, the segment begins at 10 n.
pub fn daily(number: u32, days: std::ops::Range<u64>) -> Chain {
    Chain {
        number,
        bases: days
            .clone()
            .map(|n| base(10 * n + 5, day(n as i64)))
            .collect(),
        segments: days.map(|n| segment(10 * n, 10 * n)).collect(),
        ..Chain::default()
    }
}

pub fn kept<N: Copy>(decisions: &[Decision<N>]) -> Vec<N> {
    let kept = decisions.iter().filter(|decision| !decision.expires);
    kept.map(|decision| decision.name).collect()
}

/// The days of the bases that a plan keeps.
fn days_kept(plan: &Plan) -> Vec<u64> {
    kept(&plan.bases)
        .iter()
        .map(|name| name.lsn.0 / 10)
        .collect()
}

fn segments_kept(plan: &Plan) -> Vec<u64> {
    kept(&plan.segments)
        .iter()
        .map(|name| name.start_lsn.0 / 10)
        .collect()
}

fn why(plan: &Plan, day: u64) -> Why {
    let of_day = plan.bases.iter().find(|d| d.name.lsn.0 / 10 == day);
    of_day.unwrap().why.clone()
}

#[test]
fn the_window_begins_at_the_newest_base_that_is_old_enough() {
    let chain = daily(1, 0..20);
    let rules = Rules {
        keep_base: Some(TimeDelta::zero()),
        keep_monthly: 0,
        ..WEEK
    };
    let plans = plan(std::slice::from_ref(&chain), &rules, after(19));
    assert_eq!(days_kept(&plans[0]), (12..20).collect::<Vec<_>>());
    assert_eq!(segments_kept(&plans[0]), (12..20).collect::<Vec<_>>());
    assert_eq!(why(&plans[0], 12), Why::BeginsWindow);
    assert_eq!(why(&plans[0], 13), Why::InWindow);
    assert_eq!(why(&plans[0], 19), Why::Newest);
    assert_eq!(why(&plans[0], 11), Why::OldBase);
    let plans = plan(&[chain], &rules, day(19));
    assert_eq!(days_kept(&plans[0]), (11..20).collect::<Vec<_>>());
}

#[test]
fn while_no_base_is_old_enough_everything_stays() {
    let plans = plan(&[daily(1, 0..7)], &WEEK, after(6));
    assert!(plans[0].bases.iter().all(|d| !d.expires));
    assert!(plans[0].segments.iter().all(|d| !d.expires));
}

#[test]
fn without_a_base_everything_stays() {
    let mut chain = daily(1, 0..100);
    chain.bases.clear();
    chain.globals = vec![set(1), set(2)];
    let plans = plan(&[chain], &WEEK, after(1000));
    assert!(plans[0].segments.iter().all(|d| d.why == Why::NoBase));
    assert_eq!(kept(&plans[0].globals).len(), 2);
}

#[test]
fn for_ever_is_for_ever() {
    let rules = Rules {
        keep_incremental: None,
        ..WEEK
    };
    let plans = plan(
        &[daily(1, 0..100), daily(2, 100..110)],
        &rules,
        day(100_000),
    );
    assert!(plans
        .iter()
        .all(|p| p.bases.iter().all(|d| !d.expires) && !p.is_whole));
    assert!(plans.iter().all(|p| p.segments.iter().all(|d| !d.expires)));
    let rules = Rules {
        keep_base: None,
        ..WEEK
    };
    let plans = plan(&[daily(1, 0..100)], &rules, after(100_000));
    assert_eq!(kept(&plans[0].bases).len(), 100);
}

#[test]
fn an_old_transaction_keeps_the_segments_that_its_base_reaches_back_to() {
    let mut chain = daily(1, 0..20);
    // A transaction of day 3 was open when the base of day 14 was taken.
    chain.bases[14].xmin = 35;
    let plans = plan(&[chain], &WEEK, after(19));
    assert_eq!(segments_kept(&plans[0]), (3..20).collect::<Vec<_>>());
}

#[test]
fn a_segment_that_nobody_knows_keeps_those_before_it() {
    let mut chain = daily(1, 0..20);
    chain.segments[5].next_xid = None;
    let plans = plan(&[chain], &WEEK, after(19));
    assert_eq!(segments_kept(&plans[0]), (4..20).collect::<Vec<_>>());
}

#[test]
fn the_newest_base_and_what_it_needs_stay_whatever_their_age() {
    let mut chain = daily(1, 0..3);
    chain.globals = vec![set(1), set(24), set(27)];
    let plans = plan(&[chain], &WEEK, after(10_000));
    assert_eq!(why(&plans[0], 2), Why::Newest);
    assert_eq!(segments_kept(&plans[0]), [2]);
    // The first of the month stands alone, with the globals of its moment.
    assert_eq!(days_kept(&plans[0]), [0, 2]);
    assert_eq!(kept(&plans[0].globals), [set(1), set(24), set(27)]);
}

#[test]
fn the_last_closed_segment_stays_because_the_open_one_names_it() {
    let mut chain = daily(1, 0..3);
    chain.segments.pop();
    chain.segments.push(segment(20, 26));
    let plans = plan(std::slice::from_ref(&chain), &WEEK, after(100));
    // The base of day 2 has xmin 25: it begins with the segment of day 1.
    assert_eq!(segments_kept(&plans[0]), [1, 2]);
    chain.segments.pop();
    chain.segments.pop();
    let plans = plan(&[chain], &WEEK, after(100));
    assert_eq!(segments_kept(&plans[0]), [0]);
}

#[test]
fn older_bases_stand_alone_as_long_as_keep_base_says() {
    let plans = plan(
        &[daily(1, 0..100)],
        &Rules {
            keep_monthly: 0,
            ..WEEK
        },
        after(99),
    );
    assert_eq!(days_kept(&plans[0]), (70..100).collect::<Vec<_>>());
    assert_eq!(why(&plans[0], 70), Why::Young);
    assert_eq!(segments_kept(&plans[0]), (92..100).collect::<Vec<_>>());
}

#[test]
fn the_first_base_of_each_of_the_last_months_stays() {
    let plans = plan(&[daily(1, 0..800)], &WEEK, after(799));
    let names = kept(&plans[0].bases);
    let firsts: Vec<String> = names
        .iter()
        .filter(|name| why(&plans[0], name.lsn.0 / 10) == Why::Monthly)
        .map(|name| name.taken_at.format("%Y-%m-%d").to_string())
        .collect();
    // Day 799 is 2028-03-14; the first of March, 13 days old, is kept by keep_base already.
    assert_eq!(firsts.len(), 11, "{firsts:?}");
    assert!(
        firsts.iter().all(|date| date.ends_with("-01")),
        "{firsts:?}"
    );
    assert_eq!(
        (firsts[0].as_str(), firsts[10].as_str()),
        ("2027-04-01", "2028-02-01")
    );
}

#[test]
fn keep_base_below_keep_incremental_takes_nothing_from_the_window() {
    let rules = Rules {
        keep_base: Some(TimeDelta::days(1)),
        keep_monthly: 0,
        ..WEEK
    };
    let plans = plan(&[daily(1, 0..20)], &rules, after(19));
    assert_eq!(days_kept(&plans[0]), (12..20).collect::<Vec<_>>());
}

#[test]
fn a_pinned_base_stays_alone_until_its_pin_lapses() {
    let mut chain = daily(1, 0..100);
    let pin = Pin {
        base: chain.bases[40].name.to_string(),
        until: Some(day(150)),
        note: "before the great migration".to_owned(),
        pinned_at: day(41),
    };
    chain.bases[40].pin = Some(pin.clone());
    chain.globals = vec![set(10), set(404), set(407), set(900)];
    let rules = Rules {
        keep_monthly: 0,
        ..WEEK
    };
    let plans = plan(std::slice::from_ref(&chain), &rules, after(99));
    assert_eq!(why(&plans[0], 40), Why::Pinned(pin));
    assert_eq!(segments_kept(&plans[0]), (92..100).collect::<Vec<_>>());
    // The set of the pinned moment, and that of the window's beginning (which is that of day 70, too).
    assert_eq!(kept(&plans[0].globals), [set(404), set(407), set(900)]);
    let plans = plan(&[chain], &rules, after(150));
    assert_eq!(why(&plans[0], 40), Why::OldBase);
}

#[test]
fn an_old_chain_goes_by_the_same_rules_and_as_a_whole_at_last() {
    let old = daily(1, 0..10);
    let new = daily(2, 10..20);
    let chains = [old, new];
    // The window still begins in the old chain.
    let plans = plan(&chains, &WEEK, after(16));
    assert_eq!(segments_kept(&plans[0]), [9]);
    assert_eq!(segments_kept(&plans[1]), (10..20).collect::<Vec<_>>());
    // Now in the new one: the old one's bases stand alone.
    let plans = plan(&chains, &WEEK, after(19));
    assert!(segments_kept(&plans[0]).is_empty() && !plans[0].is_whole);
    assert_eq!(days_kept(&plans[0]), (0..10).collect::<Vec<_>>());
    assert_eq!(segments_kept(&plans[1]), (12..20).collect::<Vec<_>>());
    let rules = Rules {
        keep_monthly: 0,
        ..WEEK
    };
    let plans = plan(&chains, &rules, after(45));
    assert!(plans[0].is_whole);
    assert_eq!(days_kept(&plans[1]), [16, 17, 18, 19]);
}

#[test]
fn a_new_chain_without_a_base_takes_nothing_from_the_old_one() {
    let old = daily(1, 0..10);
    let mut new = daily(2, 10..60);
    new.bases.clear();
    let plans = plan(&[old, new], &WEEK, after(60));
    assert_eq!(why(&plans[0], 9), Why::Newest);
    assert_eq!(segments_kept(&plans[0]), [9]);
    assert_eq!(segments_kept(&plans[1]).len(), 50);
}

#[test]
fn a_damaged_base_takes_nobodys_place_and_stays() {
    let mut chain = daily(1, 0..20);
    chain.bases[12].flaw = Some("dump.sql is missing".to_owned());
    chain.bases[2].flaw = Some("so is this".to_owned());
    let rules = Rules {
        keep_base: Some(TimeDelta::zero()),
        keep_monthly: 0,
        ..WEEK
    };
    let plans = plan(&[chain], &rules, after(19));
    assert_eq!(why(&plans[0], 11), Why::BeginsWindow);
    assert!(matches!(why(&plans[0], 12), Why::Flawed(_)));
    assert!(matches!(why(&plans[0], 2), Why::Flawed(_)));
    assert_eq!(segments_kept(&plans[0]), (11..20).collect::<Vec<_>>());
}

#[test]
fn a_clock_that_was_behind_for_a_while_lets_nothing_go_too_early() {
    let mut chain = daily(1, 0..20);
    // From day 15 on the clock says 1970: these bases look ancient.
    for base in &mut chain.bases[15..] {
        base.name.taken_at = Time::UNIX_EPOCH;
    }
    let plans = plan(&[chain], &WEEK, after(19));
    assert_eq!(segments_kept(&plans[0]), (12..20).collect::<Vec<_>>());
}

#[test]
fn a_clock_that_was_ahead_for_a_while_does_not_stop_retention_for_ever() {
    let mut chain = daily(1, 0..20);
    for base in &mut chain.bases[5..8] {
        base.name.taken_at += TimeDelta::days(5000);
    }
    let rules = Rules {
        keep_monthly: 0,
        archived_only: false,
        keep_base: Some(TimeDelta::zero()),
        ..WEEK
    };
    let plans = plan(&[chain], &rules, after(19));
    assert_eq!(days_kept(&plans[0]), (12..20).collect::<Vec<_>>());
}

#[test]
fn a_clock_that_is_set_back_keeps_more_not_less() {
    let plans = plan(&[daily(1, 0..20)], &WEEK, after(-300));
    assert!(plans[0].bases.iter().all(|d| !d.expires));
    assert!(plans[0].segments.iter().all(|d| !d.expires));
}

#[test]
fn what_nobody_has_copied_stays_and_keeps_the_segments_behind_it() {
    let rules = Rules {
        keep_base: Some(TimeDelta::zero()),
        keep_monthly: 0,
        ..WEEK
    };
    let mut chain = daily(1, 0..20);
    chain.unarchived.bases.insert(chain.bases[4].name);
    chain.unarchived.segments.insert(chain.segments[6].name);
    let plans = plan(std::slice::from_ref(&chain), &rules, after(19));
    let expected: Vec<u64> = std::iter::once(4).chain(12..20).collect();
    assert_eq!(days_kept(&plans[0]), expected);
    assert_eq!(why(&plans[0], 4), Why::NotArchived);
    assert_eq!(segments_kept(&plans[0]), (6..20).collect::<Vec<_>>());
    // A chain before the window goes as a whole only when nothing of it is missing elsewhere.
    let newer = daily(2, 20..40);
    let mut older = daily(1, 0..20);
    older.unarchived.rest = true;
    let plans = plan(&[older.clone(), newer.clone()], &rules, after(39));
    assert!(!plans[0].is_whole && plans[0].bases.iter().all(|d| d.expires));
    older.unarchived.rest = false;
    assert!(plan(&[older, newer], &rules, after(39))[0].is_whole);
}
