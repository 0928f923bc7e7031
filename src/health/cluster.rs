//! incr_cluster_health(): the databases of the cluster that have a slot or an archive directory.
//!
//! Each is checked as far as possible from another database: a check that fails is reported in its row.

use std::collections::BTreeMap;

use pgrx::prelude::*;

use super::{is_ours, judge_ours, judge_wal, row_of, without_slot, Level, Row};
use crate::pg::catalogs::databases;
use crate::pg::decoding::slot;
use crate::pg::failure::Failure;
use crate::pg::server;
use crate::{place, settings, status, workers};

/// One row per database, the worst first. Needs a transaction.
pub fn report() -> Result<Vec<Row>, Failure> {
    let facts = slot::all();
    let existing = databases::all();
    let mut rows = Vec::new();
    let mut names = directories();
    for database in &existing {
        let name = workers::slot_name(*database);
        let directory = names.remove(&database.to_u32());
        match facts.iter().find(|facts| is_ours(facts, *database)) {
            Some(facts) => {
                let mut row = row_of(facts, *database);
                judge_wal(&mut row);
                if judge_ours(&mut row, *database) {
                    judge_look(&mut row, *database);
                }
                rows.push(row);
            }
            None if directory.is_some() => rows.push(without_slot(&name, *database)),
            None => {}
        }
    }
    // Directories of databases that no longer exist.
    for (oid, name) in names {
        let database = pg_sys::Oid::from(oid);
        let mut row = row_of(&named(&workers::slot_name(database)), database);
        row.database = name;
        row.reasons.push(
            "the database no longer exists; its files stay until you remove them".to_string(),
        );
        rows.push(row);
    }
    if settings::directory().is_some() {
        if let (Err(failure), true) = (place::root(), rows.is_empty()) {
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

/// OIDs and names of this cluster's databases in the archive, as far as it can be read.
fn directories() -> BTreeMap<u32, String> {
    let Ok(root) = place::root() else {
        return BTreeMap::new();
    };
    let ours = root.databases_of(server::system_identifier());
    ours.unwrap_or_default()
        .into_iter()
        .map(|(oid, directory)| {
            let chain = directory.served_chain().ok().flatten();
            let name = chain.map(|chain| chain.info.database);
            (oid, name.unwrap_or_else(|| directory.name()))
        })
        .collect()
}

fn named(name: &str) -> slot::Facts {
    slot::Facts {
        name: name.to_string(),
        ..slot::Facts::default()
    }
}
