//! The end of a copy: all that the archive has is applied, and it becomes a database of its own, as at the end of a restore.

use std::sync::Arc;

use super::damage::Damage;
use super::open::{Opened, Opening};
use super::pace::Follower;
use super::status::{Status, Voice};
use super::{rounds, End, Stop};
use crate::connection::Session;
use crate::error::{Error, Outcome, Result};

/// Ends it. What it says at the end is what a restore says.
pub async fn promote(opening: &Opening<'_>) -> Result<Outcome> {
    let options = opening.options;
    let stop = Stop::listen()?;
    let name = Session::named_database(&options.target)?.unwrap_or_default();
    let mut voice = Voice::new(
        opening.output,
        name,
        options.metrics.as_deref(),
        options.interval,
    );
    let mut status = Status {
        state: "promoting",
        ..Status::default()
    };
    loop {
        let Some(opened) = opening.open(&voice).await? else {
            continue;
        };
        if let Some(outcome) = end(opening, opened, &stop, &mut voice, &mut status).await? {
            return Ok(outcome);
        }
    }
}

/// `None`: all is opened again.
async fn end(
    opening: &Opening<'_>,
    mut opened: Opened,
    stop: &Stop,
    voice: &mut Voice,
    status: &mut Status,
) -> Result<Option<Outcome>> {
    let options = opening.options;
    let uncounted = options.no_count.then(|| "--no-count".to_owned());
    let client = Arc::clone(&opened.session.client);
    let (storage, plan) = (Arc::clone(&opened.source.storage), Arc::clone(&opened.plan));
    let (tail, known_sets, kept) = (opened.tail.take(), opened.known_sets, opened.lost);
    let mut lost = super::kept::lost(&opened.target.progress)?;
    let mut replay = opened.replay(uncounted).await?;
    if let Some(mut tail) = tail.filter(|_| !options.now) {
        tail.takes_unlisted = true;
        let mut damage = Damage::new(options.patience);
        let mut follower = Follower {
            options,
            storage,
            client,
            tail: Some(tail),
            known: (None, false),
            damage: &mut damage,
            stop,
            voice,
            status,
            newest: None,
            next: None,
            failed: None,
            is_patient: false,
        };
        let ended = rounds(&mut replay, &mut follower, &plan, known_sets, kept).await?;
        lost.clone_from(&follower.tail().lost);
        if ended == End::Again {
            return Ok(None);
        }
        if stop.is_wanted() {
            let message = "the promotion was stopped before its end";
            return Err(Error::failed(message, "The same command goes on with it."));
        }
    }
    voice.end();
    let (done, quiet) = replay.end_following().await?;
    let mut report = opened.report;
    report.lost(&plan, lost);
    let mut done = done;
    for warning in opened
        .target
        .keep_warnings(std::mem::take(&mut done.warnings))
    {
        report.warn(&warning);
    }
    report.applied(done);
    report.dropped(
        opened
            .target
            .drop_empty_tablespaces(&opened.session)
            .await?,
    );
    let left_out = opened.rights.take_left_out();
    if !left_out.is_empty() {
        let encoding = &plan.base.metadata.source.encoding;
        left_out.write(&options.rights.left_out, encoding)?;
    }
    opened.target.warnings.extend(opened.rights.take_notes());
    report.left_out(left_out, Some(&options.rights.left_out));
    let outcome = report.outcome(&opened.target);
    let name = opened.target.final_name.clone();
    let is_partial = outcome != Outcome::Done;
    opened
        .target
        .finish(opened.session, quiet, is_partial)
        .await?;
    report.done(&name);
    Ok(Some(outcome))
}
