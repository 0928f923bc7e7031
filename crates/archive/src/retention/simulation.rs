//! Long simulations, one regular and many random ones: no point that must be kept may be lost.
#![allow(clippy::unwrap_used)]

use chrono::TimeDelta;
use proptest::prelude::*;

use super::tests::{after, base, daily, kept, segment, start, WEEK};
use super::*;

/// What a restore to `lsn` needs: a complete base at or before it, and every segment from the base's first to
/// the one that contains the LSN.
fn is_reachable(original: &Chain, now: &Chain, lsn: u64) -> bool {
    now.bases
        .iter()
        .filter(|base| base.flaw.is_none() && base.name.lsn.0 <= lsn)
        .any(|base| {
            let from = first_segment(&original.segments, base.xmin);
            let needed = original.segments[from..].iter();
            let mut needed = needed.take_while(|segment| segment.name.start_lsn.0 <= lsn);
            needed.all(|segment| now.segments.iter().any(|s| s.name == segment.name))
        })
}

/// Removes what expires.
fn apply(chains: &mut [Chain], rules: &Rules, now: Time) {
    let plans = plan(chains, rules, now);
    for (chain, plan) in chains.iter_mut().zip(&plans) {
        let (bases, segments) = (kept(&plan.bases), kept(&plan.segments));
        chain.bases.retain(|base| bases.contains(&base.name));
        chain
            .segments
            .retain(|segment| segments.contains(&segment.name));
        if plan.is_whole {
            chain.bases.clear();
            chain.segments.clear();
        }
    }
}

#[test]
fn over_two_years_no_moment_of_the_last_week_is_lost_and_nothing_piles_up() {
    let all = [daily(1, 0..300), daily(2, 300..731)];
    let mut archive: Vec<Chain> = Vec::new();
    for today in 0..731u64 {
        let chain = usize::from(today >= 300);
        if archive.len() == chain {
            archive.push(Chain {
                number: chain as u32 + 1,
                ..Chain::default()
            });
        }
        let place = if chain == 0 { today } else { today - 300 } as usize;
        archive[chain].segments.push(all[chain].segments[place]);
        archive[chain].bases.push(all[chain].bases[place].clone());
        apply(&mut archive, &WEEK, after(today as i64));
        for back in 0..=7.min(today) {
            let then = today - back;
            let chain = usize::from(then >= 300);
            assert!(
                is_reachable(&all[chain], &archive[chain], 10 * then + 5),
                "day {then} on day {today}"
            );
        }
        let bases: usize = archive.iter().map(|chain| chain.bases.len()).sum();
        let segments: usize = archive.iter().map(|chain| chain.segments.len()).sum();
        assert!(
            bases <= 31 + 12 && segments <= 9,
            "{bases} bases, {segments} segments on day {today}"
        );
    }
    assert!(archive[0].segments.is_empty());
    assert!(is_reachable(&all[1], &archive[1], 7305));
}

/// One day of a random simulation.
#[derive(Debug, Clone)]
struct Day {
    hours: i64,
    segments: u8,
    bases: u8,
    /// How far the snapshot of a base reaches back.
    reach: u64,
    flawed: bool,
    new_chain: bool,
    pinned: bool,
}

fn days() -> impl Strategy<Value = Vec<Day>> {
    let day = (0..60i64, 0..4u8, 0..3u8, 0..40u64, 0..40u8, 0..10u8).prop_map(
        |(hours, segments, bases, reach, rare, pinned)| Day {
            hours,
            segments,
            bases,
            reach: if reach > 30 { reach * 3 } else { 0 },
            flawed: rare == 0,
            new_chain: rare == 1,
            pinned: pinned == 0,
        },
    );
    proptest::collection::vec(day, 1..120)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]
    /// Whatever happened, with expiry run every day: every point since `keep_incremental` that could be
    /// restored before can be restored after; pinned bases exist; segments are removed from the oldest on;
    /// and after a plan was executed nothing remains to be done.
    #[test]
    fn no_promise_is_broken(days in days(), incremental in 0..20i64, base_days in 0..40i64, monthly in 0..4u32) {
        let rules = Rules {
            keep_incremental: Some(TimeDelta::days(incremental)),
            keep_base: Some(TimeDelta::days(base_days)),
            keep_monthly: monthly,
            archived_only: false,
        };
        let mut all = vec![Chain { number: 1, ..Chain::default() }];
        let mut archive = all.clone();
        let mut moments: Vec<(usize, u64, Time)> = Vec::new();
        let (mut lsn, mut now) = (10u64, start());
        for day in days {
            now += TimeDelta::hours(day.hours);
            if day.new_chain {
                let number = all.len() as u32 + 1;
                all.push(Chain { number, ..Chain::default() });
                archive.push(Chain { number, ..Chain::default() });
            }
            let chain = all.len() - 1;
            for place in 0..day.segments.max(day.bases) {
                if place < day.segments {
                    lsn += 10;
                    all[chain].segments.push(segment(lsn, lsn));
                    archive[chain].segments.push(segment(lsn, lsn));
                }
                if place < day.bases && !all[chain].segments.is_empty() {
                    lsn += 1;
                    let mut made = base(lsn, now);
                    // No later snapshot has an earlier xmin.
                    let before = all[chain].bases.last().map_or(0, |base| base.xmin);
                    made.xmin = lsn.saturating_sub(day.reach).max(before);
                    made.flaw = day.flawed.then(|| "flawed".to_owned());
                    made.pin = day.pinned.then(|| Pin {
                        base: made.name.to_string(),
                        until: None,
                        note: String::new(),
                        pinned_at: now,
                    });
                    all[chain].bases.push(made.clone());
                    archive[chain].bases.push(made);
                }
                lsn += 1;
                moments.push((chain, lsn, now));
            }
            let before = archive.clone();
            apply(&mut archive, &rules, now);
            let limit = now - TimeDelta::days(incremental);
            for (chain, lsn, at) in moments.iter().filter(|(_, _, at)| *at >= limit) {
                let was = is_reachable(&all[*chain], &before[*chain], *lsn);
                let is = is_reachable(&all[*chain], &archive[*chain], *lsn);
                prop_assert!(!was || is, "chain {chain}, {lsn} of {at} on {now}");
            }
            for (before, after) in before.iter().zip(&archive) {
                let gone = before.segments.len() - after.segments.len();
                prop_assert!(before.segments[gone..].iter().map(|s| s.name).eq(after.segments.iter().map(|s| s.name)));
                let pinned = before.bases.iter().filter(|base| base.pin.is_some());
                for base in pinned {
                    prop_assert!(after.bases.iter().any(|b| b.name == base.name));
                }
            }
            let newest = |chains: &[Chain]| {
                let bases = chains.iter().rev().flat_map(|chain| chain.bases.iter().rev());
                bases.filter(|base| base.flaw.is_none()).map(|base| base.name).next()
            };
            prop_assert_eq!(newest(&before), newest(&archive));
            let again = plan(&archive, &rules, now);
            prop_assert!(again.iter().all(|p| p.bases.iter().all(|d| !d.expires) && p.segments.iter().all(|d| !d.expires)));
        }
    }
}
