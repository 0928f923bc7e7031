//! `pg_incrbackup follow`: a copy that is kept at the end of the archive, or a fixed delay behind it.
//!
//! It is a restore without an end. It begins as one, with a base; then it looks for what is new, again and again, and
//! replays it in commit order. All that it knows is in the target, in the transactions that it describes, so whatever
//! fails, it opens everything again and goes on there. Between two rounds no transaction is open.
//!
//! | room | what it does |
//! | --- | --- |
//! | [`options`] | the command line |
//! | [`open`] | begins a copy, or takes one up |
//! | [`kept`] | what is kept in the target beside the progress of a restore |
//! | [`pace`] | when what is applied: the delay, the end, and what is told meanwhile |
//! | [`damage`] | whether it passes |
//! | [`promote`] | the end of a copy |
//! | [`signals`], [`status`] | when to end, and where it is |

mod damage;
mod kept;
mod open;
mod options;
mod pace;
mod promote;
mod signals;
mod status;

use std::sync::Arc;
use std::time::{Duration, Instant};

use archive::layout::GlobalsName;
use archive::Lsn;
use archive_query::catalog::{Base, Chain};

use super::plan::{LostHere, Plan};
use super::replay::{Applied, Replay};
use crate::connection::{block_on, Session};
use crate::error::{Error, Outcome, Result};
use crate::output::Output;
use damage::Damage;
use open::Opening;
pub use options::Follow;
use pace::Follower;
use signals::Stop;
use status::{Status, Voice};

/// Between two attempts to go on, at first and at most.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// How following ends, without an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Everything is opened again: there is something that must be known from the beginning.
    Again,
    /// A signal, or all is applied and nothing more was asked for.
    Stopped,
}

pub fn run(options: &Follow, output: &Output) -> Result<Outcome> {
    block_on(follow(options, output))
}

