//! The logical message with the session that made a transaction: written to its WAL right before the commit record, and read
//! by the output plugin when the transaction begins, so that it is written above the changes.
//!
//! At the commit it costs one record of WAL, and nothing for a transaction that changed nothing; at the first change it would
//! have to be written by every statement that may change something. It is the last one of the transaction's changes, but for
//! what PostgreSQL does after PRE_COMMIT (ON COMMIT DROP changes the catalogs), what other transactions add to every running
//! one (a prepared one gets a snapshot from each commit of DDL), and what other modules write. It is proved as in [`lost`]:
//! everybody may write messages.

use std::cell::OnceCell;
use std::ffi::CStr;
use std::mem::offset_of;

use archive::escape::{percent_decode, percent_encode};
use archive::segment::Who;
use pgrx::prelude::*;

use super::spilled;
use crate::pg::compat::Locator;
use crate::pg::ddl::lost;
use crate::pg::declared;

const PREFIX: &CStr = c"pg_incrbackup who";
/// Hex digits of the HMAC: 128 bits, since there is a message for each transaction.
const PROOF: usize = 32;
/// Rows and other messages between the message and the end of the transaction that are passed over. Those of the catalogs do
/// not count: there is no limit to what ON COMMIT DROP may delete, nor to the DDL of others during a prepared transaction.
pub(super) const MOST_BEHIND: usize = 64;

thread_local! {
    /// The address of this process's client does not change.
    static CLIENT: OnceCell<Vec<u8>> = const { OnceCell::new() };
}

/// The session of this process; `None` for a process of the server that runs nobody's statements. To be called within a
/// transaction.
pub fn this_session() -> Option<Who> {
    // SAFETY: plain globals of this process, the name a C string or null.
    let (kind, application) = unsafe {
        let application = pg_sys::application_name;
        let is_none = application.is_null();
        let text = (!is_none).then(|| CStr::from_ptr(application).to_bytes().to_vec());
        (pg_sys::MyBackendType, text.unwrap_or_default())
    };
    let is_worker = kind == pg_sys::BackendType::B_BG_WORKER;
    if !is_worker && kind != pg_sys::BackendType::B_BACKEND {
        return None;
    }
    let client = if is_worker {
        Vec::new()
    } else {
        CLIENT.with(|client| client.get_or_init(client_address).clone())
    };
    Some(Who {
        role: login_role(),
        application,
        client,
    })
}

/// Not the session user, which SET SESSION AUTHORIZATION changes.
fn login_role() -> Vec<u8> {
    // SAFETY: a look-up in a transaction; the name is a C string of the current memory context, null for a role that was
    // dropped meanwhile.
    unsafe {
        let name = pg_sys::GetUserNameFromId(pg_sys::GetAuthenticatedUserId(), true);
        if name.is_null() {
            return Vec::new();
        }
        CStr::from_ptr(name).to_bytes().to_vec()
    }
}

fn client_address() -> Vec<u8> {
    // SAFETY: both functions read what is known of this process's connection; network_host gets the address, and returns a
    // text.
    let text = unsafe {
        let address = pgrx::direct_function_call_as_datum(pg_sys::inet_client_addr, &[]);
        address.and_then(|address| {
            let text = pgrx::direct_function_call_as_datum(pg_sys::network_host, &[Some(address)])?;
            <&[u8]>::from_datum(text, false).map(<[u8]>::to_vec)
        })
    };
    text.unwrap_or_else(|| b"[local]".to_vec())
}

/// Whether this transaction has written anything to the WAL.
pub fn has_written() -> bool {
    // SAFETY: plain state of this process.
    unsafe {
        pg_sys::GetTopTransactionIdIfAny() != pg_sys::InvalidTransactionId
            && pg_sys::XactLastRecEnd != 0
            && pg_sys::wal_level >= pg_sys::WalLevel::WAL_LEVEL_LOGICAL as i32
    }
}

fn encoded(who: &Who) -> [String; 3] {
    [&who.role, &who.application, &who.client].map(|part| percent_encode(part))
}

/// For a line in the server's log: as the comment in the files has it.
pub fn shown(who: &Who) -> String {
    let [role, application, client] = encoded(who);
    format!("role={role} application={application} client={client}")
}

/// Writes it to this transaction's WAL.
pub fn emit(who: &Who) {
    let text = encoded(who).join(" ");
    // SAFETY: inside a transaction that may write.
    let xid = unsafe { pg_sys::GetTopFullTransactionId() }.value;
    let proof = lost::proof(PREFIX, xid, text.as_bytes());
    let message = format!("{}{text}", &proof[..PROOF]);
    declared::log_message(PREFIX, message.as_bytes(), true);
}

/// The session of such a message, if it is one of the transaction `xid`.
pub fn read(prefix: &CStr, message: &[u8], xid: u64) -> Option<Who> {
    if prefix != PREFIX {
        return None;
    }
    let (claimed, text) = message.split_at_checked(PROOF)?;
    let proof = lost::proof(PREFIX, xid, text);
    if proof.as_bytes().get(..PROOF) != Some(claimed) {
        return None;
    }
    let mut parts = text.split(|byte| *byte == b' ').map(percent_decode);
    Some(Who {
        role: parts.next()??,
        application: parts.next()??,
        client: parts.next()??,
    })
}

