//! The logical message that DDL could not be recorded: written to the WAL of the transaction whose DDL is not
//! recorded, and read by the output plugin.
//!
//! Everybody may call pg_logical_emit_message() with any prefix, so a message proves its origin: it begins
//! with an HMAC over the database, the transaction and the reason. The key is the nonce that initdb wrote to
//! pg_control: every process has it without reading a file, it survives every restart and is copied to a
//! standby, and SQL shows it only to roles that may read the server's files. A message copied from the WAL is
//! invalid in another transaction.

use std::ffi::CStr;

use hmac::{Hmac, KeyInit, Mac};
use pgrx::prelude::*;
use sha2::Sha256;

use crate::pg::declared;
use crate::pg::server;

/// The effects of the statement are not known otherwise.
const LOST: &CStr = c"pg_incrbackup lost ddl";
/// The catalogs show them, for a plugin that decodes these.
const UNRECORDED: &CStr = c"pg_incrbackup unrecorded ddl";
/// Used up to version 0.2.0, whose WAL may still be decoded: like [`LOST`].
const CHAIN_BREAK: &CStr = c"pg_incrbackup chain break";

/// The content of a message of ours.
pub struct Said<'a> {
    pub reason: &'a [u8],
    /// The catalogs show what was done.
    pub is_told: bool,
}

/// Length of the HMAC as hex digits: the message remains text.
const PROOF: usize = 64;

/// Writes to this transaction's WAL that its DDL is not recorded: preserved in a crash; discarded by a
/// rollback.
pub fn emit(reason: &str, is_told: bool) {
    let prefix = if is_told { UNRECORDED } else { LOST };
    // SAFETY: inside a transaction that may write.
    let xid = unsafe { pg_sys::GetTopFullTransactionId() }.value;
    let message = format!("{}{reason}", proof(prefix, xid, reason.as_bytes()));
    declared::log_message(prefix, message.as_bytes(), true);
}

/// The content of a message of the transaction `xid`, if we wrote it.
pub fn said<'a>(prefix: &CStr, message: &'a [u8], xid: u64) -> Option<Said<'a>> {
    if ![LOST, UNRECORDED, CHAIN_BREAK].contains(&prefix) {
        return None;
    }
    let (claimed, reason) = message.split_at_checked(PROOF)?;
    let is_ours = proof(prefix, xid, reason).as_bytes() == claimed;
    is_ours.then_some(Said {
        reason,
        is_told: prefix == UNRECORDED,
    })
}

/// What proves a message of ours to this transaction: an HMAC, as hex digits.
pub(in crate::pg) fn proof(prefix: &CStr, xid: u64, reason: &[u8]) -> String {
    // SAFETY: the nonce stands in shared memory, of this length, for as long as the server runs.
    let key = unsafe {
        let nonce = pg_sys::GetMockAuthenticationNonce().cast::<u8>();
        std::slice::from_raw_parts(nonce, pg_sys::MOCK_AUTH_NONCE_LEN as usize)
    };
    let mut hmac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    // The nonce also salts the answers about unknown roles: a separate use cannot be confused with that.
    hmac.update(prefix.to_bytes_with_nul());
    hmac.update(&server::my_database().to_u32().to_be_bytes());
    hmac.update(&xid.to_be_bytes());
    hmac.update(reason);
    archive::checksum::hex(&hmac.finalize().into_bytes())
}
