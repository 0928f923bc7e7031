//! Values of catalog columns for the crate `effects`.

use std::ffi::{c_char, CStr};

use effects::acl::Grant;
use effects::tuples::Value;
use pgrx::prelude::*;

use super::server_text::from_server_bytes;
use super::tuples::quoted;
use crate::pg::failure::Failure;

/// Names of the bits of aclitem (nodes/parsenodes.h), as returned by aclexplode (convert_aclright_to_string).
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

#[derive(Clone, Copy)]
pub enum How {
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

impl How {
    /// Of a column of a catalog.
    pub fn of(catalog: u32, number: i16) -> How {
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
}

/// # Safety
/// It must be a value of that type.
pub unsafe fn value(datum: pg_sys::Datum, how: How) -> Result<Value, Failure> {
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
pub unsafe fn bytes<R>(datum: pg_sys::Datum, look: impl FnOnce(&[u8]) -> R) -> R {
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
pub unsafe fn grants(datum: pg_sys::Datum) -> Result<Vec<Grant>, Failure> {
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

/// As by pg_get_userbyid, quoted.
fn known_role(oid: u32) -> Result<String, Failure> {
    let name = role_name(oid)?.unwrap_or_else(|| format!("unknown (OID={oid})"));
    Ok(quoted(&name))
}

pub fn role_name(oid: u32) -> Result<Option<String>, Failure> {
    // SAFETY: NULL where there is no such role.
    unsafe {
        let name = pg_sys::GetUserNameFromId(oid.into(), true);
        if name.is_null() {
            return Ok(None);
        }
        from_server_bytes(CStr::from_ptr(name).to_bytes()).map(Some)
    }
}
