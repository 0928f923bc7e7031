//! Begins a copy, or takes up one that an earlier run has begun.
//!
//! While its base is loaded the copy is as closed as the target of a restore. Then it gets its name, or PUBLIC may connect, and
//! from that moment on it is read: the base is a state that the source had, and so is every commit after it.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use archive::layout::GlobalsName;
use archive::storage::{Item, Storage};
use archive_query::catalog::{Catalog, Chain};

use super::kept;
use super::options::Follow;
use super::status::Voice;
use crate::args::{OnError, Restore};
use crate::connection::Session;
use crate::error::{Error, Result};
use crate::output::Output;
use crate::restore::base::checks::Checks;
use crate::restore::deferred::Deferred;
use crate::restore::plan::tail::Tail;
use crate::restore::plan::{self, Moment, Plan, Wish};
use crate::restore::progress::identity::another;
use crate::restore::progress::{Identity, Left, Progress, Stage};
use crate::restore::replay::{Replay, Ways, With};
use crate::restore::report::Report;
use crate::restore::rights::{versions, Rights};
use crate::restore::target::{writers, Found, Target};
use crate::restore::{ensure_extensions, ensure_permitted, kept_at_first, load, Counts};
use crate::source::{self, Source};

/// Stands among the options of what was begun.
const MARK: &str = "follow";

/// What the command line asks for.
pub struct Opening<'a> {
    pub options: &'a Follow,
    pub restore: Restore,
    pub output: &'a Output,
    /// The copy was this program's once: what fails then may pass.
    pub has_begun: Cell<bool>,
}

/// A copy that has its base, and all that is needed to go on with it.
pub struct Opened {
    pub source: Source,
    pub target: Target,
    pub plan: Arc<Plan>,
    pub session: Session,
    pub checks: Checks,
    pub rights: Rc<Rights>,
    pub report: Report,
    /// None without an archive.
    pub tail: Option<Tail>,
    /// The last set of globals that the plan has.
    pub known_sets: Option<GlobalsName>,
    /// So many losses are kept.
    pub lost: usize,
}

impl Opened {
    /// A replay that goes on where an earlier one has ended. `uncounted`: why rows are not to be counted.
    pub async fn replay(&mut self, uncounted: Option<String>) -> Result<Replay<'_>> {
        let begun = self.target.progress.clone();
        let uncounted = uncounted.or(begun.kept("uncounted")?);
        let with = With {
            checks: self.checks.clone(),
            globals: &mut self.target.sets,
            rights: Rc::clone(&self.rights),
            deferred: Deferred::new(OnError::Defer, begun.kept("deferred")?),
            counts: Counts::new(uncounted),
            reader: None,
            ways: Ways::default(),
        };
        let (storage, plan) = (Arc::clone(&self.source.storage), Arc::clone(&self.plan));
        let mut replay = Replay::new(&mut self.session, storage, plan, with);
        replay.begin_following(&begun).await?;
        Ok(replay)
    }
}

