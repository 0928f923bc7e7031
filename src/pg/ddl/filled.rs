//! The table that CREATE TABLE AS, SELECT INTO or their EXPLAIN ANALYZE will create: its columns are those of
//! the analyzed query, since they are not in the text.

use pgrx::prelude::*;

use super::catalog::{creation_schema, explicit_collation, options, type_name};
use super::identity::OwnPrivileges;
use super::node::{bytes, is_a, items, names, Sql};
use super::statement::Statement;
use crate::pg::compat;
use crate::pg::server::session::OutputSettings;
use crate::pg::text::quote;

pub struct FilledTable {
    pub if_not_exists: bool,
    /// The query of a materialized view, with all names qualified.
    pub view_query: Option<Sql>,
    /// WITH NO DATA.
    pub is_without_data: bool,
    pub is_unlogged: bool,
    pub is_temporary: bool,
    /// Qualified and quoted.
    pub name: Sql,
    pub access_method: Option<Sql>,
    pub tablespace: Option<Sql>,
    /// Storage parameters, name (quoted) and value.
    pub options: Vec<(Sql, Option<Sql>)>,
    pub columns: Vec<FilledColumn>,
}

pub struct FilledColumn {
    pub name: Sql,
    pub type_name: Sql,
    pub collation: Option<Sql>,
}

impl FilledColumn {
    /// A column of an existing row type.
    pub fn of(column: &pg_sys::FormData_pg_attribute) -> Self {
        // SAFETY: attname is NUL-terminated.
        let name = unsafe { std::ffi::CStr::from_ptr(column.attname.data.as_ptr()) };
        Self {
            name: name.to_bytes().to_vec(),
            type_name: type_name(column.atttypid, column.atttypmod),
            collation: explicit_collation(column.attcollation, column.atttypid),
        }
    }
}

/// The table that `statement` will create; `None` if it creates none.
pub fn filled_table(statement: &Statement) -> Option<FilledTable> {
    // SAFETY: the tree is valid while the statement is, and analyzed by the parser.
    unsafe { read(&*create_table_as(statement)?) }
}

/// The name of the object that `statement` will create.
pub(in crate::pg) fn filled_relation(statement: &Statement) -> Option<*mut pg_sys::RangeVar> {
    // SAFETY: as above.
    unsafe { Some((*(*create_table_as(statement)?).into).rel) }
}

fn create_table_as(statement: &Statement) -> Option<*mut pg_sys::CreateTableAsStmt> {
    match statement.node_tag() {
        pg_sys::NodeTag::T_CreateTableAsStmt => Some(statement.node.cast()),
        // SAFETY: as above.
        pg_sys::NodeTag::T_ExplainStmt => unsafe { explained(statement) },
        _ => None,
    }
}

/// The CREATE TABLE AS that an EXPLAIN ANALYZE executes.
unsafe fn explained(statement: &Statement) -> Option<*mut pg_sys::CreateTableAsStmt> {
    let explain = statement.as_a::<pg_sys::ExplainStmt>(pg_sys::NodeTag::T_ExplainStmt)?;
    // SAFETY: see `filled_table`; EXPLAIN's query is an analyzed Query.
    unsafe {
        let mut is_analyze = false;
        for option in items::<pg_sys::DefElem>(explain.options) {
            if bytes((*option).defname).as_deref() == Some(b"analyze") {
                is_analyze = pg_sys::defGetBoolean(option);
            }
        }
        if !is_analyze || !is_a(explain.query, pg_sys::NodeTag::T_Query) {
            return None;
        }
        let utility = (*explain.query.cast::<pg_sys::Query>()).utilityStmt;
        is_a(utility, pg_sys::NodeTag::T_CreateTableAsStmt).then(|| utility.cast())
    }
}

unsafe fn read(create: &pg_sys::CreateTableAsStmt) -> Option<FilledTable> {
    // SAFETY: see `filled_table`.
    unsafe {
        let into = &*create.into;
        let range = &*into.rel;
        let schema = bytes(range.schemaname).or_else(creation_schema)?;
        let mut columns = columns_of(create.query.cast())?;
        for (column, name) in columns.iter_mut().zip(names(into.colNames)) {
            column.name = name;
        }
        Some(FilledTable {
            if_not_exists: create.if_not_exists,
            view_query: (create.objtype == pg_sys::ObjectType::OBJECT_MATVIEW)
                .then(|| query_text(create.query.cast())),
            is_without_data: into.skipData,
            is_unlogged: range.relpersistence as u8 == pg_sys::RELPERSISTENCE_UNLOGGED,
            is_temporary: range.relpersistence as u8 == pg_sys::RELPERSISTENCE_TEMP
                || super::place::schema_place(&schema) == super::place::Place::Temporary,
            name: quote::qualified(&schema, &bytes(range.relname)?),
            access_method: bytes(into.accessMethod),
            tablespace: bytes(into.tableSpaceName),
            options: options(into.options),
            columns,
        })
    }
}

/// The query as text with the objects that the parser found, independent of the search path.
unsafe fn query_text(query: *mut pg_sys::Query) -> Sql {
    let mut output = OutputSettings::default();
    output.enter();
    let own = OwnPrivileges::enter();
    // SAFETY: see `filled_table`; the copy is ours: locking its relations may change it.
    let text = unsafe {
        let copy = pg_sys::copyObjectImpl(query.cast());
        bytes(pg_sys::pg_get_querydef(copy.cast(), false))
    };
    own.leave();
    output.leave();
    text.unwrap_or_default()
}

/// The columns of the query's result; for EXECUTE those of the prepared statement.
unsafe fn columns_of(query: *mut pg_sys::Query) -> Option<Vec<FilledColumn>> {
    // SAFETY: see `filled_table`.
    unsafe {
        if !is_a(query.cast(), pg_sys::NodeTag::T_Query) {
            return None;
        }
        if (*query).commandType != pg_sys::CmdType::CMD_UTILITY {
            return Some(columns_of_targets((*query).targetList));
        }
        if !is_a((*query).utilityStmt, pg_sys::NodeTag::T_ExecuteStmt) {
            return None;
        }
        let execute = (*query).utilityStmt.cast::<pg_sys::ExecuteStmt>();
        let prepared = pg_sys::FetchPreparedStatement((*execute).name, true);
        let description = (*(*prepared).plansource).resultDesc;
        if description.is_null() {
            return None;
        }
        let columns = (0..(*description).natts as usize).map(|place| {
            let column = compat::attribute(description, place);
            FilledColumn::of(column)
        });
        Some(columns.collect())
    }
}

unsafe fn columns_of_targets(targets: *mut pg_sys::List) -> Vec<FilledColumn> {
    // SAFETY: see `filled_table`; a target list holds TargetEntry nodes.
    unsafe {
        let entries = items::<pg_sys::TargetEntry>(targets).into_iter();
        let kept = entries.filter(|entry| !(**entry).resjunk);
        kept.map(|entry| {
            let value = (*entry).expr.cast::<pg_sys::Node>();
            let oid = pg_sys::exprType(value);
            FilledColumn {
                name: bytes((*entry).resname).unwrap_or_default(),
                type_name: type_name(oid, pg_sys::exprTypmod(value)),
                collation: explicit_collation(pg_sys::exprCollation(value), oid),
            }
        })
        .collect()
    }
}
