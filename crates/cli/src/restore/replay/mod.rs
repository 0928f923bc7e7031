//! Replays the transactions of the segments that the base does not contain, in commit order.
//!
//! [`reader`] reads ahead in a thread; here each [`item`] is one protocol message. Small transactions that only change
//! rows share a transaction of the target; one with a schema change ends with its own.
//!
//! | room | what it does |
//! | --- | --- |
//! | [`rows`] | row changes, without waiting for each answer |
//! | [`shape`], [`batch`] | statements of one shape are planned once, and executed many at a time |
//! | [`copy`], [`large`] | COPY blocks; rows with large values |
//! | [`squash`] | the net effect of changes between two schema changes, if wanted |
//! | [`effects`] | schema changes |
//! | [`turns`] | transactions of the source in transactions of the target, and sets of globals between them |
//! | [`lanes`] | several sessions that apply changes of rows (`--jobs`) |
//! | [`quiet`] | triggers and rules that would fire |
//! | [`views`] | materialized views, filled at the end |
//! | [`follow`] | a source that goes on: no end, but pauses |
//! | [`lenient`] | statements that may fail, behind a loss |
//! | [`end`] | what is only done when all else is there |
//! | [`resume`] | what is kept in the target, to go on after a kill |
//! | [`permitted`], [`limited`], [`rehearsal`] | for a role that is not a superuser |

mod batch;
mod copy;
pub mod effects;
mod end;
mod follow;
mod help;
mod item;
mod lanes;
mod large;
mod lenient;
mod limited;
mod outbox;
mod permitted;
mod pieces;
mod quiet;
mod reader;
pub mod rehearsal;
mod resume;
mod rows;
mod shape;
mod squash;
mod turns;
mod views;

use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::sync::Arc;

use archive::segment::Header;
use archive::storage::Storage;
use archive::time::Time;
use archive::Lsn;

use crate::connection::Session;
use crate::error::{Error, Result};
use crate::restore::base::checks::Checks;
use crate::restore::counts::{Compared, Counts};
use crate::restore::deferred::{Deferred, Item};
use crate::restore::plan::Plan;
use crate::restore::progress::Progress;
use crate::restore::rights::keys::Keys;
use crate::restore::rights::still::Still;
use crate::restore::rights::Rights;
use copy::Copy;
use effects::Globals;
pub use follow::{Applied, Pace};
use help::Help;
use item::{Batch, What};
pub use lanes::progress::kept as lanes_of;
use lanes::progress::Reached;
use lanes::Lanes;
use lenient::LeftOut;
pub use quiet::Quiet;
pub use reader::Reader;
use rows::{Failed, Rows, Wrong};
pub use squash::most as most_squashed;
use squash::Squash;
use views::Views;

/// What was done.
#[derive(Debug, Default, Clone)]
pub struct Done {
    pub applied: u64,
    /// The base holds them.
    pub skipped: u64,
    pub sequences: u64,
    /// Changes that were applied as their net effect by this run, and of how many rows.
    pub squashed: Option<(u64, u64)>,
    /// Places that could not be carried exactly, without a loss.
    pub flags: u64,
    pub last: Option<(Lsn, Option<Time>)>,
    /// Objects that need pg_incrbackup itself, or an ended session.
    pub left_out: BTreeSet<Vec<u8>>,
    /// Materialized views whose query fails, and why.
    pub unfilled: Vec<String>,
    /// Of the session.
    pub warnings: Vec<String>,
    /// Objects that could not be made at the end either.
    pub failed: Vec<Item>,
    /// Rows per table with what the files say.
    pub compared: Compared,
    /// What did not fit behind a loss: the object, how often, and the first reason.
    pub not_applied: Vec<LeftOut>,
}

/// The state of a replay.
pub struct Replay<'a> {
    session: &'a mut Session,
    plan: Arc<Plan>,
    storage: Arc<dyn Storage>,
    globals: &'a mut dyn Globals,
    rows: Rows,
    squash: Option<Squash>,
    quiet: Quiet,
    checks: Checks,
    /// A schema change may have made a CHECK that must be off while rows are made.
    may_check: bool,
    /// A CHECK is off.
    is_unchecked: bool,
    help: Help,
    views: Views,
    /// The segment that is replayed.
    file: String,
    /// A transaction of the target is open.
    is_open: bool,
    /// The transaction of the source has a schema change: it is committed alone.
    is_alone: bool,
    statements: u64,
    bytes: usize,
    /// The commit of the current transaction of the source.
    current: Option<(Lsn, Option<Time>)>,
    /// The next set of globals.
    next_set: usize,
    copy: Option<Copy>,
    lenient: Option<lenient::Lenient>,
    rights: Rc<Rights>,
    /// Foreign keys that are set aside.
    keys: Option<Keys>,
    /// Triggers and rules that would act.
    still: Option<Still>,
    /// Whether tables are missing, by their names in SQL.
    missing: HashMap<Vec<u8>, bool>,
    done: Done,
    /// The name of the segment, and what of it is behind.
    segment_name: String,
    units: u64,
    /// Something is to be kept with the next commit beside the place.
    is_dirty: bool,
    deferred: Deferred,
    counts: Counts,
    reader: Option<Reader>,
    /// Several sessions apply changes of rows; before they start, how many, and those beside the restore's own.
    lanes: Option<Lanes>,
    jobs: usize,
    beside: Vec<Session>,
    /// Statements and COPY blocks of the source's transaction so far, if one has begun.
    items: u64,
    is_within: bool,
    /// The source goes on, and the target is read meanwhile.
    is_followed: bool,
}

