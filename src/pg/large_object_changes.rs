//! Which large objects the transaction being decoded has changed.
//!
//! Large objects live in catalogs, whose rows logical decoding leaves out. But each change of a
//! catalog row leaves an XLOG_HEAP2_NEW_CID record with the row's place, and decoding gathers these
//! places in a hash table for its historic snapshot (reorderbuffer.c, ReorderBufferTupleCidEnt). The
//! row versions themselves are still there: a slot's catalog_xmin keeps them from VACUUM, plain or
//! FULL, as it does for all catalogs.

use std::collections::BTreeMap;

use pgrx::prelude::*;

use super::compat::{self, Locator};
use super::large_object_state::{
    bytes, metadata_of, oid, page_length, Metadata, DESCRIPTION, LARGE_OBJECT,
    LARGE_OBJECT_METADATA, SECURITY_LABEL,
};
use super::server;
use super::value::Row;

/// What a transaction did to one large object.
#[derive(Debug, Default)]
pub struct Changes {
    /// As the object was, if it was there and its metadata changed.
    pub before: Option<Metadata>,
    /// The transaction has made it (perhaps after it dropped one of the same OID).
    pub is_created: bool,
    /// Pages in order, each once.
    pub pages: Vec<ChangedPage>,
    pub has_comment_changed: bool,
    /// Providers of the labels that changed.
    pub labels: Vec<Vec<u8>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChangedPage {
    pub number: i32,
    /// How long its data was, if it was there.
    pub length_before: Option<usize>,
}

/// The changes by object. To be called at the transaction's end, under its historic snapshot.
pub fn changes() -> BTreeMap<u32, Changes> {
    // SAFETY: reads a global of this process.
    let places = unsafe { pg_sys::HistoricSnapshotGetTupleCids() };
    let mut objects = BTreeMap::new();
    let own = Own::of_snapshot();
    if places.is_null() || own.0.is_empty() {
        return objects;
    }
    let catalogs = CATALOGS.map(OpenCatalog::open);
    for catalog in &catalogs {
        catalog.follow_rewrites(places);
    }
    let found = places_in(places, &catalogs);
    for (catalog, places) in catalogs.iter().zip(found) {
        catalog.note_changes(&own, places, &mut objects);
    }
    catalogs.into_iter().for_each(OpenCatalog::close);
    for changes in objects.values_mut() {
        // Of a page's versions the one that was there before is kept: Some comes after None.
        changes.pages.sort_unstable_by(|a, b| b.cmp(a));
        changes.pages.dedup_by_key(|page| page.number);
        changes.pages.reverse();
        changes.labels.sort_unstable();
        changes.labels.dedup();
    }
    objects
}

const CATALOGS: [u32; 4] = [
    LARGE_OBJECT_METADATA,
    LARGE_OBJECT,
    DESCRIPTION,
    SECURITY_LABEL,
];

/// The transaction and those of its subtransactions that were not rolled back, sorted.
struct Own(Vec<u32>);

impl Own {
    fn of_snapshot() -> Self {
        // SAFETY: while decoding, this is the historic snapshot, whose subxip holds them sorted
        // (ReorderBufferCopySnap).
        unsafe {
            let snapshot = pg_sys::GetCatalogSnapshot(LARGE_OBJECT.into());
            let count = (*snapshot).subxcnt as usize;
            if count == 0 {
                return Self(Vec::new());
            }
            let xids = std::slice::from_raw_parts((*snapshot).subxip, count);
            Self(xids.iter().map(|xid| xid.into_inner()).collect())
        }
    }

    fn has(&self, xid: u32) -> bool {
        self.0.binary_search(&xid).is_ok()
    }
}

/// A row's place: block and number on it.
type Place = (u32, u16);

/// The key with which each entry of decoding's hash table begins.
#[repr(C)]
struct PlaceKey {
    locator: Locator,
    place: pg_sys::ItemPointerData,
}

/// The places in each of the catalogs, in the file's order.
fn places_in<const N: usize>(
    places: *mut pg_sys::HTAB,
    catalogs: &[OpenCatalog; N],
) -> [Vec<Place>; N] {
    let mut found = [const { Vec::new() }; N];
    let database = server::my_database();
    let mut scan = pg_sys::HASH_SEQ_STATUS::default();
    // SAFETY: the table is that of the transaction being decoded; nobody changes it meanwhile.
    unsafe { pg_sys::hash_seq_init(&mut scan, places) };
    loop {
        // SAFETY: as above; an entry begins with its key.
        let key = unsafe {
            pg_sys::hash_seq_search(&mut scan)
                .cast::<PlaceKey>()
                .as_ref()
        };
        let Some(PlaceKey { locator, place }) = key else {
            break;
        };
        let is_of = |catalog: &OpenCatalog| catalog.storage.file_number == locator.file_number;
        if locator.database == database {
            if let Some(at) = catalogs.iter().position(is_of) {
                let block = u32::from(place.ip_blkid.bi_hi) << 16 | u32::from(place.ip_blkid.bi_lo);
                found[at].push((block, place.ip_posid));
            }
        }
    }
    found.iter_mut().for_each(|places| places.sort_unstable());
    found
}

fn pointer((block, number): Place) -> pg_sys::ItemPointerData {
    pg_sys::ItemPointerData {
        ip_blkid: pg_sys::BlockIdData {
            bi_hi: (block >> 16) as u16,
            bi_lo: block as u16,
        },
        ip_posid: number,
    }
}

struct OpenCatalog {
    relation: pg_sys::Relation,
    oid: u32,
    storage: Locator,
    blocks: u32,
}

impl OpenCatalog {
    fn open(oid: u32) -> Self {
        // SAFETY: a catalog, closed by `close`; an error ends the transaction, which closes it too.
        // For catalogs the relcache knows the present storage even under a historic snapshot
        // (RelationInitPhysicalAddr), and the lock keeps it.
        unsafe {
            let relation = pg_sys::table_open(oid.into(), pg_sys::AccessShareLock as i32);
            let main = pg_sys::ForkNumber::MAIN_FORKNUM;
            Self {
                relation,
                oid,
                storage: compat::storage(relation),
                blocks: pg_sys::RelationGetNumberOfBlocksInFork(relation, main),
            }
        }
    }

