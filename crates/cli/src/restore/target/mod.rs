//! The database that a restore makes, and what it needs of the server: roles, tablespaces.
//!
//! ```text
//! server: Found      looked at, nothing changed: refuses what cannot become the target
//!    │ Found::make   database NAME.restoring (or an empty one, closed to PUBLIC); missing roles and tablespaces
//!    ▼
//! Target ─▶ sets     while changes are replayed: what became of roles and of the database itself
//!    │ Target::finish
//!    ▼
//! NAME, or opened to PUBLIC again
//! ```
//!
//! | room | what it does |
//! | --- | --- |
//! | [`server`] | connects, and refuses |
//! | [`beside`], [`scratch`], [`named`] | the target of a part, which may have objects, and the scratch database beside it |
//! | [`database`] | makes, closes, opens, renames; database.sql |
//! | [`read`], [`needs`] | which roles and tablespaces are needed |
//! | [`roles`] | makes those that are missing |
//! | [`sets`] | follows roles, tablespaces and the database over time |
//! | [`numbered`] | which sets of globals are applied |
//! | [`globals_sql`], [`statements`] | what pg_dumpall wrote, statement by statement |
//! | [`writers`] | a copy that is followed, and only read |
//! | [`encoding`] | names in the encoding of the database |

mod beside;
pub mod database;
pub mod encoding;
pub mod globals_sql;
mod named;
pub mod needs;
mod numbered;
pub mod read;
pub mod roles;
pub mod scratch;
pub mod server;
pub mod sets;
pub mod statements;
pub mod writers;

use std::rc::Rc;
use std::sync::Arc;

use archive::storage::Storage;

use crate::connection::Session;
use crate::error::{Error, Result};
use crate::output::Output;
use crate::quote::shown;
use crate::restore::base;
use crate::restore::plan::Plan;
use crate::restore::progress::{self, Identity, Left, Progress, Stage};
use crate::restore::replay::Quiet;
use crate::restore::rights::Rights;
pub use beside::Place;
use database::Doors;
use roles::Made;
pub use server::Found;
use sets::Sets;

/// A target that is being made.
pub struct Target {
    conninfo: String,
    /// Until all is done.
    pub name: String,
    pub final_name: String,
    /// The database from which it can be renamed; `None` if it keeps its name.
    beside: Option<String>,
    pub made: Made,
    /// What it says that cannot be done as `--globals` asks.
    pub warnings: Vec<String>,
    pub sets: Sets,
    /// How far it is.
    pub progress: Progress,
}

impl Found {
    /// Makes the database, or closes it, and the roles and tablespaces that are missing. What fails says what it leaves.
    /// `first`: statements that keep what the progress is to have from the beginning.
    pub async fn make(
        mut self,
        storage: &Arc<dyn Storage>,
        plan: &Arc<Plan>,
        with_globals: bool,
        identity: Identity,
        rights: &Rc<Rights>,
        first: &str,
    ) -> Result<Target> {
        let known = read::known(&**storage, plan, with_globals, &self.session).await?;
        if let Some(Left::Created) = &self.left {
            // A run was killed before it did anything there.
            let drop = server::drop_statement(&self.name);
            self.session.client.batch_execute(&drop).await?;
        }
        if !self.exists && !matches!(self.left, Some(Left::Begun(_))) {
            database::create(&self.session, &self.name, &plan.base.metadata.source).await?;
        }
        let name = self.name.clone();
        let made = self
            .make_rest(storage, plan, known, identity, rights, first)
            .await;
        made.map_err(|error| incomplete(error, &name, &[]))
    }

    async fn make_rest(
        &mut self,
        storage: &Arc<dyn Storage>,
        plan: &Arc<Plan>,
        known: needs::Known<'_>,
        identity: Identity,
        rights: &Rc<Rights>,
        first: &str,
    ) -> Result<Target> {
        let mut session = Session::open(&self.conninfo, Some(&self.name)).await?;
        if !self.is_scratch {
            progress::lock_scratch(&session, &self.name).await?;
        }
        progress::lock(&session, &self.name).await?;
        let encoding = &plan.base.metadata.source.encoding;
        let progress = match &self.left {
            // Another run may have gone on meanwhile.
            Some(Left::Begun(begun)) => Progress::read(&session).await?.ok_or_else(|| {
                let name = &begun.identity.database;
                Error::failed(format!("\"{name}\" was restored by another run"), "")
            })?,
            _ => Progress::new(identity),
        };
        session.set_encoding(encoding).await?;
        if !progress.is_resumed {
            // It is empty still: whoever mends what failed here finds it as it was.
            if let Err(error) = self
                .begin(&known, &progress, &session, (first, rights))
                .await
            {
                // The error that counts is the first one.
                let _ = session.client.batch_execute("ROLLBACK").await;
                return Err(error);
            }
        }
        self.make_around(storage, plan, known, &session, rights)
            .await
    }

