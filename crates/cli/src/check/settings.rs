//! The server's settings that matter, read at once.

use std::collections::HashMap;

use tokio_postgres::types::Type;
use tokio_postgres::Client;

use crate::error::Result;

/// Settings, and who asks.
pub struct Settings {
    pub database: String,
    pub user: String,
    /// Whether every setting and every session can be seen.
    pub sees_all: bool,
    pub is_superuser: bool,
    pub is_in_recovery: bool,
    values: HashMap<String, String>,
    /// Changed in a file, but in effect only after a restart.
    pending: Vec<String>,
}

impl Settings {
    pub async fn read(client: &Client) -> Result<Settings> {
        let query = "SELECT current_database()::text, current_user::text, rolsuper, pg_is_in_recovery(), \
            rolsuper OR (pg_has_role('pg_read_all_settings', 'USAGE') AND pg_has_role('pg_read_all_stats', 'USAGE')) \
            FROM pg_roles WHERE rolname = current_user";
        let rows = client.query_typed(query, &[]).await?;
        let who = &rows[0];
        // pg_settings has no setting of a library that is not loaded; current_setting() has its text.
        let query = "SELECT name, current_setting(name, true), coalesce(pending_restart, false) FROM (VALUES \
            ('wal_level'), ('shared_preload_libraries'), ('max_replication_slots'), ('max_worker_processes'), \
            ('data_directory'), ('output_plugin_libraries'), ('pg_incrbackup.directory'), ('pg_incrbackup.plugin'), \
            ('pg_incrbackup.replica_identity'), ('pg_incrbackup.max_databases')) AS wanted (name) \
            LEFT JOIN pg_settings USING (name) \
            WHERE $1 OR name = ANY (ARRAY['wal_level', 'max_replication_slots', 'max_worker_processes'])";
        // One that the role must not see would be an error.
        let sees_all: bool = who.get(4);
        let (mut values, mut pending) = (HashMap::new(), Vec::new());
        for row in client
            .query_typed(query, &[(&sees_all, Type::BOOL)])
            .await?
        {
            let name: String = row.get(0);
            if row.get(2) {
                pending.push(name.clone());
            }
            values.extend(row.get::<_, Option<String>>(1).map(|value| (name, value)));
        }
        Ok(Settings {
            database: who.get(0),
            user: who.get(1),
            is_superuser: who.get(2),
            is_in_recovery: who.get(3),
            sees_all,
            values,
            pending,
        })
    }

    /// `None` if the server does not know it, or does not show it.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// 0 if it is not known.
    pub fn number(&self, name: &str) -> i64 {
        self.get(name)
            .and_then(|value| value.parse().ok())
            .unwrap_or(0)
    }

    /// Whether another value is in a file already.
    pub fn is_pending(&self, name: &str) -> bool {
        self.pending.iter().any(|pending| pending == name)
    }

    /// Whether the library is loaded at the server's start; `None` if that cannot be seen.
    pub fn is_preloaded(&self) -> Option<bool> {
        let libraries = self.get("shared_preload_libraries")?;
        Some(
            libraries
                .split(',')
                .any(|name| name.trim().trim_matches('"') == "pg_incrbackup"),
        )
    }
}