    fn close(self) {
        // SAFETY: opened by `open`.
        unsafe { pg_sys::table_close(self.relation, pg_sys::AccessShareLock as i32) }
    }

    /// VACUUM FULL has moved rows and noted whence and whither. Asked for a row that is nowhere,
    /// decoding reads these notes and adds the new places to its table.
    fn follow_rewrites(&self, places: *mut pg_sys::HTAB) {
        let is_where_initdb_put_it = self.storage.file_number.to_u32() == self.oid;
        if is_where_initdb_put_it || self.blocks == 0 {
            return;
        }
        let mut nowhere = pg_sys::HeapTupleData {
            t_self: pointer((0, u16::MAX)),
            t_tableOid: self.oid.into(),
            ..Default::default()
        };
        let (mut cmin, mut cmax) = (0, 0);
        // SAFETY: the relation is open and has a first block; table and snapshot are those of the
        // transaction being decoded; only the tuple's place and table are looked at.
        unsafe {
            let buffer = pg_sys::ReadBuffer(self.relation, 0);
            let snapshot = pg_sys::GetCatalogSnapshot(self.oid.into());
            let (cmin, cmax) = (&raw mut cmin, &raw mut cmax);
            let tuple = &raw mut nowhere;
            pg_sys::ResolveCminCmaxDuringDecoding(places, snapshot, tuple, buffer, cmin, cmax);
            pg_sys::ReleaseBuffer(buffer);
        }
    }

    fn note_changes(&self, own: &Own, places: Vec<Place>, objects: &mut BTreeMap<u32, Changes>) {
        let mut row = Row::default();
        for place in places {
            // What a rolled back subtransaction wrote at the end may have been cut off.
            if place.0 >= self.blocks {
                continue;
            }
            let mut tuple = pg_sys::HeapTupleData {
                t_self: pointer(place),
                ..Default::default()
            };
            let mut buffer = 0;
            // SAFETY: the relation is open; the row is used while its buffer is pinned. Its xids no
            // longer change where they are the transaction's own: that has committed.
            unsafe {
                let any = &raw mut pg_sys::SnapshotAnyData;
                if !pg_sys::heap_fetch(self.relation, any, &mut tuple, &mut buffer, false) {
                    continue;
                }
                let version = Version::of(tuple.t_data, own);
                if version.is_inserted || version.is_deleted {
                    row.deform(&mut tuple, (*self.relation).rd_att);
                    self.note(version, &row, objects);
                }
                pg_sys::ReleaseBuffer(buffer);
            }
        }
    }

    fn note(&self, version: Version, row: &Row, objects: &mut BTreeMap<u32, Changes>) {
        if self.oid != LARGE_OBJECT
            && self.oid != LARGE_OBJECT_METADATA
            && oid(row, 1) != LARGE_OBJECT
        {
            return;
        }
        let changes = objects.entry(oid(row, 0)).or_default();
        let was_there = version.is_deleted && !version.is_inserted;
        match self.oid {
            LARGE_OBJECT_METADATA => {
                changes.is_created |= version.is_inserted && !version.is_update;
                if was_there {
                    changes.before = Some(metadata_of(row));
                }
            }
            LARGE_OBJECT => {
                let length = row.get(2).map(page_length).filter(|_| was_there);
                changes.pages.push(ChangedPage {
                    number: row.get(1).map_or(0, |number| number.value() as i32),
                    length_before: length,
                });
            }
            DESCRIPTION => changes.has_comment_changed = true,
            _ => changes.labels.extend(row.get(3).map(bytes)),
        }
    }
}

/// What the transaction did to one version of a row.
#[derive(Clone, Copy)]
struct Version {
    is_inserted: bool,
    /// It was inserted as another version of a row.
    is_update: bool,
    is_deleted: bool,
}

impl Version {
    /// By the rules of access/htup_details.h.
    ///
    /// # Safety
    /// `header` must be that of a row in a pinned buffer.
    unsafe fn of(header: pg_sys::HeapTupleHeader, own: &Own) -> Self {
        // SAFETY: promised by the caller; a row in a table has t_heap.
        let (flags, fields) =
            unsafe { (u32::from((*header).t_infomask), (*header).t_choice.t_heap) };
        let is_frozen = flags & pg_sys::HEAP_XMIN_FROZEN == pg_sys::HEAP_XMIN_FROZEN;
        let is_multi = flags & pg_sys::HEAP_XMAX_IS_MULTI != 0;
        let is_locked_only = flags & pg_sys::HEAP_XMAX_LOCK_ONLY != 0
            || flags & (pg_sys::HEAP_XMAX_IS_MULTI | pg_sys::HEAP_LOCK_MASK)
                == pg_sys::HEAP_XMAX_EXCL_LOCK;
        let xmax = if is_locked_only {
            0
        } else if is_multi {
            // SAFETY: the row's xmax is a multixact with an updater.
            unsafe { pg_sys::HeapTupleGetUpdateXid(header as _) }.into_inner()
        } else {
            fields.t_xmax.into_inner()
        };
        Self {
            is_inserted: !is_frozen && own.has(fields.t_xmin.into_inner()),
            is_update: flags & pg_sys::HEAP_UPDATED != 0,
            is_deleted: own.has(xmax),
        }
    }
}
