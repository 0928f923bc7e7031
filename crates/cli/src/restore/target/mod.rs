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
//! | [`database`] | makes, closes, opens, renames; database.sql |
//! | [`read`], [`needs`] | which roles and tablespaces are needed |
//! | [`roles`] | makes those that are missing |
//! | [`sets`] | follows roles, tablespaces and the database over time |
//! | [`globals_sql`], [`statements`] | what pg_dumpall wrote, statement by statement |
//! | [`encoding`] | names in the encoding of the database |

pub mod database;
pub mod encoding;
pub mod globals_sql;
pub mod needs;
pub mod read;
pub mod roles;
pub mod server;
pub mod sets;
pub mod statements;

use std::rc::Rc;
use std::sync::Arc;

use archive::storage::Storage;

use crate::connection::Session;
use crate::error::{Error, Result};
use crate::quote::shown;
use crate::restore::plan::Plan;
use crate::restore::rights::Rights;
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
}

impl Found {
    /// Makes the database, or closes it, and the roles and tablespaces that are missing. What fails says what it leaves.
    pub async fn make(
        mut self,
        storage: &Arc<dyn Storage>,
        plan: &Arc<Plan>,
        with_globals: bool,
        rights: &Rc<Rights>,
    ) -> Result<Target> {
        let known = read::known(&**storage, plan, with_globals, &self.session).await?;
        if !self.exists {
            database::create(&self.session, &self.name, &plan.base.metadata.source).await?;
        }
        let name = self.name.clone();
        let made = self.make_rest(storage, plan, known, rights).await;
        made.map_err(|error| incomplete(error, &name, &[]))
    }

    async fn make_rest(
        &mut self,
        storage: &Arc<dyn Storage>,
        plan: &Arc<Plan>,
        known: needs::Known<'_>,
        rights: &Rc<Rights>,
    ) -> Result<Target> {
        let mut session = Session::open(&self.conninfo, Some(&self.name)).await?;
        let mut doors = Doors::default();
        if self.exists {
            doors.close(&session).await?;
        }
        session
            .set_encoding(&plan.base.metadata.source.encoding)
            .await?;
        // It is empty still: whoever mends what failed here finds it as it was.
        let mut reopened = doors;
        match self
            .make_around(storage, plan, known, doors, &session, rights)
            .await
        {
            Ok(target) => Ok(target),
            Err(error) => {
                // The error that counts is the first one.
                let _ = reopened.open(&session).await;
                Err(error)
            }
        }
    }

    /// Roles and tablespaces.
    async fn make_around(
        &self,
        storage: &Arc<dyn Storage>,
        plan: &Arc<Plan>,
        known: needs::Known<'_>,
        doors: Doors,
        session: &Session,
        rights: &Rc<Rights>,
    ) -> Result<Target> {
        let mut made = roles::make(session, &known, rights).await?;
        let unknown = sets::warnings_of(&known.globals);
        let with_globals = known.with_globals;
        let sets = Sets::new(
            Arc::clone(storage),
            Arc::clone(plan),
            known,
            &made,
            doors,
            Rc::clone(rights),
        );
        sets.prepare(session).await?;
        sets.apply_first(session).await?;
        let mut target = Target {
            conninfo: self.conninfo.clone(),
            name: self.name.clone(),
            final_name: self.final_name.clone(),
            beside: (!self.exists).then(|| self.beside.clone()),
            made: Made::default(),
            warnings: Vec::new(),
            sets,
        };
        made.notes.extend(target.keep_warnings(session.warnings()));
        if with_globals {
            target.warnings.extend(unknown);
        } else {
            made.notes.extend(unknown);
        }
        target.made = made;
        Ok(target)
    }
}

impl Target {
    /// A session in it.
    pub async fn session(&self) -> Result<Session> {
        Session::open(&self.conninfo, Some(&self.name)).await
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
    pub async fn finish(mut self, session: Session) -> Result<()> {
        let Some(beside) = self.beside else {
            return self.sets.doors.open(&session).await;
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

fn incomplete(error: Error, name: &str, roles: &[Vec<u8>]) -> Error {
    let mut hint = format!(
        "The database \"{name}\" is incomplete: drop it before trying again: {}",
        server::drop_statement(name)
    );
    if !roles.is_empty() {
        let names: Vec<String> = roles
            .iter()
            .map(|role| shown(&crate::quote::ident(role)))
            .collect();
        hint.push_str(&format!(
            " Also drop the roles that this restore made, which the next one would leave as they are: DROP ROLE IF EXISTS {};",
            names.join(", ")
        ));
    }
    if !error.hint().is_empty() {
        hint = format!("{}\n    {hint}", error.hint());
    }
    error.with_hint(hint)
}
