//! The page itself: plain HTML and CSS in one file, readable with scripts and images off, light or dark
//! as the reader's system is.

use std::fmt::Write;

use super::charts;
use super::facts::{Report, Table};
use super::text::{count, escape, moment, size, span};
use super::Health;

/// More tables are summed up in the last row.
const TABLES: usize = 15;
/// More bases stand behind a fold.
const BASES: usize = 12;

const STYLE: &str = include_str!("../../templates/report.css");

/// The whole page.
pub fn html(report: &Report, health: &[Health]) -> String {
    let level = worst(health);
    let name = escape(&report.database);
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{name}: backup report</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n\
         <header><div><p class=\"over\">pg_incrbackup</p><h1>{name}</h1>\
         <p class=\"quiet\">as of {} UTC &middot; system identifier {}</p></div>\
         <p class=\"level {level}\">{level}</p></header>\n",
        moment(report.generated_at),
        report.system_identifier
    );
    page.push_str(&tiles(report));
    page.push_str(&health_section(report, health));
    page.push_str(&timeline(report));
    page.push_str(&days(report));
    page.push_str(&tables(report));
    page.push_str(&bases(report));
    page.push_str(&ddl(report));
    let _ = write!(
        page,
        "<footer><p>Written by <code>incr_report()</code>. Times are UTC. To restore, run \
         <code>sh restore.sh --target 'dbname=…' --until-time '…'</code> beside this page.</p></footer>\n\
         </main>\n</body>\n</html>\n"
    );
    page
}

fn worst(health: &[Health]) -> &'static str {
    let levels = ["emergency", "critical", "warning", "ok"];
    let is = |level: &&&str| health.iter().any(|health| health.level == **level);
    levels.iter().find(is).copied().unwrap_or("unknown")
}

fn tiles(report: &Report) -> String {
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
                    plural(gaps.len(), "gap")
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
                plural(report.bases().count(), "base"),
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
            format!("in {}", plural(report.segments().count(), "segment")),
        ),
    ];
    let mut html = "<section class=\"tiles\">".to_owned();
    for (name, value, note) in tiles {
        let _ = write!(
            html,
            "<div class=\"tile\"><h2>{}</h2><p class=\"value\">{}</p><p class=\"quiet\">{}</p></div>",
            escape(name),
            escape(&value),
            escape(&note)
        );
    }
    html.push_str("</section>\n");
    html
}

fn plural(number: usize, what: &str) -> String {
    let s = if number == 1 { "" } else { "s" };
    format!("{} {what}{s}", count(number as u64))
}

fn health_section(report: &Report, health: &[Health]) -> String {
    let mut html = "<section class=\"card\" id=\"health\"><h2>Health</h2>".to_owned();
    for health in health {
        let level = match health.level.as_str() {
            level @ ("ok" | "warning" | "critical" | "emergency") => level,
            _ => "unknown",
        };
        let _ = write!(
            html,
            "<div class=\"slot\"><p><span class=\"level {level}\">{level}</span> <strong>{}</strong></p>",
            escape(&health.slot)
        );
        if !health.reasons.is_empty() {
            html.push_str("<ul>");
            for reason in &health.reasons {
                let _ = write!(html, "<li>{}</li>", escape(reason));
            }
            html.push_str("</ul>");
        }
        html.push_str("<dl>");
        for (name, value) in &health.facts {
            let _ = write!(
                html,
                "<div><dt>{}</dt><dd>{}</dd></div>",
                escape(name),
                escape(value)
            );
        }
        html.push_str("</dl></div>");
    }
    if health.is_empty() {
        html.push_str("<p class=\"quiet\">Not known.</p>");
    }
    if !report.problems.is_empty() {
        html.push_str("<h3>Problems of the files</h3><ul class=\"problems\">");
        for problem in &report.problems {
            let _ = write!(html, "<li>{}</li>", escape(problem));
        }
        html.push_str("</ul>");
    }
    html.push_str("</section>\n");
    html
}

fn timeline(report: &Report) -> String {
    let mut html = "<section class=\"card\" id=\"timeline\"><h2>Timeline</h2>".to_owned();
    html.push_str("<div class=\"scroll\">");
    html.push_str(&charts::timeline(report));
    html.push_str(
        "</div><ul class=\"legend\"><li><i class=\"key-window\"></i>every moment can be restored</li>\
         <li><i class=\"key-segment\"></i>segment</li><li><i class=\"key-base\"></i>base</li>\
         <li><i class=\"key-alone\"></i>base that can only be restored by itself</li>\
         <li><i class=\"key-gap\"></i>gap</li></ul>",
    );
    let gaps = report.gaps();
    if !gaps.is_empty() {
        html.push_str("<h3>Gaps</h3><ul>");
        for (from, to) in &gaps {
            let _ = write!(
                html,
                "<li>{} to {} ({})</li>",
                moment(*from),
                moment(*to),
                span(*to - *from)
            );
        }
        html.push_str("</ul>");
    }
    let ended = report
        .chains
        .iter()
        .filter_map(|chain| Some((chain.number, chain.ended.as_ref()?)));
    let ended: Vec<_> = ended.collect();
    if !ended.is_empty() {
        html.push_str("<h3>Chains that ended</h3><ul>");
        for (number, (at, reason)) in ended {
            let _ = write!(
                html,
                "<li>chain-{number}, {}: {}</li>",
                moment(*at),
                escape(reason)
            );
        }
        html.push_str("</ul>");
    }
    html.push_str("</section>\n");
    html
}

