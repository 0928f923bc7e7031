//! Drawings of the page, as SVG that stands in it.

use chrono::{Days, NaiveDate, TimeDelta};
use maud::{html, Markup};

use super::facts::{Chain, Day, Report, Stretch};
use super::text::{count, moment, size, span, visible};
use archive::time::Time;

const WIDTH: f64 = 1040.0;
const LEFT: f64 = 74.0;
const RIGHT: f64 = 14.0;
/// Older chains are told of in words.
const CHAINS: usize = 8;
/// Where segments are narrower than that, they are drawn as one piece.
const NARROWEST: f64 = 4.0;
/// Days of the daily chart.
const DAYS: u64 = 30;

/// From when to when a drawing goes.
struct Scale {
    from: Time,
    to: Time,
}

impl Scale {
    fn x(&self, time: Time) -> f64 {
        let whole = (self.to - self.from).as_seconds_f64().max(1.0);
        let part = (time - self.from).as_seconds_f64().clamp(0.0, whole);
        LEFT + part / whole * (WIDTH - LEFT - RIGHT)
    }

    /// Round moments, at most about eight.
    fn ticks(&self) -> Vec<(Time, String)> {
        const STEPS: [(i64, &str); 16] = [
            (1, "%H:%M:%S"),
            (10, "%H:%M:%S"),
            (60, "%H:%M"),
            (300, "%H:%M"),
            (900, "%H:%M"),
            (3600, "%H:%M"),
            (3 * 3600, "%H:%M"),
            (6 * 3600, "%d %b %H:%M"),
            (12 * 3600, "%d %b %H:%M"),
            (86_400, "%d %b"),
            (2 * 86_400, "%d %b"),
            (7 * 86_400, "%d %b"),
            (14 * 86_400, "%d %b"),
            (30 * 86_400, "%d %b %Y"),
            (90 * 86_400, "%b %Y"),
            (365 * 86_400, "%Y"),
        ];
        let length = (self.to - self.from).num_seconds();
        let fits = STEPS.iter().find(|(step, _)| length / step <= 8);
        let (step, format) = fits.unwrap_or(&STEPS[STEPS.len() - 1]);
        let first = self.from.timestamp().div_euclid(*step) + 1;
        let times = (first..).map(|nth| Time::from_timestamp(nth * step, 0));
        let inside = times.map_while(|time| time.filter(|time| *time <= self.to));
        inside
            .take(40)
            .map(|time| (time, time.format(format).to_string()))
            .collect()
    }
}

/// Chains, one above the other: segments, bases, gaps, and what can be restored.
pub fn timeline(report: &Report) -> Markup {
    let stretches = report.chains.iter().flat_map(|chain| &chain.stretches);
    let starts = stretches.map(|stretch| stretch.from);
    let bases = report.bases().map(|base| base.name.taken_at);
    let Some(from) = starts.chain(bases).min() else {
        return html! { p.quiet { "The archive is empty." } };
    };
    let margin = ((report.generated_at - from) / 50).max(TimeDelta::seconds(2));
    let scale = Scale {
        from: from - margin,
        to: report.generated_at + margin / 4,
    };
    let shown = &report.chains[report.chains.len().saturating_sub(CHAINS)..];
    let height = 26.0 + shown.len() as f64 * 64.0;
    html! {
        svg viewBox={ "0 0 " (WIDTH) " " (height + 24.0) } role="img" aria-label="Timeline of the archive" {
            defs {
                pattern #hatch width="6" height="6" patternUnits="userSpaceOnUse"
                    patternTransform="rotate(45)" {
                    rect.gap-ground width="6" height="6" {}
                    rect.gap-line width="2.4" height="6" {}
                }
            }
            @for (time, label) in scale.ticks() { (tick(scale.x(time), &label, height)) }
            @for (nth, chain) in shown.iter().enumerate() {
                (lane(chain, &scale, 14.0 + nth as f64 * 64.0))
            }
            @for (from, to) in report.gaps() {
                @let (x, end) = (scale.x(from), scale.x(to));
                rect.gap x=(tenths(x)) y="8" width=(tenths((end - x).max(3.0))) height=(height - 16.0) {
                    title {
                        "Gap of " (span(to - from)) ": nothing of " (moment(from)) " to " (moment(to))
                        " can be restored"
                    }
                }
            }
        }
    }
}

fn tick(x: f64, label: &str, height: f64) -> Markup {
    let anchor = if x > WIDTH - 60.0 { "end" } else { "middle" };
    html! {
        line.grid x1=(tenths(x)) x2=(tenths(x)) y1="8" y2=(height - 8.0) {}
        text.tick x=(tenths(x)) y=(height + 10.0) text-anchor=(anchor) { (label) }
    }
}

/// Tenths of a pixel are fine enough.
fn tenths(value: f64) -> String {
    format!("{value:.1}")
}

fn lane(chain: &Chain, scale: &Scale, top: f64) -> Markup {
    html! {
        text.lane x="0" y=(top + 29.0) { "chain-" (chain.number) }
        @for stretch in &chain.stretches { (lane_of_stretch(stretch, scale, top)) }
        @for base in &chain.bases {
            circle.base.alone[!base.joins] cx=(tenths(scale.x(base.name.taken_at))) cy=(top + 14.0) r="5.5" {
                title {
                    "Base " (base.name) ": " (size(base.bytes))
                    @if !base.joins { ", can only be restored by itself: a single point" }
                }
            }
        }
        @if let Some((at, reason)) = &chain.ended {
            path.end d={ "M" (tenths(scale.x(*at))) " " (top + 22.0) "v26" } {
                title { "Ended " (moment(*at)) ": " (visible(reason)) }
            }
        }
    }
}

