//! The logical message that ends a chain: written into the WAL of the transaction that something
//! went past the record of, found again by the output plugin.
//!
//! Everybody may call pg_logical_emit_message() with any prefix, so a message proves who wrote it: it
//! begins with an HMAC over the database, the transaction and the reason. The key is the nonce that
//! initdb put into pg_control: this process has it without reading a file, it outlives every restart
//! and goes along to a standby, and SQL shows it only to those who may read the server's files. A
//! message that somebody reads in the WAL proves nothing in another transaction.

use std::ffi::CStr;

use hmac::{Hmac, KeyInit, Mac};
use pgrx::prelude::*;
use sha2::Sha256;

use super::{declared, server};

const PREFIX: &CStr = c"pg_incrbackup chain break";

/// Length of the HMAC as hex digits: the message stays text, for whoever reads the WAL.
const PROOF: usize = 64;

/// Leaves in this transaction's WAL that something went past the record. The capture worker ends the
/// chain when the transaction has committed, also after a crash; a rollback takes it back.
pub fn emit(reason: &str) {
    // SAFETY: inside a transaction that may write.
    let xid = unsafe { pg_sys::GetTopFullTransactionId() }.value;
    let message = format!("{}{reason}", proof(xid, reason.as_bytes()));
    declared::log_message(PREFIX, message.as_bytes(), true);
}

/// The reason in a message of the transaction `xid`, where `emit` wrote it.
pub fn reason<'a>(prefix: &CStr, message: &'a [u8], xid: u64) -> Option<&'a [u8]> {
    if prefix != PREFIX {
        return None;
    }
    let (claimed, reason) = message.split_at_checked(PROOF)?;
    (proof(xid, reason).as_bytes() == claimed).then_some(reason)
}

fn proof(xid: u64, reason: &[u8]) -> String {
    // SAFETY: the nonce stands in shared memory, of this length, for as long as the server runs.
    let key = unsafe {
        let nonce = pg_sys::GetMockAuthenticationNonce().cast::<u8>();
        std::slice::from_raw_parts(nonce, pg_sys::MOCK_AUTH_NONCE_LEN as usize)
    };
    let mut hmac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    // The nonce also salts the answers about unknown roles: a use of its own cannot be mixed up.
    hmac.update(PREFIX.to_bytes_with_nul());
    hmac.update(&server::my_database().to_u32().to_be_bytes());
    hmac.update(&xid.to_be_bytes());
    hmac.update(reason);
    archive::checksum::hex(&hmac.finalize().into_bytes())
}
