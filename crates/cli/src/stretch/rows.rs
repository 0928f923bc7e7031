//! The rows of tables at the beginning of a stretch and on to its end: what of the archive leads there.
//!
//! Base and segments are chosen and checked as for a restore of a part; the base is not after the beginning.

use std::collections::BTreeSet;
use std::sync::Arc;

use archive::storage::Storage;
use archive_query::past::Past;

use super::Stretch;
use crate::error::{Error, Result};
use crate::past;
use crate::restore::part::wanted::Name;
use crate::restore::part::{self, Wanted};
use crate::restore::plan::{Moment, Plan, Wish};

/// The tables in question.
pub enum Tables<'a> {
    /// Those that match, by their names at the end.
    Matching(&'a [String]),
    /// Those that were called so at any time.
    Named(&'a BTreeSet<Name>),
}

/// The rows of the tables, as the base has them; they are to be advanced to the beginning.
pub struct Rows {
    pub past: Past,
    /// Of the database.
    pub encoding: String,
}

impl Rows {
    /// `until` is the end, as it was asked for.
    pub fn open(
        storage: &Arc<dyn Storage>,
        stretch: &Stretch,
        until: Moment,
        tables: &Tables<'_>,
    ) -> Result<Rows> {
        let chain = &stretch.chain;
        let serves = |base: &&archive_query::catalog::Base| {
            chain.is_listed(base) && base.metadata.lsn <= stretch.after
        };
        let Some(base) = chain.bases.iter().rev().find(serves) else {
            let message = format!(
                "chain-{} has no base at or before the first moment: the rows are not known as of then",
                chain.number
            );
            let hint = "pg_incrbackup info shows from when on every moment can be restored.";
            return Err(Error::no_such_moment(message, hint));
        };
        let wish = Wish {
            moment: until,
            chain: Some(chain.number),
            base: Some(base.name),
            allow_earlier: false,
            seen: None,
            is_part: true,
        };
        let find = |plan: &Plan| tables.wanted(&**storage, plan);
        let prepared = past::prepare(&**storage, &wish, &find)?;
        if let Some(lost) = prepared.plan.lost.first() {
            let reason = crate::shown::line(&String::from_utf8_lossy(&lost.reason));
            let message = format!("changes are lost from {} on: {reason}", lost.lsn);
            let hint = "What the rows were from then on is not in the files, up to the next base.";
            return Err(Error::failed(message, hint));
        }
        let past = prepared.open(storage, false)?;
        Ok(Rows {
            past,
            encoding: prepared.plan.base.metadata.source.encoding,
        })
    }
}

impl Tables<'_> {
    fn wanted(&self, storage: &dyn Storage, plan: &Plan) -> Result<Wanted> {
        let find = |table: Vec<String>| {
            let options = part::Options {
                table,
                ..part::Options::default()
            };
            part::find(storage, plan, &options)
        };
        let names = match self {
            Tables::Matching(patterns) => return find(patterns.to_vec()),
            Tables::Named(names) => names,
        };
        let all = find(vec!["*".to_owned()])?;
        let there = names.iter().filter(|name| all.at_end.contains(name));
        let there: Vec<String> = there.map(exactly).collect();
        let mut wanted = if there.is_empty() {
            Wanted {
                oids: BTreeSet::new(),
                ..all.clone()
            }
        } else {
            // With partitions, and with what else their rows are found by.
            find(there)?
        };
        // Those that were called so before, and what was dropped.
        let at_base = all.names.iter().filter(|(_, name)| names.contains(name));
        wanted.oids.extend(at_base.map(|(oid, _)| *oid));
        for change in &plan.needs.changes {
            let effect = &change.effect;
            let is_table = effect.class.ends_with("table");
            if is_table && Name::read(&effect.identity).is_some_and(|name| names.contains(&name)) {
                wanted.oids.insert(effect.oid);
            }
        }
        wanted.names.extend(all.names);
        Ok(wanted)
    }
}

/// A pattern that matches this name only.
fn exactly(name: &Name) -> String {
    let quoted =
        |part: &[u8]| format!("\"{}\"", String::from_utf8_lossy(part).replace('"', "\"\""));
    format!("{}.{}", quoted(&name.schema), quoted(&name.name))
}
