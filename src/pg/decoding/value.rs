//! Values of rows as text: by the type's output function, called through a cached FmgrInfo, or in Rust for
//! the few types that account for most of the output.

use std::cell::UnsafeCell;
use std::ffi::{c_char, CStr};
use std::panic::AssertUnwindSafe;

use memchr::memchr;
use pgrx::pg_sys::panic::CaughtError;
use pgrx::prelude::*;
use pgrx::varlena::{varatt_is_1b, varatt_is_1b_e, varatt_is_4b_u};

use crate::pg::declared;

/// A memory context that is deleted by [`MemoryContextOwner::release`] or along with its parent.
///
/// It has no `Drop`: its parent may already be deleted then, and the context with it.
pub struct MemoryContextOwner(pg_sys::MemoryContext);

impl MemoryContextOwner {
    pub fn new(parent: pg_sys::MemoryContext, name: &'static CStr) -> Self {
        // SAFETY: the parent is alive; the name is static, as mcxt.c asks for.
        Self(unsafe {
            pg_sys::AllocSetContextCreateInternal(
                parent,
                name.as_ptr(),
                0,
                1024,
                pg_sys::ALLOCSET_DEFAULT_MAXSIZE as usize,
            )
        })
    }

    pub fn context(&self) -> pg_sys::MemoryContext {
        self.0
    }

    /// Frees everything in it.
    pub fn reset(&self) {
        // SAFETY: alive as long as its parent, which outlives the owner's use.
        unsafe { declared::reset_memory(self.0) }
    }

    pub fn release(self) {
        // SAFETY: as for reset; nobody else deletes it.
        unsafe { pg_sys::MemoryContextDelete(self.0) }
    }
}

/// How the text of a value is written in SQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Digits with a sign, unquoted.
    Integer,
    /// Unquoted if finite; negative zero, NaN and infinities need quotes.
    Float,
    /// Unquoted unless it is NaN or an infinity.
    Numeric,
    /// true or false.
    Boolean,
    /// B'0101'.
    Bits,
    /// `\x` and hexadecimal digits, as a string literal.
    Hex,
    /// A string literal.
    Quoted,
}

enum How {
    Int2,
    Int4,
    Int8,
    Boolean,
    /// text, varchar, char(n): the bytes are the text, up to a NUL, at which the type's own output function,
    /// and with it pg_dump, ends too. Only a C function can have written one.
    Bytes,
    /// bytea under bytea_output = hex. Its text is twice as long, so whoever writes it makes it where it belongs:
    /// [`Output::with_bytes`].
    Hex,
    Function {
        /// What a call caches in it is the function's own business, and it may call itself.
        output: Box<UnsafeCell<pg_sys::FmgrInfo>>,
        is_varlena: bool,
    },
}

/// A larger value may have a text of more than 1 GB, the maximum of one allocation in PostgreSQL: a NULL in
/// an array takes one bit, and five characters.
const SURELY_FITS: usize = 16 << 20;

/// MaxAllocSize of memutils.h: no text of PostgreSQL's own is longer.
const LONGEST_TEXT: usize = (1 << 30) - 1;

/// The conversion of a column to text.
pub struct Output {
    pub form: Form,
    how: How,
}

impl Output {
    /// For a type or domain; caches of its output function are in `memory`.
    pub fn of_type(type_oid: pg_sys::Oid, memory: &MemoryContextOwner) -> Self {
        // SAFETY: a catalog look-up.
        let base = unsafe { pg_sys::getBaseType(type_oid) };
        let (form, how) = match base {
            pg_sys::INT2OID => (Form::Integer, How::Int2),
            pg_sys::INT4OID => (Form::Integer, How::Int4),
            pg_sys::INT8OID => (Form::Integer, How::Int8),
            pg_sys::BOOLOID => (Form::Boolean, How::Boolean),
            pg_sys::TEXTOID | pg_sys::VARCHAROID | pg_sys::BPCHAROID => (Form::Quoted, How::Bytes),
            pg_sys::BYTEAOID => (Form::Hex, How::Hex),
            pg_sys::OIDOID => (Form::Integer, function(base, memory)),
            pg_sys::FLOAT4OID | pg_sys::FLOAT8OID => (Form::Float, function(base, memory)),
            pg_sys::NUMERICOID => (Form::Numeric, function(base, memory)),
            pg_sys::BITOID | pg_sys::VARBITOID => (Form::Bits, function(base, memory)),
            _ => (Form::Quoted, function(type_oid, memory)),
        };
        Self { form, how }
    }

