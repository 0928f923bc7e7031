//! What a restore says: its plan, where it is, and what it has done.

mod planned;

use archive::counted;
use std::path::Path;
use std::sync::Arc;

use archive::time::iso;
use serde_json::json;

use super::deferred::Item;
use super::plan::{LostHere, Plan};
use super::progress::{Left, Stage};
use super::replay::Done;
use super::rights::left_out::LeftOut;
use super::rights::versions;
use super::target::Target;
use crate::error::Outcome;
use crate::output::Output;
use crate::progress::Progress;
use crate::quote;
use crate::shown::line;
use crate::source::Source;

/// Lines of what is left out that the plan shows to people.
const MOST_LINES: usize = 200;

/// The voice of one restore.
pub struct Report {
    output: Output,
    source: String,
    plan: Arc<Plan>,
    done: Done,
    /// What the role was refused.
    not_permitted: Vec<String>,
    progress: Progress,
    /// Bytes of the phase that were told.
    told: u64,
    /// With the source: tables, rows, and differences.
    compared: Option<(usize, i64, Vec<String>)>,
    /// Changes take less time than one by one.
    squashes: bool,
}

impl Report {
    /// With `--squash`, nobody knows before how many changes there are for each row.
    pub fn squashing(self, squashes: bool) -> Report {
        Report { squashes, ..self }
    }

    pub fn new(output: &Output, source: &Source, plan: Arc<Plan>) -> Report {
        Report {
            output: *output,
            source: source.storage.place(""),
            plan,
            done: Done::default(),
            not_permitted: Vec::new(),
            progress: output.progress(),
            told: 0,
            compared: None,
            squashes: false,
        }
    }

    /// An earlier run's work that is taken up.
    pub fn left(&self, left: Option<&Left>) {
        let Some(Left::Begun(progress)) = left else {
            return;
        };
        let place = &progress.place;
        let text = match (progress.stage, &place.last) {
            (Stage::Changes, Some((lsn, _))) => {
                format!(
                    "behind commit {lsn}, with {} applied",
                    counted(place.applied, "transaction")
                )
            }
            (Stage::Changes, None) => "behind the base".to_owned(),
            (_, _) => format!("within the base, behind {} of its entries", progress.pieces),
        };
        let answer = json!({"resumes": {
            "entries_of_base": progress.pieces,
            "transactions": place.applied,
            "last_lsn": place.last.as_ref().map(|(lsn, _)| lsn),
        }});
        self.output.answer(&answer, |_| format!("resumes   {text}"));
    }

    /// It was complete, but for its name.
    pub fn renamed(&self, name: &str) {
        let answer = json!({"done": true, "database": name});
        self.output.answer(&answer, |_| {
            format!(
                "done      {} was restored by an earlier run, and has its name now",
                line(name)
            )
        });
    }

    /// What another major version makes of the archive.
    pub fn versions(&self, target: u32) {
        let source = self.plan.base.metadata.server_version_num;
        for warning in versions::warnings(source, target) {
            self.warn(&warning);
        }
    }

    /// What the role will be refused, before the first row.
    pub fn will_leave_out(&self, left_out: &LeftOut, file: &Path) {
        if left_out.is_empty() {
            return;
        }
        let (lines, file) = (left_out.lines(), file.display().to_string());
        let answer = json!({"will_leave_out": lines, "left_out_file": file});
        let words = || refused_in_words(&lines, Some(&file));
        self.output.answer(&answer, |_| words());
    }

    /// Of what could not be made, what counts: in a scratch database that of the part alone.
    pub fn only_failed(&mut self, counts: impl Fn(&[u8]) -> bool) {
        self.done.failed.retain(|item| counts(&item.sql));
    }

    /// What the role was refused in fact; `file` has its SQL, if any has.
    pub fn left_out(&mut self, left_out: LeftOut, file: Option<&Path>) {
        self.not_permitted = left_out.lines();
        if left_out.rows > 0 {
            self.not_permitted.push(left_out.rows_left_out());
        }
        if let Some(file) = file.filter(|_| !left_out.is_empty()) {
            self.say(&format!("wrote what is left out to {}", file.display()));
        }
    }

    /// What was lost by the end of a copy.
    pub fn lost(&mut self, plan: &Plan, lost: Vec<LostHere>) {
        let (chain, base) = (plan.chain.clone(), plan.base.clone());
        let plan = super::follow::with_losses(chain, base, lost);
        self.plan = Arc::new(plan);
    }

