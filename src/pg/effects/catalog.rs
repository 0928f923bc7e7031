//! An open catalog, and access to its tuples in any state.

use std::ffi::CStr;

use pgrx::prelude::*;

use super::changed_rows::{searches_in, Place, Wanted};
use super::events::Unreadable;
use super::owner::{self, Rule};
use crate::pg::compat::{self, Locator};
use crate::pg::decoding::value::Row;

const LOCK: i32 = pg_sys::AccessShareLock as i32;

/// A catalog under a lock that prevents a rewrite and truncation.
pub struct Catalog {
    pub oid: u32,
    pub rule: &'static Rule,
    relation: pg_sys::Relation,
    /// The positions of the rule's columns, from 0.
    positions: Vec<usize>,
    /// Indexes used for searches, with their columns.
    searches: Vec<(u32, Vec<usize>)>,
    blocks: u32,
    row: Row,
}

/// The transactions that inserted and deleted a tuple.
#[derive(Clone, Copy)]
pub struct Makers {
    pub xmin: u32,
    /// `None` if there is none; a mere locker does not count.
    pub xmax: Option<u32>,
    /// The tuple's command field if it certainly contains cmin.
    pub raw_cmin: Option<u32>,
}

impl Catalog {
    /// Opens a catalog; `None` if its rows do not belong to objects.
    pub fn open(oid: u32) -> Result<Option<Catalog>, Unreadable> {
        let rule = owner::rule(oid);
        // A user's table that acts as a catalog (user_catalog_table) may be being dropped, and cannot be
        // opened.
        if oid >= pg_sys::FirstUnpinnedObjectId || rule.is_noise() {
            return Ok(None);
        }
        // SAFETY: an OID that pg_class has under the snapshot in force. An error ends the transaction, which
        // closes it again.
        let relation = unsafe { pg_sys::try_relation_open(oid.into(), LOCK) };
        if relation.is_null() {
            return Err(Unreadable::new(format!(
                "relation with OID {oid} does not exist"
            )));
        }
        // SAFETY: it is open.
        let kind = unsafe { (*(*relation).rd_rel).relkind as u8 };
        let is_read = kind == pg_sys::RELKIND_RELATION;
        let mut catalog = Catalog {
            oid,
            rule,
            relation,
            positions: Vec::new(),
            searches: Vec::new(),
            blocks: 0,
            row: Row::default(),
        };
        if !is_read {
            catalog.close();
            return Ok(None);
        }
        // SAFETY: it is open; the row type has `natts` attributes.
        unsafe {
            let fork = pg_sys::ForkNumber::MAIN_FORKNUM;
            catalog.blocks = pg_sys::RelationGetNumberOfBlocksInFork(relation, fork);
            let descriptor = (*relation).rd_att;
            let names: Vec<&[u8]> = (0..(*descriptor).natts as usize)
                .map(|index| name(&compat::attribute(descriptor, index).attname))
                .collect();
            let place = |column: &&str| names.iter().position(|name| *name == column.as_bytes());
            let places =
                |columns: &[&str]| columns.iter().map(place).collect::<Option<Vec<usize>>>();
            let searches =
                searches_in(oid).map(|search| Some((search.index, places(search.columns)?)));
            let Some(searches) = searches.collect() else {
                catalog.close();
                return Err(Unreadable::new(format!(
                    "catalog with OID {oid} lacks a key column"
                )));
            };
            catalog.searches = searches;
            match places(rule.columns) {
                Some(positions) => catalog.positions = positions,
                // No known release has such a catalog, or it is new: the object is unknown.
                None => catalog.rule = &owner::UNKNOWN,
            }
        }
        Ok(Some(catalog))
    }

    pub fn close(self) {
        // SAFETY: opened above, closed once.
        unsafe { pg_sys::relation_close(self.relation, LOCK) }
    }

    pub fn relation(&self) -> pg_sys::Relation {
        self.relation
    }

    /// The catalog's current file.
    pub fn file(&self) -> Locator {
        // SAFETY: it is open.
        unsafe { compat::storage(self.relation) }
    }

    /// Calls `look` with the tuple with this TID; `None` if it no longer exists.
    pub fn fetch<R>(
        &mut self,
        place: Place,
        look: impl FnOnce(&mut Self, pg_sys::HeapTuple) -> R,
    ) -> Option<R> {
        if place.block >= self.blocks {
            return None;
        }
        // SAFETY: the block is there, and the lock keeps it there.
        unsafe { fetch(self.relation, place, |tuple| look(self, tuple)) }
    }

    /// The rule's columns of a tuple.
    ///
    /// # Safety
    /// It must be a tuple of this catalog that stays in place while the fields are used.
    pub unsafe fn fields(&mut self, tuple: pg_sys::HeapTuple) -> Fields<'_> {
        // SAFETY: promised by the caller.
        unsafe { self.row.deform(tuple, (*self.relation).rd_att) };
        Fields {
            row: &self.row,
            positions: &self.positions,
            searches: &self.searches,
        }
    }
}