    /// Appends the value's text to `out`; false if PostgreSQL cannot produce it, because it exceeds 1 GB.
    /// Allocates in the current memory context.
    #[must_use]
    pub fn with_text<R>(&self, value: pg_sys::Datum, read: impl FnOnce(&[u8]) -> R) -> Option<R> {
        Some(match &self.how {
            How::Int2 => read(itoa::Buffer::new().format(value.value() as i16).as_bytes()),
            How::Int4 => read(itoa::Buffer::new().format(value.value() as i32).as_bytes()),
            How::Int8 => read(itoa::Buffer::new().format(value.value() as i64).as_bytes()),
            How::Boolean => read(if value.value() as u8 != 0 {
                b"true"
            } else {
                b"false"
            }),
            // SAFETY: the value is of a text type, so a varlena.
            How::Bytes => unsafe {
                with_unpacked(value, |bytes| {
                    read(&bytes[..memchr(0, bytes).unwrap_or(bytes.len())])
                })
            },
            How::Hex => {
                let mut text = b"\\x".to_vec();
                let fits = self.with_bytes(value, |bytes| {
                    let fits = bytes.len() < LONGEST_TEXT / 2;
                    if fits {
                        push_hex(bytes, &mut text);
                    }
                    fits
                });
                if fits != Some(true) {
                    return None;
                }
                read(&text)
            }
            // SAFETY: the function is the output function of this value's type and returns a
            // NUL-terminated string.
            How::Function { output, is_varlena } => unsafe {
                let (output, mut value) = (output.get(), value);
                let mut may_be_long = false;
                if *is_varlena {
                    value = at_its_place(value.cast_mut_ptr()).into();
                    may_be_long = pg_sys::toast_raw_datum_size(value) > SURELY_FITS;
                }
                let text = if may_be_long {
                    text_if_it_fits(output, value)
                } else {
                    pg_sys::OutputFunctionCall(output, value)
                };
                if text.is_null() {
                    return None;
                }
                read(CStr::from_ptr(text).to_bytes())
            },
        })
    }

    /// Reads the bytes of a value whose form is [`Form::Hex`].
    pub fn with_bytes<R>(&self, value: pg_sys::Datum, read: impl FnOnce(&[u8]) -> R) -> Option<R> {
        // SAFETY: a bytea is a varlena.
        matches!(self.how, How::Hex).then(|| unsafe { with_unpacked(value, read) })
    }

    /// Appends the value's text to `out`; false where there is none.
    #[must_use]
    pub fn push_text(&self, value: pg_sys::Datum, out: &mut Vec<u8>) -> bool {
        self.with_text(value, |text| out.extend_from_slice(text))
            .is_some()
    }
}

/// Appends two hexadecimal digits for each byte.
pub fn push_hex(bytes: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let start = out.len();
    out.resize(start + 2 * bytes.len(), 0);
    let places = out[start..].chunks_exact_mut(2);
    for (place, byte) in places.zip(bytes) {
        place[0] = DIGITS[usize::from(byte >> 4)];
        place[1] = DIGITS[usize::from(byte & 15)];
    }
}

/// What a varlena holds, uncompressed and in one piece.
///
/// # Safety
/// It must be a varlena.
unsafe fn with_unpacked<R>(value: pg_sys::Datum, read: impl FnOnce(&[u8]) -> R) -> R {
    // SAFETY: promised by the caller; a copy that was made is nobody else's.
    unsafe {
        let stored = at_its_place(value.cast_mut_ptr());
        let mut varlena = stored;
        if !is_plain(varlena) {
            varlena = pg_sys::pg_detoast_datum_packed(varlena);
        }
        let length = pgrx::varlena::varsize_any_exhdr(varlena);
        let data = pgrx::varlena::vardata_any(varlena).cast::<u8>();
        let result = read(std::slice::from_raw_parts(data, length));
        if varlena != stored {
            pg_sys::pfree(varlena.cast());
        }
        result
    }
}

/// Logical decoding hands a long value out as a pointer to where it has put it together
/// (ReorderBufferToastReplace): PostgreSQL's functions copy what such a pointer leads to.
///
/// # Safety
/// It must point to a varlena.
unsafe fn at_its_place(varlena: *mut pg_sys::varlena) -> *mut pg_sys::varlena {
    // SAFETY: promised by the caller; behind an external varlena's header of two bytes stands what its tag says
    // (varatt.h), without alignment.
    unsafe {
        if !varatt_is_1b_e(varlena) {
            return varlena;
        }
        let tag = u32::from(*varlena.cast::<u8>().add(1));
        if tag != pg_sys::vartag_external::VARTAG_INDIRECT {
            return varlena;
        }
        let pointer = varlena
            .cast::<u8>()
            .add(2)
            .cast::<pg_sys::varatt_indirect>();
        pointer.read_unaligned().pointer
    }
}

