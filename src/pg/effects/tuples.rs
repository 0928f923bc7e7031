//! The state of objects, read from catalog rows under the historic snapshot.

use std::cell::RefCell;
use std::ffi::{CStr, CString};
use std::ops::ControlFlow;
use std::rc::Rc;
use std::time::Duration;

use effects::acl::Grant;
use effects::tuples::{Definition, Scan, Tuples, Value};
use pgrx::prelude::*;
use rustc_hash::FxHashMap;

use super::changed_rows::{searches_in, ChangedRows, Places, Wanted};
use super::historic_rows::HistoricRows;
use super::look::{unexpected, without_trace};
use super::server_text::{from_server_bytes, to_server_bytes};
use super::values::{bytes, grants, role_name, value, How};
use crate::pg::catalogs::scan::Key;
use crate::pg::decoding::value::Row;
use crate::pg::failure::Failure;

thread_local! {
    /// By the scan's index and the position of its columns, which can be the same for two scans: the number
    /// of scans in the program is fixed.
    static LAYOUTS: RefCell<FxHashMap<(u32, usize), Rc<Layout>>> = RefCell::default();
}

/// Runs `look` in a subtransaction that is rolled back. `known` are the rows that the transaction changed,
/// and the current command counter. Waits for locks as long as `patience` allows.
pub fn with_tuples<R>(
    known: Option<(&ChangedRows, u32)>,
    patience: Duration,
    mut look: impl FnMut(&mut dyn Tuples) -> Result<R, String>,
) -> Result<R, Failure> {
    without_trace(patience, || {
        let mut historic = Historic {
            known,
            rows: HistoricRows::default(),
        };
        look(&mut historic).map_err(unexpected)
    })
}

struct Historic<'a> {
    known: Option<(&'a ChangedRows, u32)>,
    rows: HistoricRows,
}

/// The positions of a scan's columns in this release.
struct Layout {
    keys: Vec<i16>,
    /// [`Scan::then`], and whether that is a smallint.
    then: Option<(usize, bool)>,
    /// The system cache with the same key, for frequent look-ups: it has processed the invalidations up to
    /// the current point of decoding, as required by the functions that return definitions.
    cache: Option<i32>,
    columns: Vec<Option<(usize, How)>>,
}

/// Catalogs that are empty in most databases.
const OFTEN_EMPTY: [u32; 2] = [3596, 2611];

