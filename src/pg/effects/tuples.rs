//! The state of objects, read out of the catalogs' rows under the historic snapshot.

use std::cell::RefCell;
use std::ffi::{c_char, CStr, CString};
use std::ops::ControlFlow;
use std::rc::Rc;

use effects::acl::Grant;
use effects::tuples::{Definition, Scan, Tuples, Value};
use pgrx::prelude::*;
use rustc_hash::FxHashMap;

use super::super::catalog_scan::{self, Catalog, Key, Versions};
use super::super::failure::Failure;
use super::super::value::Row;
use super::look::{unexpected, without_trace};
use super::server_text::{from_server_bytes, to_server_bytes};

/// Names of the bits of aclitem (nodes/parsenodes.h), as aclexplode gives them (convert_aclright_to_string).
const PRIVILEGES: [&str; 15] = [
    "INSERT",
    "SELECT",
    "UPDATE",
    "DELETE",
    "TRUNCATE",
    "REFERENCES",
    "TRIGGER",
    "EXECUTE",
    "USAGE",
    "CREATE",
    "TEMPORARY",
    "CONNECT",
    "SET",
    "ALTER SYSTEM",
    "MAINTAIN",
];

/// Privileges and grant options have half of the bits each (utils/acl.h).
const GRANT_OPTIONS: u32 = pg_sys::AclMode::BITS / 2;

thread_local! {
    /// By where the scan's columns stand: there are as many as scans in the program.
    static PLACES: RefCell<FxHashMap<usize, Rc<Places>>> = RefCell::default();
}

/// Runs `look` in a subtransaction that is rolled back.
pub fn with_tuples<R>(
    look: impl FnOnce(&mut dyn Tuples) -> Result<R, String>,
) -> Result<R, Failure> {
    without_trace(|| look(&mut Historic).map_err(unexpected))
}

struct Historic;

/// Where a scan's columns are in this release.
struct Places {
    keys: Vec<i16>,
    /// The system cache of the same key, for what is looked at again and again: it knows of the
    /// invalidations that decoding has come to, as the functions that give definitions need it to.
    cache: Option<i32>,
    columns: Vec<Option<(usize, How)>>,
}

#[derive(Clone, Copy)]
enum How {
    Oid,
    Int2,
    Int4,
    Flag,
    Char,
    Name,
    /// text, pg_node_tree: the bytes are the text.
    Bytes,
    List,
    Grants,
    Output(pg_sys::Oid),
}

impl Tuples for Historic {
    fn version(&self) -> u32 {
        pg_sys::PG_VERSION_NUM
    }

    fn rows(&mut self, scan: &'static Scan, keys: &[u32]) -> Result<Vec<Vec<Value>>, String> {
        let places = places(scan)?;
        if let (Some(cache), [oid]) = (places.cache, keys) {
            let found = cached(cache, *oid, &places).map_err(|failure| failure.in_full())?;
            return Ok(found.into_iter().collect());
        }
        let keys: Vec<(i16, Key)> = places
            .keys
            .iter()
            .zip(keys)
            .map(|(column, key)| (*column, Key::OidIs(*key)))
            .collect();
        let catalog = Catalog {
            table: scan.catalog,
            index: scan.index,
        };
        let (mut rows, mut failed) = (Vec::new(), None);
        catalog_scan::scan(
            catalog,
            &keys,
            Versions::Visible,
            false,
            |row| match values(row, &places) {
                Ok(values) => {
                    rows.push(values);
                    ControlFlow::Continue(())
                }
                Err(failure) => {
                    failed = Some(failure);
                    ControlFlow::Break(())
                }
            },
        );
        match failed {
            None => Ok(rows),
            Some(failure) => Err(failure.in_full()),
        }
    }

