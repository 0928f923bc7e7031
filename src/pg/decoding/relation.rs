//! The properties of a relation that the output plugin needs to write its rows as SQL, read from the catalogs
//! as of the time of the change (decoding sets up a historic snapshot) into owned values. Nothing is cached
//! here; `output_plugin::relations` does that and discards it on invalidation.

use std::ffi::CStr;
use std::ops::ControlFlow;
use std::rc::Rc;

use pgrx::prelude::*;

use super::column_type::{ColumnType, Types};
use super::privileges;
use super::unique_key;
use super::value::Row;
use crate::pg::catalogs::scan::{scan, Catalog, Key, Versions};
use crate::pg::compat;
use crate::pg::declared;
use crate::pg::text::quote;

/// Columns of pg_index (catalog/pg_index.h); the last one of 15, too, has its place.
const ANUM_INDEX_INDEXRELID: i16 = 1;
const ANUM_INDEX_INDNKEYATTS: i16 = 4;
const ANUM_INDEX_INDKEY: i16 = 16;

/// A relation that PostgreSQL keeps open during a callback.
#[derive(Clone, Copy)]
pub struct OpenRelation(pg_sys::Relation);

/// How rows of a relation can be identified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity {
    /// By the columns of a unique index (the primary key, or REPLICA IDENTITY USING INDEX).
    Key,
    /// By the whole row.
    Full,
    /// Not at all: old rows are not in the WAL.
    Nothing,
}

/// A worker keeps one for each column that it has met: what is the type's is the type's.
pub struct Column {
    /// Position in the row, from 0.
    pub index: usize,
    /// The name as SQL.
    pub quoted: Box<[u8]>,
    /// The name, where that is another.
    name: Option<Box<[u8]>>,
    pub kind: Rc<ColumnType>,
    /// GENERATED ALWAYS AS (…), stored or virtual.
    pub is_generated: bool,
    /// Computed when read (from 18): a row in the WAL has NULL there.
    pub is_virtual: bool,
    pub is_identity_always: bool,
    /// It is of the replica identity's index, or of the key of a table with REPLICA IDENTITY FULL.
    pub is_key: bool,
    is_not_null: bool,
}

impl Column {
    pub fn name(&self) -> &[u8] {
        self.name.as_deref().unwrap_or(&self.quoted)
    }

    /// It, or its domain, refuses NULL or may do so.
    pub fn may_refuse_null(&self) -> bool {
        self.is_not_null || self.kind.is_constrained
    }

    /// The roles without which the text of a row's value cannot be read.
    pub fn roles_in(&self, row: &Row) -> Vec<Vec<u8>> {
        match row.get(self.index) {
            // SAFETY: a value of this column's type.
            Some(value) if self.kind.holds_privileges() => unsafe {
                privileges::roles_in(value, self.kind.oid)
            },
            _ => Vec::new(),
        }
    }

    /// True if two values are bitwise identical. Differently stored copies of a TOASTed value may count as
    /// different.
    pub fn is_same(&self, a: pg_sys::Datum, b: pg_sys::Datum) -> bool {
        // SAFETY: both are values of this column's type, taken from rows of this relation.
        unsafe { declared::datum_is_equal(a, b, self.kind.by_value, self.kind.length) }
    }

    /// The size of a value of variable length, uncompressed, in bytes; 0 of any other.
    pub fn size_of(&self, value: pg_sys::Datum) -> usize {
        if self.kind.length != -1 {
            return 0;
        }
        // SAFETY: a value of this column's type, a varlena; only its header is read.
        unsafe { pg_sys::toast_raw_datum_size(value) }
    }

    /// True for a TOASTed value that the row only points to: an UPDATE did not change it.
    pub fn is_unchanged_toast(&self, value: pg_sys::Datum) -> bool {
        self.kind.length == -1
            // SAFETY: a non-null value of a variable-length type points to a varlena.
            && unsafe { pgrx::varlena::varatt_is_1b_e(value.cast_mut_ptr()) }
            // SAFETY: as above; an external varlena carries a tag.
            && unsafe { is_on_disk(value.cast_mut_ptr()) }
    }
}

/// VARATT_IS_EXTERNAL_ONDISK of varatt.h: the tag byte follows the header byte.
///
/// # Safety
/// `value` must be a varlena for which VARATT_IS_1B_E holds.
unsafe fn is_on_disk(value: *mut pg_sys::varlena) -> bool {
    // SAFETY: promised by the caller.
    let tag = unsafe { *value.cast::<u8>().add(1) };
    u32::from(tag) == pg_sys::vartag_external::VARTAG_ONDISK
}

