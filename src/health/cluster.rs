//! incr_cluster_health(): the databases of the cluster that have a slot or an archive directory, and those whose backup is
//! missed.
//!
//! Each is checked as far as possible from another database: a check that fails is reported in its row.

use std::collections::BTreeMap;

use archive::layout::Directories;
use archive::DatabaseDir;
use pgrx::prelude::*;

use super::{files, is_ours, judge_ours, row_of, slot_row, uncovered, without_slot, Level, Row};
use crate::pg::catalogs::databases::{self, Database};
use crate::pg::decoding::slot;
use crate::pg::failure::Failure;
use crate::pg::server;
use crate::{place, settings, status};

/// One row per database, the worst first. Needs a transaction.
pub fn report() -> Result<Vec<Row>, Failure> {
    let mut rows = known()?;
    if !server::is_in_recovery() {
        let has_row = |oid| rows.iter().any(|row| row.database_oid == oid);
        let others: Vec<Database> = databases::rows()
            .into_iter()
            .filter(|database| !has_row(database.oid))
            .collect();
        for database in others {
            if let Some(mut row) = uncovered::row(&database) {
                uncovered::judge(&mut row, database.oid, &database.name);
                rows.push(row);
            }
        }
    }
    rows.sort_by(|a, b| {
        b.level
            .cmp(&a.level)
            .then_with(|| a.database.cmp(&b.database))
    });
    Ok(rows)
}

/// Those that should have a backup and have none, or whose chain has lost its slot, the worst first: what the metric
/// pg_incrbackup_databases_without_backup counts. Needs a transaction.
pub fn without_backup() -> Result<Vec<Row>, Failure> {
    let is_missed = |row: &Row| row.wal_status.is_none() && row.level > Level::Ok;
    Ok(report()?.into_iter().filter(is_missed).collect())
}

/// Those that have a slot or files, the worst first. Needs a transaction.
pub fn known() -> Result<Vec<Row>, Failure> {
    let facts = slot::all();
    let existing = databases::all();
    let mut rows = Vec::new();
    let mut directories = directories();
    for database in &existing {
        let directory = directories.remove(&database.to_u32());
        let row = match facts.iter().find(|facts| is_ours(facts, *database)) {
            Some(facts) => {
                let mut row = row_of(facts, *database);
                if judge_ours(&mut row, facts) {
                    judge_look(&mut row, *database);
                }
                Some(row)
            }
            None => directory.as_ref().map(|_| without_slot(*database)),
        };
        rows.extend(row.map(|mut row| {
            if let Some(directory) = &directory {
                files::judge_copies(&mut row, directory);
            }
            row
        }));
    }
    // Directories of databases that no longer exist.
    for (oid, of_dropped) in directories {
        let database = pg_sys::Oid::from(oid);
        let mut row = slot_row(database);
        row.database = name_of(&of_dropped.directory);
        row.reasons.push(
            "the database no longer exists; its files stay until you remove them".to_string(),
        );
        rows.push(row);
    }
    if settings::directory().is_some() {
        if let (Err(failure), true) = (place::existing_root(), rows.is_empty()) {
            return Err(failure);
        }
    }
    rows.sort_by(|a, b| {
        b.level
            .cmp(&a.level)
            .then_with(|| a.database.cmp(&b.database))
    });
    Ok(rows)
}

/// What the capture worker found in its database.
fn judge_look(row: &mut Row, database: pg_sys::Oid) {
    let entry = status::read(database).unwrap_or_default();
    let look = entry.look;
    if look.looked_at == 0 {
        return;
    }
    let there = "incr_slot_health() in the database";
    if !look.is_ddl_logged && !entry.extension.is_lost {
        let reason = format!("DDL is not captured completely: {there} shows why");
        row.because(Level::Critical, reason);
    }
    if look.keyless_tables > 0 {
        let count = look.keyless_tables;
        let reason = format!(
            "UPDATE and DELETE are not captured for {count} tables without a replica identity: {there} lists them"
        );
        row.because(Level::Warning, reason);
    }
}

/// OIDs and directories of this cluster's databases in the archive, as far as it can be read.
fn directories() -> BTreeMap<u32, Directories> {
    let all = place::all().unwrap_or_default().into_iter();
    all.map(|of| (of.database_oid, of)).collect()
}

fn name_of(directory: &DatabaseDir) -> String {
    let chain = directory.served_chain().ok().flatten();
    let name = chain.map(|chain| chain.info.database);
    name.unwrap_or_else(|| directory.name())
}
