//! Exported snapshots, which pg_dump imports, and the transactions that are visible to them.

use archive::snapshot::Snapshot;
use pgrx::pg_sys::panic::ErrorReportable;
use pgrx::prelude::*;

use crate::pg::server::query;
use crate::pg::types::xid;

/// A snapshot that other sessions can import while the transaction that exports it is open.
#[derive(Clone, Debug)]
pub struct Exported {
    /// The name for `SET TRANSACTION SNAPSHOT` and `pg_dump --snapshot`.
    pub name: String,
    pub sees: Snapshot,
    /// All transactions that are visible to the snapshot have commit LSNs up to this one.
    pub lsn: u64,
}

impl Exported {
    /// Exports a snapshot from the current transaction, which must be REPEATABLE READ.
    pub fn take() -> Exported {
        let name = query::one::<String>("SELECT pg_catalog.pg_export_snapshot()", &[])
            .unwrap_or_report()
            .unwrap_or_default();
        let text = query::one::<String>("SELECT pg_catalog.pg_current_snapshot()::text", &[])
            .unwrap_or_report()
            .unwrap_or_default();
        // A transaction becomes visible only after its commit record is in the WAL, so the insert position
        // read after the snapshot is past all of them.
        let lsn = crate::pg::server::wal_insert_lsn();
        match text.parse() {
            Ok(sees) => Exported { name, sees, lsn },
            Err(error) => error!("{error}"),
        }
    }

    /// The snapshot `name` that this process has exported, read from the file that ExportSnapshot wrote for
    /// importers (PostgreSQL's snapmgr.c): a slot's snapshot cannot be queried by SQL.
    pub fn read(name: &str, lsn: u64) -> Exported {
        let path = crate::pg::server::data_directory()
            .join("pg_snapshots")
            .join(name);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) => error!("could not read \"{}\": {error}", path.display()),
        };
        let values = |key: &'static str| {
            text.lines()
                .filter_map(move |line| line.strip_prefix(key))
                .filter_map(|value| value.parse::<u32>().ok())
                .map(|xid| xid::full(pg_sys::TransactionId::from(xid)))
        };
        let mut xip: Vec<u64> = values("xip:").collect();
        xip.sort_unstable();
        let (xmin, xmax) = (values("xmin:").next(), values("xmax:").next());
        let sees = Snapshot {
            xmin: xmin.unwrap_or(0),
            xmax: xmax.unwrap_or(0),
            xip,
        };
        Exported {
            name: name.to_string(),
            sees,
            lsn,
        }
    }
}