/// A relation's description; `memory` contains caches of its output functions.
pub struct Description {
    pub columns: Box<[Column]>,
    pub identity: Identity,
    pub has_children: bool,
    /// A column's values contain roles: see [`Column::roles_in`].
    pub names_roles: bool,
}

impl OpenRelation {
    /// # Safety
    /// `relation` must stay open for as long as the value is used.
    pub unsafe fn new(relation: pg_sys::Relation) -> Self {
        Self(relation)
    }

    /// The pointer itself, for other code in src/pg.
    pub(in crate::pg) fn as_ptr(&self) -> pg_sys::Relation {
        self.0
    }

    fn form(&self) -> &pg_sys::FormData_pg_class {
        // SAFETY: an open relation has its pg_class row in place.
        unsafe { &*(*self.0).rd_rel }
    }

    pub fn oid(&self) -> pg_sys::Oid {
        // SAFETY: the relation is open.
        unsafe { (*self.0).rd_id }
    }

    /// relkind: b'r' table, b'p' partitioned, b'm' materialized view, b'S' sequence, …
    pub fn kind(&self) -> u8 {
        self.form().relkind as u8
    }

    pub fn owner(&self) -> pg_sys::Oid {
        self.form().relowner
    }

    pub fn is_partition(&self) -> bool {
        self.form().relispartition
    }

    /// True for a catalog relation or one of information_schema made by initdb.
    pub fn is_system(&self) -> bool {
        self.oid().to_u32() < pg_sys::FirstNormalObjectId
    }

    /// The table that this transient one replaces at the end of a rewriting ALTER TABLE.
    pub fn rewrites(&self) -> Option<pg_sys::Oid> {
        Some(self.form().relrewrite).filter(|oid| *oid != pg_sys::InvalidOid)
    }

    pub fn name(&self) -> Vec<u8> {
        // SAFETY: relname is NUL-terminated.
        unsafe { CStr::from_ptr(self.form().relname.data.as_ptr()) }
            .to_bytes()
            .to_vec()
    }

    pub fn schema(&self) -> Vec<u8> {
        namespace_name(self.form().relnamespace)
    }

    /// `schema.name`, quoted where SQL needs it.
    pub fn qualified_name(&self) -> Vec<u8> {
        quote::qualified(&self.schema(), &self.name())
    }

    pub fn tuple_descriptor(&self) -> pg_sys::TupleDesc {
        // SAFETY: the relation is open.
        unsafe { (*self.0).rd_att }
    }

    /// Reads everything about the relation. `memory_parent` is the parent context of its cached functions.
    pub fn describe(&self, types: &mut Types) -> Description {
        let keys = self.key_columns();
        let descriptor = self.tuple_descriptor();
        // SAFETY: the descriptor belongs to an open relation.
        let natts = unsafe { (*descriptor).natts } as usize;
        let mut columns: Box<[_]> = (0..natts)
            // SAFETY: the index is below natts.
            .map(|index| (index, unsafe { compat::attribute(descriptor, index) }))
            .filter(|(_, attribute)| !attribute.attisdropped)
            .map(|(index, attribute)| column(index, attribute, keys.contains(&index), types))
            .collect();
        let identity = self.identity(!keys.is_empty());
        if identity == Identity::Full {
            self.mark_key(&mut columns);
        }
        Description {
            names_roles: columns.iter().any(|column| column.kind.holds_privileges()),
            columns,
            identity,
            has_children: self.kind() == b'r' && self.form().relhassubclass,
        }
    }

    fn identity(&self, has_key: bool) -> Identity {
        match self.form().relreplident as u8 {
            b'f' => Identity::Full,
            b'n' => Identity::Nothing,
            _ if has_key => Identity::Key,
            _ => Identity::Nothing,
        }
    }

    /// Of a table with REPLICA IDENTITY FULL. A value that a restore computes itself, or for which it has no equality or
    /// no text, is no key there.
    fn mark_key(&self, columns: &mut [Column]) {
        let descriptor = self.tuple_descriptor();
        let found = unique_key::columns(self.oid(), |part| {
            let column = columns.iter().find(|column| column.index == part.column);
            column.is_some_and(|column| {
                // SAFETY: the descriptor belongs to an open relation, which has the column.
                let attribute = unsafe { compat::attribute(descriptor, column.index) };
                column.is_not_null
                    && !column.is_generated
                    && !column.kind.has_no_input
                    && !column.kind.holds_rows
                    && column.kind.equality.is_some()
                    && part.is_unique_for_equality(attribute.atttypid, attribute.attcollation)
            })
        });
        for column in columns {
            column.is_key = found.contains(&column.index);
        }
    }

