//! The state of a large object at the current point of the transaction being decoded: its pages, owner,
//! privileges, comment and labels, read from the catalogs by the historic snapshot.

use std::ffi::CStr;
use std::ops::{ControlFlow, RangeInclusive};

use pgrx::prelude::*;

use super::value::Row;
use crate::pg::catalogs::scan::{scan, Catalog, Key, Versions};

/// Bytes on a full page of pg_largeobject (LOBLKSIZE of storage/large_object.h).
pub const PAGE_SIZE: usize = pg_sys::BLCKSZ as usize / 4;

/// OID of pg_largeobject, which also represents large objects in pg_description and similar catalogs.
pub(in crate::pg) const LARGE_OBJECT: u32 = 2613;
pub(in crate::pg) const LARGE_OBJECT_METADATA: u32 = 2995;
pub(in crate::pg) const DESCRIPTION: u32 = 2609;
pub(in crate::pg) const SECURITY_LABEL: u32 = 3596;

// OIDs assigned by initdb, from catalog/pg_largeobject.h and others.
const PAGES: Catalog = catalog(LARGE_OBJECT, 2683);
const METADATA: Catalog = catalog(LARGE_OBJECT_METADATA, 2996);
const DESCRIPTIONS: Catalog = catalog(DESCRIPTION, 2675);
const LABELS: Catalog = catalog(SECURITY_LABEL, 3597);
const DEFAULT_ACL: Catalog = catalog(826, 828);
const ROLES: Catalog = catalog(1260, 2677);
const FUNCTIONS: Catalog = catalog(1255, 2690);

/// lo_create(oid), see catalog/pg_proc.dat.
const LO_CREATE: u32 = 715;

const fn catalog(table: u32, index: u32) -> Catalog {
    Catalog { table, index }
}

/// Owner and privileges, by the roles' OIDs; 0 is PUBLIC. Without an ACL the owner has all privileges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata {
    pub owner: u32,
    pub acl: Option<Vec<Grant>>,
}

/// One item of an ACL, as far as it can apply to a large object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Grant {
    pub grantee: u32,
    pub grantor: u32,
    pub select: Privilege,
    pub update: Privilege,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Privilege {
    No,
    Yes,
    WithGrantOption,
}

/// `None` for a large object that does not exist.
pub fn metadata(object: u32) -> Option<Metadata> {
    let mut found = None;
    each_visible(METADATA, &[(1, Key::OidIs(object))], |row| {
        found = Some(metadata_of(row));
        ControlFlow::Break(())
    });
    found
}

/// Reads a row of pg_largeobject_metadata.
pub(in crate::pg) fn metadata_of(row: &Row) -> Metadata {
    Metadata {
        owner: oid(row, 1),
        acl: row.get(2).map(grants),
    }
}

/// Calls `each` with number and data of the pages in `range`.
pub fn each_page(object: u32, range: RangeInclusive<i32>, mut each: impl FnMut(i32, &[u8])) {
    visit_pages(object, range, |number, data| {
        let data = Unpacked::new(data);
        each(number, data.bytes());
        data.free();
        ControlFlow::Continue(())
    });
}

/// Numbers and lengths of the pages in `range`.
pub fn page_lengths(object: u32, range: RangeInclusive<i32>) -> Vec<(i32, u16)> {
    let mut lengths = Vec::new();
    visit_pages(object, range, |number, data| {
        lengths.push((number, page_length(data)));
        ControlFlow::Continue(())
    });
    lengths
}

/// Offset after the last byte.
pub fn size(object: u32) -> u64 {
    let mut size = 0;
    scan(
        PAGES,
        &[(1, Key::OidIs(object))],
        Versions::Visible,
        true,
        |row| {
            if let (Some(number), Some(data)) = (row.get(1), row.get(2)) {
                size = offset(number.value() as i32) + u64::from(page_length(data));
            }
            ControlFlow::Break(())
        },
    );
    size
}

