//! The large objects that the transaction being decoded has changed.
//!
//! Large objects are stored in catalogs, whose rows logical decoding leaves out. But each change of a catalog
//! row writes an XLOG_HEAP2_NEW_CID record with the row's TID, and decoding collects these TIDs in a hash
//! table for its historic snapshot (reorderbuffer.c, ReorderBufferTupleCidEnt). The row versions themselves
//! still exist: the slot's catalog_xmin protects them from VACUUM, plain or FULL, as for all catalogs.

use std::collections::{BTreeMap, HashSet};

use pgrx::prelude::*;

use super::large_object_state::{
    bytes, metadata_of, oid, page_length, Metadata, DESCRIPTION, LARGE_OBJECT,
    LARGE_OBJECT_METADATA, SECURITY_LABEL,
};
use super::relation::with_relation;
use super::value::Row;
use crate::pg::compat::{self, Locator};
use crate::pg::server;

/// The changes of one large object.
#[derive(Debug, Default)]
pub struct Changes {
    /// The object before, if it existed and its metadata changed.
    pub before: Option<Metadata>,
    /// The transaction has created it (perhaps after it dropped one of the same OID).
    pub is_created: bool,
    /// Pages in order, each once.
    pub pages: Vec<ChangedPage>,
    pub has_comment_changed: bool,
    /// Providers of the labels that changed.
    pub labels: Vec<Vec<u8>>,
}