fn days(report: &Report) -> String {
    let stored = charts::daily(report, "Segments, bytes a day", |day| day.stored, true);
    let transactions = charts::daily(report, "Transactions a day", |day| day.transactions, false);
    format!(
        "<section class=\"pair\"><div class=\"card\"><h2>Segments <span class=\"quiet\">bytes a day, as \
         stored</span></h2>{stored}</div><div class=\"card\"><h2>Transactions <span class=\"quiet\">a \
         day</span></h2>{transactions}</div></section>\n"
    )
}

fn tables(report: &Report) -> String {
    let mut html =
        "<section class=\"card\" id=\"tables\"><h2>Busiest tables <span class=\"quiet\">in the \
                    segments that are kept</span></h2>"
            .to_owned();
    if report.tables.is_empty() {
        html.push_str("<p class=\"quiet\">No rows were written.</p></section>\n");
        return html;
    }
    let all: u64 = report
        .tables
        .iter()
        .map(|table| table.bytes)
        .sum::<u64>()
        .max(1);
    let most = report.tables.first().map_or(1, |table| table.bytes).max(1);
    html.push_str(
        "<div class=\"scroll\"><table><thead><tr><th>Table</th><th class=\"n\">Inserts</th>\
         <th class=\"n\">Updates</th><th class=\"n\">Deletes</th><th class=\"n\">Truncates</th>\
         <th class=\"n\">SQL</th><th class=\"share\">Share</th></tr></thead><tbody>",
    );
    let (shown, rest) = report.tables.split_at(report.tables.len().min(TABLES));
    let mut row = |name: &str, table: &Table| {
        let _ = write!(
            html,
            "<tr><td>{name}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td>\
             <td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"share\"><span class=\"meter\">\
             <span style=\"width:{:.1}%\"></span></span><span class=\"n\">{:.1} %</span></td></tr>",
            count(table.inserts),
            count(table.updates),
            count(table.deletes),
            count(table.truncates),
            size(table.bytes),
            (table.bytes as f64 / most as f64 * 100.0).min(100.0),
            table.bytes as f64 / all as f64 * 100.0
        );
    };
    for table in shown {
        row(&format!("<code>{}</code>", escape(&table.name)), table);
    }
    if !rest.is_empty() {
        let sum = rest.iter().fold(Table::default(), |sum, table| Table {
            name: String::new(),
            inserts: sum.inserts + table.inserts,
            updates: sum.updates + table.updates,
            deletes: sum.deletes + table.deletes,
            truncates: sum.truncates + table.truncates,
            bytes: sum.bytes + table.bytes,
        });
        row(&format!("<em>{} more</em>", count(rest.len() as u64)), &sum);
    }
    html.push_str("</tbody></table></div></section>\n");
    html
}

fn bases(report: &Report) -> String {
    let mut rows: Vec<String> = Vec::new();
    for chain in report.chains.iter().rev() {
        for base in chain.bases.iter().rev() {
            let use_of_it = if base.joins {
                "joins the segments"
            } else {
                "can only be restored by itself: a single point"
            };
            let pin = match base.pin.as_deref() {
                Some("") => "pinned".to_owned(),
                Some(note) => format!("pinned: {}", escape(note)),
                None => String::new(),
            };
            rows.push(format!(
                "<tr><td>{}</td><td><code>chain-{}/base/{}</code></td><td class=\"n\">{}</td>\
                 <td class=\"n\">{}</td><td>{use_of_it}</td><td>{pin}</td></tr>",
                moment(base.name.taken_at),
                chain.number,
                base.name,
                size(base.bytes),
                base.seconds
                    .map_or("–".to_owned(), |seconds| format!("{seconds:.1} s")),
            ));
        }
    }
    let head = "<div class=\"scroll\"><table><thead><tr><th>Taken</th><th>Base</th><th class=\"n\">Size</th>\
                <th class=\"n\">Took</th><th>Use</th><th></th></tr></thead><tbody>";
    let (shown, rest) = rows.split_at(rows.len().min(BASES));
    let mut html = "<section class=\"card\" id=\"bases\"><h2>Base backups</h2>".to_owned();
    if rows.is_empty() {
        html.push_str("<p class=\"quiet\">There is none.</p>");
    } else {
        let _ = write!(html, "{head}{}</tbody></table></div>", shown.concat());
    }
    if !rest.is_empty() {
        let _ = write!(
            html,
            "<details><summary>{} more</summary>{head}{}</tbody></table></div></details>",
            count(rest.len() as u64),
            rest.concat()
        );
    }
    html.push_str("</section>\n");
    html
}

fn ddl(report: &Report) -> String {
    let mut html =
        "<section class=\"card\" id=\"ddl\"><h2>Schema changes <span class=\"quiet\">of the last \
                    four weeks</span></h2>"
            .to_owned();
    if report.ddl.is_empty() {
        html.push_str("<p class=\"quiet\">There were none.</p></section>\n");
        return html;
    }
    html.push_str(
        "<div class=\"scroll tall\"><table><thead><tr><th>Committed</th><th>Role</th><th>Command</th>\
         <th>Statement</th></tr></thead><tbody>",
    );
    for ddl in &report.ddl {
        let text = match &ddl.text {
            Some(text) => format!("<code>{}</code>", escape(text)),
            None => "<span class=\"quiet\">not shown: it may hold secrets</span>".to_owned(),
        };
        let _ = write!(
            html,
            "<tr><td class=\"time\">{}</td><td>{}</td><td>{}</td><td class=\"sql\">{text}</td></tr>",
            moment(ddl.at),
            escape(&ddl.role),
            escape(&ddl.command)
        );
    }
    html.push_str("</tbody></table></div>");
    let unseen = report.ddl_count.saturating_sub(report.ddl.len() as u64);
    if unseen > 0 {
        let _ = write!(
            html,
            "<p class=\"quiet\">and {} earlier ones</p>",
            count(unseen)
        );
    }
    html.push_str("</section>\n");
    html
}
