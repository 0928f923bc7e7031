//! When what is applied: what is younger than the delay waits, and while it does, the archive is looked at, and where the copy
//! is is told.

use std::sync::Arc;
use std::time::{Duration, Instant};

use archive::storage::Storage;
use archive::time::{now, Time};
use archive::Lsn;
use chrono::TimeDelta;
use tokio::sync::oneshot;
use tokio_postgres::Client;

use super::damage::Damage;
use super::kept;
use super::options::Follow;
use super::signals::Stop;
use super::status::{Status, Voice};
use super::End;
use crate::error::{Error, Result};
use crate::restore::plan::tail::{Round, Tail};
use crate::restore::plan::Plan;
use crate::restore::replay::effects::Boxed;
use crate::restore::replay::{Done, Pace, Replay};

/// A look at the archive that takes longer is waited for.
const LONG_LOOK: Duration = Duration::from_secs(10);

/// The archive as it grows, and what the copy has of it.
pub struct Follower<'a> {
    pub options: &'a Follow,
    pub storage: Arc<dyn Storage>,
    /// Of the session in the target.
    pub client: Arc<Client>,
    /// Elsewhere while it is refreshed.
    pub tail: Option<Tail>,
    /// Of the tail, before it went elsewhere: when the first transaction committed that is not applied, and whether there is one.
    pub known: (Option<Time>, bool),
    pub damage: &'a mut Damage,
    pub stop: &'a Stop,
    pub voice: &'a mut Voice,
    pub status: &'a mut Status,
    /// The highest commit time of what is applied, or is next.
    pub newest: Option<Time>,
    /// The commit time of what is being applied, or waits.
    pub next: Option<Time>,
    /// Of a look at the archive while something waited.
    pub failed: Option<Error>,
    /// What is too young is waited for, and so is what comes; else all is applied at once.
    pub is_patient: bool,
}

