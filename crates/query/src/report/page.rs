//! The page itself: plain HTML and CSS in one file, readable with scripts and images off, light or dark
//! as the reader's system is.

use archive::counted;
use maud::{html, Markup, PreEscaped, DOCTYPE};

use super::beside::{self, Section};
use super::charts;
use super::facts::{Base, Report, Table};
use super::text::{count, moment, size, span, visible};
use super::Health;

/// More tables are summed up in the last row.
const TABLES: usize = 15;
/// More bases stand behind a fold.
const BASES: usize = 12;

const STYLE: &str = include_str!("../../templates/report.css");
/// Nothing is loaded and nothing runs, whatever a text on the page says.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";

/// The whole page.
pub fn html(report: &Report, health: &[Health], sections: &[Section]) -> String {
    let level = worst(health);
    let name = visible(&report.database);
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (name) ": backup report" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                main {
                    header {
                        div {
                            p.over { "pg_incrbackup" }
                            h1 { (name) }
                            p.quiet {
                                "as of " (moment(report.generated_at)) " UTC · system identifier "
                                (report.system_identifier)
                            }
                        }
                        p class={ "level " (level) } { (level) }
                    }
                    (tiles(report))
                    (health_section(report, health))
                    (timeline(report))
                    (days(report))
                    (tables(report))
                    (bases(report))
                    @for section in sections { (beside::section(section)) }
                    (ddl(report))
                    footer {
                        p {
                            "Written by " code { "incr_report()" } ". Times are UTC. To restore, run "
                            code { "sh restore.sh --target 'dbname=…' --until-time '…'" }
                            " beside this page."
                        }
                    }
                }
            }
        }
    };
    page.into_string()
}

fn worst(health: &[Health]) -> &'static str {
    let levels = ["emergency", "critical", "warning", "ok"];
    let is = |level: &&&str| health.iter().any(|health| health.level == **level);
    levels.iter().find(is).copied().unwrap_or("unknown")
}

fn tiles(report: &Report) -> Markup {
    let windows = report.windows();
    let gaps = report.gaps();
    let (segments, bases) = report.bytes();
    let restorable = match (windows.first(), windows.last()) {
        (Some((from, _)), Some((_, to))) => (
            span(*to - *from),
            if gaps.is_empty() {
                format!("every moment since {}", moment(*from))
            } else {
                format!(
                    "since {}, but for {}",
                    moment(*from),
                    counted(count(gaps.len() as u64), "gap")
                )
            },
        ),
        _ => (
            "nothing".to_owned(),
            "no base joins the segments".to_owned(),
        ),
    };
    let newest = report.bases().map(|base| base.name.taken_at).max();
    let base = match newest {
        Some(at) => (
            span(report.generated_at - at),
            format!(
                "ago; {}, {}",
                counted(count(report.bases().count() as u64), "base"),
                size(bases)
            ),
        ),
        None => ("none".to_owned(), "nothing can be restored".to_owned()),
    };
    let transactions: u64 = report.segments().map(|segment| segment.transactions).sum();
    let plain: u64 = report.segments().map(|segment| segment.bytes).sum();
    let week = report.generated_at.date_naive() - chrono::Days::new(7);
    let recent = report.days.range(week..).map(|(_, day)| day.stored);
    let recent: f64 = recent.sum();
    let started = report.segments().map(|segment| segment.from).min();
    let days = started.map_or(1.0, |at| {
        (report.generated_at - at).as_seconds_f64() / 86_400.0
    });
    let rate = recent / days.clamp(1.0, 7.0);
    let stored = if plain > segments {
        format!("{} of SQL, compressed", size(plain))
    } else {
        format!("{} in segments", size(segments))
    };
    let tiles = [
        ("Can be restored", restorable.0, restorable.1),
        ("Newest base", base.0, base.1),
        ("Archive", size(segments + bases), stored),
        (
            "A day adds",
            size(rate as u64),
            "segments, mean of the last week".to_owned(),
        ),
        (
            "Transactions",
            count(transactions),
            format!(
                "in {}",
                counted(count(report.segments().count() as u64), "segment")
            ),
        ),
    ];
    html! {
        section.tiles {
            @for (name, value, note) in tiles {
                div.tile { h2 { (name) } p.value { (value) } p.quiet { (note) } }
            }
        }
    }
}

