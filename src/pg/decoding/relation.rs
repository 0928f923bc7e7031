//! The properties of a relation that the output plugin needs to write its rows as SQL, read from the catalogs
//! as of the time of the change (decoding sets up a historic snapshot) into owned values. Nothing is cached
//! here; `output_plugin::relations` does that and discards it on invalidation.

use std::ffi::CStr;

use pgrx::prelude::*;

use super::privileges;
use super::value::{MemoryContextOwner, Output, Row};
use crate::pg::compat;
use crate::pg::declared;

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

/// How two values of a column can be compared for equality in SQL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Equality {
    /// The operator in SQL.
    pub operator: Vec<u8>,
    /// `::type` after the literal, if the operator would parse it as another type.
    pub cast: Vec<u8>,
    /// It is only true for identical images (and not for 1.0 and 1.00, for example).
    pub is_image: bool,
}

pub struct Column {
    /// Position in the row, from 0.
    pub index: usize,
    pub name: Vec<u8>,
    /// The name as SQL.
    pub quoted: Vec<u8>,
    pub output: Output,
    /// GENERATED ALWAYS AS (…), stored or virtual.
    pub is_generated: bool,
    /// Its text cannot be read: it is left out.
    pub has_no_input: bool,
    /// Because its type is dropped with the session, and the column with it.
    pub goes_with_session: bool,
    /// Computed when read (from 18): a row in the WAL contains NULL there.
    pub is_virtual: bool,
    pub is_identity_always: bool,
    pub is_key: bool,
    /// It, or its domain, rejects NULL or may do so.
    pub may_refuse_null: bool,
    /// It contains composite values: the type itself, or as elements or bounds.
    pub holds_rows: bool,
    /// `None` for a type without equality (json, point, …).
    pub equality: Option<Equality>,
    /// For `is_same`: the type's length and whether it is passed by value.
    length: i16,
    by_value: bool,
    type_oid: pg_sys::Oid,
}

impl Column {
    fn holds_privileges(&self) -> bool {
        matches!(self.type_oid, pg_sys::ACLITEMOID | pg_sys::ACLITEMARRAYOID)
    }

    /// The roles without which the text of a row's value cannot be read.
    pub fn roles_in(&self, row: &Row) -> Vec<Vec<u8>> {
        match row.get(self.index) {
            // SAFETY: a value of this column's type.
            Some(value) if self.holds_privileges() => unsafe {
                privileges::roles_in(value, self.type_oid)
            },
            _ => Vec::new(),
        }
    }

    /// True if two values are bitwise identical. Differently stored copies of a TOASTed value may count as
    /// different.
    pub fn is_same(&self, a: pg_sys::Datum, b: pg_sys::Datum) -> bool {
        // SAFETY: both are values of this column's type, taken from rows of this relation.
        unsafe { declared::datum_is_equal(a, b, self.by_value, self.length) }
    }

    /// True for a TOASTed value that the row only points to: an UPDATE did not change it.
    pub fn is_unchanged_toast(&self, value: pg_sys::Datum) -> bool {
        self.length == -1
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
    pub schema: Vec<u8>,
    pub name: Vec<u8>,
    pub columns: Vec<Column>,
    pub identity: Identity,
    pub has_children: bool,
    /// A column's values contain roles: see [`Column::roles_in`].
    pub names_roles: bool,
    pub memory: MemoryContextOwner,
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
        crate::pg::text::quote::qualified(&self.schema(), &self.name())
    }

    pub fn tuple_descriptor(&self) -> pg_sys::TupleDesc {
        // SAFETY: the relation is open.
        unsafe { (*self.0).rd_att }
    }

