//! Connections to a server.
//!
//! Each session starts with settings of its own, which override those of roles and databases: nothing interrupts it,
//! names refer to PostgreSQL's own objects only, and texts mean the same everywhere.

mod statement;
mod tls;

use std::future::poll_fn;
use std::sync::{Arc, Mutex};

pub use statement::{execute, Raw};
use tokio_postgres::{AsyncMessage, Client, Config};

use crate::error::{Error, Result};

/// What every session starts with.
const NEUTRAL: [(&str, &str); 17] = [
    ("search_path", "pg_catalog,pg_temp"),
    ("role", "none"),
    ("session_replication_role", "origin"),
    ("row_security", "off"),
    ("default_transaction_read_only", "off"),
    ("default_transaction_deferrable", "off"),
    ("default_transaction_isolation", "read\\ committed"),
    ("standard_conforming_strings", "on"),
    ("array_nulls", "on"),
    ("transform_null_equals", "off"),
    ("client_min_messages", "warning"),
    ("statement_timeout", "0"),
    ("lock_timeout", "0"),
    ("idle_session_timeout", "0"),
    ("idle_in_transaction_session_timeout", "0"),
    ("DateStyle", "ISO"),
    ("TimeZone", "UTC"),
];

/// An open session, and the warnings that it has got.
pub struct Session {
    pub client: Arc<Client>,
    /// The encoding of the texts that are sent; else it is another one.
    is_utf8: bool,
    warnings: Arc<Mutex<Vec<String>>>,
}

impl Session {
    /// Connects; `database` in place of that of the connection string.
    pub async fn open(conninfo: &str, database: Option<&str>) -> Result<Session> {
        let mut config: Config = conninfo.parse().map_err(|error| {
            let message = format!("invalid connection string: {error}");
            Error::wrong_use(message, "For example \"host=/tmp dbname=shop\".")
        })?;
        if let Some(database) = database {
            config.dbname(database);
        }
        let options: String = NEUTRAL
            .iter()
            .map(|(name, value)| format!(" -c {name}={value}"))
            .collect();
        let given = config.get_options().unwrap_or_default();
        config.options(format!("{given}{options}"));
        config.application_name("pg_incrbackup");
        let (client, mut connection) = config.connect(tls::connector()?).await?;
        let warnings = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&warnings);
        tokio::spawn(async move {
            while let Some(Ok(message)) = poll_fn(|cx| connection.poll_message(cx)).await {
                if let AsyncMessage::Notice(notice) = message {
                    let mut noted = noted.lock().expect("nobody panics with it");
                    noted.push(format!("{}: {}", notice.severity(), notice.message()));
                }
            }
        });
        Ok(Session {
            client: Arc::new(client),
            is_utf8: true,
            warnings,
        })
    }

    /// Whether the texts that are sent are UTF-8.
    pub fn is_utf8(&self) -> bool {
        self.is_utf8
    }

    /// The warnings since the last call.
    pub fn warnings(&self) -> Vec<String> {
        std::mem::take(&mut *self.warnings.lock().expect("nobody panics with it"))
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