impl Historic<'_> {
    fn read(
        &mut self,
        scan: &Scan,
        keys: &[u32],
        layout: &Layout,
    ) -> Result<Vec<Vec<Value>>, Failure> {
        let wanted = Wanted::new(scan.index, keys);
        if let Some(known) = self.known_rows(scan, wanted, layout)? {
            if cfg!(debug_assertions) {
                self.assert_found(scan, keys, layout, &known)?;
            }
            return Ok(known);
        }
        match (layout.cache, keys) {
            (Some(cache), [oid]) => Ok(cached(cache, *oid, layout)?.into_iter().collect()),
            _ => self.searched_rows(scan, keys, layout),
        }
    }

    /// A search has the same result.
    fn assert_found(
        &mut self,
        scan: &Scan,
        keys: &[u32],
        layout: &Layout,
        known: &[Vec<Value>],
    ) -> Result<(), Failure> {
        let unknown = self.known.take();
        let found = self.searched_rows(scan, keys, layout);
        self.known = unknown;
        let sorted = |rows: &[Vec<Value>]| {
            let mut rows: Vec<String> = rows.iter().map(|row| format!("{row:?}")).collect();
            rows.sort_unstable();
            rows
        };
        assert_eq!(sorted(known), sorted(&found?), "{} {keys:?}", scan.name);
        Ok(())
    }

    /// Rows with known TIDs; `None` if they are not known.
    fn known_rows(
        &mut self,
        scan: &Scan,
        wanted: Wanted,
        layout: &Layout,
    ) -> Result<Option<Vec<Vec<Value>>>, Failure> {
        let known = self
            .known
            .and_then(|(rows, command)| rows.places(wanted, command));
        let Some(known) = known else {
            return Ok(None);
        };
        let (mut rows, mut failed) = (Vec::with_capacity(known.at.len()), None);
        let are_there = self.rows.fetch(scan.catalog, &known, |row| {
            let number = layout.number(row);
            if number < 1 {
                return ControlFlow::Continue(());
            }
            note(
                values(row, layout).map(|values| (number, values)),
                &mut rows,
                &mut failed,
            )
        });
        if let Some(failure) = failed {
            return Err(failure);
        }
        rows.sort_by_key(|(number, _)| *number);
        Ok(are_there.then(|| rows.into_iter().map(|(_, values)| values).collect()))
    }

    fn searched_rows(
        &mut self,
        scan: &Scan,
        keys: &[u32],
        layout: &Layout,
    ) -> Result<Vec<Vec<Value>>, Failure> {
        let (mut rows, mut failed, mut found) = (Vec::new(), None, Vec::new());
        let is_empty = OFTEN_EMPTY.contains(&scan.catalog) && self.rows.is_empty(scan.catalog);
        if !is_empty {
            let equal = layout.keys.iter().zip(keys);
            let mut keys: Vec<(i16, Key)> = equal
                .map(|(column, key)| (*column, Key::OidIs(*key)))
                .collect();
            if let Some((at, true)) = layout.then {
                keys.push((at as i16 + 1, Key::SmallFrom(1)));
            }
            self.rows
                .search(scan.catalog, scan.index, &keys, |place, row| {
                    found.push(place);
                    note(values(row, layout), &mut rows, &mut failed)
                });
        }
        if let Some(failure) = failed {
            return Err(failure);
        }
        if let Some((known, _)) = self.known {
            let file = if found.is_empty() {
                0
            } else {
                self.rows.file(scan.catalog)
            };
            known.note(Wanted::new(scan.index, keys), Places { file, at: found });
        }
        Ok(rows)
    }
}

fn note<T>(
    read: Result<T, Failure>,
    rows: &mut Vec<T>,
    failed: &mut Option<Failure>,
) -> ControlFlow<()> {
    match read {
        Ok(read) => {
            rows.push(read);
            ControlFlow::Continue(())
        }
        Err(failure) => {
            *failed = Some(failure);
            ControlFlow::Break(())
        }
    }
}

impl Layout {
    /// The value of [`Scan::then`] in a row; 1 without one.
    fn number(&self, row: &Row) -> i32 {
        match self.then {
            None => 1,
            Some((at, is_small)) => row.get(at).map_or(0, |value| {
                if is_small {
                    i32::from(value.value() as i16)
                } else {
                    value.value() as i32
                }
            }),
        }
    }
}