/// Neither compressed nor stored out of line.
///
/// # Safety
/// It must point to a varlena.
unsafe fn is_plain(varlena: *const pg_sys::varlena) -> bool {
    // SAFETY: promised by the caller.
    unsafe { varatt_is_4b_u(varlena) || (varatt_is_1b(varlena) && !varatt_is_1b_e(varlena)) }
}

/// NULL if PostgreSQL refuses to produce a text of that size. This error leaves nothing behind: it is raised
/// when memory is requested.
///
/// # Safety
/// `output` must be the output function of the value's type.
unsafe fn text_if_it_fits(output: *mut pg_sys::FmgrInfo, value: pg_sys::Datum) -> *mut c_char {
    // SAFETY: a context is current.
    let context = unsafe { pg_sys::CurrentMemoryContext };
    // SAFETY: promised by the caller.
    PgTryBuilder::new(AssertUnwindSafe(|| unsafe {
        pg_sys::OutputFunctionCall(output, value)
    }))
    .catch_others(move |error| {
        if !is_about_size(&error) {
            error.rethrow();
        }
        // SAFETY: it was current before.
        unsafe { pg_sys::MemoryContextSwitchTo(context) };
        std::ptr::null_mut()
    })
    .execute()
}

/// According to mcxt.c and stringinfo.c.
fn is_about_size(error: &CaughtError) -> bool {
    let CaughtError::PostgresError(report) = error else {
        return false;
    };
    let starts = |text| report.message().starts_with(text);
    report.sql_error_code() == PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED
        || starts("invalid memory alloc request size")
}

fn function(type_oid: pg_sys::Oid, memory: &MemoryContextOwner) -> How {
    let mut function = pg_sys::InvalidOid;
    let mut is_varlena = false;
    let mut output = Box::<UnsafeCell<pg_sys::FmgrInfo>>::default();
    // SAFETY: catalog look-ups that fill what they are given; the boxed FmgrInfo does not move.
    unsafe {
        pg_sys::getTypeOutputInfo(type_oid, &mut function, &mut is_varlena);
        pg_sys::fmgr_info_cxt(function, output.get_mut(), memory.context());
    }
    How::Function { output, is_varlena }
}

/// The values of one row, unpacked; buffers are reused from row to row.
#[derive(Clone, Default)]
pub struct Row {
    values: Vec<pg_sys::Datum>,
    nulls: Vec<bool>,
    /// Positions whose values are not written: NULL stands for them.
    unwritten: Vec<usize>,
}

impl Row {
    /// Unpacks `tuple`.
    ///
    /// # Safety
    /// The tuple must be of that row type and outlive the use of the values.
    pub unsafe fn deform(&mut self, tuple: pg_sys::HeapTuple, descriptor: pg_sys::TupleDesc) {
        // SAFETY: promised by the caller; the buffers have a place for each attribute.
        unsafe {
            let natts = (*descriptor).natts as usize;
            self.values.resize(natts, pg_sys::Datum::null());
            self.nulls.resize(natts, true);
            declared::deform_tuple(
                tuple,
                descriptor,
                self.values.as_mut_ptr(),
                self.nulls.as_mut_ptr(),
            );
        }
    }

    /// The value of the last column.
    pub fn last(&self) -> Option<pg_sys::Datum> {
        self.get(self.values.len() - 1)
    }

    /// The row with NULL at these positions.
    pub fn without(&self, positions: &[usize]) -> Row {
        let mut row = self.clone();
        for position in positions {
            row.nulls[*position] = true;
        }
        row.unwritten = positions.to_vec();
        row
    }

    /// Its NULL at this position stands for a value that has no text: see [`Row::without`].
    pub fn is_unwritten(&self, index: usize) -> bool {
        self.unwritten.contains(&index)
    }

    /// The value at position `index` (from 0), or `None` for NULL.
    pub fn get(&self, index: usize) -> Option<pg_sys::Datum> {
        (!self.nulls[index]).then(|| self.values[index])
    }
}

/// Runs `work` with `context` as the current memory context.
pub fn in_context<R>(context: pg_sys::MemoryContext, work: impl FnOnce() -> R) -> R {
    // SAFETY: the context is alive. An error leaves it to the transaction's abort to set another.
    let before = unsafe { pg_sys::MemoryContextSwitchTo(context) };
    let result = work();
    // SAFETY: it was current before.
    unsafe { pg_sys::MemoryContextSwitchTo(before) };
    result
}
