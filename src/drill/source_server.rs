//! Properties of the source's server that a throwaway server needs: limits, preloaded libraries, extensions.

use std::collections::BTreeSet;

use archive::layout::names::METADATA_JSON;
use archive::metadata::{DatabaseFacts, Metadata};
use archive::{base, ChainDir};
use pgrx::prelude::*;

use crate::backup::properties;
use crate::pg::failure::Failure;
use crate::pg::server::{self, guc};

/// All: the changes since a base may have used any of them. But others that this database does not use may have names that
/// are invalid in its encoding, which convert_to rejects and namesend does not check: only ASCII is valid in each.
const SPACES: &str =
    "SELECT pg_catalog.convert_to(spcname::text, 'UTF8') FROM pg_catalog.pg_tablespace AS s \
    WHERE s.oid >= 16384 AND (s.oid IN (SELECT c.reltablespace FROM pg_catalog.pg_class AS c) \
      OR pg_catalog.encode(pg_catalog.namesend(spcname), 'hex') !~ '^(..)*[89a-f]')";

/// Libraries that start activity by themselves, including ours, which would capture.
const NEVER: [&str; 6] = [
    "pg_incrbackup",
    "pg_cron",
    "pg_partman_bgw",
    "pg_task",
    "pgagent",
    "pg_net",
];

/// An extension of the source's database.
pub struct Extension {
    pub name: String,
    pub schema: String,
    pub version: String,
}

/// Facts of the source's server.
pub struct SourceServer {
    /// Name of the role created by initdb.
    pub superuser: String,
    /// Those of shared_preload_libraries that belong to extensions of the database.
    pub libraries: Vec<String>,
    pub extensions: Vec<Extension>,
    /// Encoding and locale of the database.
    pub facts: DatabaseFacts,
    /// Tablespaces that it has, or had at one of the bases, apart from the server's own two.
    pub tablespaces: BTreeSet<String>,
    pub locks_per_transaction: u64,
    pub prepared_transactions: u64,
}

impl SourceServer {
    /// Maximum number of connections of a throwaway server.
    pub const CONNECTIONS: u64 = 20;

    /// Needs a transaction.
    pub fn collect(chain: &ChainDir) -> Result<SourceServer, Failure> {
        const EXTENSIONS: &str = "SELECT e.extname::text, n.nspname::text, e.extversion \
            FROM pg_catalog.pg_extension AS e JOIN pg_catalog.pg_namespace AS n ON n.oid = e.extnamespace \
            WHERE e.extname <> ALL ('{plpgsql,pg_incrbackup}') ORDER BY e.oid";
        let extensions = Spi::connect(|client| {
            let rows = client.select(EXTENSIONS, None, &[])?;
            rows.map(|row| {
                Ok(Extension {
                    name: row.get(1)?.unwrap_or_default(),
                    schema: row.get(2)?.unwrap_or_default(),
                    version: row.get(3)?.unwrap_or_default(),
                })
            })
            .collect::<Result<Vec<_>, pgrx::spi::Error>>()
        })?;
        let facts = Spi::connect(properties::locale)?;
        let spaces = Spi::connect(|client| properties::list(client, SPACES))?;
        let mut tablespaces: BTreeSet<String> = spaces.into_iter().collect();
        for base in chain.bases()? {
            // What is unreadable is a finding of the restore.
            let metadata = Metadata::read(&base::path_of(chain, base).join(METADATA_JSON));
            tablespaces.extend(metadata.into_iter().flat_map(|it| it.source.tablespaces));
        }
        let preloaded = guc::value(c"shared_preload_libraries").unwrap_or_default();
        let number = |name| -> u64 {
            let value = guc::value(name).unwrap_or_default();
            value.parse().unwrap_or(0)
        };
        let prepared_transactions = number(c"max_prepared_transactions");
        // As many locks in total as on the source, whose connections share them.
        let all = number(c"max_locks_per_transaction")
            * (number(c"max_connections") + prepared_transactions);
        Ok(SourceServer {
            superuser: String::from_utf8_lossy(&server::bootstrap_superuser()).into_owned(),
            libraries: needed(&preloaded, &extensions),
            extensions,
            facts,
            tablespaces,
            locks_per_transaction: (all / SourceServer::CONNECTIONS).clamp(64, 1_000_000),
            prepared_transactions,
        })
    }
}

/// Those of a list of libraries that have the name of an installed extension.
fn needed(preloaded: &str, extensions: &[Extension]) -> Vec<String> {
    let libraries = preloaded
        .split(',')
        .map(|name| name.trim().trim_matches('"'));
    let is_needed = |path: &&str| {
        let name = path.rsplit('/').next().unwrap_or_default();
        let name = name.trim_end_matches(".so");
        !NEVER.contains(&name) && extensions.iter().any(|extension| extension.name == name)
    };
    libraries.filter(is_needed).map(str::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_libraries_of_extensions_are_preloaded_and_no_job_runner() {
        let extensions: Vec<Extension> = ["pg_cron", "pg_stat_statements", "hstore"]
            .map(|name| Extension {
                name: name.into(),
                schema: "public".into(),
                version: "1".into(),
            })
            .into();
        let preloaded = "pg_incrbackup, pg_cron,\"$libdir/pg_stat_statements\", auto_explain";
        assert_eq!(
            needed(preloaded, &extensions),
            ["$libdir/pg_stat_statements"]
        );
    }
}
