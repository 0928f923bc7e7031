//! Roles, tablespaces and the database itself over time: the sets of globals, and the facts in the segments.
//!
//! Changes by sessions in other databases to roles, and to this database (ALTER DATABASE, GRANT, COMMENT), are in no
//! segment: each set of globals is executed at its place, between the last commit that it may include and the next, so
//! that the following segments find its effects.

use std::rc::Rc;
use std::sync::Arc;

use archive::globals::Facts;
use archive::layout::GlobalsName;
use archive::segment::ClusterFact;
use archive::storage::{self, Storage};
use serde::{Deserialize, Serialize};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::Row;

use super::database::{self, Doors};
use super::globals_sql::GlobalsSql;
use super::needs::{Known, Rename};
use super::numbered;
use super::read::{file_of, DATABASE_SQL};
use super::roles::Made;
use super::writers;
use crate::connection::{guarded, Raw, Session};
use crate::error::{Error, Result};
use crate::output::Output;
use crate::quote::{array, ident, shown};
use crate::restore::plan::Plan;
use crate::restore::progress;
use crate::restore::replay::effects::{Boxed, Globals};
use crate::restore::rights::refusal::Subject;
use crate::restore::rights::Rights;

/// The set that was applied last, kept for whoever goes on with a copy: retention may have removed it by then.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Kept {
    name: String,
    facts: Facts,
}

/// The name of a [`Kept`].
pub const LAST_SET: &str = "last_set";

impl Kept {
    pub fn of(set: &archive_query::catalog::Globals) -> Kept {
        Kept {
            name: set.name.to_string(),
            facts: set.facts.clone(),
        }
    }

    /// As the catalog has them.
    pub fn set(self) -> Option<archive_query::catalog::Globals> {
        Some(archive_query::catalog::Globals {
            name: GlobalsName::parse(&self.name)?,
            facts: self.facts,
            entry: None,
        })
    }
}

/// Follows them in the session of the replay.
pub struct Sets {
    storage: Arc<dyn Storage>,
    pub(super) plan: Arc<Plan>,
    /// As of the base, and of each later set; none without `--globals`.
    globals: Vec<GlobalsSql>,
    pub(super) renames: Vec<Rename>,
    made: String,
    /// Something can change that this restore made.
    is_followed: bool,
    pub(super) doors: Doors,
    rights: Rc<Rights>,
    output: Output,
    /// Roles that the later sets name.
    of_sets: Vec<Vec<u8>>,
    /// More of the archive comes: what it needs is not known before, and others read the database meanwhile.
    has_more: bool,
}

impl Sets {
    /// The role is not a superuser.
    pub fn is_limited(&self) -> bool {
        self.rights.is_limited()
    }

    pub(super) fn new(
        storage: Arc<dyn Storage>,
        plan: Arc<Plan>,
        known: Known<'_>,
        made: &Made,
        doors: Doors,
        (rights, output): (Rc<Rights>, Output),
    ) -> Sets {
        let is_followed = !made.ids.is_empty() || known.with_globals || !known.renames.is_empty();
        Sets {
            storage,
            plan,
            globals: if known.with_globals {
                known.globals
            } else {
                Vec::new()
            },
            renames: known.renames,
            made: made.ids.join(" "),
            is_followed,
            doors,
            rights,
            output,
            of_sets: known.of_sets,
            has_more: false,
        }
    }

    /// The archive is followed: roles are made when they are first named, and nobody else writes to the database.
    pub fn has_more(&mut self) {
        self.has_more = true;
        self.is_followed = true;
    }

    /// Whether [`Sets::has_more`] was called.
    pub(super) fn are_followed(&self) -> bool {
        self.has_more
    }

