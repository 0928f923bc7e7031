//! What a statement over whatever there is reaches (REASSIGN OWNED, GRANT … ON ALL TABLES IN SCHEMA).
//!
//! Its text replays at its transaction's commit, so it also reaches what another transaction made,
//! not yet committed when the statement ran, and committed before it. The hook notes what is to be
//! looked at; the output plugin compares both moments.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::ControlFlow;

use pgrx::prelude::*;

use super::catalog_scan::{scan, Catalog, Key, Versions};
use super::ddl_node::{c_string, items, names};
use super::ddl_statement::Statement;
use super::large_object_state::{bytes, oid};
use super::server;
use super::value::Row;

/// pg_class by name and schema, pg_proc by name, arguments and schema.
const RELATIONS_BY_NAME: Catalog = catalog(1259, pg_sys::ClassNameNspIndexId);
const RELATIONS_BY_TABLESPACE: Catalog = catalog(1259, pg_sys::ClassTblspcRelfilenodeIndexId);
const ROUTINES: Catalog = catalog(1255, pg_sys::ProcedureNameArgsNspIndexId);
/// pg_shdepend by what is depended on, pg_default_acl (catalog/*.h: the indexes have no constant in
/// the bindings).
const SHARED_DEPENDENCIES: Catalog = catalog(1214, 1233);
const DEFAULT_PRIVILEGES: Catalog = catalog(826, 828);

const fn catalog(table: u32, index: u32) -> Catalog {
    Catalog { table, index }
}

/// Where the objects are found that a statement is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// All that roles own or have privileges on.
    Owned(Vec<u32>),
    /// The relations in schemas.
    Relations(Vec<u32>),
    /// The functions, procedures and aggregates in schemas.
    Routines(Vec<u32>),
    /// The relations in a tablespace; 0 is the database's own.
    Tablespace(Vec<u32>),
}

/// An object by the OIDs of its catalog and of itself, and its number within it.
type Object = (u32, u32, u32);

impl Reach {
    /// None for a statement that names its objects.
    pub fn of(statement: &Statement) -> Option<Self> {
        use pg_sys::NodeTag::*;
        // SAFETY: the node is what its tag says, its lists hold what nodes/parsenodes.h says; the
        // look-ups allow what is missing, which the statement itself will report.
        unsafe {
            match statement.node_tag() {
                T_ReassignOwnedStmt => {
                    let node: &pg_sys::ReassignOwnedStmt = statement.as_a(T_ReassignOwnedStmt)?;
                    Some(Self::Owned(roles(node.roles)))
                }
                T_DropOwnedStmt => {
                    let node: &pg_sys::DropOwnedStmt = statement.as_a(T_DropOwnedStmt)?;
                    Some(Self::Owned(roles(node.roles)))
                }
                T_AlterTableMoveAllStmt => {
                    let node: &pg_sys::AlterTableMoveAllStmt =
                        statement.as_a(T_AlterTableMoveAllStmt)?;
                    let space = pg_sys::get_tablespace_oid(node.orig_tablespacename, true);
                    let is_default = space == pg_sys::MyDatabaseTableSpace;
                    let space = if is_default { 0 } else { space.to_u32() };
                    Some(Self::Tablespace(vec![space]))
                }
                T_GrantStmt => {
                    let node: &pg_sys::GrantStmt = statement.as_a(T_GrantStmt)?;
                    if node.targtype != pg_sys::GrantTargetType::ACL_TARGET_ALL_IN_SCHEMA {
                        return None;
                    }
                    let schemas = names(node.objects).into_iter().map(|name| {
                        pg_sys::get_namespace_oid(c_string(&name).as_ptr(), true).to_u32()
                    });
                    let schemas = schemas.collect();
                    Some(match node.objtype {
                        pg_sys::ObjectType::OBJECT_TABLE | pg_sys::ObjectType::OBJECT_SEQUENCE => {
                            Self::Relations(schemas)
                        }
                        _ => Self::Routines(schemas),
                    })
                }
                _ => None,
            }
        }
    }

