//! Connections to a server, by the rules of libpq: whatever works for psql works here.
//!
//! | room | what it does |
//! | --- | --- |
//! | [`conninfo`], [`service`], [`passfile`] | connection strings and files, parsed |
//! | [`parameters`] | connection string, service, environment and defaults, as one |
//! | [`tls`], [`encrypted`] | what `sslmode` means; the encrypted stream |
//! | [`neutral`] | settings with which every session starts |
//! | [`open`] | hosts and attempts, one after the other |
//! | [`statement`] | one statement, one protocol message |

mod conninfo;
mod encrypted;
mod neutral;
mod open;
mod parameters;
mod passfile;
mod service;
mod statement;
mod tls;

use std::sync::{Arc, Mutex};

pub use parameters::Parameters;
pub use statement::{execute, guarded, Raw, RELEASE, ROLLBACK, SAVEPOINT};
use tokio_postgres::Client;

use crate::error::{Error, Result};

/// An open session, and the warnings that it has got.
pub struct Session {
    pub client: Arc<Client>,
    /// The host, as messages name it.
    pub host: String,
    /// As `server_version_num`.
    pub version: u32,
    /// The encoding of the texts that are sent; else it is another one.
    is_utf8: bool,
    warnings: Arc<Mutex<Vec<String>>>,
}

impl Session {
    /// Connects; `database` in place of that of the connection string.
    pub async fn open(conninfo: &str, database: Option<&str>) -> Result<Session> {
        let parameters = Parameters::read(conninfo)?;
        let parameters = match database {
            Some(name) => parameters.with_database(name),
            None => parameters,
        };
        open::session(&parameters).await
    }

    /// The database that a connection string itself names, whatever the environment says.
    pub fn named_database(conninfo: &str) -> Result<Option<String>> {
        // What is wrong with it is said there.
        Parameters::read(conninfo)?;
        let pairs = conninfo::parse(conninfo).unwrap_or_default().into_iter();
        let named = pairs.filter(|(keyword, value)| keyword == "dbname" && !value.is_empty());
        Ok(named.map(|(_, name)| name).next_back())
    }

    /// Whether the texts that are sent are UTF-8.
    pub fn is_utf8(&self) -> bool {
        self.is_utf8
    }

    /// The warnings since the last call.
    pub fn warnings(&self) -> Vec<String> {
        std::mem::take(&mut *self.warnings.lock().expect("nobody panics with it"))
    }

    /// Adds those of another session that works for this one.
    pub fn add_warnings(&self, warnings: Vec<String>) {
        let mut own = self.warnings.lock().expect("nobody panics with it");
        own.extend(warnings);
    }
}

/// Runs what talks to servers, to its end.
pub fn block_on<T>(future: impl std::future::Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::failed(format!("could not start: {error}"), ""))?;
    runtime.block_on(future)
}