    /// Nothing was changed.
    pub fn dry_run(&self) -> Outcome {
        let said = json!({"done": false, "dry_run": true});
        self.output
            .answer(&said, |_| "dry run: nothing was changed".to_owned());
        self.remark();
        Outcome::Done
    }

    /// What was made around the database.
    pub fn made(&self, target: &Target) {
        for note in &target.made.notes {
            self.say(note);
        }
        if !target.made.kept.is_empty() {
            let kept: Vec<String> = target
                .made
                .kept
                .iter()
                .map(|role| quote::shown(role))
                .collect();
            self.say(&format!(
                "left as they are, since they were there before: roles {}",
                kept.join(", ")
            ));
        }
    }

    /// A phase begins, of so many bytes.
    pub fn begin(&mut self, phase: &str, bytes: u64) {
        self.told = 0;
        self.progress.phase(phase, Some(bytes));
    }

    /// So many bytes of it are read; the last is of this file.
    pub fn read(&mut self, bytes: u64, file: &str) {
        self.progress.file(file);
        self.progress.add(bytes.saturating_sub(self.told));
        self.told = self.told.max(bytes);
    }

    /// The phase has ended.
    pub fn end(&self) {
        self.progress.finish();
    }

    /// What the comparison with the source found: its tables and rows, and differences.
    pub fn compared(&mut self, (tables, rows): (usize, i64), differences: Vec<String>) {
        self.compared = Some((tables, rows, differences));
    }

    pub fn applied(&mut self, done: Done) {
        self.done = done;
    }

    /// Tablespaces that are not needed any more.
    pub fn dropped(&self, spaces: Vec<String>) {
        for space in spaces {
            self.say(&format!("dropped tablespace {space}, which is empty"));
        }
    }

    /// How it ends.
    pub fn outcome(&self, target: &Target) -> Outcome {
        for warning in &target.warnings {
            self.warn(warning);
        }
        let is_whole = self.plan.lost.is_empty()
            && self.done.unfilled.is_empty()
            && self.not_permitted.is_empty()
            && self.done.failed.is_empty()
            && self.done.compared.differences.is_empty()
            && self
                .compared
                .as_ref()
                .is_none_or(|(_, _, found)| found.is_empty())
            && target.warnings.is_empty();
        if is_whole {
            Outcome::Done
        } else {
            Outcome::Failed
        }
    }

