//! How far a restore is: kept in the target, in the transactions that it describes, so that a restore which was killed
//! goes on where its last commit ended.
//!
//! | room | what it does |
//! | --- | --- |
//! | [`identity`] | which restore it is: archive, base, moment, options |
//! | [`sql`] | the schema of its tables, and the statements that change them |
//!
//! Every transaction of a restore ends with the statement that says what is done by it. All else that a restore has in
//! memory, and cannot find in the catalogs, is a value of `state`. Triggers that are off are noted before they are, since
//! to set one back twice does no harm.

pub mod identity;
pub mod sql;

use std::collections::BTreeMap;

use serde::{de::DeserializeOwned, Deserialize, Serialize};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::Client;

use crate::connection::Session;
use crate::error::{Error, Result};
pub use identity::Identity;

/// The version of the tables.
pub const FORMAT: i32 = 2;

/// What a target holds that an earlier run has left.
#[derive(Debug, Clone)]
pub enum Left {
    /// It is being made.
    Begun(Box<Progress>),
    /// The database was created, and nothing is in it.
    Created,
    /// All is there; it has not got its name yet.
    Complete {
        /// [`Identity::seal`].
        seal: String,
        /// The exit status is not 0.
        is_partial: bool,
    },
}

/// Where a restore stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Stage {
    /// Roles are there, tablespaces may not be.
    #[default]
    Around,
    Base,
    Changes,
}

impl Stage {
    fn word(self) -> &'static str {
        match self {
            Stage::Around => "around",
            Stage::Base => "base",
            Stage::Changes => "changes",
        }
    }

    fn of(word: &str) -> Option<Stage> {
        [Stage::Around, Stage::Base, Stage::Changes]
            .into_iter()
            .find(|stage| stage.word() == word)
    }
}

/// What a restore has done.
#[derive(Debug, Clone)]
pub struct Progress {
    pub identity: Identity,
    pub stage: Stage,
    /// Entries of the base.
    pub pieces: u64,
    /// Where the changes are.
    pub place: Place,
    /// Sets of globals that are applied.
    pub sets: u64,
    /// The last of them (the base's, if there is none) has yet to give the database its properties.
    pub is_set_due: bool,
    /// Values by their names.
    state: BTreeMap<String, String>,
    /// It is an earlier run's.
    pub is_resumed: bool,
}

/// A place between two pieces of a segment, and what was done up to it.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The segment's name, without its ending; empty before the first one.
    pub segment: String,
    /// Transactions and sequence positions of it that are behind, also those that the base has.
    pub units: u64,
    /// Statements and COPY blocks of the next one that are behind: of a lane that committed within it.
    #[serde(default)]
    pub items: u64,
    pub applied: u64,
    pub skipped: u64,
    pub sequences: u64,
    pub flags: u64,
    /// The last commit that was applied: its LSN, and its time.
    pub last: Option<(String, Option<String>)>,
}

impl Progress {
    /// Of a restore that begins.
    pub fn new(identity: Identity) -> Progress {
        Progress {
            identity,
            stage: Stage::default(),
            pieces: 0,
            place: Place::default(),
            sets: 0,
            is_set_due: false,
            state: BTreeMap::new(),
            is_resumed: false,
        }
    }

    /// Of the session's database; `None` if no restore has begun there.
    pub async fn read(session: &Session) -> Result<Option<Progress>> {
        let rows = session.client.query_typed(sql::IS_THERE, &[]).await?;
        let Some(row) = rows.first() else {
            return Ok(None);
        };
        if !row.get::<_, bool>(0) {
            let message = "another role has begun a restore in the target database";
            let hint =
                "That role's command line goes on with it. To begin anew, drop the database.";
            return Err(Error::failed(message, hint));
        }
        let rows = session.client.query_typed(sql::READ, &[]).await?;
        let Some(row) = rows.first() else {
            return Err(unreadable("it has no row"));
        };
        let (format, identity, stage): (i32, String, String) = (row.get(0), row.get(1), row.get(2));
        if format != FORMAT {
            return Err(unreadable(
                "another version of pg_incrbackup has written it",
            ));
        }
        let (pieces, place, sets): (i64, String, i64) = (row.get(3), row.get(4), row.get(5));
        let rows = session.client.query_typed(sql::READ_STATE, &[]).await?;
        Ok(Some(Progress {
            identity: parsed(&identity)?,
            stage: Stage::of(&stage).ok_or_else(|| unreadable("its stage is unknown"))?,
            pieces: u64::try_from(pieces).unwrap_or(0),
            place: parsed(&place)?,
            sets: u64::try_from(sets).unwrap_or(0),
            is_set_due: row.get(6),
            state: rows.iter().map(|row| (row.get(0), row.get(1))).collect(),
            is_resumed: true,
        }))
    }

    /// A value that an earlier run has kept; the default one if it has not.
    pub fn kept<T: DeserializeOwned + Default>(&self, name: &str) -> Result<T> {
        match self.state.get(name) {
            Some(value) => parsed(value),
            None => Ok(T::default()),
        }
    }

