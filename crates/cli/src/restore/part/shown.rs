//! What a restore of a part says: the relations, what comes along, what is used as it is, what is left out.

use archive::counted;
use std::path::Path;

use serde_json::json;

use super::definitions::Definitions;
use super::missed;
use super::options::{Options, Section};
use crate::output::Output;
use crate::restore::plan::Plan;
use crate::restore::report::refused_in_words;
use crate::restore::rights::left_out::LeftOut;
use crate::shown::line;

/// The voice of a part.
pub struct Shown {
    output: Output,
    into_schema: Option<String>,
    sections: Vec<&'static str>,
}

/// What will be done.
pub struct ToCarry<'a> {
    pub relations: &'a [String],
    pub definitions: &'a Definitions,
    /// Of the target, as it is.
    pub used: &'a [String],
    pub without_rows: &'a [String],
    /// Functions that run with the rights of their new owner.
    pub definers: &'a [String],
    pub left_out: &'a [String],
}

/// What was done.
pub struct Carried {
    /// Of each table.
    pub rows: Vec<(String, u64)>,
    /// Sentences about what is not as at the source.
    pub odd: Vec<String>,
}

impl Shown {
    pub fn new(output: &Output, options: &Options) -> Shown {
        let sections = [
            (Section::PreData, "pre-data"),
            (Section::Data, "data"),
            (Section::PostData, "post-data"),
        ];
        let wanted = sections.iter().filter(|(section, _)| options.has(*section));
        Shown {
            output: *output,
            into_schema: options.into_schema.clone(),
            sections: wanted.map(|(_, name)| *name).collect(),
        }
    }

    /// The relations that match, from the archive alone.
    pub fn chosen(&self, plan: &Plan) {
        let Some(part) = &plan.part else { return };
        let names: Vec<String> = part.chosen.iter().map(|name| name.shown()).collect();
        let of_others = plan.segments.iter().filter(|it| it.outline.is_some());
        let (passed_over, all) = (of_others.count(), plan.segments.len());
        let answer = json!({"part": {
            "relations": names,
            "segments": {"all": all, "passed_over": passed_over},
            "sections": self.sections,
            "into_schema": self.into_schema,
        }});
        self.output.answer(&answer, |_| {
            let into = self.into_schema.as_ref();
            let into = into.map_or_else(String::new, |name| format!(", into schema {name}"));
            let sections = if self.sections.len() == 3 {
                String::new()
            } else {
                format!(", {} only", self.sections.join(" and "))
            };
            let count = names.len();
            let passed = match passed_over {
                0 => String::new(),
                _ => format!("; {passed_over} of {all} segments have nothing of it"),
            };
            let mut text = format!(
                "part      {}{into}{sections}{passed}",
                counted(count, "relation")
            );
            names
                .iter()
                .for_each(|name| text.push_str(&format!("\n    {}", line(name))));
            text
        });
    }

    /// What will be made in the target, before its first row.
    pub fn plan(&self, to_carry: &ToCarry<'_>) {
        let ToCarry {
            relations,
            definitions,
            used,
            without_rows,
            definers,
            left_out,
        } = to_carry;
        let answer = json!({"part": {
            "relations": relations,
            "makes": definitions.made,
            "uses": used,
            "without_rows": without_rows,
            "definers": definers,
            "left_out": left_out,
        }});
        self.output.answer(&answer, |_| {
            let mut text = String::new();
            let mut list = |title: &str, lines: &[String]| {
                if !lines.is_empty() {
                    text.push_str(&format!("{title}\n"));
                    lines
                        .iter()
                        .for_each(|it| text.push_str(&format!("    {}\n", line(it))));
                }
            };
            list("makes", &definitions.made);
            list("uses, as it is in the target", used);
            list(
                "makes without rows, because something of the part needs it",
                without_rows,
            );
            list(
                "makes with the rights of another owner than at the source (SECURITY DEFINER)",
                definers,
            );
            list("leaves out", left_out);
            match text.trim_end() {
                "" => "makes     rows alone".to_owned(),
                text => text.to_owned(),
            }
        });
    }

    /// What the part misses, since the server does not let the role make it. `file`: where its SQL will be.
    pub fn will_leave_out(&self, missed: &LeftOut, file: Option<&Path>) {
        if missed.is_empty() {
            return;
        }
        let lines = missed::lines(missed);
        let file = file.map(|file| file.display().to_string());
        let answer = json!({"will_leave_out": lines, "left_out_file": file});
        let words = || refused_in_words(&lines, file.as_deref());
        self.output.answer(&answer, |_| words());
    }

    /// What was made.
    pub fn carried(&self, carried: &Carried) {
        let rows: serde_json::Map<String, serde_json::Value> = carried
            .rows
            .iter()
            .map(|(name, count)| (name.clone(), json!(count)))
            .collect();
        self.output.answer(&json!({"rows": rows}), |_| {
            let rows = carried.rows.iter();
            let lines: Vec<String> = rows
                .map(|(name, count)| format!("rows      {count} of {}", line(name)))
                .collect();
            lines.join("\n")
        });
    }

    pub fn note(&self, text: &str) {
        self.output.answer(&json!({"note": text}), |_| line(text));
    }
}