async fn follow(options: &Follow, output: &Output) -> Result<Outcome> {
    let opening = Opening::of(options, output);
    if options.promote {
        return promote::promote(&opening).await;
    }
    let stop = Stop::listen()?;
    let name = Session::named_database(&options.target)?.unwrap_or_default();
    let metrics = options.metrics.as_deref();
    let mut voice = Voice::new(output, name, metrics, options.interval);
    let mut status = Status::default();
    let (mut pause, mut damage) = (FIRST_PAUSE, Damage::new(options.patience));
    loop {
        let begun = Instant::now();
        let ended = once(&opening, &stop, &mut voice, (&mut status, &mut damage)).await;
        let error = match ended {
            Ok(End::Again) => {
                pause = FIRST_PAUSE;
                continue;
            }
            Ok(End::Stopped) => break,
            Err(_) if stop.is_wanted() => break,
            Err(error) => error,
        };
        let place = status.applied.map(|(lsn, _)| lsn);
        // A look at a file that is being written, closed or compressed may be mistaken, but not for long.
        let lasts =
            is_of_archive(&error) && damage.lasts(&error.to_string(), place, Instant::now());
        let may_pass = is_passing(&error) || is_of_archive(&error) && !lasts;
        if !opening.has_begun.get() || !may_pass {
            voice.end();
            if status.state != "ended" && opening.has_begun.get() {
                status.state = "failed";
                voice.tell(&status)?;
            }
            return Err(explained(error, &status));
        }
        if !is_of_archive(&error) {
            voice.trouble(&error);
        }
        status.state = if error.is_of_server() {
            "waiting for a server"
        } else {
            "waiting for the archive"
        };
        voice.tell(&status)?;
        if begun.elapsed() > LONGEST_PAUSE {
            pause = FIRST_PAUSE;
        }
        if !stop.not_within(pause).await {
            break;
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
    voice.end();
    status.state = "stopped";
    voice.tell(&status)?;
    if !options.once {
        voice.say("stopped between two transactions; the same command goes on there, and --promote makes the copy a database of its own");
    }
    Ok(Outcome::Done)
}

/// Opens everything, and follows until something ends it.
async fn once(
    opening: &Opening<'_>,
    stop: &Stop,
    voice: &mut Voice,
    (status, damage): (&mut Status, &mut Damage),
) -> Result<End> {
    damage.is_in_round = false;
    if !opening.has_begun.get() {
        status.state = "beginning";
        status.delay_seconds = opening.options.delay.as_secs_f64();
        voice.tell(status)?;
    }
    let opened = tokio::select! {
        opened = opening.open(voice) => opened?,
        () = stop.wanted() => return Ok(End::Stopped),
    };
    let Some(mut opened) = opened else {
        return Ok(End::Again);
    };
    voice.no_trouble();
    let tail = opened.tail.take();
    let tail = tail.ok_or_else(|| Error::failed("there is no archive", ""))?;
    let mut follower = Follower {
        options: opening.options,
        storage: Arc::clone(&opened.source.storage),
        client: Arc::clone(&opened.session.client),
        tail: Some(tail),
        known: (None, false),
        damage,
        stop,
        voice,
        status,
        newest: None,
        next: None,
        failed: None,
        is_patient: true,
    };
    let (known_sets, lost) = (opened.known_sets, opened.lost);
    let plan = Arc::clone(&opened.plan);
    let mut replay = opened.replay(None).await?;
    rounds(&mut replay, &mut follower, &plan, known_sets, lost).await
}

/// Round after round.
async fn rounds(
    replay: &mut Replay<'_>,
    follower: &mut Follower<'_>,
    plan: &Plan,
    known_sets: Option<GlobalsName>,
    mut kept_losses: usize,
) -> Result<End> {
    let stopped = |follower: &Follower<'_>| follower.stop.is_wanted();
    let mut refreshed = Instant::now();
    loop {
        if let Err(error) = follower.refresh().await {
            return follower.again_or(error);
        }
        if stopped(follower) {
            return Ok(End::Stopped);
        }
        if follower.tail().lost_base().is_some() {
            follower.tell()?;
            follower.ensure_has_base()?;
            follower.ensure_goes_on()?;
            return Ok(End::Stopped);
        }
        if follower.tail().has_globals(known_sets) {
            return Ok(End::Again);
        }
        if follower.tail().lost.len() > kept_losses {
            kept_losses = follower.tail().lost.len();
            replay
                .keep(&kept::lost_statement(&follower.tail().lost))
                .await?;
            follower.tell_lost();
        }
        follower.note(replay);
        if let Some(round) = follower.tail().round() {
            let planned = follower.plan(plan, &round);
            let applied = replay.follow(Arc::new(planned), follower).await;
            if let Some(error) = follower.failed.take() {
                return follower.again_or(error);
            }
            follower.damage.is_in_round = applied.is_err();
            if applied? == Applied::Stopped {
                follower.note(replay);
                return Ok(End::Stopped);
            }
            follower.tail_mut().applied(&round);
            follower.damage.has_applied();
            follower.next = None;
            follower.note(replay);
            follower.tell()?;
            continue;
        }
        follower.damage.has_applied();
        let upto = follower.due_sets(plan);
        replay.globals_up_to(upto).await?;
        if follower
            .options
            .refresh_views
            .is_some_and(|every| refreshed.elapsed() >= every)
        {
            replay.refresh_views().await?;
            refreshed = Instant::now();
        }
        follower.tell()?;
        follower.ensure_goes_on()?;
        if follower.options.once || !follower.is_patient {
            return Ok(End::Stopped);
        }
        if !follower.stop.not_within(follower.options.interval).await {
            return Ok(End::Stopped);
        }
        if replay.is_closed() {
            return Err(Error::Unavailable {
                message: "the target's server has ended the connection".to_owned(),
                hint: String::new(),
            });
        }
    }
}

/// Of a copy at its end, for the report.
pub fn with_losses(chain: Chain, base: Base, lost: Vec<LostHere>) -> Plan {
    let mut plan = kept::bare(chain, base, None, Vec::new());
    plan.lost = lost;
    plan
}

/// Another attempt may succeed.
fn is_passing(error: &Error) -> bool {
    error.is_of_server() || matches!(error, Error::Archive(archive::Error::Io { .. }))
}

fn is_of_archive(error: &Error) -> bool {
    Outcome::of(error) == Outcome::Damaged
}

/// What the copy is when it cannot go on.
fn explained(error: Error, status: &Status) -> Error {
    let Some((lsn, _)) = status.applied.filter(|(lsn, _)| *lsn > Lsn(0)) else {
        return error;
    };
    let stays = format!("The copy is as of commit {lsn}, and may be read");
    let hint = match error.hint() {
        "" => format!("{stays}; the same command goes on there."),
        hint => format!("{hint}\n    {stays}."),
    };
    error.with_hint(hint)
}