    /// Whether a copy that is followed has applied a set of globals.
    pub fn has_last_set(&self) -> bool {
        self.state.contains_key(super::target::sets::LAST_SET)
    }

    /// Gives a session the settings of an earlier run's.
    pub async fn set(&self, session: &Session) -> Result<()> {
        if self.is_resumed {
            session.client.query_typed(sql::SET_AGAIN, &[]).await?;
        }
        Ok(())
    }
}

/// How long to wait for an earlier run's server process, which does not notice at once that its program is gone.
const PATIENCE: &str = "SET lock_timeout = '20s'";

/// Nobody else restores into the database of this name until the session, which is in it or beside it, ends.
pub async fn lock(session: &Session, database: &str) -> Result<()> {
    lock_as(session, database, database).await?;
    // Sessions of an earlier run that worked beside its own may still have something to commit.
    let client = &session.client;
    client.batch_execute(PATIENCE).await?;
    let key = beside_key(database);
    let values: [(&(dyn ToSql + Sync), Type); 1] = [(&key, Type::TEXT)];
    let taken = client.query_typed(&take("lock"), &values).await;
    taken.map_err(|error| running(error, database))?;
    client.query_typed(&take("unlock"), &values).await?;
    Ok(client.batch_execute("SET lock_timeout = 0").await?)
}

/// A session works beside that which has the lock of [`lock`]: until it ends nobody else gets that lock, even if its program
/// is gone.
pub async fn lock_beside(session: &Session, database: &str) -> Result<()> {
    let client = &session.client;
    check_connection(client).await?;
    let key = beside_key(database);
    let values: [(&(dyn ToSql + Sync), Type); 1] = [(&key, Type::TEXT)];
    client.query_typed(&take("lock_shared"), &values).await?;
    Ok(())
}

fn beside_key(database: &str) -> String {
    format!("{database} beside")
}

/// A call of a function of advisory locks.
fn take(how: &str) -> String {
    format!("SELECT pg_catalog.pg_advisory_{how}(pg_catalog.hashtextextended($1, 7810187))")
}

/// The same, by the session that has the scratch database of this name until it is empty again: those that restore into it
/// come and go. A restore that begins a target has both locks, so that neither takes an empty database from the other.
pub async fn lock_scratch(session: &Session, database: &str) -> Result<()> {
    lock_as(session, &format!("{database} scratch"), database).await
}

/// Gives the lock of [`lock`] back before the session ends.
pub async fn unlock(session: &Session, database: &str) -> Result<()> {
    let name: [(&(dyn ToSql + Sync), Type); 1] = [(&database, Type::TEXT)];
    session.client.query_typed(&take("unlock"), &name).await?;
    Ok(())
}

async fn lock_as(session: &Session, key: &str, database: &str) -> Result<()> {
    let client = &session.client;
    check_connection(client).await?;
    client.batch_execute(PATIENCE).await?;
    let taken = client
        .query_typed(&take("lock"), &[(&key, Type::TEXT)])
        .await;
    taken.map_err(|error| running(error, database))?;
    Ok(client.batch_execute("SET lock_timeout = 0").await?)
}

/// A server process notices soon that its program is gone. Not every platform can check connections.
async fn check_connection(client: &Client) -> Result<()> {
    let check = "SET client_connection_check_interval = '1s'";
    match client.batch_execute(check).await {
        Err(error) if error.as_db_error().is_none() => Err(error.into()),
        _ => Ok(()),
    }
}

fn running(error: tokio_postgres::Error, database: &str) -> Error {
    if error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) {
        Error::Unavailable {
            message: format!("another restore into \"{database}\" is running"),
            hint: "If it is not, its session has not ended yet: try again.".to_owned(),
        }
    } else {
        error.into()
    }
}

/// What an earlier run has left in a database other than the session's.
pub async fn mark_of(session: &Session, database: &str) -> Result<Option<Left>> {
    let rows = session
        .client
        .query_typed(sql::MARK, &[(&database, Type::NAME)])
        .await?;
    let Some(row) = rows.first() else {
        return Ok(None);
    };
    let (limit, mark): (i32, Option<String>) = (row.get(0), row.get(1));
    if let Some((seal, status)) = mark.as_deref().and_then(|mark| mark.split_once(' ')) {
        return Ok(Some(Left::Complete {
            seal: seal.to_owned(),
            is_partial: status != "0",
        }));
    }
    Ok((limit == sql::BEGUN).then_some(Left::Created))
}

fn parsed<T: DeserializeOwned>(text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|error| unreadable(&error.to_string()))
}

fn unreadable(why: &str) -> Error {
    let message = format!("the progress of an earlier restore could not be read: {why}");
    Error::failed(
        message,
        "Drop the database that it has begun, and start again.",
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_is_read_as_it_is_written_and_they_are_in_order() {
        for stage in [Stage::Around, Stage::Base, Stage::Changes] {
            assert_eq!(Stage::of(stage.word()), Some(stage));
        }
        assert!(Stage::Around < Stage::Base && Stage::Base < Stage::Changes);
        assert_eq!(Stage::of(""), None);
    }
}