    /// Positions (from 0) of the columns of the replica identity's index. RelationGetIdentityKeyBitmap opens that
    /// index, whose entry in the relation cache then stays, for these few numbers.
    fn key_columns(&self) -> Vec<usize> {
        // SAFETY: the relation is open.
        let index = unsafe { pg_sys::RelationGetReplicaIndex(self.0) };
        if index == pg_sys::InvalidOid {
            return Vec::new();
        }
        index_columns(index)
    }

    /// The extension of which this relation is a member.
    pub fn extension(&self) -> Option<pg_sys::Oid> {
        // SAFETY: a catalog look-up.
        let oid = unsafe { pg_sys::getExtensionOfObject(pg_sys::RelationRelationId, self.oid()) };
        Some(oid).filter(|oid| *oid != pg_sys::InvalidOid)
    }
}

/// Opens another relation while `read` runs; `None` if there is none with that OID.
pub fn with_relation<R>(oid: pg_sys::Oid, read: impl FnOnce(OpenRelation) -> R) -> Option<R> {
    // SAFETY: takes a reference on the relcache entry, given back below; an error in between ends
    // the transaction, whose resource owner gives it back.
    let relation = unsafe { pg_sys::RelationIdGetRelation(oid) };
    if relation.is_null() {
        return None;
    }
    // SAFETY: it stays open until the RelationClose below.
    let result = read(unsafe { OpenRelation::new(relation) });
    // SAFETY: opened above.
    unsafe { pg_sys::RelationClose(relation) };
    Some(result)
}

fn column(
    index: usize,
    attribute: &pg_sys::FormData_pg_attribute,
    is_key: bool,
    types: &mut Types,
) -> Column {
    // SAFETY: attname is NUL-terminated.
    let name = unsafe { CStr::from_ptr(attribute.attname.data.as_ptr()) }.to_bytes();
    let quoted = quote::identifier(name);
    Column {
        index,
        name: (quoted != name).then(|| name.into()),
        quoted: quoted.into_boxed_slice(),
        kind: types.get(attribute.atttypid, attribute.attcollation),
        is_generated: attribute.attgenerated != 0,
        is_virtual: attribute.attgenerated as u8 == b'v',
        is_identity_always: attribute.attidentity as u8 == pg_sys::ATTRIBUTE_IDENTITY_ALWAYS,
        is_key,
        is_not_null: attribute.attnotnull,
    }
}

/// Positions (from 0) of an index's key columns. An expression, which a replica identity has none of, has none.
fn index_columns(index: pg_sys::Oid) -> Vec<usize> {
    let catalog = Catalog {
        table: pg_sys::IndexRelationId.to_u32(),
        index: pg_sys::IndexRelidIndexId,
    };
    let mut columns = Vec::new();
    let by_oid = [(ANUM_INDEX_INDEXRELID, Key::OidIs(index.to_u32()))];
    scan(catalog, &by_oid, Versions::Visible, false, |row| {
        let value = |column: i16| row.get(column as usize - 1);
        let (count, numbers) = (value(ANUM_INDEX_INDNKEYATTS), value(ANUM_INDEX_INDKEY));
        if let (Some(count), Some(numbers)) = (count, numbers) {
            // SAFETY: an int2vector, which is never toasted.
            let numbers = unsafe {
                let vector = numbers.cast_mut_ptr::<pg_sys::int2vector>();
                (*vector).values.as_slice((*vector).dim1 as usize)
            };
            let keys = numbers.iter().take(count.value());
            columns.extend(
                keys.filter(|number| **number > 0)
                    .map(|number| *number as usize - 1),
            );
        }
        ControlFlow::Break(())
    });
    columns
}

pub(super) fn namespace_name(oid: pg_sys::Oid) -> Vec<u8> {
    // SAFETY: a syscache look-up returning a palloc'd copy or null.
    unsafe {
        let name = pg_sys::get_namespace_name(oid);
        if name.is_null() {
            return Vec::new();
        }
        CStr::from_ptr(name).to_bytes().to_vec()
    }
}