impl Follower<'_> {
    pub fn tail(&self) -> &Tail {
        self.tail.as_ref().expect("it is back from its thread")
    }

    pub fn tail_mut(&mut self) -> &mut Tail {
        self.tail.as_mut().expect("it is back from its thread")
    }

    /// Looks for what is new. In a thread of its own, so that a storage which does not answer keeps nobody from ending this,
    /// nor from learning of it.
    pub async fn refresh(&mut self) -> Result<()> {
        let mut tail = self.tail.take().expect("it is back from its thread");
        self.known = (tail.oldest, tail.behind_bytes() > 0);
        let storage = Arc::clone(&self.storage);
        let (sender, mut done) = oneshot::channel();
        let look = move || {
            let looked = tail.refresh(&*storage);
            // Whoever ends meanwhile does not listen.
            let _ = sender.send((tail, looked));
        };
        let thread = std::thread::Builder::new().name("tail".to_owned());
        let failed = |error| Error::failed(format!("could not start a thread: {error}"), "");
        thread.spawn(look).map_err(failed)?;
        let begun = Instant::now();
        let (tail, looked) = loop {
            tokio::select! {
                done = &mut done => break done.map_err(|_| {
                    Error::failed("looking at the archive ended with an internal error", "Please report it, with what stands above.")
                })?,
                () = self.stop.wanted() => {
                    return Err(Error::failed("stopped while the archive was looked at", ""));
                }
                () = tokio::time::sleep(self.options.interval) => self.tell_since(begun)?,
            }
        };
        if looked.is_ok() {
            self.damage.has_looked();
        }
        self.status.archive = Some((tail.end_lsn, tail.end_at));
        self.tail = Some(tail);
        looked
    }

    /// After an error of a look: where what was read is there no more, everything is looked at anew behind what is applied.
    pub fn again_or(&self, error: Error) -> Result<End> {
        if !self.tail.as_ref().is_some_and(|tail| tail.is_rewritten) {
            return Err(error);
        }
        let place = match self.status.applied {
            Some((lsn, _)) => format!("commit {lsn}"),
            None => "the base".to_owned(),
        };
        self.voice.say(&format!("{error}: going on behind {place}"));
        Ok(End::Again)
    }

    /// A plan of a round; what is the same in all is in `whole`.
    pub fn plan(&self, whole: &Plan, round: &Round) -> Plan {
        let tail = self.tail();
        let mut chain = whole.chain.clone();
        chain.segments = round.segments.iter().map(|it| it.segment.clone()).collect();
        let first = whole.first_globals.clone();
        let mut plan = kept::bare(
            chain,
            whole.base.clone(),
            first,
            whole.later_globals.clone(),
        );
        plan.segments.clone_from(&round.segments);
        plan.lost.clone_from(&tail.lost);
        plan
    }

    /// What the replay has done.
    pub fn note(&mut self, replay: &Replay<'_>) {
        self.status.deferred = replay.waiting_objects() as u64;
        self.status.not_applied = replay.left_out_changes();
        let done = replay.done().clone();
        self.note_done(&done);
    }

    fn note_done(&mut self, done: &Done) {
        if let Some((lsn, at)) = done.last {
            self.status.applied = Some((lsn, at));
            self.newest = self.newest.max(at);
        }
        self.status.transactions = done.applied;
    }

    /// Where it is now.
    pub fn tell(&mut self) -> Result<()> {
        self.tell_since(Instant::now())
    }

    /// The same while the archive is looked at, since then.
    fn tell_since(&mut self, begun: Instant) -> Result<()> {
        if !self.voice.is_due() && self.is_patient && !self.options.once {
            return Ok(());
        }
        let (behind, is_behind, lost) = match &self.tail {
            Some(tail) => (
                tail.behind_bytes(),
                tail.round().is_some(),
                tail.lost
                    .iter()
                    .map(crate::restore::report::in_words)
                    .collect(),
            ),
            None => (
                self.status.behind_bytes,
                self.known.1,
                self.status.lost.clone(),
            ),
        };
        self.status.lost = lost;
        self.status.behind_bytes = behind;
        self.status.delay_seconds = self.options.delay.as_secs_f64();
        let known = match &self.tail {
            Some(tail) => tail.oldest,
            None => self.known.0,
        };
        let oldest = self.next.or(known).filter(|_| is_behind);
        let age = oldest.map_or(0.0, |at| (now() - at).as_seconds_f64().max(0.0));
        self.status.lag_seconds = age;
        let late = age - self.status.delay_seconds;
        self.status.state = if begun.elapsed() >= LONG_LOOK {
            "waiting for the archive"
        } else if late > 60.0 {
            "catching up"
        } else {
            "following"
        };
        self.voice.tell(self.status)
    }

    /// Changes are lost: said when it is found.
    pub fn tell_lost(&self) {
        let lost = self
            .tail()
            .lost
            .iter()
            .map(crate::restore::report::in_words);
        let lost: String = lost.map(|lost| format!("\n    {lost}")).collect();
        self.voice.say(&format!(
            "changes are lost; what cannot be applied is left out, and the copy stays incomplete until it is begun anew from a \
             base of the source that was taken later:{lost}"
        ));
    }

    /// Up to which LSN sets of globals may be applied when all transactions are that may be.
    pub fn due_sets(&self, plan: &Plan) -> Lsn {
        let end = if self.is_patient {
            self.tail().end_lsn
        } else {
            Lsn(u64::MAX)
        };
        let is_young = |at: Time| self.is_patient && self.left(at).is_some();
        let young = plan
            .later_globals
            .iter()
            .find(|set| is_young(set.facts.changed_at));
        young.map_or(end, |set| end.min(Lsn(set.name.lsn.0.saturating_sub(1))))
    }

    /// What a chain has that went on without the copy's base cannot be applied. Where it has ended before that base, the
    /// copy has all of it, and more.
    pub fn ensure_has_base(&mut self) -> Result<()> {
        let tail = self.tail();
        let (number, ended) = (tail.chain.number, tail.chain.info.ended.as_ref());
        let is_behind_end = |lsn: &Lsn| ended.is_some_and(|ended| *lsn > ended.last_lsn);
        let Some(lsn) = tail.lost_base().filter(|lsn| !is_behind_end(lsn)) else {
            return Ok(());
        };
        let message = format!(
            "the base that the copy was made of, as of {lsn}, is not in chain-{number} any more: it was set apart when another server was promoted"
        );
        self.status.state = "ended";
        self.voice.tell(self.status)?;
        Err(Error::failed(
            message,
            "Drop the database, and follow begins anew. Or --promote --now makes the copy a database of its own, as of that base.",
        ))
    }

    /// A chain that has ended has nothing more.
    pub fn ensure_goes_on(&mut self) -> Result<()> {
        let tail = self.tail();
        let chain = &tail.chain;
        let number = chain.number;
        if !self.is_patient {
            return Ok(());
        }
        let Some(ended) = &chain.info.ended else {
            return Ok(());
        };
        let applied = self.status.applied.map(|(lsn, _)| lsn);
        let beyond = applied
            .max(tail.lost_base())
            .filter(|lsn| *lsn > ended.last_lsn);
        let what = match beyond {
            Some(lsn) => format!(
                "the copy has what is behind that, up to {lsn}, and not in the chain any more"
            ),
            None => "all of it is applied".to_owned(),
        };
        let message = format!(
            "chain-{number} has ended at {}, and {what}: {}",
            ended.last_lsn, ended.reason
        );
        let newer = match tail.newer {
            Some(newer) => format!("chain-{newer} goes on, with a base of its own"),
            None => "A new chain has a base of its own".to_owned(),
        };
        let mut hint = format!(
            "{newer}: drop the database, and the same command begins anew there. Or --promote makes the copy a database of its own"
        );
        hint.push_str(&match beyond {
            Some(_) => format!(
                ", with changes that the server which goes on never had. Without them: restore --chain {number} into a new database."
            ),
            None => ".".to_owned(),
        });
        self.status.state = "ended";
        self.voice.tell(self.status)?;
        Err(Error::failed(message, hint))
    }

    /// How long what was committed then has to wait; `None` if it need not.
    fn left(&self, at: Time) -> Option<Duration> {
        let delay = TimeDelta::from_std(self.options.delay).unwrap_or(TimeDelta::MAX);
        let due = at.checked_add_signed(delay)?;
        (due - now()).to_std().ok().filter(|left| !left.is_zero())
    }
}