    /// The summary.
    pub fn done(&self, name: &str) {
        let done = &self.done;
        let (lsn, at) = match &done.last {
            Some((lsn, at)) => (Some(lsn.to_string()), at.map(iso)),
            None => (None, None),
        };
        let left_out: Vec<String> = done
            .left_out
            .iter()
            .map(|name| quote::shown(name))
            .collect();
        let of_base = &self.plan.base.metadata.source.left_out;
        let not_applied: Vec<String> = done
            .not_applied
            .iter()
            .map(|left| format!("{} ({}): {}", left.what, left.count, left.first))
            .collect();
        let failed: Vec<_> = done
            .failed
            .iter()
            .map(|item| {
                let sql = String::from_utf8_lossy(&item.sql).trim().to_owned();
                json!({"object": item.what, "place": item.place, "error": item.error, "sql": sql})
            })
            .collect();
        let answer = json!({
            "done": true,
            "database": name,
            "failed": failed,
            "source": self.compared.as_ref().map(|(tables, rows, differences)| json!({
                "tables": tables, "rows": rows, "differences": differences,
            })),
            "compared": {
                "tables": done.compared.tables,
                "rows": done.compared.rows,
                "differences": done.compared.differences,
                "not_compared": done.compared.not_compared,
            },
            "transactions": done.applied,
            "skipped": done.skipped,
            "sequence_positions": done.sequences,
            "squashed": done.squashed.map(|(changes, rows)| json!({"changes": changes, "rows": rows})),
            "last_lsn": lsn,
            "last_commit_at": at,
            "flags": done.flags,
            "left_out": left_out,
            "left_out_of_base": of_base,
            "not_applied": not_applied,
            "unfilled": done.unfilled,
            "not_permitted": self.not_permitted,
        });
        self.output.answer(&answer, |_| {
            let mut text = format!(
                "applied   {} and {}; the base has {} more\n",
                counted(done.applied, "transaction"),
                counted(done.sequences, "sequence position"),
                done.skipped
            );
            if let Some((changes, rows)) = done.squashed {
                text.push_str(&format!("squashed  {} of {}\n", counted(changes, "change"), counted(rows, "row")));
            }
            if let (Some(lsn), Some(at)) = (&lsn, &at) {
                text.push_str(&format!("last      commit of {at} ({lsn})\n"));
            }
            if done.flags > 0 {
                text.push_str(&format!("flags     {} that could not be carried exactly\n", counted(done.flags, "place")));
            }
            let compared = &done.compared;
            match &compared.not_compared {
                Some(why) => text.push_str(&format!("rows      not compared with the files: {}\n", line(why))),
                None if compared.differences.is_empty() => text.push_str(&format!(
                    "rows      {}, {}, as the files say\n",
                    counted(compared.tables, "table"),
                    counted(compared.rows, "row")
                )),
                None => {}
            }
            if let Some((tables, rows, _)) = self.compared.as_ref().filter(|it| it.2.is_empty()) {
                text.push_str(&format!(
                    "source    {}, {}, large objects and sequences are the same\n",
                    counted(tables, "table"),
                    counted(rows, "row")
                ));
            }
            let mut list = |title: &str, lines: &[String]| {
                if !lines.is_empty() {
                    text.push_str(&format!("{title}\n"));
                    lines.iter().for_each(|entry| text.push_str(&format!("    {}\n", line(entry))));
                }
            };
            list("left out, because they need pg_incrbackup itself (left-out.sql of the base has them):", of_base);
            list("left out, because they need objects of pg_incrbackup or of an ended session:", &left_out);
            list("left out, because earlier changes are lost:", &not_applied);
            list("left out, because this server refuses it:", &self.not_permitted);
            list("tables with another number of rows than the files say:", &compared.differences);
            let of_source = self.compared.as_ref();
            list("differs from the source:", of_source.map_or(&[][..], |(_, _, found)| found));
            list("could not be made, each with its SQL:", &shown(&done.failed));
            list("materialized views that stay without rows:", &done.unfilled);
            let what = if self.plan.part.is_some() { "the part in " } else { "" };
            text.push_str(&format!("done      {what}{} is restored; run ANALYZE in it before use", line(name)));
            text
        });
        self.remark();
    }

    fn remark(&self) {
        if let Some(remark) = &self.plan.remark {
            self.warn(remark);
        }
    }

    fn say(&self, text: &str) {
        self.output.answer(&json!({"note": text}), |_| line(text));
    }

    pub fn warn(&self, text: &str) {
        self.output.warning(text);
    }
}

/// An object with its error, and its SQL to the last line.
fn shown(failed: &[Item]) -> Vec<String> {
    let mut lines = Vec::new();
    for item in failed {
        lines.push(format!("{} ({}): {}", item.what, item.place, item.error));
        let sql = String::from_utf8_lossy(&item.sql).trim().to_owned();
        lines.extend(sql.lines().map(|line| format!("    {line}")));
    }
    lines
}

/// What a server refuses, and in which file its SQL will be.
pub fn refused_in_words(lines: &[String], file: Option<&str>) -> String {
    let mut text = "left out  what this server refuses, with its reason".to_owned();
    if let Some(file) = file {
        text.push_str(&format!("; the SQL will be in {}", line(file)));
    }
    text.push_str(":\n");
    for entry in lines.iter().take(MOST_LINES) {
        text.push_str(&format!("    {}\n", line(entry)));
    }
    if lines.len() > MOST_LINES {
        let more = lines.len() - MOST_LINES;
        text.push_str(&format!("    and {more} more\n"));
    }
    text
}

/// What a flag says is lost.
pub fn in_words(here: &LostHere) -> String {
    let what = quote::shown(&here.lost.identity);
    let what = match (here.lost.what, what.is_empty()) {
        (archive::segment::What::Rows, false) => format!("rows of {} {what}", here.lost.class),
        (archive::segment::What::Rows, true) => "rows".to_owned(),
        (archive::segment::What::Schema, false) => format!("{} {what}", here.lost.class),
        (archive::segment::What::Schema, true) => "the schema of an unknown object".to_owned(),
    };
    let since = here.at.map_or_else(|| "none".to_owned(), iso);
    format!(
        "since {since} ({}): {what}: {}",
        here.lsn,
        quote::shown(&here.reason)
    )
}