impl<'a> Opening<'a> {
    pub fn of(options: &'a Follow, output: &'a Output) -> Opening<'a> {
        Opening {
            options,
            restore: options.as_restore(),
            output,
            has_begun: Cell::new(false),
        }
    }

    /// `None`: a step is done, after which all is opened again.
    pub async fn open(&self, voice: &Voice) -> Result<Option<Opened>> {
        let source = self.source()?;
        let found = Found::look(&self.options.target, self.output).await?;
        ensure_permitted(&self.restore, &found.role)?;
        let begun = self.begun(&found)?;
        let is_loaded = begun.as_ref().is_some_and(|it| it.stage == Stage::Changes);
        if self.options.promote && !is_loaded {
            let message = format!("\"{}\" is no copy that can be promoted", found.final_name());
            let hint = "It is one when follow has loaded its base.";
            return Err(Error::failed(message, hint));
        }
        let storage = &source.storage;
        let mut plan = match &begun {
            Some(progress) if is_loaded => kept::plan(progress)?,
            begun => self.first_plan(&**storage, begun.as_ref())?,
        };
        let identity = self.identity(&plan, &found);
        if let Some(begun) = &begun {
            self.ensure_same(&begun.identity, &identity, &found)?;
        }
        let tail = match &begun {
            Some(progress) if is_loaded && self.has_archive() => {
                Some(self.tail(&**storage, &mut plan, progress)?)
            }
            _ => None,
        };
        let plan = Arc::new(plan);
        let report = Report::new(self.output, &source, Arc::clone(&plan));
        if !is_loaded {
            report.plan_of_base();
            ensure_extensions(&self.restore, &source, &plan, &found).await?;
            report.left(found.left());
            let version = found.session().version;
            let of_source = plan.base.metadata.server_version_num;
            for warning in versions::warnings(of_source, version) {
                voice.say(&warning);
            }
        }
        // The server it is on, in which the database may get its name.
        let (name, final_name) = (found.name().to_owned(), found.final_name().to_owned());
        let metadata = &plan.base.metadata;
        let rights =
            Rights::of(&self.restore.rights, &found.role, found.session(), metadata).await?;
        let rights = Rc::new(rights);
        let first = format!(
            "{}; {}",
            kept_at_first(&self.restore, None),
            kept::at_first(&plan)
        );
        let globals = self.restore.globals;
        let made = found
            .make(storage, &plan, globals, identity, &rights, &first)
            .await?;
        self.has_begun.set(true);
        let mut opened = Opened {
            known_sets: plan
                .later_globals
                .last()
                .or(plan.first_globals.as_ref())
                .map(|set| set.name),
            lost: tail.as_ref().map_or(0, |tail| tail.lost.len()),
            ..self
                .loaded(source, made, plan, rights, report, tail)
                .await?
        };
        if is_loaded && name == final_name && !opened.target.has_closed_doors() {
            return Ok(Some(opened));
        }
        // Triggers are quiet, and materialized views are filled, before anybody reads.
        opened.replay(None).await?.refresh_views().await?;
        opened.target.open_doors(&opened.session).await?;
        drop(opened.session);
        opened.target.rename().await?;
        Ok(None)
    }

    /// In a session of the copy.
    async fn loaded(
        &self,
        source: Source,
        mut target: Target,
        plan: Arc<Plan>,
        rights: Rc<Rights>,
        mut report: Report,
        tail: Option<Tail>,
    ) -> Result<Opened> {
        target.sets.has_more();
        let is_new = target.progress.stage < Stage::Changes;
        // Retention removes nothing while the base is read.
        let hold = if is_new { source.storage.hold()? } else { None };
        if !is_new {
            target.renumber_sets(&plan).await?;
        }
        if is_new {
            report.made(&target);
        }
        let loaded = load(
            &self.restore,
            &source,
            &plan,
            &mut target,
            &mut report,
            &rights,
        )
        .await;
        let loaded = loaded.map_err(|error| {
            if is_new {
                target.incomplete(error)
            } else {
                error
            }
        })?;
        drop(hold);
        if !is_new {
            // A promotion that did not finish, or somebody by hand.
            writers::keep_out_again(&loaded.session).await?;
        }
        Ok(Opened {
            source,
            target,
            plan,
            session: loaded.session,
            checks: loaded.checks,
            rights,
            report,
            tail,
            known_sets: None,
            lost: 0,
        })
    }

    fn has_archive(&self) -> bool {
        self.options.archive.is_some() || self.options.from.is_some()
    }

    fn source(&self) -> Result<Source> {
        if self.has_archive() {
            return source::one(&self.restore.archive);
        }
        Ok(Source {
            name: String::new(),
            storage: Arc::new(Nowhere),
            directory: None,
        })
    }

    /// What an earlier run has begun, which was this.
    fn begun(&self, found: &Found) -> Result<Option<Progress>> {
        match found.left() {
            Some(Left::Begun(progress)) => {
                let options = &progress.identity.options;
                if !options.iter().any(|option| option == MARK) {
                    return Err(another(found.name(), "it was begun by restore"));
                }
                Ok(Some((**progress).clone()))
            }
            Some(Left::Complete { .. }) => Err(another(found.name(), "it is complete")),
            Some(Left::Created) | None => Ok(None),
        }
    }

    /// The base alone: the newest one, or that which an earlier run has begun to load.
    fn first_plan(&self, storage: &dyn Storage, begun: Option<&Progress>) -> Result<Plan> {
        let (catalog, damage) = Catalog::read_sound(storage)?;
        let identity = begun.map(|progress| &progress.identity);
        let is_it = |chain: &&Chain| match identity {
            Some(identity) => chain.number == identity.chain,
            None => chain.bases.iter().any(|base| chain.is_listed(base)),
        };
        let chain = catalog.chains.iter().rev().find(is_it);
        let base = chain.and_then(|chain| {
            let mut bases = chain.bases.iter().rev();
            bases.find(|base| match identity {
                Some(identity) => base.name.to_string() == identity.base,
                None => chain.is_listed(base),
            })
        });
        let Some((chain, base)) = chain.zip(base) else {
            if let Some(error) = damage.into_iter().next() {
                return Err(error.into());
            }
            let message = match identity {
                Some(identity) => format!(
                    "base {}, which was begun to be loaded, has gone from the archive",
                    identity.base
                ),
                None => format!("there is no finished base in {}", storage.place("")),
            };
            let hint = "Drop the database that was begun, if there is one, and begin anew when there is a base.";
            return Err(Error::no_such_moment(message, hint));
        };
        let wish = Wish {
            moment: Moment::Lsn(base.metadata.lsn),
            chain: Some(chain.number),
            base: Some(base.name),
            allow_earlier: true,
            seen: None,
            is_part: false,
        };
        let mut plan = plan::choose(storage, &catalog, &wish, damage)?;
        // What is behind the base is read when its turn comes.
        plan.upto = archive::Lsn(u64::MAX);
        plan.later_globals.clear();
        plan.lost.clear();
        plan.remark = None;
        Ok(plan)
    }

    /// The end of the archive; the plan gets the sets of globals that it has.
    fn tail(&self, storage: &dyn Storage, plan: &mut Plan, progress: &Progress) -> Result<Tail> {
        let last = progress.place.last.as_ref();
        let last = last.and_then(|(lsn, _)| lsn.parse().ok());
        let lost = kept::lost(progress)?;
        let (chain, base) = (plan.chain.clone(), plan.base.clone());
        let tail = Tail::new(storage, chain, base, last, lost)?;
        let last = plan.later_globals.last().map(|set| set.name);
        plan.later_globals.extend(tail.globals(storage, last)?);
        plan.chain = Chain {
            segments: Vec::new(),
            globals: Vec::new(),
            bases: Vec::new(),
            lost_bases: Vec::new(),
            flags: Vec::new(),
            ..tail.chain.clone()
        };
        Ok(tail)
    }

    fn identity(&self, plan: &Plan, found: &Found) -> Identity {
        let who = (found.final_name(), &found.role);
        let mut identity = Identity::of(&self.restore, plan, &Moment::Newest, who);
        identity.options.push(MARK.to_owned());
        identity.is_alone = false;
        identity
    }

    fn ensure_same(&self, begun: &Identity, now: &Identity, found: &Found) -> Result<()> {
        if begun.options != now.options {
            let mut options = begun.options.clone();
            options.retain(|option| option != MARK);
            let why = match options.join(" ") {
                none if none.is_empty() => "it was begun without options".to_owned(),
                some => format!("it was begun with {some}"),
            };
            return Err(another(found.name(), &why));
        }
        begun.ensure_same(now, found.name())
    }
}

/// No archive.
struct Nowhere;

impl Storage for Nowhere {
    fn list(&self, _directory: &str) -> archive::Result<Vec<Item>> {
        Ok(Vec::new())
    }

    fn open(
        &self,
        _file: &str,
        _offset: u64,
    ) -> archive::Result<Option<Box<dyn std::io::Read + Send>>> {
        Ok(None)
    }

    fn size(&self, _file: &str) -> archive::Result<Option<u64>> {
        Ok(None)
    }

    fn place(&self, _file: &str) -> String {
        "(no archive)".to_owned()
    }
}
