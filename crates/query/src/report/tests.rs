//! The page of an archive that is made up: five weeks, two chains, a gap.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use chrono::{TimeDelta, Timelike};

use super::facts::{Base, Chain, Day, Ddl, Report, Segment, Stretch, Table};
use super::{page, Health, Section};
use archive::layout::BaseName;
use archive::time::{parse_iso, Time};
use archive::Lsn;

fn now() -> Time {
    parse_iso("2026-11-21T23:40:00.000000Z").unwrap()
}

fn hours(hours: i64) -> TimeDelta {
    TimeDelta::hours(hours)
}

/// A segment for each two hours from `from` to `to`, more in the daytime.
fn stretch(from: Time, to: Time, restorable_from: Option<Time>) -> Stretch {
    let mut segments = Vec::new();
    let mut at = from;
    while at < to {
        let end = (at + hours(2)).min(to);
        let busy = 1.0 + 5.0 * f64::from(i32::from((8..19).contains(&at.hour())));
        let wave = 1.0 + (at.timestamp() as f64 / 86_400.0 * 1.7).sin() * 0.45;
        let bytes = (9_000_000.0 * busy * wave) as u64;
        segments.push(Segment::made_up(at, end, bytes, end == to && to == now()));
        at = end;
    }
    Stretch::made_up(from, to, restorable_from, segments)
}

fn base(at: Time, nth: u64, joins: bool) -> Base {
    let name = BaseName::new(Lsn(0x15E_0F88 + nth * 0x110_0000), at);
    Base::made_up(name, 880_000_000 + nth * 6_000_000, joins)
}

fn sample() -> Report {
    let day = |nth: i64| now() - TimeDelta::days(nth) - TimeDelta::minutes(1300);
    let old_end = day(20) + hours(9);
    let new_start = old_end + hours(7);
    let (mut old, mut new) = (Vec::new(), Vec::new());
    for nth in (0..36).rev() {
        let at = day(nth);
        if at < old_end && (nth == 35 || nth < 28) {
            old.push(base(at, 35 - nth as u64, nth < 28));
        } else if at > new_start {
            new.push(base(at, 35 - nth as u64, true));
        }
    }
    new.insert(0, base(new_start, 15, true));
    let mut report = Report {
        database: "shop".to_owned(),
        generated_at: now(),
        system_identifier: 7_300_000_000_000_000_001,
        plugin: "pg_incrbackup".to_owned(),
        chains: vec![
            Chain {
                number: 1,
                started_at: day(36),
                ended: Some((
                    old_end,
                    "the slot was lost: max_slot_wal_keep_size".to_owned(),
                )),
                bases: old,
                stretches: vec![stretch(day(27), old_end, Some(day(27)))],
                follows_gap: false,
            },
            Chain {
                number: 2,
                started_at: new_start,
                ended: None,
                bases: new,
                stretches: vec![stretch(new_start, now(), Some(new_start))],
                follows_gap: true,
            },
        ],
        days: BTreeMap::new(),
        tables: Vec::new(),
        ddl: Vec::new(),
        ddl_count: 7,
        problems: Vec::new(),
    };
    let mut days: BTreeMap<_, Day> = BTreeMap::new();
    for segment in report.segments() {
        let day = days.entry(segment.from.date_naive()).or_default();
        day.stored += segment.stored as f64;
        day.transactions += segment.transactions as f64;
    }
    report.days = days;
    let names = [
        "public.order_lines",
        "public.orders",
        "public.sessions",
        "public.stock",
        "billing.invoices",
        "public.customers",
        "public.\"<script>alert(1)</script>\"",
        "audit.log",
        "public.carts",
        "public.prices",
        "public.addresses",
        "billing.payments",
        "public.products",
        "public.coupons",
        "public.reviews",
        "public.images",
        "public.tags",
    ];
    let mut bytes = 4_100_000_000u64;
    for (nth, name) in names.iter().enumerate() {
        bytes = bytes * 6 / 10;
        report.tables.push(Table {
            name: (*name).to_owned(),
            inserts: bytes / 190,
            updates: bytes / 260,
            deletes: bytes / 4000,
            truncates: (nth == 8).into(),
            bytes,
        });
    }
    let ddl = [
        (3, "deploy", "ALTER TABLE", "ALTER TABLE orders ADD COLUMN delivery_note text"),
        (20, "deploy", "CREATE INDEX", "CREATE INDEX CONCURRENTLY orders_customer_idx\n    ON orders (customer_id)"),
        (52, "alice", "CREATE TABLE", "CREATE TABLE coupons (\n    code text PRIMARY KEY,\n    percent numeric(4,1) NOT NULL CHECK (percent BETWEEN 0 AND 90),\n    valid_until date\n)"),
        (99, "postgres", "CREATE USER MAPPING", ""),
        (180, "deploy", "ALTER TABLE", "ALTER TABLE billing.invoices ALTER COLUMN amount TYPE numeric(14,2)"),
        (301, "mallory", "CREATE TABLE", "CREATE TABLE \"<script>alert(1)</script>\" ()"),
        (420, "deploy", "DROP TABLE", "DROP TABLE old_orders"),
    ];
    for (before, role, command, text) in ddl {
        report.ddl.push(Ddl {
            at: now() - hours(before),
            role: role.to_owned(),
            command: command.to_owned(),
            text: (!text.is_empty()).then(|| text.to_owned()),
        });
    }
    report
}