/// The offset of a page.
pub fn offset(page: i32) -> u64 {
    page as u64 * PAGE_SIZE as u64
}

/// Length of a page's data, which may be compressed.
pub(in crate::pg) fn page_length(data: pg_sys::Datum) -> u16 {
    const HEADER: pg_sys::Size = size_of::<i32>() as pg_sys::Size;
    // SAFETY: the value of a bytea column.
    let length = unsafe { pg_sys::toast_raw_datum_size(data) }.saturating_sub(HEADER);
    // A page that is too long is an error in PostgreSQL, too (getdatafield in inv_api.c).
    u16::try_from(length).unwrap_or_else(|_| error!("a page of pg_largeobject is too long"))
}

fn visit_pages(
    object: u32,
    range: RangeInclusive<i32>,
    mut each: impl FnMut(i32, pg_sys::Datum) -> ControlFlow<()>,
) {
    let keys = [
        (1, Key::OidIs(object)),
        (2, Key::IntegerFrom(*range.start())),
        (2, Key::IntegerTo(*range.end())),
    ];
    each_visible(PAGES, &keys, |row| match (row.get(1), row.get(2)) {
        (Some(number), Some(data)) => each(number.value() as i32, data),
        _ => ControlFlow::Continue(()),
    });
}

/// The comment on a large object.
pub fn comment(object: u32) -> Option<Vec<u8>> {
    let mut found = None;
    each_visible(DESCRIPTIONS, &about(object), |row| {
        found = row.get(3).map(bytes);
        ControlFlow::Break(())
    });
    found
}

/// The security labels on a large object: provider and label.
pub fn labels(object: u32) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut labels = Vec::new();
    each_visible(LABELS, &about(object), |row| {
        labels.extend(row.get(3).map(bytes).zip(row.get(4).map(bytes)));
        ControlFlow::Continue(())
    });
    labels
}

fn about(object: u32) -> [(i16, Key); 3] {
    [
        (1, Key::OidIs(object)),
        (2, Key::OidIs(LARGE_OBJECT)),
        (3, Key::IntegerIs(0)),
    ]
}

/// The roles in ALTER DEFAULT PRIVILEGES … ON LARGE OBJECTS (from 18), whoever executed it: a new object may
/// get privileges for any of them.
pub fn default_grantees() -> Vec<u32> {
    const LARGE_OBJECTS: u8 = b'L';
    let mut grantees = Vec::new();
    each_visible(DEFAULT_ACL, &[], |row| {
        if row
            .get(3)
            .is_some_and(|kind| kind.value() as u8 == LARGE_OBJECTS)
        {
            let items = row.get(4).map(grants).unwrap_or_default();
            grantees.extend(items.iter().map(|grant| grant.grantee));
        }
        ControlFlow::Continue(())
    });
    grantees
}

/// True unless the privileges of lo_create have been changed.
pub fn everybody_creates() -> bool {
    let mut has_acl = true;
    each_visible(FUNCTIONS, &[(1, Key::OidIs(LO_CREATE))], |row| {
        // proacl is the last column in every version.
        has_acl = row.last().is_some();
        ControlFlow::Break(())
    });
    !has_acl
}

/// The name of a role, including one that the transaction has dropped.
pub fn role_name(role: u32) -> Option<Vec<u8>> {
    // SAFETY: a catalog look-up; missing is allowed; the copy is NUL-terminated.
    let name = unsafe { pg_sys::GetUserNameFromId(role.into(), true) };
    if !name.is_null() {
        // SAFETY: as above.
        return Some(unsafe { CStr::from_ptr(name) }.to_bytes().to_vec());
    }
    // SAFETY: rolname is a name, NUL-terminated.
    let text = |name: pg_sys::Datum| unsafe { CStr::from_ptr(name.cast_mut_ptr()) };
    let mut found = None;
    let key = [(1, Key::OidIs(role))];
    scan(ROLES, &key, Versions::Any, false, |row| {
        found = row.get(1).map(|name| text(name).to_bytes().to_vec());
        ControlFlow::Continue(())
    });
    found
}