    /// Makes the functions and the state in a session, whose client_encoding is that of the names.
    pub async fn prepare(&self, session: &Session) -> Result<()> {
        const STATE: &str = "SELECT pg_catalog.set_config('incr_restore.made', $1, false), \
            pg_catalog.set_config('incr_restore.renames', coalesce(pg_catalog.jsonb_agg(\
                pg_catalog.jsonb_build_array(number, old, new) ORDER BY n), '[]')::text, false) \
            FROM ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4)) \
                WITH ORDINALITY AS renamed (number, old, new, n)";
        let client = &session.client;
        for functions in [
            include_str!("globals.sql"),
            include_str!("follow.sql"),
            include_str!("../base/functions.sql"),
        ] {
            client.batch_execute(functions).await?;
        }
        let numbers: Vec<i32> = self
            .renames
            .iter()
            .map(|it| i32::try_from(it.set).unwrap_or(i32::MAX))
            .collect();
        let names =
            |of: fn(&Rename) -> &Vec<u8>| array(&self.renames.iter().map(of).collect::<Vec<_>>());
        let (old, new) = (names(|it| &it.old), names(|it| &it.new));
        let values: [(&(dyn ToSql + Sync), Type); 4] = [
            (&self.made, Type::TEXT),
            (&numbers, Type::INT4_ARRAY),
            (&Raw(&old), Type::TEXT_ARRAY),
            (&Raw(&new), Type::TEXT_ARRAY),
        ];
        client.query_typed(STATE, &values).await?;
        Ok(())
    }

    /// With `--globals`: roles and tablespaces as they were at the base.
    pub(super) async fn apply_first(&mut self, session: &Session) -> Result<()> {
        match self.globals.first().cloned() {
            Some(globals) => self.apply_globals(session, &globals, true).await,
            None => Ok(()),
        }
    }

    /// The properties of the database that the last of `count` sets has, or the base if there is none. May be done again.
    pub async fn apply_properties(&mut self, session: &Session, count: usize) -> Result<()> {
        let mut source = None;
        if count == 0 {
            let directory = self.plan.base.directory();
            let file = self.plan.chain.file(&format!("{directory}/{DATABASE_SQL}"));
            // An empty database that was given may have a setting of its own.
            let said = self.apply_database(session, &file, false).await?;
            source = said.filter(Option::is_some);
        } else if let Some(set) = self.plan.later_globals.get(count - 1) {
            let file = file_of(&self.plan, set, DATABASE_SQL);
            source = self.apply_database(session, &file, true).await?;
        }
        let mut done = progress::sql::set_done(self.doors.lets_in());
        if let Some(changed) = self.rights.changed() {
            done = format!("{}; {done}", progress::sql::keep("rights", &changed));
        }
        if self.has_more {
            session.client.batch_execute("BEGIN").await?;
            writers::keep_out(session, source).await?;
            done.push_str("; COMMIT");
        }
        Ok(session.client.batch_execute(&done).await?)
    }

    async fn apply_set(&mut self, session: &Session, count: usize) -> Result<()> {
        let client = &session.client;
        client.batch_execute("BEGIN").await?;
        let number = i32::try_from(count).unwrap_or(i32::MAX);
        let renamed =
            "SELECT pg_temp.incr_renamed($1), pg_catalog.current_setting('incr_restore.made')";
        if self.rights.follows_roles() {
            self.call(session, renamed, &[(&number, Type::INT4)])
                .await?;
            let now = |it: &&Rename| it.set <= count;
            for rename in self.renames.iter().filter(now) {
                self.is_called(session, &rename.new).await?;
            }
        }
        if let Some(globals) = self.globals.get(count).cloned() {
            self.apply_globals(session, &globals, false).await?;
        }
        let names = numbered::keep(&self.plan);
        let mut commit = format!("{names}; {}; COMMIT", progress::sql::set(count));
        if self.has_more {
            let is_role = |name: &&Vec<u8>| !name.starts_with(b"pg_") && &name[..] != b"public";
            let named: Vec<_> = self.of_sets.iter().filter(is_role).cloned().collect();
            for name in named {
                let superuser = false;
                self.follow_fact(session, &ClusterFact::Role { name, superuser })
                    .await?;
            }
            let last = Kept::of(&self.plan.later_globals[count - 1]);
            commit = format!("{}; {commit}", progress::sql::keep(LAST_SET, &last));
        }
        client.batch_execute(&commit).await?;
        self.apply_properties(session, count).await
    }