fn health_section(report: &Report, health: &[Health]) -> Markup {
    html! {
        section.card #health {
            h2 { "Health" }
            @for health in health { (slot(health)) }
            @if health.is_empty() { p.quiet { "Not known." } }
            @if !report.problems.is_empty() {
                h3 { "Problems of the files" }
                ul.problems {
                    @for problem in &report.problems { li { (visible(problem)) } }
                }
            }
        }
    }
}

fn slot(health: &Health) -> Markup {
    let level = match health.level.as_str() {
        level @ ("ok" | "warning" | "critical" | "emergency") => level,
        _ => "unknown",
    };
    html! {
        div.slot {
            p {
                span class={ "level " (level) } { (level) }
                " "
                strong { (visible(&health.slot)) }
            }
            @if !health.reasons.is_empty() {
                ul {
                    @for reason in &health.reasons { li { (visible(reason)) } }
                }
            }
            dl {
                @for (name, value) in &health.facts {
                    div { dt { (visible(name)) } dd { (visible(value)) } }
                }
            }
        }
    }
}

fn timeline(report: &Report) -> Markup {
    let legend = [
        ("key-window", "every moment can be restored"),
        ("key-segment", "segment"),
        ("key-base", "base"),
        ("key-alone", "base that can only be restored by itself"),
        ("key-gap", "gap"),
    ];
    let gaps = report.gaps();
    let chains = report.chains.iter();
    let ended: Vec<_> = chains
        .filter_map(|chain| Some((chain.number, chain.ended.as_ref()?)))
        .collect();
    html! {
        section.card #timeline {
            h2 { "Timeline" }
            div.scroll { (charts::timeline(report)) }
            ul.legend {
                @for (key, what) in legend { li { i class=(key) {} (what) } }
            }
            @if !gaps.is_empty() {
                h3 { "Gaps" }
                ul {
                    @for (from, to) in gaps {
                        li { (moment(from)) " to " (moment(to)) " (" (span(to - from)) ")" }
                    }
                }
            }
            @if !ended.is_empty() {
                h3 { "Chains that ended" }
                ul {
                    @for (number, (at, reason)) in ended {
                        li { "chain-" (number) ", " (moment(*at)) ": " (visible(reason)) }
                    }
                }
            }
        }
    }
}

fn days(report: &Report) -> Markup {
    html! {
        section.pair {
            div.card {
                h2 { "Segments " span.quiet { "bytes a day, as stored" } }
                (charts::daily(report, "Segments, bytes a day", |day| day.stored, true))
            }
            div.card {
                h2 { "Transactions " span.quiet { "a day" } }
                (charts::daily(report, "Transactions a day", |day| day.transactions, false))
            }
        }
    }
}