fn each_visible(catalog: Catalog, keys: &[(i16, Key)], each: impl FnMut(&Row) -> ControlFlow<()>) {
    scan(catalog, keys, Versions::Visible, false, each);
}

pub(in crate::pg) fn oid(row: &Row, index: usize) -> u32 {
    row.get(index).map_or(0, |value| value.value() as u32)
}

/// The bytes of a text.
pub(in crate::pg) fn bytes(text: pg_sys::Datum) -> Vec<u8> {
    let text = Unpacked::new(text);
    let bytes = text.bytes().to_vec();
    text.free();
    bytes
}

/// A bytea or text, detoasted if necessary.
struct Unpacked {
    plain: *mut pg_sys::varlena,
    is_copy: bool,
}

impl Unpacked {
    fn new(value: pg_sys::Datum) -> Self {
        let stored = value.cast_mut_ptr::<pg_sys::varlena>();
        // SAFETY: callers pass non-null values of variable-length types.
        let plain = unsafe { pg_sys::pg_detoast_datum_packed(stored) };
        Self {
            plain,
            is_copy: plain != stored,
        }
    }

    fn bytes(&self) -> &[u8] {
        // SAFETY: an unpacked varlena has its data in one piece behind its header.
        unsafe {
            let length = pgrx::varlena::varsize_any_exhdr(self.plain);
            let data = pgrx::varlena::vardata_any(self.plain).cast::<u8>();
            std::slice::from_raw_parts(data, length)
        }
    }

    fn free(self) {
        if self.is_copy {
            // SAFETY: palloc'd by the unpacking; nobody else has it.
            unsafe { pg_sys::pfree(self.plain.cast()) }
        }
    }
}

/// The items of an aclitem[] (utils/acl.h; its layout is that of ArrayType, utils/array.h).
fn grants(acl: pg_sys::Datum) -> Vec<Grant> {
    // SAFETY: the value of an aclitem[] column; unpacked it is aligned, has no NULLs, and its items
    // stand behind header, dimensions and lower bounds.
    let items = unsafe {
        let array = pg_sys::pg_detoast_datum(acl.cast_mut_ptr()).cast::<pg_sys::ArrayType>();
        let dimensions = (*array).ndim as usize;
        let lengths = array.add(1).cast::<i32>();
        let count = match dimensions {
            0 => 0,
            _ => (0..dimensions)
                .map(|at| *lengths.add(at) as usize)
                .product(),
        };
        let header = size_of::<pg_sys::ArrayType>() + 2 * size_of::<i32>() * dimensions;
        let first = array
            .cast::<u8>()
            .add(header.next_multiple_of(MAXIMUM_ALIGNMENT));
        std::slice::from_raw_parts(first.cast::<pg_sys::AclItem>(), count)
    };
    items.iter().map(grant).collect()
}

/// MAXIMUM_ALIGNOF of pg_config.h on every platform that pgrx builds for.
const MAXIMUM_ALIGNMENT: usize = 8;

fn grant(item: &pg_sys::AclItem) -> Grant {
    // Grant options stand in the upper half (ACLITEM_GET_GOPTIONS).
    let half = 4 * size_of_val(&item.ai_privs);
    let privilege = |bit: u32| {
        let has = |at: usize| (item.ai_privs >> at) & bit as pg_sys::AclMode != 0;
        match (has(0), has(half)) {
            (_, true) => Privilege::WithGrantOption,
            (true, false) => Privilege::Yes,
            (false, false) => Privilege::No,
        }
    };
    Grant {
        grantee: item.ai_grantee.to_u32(),
        grantor: item.ai_grantor.to_u32(),
        select: privilege(pg_sys::ACL_SELECT),
        update: privilege(pg_sys::ACL_UPDATE),
    }
}