fn health() -> Vec<Health> {
    let fact = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    vec![Health {
        slot: "pg_incrbackup_16384".to_owned(),
        level: "warning".to_owned(),
        reasons: vec!["the file system of the archive is 83 % full".to_owned()],
        facts: vec![
            fact("Last commit on disk", "2026-11-21 23:39:59"),
            fact("Oldest commit not yet on disk", "0.0 s"),
            fact("WAL held", "16 MB"),
            fact("WAL status", "reserved"),
            fact("Disk used", "83 %"),
        ],
    }]
}

/// What a server knows beside the files.
fn sections() -> Vec<Section> {
    let text = |parts: &[&str]| parts.iter().map(|part| (*part).to_owned()).collect();
    vec![
        Section {
            id: "drills",
            title: "Drills",
            facts: vec![("Last passed".to_owned(), "2026-11-20 03:00:12".to_owned())],
            columns: vec!["Started", "Result", "Took", "Restored to", "Found"],
            rows: vec![
                text(&[
                    "2026-11-20 03:00:12",
                    "passed",
                    "81.4 s",
                    "a throwaway server",
                    "41 tables, 61022 rows match",
                ]),
                text(&[
                    "2026-11-13 03:00:10",
                    "failed",
                    "78.0 s",
                    "a throwaway server",
                    "<i>found</i>",
                ]),
            ],
            ..Section::default()
        },
        Section {
            id: "offsite",
            title: "Copies off-site",
            remark:
                "pg_incrbackup.archive_command is not set: this program copies nothing elsewhere."
                    .to_owned(),
            ..Section::default()
        },
    ]
}

#[test]
fn the_page_shows_everything_and_escapes_it() {
    let report = sample();
    assert_eq!(report.gaps().len(), 1);
    assert_eq!(report.windows().len(), 2);
    let mut health = health();
    health[0].reasons.push("<b>bold</b>".to_owned());
    let html = page::html(&report, &health, &sections());
    for shown in [
        "chain-1",
        "order_lines",
        "delivery_note",
        "83 % full",
        "Gap of 7 h",
        "not shown: it may",
        "a throwaway server",
        "&lt;i&gt;found&lt;/i&gt;",
        "copies nothing elsewhere",
    ] {
        assert!(html.contains(shown), "{shown}");
    }
    assert!(!html.contains("<script") && !html.contains("<b>"));
    // Nothing is loaded from elsewhere.
    for foreign in ["http:", "https:", "src=", "@import", "url(http", "<link"] {
        assert!(!html.contains(foreign), "{foreign}");
    }
    assert_eq!(
        html.matches("<section").count(),
        html.matches("</section>").count()
    );
}

#[test]
fn an_empty_archive_has_a_page() {
    let report = Report {
        generated_at: now(),
        ..Report::default()
    };
    let html = page::html(&report, &[], &[]);
    assert!(html.contains("The archive is empty") && html.contains("nothing can be restored"));
}

#[test]
#[ignore = "writes the page of docs/report.png to the path of SAMPLE"]
fn write_the_sample() {
    let path = std::env::var("SAMPLE").unwrap();
    std::fs::write(path, page::html(&sample(), &health(), &sections())).unwrap();
}