    /// What it has set of what [`writers`] sets; `None` without a file.
    async fn apply_database(
        &mut self,
        session: &Session,
        file: &str,
        is_later: bool,
    ) -> Result<Option<Option<String>>> {
        // A scratch database keeps what says what it is.
        let text = storage::read(&*self.storage, file)?;
        let Some(text) = text.filter(|_| self.plan.part.is_none()) else {
            return Ok(None);
        };
        let place = self.storage.place(file);
        let how = (is_later, self.has_more);
        let (doors, rights) = (&mut self.doors, &self.rights);
        let set = database::apply(session, doors, (&place, &text), how, rights).await?;
        Ok(Some(set))
    }

    async fn apply_globals(
        &mut self,
        session: &Session,
        globals: &GlobalsSql,
        is_first: bool,
    ) -> Result<()> {
        if globals.said.is_empty() {
            return Ok(());
        }
        let said = || globals.said.iter();
        let kinds = array(&said().map(|it| it.kind.word()).collect::<Vec<_>>());
        let subjects = array(&said().map(|it| &it.subject).collect::<Vec<_>>());
        let others = array(&said().map(|it| &it.other).collect::<Vec<_>>());
        let grantors = array(&said().map(|it| &it.grantor).collect::<Vec<_>>());
        let statements = array(&said().map(|it| &it.statement).collect::<Vec<_>>());
        let values = [kinds, subjects, others, grantors, statements];
        let raw: Vec<Raw<'_>> = values.iter().map(|value| Raw(value)).collect();
        let mut parameters: Vec<(&(dyn ToSql + Sync), Type)> = vec![(&is_first, Type::BOOL)];
        parameters.extend(
            raw.iter()
                .map(|value| (value as &(dyn ToSql + Sync), Type::TEXT_ARRAY)),
        );
        let call = "SELECT pg_temp.incr_globals($1, $2, $3, $4, $5, $6), pg_catalog.current_setting('incr_restore.made')";
        self.call(session, call, &parameters).await
    }

    /// Drops tablespaces that this restore made and that are empty now: the source emptied and dropped them, too. Not those
    /// that `--globals` asks for. One that something is in stays.
    pub(super) async fn drop_empty_tablespaces(&self, session: &Session) -> Result<Vec<String>> {
        const MADE: &str =
            "SELECT pg_catalog.textsend(spcname::text) FROM pg_catalog.pg_tablespace \
            WHERE concat('t', oid) = ANY (pg_catalog.string_to_array($1, ' ')) ORDER BY spcname";
        let rows = session
            .client
            .query_typed(MADE, &[(&self.made, Type::TEXT)])
            .await?;
        let wanted = self.globals.last();
        let mut dropped = Vec::new();
        for row in &rows {
            let name: Vec<u8> = row.get(0);
            if wanted.is_some_and(|it| it.spaces.iter().any(|(wanted, _)| *wanted == name)) {
                continue;
            }
            let drop = [b"DROP TABLESPACE ", &ident(&name)[..]].concat();
            if session.statement(&drop).await.is_ok() {
                dropped.push(format!(
                    "dropped tablespace \"{}\", which is empty",
                    shown(&name)
                ));
            }
        }
        Ok(dropped)
    }

    /// Calls a function that follows roles, which returns what was made so far. What a role that is not a superuser is
    /// refused is noted.
    async fn call(
        &mut self,
        session: &Session,
        call: &str,
        values: &[(&(dyn ToSql + Sync), Type)],
    ) -> Result<()> {
        if !self.rights.is_limited() {
            let rows = session.client.query_typed(call, values).await?;
            self.announce(&rows);
            return Ok(());
        }
        let called = async { Ok(session.client.query_typed(call, values).await?) };
        match guarded(&session.client, called).await {
            Ok(rows) => self.announce(&rows),
            Err(error) => match self.rights.reason(&error, Subject::Other) {
                Some(reason) => self.rights.note(format!(
                    "a role or tablespace is not as at the source: {reason}"
                )),
                None => return Err(error),
            },
        }
        Ok(())
    }