/// Calls `look` with the tuple with this TID, in any state; `None` if it no longer exists.
///
/// # Safety
/// The catalog is open, and has that block for as long as that.
pub unsafe fn fetch<R>(
    catalog: pg_sys::Relation,
    place: Place,
    look: impl FnOnce(pg_sys::HeapTuple) -> R,
) -> Option<R> {
    let mut tuple = pg_sys::HeapTupleData::default();
    tuple.t_self.ip_blkid.bi_hi = (place.block >> 16) as u16;
    tuple.t_self.ip_blkid.bi_lo = place.block as u16;
    tuple.t_self.ip_posid = place.offset;
    let mut buffer = pg_sys::InvalidBuffer as pg_sys::Buffer;
    // SAFETY: promised by the caller. A pinned buffer keeps the tuple in place; an error ends the
    // (sub)transaction, and the pin with it.
    unsafe {
        let any = &raw mut pg_sys::SnapshotAnyData;
        if !pg_sys::heap_fetch(catalog, any, &mut tuple, &mut buffer, false) {
            return None;
        }
        let found = look(&mut tuple);
        pg_sys::ReleaseBuffer(buffer);
        Some(found)
    }
}

/// The TID of a tuple.
///
/// # Safety
/// It must be one of a table.
pub unsafe fn place(tuple: pg_sys::HeapTuple) -> Place {
    // SAFETY: promised by the caller.
    let place = unsafe { (*tuple).t_self };
    Place {
        block: u32::from(place.ip_blkid.bi_hi) << 16 | u32::from(place.ip_blkid.bi_lo),
        offset: place.ip_posid,
    }
}

/// The transactions that inserted and deleted a tuple.
///
/// # Safety
/// The tuple's page must be pinned.
pub unsafe fn makers(tuple: pg_sys::HeapTuple) -> Makers {
    // SAFETY: promised by the caller; a tuple on a page always has its transaction fields.
    unsafe {
        let header = (*tuple).t_data;
        let fields = (*header).t_choice.t_heap;
        let mask = u32::from((*header).t_infomask);
        let is = |bits: u32| mask & bits != 0;
        // HEAP_XMAX_IS_LOCKED_ONLY of access/htup_details.h.
        let is_lock = is(pg_sys::HEAP_XMAX_LOCK_ONLY)
            || mask & (pg_sys::HEAP_XMAX_IS_MULTI | pg_sys::HEAP_LOCK_MASK)
                == pg_sys::HEAP_XMAX_EXCL_LOCK;
        let xmax = match () {
            () if is(pg_sys::HEAP_XMAX_INVALID) || is_lock => None,
            () if is(pg_sys::HEAP_XMAX_IS_MULTI) => Some(pg_sys::HeapTupleGetUpdateXid(header)),
            () => Some(fields.t_xmax),
        };
        // A deleter, even if it aborts, stores its own command in the field.
        let is_untouched = fields.t_xmax == pg_sys::InvalidTransactionId;
        Makers {
            xmin: fields.t_xmin.into_inner(),
            xmax: xmax.map(|xid| xid.into_inner()),
            raw_cmin: (is_untouched && !is(pg_sys::HEAP_COMBOCID)).then_some(fields.t_field3.t_cid),
        }
    }
}

/// The columns that a rule reads, in its order.
pub struct Fields<'a> {
    row: &'a Row,
    positions: &'a [usize],
    searches: &'a [(u32, Vec<usize>)],
}

impl Fields<'_> {
    fn value(&self, index: usize) -> usize {
        let value = self.row.get(self.positions[index]);
        value.map_or(0, |value| value.value())
    }

    /// An OID; 0 for NULL.
    pub fn oid(&self, index: usize) -> u32 {
        self.value(index) as u32
    }

    /// A "char".
    pub fn char(&self, index: usize) -> u8 {
        self.value(index) as u8
    }

    /// A search key of the row.
    pub fn wanted(&self) -> impl Iterator<Item = Wanted> + '_ {
        self.searches.iter().map(|(index, positions)| {
            let mut keys = [0; 2];
            for (key, position) in keys.iter_mut().zip(positions) {
                *key = self
                    .row
                    .get(*position)
                    .map_or(0, |value| value.value() as u32);
            }
            Wanted::new(*index, &keys)
        })
    }

    pub fn flag(&self, index: usize) -> bool {
        self.value(index) as u8 != 0
    }

    /// A name; empty for NULL.
    pub fn name(&self, index: usize) -> &[u8] {
        match self.row.get(self.positions[index]) {
            // SAFETY: a name is passed by reference and lies in the tuple, which the fields do not outlive.
            Some(value) => unsafe { name(&*value.cast_mut_ptr::<pg_sys::NameData>()) },
            None => b"",
        }
    }
}

/// # Safety
/// A name as PostgreSQL keeps it, with a NUL at its end.
unsafe fn name(name: &pg_sys::NameData) -> &[u8] {
    // SAFETY: promised by the caller.
    unsafe { CStr::from_ptr(name.data.as_ptr()).to_bytes() }
}