    /// In one transaction: the beginning of the progress, the mark of the database or its closed doors, and roles.
    async fn begin(
        &self,
        known: &needs::Known<'_>,
        progress: &Progress,
        session: &Session,
        (first, rights): (&str, &Rights),
    ) -> Result<()> {
        let client = &session.client;
        client.batch_execute("BEGIN").await?;
        client
            .batch_execute(&progress::sql::begin(progress))
            .await?;
        let mut doors = Doors::default();
        if self.exists {
            doors.close(session).await?;
        } else {
            database::alter(session, "CONNECTION LIMIT -1").await?;
        }
        let made = roles::make(session, known, rights).await?;
        announce(&self.output, made.ids.iter().map(String::as_str));
        let kept = [
            progress::sql::keep("made", &made),
            progress::sql::keep("lets_in", &doors.lets_in()),
            first.to_owned(),
        ];
        Ok(client
            .batch_execute(&format!("{}; COMMIT", kept.join("; ")))
            .await?)
    }

    /// Tablespaces, and properties of roles.
    async fn make_around(
        &self,
        storage: &Arc<dyn Storage>,
        plan: &Arc<Plan>,
        known: needs::Known<'_>,
        session: &Session,
        rights: &Rc<Rights>,
    ) -> Result<Target> {
        let progress = Progress::read(session).await?;
        let progress = progress.expect("it is there since the transaction before");
        let doors = Doors::of(progress.kept("lets_in")?);
        let is_around = progress.stage == Stage::Around;
        let mut made: Made = progress.kept("made")?;
        if is_around {
            made = roles::make_spaces(session, &known, made, rights).await?;
            announce(&self.output, made.ids.iter().map(String::as_str));
        }
        rights.take_up(progress.kept("rights")?);
        let unknown = sets::warnings_of(&known.globals);
        let with_globals = known.with_globals;
        let mut sets = Sets::new(
            Arc::clone(storage),
            Arc::clone(plan),
            known,
            &made,
            doors,
            (Rc::clone(rights), self.output),
        );
        if is_around {
            session.client.batch_execute("BEGIN").await?;
            sets.prepare(session).await?;
            sets.apply_first(session).await?;
        }
        let mut target = Target {
            conninfo: self.conninfo.clone(),
            name: self.name.clone(),
            final_name: self.final_name.clone(),
            beside: (!self.exists).then(|| self.beside.clone()),
            made: Made::default(),
            warnings: progress.kept("first_warnings")?,
            sets,
            progress,
        };
        if is_around {
            made.notes.extend(target.keep_warnings(session.warnings()));
            if with_globals {
                target.warnings.extend(unknown);
            } else {
                made.notes.extend(unknown);
            }
            let kept = [
                progress::sql::keep("made", &made),
                progress::sql::keep("first_warnings", &target.warnings),
                progress::sql::stage(Stage::Base),
            ];
            let commit = format!("{}; COMMIT", kept.join("; "));
            session.client.batch_execute(&commit).await?;
            target.progress.stage = Stage::Base;
        }
        target.made = made;
        Ok(target)
    }
}

impl Found {
    /// Gives its name to a database in which all is there.
    pub async fn finish(&self) -> Result<()> {
        database::rename(&self.session, &self.name, &self.final_name).await
    }
}

impl Target {
    /// A session in it, as long as which no other restore works there.
    pub async fn session(&self) -> Result<Session> {
        let session = Session::open(&self.conninfo, Some(&self.name)).await?;
        progress::lock(&session, &self.name).await?;
        Ok(session)
    }

    /// Counts the sets that are applied among those of the plan. Not of a copy: see [`Target::renumber_sets`].
    pub async fn number_sets(&mut self, session: &Session) -> Result<()> {
        if self.sets.are_followed() {
            return Ok(());
        }
        self.sets.number(session, &mut self.progress).await
    }

    /// Nobody else has gone on between two sessions, each of which has the lock: what was read in the first is so.
    pub async fn ensure_unchanged(&self, session: &Session) -> Result<()> {
        let now = Progress::read(session).await?;
        let known = &self.progress;
        let is_same = |now: &Progress| {
            (now.stage, now.pieces, &now.place) == (known.stage, known.pieces, &known.place)
        };
        if now.as_ref().is_some_and(is_same) {
            return Ok(());
        }
        let message = format!("another run has gone on with \"{}\" meanwhile", self.name);
        let hint = "If it has ended, the same command goes on from there.".to_owned();
        Err(Error::Unavailable { message, hint })
    }

    /// It was given, and PUBLIC may not connect yet.
    pub fn has_closed_doors(&self) -> bool {
        self.sets.doors.lets_in().is_some()
    }

    /// Gives it its name, while it goes on to be followed. No session may be in it.
    pub async fn rename(&self) -> Result<()> {
        let Some(beside) = &self.beside else {
            return Ok(());
        };
        let server = Session::open(&self.conninfo, Some(beside)).await?;
        database::rename(&server, &self.name, &self.final_name).await
    }