impl Tuples for Historic<'_> {
    fn version(&self) -> u32 {
        pg_sys::PG_VERSION_NUM
    }

    fn rows(&mut self, scan: &'static Scan, keys: &[u32]) -> Result<Vec<Vec<Value>>, String> {
        let layout = layout(scan)?;
        let read = self.read(scan, keys, &layout);
        read.map_err(|failure| failure.in_full())
    }

    fn quoted(&mut self, name: &str) -> String {
        quoted(name)
    }

    fn role(&mut self, oid: u32) -> Result<Option<String>, String> {
        let name = role_name(oid).map_err(|failure| failure.in_full())?;
        Ok(name.map(|name| self.quoted(&name)))
    }

    fn default_privileges(&mut self, kind: char, owner: u32) -> Result<Vec<Grant>, String> {
        let arguments = [
            Some(pg_sys::Datum::from(kind as i8)),
            Some(pg_sys::Oid::from(owner).into()),
        ];
        // SAFETY: acldefault(char, oid), which raises for a kind that it does not know.
        let acl =
            unsafe { pgrx::direct_function_call_as_datum(pg_sys::acldefault_sql, &arguments) };
        let Some(acl) = acl else {
            return Ok(Vec::new());
        };
        // SAFETY: an aclitem[].
        unsafe { grants(acl) }.map_err(|failure| failure.in_full())
    }

    fn expression(&mut self, tree: &str, table: u32) -> Result<Option<String>, String> {
        let tree = to_server_bytes(tree);
        // SAFETY: a copy; pg_get_expr takes a pg_node_tree, which is a varlena as text is.
        let tree = unsafe {
            pg_sys::Datum::from(pg_sys::cstring_to_text_with_len(
                tree.as_ptr().cast(),
                tree.len() as i32,
            ))
        };
        let arguments = [Some(tree), Some(pg_sys::Oid::from(table).into())];
        // SAFETY: pg_get_expr(pg_node_tree, oid).
        text_answer(unsafe { pgrx::direct_function_call_as_datum(pg_sys::pg_get_expr, &arguments) })
    }

    fn type_name(&mut self, oid: u32, modifier: Option<i32>) -> Result<String, String> {
        let given = modifier.map_or(0, |_| pg_sys::FORMAT_TYPE_TYPEMOD_GIVEN);
        let flags = (given | pg_sys::FORMAT_TYPE_ALLOW_INVALID) as pg_sys::bits16;
        // SAFETY: returns a NUL-terminated string; an OID that is no type's has one, too.
        let name = unsafe {
            CStr::from_ptr(pg_sys::format_type_extended(
                oid.into(),
                modifier.unwrap_or(-1),
                flags,
            ))
        };
        from_server_bytes(name.to_bytes()).map_err(|failure| failure.in_full())
    }

    fn definition(&mut self, of: Definition, oid: u32) -> Result<Option<String>, String> {
        let function = match of {
            Definition::PartitionKey => pg_sys::pg_get_partkeydef,
            Definition::Index => pg_sys::pg_get_indexdef,
            Definition::Constraint => pg_sys::pg_get_constraintdef,
        };
        let arguments = [Some(pg_sys::Oid::from(oid).into())];
        // SAFETY: each takes an OID and gives text or NULL.
        text_answer(unsafe { pgrx::direct_function_call_as_datum(function, &arguments) })
    }
}

/// As by quote_ident.
pub fn quoted(name: &str) -> String {
    let is_plain = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_');
    let starts_well = !name.starts_with(|first: char| first.is_ascii_digit());
    if name.is_empty() || !starts_well || !name.bytes().all(is_plain) {
        return effects::text::quoted(name);
    }
    let name_for_c = CString::new(name).unwrap_or_default();
    // SAFETY: returns its argument where it needs no quotes: only keywords do now.
    let is_same = unsafe { pg_sys::quote_identifier(name_for_c.as_ptr()) } == name_for_c.as_ptr();
    if is_same {
        name.to_owned()
    } else {
        effects::text::quoted(name)
    }
}

fn text_answer(answer: Option<pg_sys::Datum>) -> Result<Option<String>, String> {
    let Some(answer) = answer else {
        return Ok(None);
    };
    // SAFETY: the function returns text.
    match unsafe { bytes(answer, from_server_bytes) } {
        Ok(text) => Ok(Some(text)),
        Err(failure) => Err(failure.in_full()),
    }
}