fn tables(report: &Report) -> Markup {
    let all: u64 = report.tables.iter().map(|table| table.bytes).sum();
    let most = report.tables.first().map_or(0, |table| table.bytes);
    let (shown, rest) = report.tables.split_at(report.tables.len().min(TABLES));
    let sum = rest.iter().fold(Table::default(), |sum, table| Table {
        name: String::new(),
        inserts: sum.inserts + table.inserts,
        updates: sum.updates + table.updates,
        deletes: sum.deletes + table.deletes,
        truncates: sum.truncates + table.truncates,
        bytes: sum.bytes + table.bytes,
    });
    let percent = |part: u64, whole: u64| part as f64 / whole.max(1) as f64 * 100.0;
    let row = |name: Markup, table: &Table| {
        let counts = [table.inserts, table.updates, table.deletes, table.truncates];
        let width = percent(table.bytes, most).min(100.0);
        let share = percent(table.bytes, all);
        html! {
            tr {
                td { (name) }
                @for number in counts { td.n { (count(number)) } }
                td.n { (size(table.bytes)) }
                td.share {
                    span.meter { span style={ "width:" (format_args!("{width:.1}")) "%" } {} }
                    span.n { (format_args!("{share:.1}")) " %" }
                }
            }
        }
    };
    html! {
        section.card #tables {
            h2 { "Busiest tables " span.quiet { "in the segments that are kept" } }
            @if report.tables.is_empty() {
                p.quiet { "No rows were written." }
            } @else {
                div.scroll {
                    table {
                        thead {
                            tr {
                                th { "Table" }
                                @for what in ["Inserts", "Updates", "Deletes", "Truncates", "SQL"] {
                                    th.n { (what) }
                                }
                                th.share { "Share" }
                            }
                        }
                        tbody {
                            @for table in shown {
                                (row(html! { code { (visible(&table.name)) } }, table))
                            }
                            @if !rest.is_empty() {
                                (row(html! { em { (count(rest.len() as u64)) " more" } }, &sum))
                            }
                        }
                    }
                }
            }
        }
    }
}

fn bases(report: &Report) -> Markup {
    let chains = report.chains.iter().rev();
    let bases: Vec<_> = chains
        .flat_map(|chain| chain.bases.iter().rev().map(|base| (chain.number, base)))
        .collect();
    let (shown, rest) = bases.split_at(bases.len().min(BASES));
    html! {
        section.card #bases {
            h2 { "Base backups" }
            @if shown.is_empty() {
                p.quiet { "There is none." }
            } @else {
                (table_of_bases(shown))
            }
            @if !rest.is_empty() {
                details {
                    summary { (count(rest.len() as u64)) " more" }
                    (table_of_bases(rest))
                }
            }
        }
    }
}

fn table_of_bases(bases: &[(u32, &Base)]) -> Markup {
    let took = |seconds: Option<f64>| seconds.map_or("–".to_owned(), |s| format!("{s:.1} s"));
    let pin = |note: &str| match note {
        "" => "pinned".to_owned(),
        note => format!("pinned: {}", visible(note)),
    };
    html! {
        div.scroll {
            table {
                thead {
                    tr {
                        th { "Taken" }
                        th { "Base" }
                        th.n { "Size" }
                        th.n { "Took" }
                        th { "Use" }
                        th {}
                    }
                }
                tbody {
                    @for (chain, base) in bases {
                        tr {
                            td { (moment(base.name.taken_at)) }
                            td { code { "chain-" (chain) "/base/" (base.name) } }
                            td.n { (size(base.bytes)) }
                            td.n { (took(base.seconds)) }
                            td {
                                @if base.joins { "joins the segments" }
                                @else { "can only be restored by itself: a single point" }
                            }
                            td { (base.pin.as_deref().map(pin).unwrap_or_default()) }
                        }
                    }
                }
            }
        }
    }
}

fn ddl(report: &Report) -> Markup {
    let earlier = report.ddl_count.saturating_sub(report.ddl.len() as u64);
    html! {
        section.card #ddl {
            h2 { "Schema changes " span.quiet { "of the last four weeks" } }
            @if report.ddl.is_empty() {
                p.quiet { "There were none." }
            } @else {
                div.scroll.tall {
                    table {
                        thead {
                            tr {
                                th { "Committed" }
                                th { "Role" }
                                th { "Command" }
                                th { "Statement" }
                            }
                        }
                        tbody {
                            @for ddl in &report.ddl {
                                tr {
                                    td.time { (moment(ddl.at)) }
                                    td { (visible(&ddl.role)) }
                                    td { (visible(&ddl.command)) }
                                    td.sql {
                                        @match &ddl.text {
                                            Some(text) => code { (visible(text)) },
                                            None => span.quiet { "not shown: it may hold secrets" },
                                        }
                                    }
                                }
                            }
                        }
                    }
                }
                @if earlier > 0 { p.quiet { "and " (count(earlier)) " earlier ones" } }
            }
        }
    }
}
