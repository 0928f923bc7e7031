//! Exported snapshots: what pg_dump imports, and which transactions they see.

use pgrx::pg_sys::panic::ErrorReportable;
use pgrx::prelude::*;

use super::transaction;

/// A snapshot that other sessions can import while the transaction that exports it is open.
/// A transaction is visible in it when `xid < xmin`, or `xid < xmax` and not in `xip`.
#[derive(Clone, Debug)]
pub struct Exported {
    /// The name for `SET TRANSACTION SNAPSHOT` and `pg_dump --snapshot`.
    pub name: String,
    /// 64-bit transaction ids.
    pub xmin: u64,
    pub xmax: u64,
    pub xip: Vec<u64>,
    /// No transaction that the snapshot sees has a commit LSN after this one.
    pub lsn: u64,
}

impl Exported {
    /// Exports a snapshot from the current transaction, which must be a REPEATABLE READ one.
    pub fn take() -> Exported {
        let name = Spi::get_one::<String>("SELECT pg_catalog.pg_export_snapshot()")
            .unwrap_or_report()
            .unwrap_or_default();
        let text = Spi::get_one::<String>("SELECT pg_catalog.pg_current_snapshot()::text")
            .unwrap_or_report()
            .unwrap_or_default();
        // A transaction becomes visible only after its commit record is in the WAL, so the insert
        // position read after the snapshot lies past all of those.
        let lsn = super::wal::insert_lsn();
        let (xmin, xmax, xip) = parse_snapshot(&text);
        Exported { name, xmin, xmax, xip, lsn }
    }

    /// The snapshot `name` that this process has exported, read from the file which ExportSnapshot
    /// wrote for its importers (PostgreSQL's snapmgr.c): a slot's snapshot has no SQL to ask.
    pub fn read(name: &str, lsn: u64) -> Exported {
        let path = super::server::data_directory().join("pg_snapshots").join(name);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) => error!("could not read \"{}\": {error}", path.display()),
        };
        let values = |key: &'static str| {
            text.lines()
                .filter_map(move |line| line.strip_prefix(key))
                .filter_map(|value| value.parse::<u32>().ok())
                .map(transaction::widen)
        };
        Exported {
            name: name.to_string(),
            xmin: values("xmin:").next().unwrap_or(0),
            xmax: values("xmax:").next().unwrap_or(0),
            xip: values("xip:").collect(),
            lsn,
        }
    }

    /// The form of pg_snapshot: `xmin:xmax:xip,xip`.
    pub fn to_pg_snapshot(&self) -> String {
        let mut xip = self.xip.clone();
        xip.sort_unstable();
        let xip: Vec<String> = xip.iter().map(u64::to_string).collect();
        format!("{}:{}:{}", self.xmin, self.xmax, xip.join(","))
    }
}

/// Parses `xmin:xmax:xip,xip`.
fn parse_snapshot(text: &str) -> (u64, u64, Vec<u64>) {
    let mut parts = text.splitn(3, ':');
    let mut number = || parts.next().and_then(|part| part.parse().ok()).unwrap_or(0);
    let (xmin, xmax) = (number(), number());
    let xip = parts.next().unwrap_or("");
    (xmin, xmax, xip.split(',').filter_map(|xid| xid.parse().ok()).collect())
}