    /// Reads everything about the relation. `memory_parent` is the parent context of its cached functions.
    pub fn describe(&self, memory_parent: pg_sys::MemoryContext) -> Description {
        let memory = MemoryContextOwner::new(memory_parent, c"pg_incrbackup relation");
        let keys = self.key_columns();
        let descriptor = self.tuple_descriptor();
        // SAFETY: the descriptor belongs to an open relation.
        let natts = unsafe { (*descriptor).natts } as usize;
        let columns: Vec<_> = (0..natts)
            // SAFETY: the index is below natts.
            .map(|index| (index, unsafe { compat::attribute(descriptor, index) }))
            .filter(|(_, attribute)| !attribute.attisdropped)
            .map(|(index, attribute)| column(index, attribute, keys.contains(&index), &memory))
            .collect();
        Description {
            schema: self.schema(),
            name: self.name(),
            names_roles: columns.iter().any(Column::holds_privileges),
            columns,
            identity: self.identity(!keys.is_empty()),
            has_children: self.kind() == b'r' && self.form().relhassubclass,
            memory,
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

    /// Positions (from 0) of the columns of the replica identity's index.
    fn key_columns(&self) -> Vec<usize> {
        // SAFETY: the relation is open; the bitmap is a copy in the current memory context.
        let bitmap = unsafe { pg_sys::RelationGetIdentityKeyBitmap(self.0) };
        if bitmap.is_null() {
            return Vec::new();
        }
        // SAFETY: the descriptor belongs to an open relation.
        let natts = unsafe { (*self.tuple_descriptor()).natts };
        // System columns come first in such bitmaps (FirstLowInvalidHeapAttributeNumber).
        let member = |attnum: i32| attnum - pg_sys::FirstLowInvalidHeapAttributeNumber;
        (1..=natts)
            // SAFETY: the bitmap is valid.
            .filter(|attnum| unsafe { pg_sys::bms_is_member(member(*attnum), bitmap) })
            .map(|attnum| attnum as usize - 1)
            .collect()
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
    memory: &MemoryContextOwner,
) -> Column {
    // SAFETY: attname is NUL-terminated.
    let name = unsafe { CStr::from_ptr(attribute.attname.data.as_ptr()) }
        .to_bytes()
        .to_vec();
    let goes_with_session =
        is_of_session(attribute.atttypid) || is_collation_of_session(attribute.attcollation);
    Column {
        index,
        quoted: crate::pg::text::quote::identifier(&name),
        name,
        output: Output::of_type(attribute.atttypid, memory),
        is_generated: attribute.attgenerated != 0,
        is_virtual: attribute.attgenerated as u8 == b'v',
        has_no_input: has_no_input(attribute.atttypid) || goes_with_session,
        goes_with_session,
        is_identity_always: attribute.attidentity as u8 == pg_sys::ATTRIBUTE_IDENTITY_ALWAYS,
        is_key,
        may_refuse_null: attribute.attnotnull || is_constrained(attribute.atttypid),
        holds_rows: holds_rows(attribute.atttypid),
        equality: equality(attribute.atttypid, attribute.attcollation),
        length: attribute.attlen,
        by_value: attribute.attbyval,
        type_oid: attribute.atttypid,
    }
}

/// Types that the server writes for its own use and that have no usable input function ("cannot accept a
/// value of type …"): pg_dump's output of such a column cannot be restored either.
fn has_no_input(type_oid: pg_sys::Oid) -> bool {
    // SAFETY: a catalog look-up.
    let base = unsafe { pg_sys::getBaseType(type_oid) };
    matches!(
        base,
        pg_sys::PG_NODE_TREEOID
            | pg_sys::PG_NDISTINCTOID
            | pg_sys::PG_DEPENDENCIESOID
            | pg_sys::PG_MCV_LISTOID
            | pg_sys::PG_BRIN_BLOOM_SUMMARYOID
            | pg_sys::PG_BRIN_MINMAX_MULTI_SUMMARYOID
            | pg_sys::GTSVECTOROID
    )
}

/// True for a type in a temporary schema, and a domain, an array or a range of one. The crate `effects`
/// leaves such columns out (`left_out::parts`).
fn is_of_session(type_oid: pg_sys::Oid) -> bool {
    if type_oid.to_u32() < pg_sys::FirstNormalObjectId {
        return false;
    }
    // SAFETY: catalog look-ups; the row is read before it is released.
    let (namespace, inner) = unsafe {
        let row =
            pg_sys::SearchSysCache1(pg_sys::SysCacheIdentifier::TYPEOID as i32, type_oid.into());
        if row.is_null() {
            return false;
        }
        let found = &*pg_sys::heap_tuple_get_struct::<pg_sys::FormData_pg_type>(row);
        let (namespace, base) = (found.typnamespace, found.typbasetype);
        let inner = match found.typtype as u8 {
            b'd' => base,
            b'r' => pg_sys::get_range_subtype(type_oid),
            b'm' => pg_sys::get_multirange_range(type_oid),
            _ => pg_sys::get_element_type(type_oid),
        };
        pg_sys::ReleaseSysCache(row);
        (namespace, inner)
    };
    // SAFETY: a look-up of an OID in this session's state and the catalog.
    let is_of_session_itself = unsafe { pg_sys::isAnyTempNamespace(namespace) };
    is_of_session_itself || is_of_session(inner)
}

fn is_collation_of_session(collation: pg_sys::Oid) -> bool {
    if collation.to_u32() < pg_sys::FirstNormalObjectId {
        return false;
    }
    // SAFETY: catalog look-ups; the row is read before it is released.
    unsafe {
        let cache = pg_sys::SysCacheIdentifier::COLLOID as i32;
        let row = pg_sys::SearchSysCache1(cache, collation.into());
        if row.is_null() {
            return false;
        }
        let namespace =
            (*pg_sys::heap_tuple_get_struct::<pg_sys::FormData_pg_collation>(row)).collnamespace;
        pg_sys::ReleaseSysCache(row);
        pg_sys::isAnyTempNamespace(namespace)
    }
}

fn is_constrained(type_oid: pg_sys::Oid) -> bool {
    // SAFETY: a catalog look-up.
    unsafe { pg_sys::DomainHasConstraints(type_oid) }
}

fn holds_rows(type_oid: pg_sys::Oid) -> bool {
    // SAFETY: catalog look-ups.
    unsafe {
        let base = pg_sys::getBaseType(type_oid);
        let inner = match pg_sys::get_typtype(base) as u8 {
            b'c' => return true,
            b'r' => pg_sys::get_range_subtype(base),
            b'm' => pg_sys::get_multirange_range(base),
            _ => pg_sys::get_element_type(base),
        };
        inner != pg_sys::InvalidOid && holds_rows(inner)
    }
}

/// Support function of a btree operator class that returns whether equality implies identical images
/// (BTEQUALIMAGE_PROC of access/nbtree.h).
const EQUAL_IMAGE_PROC: i16 = 4;

fn equality(type_oid: pg_sys::Oid, collation: pg_sys::Oid) -> Option<Equality> {
    // SAFETY: catalog look-ups; the type cache entry lives for ever.
    unsafe {
        let base = pg_sys::getBaseType(type_oid);
        let flags = pg_sys::TYPECACHE_EQ_OPR | pg_sys::TYPECACHE_BTREE_OPFAMILY;
        let entry = &*pg_sys::lookup_type_cache(base, flags as i32);
        if entry.eq_opr == pg_sys::InvalidOid {
            return None;
        }
        let (operator, right_type) = operator_text(entry.eq_opr);
        let input = entry.btree_opintype;
        let proc = pg_sys::get_opfamily_proc(entry.btree_opf, input, input, EQUAL_IMAGE_PROC);
        let is_image = proc != pg_sys::InvalidOid
            && pg_sys::OidFunctionCall1Coll(proc, collation, input.into()).value() != 0;
        let cast = if needs_cast(base, right_type) {
            cast_to(base)
        } else {
            Vec::new()
        };
        Some(Equality {
            operator,
            cast,
            is_image,
        })
    }
}

/// An untyped literal gets the operator's type: correct for the column's own type, for text instead of
/// varchar and for a polymorphic operator, wrong for oid instead of regclass, and an error for record instead
/// of a row type.
fn needs_cast(column: pg_sys::Oid, operator: pg_sys::Oid) -> bool {
    // SAFETY: a catalog look-up.
    let is_polymorphic = || unsafe { pg_sys::get_typtype(operator) } as u8 == b'p';
    operator == pg_sys::RECORDOID
        || (operator != column && column != pg_sys::VARCHAROID && !is_polymorphic())
}

fn cast_to(type_oid: pg_sys::Oid) -> Vec<u8> {
    let flags = pg_sys::FORMAT_TYPE_FORCE_QUALIFY as u16;
    // SAFETY: a catalog look-up returning a palloc'd string.
    let name = unsafe { CStr::from_ptr(pg_sys::format_type_extended(type_oid, -1, flags)) };
    [b"::", name.to_bytes()].concat()
}

/// `=` if the operator is found with an empty search_path, otherwise `OPERATOR(schema.=)`; and the type on
/// its right.
fn operator_text(operator: pg_sys::Oid) -> (Vec<u8>, pg_sys::Oid) {
    // SAFETY: a syscache look-up; the tuple is valid until it is released.
    unsafe {
        let cache = pg_sys::SysCacheIdentifier::OPEROID as i32;
        let tuple = pg_sys::SearchSysCache1(cache, operator.into());
        if tuple.is_null() {
            return (b"=".to_vec(), pg_sys::InvalidOid);
        }
        let form = &*pg_sys::heap_tuple_get_struct::<pg_sys::FormData_pg_operator>(tuple);
        let name = CStr::from_ptr(form.oprname.data.as_ptr())
            .to_bytes()
            .to_vec();
        let (namespace, right_type) = (form.oprnamespace, form.oprright);
        pg_sys::ReleaseSysCache(tuple);
        if namespace.to_u32() == pg_sys::PG_CATALOG_NAMESPACE {
            return (name, right_type);
        }
        let schema = crate::pg::text::quote::identifier(&namespace_name(namespace));
        let text = [b"OPERATOR(", schema.as_slice(), b".", name.as_slice(), b")"].concat();
        (text, right_type)
    }
}

fn namespace_name(oid: pg_sys::Oid) -> Vec<u8> {
    // SAFETY: a syscache look-up returning a palloc'd copy or null.
    unsafe {
        let name = pg_sys::get_namespace_name(oid);
        if name.is_null() {
            return Vec::new();
        }
        CStr::from_ptr(name).to_bytes().to_vec()
    }
}
