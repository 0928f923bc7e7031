//! What a replay keeps in the target, and takes up again: its place, and what it has in memory.

use archive::time::{iso, parse_iso};

use super::lenient::Lenient;
use super::{Quiet, Replay, Views};
use crate::error::{Error, Result};
use crate::restore::progress::{sql, Place, Progress};

impl Replay<'_> {
    /// Goes on where an earlier run has ended.
    pub(super) async fn resume(&mut self, progress: &Progress, place: &Place) -> Result<()> {
        progress.set(self.session).await?;
        self.views = Views::new(progress.kept("views")?);
        self.next_set = usize::try_from(progress.sets).unwrap_or(usize::MAX);
        if !progress.is_resumed {
            return Ok(());
        }
        self.quiet = Quiet::of(progress.kept("quiet")?);
        self.help
            .take_up(self.session, &progress.kept::<Vec<u32>>("helped")?)
            .await?;
        self.is_unchecked = self.checks.is_quiet(self.session).await?;
        self.done.left_out = progress.kept("left_out")?;
        self.done.warnings = progress.kept("warnings")?;
        let left: Vec<_> = progress.kept("not_applied")?;
        self.lenient = (!left.is_empty()).then(|| Lenient::of(left));
        self.done.applied = place.applied;
        self.done.skipped = place.skipped;
        self.done.sequences = place.sequences;
        self.done.flags = place.flags;
        if let Some((lsn, at)) = &place.last {
            let odd = || Error::failed("the progress of an earlier restore could not be read", "");
            let lsn = lsn.parse().map_err(|_| odd())?;
            self.done.last = Some((lsn, at.as_deref().and_then(parse_iso)));
        }
        self.segment_name.clone_from(&place.segment);
        self.units = place.units;
        Ok(())
    }

    /// The end of a transaction of the target: what it has done, and its commit.
    pub(super) async fn commit_place(&mut self) -> Result<()> {
        let mut text = String::new();
        if std::mem::take(&mut self.is_dirty) || self.is_alone {
            self.done.warnings.extend(self.session.warnings());
            let values = [
                sql::keep("views", &self.views.pending()),
                sql::keep("left_out", &self.done.left_out),
                sql::keep("warnings", &self.done.warnings),
                sql::KEEP_SETTINGS.to_owned(),
            ];
            for value in &values {
                text.push_str(value);
                text.push(';');
            }
            text.push_str(&self.limited_state());
        }
        if let Some(changed) = self.rights.changed() {
            text.push_str(&sql::keep("rights", &changed));
            text.push(';');
        }
        if let Some(lenient) = self.lenient.as_mut().filter(|lenient| lenient.has_new()) {
            text.push_str(&sql::keep("not_applied", &lenient.noted()));
            text.push(';');
        }
        if let Some(deferred) = self.deferred.keep() {
            text.push_str(&deferred);
            text.push(';');
        }
        if let Some(reason) = self.counts.keep() {
            text.push_str(&reason);
            text.push(';');
        }
        text.push_str(&sql::place(&self.place()));
        text.push_str("; COMMIT");
        // Each is sent when it is first polled, in this order.
        let place = self.session.client.batch_execute(&text);
        let (counted, placed) = futures_util::join!(self.counts.flush(self.session), place);
        counted?;
        Ok(placed?)
    }

    /// What is done by now, if all before is.
    pub(super) fn place(&self) -> Place {
        let done = &self.done;
        let last = done.last.map(|(lsn, at)| (lsn.to_string(), at.map(iso)));
        // A transaction that has begun is done up to an item.
        let within = u64::from(self.is_within);
        Place {
            segment: self.segment_name.clone(),
            units: self.units - within,
            items: within * self.items,
            applied: done.applied,
            skipped: done.skipped,
            sequences: done.sequences,
            flags: done.flags,
            last,
        }
    }

    /// A segment begins; one that an earlier run has begun keeps its place.
    pub(super) fn begin_segment(&mut self, file: String) {
        let mut planned = self.plan.segments.iter();
        let name = planned
            .find(|planned| self.plan.chain.file(&planned.segment.file()) == file)
            .map(|planned| planned.segment.name.to_string());
        let name = name.expect("only segments of the plan are read");
        if self.segment_name != name {
            (self.segment_name, self.units) = (name, 0);
        }
        self.file = file;
    }
}
