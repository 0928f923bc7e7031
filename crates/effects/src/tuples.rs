//! Reading objects from catalog rows directly, for frequent classes. A query over ten catalogs takes 20 times
//! as long.

use crate::acl::Grant;

/// Rows of one catalog by an index on columns of type oid.
pub struct Scan {
    pub catalog: u32,
    pub name: &'static str,
    pub index: u32,
    /// The index's leading columns.
    pub keys: &'static [&'static str],
    /// The index's next column, which determines the order of several rows. Column numbers start at 1; rows
    /// below that belong to the system and are skipped. All scans of an index have the same.
    pub then: Option<&'static str>,
    pub columns: &'static [(&'static str, Kind)],
    /// The catalog's other columns in the known releases, if it matters that there are no more.
    pub others: Option<&'static [&'static str]>,
}

/// How a column is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// oid, smallint, integer.
    Number,
    Flag,
    /// As by its output function; "char", name and text unchanged.
    Text,
    /// text[].
    List,
    /// aclitem[].
    Grants,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Null,
    Number(i64),
    Flag(bool),
    Text(String),
    List(Vec<String>),
    Grants(Vec<Grant>),
}

/// Functions that return a definition for an OID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Definition {
    /// pg_get_partkeydef.
    PartitionKey,
    /// pg_get_indexdef.
    Index,
    /// pg_get_constraintdef.
    Constraint,
}

/// Reads catalogs as of the time in question. An error is caused by the object unless it is temporary; the
/// implementation distinguishes these.
pub trait Tuples {
    /// PostgreSQL's, as server_version_num has it.
    fn version(&self) -> u32;
    /// The rows whose key columns are `keys`, in the order of [`Scan::then`] if the scan has it, otherwise in
    /// any order. A column that this release does not have is NULL.
    fn rows(&mut self, scan: &'static Scan, keys: &[u32]) -> Result<Vec<Vec<Value>>, String>;
    /// As by quote_ident.
    fn quoted(&mut self, name: &str) -> String;
    /// The role's name, quoted; `None` if it does not exist.
    fn role(&mut self, oid: u32) -> Result<Option<String>, String>;
    /// acldefault.
    fn default_privileges(&mut self, kind: char, owner: u32) -> Result<Vec<Grant>, String>;
    /// pg_get_expr; `None` where it is NULL.
    fn expression(&mut self, tree: &str, table: u32) -> Result<Option<String>, String>;
    /// format_type; `None` is NULL for the modifier.
    fn type_name(&mut self, oid: u32, modifier: Option<i32>) -> Result<String, String>;
    /// The result of the server's function for an object; `None` if it is NULL.
    fn definition(&mut self, of: Definition, oid: u32) -> Result<Option<String>, String>;
}

/// A catalog's row as a struct.
pub trait Row: Sized {
    const SCAN: Scan;
    fn of(values: Vec<Value>) -> Self;
}

/// The rows of a catalog by its index's leading columns.
pub fn rows<R: Row + 'static>(tuples: &mut dyn Tuples, keys: &[u32]) -> Result<Vec<R>, String> {
    let rows = tuples.rows(&const { R::SCAN }, keys)?;
    Ok(rows.into_iter().map(R::of).collect())
}

/// The one row of a catalog by a unique index.
pub fn row<R: Row + 'static>(tuples: &mut dyn Tuples, keys: &[u32]) -> Result<Option<R>, String> {
    Ok(rows(tuples, keys)?.into_iter().next())
}

/// A column's value as a field. NULL or a value of another kind becomes the field's default: implementations
/// return values of the kinds that the scan requests.
pub trait Field {
    const KIND: Kind;
    fn of(value: Value) -> Self;
}

macro_rules! fields {
    ($($type:ty, $kind:ident, $value:ident => $of:expr;)*) => {$(
        impl Field for $type {
            const KIND: Kind = Kind::$kind;
            fn of(value: Value) -> Self {
                match value {
                    Value::$kind($value) => $of,
                    _ => Self::default(),
                }
            }
        }
    )*};
}

fields! {
    u32, Number, number => number as u32;
    i32, Number, number => number as i32;
    Option<i32>, Number, number => Some(number as i32);
    bool, Flag, flag => flag;
    Option<bool>, Flag, flag => Some(flag);
    String, Text, text => text;
    Option<String>, Text, text => Some(text);
    Option<Vec<String>>, List, list => Some(list);
    Option<Vec<Grant>>, Grants, grants => Some(grants);
}

/// A struct of a catalog's columns, with the same names.
#[macro_export]
macro_rules! catalog_row {
    ($(#[$meta:meta])* $name:ident, $catalog:literal $oid:literal, $index:literal ($($key:literal),+ $(then $then:literal)?) $(but $others:expr)?;
     $($field:ident: $type:ty),* $(,)?) => {
        $(#[$meta])*
        pub struct $name { $(pub $field: $type,)* }

        impl $crate::tuples::Row for $name {
            const SCAN: $crate::tuples::Scan = $crate::tuples::Scan {
                catalog: $oid,
                name: $catalog,
                index: $index,
                keys: &[$($key),+],
                then: $crate::catalog_row!(@optional $($then)?),
                columns: &[$((stringify!($field), <$type as $crate::tuples::Field>::KIND)),*],
                others: $crate::catalog_row!(@optional $($others)?),
            };
            fn of(values: Vec<$crate::tuples::Value>) -> Self {
                let mut values = values.into_iter();
                let mut next = || values.next().unwrap_or($crate::tuples::Value::Null);
                $name { $($field: $crate::tuples::Field::of(next()),)* }
            }
        }
    };
    (@optional) => { None };
    (@optional $given:expr) => { Some($given) };
}