    fn quoted(&mut self, name: &str) -> String {
        let is_plain = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_');
        let starts_well = !name.starts_with(|first: char| first.is_ascii_digit());
        if name.is_empty() || !starts_well || !name.bytes().all(is_plain) {
            return effects::text::quoted(name);
        }
        let name_for_c = CString::new(name).unwrap_or_default();
        // SAFETY: returns its argument where it needs no quotes: only keywords do now.
        let is_same =
            unsafe { pg_sys::quote_identifier(name_for_c.as_ptr()) } == name_for_c.as_ptr();
        if is_same {
            name.to_owned()
        } else {
            effects::text::quoted(name)
        }
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

/// Fails where the catalog has a column that no release so far has and the scan wants to know of.
fn places(scan: &'static Scan) -> Result<Rc<Places>, String> {
    let key = scan.columns.as_ptr() as usize;
    if let Some(known) = PLACES.with_borrow(|places| places.get(&key).cloned()) {
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
        return Err(format!("column {new} of {} is not known", scan.name));
    }
    let keys = scan
        .keys
        .iter()
        .map(|key| place(key).map(|at| at as i16 + 1));
    let keys: Option<Vec<i16>> = keys.collect();
    let keys = keys.ok_or_else(|| format!("a key column of {} is not there", scan.name))?;
    let column =
        |(name, _): &(&str, _)| place(name).map(|at| (at, how(scan.catalog, at as i16 + 1)));
    let columns = scan.columns.iter().map(column).collect();
    let cache = cache(scan.index);
    let places = Rc::new(Places {
        keys,
        cache,
        columns,
    });
    PLACES.with_borrow_mut(|all| all.insert(key, places.clone()));
    Ok(places)
}

/// By the OID of the cache's index (cacheinfo of syscache.c), which is the same in all releases; the cache's
/// number is not.
fn cache(index: u32) -> Option<i32> {
    use pg_sys::SysCacheIdentifier::{
        AMOID, COLLOID, NAMESPACEOID, RELOID, TABLESPACEOID, TYPEOID,
    };
    let cache = match index {
        2652 => AMOID,
        2662 => RELOID,
        2685 => NAMESPACEOID,
        2697 => TABLESPACEOID,
        2703 => TYPEOID,
        3085 => COLLOID,
        _ => return None,
    };
    Some(cache as i32)
}

/// The row of a system cache; `None` where there is none.
fn cached(cache: i32, oid: u32, places: &Places) -> Result<Option<Vec<Value>>, Failure> {
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
        let values: Result<Vec<Value>, Failure> = places.columns.iter().map(one).collect();
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

fn how(catalog: u32, number: i16) -> How {
    // SAFETY: a column that is there.
    match unsafe { pg_sys::get_atttype(catalog.into(), number) } {
        pg_sys::OIDOID => How::Oid,
        pg_sys::INT2OID => How::Int2,
        pg_sys::INT4OID => How::Int4,
        pg_sys::BOOLOID => How::Flag,
        pg_sys::CHAROID => How::Char,
        pg_sys::NAMEOID => How::Name,
        pg_sys::TEXTOID | pg_sys::PG_NODE_TREEOID => How::Bytes,
        pg_sys::TEXTARRAYOID => How::List,
        pg_sys::ACLITEMARRAYOID => How::Grants,
        other => {
            let (mut function, mut is_varlena) = (pg_sys::InvalidOid, false);
            // SAFETY: fills what it is given.
            unsafe { pg_sys::getTypeOutputInfo(other, &mut function, &mut is_varlena) };
            How::Output(function)
        }
    }
}

fn values(row: &Row, places: &Places) -> Result<Vec<Value>, Failure> {
    let value = |place: &Option<(usize, How)>| match place {
        None => Ok(Value::Null),
        Some((at, how)) => match row.get(*at) {
            None => Ok(Value::Null),
            // SAFETY: a value of the type that the column has.
            Some(datum) => unsafe { value(datum, *how) },
        },
    };
    places.columns.iter().map(value).collect()
}

/// # Safety
/// It must be a value of that type.
unsafe fn value(datum: pg_sys::Datum, how: How) -> Result<Value, Failure> {
    // SAFETY: promised by the caller.
    unsafe {
        Ok(match how {
            How::Oid => Value::Number(i64::from(datum.value() as u32)),
            How::Int2 => Value::Number(i64::from(datum.value() as i16)),
            How::Int4 => Value::Number(i64::from(datum.value() as i32)),
            How::Flag => Value::Flag(datum.value() as u8 != 0),
            How::Char => {
                let byte = datum.value() as u8;
                let text = if byte == 0 {
                    String::new()
                } else {
                    char::from(byte).to_string()
                };
                Value::Text(text)
            }
            How::Name => {
                let name = &*datum.cast_mut_ptr::<pg_sys::NameData>();
                let name = CStr::from_ptr(name.data.as_ptr());
                Value::Text(from_server_bytes(name.to_bytes())?)
            }
            How::Bytes => Value::Text(bytes(datum, from_server_bytes)?),
            How::List => {
                let texts = elements(datum, pg_sys::TEXTOID).into_iter();
                let texts = texts.map(|text| bytes(text, from_server_bytes));
                Value::List(texts.collect::<Result<_, _>>()?)
            }
            How::Grants => Value::Grants(grants(datum)?),
            How::Output(function) => {
                let text = CStr::from_ptr(pg_sys::OidOutputFunctionCall(function, datum));
                Value::Text(from_server_bytes(text.to_bytes())?)
            }
        })
    }
}

/// # Safety
/// It must be a varlena of text.
unsafe fn bytes<R>(datum: pg_sys::Datum, look: impl FnOnce(&[u8]) -> R) -> R {
    // SAFETY: promised by the caller.
    unsafe {
        let packed = pg_sys::pg_detoast_datum_packed(datum.cast_mut_ptr());
        let data = pgrx::varlena::vardata_any(packed).cast::<u8>();
        let length = pgrx::varlena::varsize_any_exhdr(packed);
        look(std::slice::from_raw_parts(data, length))
    }
}

/// The elements that are not NULL.
///
/// # Safety
/// It must be an array of that type.
unsafe fn elements(datum: pg_sys::Datum, of: pg_sys::Oid) -> Vec<pg_sys::Datum> {
    let (mut length, mut is_by_value, mut align) = (0_i16, false, 0 as c_char);
    let (mut values, mut nulls, mut count) = (std::ptr::null_mut(), std::ptr::null_mut(), 0);
    // SAFETY: promised by the caller; both lists have `count` members, in the current memory context.
    unsafe {
        let array = pg_sys::pg_detoast_datum(datum.cast_mut_ptr()).cast::<pg_sys::ArrayType>();
        pg_sys::get_typlenbyvalalign(of, &mut length, &mut is_by_value, &mut align);
        pg_sys::deconstruct_array(
            array,
            of,
            i32::from(length),
            is_by_value,
            align,
            &mut values,
            &mut nulls,
            &mut count,
        );
        (0..count as usize)
            .filter(|at| !*nulls.add(*at))
            .map(|at| *values.add(at))
            .collect()
    }
}

/// In the order of aclexplode.
///
/// # Safety
/// It must be an aclitem[].
unsafe fn grants(datum: pg_sys::Datum) -> Result<Vec<Grant>, Failure> {
    let mut grants = Vec::new();
    // SAFETY: promised by the caller.
    for item in unsafe { elements(datum, pg_sys::ACLITEMOID) } {
        // SAFETY: aclitem is passed by reference.
        let item = unsafe { *item.cast_mut_ptr::<pg_sys::AclItem>() };
        let grantee = match item.ai_grantee.to_u32() {
            0 => "PUBLIC".to_owned(),
            oid => known_role(oid)?,
        };
        let grantor = known_role(item.ai_grantor.to_u32())?;
        for (bit, privilege) in PRIVILEGES.iter().enumerate() {
            if item.ai_privs & (1 << bit) == 0 {
                continue;
            }
            grants.push(Grant {
                grantee: grantee.clone(),
                grantor: grantor.clone(),
                privilege: (*privilege).to_owned(),
                grantable: item.ai_privs & (1 << (bit as u32 + GRANT_OPTIONS)) != 0,
            });
        }
    }
    Ok(grants)
}

/// As pg_get_userbyid has it, quoted.
fn known_role(oid: u32) -> Result<String, Failure> {
    let name = role_name(oid)?.unwrap_or_else(|| format!("unknown (OID={oid})"));
    Ok(Historic.quoted(&name))
}

fn role_name(oid: u32) -> Result<Option<String>, Failure> {
    // SAFETY: NULL where there is no such role.
    unsafe {
        let name = pg_sys::GetUserNameFromId(oid.into(), true);
        if name.is_null() {
            return Ok(None);
        }
        from_server_bytes(CStr::from_ptr(name).to_bytes()).map(Some)
    }
}
