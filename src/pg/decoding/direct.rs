//! Rows decoded by a capture worker itself, which bypass the decoding context's writer.

use std::cell::RefCell;

use crate::pg::failure::Failure;

/// Receives rows in a capture worker's own process; an error ends the decoding.
pub type DirectTarget = Box<dyn FnMut(&[u8]) -> Result<(), Failure>>;

thread_local! {
    static DIRECT: RefCell<Option<DirectTarget>> = const { RefCell::new(None) };
}

/// Sends every row that this process decodes to `target`, past the context's own writer, which
/// would copy it and could not hold more than 1 GB.
pub fn set_direct_target(target: DirectTarget) {
    DIRECT.set(Some(target));
}

/// Gives one row to the worker. True when there is one.
pub fn send_direct(row: &[u8]) -> bool {
    let result = DIRECT.with_borrow_mut(|target| target.as_mut().map(|target| target(row)));
    match result {
        None => false,
        Some(Ok(())) => true,
        Some(Err(failure)) => failure.raise(),
    }
}

/// Gives a row of another plugin to the worker: 8 bytes of LSN, 4 of xid, then the row.
pub fn send_foreign(lsn: u64, xid: u32, row: &[u8]) {
    let mut message = Vec::with_capacity(12 + row.len());
    message.extend_from_slice(&lsn.to_be_bytes());
    message.extend_from_slice(&xid.to_be_bytes());
    message.extend_from_slice(row);
    send_direct(&message);
}