impl Pace for Follower<'_> {
    fn is_due(&mut self, time: Option<Time>) -> bool {
        // Without commit times (decoder_raw without track_commit_timestamp) there is no delay.
        self.newest = self.newest.max(time);
        self.next = time;
        let has_delay = self.is_patient && !self.options.delay.is_zero();
        !has_delay || self.newest.is_none_or(|newest| self.left(newest).is_none())
    }

    fn wait<'f>(&'f mut self, done: &'f Done) -> Boxed<'f, bool> {
        Box::pin(async move {
            self.note_done(done);
            while let Some(left) = self.newest.and_then(|newest| self.left(newest)) {
                self.tell()?;
                if self.options.once {
                    return Ok(false);
                }
                if !self.stop.not_within(left.min(self.options.interval)).await {
                    return Ok(false);
                }
                if self.client.is_closed() {
                    let message = "the target's server has ended the connection".to_owned();
                    let hint = String::new();
                    return Err(Error::Unavailable { message, hint });
                }
                if let Err(error) = self.refresh().await {
                    self.failed = Some(error);
                    return Ok(false);
                }
            }
            Ok(true)
        })
    }

    fn goes_on(&mut self, done: &Done) -> bool {
        if self.voice.is_due() {
            self.note_done(done);
            if let Err(error) = self.tell() {
                self.failed = Some(error);
                return false;
            }
        }
        !self.stop.is_wanted()
    }
}