    /// The plan of a copy begins with the set that was applied last, whatever came before it.
    pub async fn renumber_sets(&mut self, plan: &Plan) -> Result<()> {
        let last = plan
            .later_globals
            .first()
            .filter(|_| self.progress.has_last_set());
        self.progress.sets = u64::from(last.is_some());
        // Renames that are still to come are numbered anew, too: the functions of the session begin with those of the plan.
        let session = self.session().await?;
        let forget = progress::sql::FORGET_RENAMES;
        Ok(session.client.batch_execute(forget).await?)
    }

    /// It has its base, and may be read from now on.
    pub async fn open_doors(&mut self, session: &Session) -> Result<()> {
        if !self.has_closed_doors() {
            return Ok(());
        }
        session.client.batch_execute("BEGIN").await?;
        self.sets.doors.open(session).await?;
        let kept = progress::sql::keep("lets_in", &self.sets.doors.lets_in());
        let commit = format!("{kept}; COMMIT");
        Ok(session.client.batch_execute(&commit).await?)
    }

    /// One more session in it, beside that of the restore.
    pub async fn another_session(&self) -> Result<Session> {
        Session::open(&self.conninfo, Some(&self.name)).await
    }

    /// Sessions that work beside that of the restore, prepared as it is; nobody else restores before they end.
    pub async fn beside(
        &self,
        count: usize,
        encoding: &str,
        rights: &Rights,
    ) -> Result<Vec<Session>> {
        let mut sessions = Vec::new();
        for _ in 0..count {
            let mut session = self.another_session().await?;
            progress::lock_beside(&session, &self.name).await?;
            base::prepare(&mut session, encoding, rights).await?;
            sessions.push(session);
        }
        Ok(sessions)
    }

    /// Keeps those of the warnings that say what cannot be done as `--globals` asks; the others are returned.
    pub fn keep_warnings(&mut self, warnings: Vec<String>) -> Vec<String> {
        let is_of_globals = |warning: &String| warning.contains("globals of ");
        let (kept, others) = warnings.into_iter().partition(is_of_globals);
        self.warnings.extend::<Vec<String>>(kept);
        others
    }

    /// Drops tablespaces that the restore made and that are empty now: the source emptied and dropped them. Not those
    /// that `--globals` made.
    pub async fn drop_empty_tablespaces(&self, session: &Session) -> Result<Vec<String>> {
        self.sets.drop_empty_tablespaces(session).await
    }

    /// All is done: it gets its name, or PUBLIC may connect again. Sessions in it must have ended, but for `session`.
    pub async fn finish(mut self, session: Session, quiet: Quiet, is_partial: bool) -> Result<()> {
        let mut read_only = None;
        if self.sets.are_followed() {
            read_only = Some(writers::noted(&session).await?);
        }
        // What this is must be on disk before it gets its name, and whoever is killed in between finds a mark.
        let end = progress::sql::end();
        let begin = format!("BEGIN; SET LOCAL synchronous_commit = on; {end}");
        session.client.batch_execute(&begin).await?;
        self.sets.doors.open(&session).await?;
        if let Some(was) = read_only {
            writers::let_in(&session, was.as_deref()).await?;
        }
        // From PostgreSQL 15 on only a superuser may set what nobody has defined (validate_option_array_item, guc.c). Whoever
        // is killed in between finds another's database then, and the name to drop.
        if self.beside.is_some() && !self.sets.is_limited() {
            let seal = self.progress.identity.seal();
            database::alter(&session, &progress::sql::complete(&seal, is_partial)).await?;
        }
        quiet.end(&session).await?;
        session.client.batch_execute("COMMIT").await?;
        let Some(beside) = self.beside else {
            return Ok(());
        };
        drop(session);
        let server = Session::open(&self.conninfo, Some(&beside)).await?;
        database::rename(&server, &self.name, &self.final_name).await
    }

    /// An error of whatever is done with it: says what is left.
    pub fn incomplete(&self, error: Error) -> Error {
        incomplete(error, &self.name, &self.made.roles)
    }
}

/// Tells programs what was made on the server beside the database: `r` and the OID of each role, `t` and that of each
/// tablespace. Roles are told before they are committed, so that nobody has to look for what a killed restore has left.
fn announce<'a>(output: &Output, ids: impl Iterator<Item = &'a str>) {
    let ids: Vec<&str> = ids.filter(|id| !id.is_empty()).collect();
    if !ids.is_empty() {
        output.fact(&serde_json::json!({ "made": ids }));
    }
}

fn incomplete(error: Error, name: &str, roles: &[Vec<u8>]) -> Error {
    let mut hint = format!(
        "The database \"{name}\" is incomplete: the same command line goes on with it. To begin anew, drop it: {}",
        server::drop_statement(name)
    );
    if !roles.is_empty() {
        let names: Vec<String> = roles
            .iter()
            .map(|role| shown(&crate::quote::ident(role)))
            .collect();
        hint.push_str(&format!(
            " Then also drop the roles that this restore made, which the next one would leave as they are: DROP ROLE IF EXISTS {};",
            names.join(", ")
        ));
    }
    if !error.hint().is_empty() {
        hint = format!("{}\n    {hint}", error.hint());
    }
    error.with_hint(hint)
}
