//! The plan in words, and about how long it will take.

use archive::counted;
use archive::time::iso;
use archive::Lsn;
use chrono::TimeDelta;
use serde_json::json;

use super::{in_words, Report};
use crate::restore::plan::Figures;
use crate::shown::{size, span};

/// Rows, keys and indexes of a base that are made in a second, in bytes of the base's text: 1 GB in 12.8 s, by
/// `BENCH_ONLY=program make bench` on two cores.
const BASE_BYTES_PER_SECOND: u64 = 80_000_000;
/// Statements of segments that are replayed in a second; by the same, 606,000 in 6.2 s.
const STATEMENTS_PER_SECOND: u64 = 100_000;

/// About how long it takes, in seconds: what it is there for is to tell minutes from hours.
fn estimate(figures: &Figures) -> u64 {
    let base = figures.base_bytes.div_ceil(BASE_BYTES_PER_SECOND);
    base + figures.statements.div_ceil(STATEMENTS_PER_SECOND)
}

impl Report {
    /// The base of a copy.
    pub fn plan_of_base(&self) {
        let base = &self.plan.base;
        let (name, number) = (base.name.to_string(), self.plan.chain.number);
        let (at, bytes) = (iso(base.metadata.taken_at), self.plan.figures.base_bytes);
        let answer = json!({"plan": {
            "archive": self.source, "chain": number, "base": name, "base_taken_at": at, "base_bytes": bytes,
        }});
        self.output.answer(&answer, |_| {
            let (lsn, size) = (base.metadata.lsn, size(bytes));
            format!("base      chain-{number}/base/{name} of {at} ({lsn}), {size}")
        });
        for warning in &self.plan.warnings {
            self.warn(warning);
        }
    }

    /// What will be done.
    pub fn plan(&self) {
        let plan = &self.plan;
        let figures = &plan.figures;
        let upto = (plan.upto != Lsn(u64::MAX)).then_some(plan.upto);
        let first = plan
            .segments
            .first()
            .map(|first| first.segment.name.to_string());
        let answer = json!({"plan": {
            "archive": self.source,
            "chain": plan.chain.number,
            "base": plan.base.name.to_string(),
            "base_taken_at": iso(plan.base.metadata.taken_at),
            "base_bytes": figures.base_bytes,
            "segments": plan.segments.len(),
            "first_segment": first,
            "segment_bytes": figures.segment_bytes,
            "transactions": figures.transactions,
            "statements": figures.statements,
            "seconds": estimate(figures),
            "located": plan.located,
            "until_lsn": upto.map(|lsn| lsn.to_string()),
            "globals": plan.first_globals.iter().chain(&plan.later_globals).count(),
            "lost": plan.lost.iter().map(in_words).collect::<Vec<_>>(),
            "warnings": plan.warnings,
            "remark": plan.remark,
        }});
        self.output.answer(&answer, |_| self.plan_in_words(upto));
        for warning in &plan.warnings {
            self.warn(warning);
        }
        if !plan.lost.is_empty() {
            let lost: String = plan
                .lost
                .iter()
                .map(|lost| format!("\n    {}", in_words(lost)))
                .collect();
            self.warn(&format!(
                "changes before the requested moment are lost; what cannot be applied is left out:{lost}"
            ));
        }
    }

    fn plan_in_words(&self, upto: Option<Lsn>) -> String {
        let (plan, figures) = (&self.plan, &self.plan.figures);
        let base = &plan.base;
        let mut text = format!(
            "base      chain-{}/base/{} of {} ({}), {}\n",
            plan.chain.number,
            base.name,
            iso(base.metadata.taken_at),
            base.metadata.lsn,
            size(figures.base_bytes)
        );
        text.push_str(&match plan.segments.first() {
            Some(first) => format!(
                "changes   {} from {}, {}, {}, {}\n",
                counted(plan.segments.len(), "segment"),
                first.segment.name,
                size(figures.segment_bytes),
                counted(figures.transactions, "transaction"),
                counted(figures.statements, "statement")
            ),
            None => "changes   none: the base alone\n".to_owned(),
        });
        let until = figures.until.map_or_else(String::new, iso);
        if let Some(located) = &plan.located {
            text.push_str(&format!("moment    {located}\n"));
        }
        text.push_str(&match upto {
            Some(lsn) => format!("up to     {lsn}"),
            None => format!("up to     the end of the archive, {until}"),
        });
        text.push_str(&format!("\ntime      {}", self.time_in_words()));
        text
    }

    fn time_in_words(&self) -> String {
        let about = match self.plan.part {
            Some(_) => "at most about",
            None if self.squashes => "at most about",
            None => "about",
        };
        let seconds = i64::try_from(estimate(&self.plan.figures)).unwrap_or(i64::MAX / 1000);
        let time = span(TimeDelta::seconds(seconds));
        format!("{about} {time} on two cores: 80 MB of a base that is not compressed, or 100,000 statements, a second")
    }
}