/// Fails if the catalog has a column that no known release has and that the scan must handle.
fn layout(scan: &'static Scan) -> Result<Rc<Layout>, String> {
    let key = (scan.index, scan.columns.as_ptr() as usize);
    if let Some(known) = LAYOUTS.with_borrow(|layouts| layouts.get(&key).cloned()) {
        return Ok(known);
    }
    let names = column_names(scan.catalog);
    let place = |column: &str| names.iter().position(|name| name == column);
    let is_known = |name: &&String| {
        let read = scan.columns.iter().any(|(column, _)| column == name);
        read || scan
            .others
            .is_none_or(|others| others.contains(&name.as_str()))
    };
    if let Some(new) = names.iter().find(|name| !is_known(name)) {
        return Err(format!("unexpected column {new} of catalog {}", scan.name));
    }
    let mut searches = searches_in(scan.catalog).filter(|search| search.index == scan.index);
    if searches.any(|search| search.columns != scan.keys) {
        return Err(format!("unexpected key columns for catalog {}", scan.name));
    }
    let keys = scan
        .keys
        .iter()
        .map(|key| place(key).map(|at| at as i16 + 1));
    let keys: Option<Vec<i16>> = keys.collect();
    let keys = keys.ok_or_else(|| format!("catalog {} lacks a key column", scan.name))?;
    let column =
        |(name, _): &(&str, _)| place(name).map(|at| (at, How::of(scan.catalog, at as i16 + 1)));
    let columns = scan.columns.iter().map(column).collect();
    let then = match scan.then {
        None => None,
        Some(column) => {
            let at = place(column).ok_or_else(|| {
                format!("column {column} of catalog {} does not exist", scan.name)
            })?;
            let is_small = matches!(How::of(scan.catalog, at as i16 + 1), How::Int2);
            Some((at, is_small))
        }
    };
    let cache = cache(scan.index);
    let layout = Rc::new(Layout {
        keys,
        then,
        cache,
        columns,
    });
    LAYOUTS.with_borrow_mut(|all| all.insert(key, layout.clone()));
    Ok(layout)
}

/// By the OID of the cache's index (cacheinfo of syscache.c), which is the same in all releases; the cache's
/// number is not.
fn cache(index: u32) -> Option<i32> {
    use pg_sys::SysCacheIdentifier::{
        AMOID, COLLOID, NAMESPACEOID, PROCOID, RELOID, TABLESPACEOID, TYPEOID,
    };
    let cache = match index {
        2652 => AMOID,
        2662 => RELOID,
        2685 => NAMESPACEOID,
        2690 => PROCOID,
        2697 => TABLESPACEOID,
        2703 => TYPEOID,
        3085 => COLLOID,
        _ => return None,
    };
    Some(cache as i32)
}

/// The row of a system cache; `None` if there is none.
fn cached(cache: i32, oid: u32, layout: &Layout) -> Result<Option<Vec<Value>>, Failure> {
    // SAFETY: a look-up; the tuple stays until it is released, and an error ends the subtransaction, which
    // releases it.
    unsafe {
        let tuple = pg_sys::SearchSysCache1(cache, pg_sys::Oid::from(oid).into());
        if tuple.is_null() {
            return Ok(None);
        }
        let one = |place: &Option<(usize, How)>| {
            let Some((at, how)) = place else {
                return Ok(Value::Null);
            };
            let mut is_null = false;
            let number = *at as i16 + 1;
            match pg_sys::SysCacheGetAttr(cache, tuple, number, &mut is_null) {
                _ if is_null => Ok(Value::Null),
                datum => value(datum, *how),
            }
        };
        let values: Result<Vec<Value>, Failure> = layout.columns.iter().map(one).collect();
        pg_sys::ReleaseSysCache(tuple);
        values.map(Some)
    }
}

fn column_names(catalog: u32) -> Vec<String> {
    let name = |number| {
        // SAFETY: NULL where there is no such column; catalogs' columns are ASCII and are never dropped.
        unsafe {
            let name = pg_sys::get_attname(catalog.into(), number, true);
            (!name.is_null()).then(|| CStr::from_ptr(name).to_string_lossy().into_owned())
        }
    };
    (1..).map_while(name).collect()
}

fn values(row: &Row, layout: &Layout) -> Result<Vec<Value>, Failure> {
    let value = |place: &Option<(usize, How)>| match place {
        None => Ok(Value::Null),
        Some((at, how)) => match row.get(*at) {
            None => Ok(Value::Null),
            // SAFETY: a value of the type that the column has.
            Some(datum) => unsafe { value(datum, *how) },
        },
    };
    layout.columns.iter().map(value).collect()
}