/// ReorderBufferChange up to the data of a message; minor releases differ in the length of the data (see `tuple_cids`).
#[repr(C)]
pub(super) struct Change {
    lsn: pg_sys::XLogRecPtr,
    action: u32,
    txn: *mut pg_sys::ReorderBufferTXN,
    origin_id: pg_sys::RepOriginId,
    data: Data,
}

/// The members of a union that matter here: those of a message and of a row, and the longest in a release without
/// `tuplecid.subxid`.
#[repr(C)]
union Data {
    message: Message,
    row: ChangedRow,
    longest: [u64; 4],
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Message {
    prefix: *const std::ffi::c_char,
    size: pg_sys::Size,
    text: *const std::ffi::c_char,
}

/// Of an INSERT, UPDATE or DELETE.
#[repr(C)]
#[derive(Clone, Copy)]
struct ChangedRow {
    file: Locator,
    clear_toast_afterwards: bool,
    old: *const std::ffi::c_void,
    new: *const std::ffi::c_void,
}

impl Change {
    /// False for what has to do with the catalogs alone: their rows are decoded without their values
    /// (RelationIsLogicallyLogged). So is a DELETE from a table without a replica identity.
    pub(super) fn is_of_others(&self) -> bool {
        use pg_sys::ReorderBufferChangeType::*;
        // The action says which member of the union it is.
        #[allow(non_upper_case_globals)]
        match self.action {
            REORDER_BUFFER_CHANGE_INSERT
            | REORDER_BUFFER_CHANGE_UPDATE
            | REORDER_BUFFER_CHANGE_DELETE => {
                // SAFETY: each of these three has a row.
                let row = unsafe { self.data.row };
                !row.old.is_null() || !row.new.is_null()
            }
            REORDER_BUFFER_CHANGE_MESSAGE | REORDER_BUFFER_CHANGE_TRUNCATE => true,
            _ => false,
        }
    }

    /// True for what a commit of another transaction adds to this one. (Its own DDL has both as well.)
    pub(super) fn is_added_by_others(&self) -> bool {
        use pg_sys::ReorderBufferChangeType::*;
        [
            REORDER_BUFFER_CHANGE_INTERNAL_SNAPSHOT,
            REORDER_BUFFER_CHANGE_INVALIDATION,
        ]
        .contains(&self.action)
    }

    pub(super) fn is_message(&self) -> bool {
        self.action == pg_sys::ReorderBufferChangeType::REORDER_BUFFER_CHANGE_MESSAGE
    }
}

/// Where `node` stands behind the data, in releases without and with `tuplecid.subxid`.
const NODES: [usize; 2] = [
    offset_of!(Change, data) + size_of::<Data>(),
    offset_of!(Change, data) + size_of::<Data>() + 8,
];

/// How long a whole ReorderBufferChange is: the node is its last member.
pub(super) const SIZES: [usize; 2] = [
    NODES[0] + size_of::<pg_sys::dlist_node>(),
    NODES[1] + size_of::<pg_sys::dlist_node>(),
];

/// Who made the transaction, from the end of its changes, in memory or spilled to disk; `None` if it was not recorded. Then this
/// passes over the last rows, and over changes without values.
///
/// # Safety
/// `txn` is that of a begin callback; `xid` is its 64-bit one.
pub unsafe fn of_transaction(txn: *mut pg_sys::ReorderBufferTXN, xid: u64) -> Option<Who> {
    // SAFETY: the changes hang in the transaction's list by their `node`, and each knows its transaction: where that is not
    // `txn`, it is the other layout, in which these bytes are inside the change too. An empty list is zeroed or points to its
    // own head. A message has a C string, and as many bytes as it says.
    unsafe {
        let head = &raw mut (*txn).changes.head;
        let mut node = (*head).prev;
        let mut behind = 0;
        while behind < MOST_BEHIND {
            if node.is_null() || node == head {
                let is_spilled = (*txn).nentries > (*txn).nentries_mem;
                let in_files = || {
                    spilled::last_message((*txn).xid, behind, |prefix, text| {
                        read(prefix, text, xid)
                    })
                };
                return is_spilled.then(in_files).flatten();
            }
            let at = |offset: &usize| node.byte_sub(*offset).cast::<Change>();
            let change = NODES.iter().map(at).find(|change| (**change).txn == txn)?;
            let change = &*change;
            if change.is_message() {
                let Message { prefix, size, text } = change.data.message;
                let text = std::slice::from_raw_parts(text.cast::<u8>(), size);
                if let Some(who) = read(CStr::from_ptr(prefix), text, xid) {
                    return Some(who);
                }
            }
            behind += usize::from(change.is_of_others());
            node = (*node).prev;
        }
    }
    None
}