    /// The objects that it finds under the snapshot in force.
    pub fn objects(&self) -> BTreeSet<Object> {
        let (Self::Owned(holders)
        | Self::Relations(holders)
        | Self::Routines(holders)
        | Self::Tablespace(holders)) = self;
        let mut found = BTreeSet::new();
        for holder in holders {
            let key = |column| (column, Key::OidIs(*holder));
            let mut of_catalog = |catalog: Catalog, column| {
                scan(catalog, &[key(column)], Versions::Visible, false, |row| {
                    found.insert((catalog.table, oid(row, 0), 0));
                    ControlFlow::Continue(())
                });
            };
            match self {
                Self::Relations(_) => of_catalog(RELATIONS_BY_NAME, 3),
                Self::Routines(_) => of_catalog(ROUTINES, 3),
                Self::Tablespace(_) => of_catalog(RELATIONS_BY_TABLESPACE, 9),
                Self::Owned(_) => found.extend(objects_of(*holder)),
            }
        }
        found
    }
}

/// As a row of ddl_history carries it.
impl fmt::Display for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, holders) = match self {
            Self::Owned(roles) => ("owned", roles),
            Self::Relations(schemas) => ("relations", schemas),
            Self::Routines(schemas) => ("routines", schemas),
            Self::Tablespace(space) => ("tablespace", space),
        };
        write!(f, "{kind}")?;
        holders.iter().try_for_each(|holder| write!(f, " {holder}"))
    }
}

impl Reach {
    pub fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let kind = words.next()?;
        let holders = words.map(|word| word.parse().ok()).collect::<Option<_>>()?;
        Some(match kind {
            "owned" => Self::Owned(holders),
            "relations" => Self::Relations(holders),
            "routines" => Self::Routines(holders),
            "tablespace" => Self::Tablespace(holders),
            _ => return None,
        })
    }
}

/// # Safety
/// `list` is NIL or a list of RoleSpec nodes.
unsafe fn roles(list: *mut pg_sys::List) -> Vec<u32> {
    // SAFETY: by the caller's promise; missing is allowed.
    unsafe {
        let roles = items::<pg_sys::RoleSpec>(list).into_iter();
        roles
            .map(|role| pg_sys::get_rolespec_oid(role, true).to_u32())
            .collect()
    }
}

/// What a role owns in this database, or has privileges on, or is named by.
fn objects_of(role: u32) -> Vec<Object> {
    let keys = [(5, Key::OidIs(ROLES)), (6, Key::OidIs(role))];
    let mut found = Vec::new();
    scan(
        SHARED_DEPENDENCIES,
        &keys,
        Versions::Visible,
        false,
        |row| {
            if oid(row, 0) == server::my_database().to_u32() {
                found.push((oid(row, 1), oid(row, 2), oid(row, 3)));
            }
            ControlFlow::Continue(())
        },
    );
    found
}

/// pg_authid.
const ROLES: u32 = 1260;

/// Whose objects of which schema and kind get which privileges when they are made.
pub fn default_privileges() -> BTreeSet<(u32, u32, u32, Vec<u8>)> {
    let mut found = BTreeSet::new();
    scan(
        DEFAULT_PRIVILEGES,
        &[],
        Versions::Visible,
        false,
        |row: &Row| {
            let privileges = row.get(4).map(bytes).unwrap_or_default();
            found.insert((oid(row, 1), oid(row, 2), oid(row, 3), privileges));
            ControlFlow::Continue(())
        },
    );
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        for reach in [
            Reach::Owned(vec![16384, 16385]),
            Reach::Relations(vec![2200]),
            Reach::Routines(vec![]),
            Reach::Tablespace(vec![0]),
        ] {
            assert_eq!(Reach::parse(&reach.to_string()), Some(reach));
        }
        assert_eq!(Reach::parse("owned x"), None);
    }
}