/// What of it can be restored, and its segments, each with its facts where they are wide enough.
fn lane_of_stretch(stretch: &Stretch, scale: &Scale, top: f64) -> Markup {
    let (x, end) = (scale.x(stretch.from), scale.x(stretch.to));
    let are_many = (end - x) / (stretch.segments.len() as f64) < NARROWEST;
    let y = top + 28.0;
    html! {
        @if let Some(from) = stretch.restorable_from {
            @let width = (end - scale.x(from)).max(2.0);
            rect.window x=(tenths(scale.x(from))) y=(top) width=(tenths(width)) height="52" rx="4" {
                title { "Every moment from " (moment(from)) " to " (moment(stretch.to)) " can be restored" }
            }
        }
        @if are_many {
            rect.segment x=(tenths(x)) y=(y) width=(tenths((end - x).max(2.0))) height="14" rx="2" {
                title { (count(stretch.segments.len() as u64)) " segments" }
            }
        }
        @for segment in stretch.segments.iter().filter(|_| !are_many) {
            @let (x, end) = (scale.x(segment.from), scale.x(segment.to));
            @let width = (end - x - 1.0).max(1.0);
            rect.segment.open[segment.is_open] x=(tenths(x)) y=(y) width=(tenths(width)) height="14" rx="2" {
                title {
                    (segment.name) @if segment.is_open { " (open)" }
                    ": " (size(segment.bytes)) ", " (count(segment.transactions)) " transactions, "
                    (moment(segment.from)) " to " (moment(segment.to))
                }
            }
        }
    }
}

/// A bar for each day.
pub fn daily(report: &Report, title: &str, value: fn(&Day) -> f64, are_bytes: bool) -> Markup {
    let shown = |value: f64| {
        if are_bytes {
            size(value.round() as u64)
        } else {
            count(value.round() as u64)
        }
    };
    const HEIGHT: f64 = 190.0;
    const BOTTOM: f64 = 160.0;
    const HALF: f64 = 510.0;
    const START: f64 = 62.0;
    const END: f64 = HALF - 14.0;
    let axis = |value: f64| {
        if are_bytes {
            size(value.round() as u64)
        } else {
            short_count(value)
        }
    };
    let today = report.generated_at.date_naive();
    let oldest = report.days.keys().next().copied().unwrap_or(today);
    let days = ((today - oldest).num_days().unsigned_abs() + 1).clamp(7, DAYS);
    let date = |nth: u64| today.checked_sub_days(Days::new(days - 1 - nth));
    let of = |date: NaiveDate| report.days.get(&date).map_or(0.0, value);
    let values: Vec<(NaiveDate, f64)> = (0..days)
        .filter_map(|nth| Some((date(nth)?, of(date(nth)?))))
        .collect();
    let most = values.iter().map(|(_, value)| *value).fold(0.0, f64::max);
    let top = round_up(most, are_bytes);
    let width = (END - START) / values.len() as f64;
    let every = values.len().div_ceil(7);
    let height_of = |value: f64| match value / top * (BOTTOM - 14.0) {
        height if value > 0.0 => height.max(1.5),
        _ => 0.0,
    };
    html! {
        svg viewBox={ "0 0 " (HALF) " " (HEIGHT) } role="img" aria-label=(title) {
            @for part in [0.0, 0.5, 1.0] {
                @let y = BOTTOM - part * (BOTTOM - 14.0);
                line.grid x1=(START) x2=(END) y1=(tenths(y)) y2=(tenths(y)) {}
                text.tick x=(START - 8.0) y=(tenths(y + 4.0)) text-anchor="end" { (axis(top * part)) }
            }
            @for (nth, (date, value)) in values.iter().enumerate() {
                @let x = START + nth as f64 * width;
                @let height = height_of(*value);
                rect.bar x=(tenths(x + width * 0.12)) y=(tenths(BOTTOM - height))
                    width=(tenths(width * 0.76)) height=(tenths(height)) rx="2" {
                    title { (date) ": " (shown(*value)) }
                }
                @if (values.len() - 1 - nth).is_multiple_of(every) {
                    text.tick x=(tenths(x + width / 2.0)) y=(BOTTOM + 18.0) text-anchor="middle" {
                        (date.format("%d %b"))
                    }
                }
            }
        }
    }
}

/// `2.5 M`
fn short_count(value: f64) -> String {
    let (value, unit) = match value {
        value if value >= 1e9 => (value / 1e9, " G"),
        value if value >= 1e6 => (value / 1e6, " M"),
        value if value >= 1e4 => (value / 1e3, " k"),
        value => (value, ""),
    };
    format!("{}{unit}", (value * 10.0).round() / 10.0)
}

/// The next round number: of bytes a power of two, of all else 1, 2, 5, 10, …
fn round_up(value: f64, are_bytes: bool) -> f64 {
    let (parts, power) = if are_bytes {
        ([1.0, 2.0, 4.0], 8.0)
    } else {
        ([1.0, 2.0, 5.0], 10.0)
    };
    let mut step: f64 = 1.0;
    loop {
        if let Some(round) = parts
            .iter()
            .map(|part| part * step)
            .find(|round| value <= *round)
        {
            return round;
        }
        step *= power;
    }
}
