//! The logical message that ends a chain, or says that DDL was lost: written into the WAL of the
//! transaction that something went past the record of, found again by the output plugin.
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
/// The increments go on, with a flag: a base follows that is whole again.
const LOST_PREFIX: &CStr = c"pg_incrbackup lost ddl";

/// What a message of ours says.
pub enum Said<'a> {
    Break(&'a [u8]),
    Lost(&'a [u8]),
}

/// Length of the HMAC as hex digits: the message stays text, for whoever reads the WAL.
const PROOF: usize = 64;

/// Leaves in this transaction's WAL that something went past the record. The capture worker ends the
/// chain when the transaction has committed, also after a crash; a rollback takes it back.
pub fn emit(reason: &str) {
    emit_as(PREFIX, reason);
}

/// Leaves in this transaction's WAL that DDL of it is lost.
pub fn emit_lost(reason: &str) {
    emit_as(LOST_PREFIX, reason);
}

fn emit_as(prefix: &CStr, reason: &str) {
    // SAFETY: inside a transaction that may write.
    let xid = unsafe { pg_sys::GetTopFullTransactionId() }.value;
    let message = format!("{}{reason}", proof(prefix, xid, reason.as_bytes()));
    declared::log_message(prefix, message.as_bytes(), true);
}

/// What a message of the transaction `xid` says, where we wrote it.
pub fn said<'a>(prefix: &CStr, message: &'a [u8], xid: u64) -> Option<Said<'a>> {
    if prefix != PREFIX && prefix != LOST_PREFIX {
        return None;
    }
    let (claimed, reason) = message.split_at_checked(PROOF)?;
    let is_ours = proof(prefix, xid, reason).as_bytes() == claimed;
    is_ours.then_some(match prefix == PREFIX {
        true => Said::Break(reason),
        false => Said::Lost(reason),
    })
}

fn proof(prefix: &CStr, xid: u64, reason: &[u8]) -> String {
    // SAFETY: the nonce stands in shared memory, of this length, for as long as the server runs.
    let key = unsafe {
        let nonce = pg_sys::GetMockAuthenticationNonce().cast::<u8>();
        std::slice::from_raw_parts(nonce, pg_sys::MOCK_AUTH_NONCE_LEN as usize)
    };
    let mut hmac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    // The nonce also salts the answers about unknown roles: a use of its own cannot be mixed up.
    hmac.update(prefix.to_bytes_with_nul());
    hmac.update(&server::my_database().to_u32().to_be_bytes());
    hmac.update(&xid.to_be_bytes());
    hmac.update(reason);
    archive::checksum::hex(&hmac.finalize().into_bytes())
}