impl Changes {
    fn tidy(&mut self) {
        // Of a page's versions the one that existed before is kept: Some sorts after None.
        self.pages.sort_unstable_by(|a, b| b.cmp(a));
        self.pages.dedup_by_key(|page| page.number);
        self.pages.reverse();
        self.labels.sort_unstable();
        self.labels.dedup();
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChangedPage {
    pub number: i32,
    /// The length of its data before, if it existed.
    pub length_before: Option<u16>,
}

/// The changes by object. To be called at the transaction's end, under its historic snapshot.
pub fn changes() -> BTreeMap<u32, Changes> {
    // SAFETY: reads a global of this process.
    let places = unsafe { pg_sys::HistoricSnapshotGetTupleCids() };
    let own = Own::of_snapshot();
    if places.is_null() || own.0.is_empty() {
        return BTreeMap::new();
    }
    loop {
        let files = CATALOGS.map(present_file);
        follow_rewrites(places, &files, &own);
        let found = places_in(places, &files);
        if let Some(changes) = read_changes(&own, files, found) {
            return changes;
        }
    }
}

/// `None` if one of the catalogs has been rewritten since its file was looked up.
fn read_changes<const N: usize>(
    own: &Own,
    files: [CatalogFile; N],
    found: [Vec<Place>; N],
) -> Option<BTreeMap<u32, Changes>> {
    let mut objects = BTreeMap::new();
    for (file, places) in files.into_iter().zip(found) {
        // A catalog is only locked if it has changed: VACUUM FULL may hold a lock for a long time.
        if places.is_empty() {
            continue;
        }
        let catalog = OpenCatalog::open(file.oid);
        let is_there = catalog.storage == file.storage;
        if is_there {
            catalog.note_changes(own, places, &mut objects);
        }
        catalog.close();
        if !is_there {
            return None;
        }
    }
    for changes in objects.values_mut() {
        changes.tidy();
    }
    Some(objects)
}

const CATALOGS: [u32; 4] = [
    LARGE_OBJECT_METADATA,
    LARGE_OBJECT,
    DESCRIPTION,
    SECURITY_LABEL,
];

/// The transaction and its subtransactions that were not rolled back, sorted.
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

/// The key of each entry of decoding's hash table, at its beginning.
#[repr(C)]
struct PlaceKey {
    locator: Locator,
    place: pg_sys::ItemPointerData,
}

/// A catalog's current file.
struct CatalogFile {
    oid: u32,
    storage: Locator,
}

/// For catalogs the relcache has the current one even under a historic snapshot (RelationInitPhysicalAddr).
/// Without a lock it may change immediately, but it is not older than the transaction being decoded.
fn present_file(oid: u32) -> CatalogFile {
    // SAFETY: brings the relcache up to date, as taking a lock does.
    unsafe { pg_sys::AcceptInvalidationMessages() };
    // SAFETY: the relation is open inside `with_relation`.
    let storage = with_relation(oid.into(), |open| unsafe { compat::storage(open.as_ptr()) });
    CatalogFile {
        oid,
        storage: storage.unwrap_or_else(|| error!("catalog with OID {oid} does not exist")),
    }
}

/// VACUUM FULL has moved rows and written their old and new TIDs to mapping files. When asked for a row that
/// does not exist, decoding reads these and adds the new TIDs to its table.
fn follow_rewrites(places: *mut pg_sys::HTAB, files: &[CatalogFile], own: &Own) {
    // initdb gives a catalog a file named by its OID; a rewrite gives it another one.
    let has_moved = |file: &&CatalogFile| file.storage.file_number.to_u32() != file.oid;
    if !files.iter().any(|file| has_moved(&file)) {
        return;
    }
    let rewrites = rewrites_of(own);
    for file in files.iter().filter(|file| rewrites.contains(&file.oid)) {
        let mut nowhere = pg_sys::HeapTupleData {
            t_self: pointer((0, u16::MAX)),
            t_tableOid: file.oid.into(),
            ..Default::default()
        };
        let (mut cmin, mut cmax) = (0, 0);
        // Any page will do for a row that does not exist, and pg_class has one.
        let pg_class = OpenCatalog::open(pg_sys::RelationRelationId.to_u32());
        // SAFETY: the relation is open; table and snapshot are those of the transaction being
        // decoded; of the tuple only its place and table are looked at.
        unsafe {
            let buffer = pg_sys::ReadBuffer(pg_class.relation, 0);
            let snapshot = pg_sys::GetCatalogSnapshot(file.oid.into());
            let (cmin, cmax) = (&raw mut cmin, &raw mut cmax);
            let tuple = &raw mut nowhere;
            pg_sys::ResolveCminCmaxDuringDecoding(places, snapshot, tuple, buffer, cmin, cmax);
            pg_sys::ReleaseBuffer(buffer);
        }
        pg_class.close();
    }
}

/// OIDs of the catalogs that have mapping files for rows of the transaction, according to the names of the
/// files (LOGICAL_REWRITE_FORMAT of access/rewriteheap.h).
fn rewrites_of(own: &Own) -> HashSet<u32> {
    let directory = server::data_directory().join("pg_logical/mappings");
    let names = match std::fs::read_dir(&directory) {
        Ok(names) => names,
        Err(error) => error!("could not read \"{}\": {error}", directory.display()),
    };
    let database = server::my_database().to_u32();
    names
        .filter_map(|entry| {
            let name = entry.ok()?.file_name();
            let mut words = name.to_str()?.strip_prefix("map-")?.split('-');
            let mut number = || u32::from_str_radix(words.next()?, 16).ok();
            let (in_database, catalog) = (number()?, number()?);
            let _lsn = words.next()?;
            let xid = u32::from_str_radix(words.next()?, 16).ok()?;
            (in_database == database && own.has(xid)).then_some(catalog)
        })
        .collect()
}

/// The TIDs in each of the files, sorted.
fn places_in<const N: usize>(
    places: *mut pg_sys::HTAB,
    files: &[CatalogFile; N],
) -> [Vec<Place>; N] {
    let mut found = [const { Vec::new() }; N];
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
        if let Some(at) = files.iter().position(|file| file.storage == *locator) {
            let block = u32::from(place.ip_blkid.bi_hi) << 16 | u32::from(place.ip_blkid.bi_lo);
            found[at].push((block, place.ip_posid));
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
        // The lock keeps its storage.
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

    fn note_changes(&self, own: &Own, places: Vec<Place>, objects: &mut BTreeMap<u32, Changes>) {
        let mut row = Row::default();
        for place in places {
            // The end of the file, written by an aborted subtransaction, may have been truncated.
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

/// The change of one version of a row.
#[derive(Clone, Copy)]
struct Version {
    is_inserted: bool,
    /// It was inserted as another version of a row.
    is_update: bool,
    is_deleted: bool,
}

impl Version {
    /// According to access/htup_details.h.
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