    /// Tells programs of roles that were made, before they are committed.
    fn announce(&mut self, rows: &[Row]) {
        let made: Option<String> = rows.first().map(|row| row.get(1));
        if let Some(made) = made.filter(|made| *made != self.made) {
            self.made = made;
            super::announce(&self.output, self.made.split(' '));
        }
    }

    async fn is_called(&self, session: &Session, name: &[u8]) -> Result<()> {
        if self.rights.is_limited() {
            self.rights.is_called(session, name).await?;
        }
        Ok(())
    }

    async fn follow_fact(&mut self, session: &Session, fact: &ClusterFact) -> Result<()> {
        let may_make_superusers = !self.rights.is_limited();
        let (kind, subject, object): (&str, &[u8], &[u8]) = match fact {
            ClusterFact::Role { name, superuser } => {
                let is_one = *superuser && may_make_superusers;
                ("role", name, if is_one { b"on" } else { b"off" })
            }
            ClusterFact::Member { role, of } => ("member", role, of),
            ClusterFact::RoleRenamed { name, to } => ("role_renamed", name, to),
            ClusterFact::RoleDropped { name } => ("role_dropped", name, b""),
            ClusterFact::TablespaceRenamed { name, to } => ("tablespace_renamed", name, to),
            ClusterFact::Tablespace { .. } => return Ok(()),
        };
        // What is in a tablespace moves, whoever made the two.
        let is_of_roles = kind != "tablespace_renamed";
        let is_followed = self.is_followed || !is_of_roles;
        let is_passed_over =
            is_of_roles && !(self.rights.follows_roles() && self.rights.is_made(subject));
        if !is_followed || subject.is_empty() || is_passed_over {
            return Ok(());
        }
        let call = "SELECT pg_temp.incr_follow($1, $2, $3), pg_catalog.current_setting('incr_restore.made')";
        let values: [(&(dyn ToSql + Sync), Type); 3] = [
            (&kind, Type::TEXT),
            (&Raw(subject), Type::TEXT),
            (&Raw(object), Type::TEXT),
        ];
        let before = self.made.len();
        self.call(session, call, &values).await?;
        if self.rights.is_limited() && kind == "role" && self.made.len() > before {
            self.rights.join(session, subject).await?;
        } else if kind == "role_renamed" {
            self.is_called(session, subject).await?;
            self.is_called(session, object).await?;
        }
        Ok(())
    }
}

impl Globals for Sets {
    fn apply<'f>(&'f mut self, session: &'f Session, count: usize) -> Boxed<'f, ()> {
        Box::pin(self.apply_set(session, count))
    }

    fn follow<'f>(&'f mut self, session: &'f Session, fact: &'f ClusterFact) -> Boxed<'f, ()> {
        Box::pin(self.follow_fact(session, fact))
    }

    fn own<'f>(&'f mut self, session: &'f Session, statement: &'f [u8]) -> Boxed<'f, ()> {
        Box::pin(async move {
            let text = (&Raw(statement) as &(dyn ToSql + Sync), Type::TEXT);
            let call = "SELECT pg_temp.incr_own($1)";
            session
                .client
                .query_typed(call, &[text])
                .await
                .map_err(Error::from)?;
            Ok(())
        })
    }
}

/// Statements of globals.sql that are not known, as warnings. Those of a set are the same in the next.
pub fn warnings_of(globals: &[GlobalsSql]) -> Vec<String> {
    let mut warnings = Vec::new();
    for (_, text) in globals.iter().flat_map(|globals| &globals.unknown) {
        let warning = format!(
            "globals.sql has a statement of an unknown kind, which is not executed: {text}"
        );
        if !warnings.contains(&warning) {
            warnings.push(warning);
        }
    }
    warnings
}
