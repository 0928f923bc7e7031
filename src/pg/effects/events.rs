//! The objects that a transaction touched in the catalogs, and the commands that did it.
//!
//! A transaction that touched none costs one pointer check. Otherwise the cost grows with the number of
//! tuples that it changed in catalogs: each is fetched once, in the order of files and blocks. The rows also
//! show when an object was created and dropped (`lives`): an object that does not exist need not be queried.

use effects::Key;
use pgrx::prelude::*;
use rustc_hash::FxHashMap;

use super::catalog::{makers, place, Catalog, Makers};
use super::changed_rows::{Changed, ChangedRows, Place};
use super::lives::{Lives, Span, Version};
use super::relations::{rank, Relations};
use super::rewritten;
use super::tuple_cids::{self, TupleCids};
use crate::pg::declared;
use crate::pg::decoding::commit_view;

/// Command `command` of the transaction inserted, updated or deleted a row of an object.
///
/// It is visible to a snapshot whose `curcid` is above `command`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Event {
    pub command: u32,
    /// The OID 0 stands for a row of a catalog that has no objects, or is unknown.
    pub key: Key,
}

/// The class of an event without object: a command began to rewrite the table with this OID.
pub const REWRITE: u32 = 0;

/// The changes of the transaction in the catalogs could not be determined.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unreadable(String);

impl Unreadable {
    pub fn new(reason: impl Into<String>) -> Unreadable {
        Unreadable(reason.into())
    }
}

/// The changes of a transaction in the catalogs.
#[derive(Default)]
pub struct Touched {
    /// Sorted by command, class and OID, without duplicates.
    pub events: Vec<Event>,
    pub lives: Lives,
    pub rows: ChangedRows,
}

/// The objects that the transaction touched; `None` if it changed no catalog. Called in the begin callback,
/// under its snapshot.
///
/// If a catalog was rewritten since (VACUUM FULL, CLUSTER), its tuples are searched in all catalogs, which
/// have to be read.
///
/// # Safety
/// `txn` is that of a begin callback.
pub unsafe fn events_of(txn: *mut pg_sys::ReorderBufferTXN) -> Option<Result<Touched, Unreadable>> {
    let tuples = tuple_cids::of_this_transaction()?;
    // SAFETY: promised by the caller.
    let own = unsafe { commit_view::transaction_ids(txn) };
    let own: Vec<u32> = own.iter().map(|xid| xid.into_inner()).collect();
    let mut collected = Collected::new(own);
    Some(match by_tuples(&tuples, &mut collected) {
        Ok(()) => Ok(collected.in_order()),
        Err(_) => {
            let mut again = Collected::new(collected.own);
            rewritten::by_scans(&mut again).map(|()| Touched {
                // A rewrite may have discarded dead rows.
                lives: Lives::default(),
                rows: ChangedRows::default(),
                ..again.in_order()
            })
        }
    })
}

/// Events being collected.
pub struct Collected {
    /// Sorted.
    pub own: Vec<u32>,
    relations: Relations,
    events: Vec<Event>,
    versions: Vec<Version>,
    rows: Vec<Changed>,
    /// The files of their catalogs.
    files: FxHashMap<u32, u32>,
}

impl Collected {
    fn new(own: Vec<u32>) -> Self {
        Self {
            own,
            relations: Relations::default(),
            events: Vec::new(),
            versions: Vec::new(),
            rows: Vec::new(),
            files: FxHashMap::default(),
        }
    }

    pub fn is_own(&self, xid: u32) -> bool {
        self.own.binary_search(&xid).is_ok()
    }

    /// Adds the commands that belong to this transaction: `cmin` inserted the tuple, `cmax` deleted it.
    ///
    /// # Safety
    /// A tuple of `catalog` whose page is pinned.
    pub unsafe fn take(
        &mut self,
        catalog: &mut Catalog,
        tuple: pg_sys::HeapTuple,
        cmin: Option<u32>,
        cmax: Option<u32>,
    ) {
        let (class, rule) = (catalog.oid, catalog.rule);
        let span = Span {
            made: cmin,
            removed: cmax,
        };
        // SAFETY: promised by the caller.
        let (place, fields) = unsafe { (place(tuple), catalog.fields(tuple)) };
        let wanted = fields.wanted();
        self.rows.extend(wanted.map(|wanted| Changed {
            wanted,
            place,
            span,
        }));
        let owners = rule.owners(class, &fields, &mut self.relations);
        for key in owners.into_iter().flatten() {
            if rule.is_row_of(class, &fields, key) {
                self.versions.push(Version {
                    key,
                    span,
                    kind: rule.kind(class, &fields),
                });
            }
            for command in [cmin, cmax].into_iter().flatten() {
                self.events.push(Event { command, key });
            }
        }
    }

    fn in_order(mut self) -> Touched {
        self.events.sort_unstable();
        self.events.dedup();
        Touched {
            events: self.events,
            lives: Lives::of(self.versions),
            rows: ChangedRows::of(self.rows, self.files),
        }
    }
}

fn by_tuples(tuples: &[TupleCids], collected: &mut Collected) -> Result<(), Unreadable> {
    let mut files = Vec::new();
    for file in tuples.chunk_by(|a, b| a.file == b.file) {
        let relation = declared::relation_of_file(file[0].file)
            .ok_or_else(|| Unreadable::new("a catalog was rewritten"))?;
        files.push((relation.to_u32(), file));
    }
    files.sort_by_key(|(relation, _)| rank(*relation));
    for (relation, tuples) in files {
        let Some(mut catalog) = Catalog::open(relation)? else {
            continue;
        };
        // The mapping of files to catalogs is as of the transaction; this is the current one.
        let file = catalog.file().file_number;
        collected.files.insert(relation, file.to_u32());
        let taken = if file == tuples[0].file.file_number {
            from_catalog(&mut catalog, tuples, collected)
        } else {
            Err(Unreadable::new(format!("catalog {relation} was rewritten")))
        };
        catalog.close();
        taken?;
    }
    Ok(())
}

fn from_catalog(
    catalog: &mut Catalog,
    tuples: &[TupleCids],
    collected: &mut Collected,
) -> Result<(), Unreadable> {
    for place in tuples {
        let at = Place {
            block: place.block,
            offset: place.offset,
        };
        let found = catalog.fetch(at, |catalog, tuple| {
            // SAFETY: a fetched tuple, whose page is pinned.
            let makers = unsafe { makers(tuple) };
            let (cmin, cmax) = commands_of(place, &makers, collected)?;
            if cmin.is_some() || cmax.is_some() {
                // SAFETY: as above.
                unsafe { collected.take(catalog, tuple, cmin, cmax) };
            }
            Ok(())
        });
        found.unwrap_or(Ok(()))?;
    }
    Ok(())
}

/// The commands of a tuple as far as they belong to this transaction: those of an aborted subtransaction may
/// be included, and another transaction may have deleted the tuple since.
fn commands_of(
    place: &TupleCids,
    makers: &Makers,
    collected: &Collected,
) -> Result<(Option<u32>, Option<u32>), Unreadable> {
    let is_made = collected.is_own(makers.xmin);
    let is_removed = makers.xmax.is_some_and(|xmax| collected.is_own(xmax));
    let cmin = place.cmin.filter(|_| is_made);
    let cmax = place.cmax.filter(|_| is_removed);
    // The value on the page confirms that the entries have the expected layout.
    if is_made && makers.raw_cmin.is_some_and(|raw| Some(raw) != cmin) {
        return Err(Unreadable::new(
            "the command of a tuple does not match its entry",
        ));
    }
    Ok((cmin, cmax))
}
