//! Which sets of globals belong to a moment.

use archive::verify::Sealed;
use archive::Lsn;
use archive_query::catalog::{Base, Globals};

use super::base::ensure_sealed;
use super::choice::Choice;
use super::moment::Moment;
use super::segment::Found;
use crate::error::Result;

impl Choice<'_> {
    /// The sets up to the moment. One between its last commit and the next is chosen by the requested time.
    pub(super) fn globals(
        &mut self,
        base: &Base,
        upto: Lsn,
        found: Found,
    ) -> Result<(Option<Globals>, Vec<Globals>)> {
        let (mut first, mut later) = (None, Vec::new());
        for set in &self.chain.globals {
            let is_sure = set.name.lsn <= upto;
            let is_in_time = match self.wish.moment {
                Moment::Time(time) => {
                    found.beyond.is_none_or(|beyond| set.name.lsn < beyond)
                        && set.facts.changed_at <= time
                }
                _ => false,
            };
            if !is_sure && !is_in_time {
                continue;
            }
            if set.entry.is_none() {
                let name = set.name;
                self.warnings.push(format!(
                    "the manifest does not list the set of globals {name}: it is skipped"
                ));
                continue;
            }
            if is_sure && set.name.lsn <= base.metadata.lsn {
                first = Some(set.clone());
            } else {
                later.push(set.clone());
            }
        }
        for set in first.iter().chain(&later) {
            let directory = self.chain.file(&set.directory());
            let sealed = Sealed::globals(self.storage, &directory, set.name, &mut || {});
            ensure_sealed(self.storage, &directory, sealed, set.entry.as_ref())?;
        }
        Ok((first, later))
    }
}
