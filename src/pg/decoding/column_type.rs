//! What is the same for all columns of a type, read from the catalogs once: looking it up costs more than all
//! else that a table's description needs, and a database has many tables of few types.

use std::ffi::CStr;
use std::rc::Rc;

use pgrx::prelude::*;
use rustc_hash::FxHashMap;

use super::relation::namespace_name;
use super::value::{MemoryContextOwner, Output};
use crate::pg::text::quote;

/// How two values of a column can be told equal in SQL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Equality {
    /// The operator, as it is to be written.
    pub operator: Vec<u8>,
    /// `::type` behind the literal, where the operator would read it as another type.
    pub cast: Vec<u8>,
    /// It says equal only for identical images (and not for 1.0 and 1.00, say).
    pub is_image: bool,
}

/// A type, under the collation of a column.
pub struct ColumnType {
    pub oid: pg_sys::Oid,
    pub output: Output,
    /// No text of it can be read: its columns are left out.
    pub has_no_input: bool,
    /// That is because it goes with the session, and its columns with it.
    pub goes_with_session: bool,
    /// A domain that may refuse NULL.
    pub is_constrained: bool,
    /// Composite values are in it: of the type itself, or as elements or bounds.
    pub holds_rows: bool,
    /// Its text is a name that the server looks up, and that need not be there at restore: regclass and its like, aclitem.
    pub names_objects: bool,
    /// Texts that differ may be equal: the collation is nondeterministic.
    pub is_loose: bool,
    /// `None` for a type without equality (json, point, …).
    pub equality: Option<Equality>,
    /// Its length and whether it is passed by value.
    pub length: i16,
    pub by_value: bool,
}

impl ColumnType {
    pub fn holds_privileges(&self) -> bool {
        matches!(self.oid, pg_sys::ACLITEMOID | pg_sys::ACLITEMARRAYOID)
    }
}

/// The types that columns had so far, by type and collation.
pub struct Types {
    entries: FxHashMap<(pg_sys::Oid, pg_sys::Oid), Rc<ColumnType>>,
    /// Keeps what output functions cache.
    memory: MemoryContextOwner,
}

impl Types {
    /// `parent` must outlive the value and all columns that it gives out a type for.
    pub fn new(parent: pg_sys::MemoryContext) -> Self {
        Self {
            entries: FxHashMap::default(),
            memory: MemoryContextOwner::new(parent, c"pg_incrbackup types"),
        }
    }

    pub fn get(&mut self, oid: pg_sys::Oid, collation: pg_sys::Oid) -> Rc<ColumnType> {
        let memory = &self.memory;
        let entry = self.entries.entry((oid, collation));
        entry
            .or_insert_with(|| Rc::new(column_type(oid, collation, memory)))
            .clone()
    }

    /// Forgets all of them, for whoever has no column left.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.memory.reset();
    }

    /// Frees their memory, for whoever has no column left.
    pub fn release(self) {
        self.memory.release();
    }
}

fn column_type(
    oid: pg_sys::Oid,
    collation: pg_sys::Oid,
    memory: &MemoryContextOwner,
) -> ColumnType {
    let goes_with_session = is_of_session(oid) || is_collation_of_session(collation);
    let (mut length, mut by_value) = (0, false);
    // SAFETY: a catalog look-up that fills what it is given.
    unsafe { pg_sys::get_typlenbyval(oid, &mut length, &mut by_value) };
    ColumnType {
        oid,
        output: Output::of_type(oid, memory),
        has_no_input: has_no_input(oid) || goes_with_session,
        goes_with_session,
        is_constrained: is_constrained(oid),
        holds_rows: holds_rows(oid),
        names_objects: names_objects(oid),
        is_loose: is_loose(collation),
        equality: equality(oid, collation),
        length,
        by_value,
    }
}

/// Types that the server writes for itself and whose text it does not read again ("cannot accept a
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

/// True for a type in a session's own schema, and a domain, an array or a range over one. The crate `effects`
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

/// A type of PostgreSQL's documentation, "Object Identifier Types", or aclitem, an array of such, or a domain over either.
fn names_objects(type_oid: pg_sys::Oid) -> bool {
    // SAFETY: catalog look-ups.
    let (base, element) = unsafe {
        let base = pg_sys::getBaseType(type_oid);
        (base, pg_sys::get_element_type(base))
    };
    if element != pg_sys::InvalidOid {
        return names_objects(element);
    }
    matches!(
        base,
        pg_sys::REGCLASSOID
            | pg_sys::REGCOLLATIONOID
            | pg_sys::REGCONFIGOID
            | pg_sys::REGDICTIONARYOID
            | pg_sys::REGNAMESPACEOID
            | pg_sys::REGOPEROID
            | pg_sys::REGOPERATOROID
            | pg_sys::REGPROCOID
            | pg_sys::REGPROCEDUREOID
            | pg_sys::REGROLEOID
            | pg_sys::REGTYPEOID
            | pg_sys::ACLITEMOID
    )
}

fn is_loose(collation: pg_sys::Oid) -> bool {
    // SAFETY: a catalog look-up.
    collation != pg_sys::InvalidOid && unsafe { !pg_sys::get_collation_isdeterministic(collation) }
}

/// Support function of a btree operator class that says whether equality means the same image
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

/// An untyped literal takes the operator's type: right for the column's own type, for text in place
/// of varchar and for a polymorphic operator, wrong for oid in place of regclass, and an error for
/// record in place of a row type.
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

/// `=` where search_path '' finds the operator by itself, `OPERATOR(schema.=)` elsewhere; and the
/// type on its right.
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
        let schema = quote::identifier(&namespace_name(namespace));
        let text = [b"OPERATOR(", schema.as_slice(), b".", name.as_slice(), b")"].concat();
        (text, right_type)
    }
}
