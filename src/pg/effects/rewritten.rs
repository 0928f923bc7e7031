//! The tuples that a transaction changed in catalogs which were rewritten since (VACUUM FULL, CLUSTER): their
//! TIDs are no longer valid, so all catalogs are read.
//!
//! The command that changed a tuple is then determined by PostgreSQL, which uses the mapping files that the
//! rewrite has written for slots (access/heap/rewriteheap.c).

use pgrx::prelude::*;

use super::catalog::{makers, Catalog};
use super::events::{Collected, Unreadable};
use super::relations::rank;

/// Collects the changed tuples of all catalogs.
pub fn by_scans(collected: &mut Collected) -> Result<(), Unreadable> {
    let own = collected.own.iter().copied();
    let mut own: Vec<_> = own.map(pg_sys::TransactionId::from).collect();
    // SAFETY: a historic snapshot is in force; the copy is used while what it points to is alive.
    let mut snapshot = unsafe { *pg_sys::GetCatalogSnapshot(pg_sys::InvalidOid) };
    // Mapping files are read for the transactions named here. The begin callback's snapshot names none.
    snapshot.subxip = own.as_mut_ptr();
    snapshot.subxcnt = own.len() as i32;
    let mut catalogs = catalogs();
    catalogs.sort_by_key(|oid| (rank(*oid), *oid));
    for oid in catalogs {
        let Some(mut catalog) = Catalog::open(oid)? else {
            continue;
        };
        let scanned = scan(&mut catalog, &mut snapshot, collected);
        catalog.close();
        scanned?;
    }
    Ok(())
}

/// The catalogs by OID.
fn catalogs() -> Vec<u32> {
    let mut found = Vec::new();
    let lock = pg_sys::AccessShareLock as i32;
    // SAFETY: pg_class is opened and closed; a row of a catalog starts with its fixed columns.
    unsafe {
        let table = pg_sys::table_open(pg_sys::RelationRelationId, lock);
        let (no_snapshot, no_keys) = (std::ptr::null_mut(), std::ptr::null_mut());
        let scan =
            pg_sys::systable_beginscan(table, pg_sys::InvalidOid, false, no_snapshot, 0, no_keys);
        loop {
            let tuple = pg_sys::systable_getnext(scan);
            if tuple.is_null() {
                break;
            }
            let class = pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_class>();
            let oid = (*class).oid.to_u32();
            if (*class).relkind as u8 == pg_sys::RELKIND_RELATION
                && oid < pg_sys::FirstUnpinnedObjectId
                && (*class).relnamespace.to_u32() == pg_sys::PG_CATALOG_NAMESPACE
            {
                found.push(oid);
            }
        }
        pg_sys::systable_endscan(scan);
        pg_sys::table_close(table, lock);
    }
    found
}

fn scan(
    catalog: &mut Catalog,
    snapshot: &mut pg_sys::SnapshotData,
    collected: &mut Collected,
) -> Result<(), Unreadable> {
    use pg_sys::ScanOptions::*;
    // SAFETY: an open catalog, whose scan is ended below. A scan's tuple stays pinned until the next one
    // is fetched. An error ends the transaction.
    unsafe {
        let flags = SO_TYPE_SEQSCAN | SO_ALLOW_STRAT | SO_ALLOW_SYNC;
        let any = &raw mut pg_sys::SnapshotAnyData;
        let (no_keys, not_parallel) = (std::ptr::null_mut(), std::ptr::null_mut());
        let scan = pg_sys::heap_beginscan(catalog.relation(), any, 0, no_keys, not_parallel, flags);
        let mut outcome = Ok(());
        while outcome.is_ok() {
            let tuple = pg_sys::heap_getnext(scan, pg_sys::ScanDirection::ForwardScanDirection);
            if tuple.is_null() {
                break;
            }
            let buffer = (*scan.cast::<pg_sys::HeapScanDescData>()).rs_cbuf;
            outcome = take(catalog, tuple, buffer, snapshot, collected);
        }
        pg_sys::heap_endscan(scan);
        outcome
    }
}

/// # Safety
/// A tuple of the catalog on a page that is pinned as `buffer`.
unsafe fn take(
    catalog: &mut Catalog,
    tuple: pg_sys::HeapTuple,
    buffer: pg_sys::Buffer,
    snapshot: &mut pg_sys::SnapshotData,
    collected: &mut Collected,
) -> Result<(), Unreadable> {
    // SAFETY: promised by the caller.
    let makers = unsafe { makers(tuple) };
    let is_made = collected.is_own(makers.xmin);
    let is_removed = makers.xmax.is_some_and(|xmax| collected.is_own(xmax));
    if !is_made && !is_removed {
        return Ok(());
    }
    let (mut cmin, mut cmax) = (pg_sys::InvalidCommandId, pg_sys::InvalidCommandId);
    // SAFETY: as above; the transaction's table of tuples is alive in its callbacks.
    let is_resolved = unsafe {
        let changes = pg_sys::HistoricSnapshotGetTupleCids();
        pg_sys::ResolveCminCmaxDuringDecoding(
            changes, snapshot, tuple, buffer, &mut cmin, &mut cmax,
        )
    };
    let known = |is_own: bool, command: u32| {
        Some(command).filter(|command| is_own && *command != pg_sys::InvalidCommandId)
    };
    let (made, removed) = (known(is_made, cmin), known(is_removed, cmax));
    if !is_resolved || made.is_some() != is_made || removed.is_some() != is_removed {
        let oid = catalog.oid;
        return Err(Unreadable::new(format!(
            "a row of catalog {oid} has no command of this transaction"
        )));
    }
    // SAFETY: as above.
    unsafe { collected.take(catalog, tuple, made, removed) };
    Ok(())
}