/// What a replay works with.
pub struct With<'a> {
    pub checks: Checks,
    pub globals: &'a mut dyn Globals,
    pub rights: Rc<Rights>,
    pub deferred: Deferred,
    pub counts: Counts,
    /// One that was started earlier, at the place that `begun` of [`Replay::run`] names.
    pub reader: Option<Reader>,
    pub ways: Ways,
}

/// How changes of rows are applied; by default one after the other, by one session.
#[derive(Default)]
pub struct Ways {
    /// Only the net effect of changes is wanted; how many bytes are collected at most.
    pub squashes: Option<usize>,
    /// How many sessions apply them, and those beside the restore's own.
    pub jobs: usize,
    pub beside: Vec<Session>,
}

impl<'a> Replay<'a> {
    /// On a target that has the base.
    pub fn new(
        session: &'a mut Session,
        storage: Arc<dyn Storage>,
        plan: Arc<Plan>,
        with: With<'a>,
    ) -> Replay<'a> {
        let With {
            checks,
            globals,
            rights,
            deferred,
            counts,
            reader,
            ways,
        } = with;
        let rows = Rows::new(session);
        Replay {
            session,
            plan,
            storage,
            globals,
            rows,
            squash: ways.squashes.map(Squash::new),
            quiet: Quiet::default(),
            checks,
            may_check: true,
            is_unchecked: false,
            help: Help::default(),
            views: Views::default(),
            file: String::new(),
            is_open: false,
            is_alone: false,
            statements: 0,
            bytes: 0,
            current: None,
            next_set: 0,
            copy: None,
            lenient: None,
            rights,
            keys: None,
            still: None,
            missing: HashMap::new(),
            done: Done::default(),
            segment_name: String::new(),
            units: 0,
            is_dirty: false,
            deferred,
            counts,
            reader,
            lanes: None,
            jobs: ways.jobs,
            beside: ways.beside,
            items: 0,
            is_within: false,
            is_followed: false,
        }
    }

    /// Replays all; `progress` is told the bytes read and the segment.
    pub async fn run(
        mut self,
        begun: &Progress,
        progress: &mut dyn FnMut(u64, &str),
    ) -> Result<(Done, Quiet)> {
        let reached = Reached::read(self.session, begun).await?;
        let place = reached.place.clone();
        self.resume(begun, &place).await?;
        self.begin_limited(begun).await?;
        self.start_lanes(reached).await?;
        let (storage, plan) = (Arc::clone(&self.storage), Arc::clone(&self.plan));
        let mut reader = match self.reader.take() {
            Some(reader) => reader,
            None => Reader::start(storage, plan, &place)?,
        };
        if let Err(error) = self.replay(&mut reader, progress).await {
            return Err(self.say_state(error).await);
        }
        self.end_lanes().await;
        self.globals_before(None).await?;
        self.finish().await
    }

    /// What is only done at the end.
    async fn finish(mut self) -> Result<(Done, Quiet)> {
        self.end().await?;
        if let Some(lenient) = self.lenient {
            self.done.not_applied = lenient.left_out();
        }
        self.done.warnings.extend(self.session.warnings());
        self.done.failed = self.deferred.left();
        Ok((self.done, self.quiet))
    }

    async fn replay(
        &mut self,
        reader: &mut Reader,
        progress: &mut dyn FnMut(u64, &str),
    ) -> Result<()> {
        while let Some(batch) = reader.batches.recv().await {
            let Batch {
                items,
                share: _share,
            } = batch?;
            for item in items {
                self.item(item).await?;
            }
            progress(reader.bytes.load(Ordering::Relaxed), &self.file);
        }
        self.commit().await
    }

    async fn item(&mut self, item::Item { line, what }: item::Item) -> Result<()> {
        if what.is_own() {
            self.open().await?;
        }
        match what {
            What::Segment { file, header } => self.segment(file, &header).await,
            What::Begin { lsn, time } => self.begin(lsn, time).await,
            What::Skipped => {
                self.done.skipped += 1;
                self.units += 1;
                Ok(())
            }
            What::Sequences { .. } => {
                self.done.sequences += 1;
                self.units += 1;
                (self.items, self.is_within) = (0, true);
                if self.is_own() {
                    self.open().await?;
                }
                Ok(())
            }
            What::Statement(text) => self.statement(line, text).await,
            What::Rows(lines) => self.rows(line, &lines).await,
            What::Copy(text) => self.begin_copy(line, text).await,
            What::CopyRows(rows) => self.copy_rows(line, rows).await,
            What::CopyEnd => self.end_copy().await,
            What::Effect(effect, text) => {
                self.end_squash().await?;
                self.effect(line, &effect, &text).await
            }
            What::Ddl {
                command,
                role,
                text,
            } => {
                self.end_squash().await?;
                self.acts(role).await?;
                self.ddl(line, &command, &text).await
            }
            What::Fact(fact) => {
                self.unsquash().await?;
                self.settle().await?;
                self.is_dirty = true;
                self.globals.follow(self.session, &fact).await
            }
            What::Flag => {
                self.done.flags += 1;
                Ok(())
            }
            What::LeftOut(object) => {
                self.done.left_out.insert(object);
                self.is_dirty = true;
                Ok(())
            }
            What::Commit => self.source_commit().await,
        }
    }

    /// A segment begins: what its texts mean is in its header. What was sent before has its answer by then.
    async fn segment(&mut self, file: String, header: &Header) -> Result<()> {
        if self.goes_on_squashing(&header.encoding).await? {
            self.begin_segment(file);
            return Ok(());
        }
        self.commit().await?;
        if self.goes_on_in(&file) {
            self.file = file;
            return Ok(());
        }
        self.begin_segment(file);
        set_as(self.session, header, &self.rights).await?;
        self.rows.in_encoding_of(self.session);
        if let Some(lanes) = &mut self.lanes {
            for session in lanes.beside() {
                set_as(session, header, &self.rights).await?;
            }
            lanes.forget(self.session.is_utf8());
        }
        Ok(())
    }

    /// All that was sent has its answer, and it was right.
    async fn settle(&mut self) -> Result<()> {
        let settled = self.rows.drain().await;
        settled.map_err(|failed| self.failed(failed))
    }

    async fn statement(&mut self, line: u64, text: Vec<u8>) -> Result<()> {
        let Some(text) = self.by_lane(line, text).await? else {
            return Ok(());
        };
        self.open().await?;
        self.items += 1;
        self.checks_off().await?;
        self.counts.note(&text);
        self.statements += 1;
        self.bytes += text.len();
        if self.is_done_with_care(line, &text).await? {
            return Ok(());
        }
        let Some(text) = self.squashed(line, text).await? else {
            return Ok(());
        };
        self.help.note(&text, !self.deferred.is_empty());
        if self.lenient.is_some() {
            return self.leniently(line, &text).await;
        }
        if text.starts_with(b"TRUNCATE ") {
            self.settle().await?;
            self.counts.clear(self.session, &text).await?;
        }
        if text.len() >= large::LARGE {
            self.settle().await?;
            let (client, is_utf8) = (Arc::clone(&self.session.client), self.session.is_utf8());
            if let Some(inserted) = large::insert(&client, is_utf8, &text).await {
                return inserted
                    .map(drop)
                    .map_err(|error| self.at(line, error.into()));
            }
            if pieces::is_worth_it(&text) {
                let wrong = match pieces::execute(&client, &text).await {
                    Ok(1) => return Ok(()),
                    Ok(hit) => Wrong::Hit(hit),
                    Err(error) => Wrong::Refused(error),
                };
                return Err(self.failed(Failed { line, wrong }));
            }
        }
        let sent = self.rows.send(line, text).await;
        sent.map_err(|failed| self.failed(failed))
    }

    fn failed(&self, Failed { line, wrong }: Failed) -> Error {
        match wrong {
            Wrong::Refused(error) => self.at(line, error.into()),
            Wrong::Hit(count) => {
                let place = self.storage.place(&self.file);
                hit(&format!("{place}:{line}"), count)
            }
            Wrong::Copied(count, rows) => {
                let message = format!("COPY took {count} rows of {rows}");
                self.at(line, Error::failed(message, ""))
            }
        }
    }

    /// An error, with the line that it is of.
    fn at(&self, line: u64, error: Error) -> Error {
        let place = self.storage.place(&self.file);
        let message = format!("{place}:{line}: {error}");
        error.with_message(message)
    }
}

/// A statement did not hit exactly one row.
fn hit(place: &str, count: u64) -> Error {
    let message = format!("{place}: the statement hit {count} rows, not exactly one");
    let hint =
        "The restored state differs from the source: report it, unless somebody edited the files.";
    Error::failed(message, hint)
}

/// Gives a session the settings of a segment.
async fn set_as(session: &mut Session, header: &Header, rights: &Rights) -> Result<()> {
    session.set_encoding(&header.encoding).await?;
    let settings = archive::segment::SETTINGS.iter();
    for (name, value) in settings.filter(|(name, _)| !rights.lacks_setting(name)) {
        let set = format!("SET {name} = {value}");
        session.client.execute_typed(&set, &[]).await?;
    }
    Ok(())
}
