//! What reorderbuffer.c has spilled of a transaction, from the files of `pg_replslot/SLOT`: read at the end, before
//! PostgreSQL reads them from the beginning.
//!
//! A file has the changes of one segment of WAL, in order: `ReorderBufferDiskChange`, the size of the whole and the change
//! with its pointers as they were, and what these pointed to (ReorderBufferSerializeChange). Sizes lead from one to the next.
//! They are files of this process, removed when its slot is acquired; what cannot be understood in them is passed over.

use std::ffi::CStr;
use std::fs::{self, File};
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use pgrx::prelude::*;

use super::who::{Change, MOST_BEHIND, SIZES};
use crate::pg::server::signals;

/// Of a message that may be ours: two names of 64 bytes percent-encoded, an address, and what is around them.
const LONGEST_MESSAGE: usize = 4096;

/// So many files that hold changes are read: one is enough, unless PostgreSQL has changed much of the catalogs behind the message.
/// A transaction without one may have gigabytes of changes without values, which do not count in [`MOST_BEHIND`].
const MOST_FILES: usize = 4;

/// An interruption point comes after so many changes of a file.
const UNINTERRUPTED: usize = 4096;

/// The last message that `read` understands among those of the transaction, if no more than [`MOST_BEHIND`] rows and messages
/// come after it, and no more files than [`MOST_FILES`]; `behind` of the rows and messages are known.
pub fn last_message<R>(
    xid: pg_sys::TransactionId,
    mut behind: usize,
    read: impl Fn(&CStr, &[u8]) -> Option<R>,
) -> Option<R> {
    // A prepared transaction has a small file behind the others for each segment in which somebody has committed DDL.
    let mut files = 0;
    for path in files_of(xid).into_iter().rev() {
        let file = in_file(&path, &read)?;
        behind += file.behind;
        if file.found.is_some() || behind > MOST_BEHIND {
            return file.found.filter(|_| behind <= MOST_BEHIND);
        }
        files += usize::from(file.has_changes);
        if files == MOST_FILES {
            break;
        }
    }
    None
}

/// In the order of their changes.
fn files_of(xid: pg_sys::TransactionId) -> Vec<PathBuf> {
    // SAFETY: the slot that this process has acquired, if any; its name is a C string.
    let slot = unsafe {
        let slot = pg_sys::MyReplicationSlot;
        if slot.is_null() {
            return Vec::new();
        }
        CStr::from_ptr((&raw const (*slot).data.name.data).cast())
    };
    let directory = Path::new("pg_replslot").join(slot.to_string_lossy().as_ref());
    let start = format!("xid-{}-lsn-", xid.into_inner());
    let place = |path: &Path| {
        let name = path.file_name()?.to_str()?.strip_prefix(&start)?;
        let (high, low) = name.strip_suffix(".spill")?.split_once('-')?;
        let part = |part| u64::from_str_radix(part, 16).ok();
        Some((part(high)?, part(low)?))
    };
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut files: Vec<_> = entries
        .filter_map(|entry| Some((place(&entry.path())?, entry.path())))
        .collect();
    files.sort();
    files.into_iter().map(|(_, path)| path).collect()
}

struct InFile<R> {
    /// The last such message.
    found: Option<R>,
    /// How many rows and messages come after it, or are in the file.
    behind: usize,
    /// It holds more than what other transactions have added.
    has_changes: bool,
}

fn in_file<R>(path: &Path, read: &impl Fn(&CStr, &[u8]) -> Option<R>) -> Option<InFile<R>> {
    let mut file = BufReader::with_capacity(64 * 1024, File::open(path).ok()?);
    let (mut found, mut behind, mut has_changes, mut count) = (None, 0, false, 0_usize);
    let mut size = [0; size_of::<pg_sys::Size>()];
    while file.read_exact(&mut size).is_ok() {
        if count.is_multiple_of(UNINTERRUPTED) {
            // An error unwinds, which closes the file.
            signals::look_for_interrupts();
        }
        count += 1;
        let mut rest = usize::from_ne_bytes(size).checked_sub(size.len())?;
        let mut bytes = [0; size_of::<Change>()];
        file.read_exact(&mut bytes).ok()?;
        rest = rest.checked_sub(bytes.len())?;
        // SAFETY: as many bytes as the type has, and any bytes are one: of pointers only whether they are null is looked at.
        let change: Change = unsafe { std::ptr::read_unaligned(bytes.as_ptr().cast()) };
        behind += usize::from(change.is_of_others());
        has_changes |= !change.is_added_by_others();
        if change.is_message() && rest <= LONGEST_MESSAGE {
            let mut text = vec![0; rest];
            file.read_exact(&mut text).ok()?;
            if let Some(message) = message_in(&text).and_then(|(prefix, text)| read(prefix, text)) {
                (found, behind) = (Some(message), 0);
            }
        } else {
            file.seek_relative(rest.try_into().ok()?).ok()?;
        }
    }
    Some(InFile {
        found,
        behind,
        has_changes,
    })
}

/// Prefix and text of a message, each behind its length; `bytes` begin where [`Change`] ends.
fn message_in(bytes: &[u8]) -> Option<(&CStr, &[u8])> {
    SIZES.iter().find_map(|whole| {
        let bytes = bytes.get(whole - size_of::<Change>()..)?;
        let (prefix, bytes) = sized(bytes)?;
        let (text, bytes) = sized(bytes)?;
        let is_all = bytes.is_empty();
        CStr::from_bytes_with_nul(prefix)
            .ok()
            .filter(|_| is_all)
            .map(|prefix| (prefix, text))
    })
}

fn sized(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (size, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(usize::from_ne_bytes(*size))
}
