//! Which sets of globals are applied, where a plan has others than that of an earlier run.

use archive::layout::GlobalsName;

use super::sets::Sets;
use crate::connection::Session;
use crate::error::Result;
use crate::restore::plan::Plan;
use crate::restore::progress::{sql, Progress};

/// The names of the sets that a plan had, by which those that are applied are counted.
const ALL_SETS: &str = "sets";

impl Sets {
    /// How many of the plan's sets are applied. One that an earlier run did not know (it was not finished, or a manifest was
    /// copied late) may be among them: the one after it has all that it has.
    pub(super) async fn number(&mut self, session: &Session, begun: &mut Progress) -> Result<()> {
        let Some(count) = number(
            &begun.kept::<Vec<String>>(ALL_SETS)?,
            begun.sets,
            &names(&self.plan),
        ) else {
            return Ok(());
        };
        begun.sets = count as u64;
        // Renames have the numbers of their sets. Those that are still to come are the plan's.
        self.renames.retain(|rename| rename.set > count);
        Ok(session.client.batch_execute(sql::FORGET_RENAMES).await?)
    }
}

/// A statement that keeps the names of the plan's sets.
pub fn keep(plan: &Plan) -> String {
    let names: Vec<String> = names(plan).iter().map(GlobalsName::to_string).collect();
    sql::keep(ALL_SETS, &names)
}

fn names(plan: &Plan) -> Vec<GlobalsName> {
    plan.later_globals.iter().map(|set| set.name).collect()
}

/// The number of the last of `done` sets of an earlier plan, which had these names, in this one; `None` if they are the same.
fn number(kept: &[String], done: u64, names: &[GlobalsName]) -> Option<usize> {
    let done = usize::try_from(done).ok()?.checked_sub(1)?;
    let last = GlobalsName::parse(kept.get(done)?)?;
    let is_same = kept.iter().map(|name| GlobalsName::parse(name));
    let is_same = is_same.eq(names.iter().map(|name| Some(*name)));
    let applied = names.iter().filter(|name| **name <= last);
    Some(applied.count()).filter(|_| !is_same)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn sets_that_are_applied_are_counted_by_their_names() {
        let texts = ["00000000015E0F88", "00000000015E0FA0", "00000000015E0FB0"];
        let texts = texts.map(|lsn| format!("{lsn}-20261120T020000Z"));
        let all = texts
            .each_ref()
            .map(|text| GlobalsName::parse(text).unwrap());
        let kept = [texts[0].clone(), texts[2].clone()];
        // The one in the middle was not listed then.
        assert_eq!(number(&kept, 2, &all), Some(3));
        assert_eq!(number(&kept, 1, &all), Some(1));
        assert_eq!(number(&kept, 0, &all), None);
        assert_eq!(number(&texts, 2, &all), None);
        // Nothing is kept by an older version.
        assert_eq!(number(&[], 2, &all), None);
    }
}
